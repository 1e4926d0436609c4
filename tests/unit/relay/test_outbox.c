// replicate/outbox against a real PostgreSQL: nothing is lost, nothing is read twice, each record's events come in order, whatever order
// transactions commit in.
#include "lab.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "replicate/flight.h"
#include "replicate/outbox.h"

#define WRITERS 6
#define RECORDS 5

static struct lab lab;
static struct pl_session *session;
static struct pl_outbox_cursor cursor;
static struct pl_flights flights;

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
	struct pl_error err = { 0 };

	lab_empty(&lab);
	memset(&cursor, 0, sizeof cursor);
	session = pl_session_new(&(struct pl_session_options){ .dsn = lab.dsn[0], .application_name = "test outbox", .connect_timeout_us = 2000000,
		.statement_timeout_us = 5000000, .stop_fd = -1, .setup = pl_outbox_setup });
	if (pl_session_connect(session, &err) < 0)
		fail_msg("%s", err.text);
	return 0;
}

static int teardown(void **state)
{
	pl_flights_fini(&flights);
	pl_session_free(&session);
	return 0;
}

static void say(PGconn *sql, const char *text)
{
	PGresult *result = PQexec(sql, text);

	if (PQresultStatus(result) != PGRES_COMMAND_OK && PQresultStatus(result) != PGRES_TUPLES_OK)
		fail_msg("%s: %s", text, PQerrorMessage(sql));
	PQclear(result);
}

static void insert(PGconn *sql, int record)
{
	char text[512];

	snprintf(text, sizeof text, "INSERT INTO outbox (resource, record_id, origin, value, vector, request_id, fingerprint, status, expires_at) "
	         "VALUES ('properties', %d, 'us', '{}', '{\"us\": 1}', gen_random_uuid()::text, '\\x00', 200, now())", record);
	say(sql, text);
}

// Reads, and takes what came as in flight. The ids, ascending.
static int read_some(int limit, bool whole, int64_t *ids_r)
{
	struct pl_outbox_batch batch;
	struct pl_error err = { 0 };
	int64_t excluded[4096];
	int n = pl_flights_ids(&flights, excluded);

	if (pl_outbox_read(session, &cursor, excluded, n, limit, whole, &batch, &err) < 0)
		fail_msg("%s", err.text);
	n = batch.n;
	for (int i = 0; i < n; i++) {
		ids_r[i] = batch.rows[i].id;
		if (i > 0)
			assert_true(ids_r[i] > ids_r[i - 1]);
		pl_flights_add(&flights, ids_r[i], PL_FLIGHT_SENT);
	}
	pl_outbox_batch_fini(&batch);
	return n;
}

static int ids_in(enum pl_flight_state state, int64_t *ids_r)
{
	int n = 0;

	for (int i = 0; i < flights.n; i++)
		if (flights.rows[i].state == state)
			ids_r[n++] = flights.rows[i].id;
	return n;
}

// In any order, which is more than the relay asks of the outbox.
static void delete_done(void)
{
	int64_t ids[4096];
	struct pl_error err = { 0 };
	int n = ids_in(PL_FLIGHT_DONE, ids);

	if (n > 0 && pl_outbox_delete(session, &cursor, ids, n, &err) < 0)
		fail_msg("%s", err.text);
	pl_flights_drop(&flights, PL_FLIGHT_DONE, INT64_MAX);
}

static void acknowledge_all(void)
{
	int64_t ids[4096];
	int n = ids_in(PL_FLIGHT_SENT, ids);

	for (int i = 0; i < n; i++)
		pl_flights_set(&flights, ids[i], PL_FLIGHT_DONE);
	delete_done();
}

static void rows_come_in_order_and_once(void **state)
{
	int64_t ids[16];

	for (int i = 0; i < 5; i++)
		insert(lab.sql[0], i);
	assert_int_equal(read_some(3, false, ids), 3);
	assert_int_equal(read_some(3, false, ids), 2);
	assert_int_equal(read_some(3, false, ids), 0);
	acknowledge_all();
	lab_is(&lab, "0", 0, "SELECT count(*) FROM outbox");
	assert_int_equal(read_some(3, false, ids), 0);
}

static void a_row_that_commits_late_is_read_below_what_was_read(void **state)
{
	PGconn *slow = lab_connect(&lab, 0);
	int64_t ids[16];

	say(slow, "BEGIN");
	insert(slow, 1);
	for (int round = 0; round < 5; round++) { // others come and go meanwhile, and the floor must not pass over it
		insert(lab.sql[0], 2);
		assert_int_equal(read_some(10, false, ids), 1);
		acknowledge_all();
	}
	say(slow, "COMMIT");
	assert_int_equal(read_some(10, false, ids), 1);
	assert_true(ids[0] < cursor.high);
	PQfinish(slow);
}

static void the_floor_follows_what_is_deleted(void **state)
{
	int64_t ids[16];

	for (int round = 0; round < 4; round++) {
		insert(lab.sql[0], round);
		assert_int_equal(read_some(10, false, ids), 1);
		acknowledge_all();
	}
	assert_int_equal(read_some(10, false, ids), 0);
	assert_true(cursor.floor > 0);
	assert_true(cursor.high - cursor.floor <= 2);
}

static void a_row_below_the_floor_is_found_by_a_whole_read(void **state)
{
	int64_t ids[16];

	for (int round = 0; round < 4; round++) {
		insert(lab.sql[0], round);
		read_some(10, false, ids);
		acknowledge_all();
	}
	read_some(10, false, ids);
	lab_ask(&lab, 0, "INSERT INTO outbox (id, resource, record_id, origin, value, vector, request_id, fingerprint, status, expires_at) "
	        "OVERRIDING SYSTEM VALUE VALUES (-5, 'properties', 1, 'us', '{}', '{\"us\": 1}', 'x', '\\x00', 200, now())");
	assert_int_equal(read_some(10, false, ids), 0);
	assert_int_equal(read_some(10, true, ids), 1);
	assert_true(ids[0] == -5);
}

static void the_look_counts_and_dates(void **state)
{
	struct pl_outbox_look look;
	struct pl_error err = { 0 };

	assert_int_equal(pl_outbox_look(session, &look, &err), 0);
	assert_int_equal(look.events, 0);
	assert_true(look.oldest_age_us < 0);
	lab_ask(&lab, 0, "INSERT INTO outbox (resource, record_id, origin, value, vector, request_id, fingerprint, status, expires_at, created_at) "
	        "SELECT 'properties', i, 'us', '{}', '{\"us\": 1}', 'x', '\\x00', 200, now(), clock_timestamp() - interval '1 hour' FROM generate_series(1, 3) i");
	assert_int_equal(pl_outbox_look(session, &look, &err), 0);
	assert_int_equal(look.events, 3);
	assert_true(look.oldest_age_us > INT64_C(3599000000) && look.oldest_age_us < INT64_C(3700000000));
}

static void only_one_session_has_the_lock(void **state)
{
	struct pl_session *other = pl_session_new(&(struct pl_session_options){ .dsn = lab.dsn[0], .connect_timeout_us = 2000000, .stop_fd = -1 });
	struct pl_error err = { 0 };

	assert_int_equal(pl_outbox_lock(session, 60000000, &err), 1);
	assert_int_equal(pl_session_connect(other, &err), 0);
	assert_int_equal(pl_outbox_lock(other, 60000000, &err), 0);
	pl_session_drop(session);
	for (int tries = 0; pl_outbox_lock(other, 60000000, &err) != 1; tries++) {
		assert_true(tries < 500);
		pl_session_pause(other, 10000);
	}
	pl_session_free(&other);
}

// Its process is frozen: the connection stands, nothing is said on it.
static void a_session_that_falls_silent_loses_the_lock(void **state)
{
	struct pl_session *other = pl_session_new(&(struct pl_session_options){ .dsn = lab.dsn[0], .connect_timeout_us = 2000000, .stop_fd = -1 });
	struct pl_outbox_look seen;
	struct pl_error err = { 0 };

	assert_int_equal(pl_outbox_lock(session, 500000, &err), 1);
	assert_int_equal(pl_session_connect(other, &err), 0);
	for (int i = 0; i < 20; i++) { // one that says something keeps it
		assert_int_equal(pl_outbox_look(session, &seen, &err), 0);
		assert_int_equal(pl_outbox_lock(other, 60000000, &err), 0);
		pl_session_pause(other, 50000);
	}
	for (int tries = 0; pl_outbox_lock(other, 60000000, &err) != 1; tries++) {
		assert_true(tries < 100);
		pl_session_pause(other, 50000);
	}
	assert_true(pl_outbox_look(session, &seen, &err) < 0);
	assert_false(pl_session_connected(session));
	pl_session_free(&other);
}

// --- any order of commits

struct writer { PGconn *sql; bool open; int record; };

static unsigned roll(unsigned *seed, unsigned n)
{
	*seed = *seed * 1103515245u + 12345u;
	return (*seed >> 16) % n;
}

// A record's lock is held from before its outbox row is inserted until the commit; here the test itself sees to that.
static void writer_step(struct writer *writers, struct writer *w, bool *locked, unsigned *seed)
{
	if (w->open) {
		say(w->sql, roll(seed, 5) == 0 ? "ROLLBACK" : "COMMIT");
		locked[w->record] = false;
		w->open = false;
		return;
	}
	w->record = (int)roll(seed, RECORDS);
	if (locked[w->record])
		return;
	locked[w->record] = true;
	w->open = true;
	say(w->sql, "BEGIN; UPDATE properties SET version = version + 1 WHERE id = -1"); // as a client's write: the record before the outbox
	insert(w->sql, w->record);
}

static void nothing_is_lost_in_any_order_of_commits(void **state)
{
	struct writer writers[WRITERS] = { { 0 } };
	bool locked[RECORDS] = { false };
	static int64_t all[20000];
	int64_t ids[64], last[RECORDS] = { 0 };
	unsigned seed = getenv("LAB_SEED") ? (unsigned)atoi(getenv("LAB_SEED")) : 4711;
	int nread = 0;

	print_message("# seed %u\n", seed);
	say(lab.sql[0], "CREATE TABLE IF NOT EXISTS ever (id BIGINT, record_id BIGINT); TRUNCATE ever; CREATE OR REPLACE FUNCTION note() RETURNS trigger "
	    "LANGUAGE plpgsql AS 'BEGIN INSERT INTO ever VALUES (NEW.id, NEW.record_id); RETURN NEW; END'; "
	    "CREATE OR REPLACE TRIGGER note AFTER INSERT ON outbox FOR EACH ROW EXECUTE FUNCTION note()");
	for (int i = 0; i < WRITERS; i++)
		writers[i].sql = lab_connect(&lab, 0);
	for (int step = 0; step < 4000; step++) {
		if (roll(&seed, 3) > 0) {
			writer_step(writers, &writers[roll(&seed, WRITERS)], locked, &seed);
		} else if (roll(&seed, 2)) {
			int n = read_some(1 + (int)roll(&seed, 8), false, ids);

			for (int i = 0; i < n; i++)
				all[nread++] = ids[i];
		} else {
			int64_t sent[4096];
			int n = ids_in(PL_FLIGHT_SENT, sent);

			for (int i = 0; i < n; i++)
				if (roll(&seed, 2))
					pl_flights_set(&flights, sent[i], PL_FLIGHT_DONE);
			delete_done();
		}
	}
	for (int i = 0; i < WRITERS; i++) {
		if (writers[i].open)
			say(writers[i].sql, "COMMIT");
		PQfinish(writers[i].sql);
	}
	for (int n; (n = read_some(50, false, ids)) > 0;)
		for (int i = 0; i < n; i++)
			all[nread++] = ids[i];

	assert_int_equal(nread, atoi(lab_ask(&lab, 0, "SELECT count(*) FROM ever")));
	assert_true(nread > 300);
	for (int i = 0; i < nread; i++) { // of each record in order
		int record = atoi(lab_ask(&lab, 0, "SELECT record_id FROM ever WHERE id = %lld", (long long)all[i]));

		assert_true(all[i] > last[record]);
		last[record] = all[i];
	}
	say(lab.sql[0], "DROP TRIGGER note ON outbox");
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

static void plan_is_good(const char *when)
{
	struct pl_error err = { 0 };
	PGresult *result = pl_session_exec(session, "EXPLAIN EXECUTE outbox_read(0, 1000, '{1,2,3}', 1000)", 0, NULL, &err);

	if (!result)
		fail_msg("%s", err.text);
	for (int i = 0; i < PQntuples(result); i++) {
		const char *line = PQgetvalue(result, i, 0);

		if (strstr(line, "Nested Loop") || strstr(line, "Seq Scan") || strstr(line, "Bitmap"))
			fail_msg("%s: %s", when, line);
	}
	PQclear(result);
}

// Whatever the statistics say of a table that is empty most of the time.
static void a_read_never_compares_each_row_with_each_one_in_flight(void **state)
{
	PGconn *sql = lab_connect(&lab, 0);

	plan_is_good("without statistics");
	say(sql, "ANALYZE outbox");
	plan_is_good("empty");
	for (int i = 0; i < 3; i++)
		insert(sql, i);
	say(sql, "ANALYZE outbox");
	plan_is_good("three rows");
	say(sql, "INSERT INTO outbox (resource, record_id, origin, value, vector, request_id, fingerprint, status, expires_at) "
	         "SELECT 'properties', i, 'us', '{}', '{\"us\": 1}', gen_random_uuid()::text, '\\x00', 200, now() FROM generate_series(1, 5000) AS i");
	say(sql, "ANALYZE outbox");
	plan_is_good("full");
	PQfinish(sql);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(rows_come_in_order_and_once),
		TEST(a_row_that_commits_late_is_read_below_what_was_read),
		TEST(the_floor_follows_what_is_deleted),
		TEST(a_row_below_the_floor_is_found_by_a_whole_read),
		TEST(a_read_never_compares_each_row_with_each_one_in_flight),
		TEST(the_look_counts_and_dates),
		TEST(only_one_session_has_the_lock),
		TEST(a_session_that_falls_silent_loses_the_lock),
		TEST(nothing_is_lost_in_any_order_of_commits),
	};

	return cmocka_run_group_tests(tests, start, stop);
}
