// UTF-8: which bytes are a character (Unicode, table 3-7).
//
// Used for all input (base/json) and output (base/buf). Threads: any; no state.
#include "base/utf8.h"

#include <string.h>

int pl_utf8_char(const char *s, size_t len)
{
	const uint8_t *p = (const uint8_t *)s;
	if (p[0] < 0x80)
		return 1;
	if (p[0] < 0xC2 || p[0] > 0xF4)
		return 0;
	int n = p[0] < 0xE0 ? 2 : p[0] < 0xF0 ? 3 : 4;
	if ((size_t)n > len)
		return 0;
	// The range of the second byte excludes overlong forms, surrogates and values
	// above U+10FFFF.
	uint8_t low = p[0] == 0xE0 ? 0xA0 : p[0] == 0xF0 ? 0x90 : 0x80;
	uint8_t high = p[0] == 0xED ? 0x9F : p[0] == 0xF4 ? 0x8F : 0xBF;
	if (p[1] < low || p[1] > high)
		return 0;
	for (int i = 2; i < n; i++)
		if ((p[i] & 0xC0) != 0x80)
			return 0;
	return n;
}

uint32_t pl_utf8_code(const char *s, int n)
{
	const uint8_t *p = (const uint8_t *)s;
	uint32_t code = n == 1 ? p[0] : p[0] & (0xFFu >> (n + 1));

	for (int i = 1; i < n; i++)
		code = code << 6 | (p[i] & 0x3Fu);
	return code;
}

bool pl_utf8_acts(const char *s, int n)
{
	uint32_t c = pl_utf8_code(s, n);

	return c < 0x20 || (c >= 0x7F && c <= 0x9F) || c == 0x061C || c == 0x200E || c == 0x200F ||
	       (c >= 0x2028 && c <= 0x202E) || (c >= 0x2066 && c <= 0x2069);
}

// Eight bytes at a time: most text is ASCII.
static size_t ascii_prefix(const char *s, size_t len)
{
	size_t n = 0;

	for (uint64_t eight; n + sizeof(eight) <= len; n += sizeof(eight)) {
		memcpy(&eight, s + n, sizeof(eight));
		if (eight & UINT64_C(0x8080808080808080))
			break;
	}
	return n;
}

bool pl_utf8_valid(const char *s, size_t len)
{
	for (size_t i = ascii_prefix(s, len); i < len;) {
		int n = pl_utf8_char(s + i, len - i);
		if (n == 0)
			return false;
		i += (size_t)n;
	}
	return true;
}

void pl_utf8_clean(char *text)
{
	size_t len = strlen(text);

	for (size_t i = 0; i < len;) {
		int n = pl_utf8_char(text + i, len - i);
		unsigned char c = (unsigned char)text[i];

		if (n == 0)
			text[i] = '?';
		else if ((c < ' ' && c != '\n' && c != '\t') || c == 0x7f)
			text[i] = ' ';
		i += n ? (size_t)n : 1;
	}
}
