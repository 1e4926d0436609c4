// Republishing while other sessions hold rows: all others are put into the outbox, and
// these follow once they are free, also if the run was interrupted meanwhile.
#include "../apply/lab.h"

#include "compare/republish.h"

#define PUT     "SELECT count(*) FROM outbox WHERE republished IS NOT NULL"
#define PUT_ID  "SELECT count(*) FROM outbox WHERE republished IS NOT NULL AND record_id = %d"
#define RECORDS 1200 // of which a batch takes PL_REPUBLISH_BATCH

static struct lab lab;
static struct pl_session *session;
static struct pl_republish run;
static PGconn *holders[2]; // sessions that hold rows

static int start(void **state)
{
	lab_start(&lab, &(struct lab_options){ .regions = 1 });
	return 0;
}

static int stop(void **state)
{
	lab_stop(&lab);
	return 0;
}

static int setup(void **state)
{
	lab_empty(&lab);
	lab_ask(&lab, 0, "TRUNCATE republications");
	lab_ask(&lab, 0,
	        "INSERT INTO properties (id, price, region_origin, version, vector) SELECT n, 5, 'us', 1, "
	        "'{\"us\":1}' FROM generate_series(1, %d) AS n",
	        RECORDS);
	session = lab_session(&lab, 0,
	                      (struct pl_session_options){ .application_name = "test republish",
	                                                   .lock_timeout_us = 2000000 });
	return 0;
}

static int teardown(void **state)
{
	for (int i = 0; i < 2; i++) {
		PQfinish(holders[i]);
		holders[i] = NULL;
	}
	pl_republish_fini(&run);
	pl_session_free(&session);
	return 0;
}

static void begin(const int64_t *ids, int n)
{
	struct pl_error err = { 0 };

	pl_republish_fini(&run);
	run = (struct pl_republish){
		.resource = lab_properties(&lab),
		.region = lab_region(&lab, 0),
		.session = session,
		.selection = { .ids = ids, .nids = n, .first = 0, .last = INT64_MAX, .name = "test" },
	};
	if (pl_republish_begin(&run, &err) < 0)
		fail_msg("%s", err.text);
}

// Until it is done, or waits. Returns whether it is done.
static bool go_on(void)
{
	struct pl_error err = { 0 };
	bool done = false;

	for (int steps = 0; !done && (steps == 0 || !run.waiting); steps++) {
		assert_true(steps < 100);
		if (pl_republish_step(&run, &done, &err) < 0)
			fail_msg("%s", err.text);
	}
	return done;
}

static PGconn *hold(const char *rows)
{
	PGconn *other = lab_connect(&lab, 0);
	char sql[128];

	snprintf(sql, sizeof(sql), "BEGIN; SELECT FROM properties WHERE %s FOR NO KEY UPDATE", rows);
	PQclear(PQexec(other, sql));
	holders[holders[0] != NULL] = other;
	return other;
}

static void release(PGconn *other)
{
	PQclear(PQexec(other, "ROLLBACK"));
}

static void rows_that_another_session_holds_come_last(void **state)
{
	PGconn *other = hold("id IN (7, 601)");

	begin(NULL, 0);
	assert_false(go_on());
	lab_is(&lab, "1198", 0, PUT);
	assert_int_equal(run.nleft, 2);
	assert_false(go_on()); // and it does not repeat the others
	lab_is(&lab, "1198", 0, PUT);
	release(other);
	assert_true(go_on());
	lab_is(&lab, "1200", 0, PUT);
	lab_is(&lab, "t", 0,
	       "SELECT min(id) FILTER (WHERE record_id IN (7, 601)) > max(id) FILTER (WHERE record_id NOT IN "
	       "(7, 601)) FROM outbox");
	assert_int_equal(run.records, RECORDS);
	lab_is(&lab, "t", 0, "SELECT ended_at IS NOT NULL FROM republications");
}

static void one_of_them_that_becomes_free_does_not_wait_for_the_others(void **state)
{
	PGconn *first = hold("id = 7"), *second = hold("id BETWEEN 8 AND 40");

	begin(NULL, 0);
	assert_false(go_on());
	release(second);
	assert_false(go_on());
	lab_is(&lab, "1199", 0, PUT);
	release(first);
	assert_true(go_on());
	lab_is(&lab, "1200", 0, PUT);
}

static void an_interrupted_run_does_not_forget_what_was_left(void **state)
{
	PGconn *other = hold("id = 7");

	begin(NULL, 0);
	assert_false(go_on());
	begin(NULL, 0);
	assert_true(run.resumed);
	assert_false(go_on());
	lab_is(&lab, "0", 0, PUT_ID, 7);
	release(other);
	begin(NULL, 0);
	assert_true(go_on());
	lab_is(&lab, "1", 0, PUT_ID, 7);
	lab_is(&lab, "1200", 0, "SELECT count(DISTINCT record_id) FROM outbox");
}

static void a_record_that_does_not_exist_is_not_waited_for(void **state)
{
	static const int64_t ids[] = { 7, 8, RECORDS + 5 };
	PGconn *other = hold("id = 7");

	begin(ids, 3);
	assert_false(go_on());
	lab_is(&lab, "1", 0, PUT);
	PQclear(PQexec(other, "DELETE FROM properties WHERE id = 7; COMMIT"));
	assert_true(go_on());
	lab_is(&lab, "1", 0, PUT);
}

// Whenever it is looked at, somebody writes it.
static void a_row_that_is_nearly_always_held_is_put_between_two_writes(void **state)
{
	static const int64_t ids[] = { 7 };
	PGconn *other = hold("id = 7");

	begin(ids, 1);
	assert_false(go_on());
	assert_int_equal(PQsendQuery(other, "SELECT pg_sleep(0.02); ROLLBACK; SELECT pg_sleep(0.01); BEGIN; "
	                                    "SELECT FROM properties WHERE id = 7 FOR NO KEY UPDATE"),
	                 1);
	go_on();
	lab_is(&lab, "1", 0, PUT);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(rows_that_another_session_holds_come_last, setup, teardown),
		cmocka_unit_test_setup_teardown(one_of_them_that_becomes_free_does_not_wait_for_the_others,
		                                setup, teardown),
		cmocka_unit_test_setup_teardown(an_interrupted_run_does_not_forget_what_was_left, setup,
		                                teardown),
		cmocka_unit_test_setup_teardown(a_record_that_does_not_exist_is_not_waited_for, setup,
		                                teardown),
		cmocka_unit_test_setup_teardown(a_row_that_is_nearly_always_held_is_put_between_two_writes,
		                                setup, teardown),
	};

	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests(tests, start, stop);
}
