// UTF-8: the one check that all of plist's text goes through.
#pragma once

#include <stdbool.h>
#include <stddef.h>

// Bytes of the character at s (1 to 4), 0 if it is none: overlong, a surrogate, over U+10FFFF, cut short. len >= 1.
int pl_utf8_char(const char *s, size_t len);
bool pl_utf8_valid(const char *s, size_t len);
// Makes a text of any bytes one that a database can hold and a terminal can show: what is no character becomes '?', a control character a
// blank (newlines and tabs stay). As long as before.
void pl_utf8_clean(char *text);
