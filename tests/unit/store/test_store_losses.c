// store/store when connections are lost: writes that were committed or not, answers
// that arrived or not, a stopped server, a store that is freed. faults.h has the tools.
#include "faults.h"

#include "store/store_private.h" // only for cut(): nothing outside the store can close only our end

// Cuts the connection for writes on our side; the backend does not notice and
// continues.
static void cut(struct fixture *f)
{
	pl_conn_drop(f->store->writer->batch_conns[0].conn, "cut by the test");
}

static void a_commit_whose_answer_was_lost_is_done(void **state)
{
	struct fixture *f = *state;
	PGconn *way = stand_in_the_way();
	struct pl_write *w[4] = { update(f, 5, "111.00"), write_new(f, PL_WRITE_DELETE, 6),
		                  write_new(f, PL_WRITE_CREATE, 0), update(f, 99, "1.00") };
	struct pl_store_stats stats;

	write_set(w[2], "price", "9.00");
	for (int i = 0; i < 4; i++)
		write_send(f, w[i]);
	await_rows(f, "pg_locks WHERE locktype = 'advisory' AND NOT granted");
	cut(f);
	turn_for(f, 100000); // the backend still exists: the outcome stays open
	for (int i = 0; i < 4; i++)
		assert_false(write_answered(w[i]));
	PQfinish(way);
	writes_await(f, w, 4);
	for (int i = 0; i < 3; i++)
		outcome_of(w[i], PL_OUTCOME_DONE);
	outcome_of(w[3], PL_OUTCOME_NOT_FOUND);
	assert_int_equal(w[0]->record->version, 2);
	assert_string_equal(w[0]->record->values[0], "111.00");
	assert_true(w[1]->record->deleted);
	assert_int_equal(w[1]->record->version, 2);
	assert_true(w[2]->record->id > 1000000000000);
	ask_is(f, "3", "SELECT count(*) FROM outbox");
	pl_store_stats(f->store, &stats);
	assert_int_equal(stats.settled, 4);
}

// The backend that waits before price 111, other than `but` (0: any).
static int waiting_backend(struct fixture *f, int but)
{
	char sql[200];

	snprintf(sql, sizeof(sql), "pg_locks WHERE locktype = 'advisory' AND NOT granted AND pid <> %d", but);
	await_rows(f, sql);
	return atoi(ask(f, "SELECT pid FROM %s", sql));
}

static void a_write_that_was_not_committed_is_repeated_once(void **state)
{
	struct fixture *f = *state;
	PGconn *way = stand_in_the_way();
	struct pl_write *w[2] = { update(f, 5, "111.00"), update(f, 6, "5.00") };
	int first, second;

	for (int i = 0; i < 2; i++)
		write_send(f, w[i]);
	first = waiting_backend(f, 0);
	ask(f, "SELECT pg_terminate_backend(%d)", first);
	second = waiting_backend(f, first);
	for (int i = 0; i < 2; i++)
		assert_false(write_answered(w[i]));
	ask(f, "SELECT pg_terminate_backend(%d)", second);
	writes_await(f, w, 2); // the connection was lost twice while both were on it
	failed_with(w[0], PL_EUNAVAIL);
	failed_with(w[1], PL_EUNAVAIL);
	ask_is(f, "0", "SELECT count(*) FROM outbox");
	PQfinish(way);
	w[0] = update(f, 5, "111.00");
	write_now(f, w[0]);
	outcome_of(w[0], PL_OUTCOME_DONE);
}

static void an_orphaned_backend_is_terminated_and_the_write_repeated(void **state)
{
	struct fixture *f = *state;
	PGconn *way = stand_in_the_way();
	struct pl_write *write = update(f, 5, "111.00");

	restart(f, 60000000, 60000000);
	write_send(f, write);
	await_rows(f, "pg_locks WHERE locktype = 'advisory' AND NOT granted");
	cut(f);
	turn_for(f, 1500000); // longer than the one second after which the backend is terminated
	PQfinish(way);
	await_one(f, write);
	outcome_of(write, PL_OUTCOME_DONE);
	ask_is(f, "2 1",
	       "SELECT version || ' ' || (SELECT count(*) FROM outbox) FROM properties WHERE id = 5");
}

static void unknown_is_reported_when_the_deadline_passes_before_the_answer(void **state)
{
	struct fixture *f = *state;
	PGconn *way = stand_in_the_way();
	struct pl_write *write = update(f, 5, "111.00"), *nameless = update(f, 6, "5.00");

	nameless->request_id = ""; // the request is not remembered, so its outcome cannot be determined
	write->deadline_us = pl_mono_us() + 500000;
	write_send(f, write);
	write_send(f, nameless);
	await_rows(f, "pg_locks WHERE locktype = 'advisory' AND NOT granted");
	cut(f);
	await_one(f, nameless);
	failed_with(nameless, PL_EUNKNOWN);
	await_one(f, write);
	failed_with(write, PL_EUNKNOWN);
	PQfinish(way);
}

static void writes_wait_for_a_database_that_restarts(void **state)
{
	struct fixture *f = *state;
	struct pl_write *w[4];

	control_server("restart");
	for (int i = 0; i < 4; i++)
		write_send(f, w[i] = update(f, i + 1, "5.00"));
	writes_await(f, w, 4);
	for (int i = 0; i < 4; i++)
		outcome_of(w[i], PL_OUTCOME_DONE);
	PQreset(f->sql);
}

static void an_unavailable_database_is_reported_within_the_connect_timeout(void **state)
{
	struct fixture *f = *state;
	struct pl_write *write = update(f, 1, "5.00");
	int64_t start_us;

	control_server("kill");
	turn_for(f, 100000);
	start_us = pl_mono_us();
	write_now(f, write);
	failed_with(write, PL_EUNAVAIL);
	assert_true(pl_mono_us() - start_us < 2000000);
	assert_int_equal(read_now(f, fixture_resource(f, PROPERTIES), 1)->code, PL_EUNAVAIL);
	assert_int_equal(query_now(f, "SELECT 1", 1)->code, PL_EUNAVAIL);
	assert_int_equal(lookup_now(f, "x", "", write->fingerprint)->code, PL_EUNAVAIL);
	assert_int_equal(answer_now(f, "x", 200, NULL)->code, PL_EUNAVAIL);
	control_server("start");
	PQreset(f->sql);
	assert_true(turn_until(f, fixture_is_ready, f));
	write = update(f, 1, "5.00");
	write_now(f, write);
	outcome_of(write, PL_OUTCOME_DONE);
}

static void a_power_failure_in_the_middle_of_a_batch_neither_loses_nor_repeats_writes(void **state)
{
	struct fixture *f = *state;
	PGconn *way = stand_in_the_way();
	struct pl_write *w[5];

	for (int i = 0; i < 5; i++)
		write_send(f, w[i] = update(f, i + 1, i == 3 ? "111.00" : "5.00"));
	await_rows(f, "pg_locks WHERE locktype = 'advisory' AND NOT granted");
	control_server("kill");
	PQfinish(way);
	control_server("start");
	PQreset(f->sql);
	writes_await(f, w, 5);
	for (int i = 0; i < 5; i++)
		outcome_of(w[i], PL_OUTCOME_DONE);
	ask_is(f, "5 2",
	       "SELECT count(*) || ' ' || max(version) FROM properties JOIN outbox ON record_id = "
	       "properties.id");
}

// ---- the end

struct again {
	struct pl_store *store;
	struct fixture *f;
	struct pl_write *write;
	struct pl_read read;
	bool read_done;
};

static void ask_again_read(struct pl_read *read, void *arg)
{
	struct again *again = arg;

	assert_int_equal(read->code, PL_ESTOPPED);
	assert_false(again->read_done);
	again->read_done = true;
}

static void ask_again(struct pl_write *write, void *arg)
{
	struct again *again = arg;

	(void)write;
	again->read = (struct pl_read){ .arena = again->f->arena,
		                        .resource = fixture_resource(again->f, PROPERTIES),
		                        .id = 1,
		                        .deadline_us = pl_mono_us() + 1000000,
		                        .done = ask_again_read,
		                        .arg = again };
	pl_store_read(again->store, &again->read);
}

static void freeing_the_store_answers_everything_once(void **state)
{
	struct fixture *f = *state;
	PGconn *way = stand_in_the_way();
	struct pl_write *sent = update(f, 5, "111.00"), *queued[3];
	struct again again = { .store = f->store, .f = f, .write = update(f, 9, "1.00") };

	write_send(f, sent);
	await_rows(f, "pg_locks WHERE locktype = 'advisory' AND NOT granted");
	for (int i = 0; i < 3; i++)
		write_send(f, queued[i] = update(f, 10 + i, "5.00"));
	again.write->done = ask_again;
	again.write->arg = &again;
	pl_store_write(f->store, again.write);
	pl_store_free(&f->store);
	assert_true(write_answered(sent));
	failed_with(sent, PL_EUNKNOWN); // it had been sent
	for (int i = 0; i < 3; i++) {
		assert_true(write_answered(queued[i]));
		failed_with(queued[i], PL_ESTOPPED);
	}
	assert_true(again.read_done);
	PQfinish(way);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
#define t(name) cmocka_unit_test_setup_teardown(name, setup, fixture_teardown)
		t(a_commit_whose_answer_was_lost_is_done),
		t(a_write_that_was_not_committed_is_repeated_once),
		t(an_orphaned_backend_is_terminated_and_the_write_repeated),
		t(unknown_is_reported_when_the_deadline_passes_before_the_answer),
		t(writes_wait_for_a_database_that_restarts),
		t(an_unavailable_database_is_reported_within_the_connect_timeout),
		t(a_power_failure_in_the_middle_of_a_batch_neither_loses_nor_repeats_writes),
		t(freeing_the_store_answers_everything_once),
	};

	if (argc > 1)
		cmocka_set_test_filter(argv[1]); // run one of them: test_store_losses.pg 'unknown*'
	return cmocka_run_group_tests(tests, NULL, NULL);
}
