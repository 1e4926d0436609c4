// Values of options, from their text; and numbers for people.
#pragma once

#include <stdint.h>

int pl_parse_count(const char *text, int64_t *count_r);  // 0 or more; 0 or -1
int pl_parse_duration(const char *text, int64_t *us_r);  // "500ms" "10s" "5m" "24h" "90d"; "1.5" is seconds
int pl_parse_time(const char *text, int64_t *at_us_r);   // RFC 3339, a date, or a duration: so long before now
// "3.2 s", "4 min", "2 h", "5 d": an age for people, in `text`.
#define PL_AGE_MAX 32
char *pl_show_age(int64_t us, char text[PL_AGE_MAX]);
// 1234567 as "1,234,567".
#define PL_COUNT_MAX 32
char *pl_show_count(int64_t count, char text[PL_COUNT_MAX]);
