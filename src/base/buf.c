// A growing byte buffer, and writing JSON strings into it.
//
// Every answer, event and batch is written into one.
// Invariant: data is NULL or data[len] is NUL.
// Threads: a buffer belongs to one thread at a time.
#include "base/buf.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/mem.h"
#include "base/utf8.h"

#define BUF_FIRST 256
#define TRIM_MIN  65536 // unused bytes that are worth giving back

void pl_buf_fini(struct pl_buf *buf)
{
	free(buf->data);
	*buf = (struct pl_buf){ 0 };
}

void pl_buf_reset(struct pl_buf *buf)
{
	buf->len = 0;
	if (buf->data != NULL)
		buf->data[0] = '\0';
}

static void grow(struct pl_buf *buf, size_t more)
{
	if (more > SIZE_MAX / 2 - buf->len - 1)
		pl_die("out of memory: a buffer of %zu and %zu bytes", buf->len, more);
	size_t need = buf->len + more + 1, cap = buf->cap ? buf->cap : BUF_FIRST;
	while (cap < need)
		cap *= 2;
	buf->data = pl_realloc(buf->data, cap);
	buf->cap = cap;
	buf->data[buf->len] = '\0';
}

// There is nearly always room: this part should be inlined.
static inline void reserve(struct pl_buf *buf, size_t more)
{
	if (more >= buf->cap - buf->len) // cap is over len, or both are 0
		grow(buf, more);
}

void pl_buf_trim(struct pl_buf *buf)
{
	if (buf->cap - buf->len <= TRIM_MIN)
		return;
	buf->cap = buf->len + 1;
	buf->data = pl_realloc(buf->data, buf->cap);
}

void pl_buf_reserve(struct pl_buf *buf, size_t more)
{
	reserve(buf, more);
}

void pl_buf_add(struct pl_buf *buf, const void *data, size_t len)
{
	reserve(buf, len);
	if (len > 0)
		memcpy(buf->data + buf->len, data, len);
	buf->len += len;
	buf->data[buf->len] = '\0';
}

void pl_buf_adds(struct pl_buf *buf, const char *s)
{
	pl_buf_add(buf, s, strlen(s));
}

void pl_buf_addc(struct pl_buf *buf, char c)
{
	reserve(buf, 1);
	buf->data[buf->len++] = c;
	buf->data[buf->len] = '\0';
}

const char *pl_buf_digits(char text[PL_BUF_DIGITS_SIZE], uint64_t value)
{
	char *p = text + PL_BUF_DIGITS_SIZE - 1;
	*p = '\0';
	do
		*--p = (char)('0' + value % 10);
	while ((value /= 10) != 0);
	return p;
}

const char *pl_buf_digits_i64(char text[PL_BUF_DIGITS_SIZE], int64_t value)
{
	const char *digits = pl_buf_digits(text, value < 0 ? 0 - (uint64_t)value : (uint64_t)value);
	if (value < 0)
		text[--digits - text] = '-'; // the smallest has a digit less than the largest without a sign
	return digits;
}

void pl_buf_add_i64(struct pl_buf *buf, int64_t value)
{
	char text[PL_BUF_DIGITS_SIZE];
	pl_buf_adds(buf, pl_buf_digits_i64(text, value));
}

void pl_buf_vprintf(struct pl_buf *buf, const char *fmt, va_list ap)
{
	va_list again;
	va_copy(again, ap);
	pl_buf_reserve(buf, 0);
	size_t room = buf->cap - buf->len;
	int n = vsnprintf(buf->data + buf->len, room, fmt, ap);
	if (n > 0 && (size_t)n >= room) {
		pl_buf_reserve(buf, (size_t)n);
		vsnprintf(buf->data + buf->len, (size_t)n + 1, fmt, again);
	}
	va_end(again);
	if (n > 0)
		buf->len += (size_t)n;
	buf->data[buf->len] = '\0';
}

void pl_buf_printf(struct pl_buf *buf, const char *fmt, ...)
{
	va_list ap;
	va_start(ap, fmt);
	pl_buf_vprintf(buf, fmt, ap);
	va_end(ap);
}

// A character that must be escaped in a JSON string.
static void add_json_escape(struct pl_buf *buf, unsigned char c)
{
	static const char short_names[] = "\"\"\\\\\bb\ff\nn\rr\tt"; // pairs: the character, its letter
	for (const char *p = short_names; *p != '\0'; p += 2) {
		if ((unsigned char)*p == c) {
			char escape[2] = { '\\', p[1] };
			pl_buf_add(buf, escape, 2);
			return;
		}
	}
	const char escape[6] = {
		'\\', 'u', '0', '0', "0123456789abcdef"[c >> 4], "0123456789abcdef"[c & 15]
	};
	pl_buf_add(buf, escape, sizeof(escape));
}

void pl_buf_add_json_part(struct pl_buf *buf, const char *s, size_t len)
{
	size_t done = 0; // everything before it has been written
	for (size_t i = 0; i < len;) {
		unsigned char c = (unsigned char)s[i];
		if (c >= 0x20 && c < 0x80 && c != '"' && c != '\\') {
			i++;
			continue;
		}
		int n = c < 0x80 ? 0 : pl_utf8_char(s + i, len - i);
		if (n > 0) {
			i += (size_t)n;
			continue;
		}
		pl_buf_add(buf, s + done, i - done);
		if (c < 0x80)
			add_json_escape(buf, c);
		else
			pl_buf_adds(buf, "\xEF\xBF\xBD"); // U+FFFD
		done = ++i;
	}
	pl_buf_add(buf, s + done, len - done);
}

void pl_buf_add_json(struct pl_buf *buf, const char *s, size_t len)
{
	if (s == NULL) {
		pl_buf_adds(buf, "null");
		return;
	}
	pl_buf_reserve(buf, len + 2);
	pl_buf_addc(buf, '"');
	pl_buf_add_json_part(buf, s, len);
	pl_buf_addc(buf, '"');
}
