// UTF-8: the validation that all text goes through.
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

// Length in bytes of the character at s (1 to 4), or 0 if it is not valid: overlong, a
// surrogate, above U+10FFFF, or truncated. len >= 1.
int pl_utf8_char(const char *s, size_t len);
bool pl_utf8_valid(const char *s, size_t len);
// Whether the character at s, which has n bytes (see pl_utf8_char), acts on a terminal
// instead of being seen: a control character of ASCII or of Unicode, a line or paragraph
// separator, or one that changes the direction of the text around it.
bool pl_utf8_acts(const char *s, int n);
// The number of a valid character of n bytes.
uint32_t pl_utf8_code(const char *s, int n);
// Makes arbitrary bytes safe to store and display: an invalid byte becomes '?', a control
// character becomes a space (newlines and tabs stay). The length does not change.
void pl_utf8_clean(char *text);
