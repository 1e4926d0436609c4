// The strict scan of JSON text, before cJSON sees it.
//
// Rejects what cJSON would accept (strict RFC 8259, UTF-8, limits on bytes, depth and
// nodes, no NUL, no unpaired surrogate, nothing after the value), and copies the text
// with each number turned into a marked string, because cJSON would convert it to a
// double. Duplicate keys are found afterwards (json.c), when escapes have been decoded.
// Invariants: never reads past len; recursion is bounded by limits->depth, itself at most
// SCAN_DEPTH_MAX.
// Threads: any; nothing is kept.
#include "base/json_scan.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/hex.h"
#include "base/mem.h"
#include "base/utf8.h"

#define SCAN_DEPTH_MAX  512 // of this recursion and of cJSON's, whatever a caller asks for
#define EXPONENT_DIGITS 9   // larger exponents are refused: nothing of ours can hold such a number

struct scanner {
	struct pl_json_scan *out;
	const char *start, *p, *end;
	const char *copied; // everything before it is in out->text
	const struct pl_json_limits *limits;
	int depth, nodes, keys_room;
	struct pl_error *err;
};

char *pl_json_scan_place(const char *text, size_t offset, char place[PL_JSON_PLACE_MAX])
{
	size_t line = 1, column = 1;
	for (size_t i = 0; i < offset; i++) {
		if (text[i] == '\n') {
			line++;
			column = 1;
		} else if (((unsigned char)text[i] & 0xC0) != 0x80) {
			column++;
		}
	}
	snprintf(place, PL_JSON_PLACE_MAX, "line %zu, column %zu", line, column);
	return place;
}

static int fault(struct scanner *s, const char *at, const char *what)
{
	char place[PL_JSON_PLACE_MAX];
	return pl_error_set(s->err, PL_EINVAL, "%s: %s",
	                    pl_json_scan_place(s->start, (size_t)(at - s->start), place), what);
}

static void skip_blanks(struct scanner *s)
{
	while (s->p < s->end && (*s->p == ' ' || *s->p == '\t' || *s->p == '\n' || *s->p == '\r'))
		s->p++;
}

static bool at(const struct scanner *s, char c)
{
	return s->p < s->end && *s->p == c;
}

static size_t digits_len(const char *p, const char *end)
{
	const char *from = p;
	while (p < end && *p >= '0' && *p <= '9')
		p++;
	return (size_t)(p - from);
}

size_t pl_json_scan_number_len(const char *p, const char *end)
{
	const char *from = p;
	size_t n;
	if (p < end && *p == '-')
		p++;
	if ((n = digits_len(p, end)) == 0)
		return 0;
	p += *p == '0' ? 1 : n; // a leading zero must be the only digit
	if (p < end && *p == '.') {
		if ((n = digits_len(p + 1, end)) == 0)
			return 0;
		p += 1 + n;
	}
	if (p < end && (*p == 'e' || *p == 'E')) {
		p++;
		if (p < end && (*p == '+' || *p == '-'))
			p++;
		if ((n = digits_len(p, end)) == 0)
			return 0;
		p += n;
	}
	return (size_t)(p - from);
}

static bool exponent_too_large(const char *number, size_t len)
{
	const char *p = memchr(number, 'e', len), *end = number + len;
	if (p == NULL)
		p = memchr(number, 'E', len);
	if (p == NULL)
		return false;
	for (p++; p < end && (*p == '+' || *p == '-' || *p == '0'); p++)
		;
	return end - p > EXPONENT_DIGITS;
}

static int scan_number(struct scanner *s)
{
	size_t len = pl_json_scan_number_len(s->p, s->end);
	if (len == 0)
		return fault(s, s->p, "not a valid JSON number");
	if (*(s->p + (*s->p == '-')) == '0' && s->p + len < s->end && s->p[len] >= '0' && s->p[len] <= '9')
		return fault(s, s->p, "number with a leading zero");
	if (exponent_too_large(s->p, len))
		return fault(s, s->p, "number out of range");
	static const char mark[2] = { '"', PL_JSON_MARK };
	pl_buf_add(&s->out->text, s->copied, (size_t)(s->p - s->copied));
	pl_buf_add(&s->out->text, mark, sizeof(mark));
	pl_buf_add(&s->out->text, s->p, len);
	pl_buf_addc(&s->out->text, '"');
	s->p += len;
	s->copied = s->p;
	return 0;
}

// The four digits at p, -1 if they are not.
static int hex4(const char *p, const char *end)
{
	int value = 0;
	if (end - p < 4)
		return -1;
	for (int i = 0; i < 4; i++) {
		int digit = pl_hex_digit(p[i]);
		if (digit < 0)
			return -1;
		value = value * 16 + digit;
	}
	return value;
}

// \uXXXX, at the 'u'.
static int scan_unicode_escape(struct scanner *s)
{
	const char *from = s->p - 1;
	int unit = hex4(s->p + 1, s->end);
	if (unit < 0)
		return fault(s, from, "\\u must be followed by four hexadecimal digits");
	if (unit == 0)
		return fault(s, from, "NUL character in a string");
	s->p += 5;
	if (unit < 0xD800 || unit > 0xDFFF)
		return 0;
	int low = unit < 0xDC00 && at(s, '\\') && s->end - s->p >= 6 && s->p[1] == 'u'
	                  ? hex4(s->p + 2, s->end)
	                  : -1;
	if (low < 0xDC00 || low > 0xDFFF)
		return fault(s, from, "unpaired surrogate");
	s->p += 6;
	return 0;
}

static int scan_escape(struct scanner *s)
{
	s->p++; // the backslash
	if (at(s, 'u'))
		return scan_unicode_escape(s);
	if (s->p == s->end || *s->p == '\0' || strchr("\"\\/bfnrt", *s->p) == NULL)
		return fault(s, s->p - 1, "unknown escape");
	s->p++;
	return 0;
}

static int scan_string(struct scanner *s)
{
	const char *from = s->p++;
	while (s->p < s->end && *s->p != '"') {
		unsigned char c = (unsigned char)*s->p;
		if (c == '\\') {
			if (scan_escape(s) != 0)
				return -1;
			continue;
		}
		if (c < 0x20)
			return fault(s, s->p, "unescaped control character in a string");
		int n = pl_utf8_char(s->p, (size_t)(s->end - s->p));
		if (n == 0)
			return fault(s, s->p, "invalid UTF-8");
		s->p += n;
	}
	if (s->p == s->end)
		return fault(s, from, "unterminated string");
	s->p++;
	return 0;
}

static int scan_value(struct scanner *s);

static int enter(struct scanner *s)
{
	if (++s->depth > s->limits->depth || s->depth > SCAN_DEPTH_MAX)
		return fault(s, s->p, "nested too deeply");
	s->p++;
	skip_blanks(s);
	return 0;
}

static void note_key(struct scanner *s)
{
	if (s->out->nkeys == s->keys_room) {
		s->keys_room = s->keys_room ? 2 * s->keys_room : 16;
		s->out->keys = pl_realloc(s->out->keys, (size_t)s->keys_room * sizeof(s->out->keys[0]));
	}
	s->out->keys[s->out->nkeys++] = (size_t)(s->p - s->start);
}

static int scan_member(struct scanner *s)
{
	skip_blanks(s);
	if (!at(s, '"'))
		return fault(s, s->p, "expected a member name in double quotes");
	note_key(s);
	if (scan_string(s) != 0)
		return -1;
	skip_blanks(s);
	if (!at(s, ':'))
		return fault(s, s->p, "expected a colon");
	s->p++;
	return scan_value(s);
}

// The content of `[…]` or `{…}`: items separated by commas.
static int scan_items(struct scanner *s, char close, int (*scan_item)(struct scanner *s),
                      const char *expected)
{
	const char *from = s->p;
	if (enter(s) != 0)
		return -1;
	bool more = !at(s, close);
	while (more) {
		if (scan_item(s) != 0)
			return -1;
		skip_blanks(s);
		more = at(s, ',');
		s->p += more;
	}
	if (!at(s, close))
		return s->p == s->end ? fault(s, from, "not closed") : fault(s, s->p, expected);
	s->p++;
	s->depth--;
	return 0;
}

static int scan_word(struct scanner *s)
{
	static const char *const words[] = { "true", "false", "null" };
	for (int i = 0; i < 3; i++) {
		size_t len = strlen(words[i]);
		if ((size_t)(s->end - s->p) >= len && memcmp(s->p, words[i], len) == 0) {
			s->p += len;
			return 0;
		}
	}
	return fault(s, s->p, "expected a value");
}

static int scan_value(struct scanner *s)
{
	skip_blanks(s);
	if (s->p == s->end)
		return fault(s, s->p, "unexpected end of text; expected a value");
	if (++s->nodes > s->limits->nodes)
		return fault(s, s->p, "too many values");
	switch (*s->p) {
	case '{': return scan_items(s, '}', scan_member, "expected a comma or }");
	case '[': return scan_items(s, ']', scan_value, "expected a comma or ]");
	case '"': return scan_string(s);
	case '-':
	case '0':
	case '1':
	case '2':
	case '3':
	case '4':
	case '5':
	case '6':
	case '7':
	case '8':
	case '9': return scan_number(s);
	default: return scan_word(s);
	}
}

int pl_json_scan(struct pl_json_scan *scan, const char *text, size_t len, const struct pl_json_limits *limits,
                 struct pl_error *err)
{
	*scan = (struct pl_json_scan){ 0 };
	struct scanner s = {
		.out = scan,
		.start = text,
		.p = text,
		.end = text + len,
		.copied = text,
		.limits = limits,
		.err = err,
	};
	if (len > limits->bytes) {
		pl_error_set(err, PL_EINVAL, "%zu bytes; the maximum is %zu", len, limits->bytes);
		return -1;
	}
	if (scan_value(&s) != 0)
		return -1;
	skip_blanks(&s);
	if (s.p != s.end) {
		fault(&s, s.p, "unexpected text after the value");
		return -1;
	}
	pl_buf_add(&scan->text, s.copied, (size_t)(s.end - s.copied));
	return 0;
}

void pl_json_scan_fini(struct pl_json_scan *scan)
{
	pl_buf_fini(&scan->text);
	free(scan->keys);
	*scan = (struct pl_json_scan){ 0 };
}
