// Verdicts on lag: ok, behind, unknown; and the state of a partition.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "admin/lag_facts.h"

static void lag_is_ok_if_no_event_waits(void **state)
{
	assert_int_equal(pl_lag_facts_judge(true, 0, 0, 10), PL_LAG_OK);
	assert_int_equal(pl_lag_facts_judge(true, -1, PL_UNKNOWN, 10),
	                 PL_LAG_OK); // no event is known to wait
}

static void a_short_wait_is_catching_up(void **state)
{
	assert_int_equal(pl_lag_facts_judge(true, 1, 0, 10), PL_LAG_CATCHING_UP);
	assert_int_equal(pl_lag_facts_judge(true, 0, 0.5, 10), PL_LAG_CATCHING_UP);
	assert_int_equal(pl_lag_facts_judge(true, 5, 10, 10), PL_LAG_CATCHING_UP); // up to the limit
}

static void a_wait_beyond_the_limit_is_behind(void **state)
{
	assert_int_equal(pl_lag_facts_judge(true, 5, 10.001, 10), PL_LAG_BEHIND);
	assert_int_equal(pl_lag_facts_judge(true, 1, 0.2, 0), PL_LAG_BEHIND);
}

static void without_the_broker_nothing_is_ok(void **state)
{
	assert_int_equal(pl_lag_facts_judge(false, 0, 0, 10), PL_LAG_BROKER_DOWN);
	assert_string_equal(pl_lag_facts_state_name(PL_LAG_BROKER_DOWN), "broker-down");
}

static void an_origin_is_silent_after_some_heartbeats(void **state)
{
	struct pl_config config = { .kafka.heartbeat_us = 2000000 };
	assert_false(pl_lag_facts_is_silent(&config, 0));
	assert_false(pl_lag_facts_is_silent(&config, 10000000));
	assert_true(pl_lag_facts_is_silent(&config, 10000001));
	assert_true(pl_lag_facts_is_silent(&config, -1)); // never heard from
	config.kafka.heartbeat_us = 10000;
	assert_false(pl_lag_facts_is_silent(
		&config, 5000000)); // a short heartbeat interval does not make the tool impatient
	assert_true(pl_lag_facts_is_silent(&config, 5000001));
}

static void a_region_is_at_the_farther_of_its_two_positions(void **state)
{
	struct pl_offset offset = { .low = 10, .end = 100, .committed = 50 };
	assert_int_equal(pl_lag_facts_from(&offset, 60), 60);
	assert_int_equal(pl_lag_facts_from(&offset, 40), 50);
	assert_int_equal(pl_lag_facts_from(&offset, 100), 100);
}

static void positions_in_a_deleted_topic_do_not_count(void **state)
{
	struct pl_offset offset = { .low = 0, .end = 5, .committed = 900 };
	assert_int_equal(pl_lag_facts_from(&offset, 1000), 0);
	offset.committed = 3;
	assert_int_equal(pl_lag_facts_from(&offset, 1000), 3);
}

static void a_region_that_has_read_nothing_is_at_the_oldest_message(void **state)
{
	struct pl_offset offset = { .low = 7, .end = 9, .committed = -1 };
	assert_int_equal(pl_lag_facts_from(&offset, -1), 7);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(lag_is_ok_if_no_event_waits),
		cmocka_unit_test(a_short_wait_is_catching_up),
		cmocka_unit_test(a_wait_beyond_the_limit_is_behind),
		cmocka_unit_test(without_the_broker_nothing_is_ok),
		cmocka_unit_test(an_origin_is_silent_after_some_heartbeats),
		cmocka_unit_test(a_region_is_at_the_farther_of_its_two_positions),
		cmocka_unit_test(positions_in_a_deleted_topic_do_not_count),
		cmocka_unit_test(a_region_that_has_read_nothing_is_at_the_oldest_message),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
