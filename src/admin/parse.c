// Parses values of options. Threads: any; no state.
#include "admin/parse.h"

#include <ctype.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"

#define SECOND INT64_C(1000000)

int pl_parse_count(const char *text, int64_t *count_r)
{
	int64_t count = 0;
	if (!*text)
		return -1;
	for (; *text; text++) {
		if (!isdigit((unsigned char)*text) || count > (INT64_MAX - 9) / 10)
			return -1;
		count = count * 10 + (*text - '0');
	}
	*count_r = count;
	return 0;
}

// Digits with an optional fraction, in millionths; *end_r is what follows.
static int millionths(const char *text, int64_t *value_r, const char **end_r)
{
	int64_t value = 0, unit = SECOND;
	if (!isdigit((unsigned char)*text))
		return -1;
	for (; isdigit((unsigned char)*text); text++) {
		if (value > INT64_MAX / SECOND / 20)
			return -1;
		value = value * 10 + (*text - '0');
	}
	value *= SECOND;
	if (*text == '.') {
		if (!isdigit((unsigned char)*++text))
			return -1;
		for (; isdigit((unsigned char)*text); text++)
			value += (*text - '0') * (unit /= 10);
	}
	*value_r = value;
	*end_r = text;
	return 0;
}

int pl_parse_duration(const char *text, int64_t *us_r)
{
	static const struct {
		const char *unit;
		int64_t seconds;
	} units[] = {
		{ "", 1 }, { "s", 1 }, { "m", 60 }, { "h", 3600 }, { "d", 86400 },
	};
	int64_t value;
	const char *unit;
	if (millionths(text, &value, &unit))
		return -1;
	if (strcmp(unit, "ms") == 0) {
		*us_r = value / 1000;
		return 0;
	}
	for (size_t i = 0; i < sizeof(units) / sizeof(*units); i++)
		if (strcmp(unit, units[i].unit) == 0) {
			if (value > INT64_MAX / units[i].seconds)
				return -1;
			*us_r = value * units[i].seconds;
			return 0;
		}
	return -1;
}

int pl_parse_time(const char *text, int64_t *at_us_r)
{
	char whole[sizeof("2026-02-21T00:00:00Z")];
	int64_t ago;
	if (pl_clock_parse_time(text, strlen(text), at_us_r) == 0)
		return 0;
	if (strlen(text) == strlen("2026-02-21")) {
		snprintf(whole, sizeof(whole), "%.10sT00:00:00Z", text);
		if (pl_clock_parse_time(whole, strlen(whole), at_us_r) == 0)
			return 0;
	}
	if (pl_parse_duration(text, &ago))
		return -1;
	*at_us_r = pl_now_us() - ago;
	return 0;
}
