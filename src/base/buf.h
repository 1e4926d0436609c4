// A growing byte buffer. A NUL that `len` does not count always follows the data, so
// `data` can be used as a string.
#pragma once

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct pl_buf {
	char *data; // NULL until something is added
	size_t len;
	size_t cap;
};

void pl_buf_fini(struct pl_buf *buf);  // frees the memory
void pl_buf_reset(struct pl_buf *buf); // empties the buffer, keeps the memory
void pl_buf_trim(struct pl_buf *buf);  // gives memory back, if much of it is unused
void pl_buf_reserve(struct pl_buf *buf, size_t more);
void pl_buf_add(struct pl_buf *buf, const void *data, size_t len);
void pl_buf_adds(struct pl_buf *buf, const char *s);
void pl_buf_addc(struct pl_buf *buf, char c);
void pl_buf_add_i64(struct pl_buf *buf, int64_t value);
#define PL_BUF_DIGITS_SIZE 21
const char *pl_buf_digits(char text[PL_BUF_DIGITS_SIZE],
                          uint64_t value); // decimal digits, right-aligned: they end where `text` ends
const char *pl_buf_digits_i64(char text[PL_BUF_DIGITS_SIZE],
                              int64_t value); // the same, with a sign if the value is negative
void pl_buf_printf(struct pl_buf *buf, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void pl_buf_vprintf(struct pl_buf *buf, const char *fmt, va_list ap) __attribute__((format(printf, 2, 0)));
// Adds a JSON string with its quotes; null if `s` is NULL. Bytes that are not UTF-8 are
// replaced by U+FFFD.
void pl_buf_add_json(struct pl_buf *buf, const char *s, size_t len);
void pl_buf_add_json_part(struct pl_buf *buf, const char *s,
                          size_t len); // without the quotes: a part of such a string
