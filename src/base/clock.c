// Time: the two clocks, and RFC 3339 text for microseconds since 1970.
//
// Used for updated_at, the time of events and deadlines. All dates are in the proleptic
// Gregorian calendar in UTC, as in PostgreSQL. Threads: any; no state.
#include "base/clock.h"

#include <stdbool.h>
#include <time.h>

#define US_PER_SECOND   1000000LL
#define SECONDS_PER_DAY 86400LL
#define YEAR_1_US       (-62135596800 * US_PER_SECOND)
#define YEAR_10000_US   (253402300800 * US_PER_SECOND)

static int64_t clock_us(clockid_t id)
{
	struct timespec ts;
	clock_gettime(id, &ts); // cannot fail for these two
	return (int64_t)ts.tv_sec * US_PER_SECOND + ts.tv_nsec / 1000;
}

int64_t pl_now_us(void)
{
	return clock_us(CLOCK_REALTIME);
}

int64_t pl_mono_us(void)
{
	return clock_us(CLOCK_MONOTONIC);
}

static int64_t floor_div(int64_t a, int64_t b)
{
	return a / b - (a % b < 0);
}

// Days since 1970-01-01. Years begin in March here, so the leap day is the last day of a
// year and needs no special case.
static int64_t days_of_date(int64_t year, int month, int day)
{
	year -= month <= 2;
	int64_t era = floor_div(year, 400);
	int64_t year_of_era = year - era * 400;
	int64_t day_of_year = (153 * (month + (month > 2 ? -3 : 9)) + 2) / 5 + day - 1;
	return era * 146097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - 719468;
}

static void date_of_days(int64_t days, int64_t *year_r, int *month_r, int *day_r)
{
	days += 719468;
	int64_t era = floor_div(days, 146097);
	int64_t day_of_era = days - era * 146097;
	int64_t year_of_era =
		(day_of_era - day_of_era / 1460 + day_of_era / 36524 - day_of_era / 146096) / 365;
	int day_of_year = (int)(day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100));
	int march_month = (5 * day_of_year + 2) / 153;
	*day_r = day_of_year - (153 * march_month + 2) / 5 + 1;
	*month_r = march_month < 10 ? march_month + 3 : march_month - 9;
	*year_r = year_of_era + era * 400 + (*month_r <= 2);
}

// Writes `value` in n digits, followed by `after`; returns the position behind them. Not
// with printf, because every record that is read or written passes here.
static char *put_digits(char *p, int n, int64_t value, char after)
{
	for (int i = n - 1; i >= 0; i--, value /= 10)
		p[i] = (char)('0' + value % 10);
	p[n] = after;
	return p + n + 1;
}

char *pl_clock_format_time(int64_t at_us, char text[PL_TIME_TEXT_MAX])
{
	int64_t seconds = floor_div(at_us, US_PER_SECOND), fraction = at_us % US_PER_SECOND, year;
	int month, day;
	int64_t days = floor_div(seconds, SECONDS_PER_DAY), of_day = seconds - days * SECONDS_PER_DAY;
	date_of_days(days, &year, &month, &day);
	char *p = text;
	if (year < 0)
		*p++ = '-';
	year = year < 0 ? -year : year;
	p = put_digits(p, year > 9999 ? 6 : 4, year, '-');
	p = put_digits(p, 2, month, '-');
	p = put_digits(p, 2, day, 'T');
	p = put_digits(p, 2, of_day / 3600, ':');
	p = put_digits(p, 2, of_day / 60 % 60, ':');
	p = put_digits(p, 2, of_day % 60, '.');
	p = put_digits(p, 6, fraction < 0 ? fraction + US_PER_SECOND : fraction, 'Z');
	*p = '\0';
	return text;
}

// Parses exactly n digits at *p and advances *p. Returns -1 if there are fewer.
static int digits(const char **p, const char *end, int n)
{
	int value = 0;
	if (end - *p < n)
		return -1;
	for (int i = 0; i < n; i++, ++*p) {
		if (**p < '0' || **p > '9')
			return -1;
		value = value * 10 + (**p - '0');
	}
	return value;
}

static int letter(const char **p, const char *end, char c)
{
	if (*p == end || **p != c)
		return -1;
	++*p;
	return 0;
}

static int month_days(int year, int month)
{
	static const int days[] = { 31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31 };
	bool leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
	return days[month - 1] + (month == 2 && leap);
}

// "YYYY-MM-DD"
static int parse_date(const char **p, const char *end, int64_t *days_r)
{
	int year = digits(p, end, 4);
	if (year < 0 || letter(p, end, '-') != 0)
		return -1;
	int month = digits(p, end, 2);
	if (month < 1 || month > 12 || letter(p, end, '-') != 0)
		return -1;
	int day = digits(p, end, 2);
	if (day < 1 || day > month_days(year, month))
		return -1;
	*days_r = days_of_date(year, month, day);
	return 0;
}

// "HH:MM:SS" with an optional fraction. A leap second (60) is the first second of the
// next minute, as in PostgreSQL.
static int parse_time(const char **p, const char *end, int64_t *us_r)
{
	int hour = digits(p, end, 2);
	if (hour < 0 || hour > 23 || letter(p, end, ':') != 0)
		return -1;
	int minute = digits(p, end, 2);
	if (minute < 0 || minute > 59 || letter(p, end, ':') != 0)
		return -1;
	int second = digits(p, end, 2);
	if (second < 0 || second > 60)
		return -1;
	int fraction = 0;
	if (letter(p, end, '.') == 0) {
		int n = 0;
		for (; n < 9 && *p < end && **p >= '0' && **p <= '9'; n++, ++*p)
			if (n < 6)
				fraction = fraction * 10 + (**p - '0');
		if (n == 0)
			return -1;
		for (; n < 6; n++)
			fraction *= 10;
	}
	*us_r = (hour * 3600LL + minute * 60 + second) * US_PER_SECOND + fraction;
	return 0;
}

// "Z", "+HH:MM", "-HHMM" or PostgreSQL's "+HH".
static int parse_offset(const char **p, const char *end, int64_t *us_r)
{
	*us_r = 0;
	if (letter(p, end, 'Z') == 0 || letter(p, end, 'z') == 0)
		return 0;
	int sign = letter(p, end, '+') == 0 ? 1 : letter(p, end, '-') == 0 ? -1 : 0;
	int hours = digits(p, end, 2), minutes = 0;
	if (sign == 0 || hours < 0 || hours > 23)
		return -1;
	if (*p < end) {
		if (**p == ':')
			++*p;
		minutes = digits(p, end, 2);
		if (minutes < 0 || minutes > 59)
			return -1;
	}
	*us_r = sign * (hours * 60LL + minutes) * 60 * US_PER_SECOND;
	return 0;
}

int pl_clock_parse_time(const char *text, size_t len, int64_t *at_us_r)
{
	const char *p = text, *end = text + len;
	int64_t days, of_day_us, offset_us;
	if (parse_date(&p, end, &days) != 0)
		return -1;
	if (letter(&p, end, 'T') != 0 && letter(&p, end, 't') != 0 && letter(&p, end, ' ') != 0)
		return -1;
	if (parse_time(&p, end, &of_day_us) != 0 || parse_offset(&p, end, &offset_us) != 0 || p != end)
		return -1;
	int64_t at_us = days * SECONDS_PER_DAY * US_PER_SECOND + of_day_us - offset_us;
	// An offset can move it out of the years with four digits; PostgreSQL has no year
	// 0.
	if (at_us < YEAR_1_US || at_us >= YEAR_10000_US)
		return -1;
	*at_us_r = at_us;
	return 0;
}
