// Hexadecimal digits.
//
// Threads: any; no state.
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

// The value of a digit, of either case; -1 if it is not a digit.
static inline int pl_hex_digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'A' && c <= 'F')
		return c - 'A' + 10;
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

// The value of two digits; -1 if they are not. Does not read beyond a NUL.
static inline int pl_hex_byte(const char *digits)
{
	int high = pl_hex_digit(digits[0]), low = high < 0 ? -1 : pl_hex_digit(digits[1]);

	return low < 0 ? -1 : high * 16 + low;
}

// Decodes 2 * n digits. False: they are not all digits.
static inline bool pl_hex_decode(const char *digits, size_t n, uint8_t *bytes_r)
{
	for (size_t i = 0; i < n; i++) {
		int byte = pl_hex_byte(digits + 2 * i);

		if (byte < 0)
			return false;
		bytes_r[i] = (uint8_t)byte;
	}
	return true;
}
