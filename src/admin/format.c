// Numbers and ages for people. Threads: the tool has one.
#include "admin/format.h"

#include <inttypes.h>
#include <stdio.h>

#define SECOND INT64_C(1000000)

char *pl_format_age(int64_t us, char text[PL_AGE_MAX])
{
	int64_t s = us / SECOND;
	if (us < 0)
		us = s = 0;
	if (s < 120)
		snprintf(text, PL_AGE_MAX, "%.1f s", (double)us / (double)SECOND);
	else if (s < 120 * 60)
		snprintf(text, PL_AGE_MAX, "%" PRId64 " min", s / 60);
	else if (s < 48 * 3600)
		snprintf(text, PL_AGE_MAX, "%" PRId64 " h", s / 3600);
	else
		snprintf(text, PL_AGE_MAX, "%" PRId64 " d", s / 86400);
	return text;
}

char *pl_format_count(int64_t count, char text[PL_COUNT_MAX])
{
	char digits[PL_COUNT_MAX];
	int n = snprintf(digits, sizeof(digits), "%" PRId64, count), at = 0;
	for (int i = 0; i < n; i++) {
		if (i > 0 && (n - i) % 3 == 0 && digits[i - 1] != '-')
			text[at++] = ',';
		text[at++] = digits[i];
	}
	text[at] = '\0';
	return text;
}
