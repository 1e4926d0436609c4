// When a relay or an applier waits for more events, by the rate at which they arrive.
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "kafka/linger.h"

#define MS        INT64_C(1000)
#define LINGER_US (40 * MS)

// Whether the next batch waits, if one of `events` is taken every `every_us`.
static bool waits(int events, int64_t every_us)
{
	struct pl_linger linger = { 0 };
	int64_t now_us = 3600 * 1000 * MS;

	for (int i = 0; i < 5; i++, now_us += every_us)
		pl_linger_note(&linger, events, now_us, LINGER_US);
	return pl_linger_until(&linger, LINGER_US) != 0;
}

static void many_events_in_a_short_time_make_the_next_batch_wait(void **state)
{
	struct pl_linger linger = { 0 };

	(void)state;
	pl_linger_note(&linger, 100, 5000 * MS, LINGER_US);
	pl_linger_note(&linger, 100, 5010 * MS, LINGER_US);
	assert_int_equal(pl_linger_until(&linger, LINGER_US), 5050 * MS);
	assert_true(waits(32, 40 * MS));
	assert_true(waits(1000, 100 * MS));
}

static void few_events_never_do(void **state)
{
	(void)state;
	assert_false(waits(31, 1 * MS));
	assert_false(waits(0, 1 * MS));
}

static void many_events_of_a_long_time_do_not(void **state)
{
	(void)state;
	assert_false(waits(38, 77 * MS)); // 500 a second, and a broker that takes 37 ms
	assert_false(waits(100, 1000 * MS));
}

static void one_large_batch_after_a_pause_does_not(void **state)
{
	struct pl_linger linger = { 0 };

	(void)state;
	pl_linger_note(&linger, 1, 1000 * MS, LINGER_US);
	pl_linger_note(&linger, 500, 3000 * MS, LINGER_US);
	assert_int_equal(pl_linger_until(&linger, LINGER_US), 0);
}

static void waiting_ends_with_the_first_small_batch(void **state)
{
	struct pl_linger linger = { 0 };

	(void)state;
	pl_linger_note(&linger, 100, 5000 * MS, LINGER_US);
	pl_linger_note(&linger, 100, 5010 * MS, LINGER_US);
	pl_linger_note(&linger, 3, 5050 * MS, LINGER_US);
	assert_int_equal(pl_linger_until(&linger, LINGER_US), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(many_events_in_a_short_time_make_the_next_batch_wait),
		cmocka_unit_test(few_events_never_do),
		cmocka_unit_test(many_events_of_a_long_time_do_not),
		cmocka_unit_test(one_large_batch_after_a_pause_does_not),
		cmocka_unit_test(waiting_ends_with_the_first_small_batch),
	};

	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
