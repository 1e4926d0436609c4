// UTF-8: the validation that all text goes through.
#pragma once

#include <stdbool.h>
#include <stddef.h>

// Length in bytes of the character at s (1 to 4), or 0 if it is not valid: overlong, a
// surrogate, above U+10FFFF, or truncated. len >= 1.
int pl_utf8_char(const char *s, size_t len);
bool pl_utf8_valid(const char *s, size_t len);
// Makes arbitrary bytes safe to store and display: an invalid byte becomes '?', a control
// character becomes a space (newlines and tabs stay). The length does not change.
void pl_utf8_clean(char *text);
