// When a clock is trusted.
#include "ops/steady.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#define SECOND INT64_C(1000000)
#define DAY    (86400 * SECOND)
#define BEGAN  (20000 * DAY)
#define LONG   (3 * SECOND)

static bool after(struct pl_steady *steady, int64_t seconds, int64_t set_by_us)
{
	return pl_steady_look(steady, BEGAN + seconds * SECOND + set_by_us, 5 * SECOND + seconds * SECOND,
	                      LONG);
}

static void a_clock_is_trusted_when_it_has_kept_pace_for_long_enough(void **state)
{
	struct pl_steady steady = { 0 };

	assert_false(after(&steady, 0, 0));
	assert_false(after(&steady, 2, 0));
	assert_true(after(&steady, 3, 0));
	assert_true(after(&steady, 90, 0));
}

static void a_clock_that_was_set_is_not_trusted_for_a_while(void **state)
{
	static const int64_t set_by_us[] = { DAY, -DAY, 2 * SECOND, -2 * SECOND };

	for (size_t i = 0; i < sizeof(set_by_us) / sizeof(set_by_us[0]); i++) {
		struct pl_steady steady = { 0 };

		after(&steady, 0, 0);
		assert_true(after(&steady, 10, 0));
		assert_false(after(&steady, 11, set_by_us[i]));
		assert_false(after(&steady, 13, set_by_us[i]));
		assert_true(after(&steady, 14, set_by_us[i]));
		assert_false(after(&steady, 15, 0)); // set right again
	}
}

static void a_clock_that_is_slewed_is_trusted(void **state)
{
	struct pl_steady steady = { 0 };

	after(&steady, 0, 0);
	for (int seconds = 3; seconds < 1000; seconds++)
		assert_true(after(&steady, seconds, seconds * 500)); // 500 ppm, as adjtime does
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_clock_is_trusted_when_it_has_kept_pace_for_long_enough),
		cmocka_unit_test(a_clock_that_was_set_is_not_trusted_for_a_while),
		cmocka_unit_test(a_clock_that_is_slewed_is_trusted),
	};
	return cmocka_run_group_tests_name("ops/steady", tests, NULL, NULL);
}
