// Rows in flight: which of the acknowledged ones may go.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "replicate/flight.h"

static struct pl_flights flights;
static int64_t ids[8];

static int setup(void **state)
{
	pl_flights_fini(&flights);
	for (int64_t id = 11; id <= 15; id++)
		pl_flights_add(&flights, id, PL_FLIGHT_SENT);
	return 0;
}

static int teardown(void **state)
{
	pl_flights_fini(&flights);
	return 0;
}

static void what_follows_a_row_without_an_answer_stays(void **state)
{
	pl_flights_set(&flights, 11, PL_FLIGHT_DONE);
	pl_flights_set(&flights, 12, PL_FLIGHT_DONE);
	pl_flights_set(&flights, 14, PL_FLIGHT_DONE);
	assert_int_equal(pl_flights_settled(&flights, ids), 2);
	assert_int_equal(ids[0], 11);
	assert_int_equal(ids[1], 12);
	pl_flights_drop(&flights, PL_FLIGHT_DONE, ids[1]);
	assert_int_equal(flights.n, 3);
	assert_int_equal(flights.done, 1);
	assert_int_equal(flights.sent, 2);
	assert_int_equal(pl_flights_settled(&flights, ids), 0);
	pl_flights_set(&flights, 13, PL_FLIGHT_DONE);
	assert_int_equal(pl_flights_settled(&flights, ids), 2);
}

static void what_is_set_aside_holds_nothing_up(void **state)
{
	pl_flights_set(&flights, 11, PL_FLIGHT_ASIDE);
	pl_flights_set(&flights, 12, PL_FLIGHT_DONE);
	assert_int_equal(pl_flights_settled(&flights, ids), 1);
	assert_int_equal(ids[0], 12);
	pl_flights_drop(&flights, PL_FLIGHT_ASIDE, INT64_MAX);
	assert_int_equal(flights.aside, 0);
	assert_int_equal(flights.n, 4);
}

static void an_answer_about_an_earlier_life_changes_nothing(void **state)
{
	assert_false(pl_flights_set(&flights, 10, PL_FLIGHT_DONE));
	assert_int_equal(flights.sent, 5);
	assert_int_equal(pl_flights_settled(&flights, ids), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(what_follows_a_row_without_an_answer_stays, setup, teardown),
		cmocka_unit_test_setup_teardown(what_is_set_aside_holds_nothing_up, setup, teardown),
		cmocka_unit_test_setup_teardown(an_answer_about_an_earlier_life_changes_nothing, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
