// Time: its text format, at both ends of the calendar, and parsing it.
#include "base/clock.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <cmocka.h>

static int64_t parsed(const char *text)
{
	int64_t at_us = 0;
	assert_int_equal(pl_clock_parse_time(text, strlen(text), &at_us), 0);
	return at_us;
}

static void refused(const char *text)
{
	int64_t at_us = 42;
	assert_int_equal(pl_clock_parse_time(text, strlen(text), &at_us), -1);
	assert_int_equal(at_us, 42);
}

static void known_times_have_the_expected_text(void **state)
{
	static const struct {
		int64_t at_us;
		const char *text;
	} moments[] = {
		{ 0, "1970-01-01T00:00:00.000000Z" },
		{ -1, "1969-12-31T23:59:59.999999Z" },
		{ 1771668000123456, "2026-02-21T10:00:00.123456Z" },
		{ 951782400000000, "2000-02-29T00:00:00.000000Z" },
		{ -62135596800000000, "0001-01-01T00:00:00.000000Z" },
		{ 253402300799999999, "9999-12-31T23:59:59.999999Z" },
	};
	for (size_t i = 0; i < sizeof(moments) / sizeof(moments[0]); i++) {
		char text[PL_TIME_TEXT_MAX];
		assert_string_equal(pl_clock_format_time(moments[i].at_us, text), moments[i].text);
		assert_int_equal(parsed(moments[i].text), moments[i].at_us);
	}
}

static void each_day_of_the_calendar_agrees_with_the_c_library(void **state)
{
	for (int64_t day = -719162; day < 2932896; day += 5) { // 0001 to 9999
		time_t seconds = (time_t)(day * 86400 + 3723);
		struct tm tm;
		char expected[64], text[PL_TIME_TEXT_MAX];
		gmtime_r(&seconds, &tm);
		snprintf(expected, sizeof(expected), "%04d-%02d-%02dT01:02:03.000000Z", tm.tm_year + 1900,
		         tm.tm_mon + 1, tm.tm_mday);
		assert_string_equal(pl_clock_format_time((int64_t)seconds * 1000000, text), expected);
		assert_int_equal(parsed(expected), (int64_t)seconds * 1000000);
	}
}

static void no_time_overruns_its_text(void **state)
{
	char text[PL_TIME_TEXT_MAX + 1];
	static const int64_t ends[] = { INT64_MIN, INT64_MAX, -62135596800000001 };
	for (int i = 0; i < 3; i++) {
		text[PL_TIME_TEXT_MAX] = '#';
		assert_in_range(strlen(pl_clock_format_time(ends[i], text)), 20, PL_TIME_TEXT_MAX - 1);
		assert_int_equal(text[PL_TIME_TEXT_MAX], '#');
	}
}

static void offsets_and_fractions_are_understood(void **state)
{
	int64_t noon = parsed("2026-02-21T12:00:00Z");
	assert_int_equal(parsed("2026-02-21t12:00:00z"), noon);
	assert_int_equal(parsed("2026-02-21 12:00:00+00"), noon); // as PostgreSQL prints it
	assert_int_equal(parsed("2026-02-21T13:30:00+01:30"), noon);
	assert_int_equal(parsed("2026-02-21T13:30:00+0130"), noon);
	assert_int_equal(parsed("2026-02-20T23:00:00-13:00"), noon);
	assert_int_equal(parsed("2026-02-21T12:00:00.5Z"), noon + 500000);
	assert_int_equal(parsed("2026-02-21T12:00:00.000001Z"), noon + 1);
	assert_int_equal(parsed("2026-02-21T12:00:00.123456789Z"), noon + 123456); // truncated, not rounded
	assert_int_equal(parsed("2026-02-21T11:59:60Z"), noon);
	assert_int_equal(parsed("0000-12-31T23:59:59-00:01"), parsed("0001-01-01T00:00:59Z"));
	assert_int_equal(parsed("9999-12-31T23:59:59+00:01"), parsed("9999-12-31T23:58:59Z"));
}

static void text_that_is_not_a_time_is_refused(void **state)
{
	static const char *const texts[] = {
		"",
		"2026",
		"2026-02-21",
		"2026-02-21T10:00Z",
		"2026-02-21T10:00:00",
		"2026-02-21T10:00:00.Z",
		"2026-02-21T10:00:00.1234567890Z",
		"2026-02-30T10:00:00Z",
		"2026-00-10T10:00:00Z",
		"2026-13-10T10:00:00Z",
		"2026-01-00T10:00:00Z",
		"2025-02-29T10:00:00Z",
		"1900-02-29T10:00:00Z",
		"2026-02-21T24:00:00Z",
		"2026-02-21T10:60:00Z",
		"2026-02-21T10:00:61Z",
		"2026-02-21T10:00:00+24:00",
		"2026-02-21T10:00:00+01:60",
		"2026-02-21T10:00:00Zx",
		" 2026-02-21T10:00:00Z",
		"2026-2-21T10:00:00Z",
		"-026-02-21T10:00:00Z",
		"2026-02-21T10:00:00+1",
		"2026-02-21T10:00:00+01:",
		"infinity",
		"+2026-02-21T10:00:00Z",
		"0000-12-31T23:59:59Z",
		"0001-01-01T00:00:00+00:01",
		"9999-12-31T23:59:59-00:01",
	};
	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++)
		refused(texts[i]);
}

static void parsing_never_reads_past_the_length(void **state)
{
	int64_t at_us;
	const char *text = "2026-02-21T10:00:00.123456+01:00";
	size_t len = strlen(text);
	for (size_t n = 0; n <= len; n++) {
		// A copy of exactly n bytes without a NUL, so that the sanitizer
		// detects reading beyond it.
		char *copy = test_malloc(n + 1);
		memcpy(copy + 1, text, n);
		int code = pl_clock_parse_time(copy + 1, n, &at_us);
		assert_int_equal(code, n == len || n == len - 3 ? 0 : -1);
		test_free(copy);
	}
}

static void monotonic_time_does_not_go_back(void **state)
{
	int64_t last = pl_mono_us();
	for (int i = 0; i < 10000; i++) {
		int64_t now = pl_mono_us();
		assert_true(now >= last);
		last = now;
	}
	assert_true(pl_now_us() > parsed("2025-01-01T00:00:00Z"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(known_times_have_the_expected_text),
		cmocka_unit_test(each_day_of_the_calendar_agrees_with_the_c_library),
		cmocka_unit_test(no_time_overruns_its_text),
		cmocka_unit_test(offsets_and_fractions_are_understood),
		cmocka_unit_test(text_that_is_not_a_time_is_refused),
		cmocka_unit_test(parsing_never_reads_past_the_length),
		cmocka_unit_test(monotonic_time_does_not_go_back),
	};
	return cmocka_run_group_tests_name("base/clock", tests, NULL, NULL);
}
