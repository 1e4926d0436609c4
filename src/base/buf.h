// A growing byte buffer. Always followed by a NUL that `len` does not count, so `data` can be read as a string.
#pragma once

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct pl_buf {
	char *data; // NULL until something is put in
	size_t len;
	size_t cap;
};

void pl_buf_fini(struct pl_buf *buf);  // frees and empties
void pl_buf_reset(struct pl_buf *buf); // empties, keeps the memory
void pl_buf_reserve(struct pl_buf *buf, size_t more);
void pl_buf_add(struct pl_buf *buf, const void *data, size_t len);
void pl_buf_adds(struct pl_buf *buf, const char *s);
void pl_buf_addc(struct pl_buf *buf, char c);
void pl_buf_add_i64(struct pl_buf *buf, int64_t value);
#define PL_DIGITS_SIZE 21
const char *pl_digits(char text[PL_DIGITS_SIZE], uint64_t value); // in decimal; the text ends where `text` does
const char *pl_digits_i64(char text[PL_DIGITS_SIZE], int64_t value); // the same, with a sign where it is negative
void pl_buf_printf(struct pl_buf *buf, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void pl_buf_vprintf(struct pl_buf *buf, const char *fmt, va_list ap) __attribute__((format(printf, 2, 0)));
// As a JSON string with its quotes; `s` NULL gives null. Input that is not UTF-8 has its bad bytes replaced by U+FFFD.
void pl_buf_add_json(struct pl_buf *buf, const char *s, size_t len);
