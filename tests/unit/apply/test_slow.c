// Events that take as long as the database allows, as when a trigger sleeps, hold up the
// others for little more than one statement_timeout, and are applied later.
#include "lab_applier.h"

#include "base/clock.h"

#define STATEMENT_US INT64_C(2000000) // this session's statement_timeout
#define SLEEPS                                                                                            \
	"CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN PERFORM pg_sleep(60); RETURN " \
	"NEW; END'; CREATE TRIGGER slow BEFORE INSERT OR UPDATE ON properties FOR EACH ROW WHEN "         \
	"(NEW.price = 13) EXECUTE FUNCTION slow()"
#define SLEEPS_NO_MORE "DROP FUNCTION slow() CASCADE"
// At the end of the transaction
#define SLEEPS_LATER                                                                                      \
	"CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN PERFORM pg_sleep(60); RETURN " \
	"NULL; END'; CREATE CONSTRAINT TRIGGER slow AFTER INSERT OR UPDATE ON properties DEFERRABLE "     \
	"INITIALLY DEFERRED FOR EACH ROW WHEN (NEW.price = 13) EXECUTE FUNCTION slow()"
// Without a trigger, so that the error does not say that it was raised by one.
#define SLOW_CHECK                                                                                       \
	"ALTER TABLE properties ADD CONSTRAINT slow CHECK (price <> 13 OR pg_sleep(60)::text = '') NOT " \
	"VALID"
#define NO_SLOW_CHECK "ALTER TABLE properties DROP CONSTRAINT slow"

static int setup(void **state)
{
	lab_applier_setup(state);
	pl_session_do(eu.tools.session, "SET statement_timeout = 2000", NULL);
	return 0;
}

// Applies events of slow records (100, …) and of others (200, …) in turns, as one batch.
// Returns how long it took.
static int64_t apply(int nslow, int nothers, int version)
{
	struct pl_message messages[64];
	const char *vector = pl_arena_printf(lab.arena, "{\"us\":%d}", version);
	int64_t begun_us = pl_mono_us();
	int n = 0;

	for (int i = 0; i < nslow || i < nothers; i++) {
		if (i < nslow)
			messages[n++] = lab_message(&lab, &(struct lab_write){ .origin = "us",
			                                                       .vector = vector,
			                                                       .id = 100 + i,
			                                                       .price = "13.00",
			                                                       .create = version == 1 });
		if (i < nothers)
			messages[n++] = lab_message(&lab, &(struct lab_write){ .origin = "us",
			                                                       .vector = vector,
			                                                       .id = 200 + i,
			                                                       .create = version == 1 });
	}
	lab_apply_messages(messages, n);
	return pl_mono_us() - begun_us;
}

#define OTHERS "SELECT count(*) FROM properties WHERE id >= 200 AND version = %d"
#define SLOW   "SELECT count(*) FROM properties WHERE id < 200"

static void slow_events_hold_up_the_others_of_their_batch_once(void **state)
{
	lab_ask(&lab, 1, SLEEPS);
	assert_true(apply(4, 4, 1) < 4 * STATEMENT_US); // two before, and one for each
	lab_is(&lab, "4", 1, OTHERS, 1);
	lab_is(&lab, "4 57014", 1, "SELECT format('%%s %%s', count(*), min(sqlstate)) FROM parked_events");
	assert_true(apply(4, 4, 2) < STATEMENT_US / 4); // these records are known
	lab_is(&lab, "4", 1, OTHERS, 2);
	lab_is(&lab, "8", 1, PARKED);
	lab_ask(&lab, 1, SLEEPS_NO_MORE);
	lab_retry(8);
	lab_is(&lab, "0", 1, PARKED);
	lab_is(&lab, "4", 1, SLOW);
	apply(4, 4, 3);
	lab_is(&lab, "0", 1, PARKED);
	lab_is(&lab, "8", 1, "SELECT count(*) FROM properties WHERE version = 3");
}

static void those_that_sleep_when_the_transaction_ends_do_so_too(void **state)
{
	lab_ask(&lab, 1, SLEEPS_LATER);
	assert_true(apply(2, 2, 1) < 4 * STATEMENT_US);
	lab_is(&lab, "2", 1, OTHERS, 1);
	lab_is(&lab, "2", 1, PARKED);
	lab_ask(&lab, 1, SLEEPS_NO_MORE);
	lab_retry(2);
	lab_is(&lab, "2", 1, SLOW);
}

static void if_all_events_of_a_table_are_slow_a_few_are_tried(void **state)
{
	lab_ask(&lab, 1, SLEEPS);
	assert_true(apply(40, 0, 1) < 5 * STATEMENT_US);
	lab_is(&lab, "40", 1, PARKED);
	lab_ask(&lab, 1, SLEEPS_NO_MORE);
	lab_retry(40);
	lab_is(&lab, "40", 1, SLOW);
}

static void a_slow_event_alone_is_parked_and_gets_more_time_with_each_retry(void **state)
{
	int64_t begun_us, took_us[3];

	lab_ask(&lab, 1, SLOW_CHECK);
	apply(1, 0, 1);
	lab_is(&lab, "1", 1, PARKED);
	for (int i = 0; i < 3; i++) {
		begun_us = pl_mono_us();
		lab_retry(1);
		took_us[i] = pl_mono_us() - begun_us;
		lab_is(&lab, "1", 1, PARKED);
	}
	assert_true(took_us[0] < STATEMENT_US / 2 && took_us[2] > took_us[1] && took_us[1] > took_us[0]);
	lab_ask(&lab, 1, NO_SLOW_CHECK);
	lab_retry(1);
	lab_is(&lab, "1", 1, SLOW);
}

#define T(test) cmocka_unit_test_setup_teardown(test, setup, lab_applier_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(slow_events_hold_up_the_others_of_their_batch_once),
		T(those_that_sleep_when_the_transaction_ends_do_so_too),
		T(if_all_events_of_a_table_are_slow_a_few_are_tried),
		T(a_slow_event_alone_is_parked_and_gets_more_time_with_each_retry),
	};

	return cmocka_run_group_tests(tests, lab_applier_start, lab_applier_stop);
}
