// Time: wall-clock time for people and databases, monotonic time for deadlines.
#pragma once

#include <stddef.h>
#include <stdint.h>

int64_t pl_now_us(void);  // microseconds since 1970-01-01 UTC
int64_t pl_mono_us(void); // microseconds since an unspecified start; never decreases

#define PL_TIME_TEXT_MAX 32
// "2026-02-21T10:00:00.123456Z", always with six digits of fraction. Returns text.
char *pl_clock_format_time(int64_t at_us, char text[PL_TIME_TEXT_MAX]);
// Parses RFC 3339 with any offset and 0 to 9 digits of fraction, truncated to
// microseconds, from year 0001 to 9999 in UTC. Returns 0 or -1.
int pl_clock_parse_time(const char *text, size_t len, int64_t *at_us_r);
