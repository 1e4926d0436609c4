// Time. Wall time for what people and databases see, monotonic time for deadlines.
#pragma once

#include <stddef.h>
#include <stdint.h>

int64_t pl_now_us(void);  // microseconds since 1970-01-01 UTC
int64_t pl_mono_us(void); // microseconds since some start, never going back

#define PL_TIME_TEXT_MAX 32
// "2026-02-21T10:00:00.123456Z"; always six digits of fraction. Returns text.
char *pl_time_format(int64_t at_us, char text[PL_TIME_TEXT_MAX]);
// RFC 3339 with any offset and 0 to 9 digits of fraction (cut to microseconds), from 0001 to 9999 in UTC. 0 or -1.
int pl_time_parse(const char *text, size_t len, int64_t *at_us_r);
