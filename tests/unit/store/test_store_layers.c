// store/write_batch: writes of a hot record share a transaction, in layers, but each
// write has its own outcome.
#include "faults.h"

enum { N = 8 };

// Writes of one record, queued before the store runs.
static void send_all(struct fixture *f, struct pl_write **w, int n, int64_t id, int special,
                     const char *price)
{
	for (int i = 0; i < n; i++)
		write_send(f, w[i] = update(f, id, i == special ? price : "5.00"));
}

static void versions_follow_the_order_of_arrival(struct pl_write **w, int n, int version)
{
	for (int i = 0; i < n; i++) {
		if (w[i]->outcome == PL_OUTCOME_DONE)
			assert_int_equal(w[i]->record->version, ++version);
	}
}

static void writes_of_a_hot_record_are_one_transaction(void **state)
{
	struct fixture *f = *state;
	struct pl_write *w[N];
	struct pl_store_stats stats;

	send_all(f, w, N, 5, -1, NULL);
	writes_await(f, w, N);
	for (int i = 0; i < N; i++)
		outcome_of(w[i], PL_OUTCOME_DONE);
	versions_follow_the_order_of_arrival(w, N, 1);
	ask_is(f, "8 1", "SELECT count(*) || ' ' || count(DISTINCT xmin::text) FROM outbox");
	ask_is(f, "8 1", "SELECT count(*) || ' ' || count(DISTINCT xmin::text) FROM processed_requests");
	ask_is(f, "t",
	       "SELECT bool_and(v = n) FROM (SELECT (value::jsonb->>'version')::int - 1 v, row_number() OVER "
	       "(ORDER BY id) n FROM outbox) o");
	pl_store_stats(f->store, &stats);
	assert_int_equal(stats.stacked, N - 1);
}

static void three_writes_of_a_record_are_too_few_for_layers(void **state)
{
	struct fixture *f = *state;
	struct pl_write *w[3];

	send_all(f, w, 3, 5, -1, NULL);
	writes_await(f, w, 3);
	ask_is(f, "3 3", "SELECT count(*) || ' ' || count(DISTINCT xmin::text) FROM outbox");
}

static void writes_that_lock_a_version_are_not_stacked(void **state)
{
	struct fixture *f = *state;
	struct pl_write *w[N];
	struct pl_store_stats stats;

	for (int i = 0; i < N; i++) {
		w[i] = update(f, 5, "5.00");
		w[i]->has_version = true;
		w[i]->version = 1;
		write_send(f, w[i]);
	}
	writes_await(f, w, N);
	outcome_of(w[0], PL_OUTCOME_DONE);
	for (int i = 1; i < N; i++) {
		outcome_of(w[i], PL_OUTCOME_VERSION);
		assert_int_equal(w[i]->record->version, 2);
	}
	pl_store_stats(f->store, &stats);
	assert_int_equal(stats.stacked, 0);
	assert_int_equal(stats.batches, 1);
}

static void nothing_overtakes_a_write_of_its_record(void **state)
{
	struct fixture *f = *state;
	struct pl_write *w[N];

	for (int i = 0; i < N; i++) {
		w[i] = update(f, 5, "5.00");
		w[i]->has_version = i == 3;
		w[i]->version = 4; // after the three before it
		write_send(f, w[i]);
	}
	writes_await(f, w, N);
	for (int i = 0; i < N; i++)
		outcome_of(w[i], PL_OUTCOME_DONE);
	versions_follow_the_order_of_arrival(w, N, 1);
}

static void a_layer_that_the_database_refuses_fails_alone(void **state)
{
	struct fixture *f = *state;

	for (int wrong = 0; wrong < N; wrong++) {
		struct pl_write *w[N];

		ask(f, "TRUNCATE outbox, processed_requests");
		ask(f, "UPDATE properties SET version = 1, vector = '{\"us\":1}' WHERE id = 5");
		send_all(f, w, N, 5, wrong, "666.00");
		writes_await(f, w, N);
		for (int i = 0; i < N; i++)
			outcome_of(w[i], i == wrong ? PL_OUTCOME_REFUSED : PL_OUTCOME_DONE);
		versions_follow_the_order_of_arrival(w, N, 1);
		ask_is(f, "7 7 8",
		       "SELECT (SELECT count(*) FROM outbox) || ' ' || (SELECT count(*) FROM "
		       "processed_requests) || ' ' || version "
		       "FROM properties WHERE id = 5");
	}
}

static void layers_share_a_batch_with_writes_of_other_records(void **state)
{
	struct fixture *f = *state;
	struct pl_write *w[3 * N];

	for (int i = 0; i < 3 * N; i++)
		write_send(f, w[i] = update(f, i % 3 == 0 ? i / 3 + 10 : i % 3, i == 10 ? "666.00" : "5.00"));
	writes_await(f, w, 3 * N);
	for (int i = 0; i < 3 * N; i++)
		outcome_of(w[i], i == 10 ? PL_OUTCOME_REFUSED : PL_OUTCOME_DONE);
	ask_is(f, "8 9",
	       "SELECT string_agg(version::text, ' ' ORDER BY id) FROM properties WHERE id IN (1, 2)");
	ask_is(f, "23", "SELECT count(*) FROM outbox");
}

// Otherwise the layer would take a lock after those that the first layer has taken in
// order.
static void a_record_that_was_in_an_earlier_batch_is_in_no_layer_of_this_one(void **state)
{
	struct fixture *f = *state;
	PGconn *way = stand_in_the_way();
	struct pl_write *a[5], *b[5], *later[5], *all[15];

	f->config->database.batch = 1; // so that the other record has to wait
	send_all(f, a, 5, 5, 0, "111.00");
	await_rows(f, "pg_locks WHERE locktype = 'advisory' AND NOT granted");
	send_all(f, b, 5, 6, -1, NULL);
	send_all(f, later, 5, 5, -1, NULL);
	PQfinish(way);
	for (int i = 0; i < 15; i++)
		all[i] = i < 5 ? a[i] : i < 10 ? b[i - 5] : later[i - 10];
	writes_await(f, all, 15);
	for (int i = 0; i < 15; i++)
		outcome_of(all[i], PL_OUTCOME_DONE);
	ask_is(f, "15 3", "SELECT count(*) || ' ' || count(DISTINCT xmin::text) FROM outbox");
	ask_is(f, "0",
	       "SELECT count(*) FROM (SELECT FROM outbox GROUP BY xmin::text HAVING count(DISTINCT "
	       "record_id) > 1) o");
}

static void a_layer_that_was_executed_elsewhere_is_remembered(void **state)
{
	struct fixture *f = *state;
	PGconn *way = stand_in_the_way();
	struct pl_write *w[N];

	send_all(f, w, N, 5, 1, "111.00");
	await_rows(f, "pg_locks WHERE locktype = 'advisory' AND NOT granted");
	ask(f,
	    "INSERT INTO processed_requests (request_id, fingerprint, resource, record_id, status, vector, "
	    "dots, expires_at) VALUES ('%s', "
	    "decode(repeat('%02x', 32), 'hex'), 'properties', 5, 204, '{\"us\":2}', '{\"us\":2}', now() + "
	    "interval '1 day')",
	    w[4]->request_id, w[4]->fingerprint[0]);
	PQfinish(way);
	writes_await(f, w, N);
	for (int i = 0; i < N; i++)
		outcome_of(w[i], i == 4 ? PL_OUTCOME_REMEMBERED : PL_OUTCOME_DONE);
	ask_is(f, "7", "SELECT count(*) FROM outbox");
}

static void layers_that_lose_their_connection_are_each_done_once(void **state)
{
	struct fixture *f = *state;
	PGconn *way = stand_in_the_way();
	struct pl_write *w[N];
	struct pl_store_stats stats;

	send_all(f, w, N, 5, 3, "111.00");
	await_rows(f, "pg_locks WHERE locktype = 'advisory' AND NOT granted");
	ask_is(f, "1",
	       "SELECT version FROM properties WHERE id = 5"); // three layers are executed, none is committed
	ask(f, "SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted");
	PQfinish(way);
	writes_await(f, w, N);
	for (int i = 0; i < N; i++)
		outcome_of(w[i], PL_OUTCOME_DONE);
	ask_is(f, "9", "SELECT version FROM properties WHERE id = 5");
	ask_is(f, "8", "SELECT count(*) FROM outbox");
	pl_store_stats(f->store, &stats);
	assert_int_equal(stats.settled, N); // each was found not to be written, and then written
}

static void a_deadline_takes_one_layer_out_and_leaves_the_others(void **state)
{
	struct fixture *f = *state;
	PGconn *way = stand_in_the_way();
	struct pl_write *w[N];

	for (int i = 0; i < N; i++) {
		w[i] = update(f, 5, i == 1 ? "111.00" : "5.00");
		if (i == 2)
			w[i]->deadline_us = pl_mono_us() + 300000;
		write_send(f, w[i]);
	}
	await_one(f, w[2]);
	failed_with(w[2], PL_EUNKNOWN);
	PQfinish(way);
	writes_await(f, w, N);
	for (int i = 0; i < N; i++)
		if (i != 2)
			outcome_of(w[i], PL_OUTCOME_DONE);
	ask_is(f, "9",
	       "SELECT version FROM properties WHERE id = 5"); // w[2] was written, too: its id was unknown
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define t(name) cmocka_unit_test_setup_teardown(name, setup, fixture_teardown)
		t(writes_of_a_hot_record_are_one_transaction),
		t(three_writes_of_a_record_are_too_few_for_layers),
		t(writes_that_lock_a_version_are_not_stacked),
		t(nothing_overtakes_a_write_of_its_record),
		t(a_layer_that_the_database_refuses_fails_alone),
		t(layers_share_a_batch_with_writes_of_other_records),
		t(a_record_that_was_in_an_earlier_batch_is_in_no_layer_of_this_one),
		t(a_layer_that_was_executed_elsewhere_is_remembered),
		t(layers_that_lose_their_connection_are_each_done_once),
		t(a_deadline_takes_one_layer_out_and_leaves_the_others),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
