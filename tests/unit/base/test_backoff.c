// Backoff: its bounds, its growth, and its randomness.
#include "base/backoff.h"
#include "base/random.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

static void waits_stay_within_their_bounds_and_the_bounds_double(void **state)
{
	for (int round = 0; round < 2000; round++) {
		struct pl_backoff backoff = { .min_us = 1000, .max_us = 10000 };
		static const int64_t tops[] = { 2000, 4000, 8000, 10000, 10000, 10000 };
		for (int i = 0; i < 6; i++)
			assert_in_range(pl_backoff_next(&backoff), 1000, tops[i]);
	}
}

static void waits_are_spread_over_their_range(void **state)
{
	int low = 0, high = 0;
	for (int i = 0; i < 1000; i++) {
		struct pl_backoff backoff = { .min_us = 0, .max_us = 1000000, .tries = 40 };
		backoff.min_us = 1;
		int64_t wait = pl_backoff_next(&backoff);
		low += wait < 300000;
		high += wait > 700000;
	}
	assert_in_range(low, 150, 450); // about 300 each; outside this range once in 10^20 runs
	assert_in_range(high, 150, 450);
}

static void success_starts_again_from_the_minimum(void **state)
{
	struct pl_backoff backoff = { .min_us = 1000, .max_us = 1000000000 };
	for (int i = 0; i < 100; i++)
		pl_backoff_next(&backoff);
	pl_backoff_reset(&backoff);
	assert_in_range(pl_backoff_next(&backoff), 1000, 2000);
}

static void no_number_of_failures_and_no_bounds_overflow(void **state)
{
	struct pl_backoff backoff = { .min_us = INT64_MAX / 4, .max_us = INT64_MAX };
	for (int i = 0; i < 500; i++)
		assert_true(pl_backoff_next(&backoff) >= INT64_MAX / 4);
	struct pl_backoff equal = { .min_us = 500, .max_us = 500 },
			  swapped = { .min_us = 500, .max_us = 100 };
	for (int i = 0; i < 5; i++) {
		assert_int_equal(pl_backoff_next(&equal), 500);
		assert_int_equal(pl_backoff_next(&swapped), 500);
	}
}

static void random_numbers_stay_below_n_and_reach_all_of_it(void **state)
{
	int seen[7] = { 0 };
	for (int i = 0; i < 7000; i++)
		seen[pl_random_below(7)]++;
	for (int i = 0; i < 7; i++)
		assert_in_range(seen[i], 700, 1300);
	assert_int_equal(pl_random_below(1), 0);
	// A range that does not divide 2^64: a plain remainder would give its lower half
	// twice as often.
	int low = 0;
	for (int i = 0; i < 3000; i++)
		low += pl_random_below(UINT64_MAX / 3 * 2) < UINT64_MAX / 3;
	assert_in_range(low, 1300, 1700);
}

static void *one(void *arg)
{
	for (int i = 0; i < 1000; i++)
		*(uint64_t *)arg = pl_random();
	return NULL;
}

static void threads_do_not_draw_the_same_numbers(void **state)
{
	uint64_t drawn[8];
	pthread_t threads[8];
	for (int i = 0; i < 8; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, one, &drawn[i]), 0);
	for (int i = 0; i < 8; i++) {
		pthread_join(threads[i], NULL);
		for (int k = 0; k < i; k++)
			assert_true(drawn[k] != drawn[i]);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(waits_stay_within_their_bounds_and_the_bounds_double),
		cmocka_unit_test(waits_are_spread_over_their_range),
		cmocka_unit_test(success_starts_again_from_the_minimum),
		cmocka_unit_test(no_number_of_failures_and_no_bounds_overflow),
		cmocka_unit_test(random_numbers_stay_below_n_and_reach_all_of_it),
		cmocka_unit_test(threads_do_not_draw_the_same_numbers),
	};
	return cmocka_run_group_tests_name("base/backoff", tests, NULL, NULL);
}
