// Parsing option values, readable numbers, progress lines, suggestions.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <string.h>

#include "admin/command.h"
#include "admin/format.h"
#include "admin/parse.h"
#include "admin/progress.h"
#include "base/clock.h"

static void counts_are_whole_numbers(void **state)
{
	int64_t n;
	assert_int_equal(pl_parse_count("0", &n), 0);
	assert_int_equal(n, 0);
	assert_int_equal(pl_parse_count("1000000", &n), 0);
	assert_int_equal(n, 1000000);
	static const char *const bad[] = {
		"", "-1", "1.0", "1e6", " 1", "1 ", "0x10", "99999999999999999999"
	};
	for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++)
		assert_int_equal(pl_parse_count(bad[i], &n), -1);
}

static void durations_have_units_and_seconds_need_none(void **state)
{
	static const struct {
		const char *text;
		int64_t us;
	} good[] = {
		{ "500ms", 500000 },
		{ "10s", 10000000 },
		{ "5m", 300000000 },
		{ "24h", INT64_C(86400000000) },
		{ "90d", INT64_C(7776000000000) },
		{ "3", 3000000 },
		{ "1.25", 1250000 },
		{ "0.000001", 1 },
		{ "0.0000001", 0 },
		{ "1.5h", INT64_C(5400000000) },
		{ "0", 0 },
	};
	static const char *const bad[] = {
		"", "s", "-1s", "1 s", "1w", "1.s", ".5s", "1ss", "99999999999999999d", "200000000d", "1e3"
	};
	int64_t us;
	for (size_t i = 0; i < sizeof(good) / sizeof(*good); i++) {
		assert_int_equal(pl_parse_duration(good[i].text, &us), 0);
		assert_true(us == good[i].us);
	}
	for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++)
		assert_int_equal(pl_parse_duration(bad[i], &us), -1);
}

static void times_are_moments_dates_or_ages(void **state)
{
	int64_t at, now = pl_now_us();
	assert_int_equal(pl_parse_time("2026-02-21T10:00:00Z", &at), 0);
	assert_true(at == INT64_C(1771668000000000));
	assert_int_equal(pl_parse_time("2026-02-21", &at), 0);
	assert_true(at == INT64_C(1771632000000000));
	assert_int_equal(pl_parse_time("2h", &at), 0);
	assert_true(at >= now - INT64_C(7200000000) && at <= pl_now_us() - INT64_C(7200000000));
	assert_int_equal(pl_parse_time("yesterday", &at), -1);
	assert_int_equal(pl_parse_time("2026-13-01", &at), -1);
}

static void ages_and_counts_are_easy_to_read(void **state)
{
	char text[PL_AGE_MAX];
	assert_string_equal(pl_format_age(1250000, text), "1.2 s");
	assert_string_equal(pl_format_age(-5, text), "0.0 s");
	assert_string_equal(pl_format_age(INT64_C(240000000), text), "4 min");
	assert_string_equal(pl_format_age(INT64_C(10800000000), text), "3 h");
	assert_string_equal(pl_format_age(INT64_C(86400000000) * 9, text), "9 d");
	assert_string_equal(pl_format_count(0, text), "0");
	assert_string_equal(pl_format_count(999, text), "999");
	assert_string_equal(pl_format_count(1000, text), "1,000");
	assert_string_equal(pl_format_count(-1234567, text), "-1,234,567");
	assert_string_equal(pl_format_count(-123, text), "-123");
}

static void progress_shows_percentage_speed_and_time_left(void **state)
{
	struct pl_progress progress = { .what = "us", .total = 1000000, .done = 500000 };
	char text[256];
	pl_progress_line(&progress, 2000000, 0, text, sizeof(text));
	assert_string_equal(text, "us  50%  500,000 of 1,000,000  250,000/s  still 2.0 s");
	pl_progress_line(&progress, 2000000, 80, text, sizeof(text));
	assert_int_equal(strncmp(text, "us [########", 12), 0);
	assert_non_null(strstr(text, "##..")); // half of the bar
	assert_true(strlen(text) < 80);
}

static void progress_without_new_items_has_no_speed(void **state)
{
	struct pl_progress progress = { .what = "us", .total = 10, .done = 10, .began_done = 10 };
	char text[256];
	pl_progress_line(&progress, 1000, 0, text, sizeof(text));
	assert_string_equal(text, "us 100%  10 of 10");
	progress = (struct pl_progress){ .what = "us" }; // there is nothing to do
	pl_progress_line(&progress, 0, 0, text, sizeof(text));
	assert_string_equal(text, "us 100%  0 of 0");
}

static void a_misspelt_word_finds_the_nearest_one(void **state)
{
	static const char *const words[] = {
		"config", "conflicts", "migrate", "seed", "lag", "status", NULL
	};
	assert_string_equal(pl_nearest("confg", words), "config");
	assert_string_equal(pl_nearest("conflict", words), "conflicts");
	assert_string_equal(pl_nearest("sed", words), "seed");
	assert_string_equal(pl_nearest("stauts", words), "status");
	assert_string_equal(pl_nearest("mig", words), "migrate");
	static const char *const twins[] = { "region", "regions", "reason", NULL };
	assert_string_equal(pl_nearest("regio", twins),
	                    "region"); // the nearest word, not the last similar one
	assert_string_equal(pl_nearest("regionss", twins), "regions");
	assert_null(pl_nearest("xyz", words));
	assert_null(pl_nearest("", words));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(counts_are_whole_numbers),
		cmocka_unit_test(durations_have_units_and_seconds_need_none),
		cmocka_unit_test(times_are_moments_dates_or_ages),
		cmocka_unit_test(ages_and_counts_are_easy_to_read),
		cmocka_unit_test(progress_shows_percentage_speed_and_time_left),
		cmocka_unit_test(progress_without_new_items_has_no_speed),
		cmocka_unit_test(a_misspelt_word_finds_the_nearest_one),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
