// Numbers and ages for people.
#pragma once

#include <stdint.h>

// "3.2 s", "4 min", "2 h", "5 d": an age for people, in `text`.
#define PL_AGE_MAX 32
char *pl_format_age(int64_t us, char text[PL_AGE_MAX]);

// 1234567 as "1,234,567".
#define PL_COUNT_MAX 32
char *pl_format_count(int64_t count, char text[PL_COUNT_MAX]);
