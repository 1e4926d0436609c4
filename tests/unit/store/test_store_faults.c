// store/store when something goes wrong: locks, deadlocks, time limits, other sessions
// writing the same rows. faults.h has the tools.
#include "faults.h"

// ---- locks held by others

static void a_locked_record_holds_up_nothing_but_its_own_writes(void **state)
{
	struct fixture *f = *state;
	PGconn *other = another_session();
	struct pl_write *w[10], *held;
	int64_t start_us;

	execute(other, "BEGIN; SELECT FROM properties WHERE id = 5 FOR UPDATE");
	start_us = pl_mono_us();
	for (int i = 0; i < 10; i++)
		write_send(f, w[i] = update(f, i + 1, "5.00"));
	held = w[4];
	w[4] = w[9];
	writes_await(f, w, 9);
	for (int i = 0; i < 9; i++)
		outcome_of(w[i], PL_OUTCOME_DONE);
	assert_true(pl_mono_us() - start_us < 4000000); // the lock's time limit is eight seconds
	await_waiting(f);
	assert_false(write_answered(held));
	execute(other, "COMMIT");
	await_one(f, held);
	outcome_of(held, PL_OUTCOME_DONE);
	PQfinish(other);
}

// Both need the connection of the serial statement.
static void a_locked_record_holds_up_no_write_of_a_record_with_siblings(void **state)
{
	struct fixture *f = *state;
	PGconn *other = another_session();
	struct pl_write *held = update(f, 5, "5.00"), *w;
	int64_t start_us;

	ask(f, "UPDATE properties SET has_siblings = true WHERE id IN (6, 7, 8)");
	execute(other, "BEGIN; SELECT FROM properties WHERE id = 5 FOR UPDATE");
	write_send(f, held);
	await_waiting(f);
	start_us = pl_mono_us();
	for (int id = 6; id <= 8; id++) {
		write_now(f, w = update(f, id, "5.00"));
		outcome_of(w, PL_OUTCOME_DONE);
	}
	assert_true(pl_mono_us() - start_us < 4000000); // the lock's time limit is eight seconds
	assert_false(write_answered(held));
	await_waiting(f);
	execute(other, "COMMIT");
	await_one(f, held);
	outcome_of(held, PL_OUTCOME_DONE);
	PQfinish(other);
}

static bool a_batch_has_ended(void *arg)
{
	struct fixture *f = arg;
	struct pl_store_stats stats;

	pl_store_stats(f->store, &stats);
	return stats.batches > 0;
}

// A session that holds the row when the batch arrives releases it before the batch
// ends; then the write needs no separate connection.
static void a_record_that_was_locked_for_a_moment_is_written_by_the_next_batch(void **state)
{
	struct fixture *f = *state;
	PGconn *other = another_session();
	struct pl_write *write = update(f, 5, "5.00");

	execute(other, "BEGIN; SELECT FROM properties WHERE id = 5 FOR UPDATE");
	write_send(f, write);
	assert_true(turn_until(f, a_batch_has_ended, f));
	assert_false(write_answered(write));
	execute(other, "COMMIT");
	await_one(f, write);
	outcome_of(write, PL_OUTCOME_DONE);
	ask_is(f, "0", "SELECT count(*) FROM pg_stat_activity WHERE application_name LIKE '%%careful'");
	PQfinish(other);
}

static void a_lock_held_too_long_is_a_timeout_of_that_write(void **state)
{
	struct fixture *f = *state;
	PGconn *other = another_session();
	struct pl_write *write = update(f, 5, "5.00");

	restart(f, 2000000, 150000);
	execute(other, "BEGIN; SELECT FROM properties WHERE id = 5 FOR UPDATE");
	write_now(f, write);
	failed_with(write, PL_ETIMEOUT);
	assert_string_equal(write->err.sqlstate, "55P03");
	assert_true(write->err.retryable);
	ask_is(f, "0", "SELECT count(*) FROM outbox");
	PQfinish(other);
}

static void a_deadlock_is_retried(void **state)
{
	struct fixture *f = *state;
	PGconn *way = stand_in_the_way(), *other = another_session();
	struct pl_write *write = update(f, 5, "111.00");
	struct pl_store_stats stats;

	// The write holds the record and needs its request id; the other session holds
	// the request id, needs the record, and waits longer.
	write_send(f, write);
	await_rows(f, "pg_locks WHERE locktype = 'advisory' AND NOT granted");
	execute(other, "SET deadlock_timeout = '60s'; SET application_name = 'other'; BEGIN");
	execute(other, pl_arena_printf(f->arena,
	                               "INSERT INTO processed_requests (request_id, fingerprint, resource, "
	                               "record_id, status, vector, dots, "
	                               "expires_at) VALUES ('%s', sha256(''), 'x', 1, 200, '{}', '{}', "
	                               "now())",
	                               write->request_id));
	assert_true(PQsendQuery(other, "UPDATE properties SET price = 1 WHERE id = 5"));
	await_rows(f, "pg_stat_activity WHERE application_name = 'other' AND wait_event_type = 'Lock'");
	PQfinish(way);
	await_rows(f,
	           // the write got the record
	           "pg_stat_activity WHERE application_name = 'other' AND state = 'idle in transaction'");
	for (PGresult *result; (result = PQgetResult(other));)
		PQclear(result);
	execute(other, "ROLLBACK");
	await_one(f, write);
	outcome_of(write, PL_OUTCOME_DONE);
	pl_store_stats(f->store, &stats);
	assert_true(stats.deadlocks >=
	            // a second attempt, which gets the record first because the other
	            // session sleeps so long
	            1);
	ask_is(f, "111.00 2", "SELECT price || ' ' || version FROM properties WHERE id = 5");
	PQfinish(other);
}

static void serialization_failures_are_retried_but_not_endlessly(void **state)
{
	struct fixture *f = *state;
	struct pl_write *w[3] = { update(f, 1, "222.00"), update(f, 2, "3.00"), update(f, 3, "3.00") };

	ask(f, "UPDATE failures_limit SET n = 3");
	for (int i = 0; i < 3; i++)
		write_send(f, w[i]);
	writes_await(f, w, 3);
	for (int i = 0; i < 3; i++)
		outcome_of(w[i], PL_OUTCOME_DONE);
	ask(f, "UPDATE failures_limit SET n = 1000000");
	w[0] = update(f, 1, "222.00");
	write_now(f, w[0]);
	failed_with(w[0], PL_ECONFLICT);
	assert_true(w[0]->err.retryable);
	ask_is(f, "3", "SELECT count(*) FROM outbox");
}

// ---- other sessions writing the same rows under READ COMMITTED

static void a_refusal_shows_the_newest_row(void **state)
{
	struct fixture *f = *state;
	PGconn *other = another_session();
	struct pl_write *w[2] = { update(f, 5, "5.00"), update(f, 6, "5.00") };

	for (int i = 0; i < 2; i++) {
		w[i]->has_version = true;
		w[i]->version = 1 + i; // the second one is correct once the other session has committed
	}
	execute(other, "BEGIN; UPDATE properties SET version = 2, vector = '{\"us\":2}', bedrooms = 9 WHERE "
	               "id IN (5, 6)");
	for (int i = 0; i < 2; i++)
		write_send(f, w[i]);
	await_waiting(f);
	execute(other, "COMMIT");
	writes_await(f, w, 2);
	outcome_of(w[0], PL_OUTCOME_VERSION);
	assert_int_equal(w[0]->record->version, 2);
	assert_string_equal(w[0]->record->values[1], "9");
	// Either version 2 did not exist yet when the second write was checked, and the
	// response says so; or it did, and the write was executed.
	assert_true(w[1]->outcome == PL_OUTCOME_VERSION || w[1]->outcome == PL_OUTCOME_DONE);
	PQfinish(other);
}

static void an_unlocked_write_replaces_the_newest_row(void **state)
{
	struct fixture *f = *state;
	PGconn *other = another_session();
	struct pl_write *write = update(f, 5, "5.00");

	execute(other, "BEGIN; UPDATE properties SET version = 2, vector = '{\"us\":2}', bedrooms = 9, "
	               "updated_at = date_trunc('day', now()) + interval '1 day' WHERE id = 5");
	write_send(f, write);
	await_waiting(f);
	execute(other, "COMMIT");
	await_one(f, write);
	outcome_of(write, PL_OUTCOME_DONE);
	assert_int_equal(write->record->version, 3);
	assert_string_equal(write->record->values[1], "9");
	ask_is(f, "{\"us\": 3} t",
	       "SELECT vector::text || ' ' || (updated_at = date_trunc('day', updated_at) + interval '1 "
	       "microsecond')::text::char FROM properties WHERE id = 5");
	PQfinish(other);
}

// Another worker executes the same request: it holds the record and has inserted the
// request, but not committed.
static void same_request_elsewhere(struct fixture *f, bool with_version)
{
	PGconn *other = another_session();
	struct pl_write *write = update(f, 5, "5.00");

	write->has_version = with_version;
	write->version = 1;
	execute(other, "BEGIN; UPDATE properties SET version = 2, vector = '{\"us\":2}' WHERE id = 5");
	execute(other, pl_arena_printf(f->arena,
	                               "INSERT INTO processed_requests (request_id, fingerprint, resource, "
	                               "record_id, status, response_body, "
	                               "vector, dots, expires_at) VALUES ('%s', decode(repeat('%02x', 32), "
	                               "'hex'), 'properties', 5, 200, '{\"version\":2}', '{\"us\":2}', "
	                               "'{\"us\":2}', now() + interval '1 day')",
	                               write->request_id, write->fingerprint[0]));
	write_send(f, write);
	await_waiting(f);
	execute(other, "COMMIT");
	await_one(f, write);
	outcome_of(write, PL_OUTCOME_REMEMBERED); // and not "version", although the row is newer
	assert_string_equal(write->remembered.body, "{\"version\":2}");
	ask_is(f, "2", "SELECT version FROM properties WHERE id = 5");
	ask_is(f, "0", "SELECT count(*) FROM outbox");
	PQfinish(other);
}

static void the_same_request_done_elsewhere_is_remembered(void **state)
{
	same_request_elsewhere(*state, true);
}

static void the_same_request_done_elsewhere_is_not_done_twice(void **state)
{
	same_request_elsewhere(*state, false);
}

static void a_request_remembered_while_its_batch_runs_is_found(void **state)
{
	struct fixture *f = *state;
	PGconn *way = stand_in_the_way();
	struct pl_write *w[3] = { update(f, 5, "111.00"), update(f, 6, "5.00"), update(f, 7, "5.00") };

	for (int i = 0; i < 3; i++)
		write_send(f, w[i]);
	await_rows(f, "pg_locks WHERE locktype = 'advisory' AND NOT granted");
	ask(f,
	    "INSERT INTO processed_requests (request_id, fingerprint, resource, record_id, status, vector, "
	    "dots, expires_at) VALUES ('%s', "
	    "decode(repeat('%02x', 32), 'hex'), 'properties', 6, 204, '{\"us\":2}', '{\"us\":2}', now() + "
	    "interval '1 day')",
	    w[1]->request_id, w[1]->fingerprint[0]);
	PQfinish(way);
	writes_await(f, w, 3);
	outcome_of(w[0], PL_OUTCOME_DONE);
	outcome_of(w[1], PL_OUTCOME_REMEMBERED);
	outcome_of(w[2], PL_OUTCOME_DONE);
	ask_is(f, "2", "SELECT count(*) FROM outbox");
}

static void a_create_waits_for_another_create_of_its_id(void **state)
{
	struct fixture *f = *state;

	for (int commit = 0; commit < 2; commit++) {
		PGconn *other = another_session();
		struct pl_write *write = write_new(f, PL_WRITE_CREATE, 100);

		write_set(write, "price", "1.00");
		execute(other, "BEGIN; INSERT INTO properties (id, price, region_origin, version) VALUES "
		               "(100, 7, 'eu', 1)");
		write_send(f, write);
		await_waiting(f);
		execute(other, commit ? "COMMIT" : "ROLLBACK");
		await_one(f, write);
		outcome_of(write, commit ? PL_OUTCOME_EXISTS : PL_OUTCOME_DONE);
		assert_string_equal(write->record->region_origin, commit ? "eu" : "us");
		ask(f, "DELETE FROM properties WHERE id = 100");
		PQfinish(other);
	}
}

static void siblings_added_while_a_write_waits_are_replaced_too(void **state)
{
	struct fixture *f = *state;
	PGconn *other = another_session();
	struct pl_write *write = update(f, 5, "5.00");

	execute(other, "BEGIN; UPDATE properties SET version = 3, vector = '{\"us\":2,\"eu\":1}', "
	               "has_siblings = true WHERE id = 5");
	write_send(f, write);
	await_waiting(f);
	execute(other, "INSERT INTO record_siblings (resource, record_id, origin, counter, vector, "
	               "updated_at, fields) SELECT 'properties', 5, o, 1, "
	               "'{}', now(), '{}' FROM unnest(ARRAY['us', 'eu']) o; "
	               "INSERT INTO conflicts (resource, record_id, type, policy_name, policy_sha256, "
	               "siblings, verdict, visible, vector) VALUES "
	               "('properties', 5, 'update_origin_differs', 'p', 'x', '[]', '{}', '{}', '{}'); "
	               "COMMIT");
	await_one(f, write);
	outcome_of(write, PL_OUTCOME_DONE);
	assert_int_equal(write->record->version, 4);
	ask_is(f, "0 1 f",
	       "SELECT (SELECT count(*) FROM record_siblings) || ' ' || (SELECT count(*) FROM conflicts "
	       "WHERE closed_at IS NOT NULL) || ' ' "
	       "|| (SELECT has_siblings FROM properties WHERE id = 5)::text::char");
	PQfinish(other);
}

// ---- limits

static void a_row_that_takes_too_long_fails_alone(void **state)
{
	struct fixture *f = *state;
	struct pl_write *w[8];

	restart(f, 200000, 100000);
	for (int i = 0; i < 8; i++)
		write_send(f, w[i] = update(f, i + 1, i == 2 ? "333.00" : "5.00"));
	writes_await(f, w, 8);
	for (int i = 0; i < 8; i++)
		if (i == 2)
			failed_with(w[i], PL_ETIMEOUT);
		else
			outcome_of(w[i], PL_OUTCOME_DONE);
	assert_string_equal(w[2]->err.sqlstate, "57014");
}

static void a_deadline_ends_each_write_with_what_is_known_about_it(void **state)
{
	struct fixture *f = *state;
	PGconn *way = stand_in_the_way();
	struct pl_write *sent = update(f, 5, "111.00"), *beside = update(f, 6, "5.00"),
			*queued = update(f, 7, "5.00");

	sent->deadline_us = pl_mono_us() + 150000;
	write_send(f, sent);
	write_send(f, beside);
	await_rows(f, "pg_locks WHERE locktype = 'advisory' AND NOT granted");
	queued->deadline_us = pl_mono_us() + 150000;
	write_send(f, queued);
	await_one(f, queued);
	failed_with(queued, PL_ETIMEOUT);
	await_one(f, sent);
	failed_with(sent, PL_EUNKNOWN);
	assert_false(write_answered(beside));
	PQfinish(way);
	await_one(f, beside); // the batch continues without the write whose deadline passed
	outcome_of(beside, PL_OUTCOME_DONE);
	ask_is(f, "111.00", "SELECT price FROM properties WHERE id = 5"); // so "unknown" was correct
}

static void a_get_does_not_wait_behind_a_write(void **state)
{
	struct fixture *f = *state;
	PGconn *way = stand_in_the_way();
	struct pl_write *write = update(f, 5, "111.00");

	write_send(f, write);
	await_rows(f, "pg_locks WHERE locktype = 'advisory' AND NOT granted");
	assert_int_equal(read_now(f, fixture_resource(f, PROPERTIES), 5)->code, 0);
	assert_false(write_answered(write));
	PQfinish(way);
	await_one(f, write);
}

static void a_missing_table_fails_every_write_at_once(void **state)
{
	struct fixture *f = *state;
	struct pl_write *w[8];
	struct pl_store_stats stats;

	ask(f, "ALTER TABLE properties RENAME TO elsewhere");
	for (int i = 0; i < 8; i++)
		write_send(f, w[i] = update(f, i + 1, "5.00"));
	writes_await(f, w, 8);
	for (int i = 0; i < 8; i++)
		failed_with(w[i], PL_EINTERNAL);
	pl_store_stats(f->store, &stats);
	assert_int_equal(stats.retried, 0);
	ask(f, "ALTER TABLE elsewhere RENAME TO properties");
	w[0] = update(f, 1, "5.00");
	write_now(f, w[0]);
	outcome_of(w[0], PL_OUTCOME_DONE);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
#define t(name) cmocka_unit_test_setup_teardown(name, setup, fixture_teardown)
		t(a_locked_record_holds_up_nothing_but_its_own_writes),
		t(a_locked_record_holds_up_no_write_of_a_record_with_siblings),
		t(a_record_that_was_locked_for_a_moment_is_written_by_the_next_batch),
		t(a_lock_held_too_long_is_a_timeout_of_that_write),
		t(a_deadlock_is_retried),
		t(serialization_failures_are_retried_but_not_endlessly),
		t(a_refusal_shows_the_newest_row),
		t(an_unlocked_write_replaces_the_newest_row),
		t(the_same_request_done_elsewhere_is_remembered),
		t(the_same_request_done_elsewhere_is_not_done_twice),
		t(a_request_remembered_while_its_batch_runs_is_found),
		t(a_create_waits_for_another_create_of_its_id),
		t(siblings_added_while_a_write_waits_are_replaced_too),
		t(a_row_that_takes_too_long_fails_alone),
		t(a_deadline_ends_each_write_with_what_is_known_about_it),
		t(a_get_does_not_wait_behind_a_write),
		t(a_missing_table_fails_every_write_at_once),
	};

	if (argc > 1)
		cmocka_set_test_filter(argv[1]); // run one of them: test_store_faults.pg 'a_deadlock*'
	return cmocka_run_group_tests(tests, NULL, NULL);
}
