// Rows in flight: which acknowledged rows are complete.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "relay/in_flight.h"

static struct pl_in_flight in_flight;

static int setup(void **state)
{
	pl_in_flight_fini(&in_flight);
	for (int64_t id = 11; id <= 15; id++)
		pl_in_flight_add(&in_flight, &(struct pl_in_flight_row){ .id = id,
		                                                         .record = (uint32_t)(id % 2),
		                                                         .state = PL_IN_FLIGHT_SENT });
	return 0;
}

static int teardown(void **state)
{
	pl_in_flight_fini(&in_flight);
	return 0;
}

static void rows_behind_an_unanswered_one_stay(void **state)
{
	pl_in_flight_set(&in_flight, 11, PL_IN_FLIGHT_DONE);
	pl_in_flight_set(&in_flight, 12, PL_IN_FLIGHT_DONE);
	pl_in_flight_set(&in_flight, 14, PL_IN_FLIGHT_DONE);
	assert_int_equal(pl_in_flight_settled(&in_flight), 2);
	pl_in_flight_drop(&in_flight, PL_IN_FLIGHT_DONE, 12);
	assert_int_equal(pl_in_flight_first(&in_flight), 13);
	assert_false(pl_in_flight_set(&in_flight, 12, PL_IN_FLIGHT_DONE)); // it is complete
	assert_int_equal(pl_in_flight_settled(&in_flight), 0);
	pl_in_flight_set(&in_flight, 13, PL_IN_FLIGHT_DONE);
	assert_int_equal(pl_in_flight_settled(&in_flight), 2);
}

static void a_refused_row_is_recalled_with_the_later_rows_of_its_record(void **state)
{
	pl_in_flight_set(&in_flight, 11, PL_IN_FLIGHT_DONE);
	pl_in_flight_set(&in_flight, 12, PL_IN_FLIGHT_REFUSED);
	pl_in_flight_set(&in_flight, 13, PL_IN_FLIGHT_DONE);
	pl_in_flight_set(&in_flight, 14, PL_IN_FLIGHT_DONE);
	pl_in_flight_set(&in_flight, 15, PL_IN_FLIGHT_DONE);
	assert_int_equal(pl_in_flight_settled(&in_flight), 1);
	assert_int_equal(pl_in_flight_recall(&in_flight), 2);
	pl_in_flight_drop(&in_flight, PL_IN_FLIGHT_REFUSED, INT64_MAX);
	assert_int_equal(pl_in_flight_recall(&in_flight), 0);
	assert_int_equal(pl_in_flight_settled(&in_flight), 3);
	pl_in_flight_drop(&in_flight, PL_IN_FLIGHT_DONE, 11);
	assert_int_equal(pl_in_flight_first(&in_flight), 13);
	pl_in_flight_drop(&in_flight, PL_IN_FLIGHT_DONE, 13);
	assert_int_equal(pl_in_flight_first(&in_flight), 15);
}

static void an_answer_about_a_row_that_is_not_in_flight_changes_nothing(void **state)
{
	assert_false(pl_in_flight_set(&in_flight, 10, PL_IN_FLIGHT_DONE));
	assert_int_equal(pl_in_flight_first(&in_flight), 11);
	assert_int_equal(pl_in_flight_settled(&in_flight), 0);
}

static void bytes_count_until_the_broker_has_answered(void **state)
{
	struct pl_in_flight_row large = { .id = 20, .bytes = 1000, .state = PL_IN_FLIGHT_SENT };

	assert_int_equal(in_flight.bytes, 0);
	pl_in_flight_add(&in_flight, &large);
	large.id = 21;
	pl_in_flight_add(&in_flight, &large);
	assert_int_equal(in_flight.bytes, 2000);
	pl_in_flight_set(&in_flight, 20, PL_IN_FLIGHT_DONE);
	pl_in_flight_set(&in_flight, 20, PL_IN_FLIGHT_DONE);
	assert_int_equal(in_flight.bytes, 1000);
	pl_in_flight_drop(&in_flight, PL_IN_FLIGHT_DONE, INT64_MAX);
	assert_int_equal(in_flight.bytes, 1000);
	pl_in_flight_drop(&in_flight, PL_IN_FLIGHT_SENT, 20);
	assert_int_equal(in_flight.bytes, 1000);
	pl_in_flight_drop(&in_flight, PL_IN_FLIGHT_SENT, 21);
	assert_int_equal(in_flight.bytes, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(rows_behind_an_unanswered_one_stay, setup, teardown),
		cmocka_unit_test_setup_teardown(a_refused_row_is_recalled_with_the_later_rows_of_its_record,
		                                setup, teardown),
		cmocka_unit_test_setup_teardown(an_answer_about_a_row_that_is_not_in_flight_changes_nothing,
		                                setup, teardown),
		cmocka_unit_test_setup_teardown(bytes_count_until_the_broker_has_answered, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
