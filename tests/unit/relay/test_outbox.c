// relay/outbox on a real PostgreSQL: no row is lost or read twice, and each record's
// events are in order, in whatever order transactions commit.
#include "../apply/lab.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "relay/in_flight.h"
#include "relay/outbox.h"

#define WRITERS 6
#define RECORDS 5

static struct lab lab;
static struct pl_session *session;
static struct pl_outbox_cursor cursor;
static struct pl_in_flight in_flight;

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
	pl_outbox_begin(&cursor, 0);
	session = lab_session(
		&lab, 0,
		(struct pl_session_options){ .application_name = "test outbox", .setup = pl_outbox_setup });
	return 0;
}

static int teardown(void **state)
{
	pl_in_flight_fini(&in_flight);
	pl_outbox_cursor_fini(&cursor);
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

	snprintf(text, sizeof(text),
	         "INSERT INTO outbox (resource, record_id, origin, value, vector, request_id, fingerprint, "
	         "status, expires_at) "
	         "VALUES ('properties', %d, 'us', '{}', '{\"us\": 1}', gen_random_uuid()::text, sha256('x'), "
	         "200, now())",
	         record);
	say(sql, text);
}

// Reads rows and counts them as in flight. Returns the number of rows; their ids are
// ascending.
static int read_some(int limit, int64_t *ids_r)
{
	struct pl_outbox_batch batch;
	struct pl_error err = { 0 };
	int n;

	if (pl_outbox_read(session, &cursor, pl_in_flight_first(&in_flight), limit, &batch, &err) < 0)
		fail_msg("%s", err.text);
	n = batch.n;
	for (int i = 0; i < n; i++) {
		ids_r[i] = batch.rows[i].id;
		if (i > 0)
			assert_true(ids_r[i] > ids_r[i - 1]);
		pl_in_flight_add(&in_flight, &(struct pl_in_flight_row){ .id = ids_r[i] });
		pl_id_ranges_add(&cursor.read, ids_r[i]);
	}
	pl_outbox_batch_fini(&batch);
	return n;
}

static int ids_in(enum pl_in_flight_state state, int64_t *ids_r)
{
	int n = 0;

	for (int i = 0; i < in_flight.n; i++)
		if (in_flight.rows[i].state == state)
			ids_r[n++] = in_flight.rows[i].id;
	return n;
}

// In any order, which is more than the relay requires.
static void settle_done(void)
{
	struct pl_error err = { 0 };

	if (in_flight.done > 0 && pl_outbox_settle(session, &cursor, &err) < 0)
		fail_msg("%s", err.text);
	pl_in_flight_drop(&in_flight, PL_IN_FLIGHT_DONE, INT64_MAX);
}

static void acknowledge_all(void)
{
	int64_t ids[4096];
	int n = ids_in(PL_IN_FLIGHT_SENT, ids);

	for (int i = 0; i < n; i++)
		pl_in_flight_set(&in_flight, ids[i], PL_IN_FLIGHT_DONE);
	settle_done();
}

static void rows_come_in_order_and_once(void **state)
{
	int64_t ids[16];

	for (int i = 0; i < 5; i++)
		insert(lab.sql[0], i);
	assert_int_equal(read_some(3, ids), 3);
	assert_int_equal(read_some(3, ids), 2);
	assert_int_equal(read_some(3, ids), 0);
	acknowledge_all();
	lab_is(&lab, "5", 0, "SELECT count(*) FROM outbox");
	assert_int_equal(read_some(3, ids), 0);
}

static void a_row_that_commits_late_is_read_although_later_ids_were_read(void **state)
{
	PGconn *slow = lab_connect(&lab, 0);
	int64_t ids[16];

	say(slow, "BEGIN");
	insert(slow, 1);
	for (int round = 0; round < 5;
	     round++) { // other sessions come and go meanwhile, and the floor must not skip the row
		insert(lab.sql[0], 2);
		assert_int_equal(read_some(10, ids), 1);
		acknowledge_all();
	}
	say(slow, "COMMIT");
	assert_int_equal(read_some(10, ids), 1);
	assert_true(ids[0] < cursor.high);
	PQfinish(slow);
}

static void the_floor_follows_the_acknowledgements(void **state)
{
	int64_t ids[16];

	for (int round = 0; round < 4; round++) {
		insert(lab.sql[0], round);
		assert_int_equal(read_some(10, ids), 1);
		acknowledge_all();
	}
	assert_int_equal(read_some(10, ids), 0);
	assert_true(cursor.floor > 0);
	assert_true(cursor.high - cursor.floor <= 2);
	assert_true(cursor.read.n <= 1);
}

// Unused ids, such as a crashed server leaves behind. Nothing is acknowledged after the
// gap was found to be final, so only the read itself can advance the floor.
static void the_floor_passes_rows_that_were_acknowledged_above_a_gap(void **state)
{
	int64_t ids[16];

	say(lab.sql[0], "SELECT nextval(pg_get_serial_sequence('outbox', 'id')) FROM generate_series(1, 9)");
	insert(lab.sql[0], 1);
	assert_int_equal(read_some(10, ids), 1);
	acknowledge_all(); // notes the row before the gap is known to be final
	insert(lab.sql[0], 2);
	assert_int_equal(read_some(10, ids), 1);
	acknowledge_all();
	assert_true(pl_outbox_has_gap(&cursor));
	assert_true(cursor.next_floor < cursor.high);
	assert_int_equal(read_some(10, ids), 0);
	assert_int_equal(cursor.floor, cursor.high);
	assert_int_equal(cursor.read.n, 0);
}

static void insert_large(PGconn *sql, int n, int bytes)
{
	char text[512];

	snprintf(text, sizeof(text),
	         "INSERT INTO outbox (resource, record_id, origin, value, vector, request_id, fingerprint, "
	         "status, expires_at) SELECT 'properties', i, 'us', repeat('x', %d), '{\"us\": 1}', "
	         "gen_random_uuid()::text, sha256('x'), 200, now() FROM generate_series(1, %d) AS i",
	         bytes, n);
	say(sql, text);
}

static void of_large_rows_a_read_takes_only_so_many_bytes(void **state)
{
	int64_t ids[100];
	int n, total = 0;

	insert_large(lab.sql[0], 90, 100000);
	for (int reads = 0; total < 90; reads++, total += n) {
		n = read_some(1000, ids);
		assert_in_range(n, 1, PL_OUTBOX_READ_BYTES / 100000 + 1);
		assert_true(reads < 3);
	}
	acknowledge_all();
	assert_int_equal(read_some(1000, ids), 0);
}

static void a_row_that_is_larger_than_a_read_is_read_alone(void **state)
{
	int64_t ids[16];

	insert_large(lab.sql[0], 2, PL_OUTBOX_READ_BYTES + 1);
	insert(lab.sql[0], 1);
	assert_int_equal(read_some(10, ids), 1);
	assert_int_equal(read_some(10, ids), 1);
	assert_int_equal(read_some(10, ids), 1);
}

// Then no read asks for the texts of small rows first.
static void it_is_remembered_whether_rows_are_large(void **state)
{
	int64_t ids[100];

	insert(lab.sql[0], 1);
	assert_int_equal(read_some(1000, ids), 1);
	assert_false(cursor.large);
	insert_large(lab.sql[0], 60, 100000);
	assert_int_equal(read_some(1000, ids), 42);
	assert_true(cursor.large);
	assert_int_equal(read_some(1000, ids), 18);
	assert_true(cursor.large);
	for (int i = 0; i < 60; i++)
		insert(lab.sql[0], 1);
	assert_int_equal(read_some(1000, ids), 60);
	assert_false(cursor.large);
	insert_large(lab.sql[0], 60, 1000);
	assert_int_equal(read_some(1000, ids), 60);
	assert_false(cursor.large);
}

static bool more(int limit)
{
	struct pl_outbox_batch batch;
	struct pl_error err = { 0 };
	bool is;

	if (pl_outbox_read(session, &cursor, INT64_MAX, limit, &batch, &err) < 0)
		fail_msg("%s", err.text);
	is = batch.more;
	pl_outbox_batch_fini(&batch);
	return is;
}

static void small_rows_before_a_large_one_are_read_without_it(void **state)
{
	int64_t ids[16], last;

	insert(lab.sql[0], 1);
	insert(lab.sql[0], 2);
	insert_large(lab.sql[0], 1, 100000);
	insert(lab.sql[0], 3);
	assert_int_equal(read_some(1000, ids), 2);
	last = ids[1];
	assert_int_equal(read_some(1000, ids), 2);
	assert_true(ids[0] > last);
	assert_int_equal(read_some(1000, ids), 0);
}

static void a_read_says_whether_it_left_rows_behind(void **state)
{
	assert_false(more(10));
	insert_large(lab.sql[0], 3, 1000);
	assert_false(more(10));
	pl_outbox_begin(&cursor, 0);
	assert_true(more(3)); // it cannot know
	pl_outbox_begin(&cursor, 0);
	insert_large(lab.sql[0], 60, 100000);
	assert_true(more(1000));
	say(lab.sql[0], "DELETE FROM outbox WHERE length(value) < 100000");
	pl_outbox_begin(&cursor, 0);
	assert_true(more(1000)); // the large ones alone
}

// A gap below rows that were read: it is searched first, and what is above it is read,
// too, within the same number of bytes.
static void large_rows_in_a_gap_are_bounded_with_those_above_it(void **state)
{
	PGconn *slow = lab_connect(&lab, 0);
	int64_t ids[100];
	int n;

	say(slow, "BEGIN");
	insert_large(slow, 1, 100000);
	insert(lab.sql[0], 2);
	assert_int_equal(read_some(10, ids), 1);
	acknowledge_all();
	say(slow, "COMMIT");
	insert_large(lab.sql[0], 60, 100000);
	assert_true(pl_outbox_has_gap(&cursor));
	n = read_some(1000, ids);
	assert_in_range(n, 2, PL_OUTBOX_READ_BYTES / 100000 + 2);
	assert_true(ids[0] < cursor.high && ids[1] > ids[0] + 1);
	assert_int_equal(n + read_some(1000, ids), 61);
	PQfinish(slow);
}

static void rows_are_deleted_by_ranges_and_those_set_aside_stay(void **state)
{
	struct pl_error err = { 0 };
	int64_t ids[16], from = 0, rows;
	int deleted = 0, refusals, n;

	for (int i = 0; i < 7; i++)
		insert(lab.sql[0], i);
	assert_int_equal(read_some(10, ids), 7);
	assert_int_equal(pl_outbox_refuse(session, ids[2], "too large", &refusals, &err), 0);
	for (int i = 0; i < 2; i++, deleted += n)
		assert_int_equal(pl_outbox_delete(session, &from, ids[5], 4, &n, &err), 0);
	assert_int_equal(deleted, 5);
	assert_true(from == ids[5]);
	lab_is(&lab, "2", 0, "SELECT count(*) FROM outbox");
	assert_int_equal(pl_outbox_count(session, INT64_MAX, &rows, &err), 0);
	assert_int_equal(rows, 1);
	assert_int_equal(pl_outbox_renumber(session, ids[2], &rows, &err), 0);
	assert_true(rows > ids[6]);
	lab_is(&lab, "0", 0, "SELECT count(*) FROM outbox WHERE refused_at IS NOT NULL");
}

// A transaction that stays open stops the floor; what is read meanwhile is stored as a
// few ranges.
static void rows_above_an_open_transaction_are_remembered_as_ranges(void **state)
{
	PGconn *slow = lab_connect(&lab, 0);
	int64_t ids[16];

	say(slow, "BEGIN");
	insert(slow, 1);
	for (int i = 0; i < 300; i++) {
		insert(lab.sql[0], 2);
		assert_int_equal(read_some(10, ids), 1);
		acknowledge_all();
	}
	assert_true(cursor.read.n <= 2);
	assert_int_equal(cursor.read.ids, 300);
	say(slow, "COMMIT");
	assert_int_equal(read_some(10, ids), 1);
	acknowledge_all();
	for (int i = 0; i < 3; i++) {
		insert(lab.sql[0], 2);
		read_some(10, ids);
		acknowledge_all();
	}
	assert_true(cursor.read.ids < 5);
	PQfinish(slow);
}

static void the_look_returns_the_number_and_the_age_of_events(void **state)
{
	struct pl_outbox_look look;
	struct pl_error err = { 0 };

	assert_int_equal(pl_outbox_look(session, -1, 0, &look, &err), 0);
	assert_int_equal(look.events, 0);
	assert_true(look.oldest_age_us < 0);
	lab_ask(&lab, 0,
	        "INSERT INTO outbox (resource, record_id, origin, value, vector, request_id, fingerprint, "
	        "status, expires_at, created_at) "
	        "SELECT 'properties', i, 'us', '{}', '{\"us\": 1}', 'x', sha256('x'), 200, now(), "
	        "clock_timestamp() - interval '1 hour' FROM generate_series(1, 3) i");
	assert_int_equal(pl_outbox_look(session, -1, 0, &look, &err), 0);
	assert_int_equal(look.events, 3);
	assert_true(look.oldest_age_us > INT64_C(3599000000) && look.oldest_age_us < INT64_C(3700000000));
}

static void only_one_session_has_the_lock(void **state)
{
	struct pl_session *other = pl_session_new(&(struct pl_session_options){
		.dsn = lab.dsn[0], .connect_timeout_us = 2000000, .stop_fd = -1 });
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

// The session's process is frozen: the connection exists, but is silent.
static void a_session_that_falls_silent_loses_the_lock(void **state)
{
	struct pl_session *other = pl_session_new(&(struct pl_session_options){
		.dsn = lab.dsn[0], .connect_timeout_us = 2000000, .stop_fd = -1 });
	struct pl_outbox_look seen;
	struct pl_error err = { 0 };

	assert_int_equal(pl_outbox_lock(session, 500000, &err), 1);
	assert_int_equal(pl_session_connect(other, &err), 0);
	for (int i = 0; i < 20; i++) { // a session that is not silent keeps the lock
		assert_int_equal(pl_outbox_look(session, -1, 0, &seen, &err), 0);
		assert_int_equal(pl_outbox_lock(other, 60000000, &err), 0);
		pl_session_pause(other, 50000);
	}
	for (int tries = 0; pl_outbox_lock(other, 60000000, &err) != 1; tries++) {
		assert_true(tries < 100);
		pl_session_pause(other, 50000);
	}
	assert_true(pl_outbox_look(session, -1, 0, &seen, &err) < 0);
	assert_false(pl_session_connected(session));
	pl_session_free(&other);
}

// ---- any order of commits

struct writer {
	PGconn *sql;
	bool open;
	int record;
};

static unsigned roll(unsigned *seed, unsigned n)
{
	*seed = *seed * 1103515245u + 12345u;
	return (*seed >> 16) % n;
}

// In production, a record's lock is held from before its outbox row is inserted until
// the commit; here, the test itself ensures this order.
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
	say(w->sql,
	    // like a client's write: the record before the outbox
	    "BEGIN; UPDATE properties SET version = version + 1 WHERE id = -1");
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
	say(lab.sql[0],
	    "CREATE TABLE IF NOT EXISTS ever (id BIGINT, record_id BIGINT); TRUNCATE ever; CREATE OR "
	    "REPLACE FUNCTION note() RETURNS trigger "
	    "LANGUAGE plpgsql AS 'BEGIN INSERT INTO ever VALUES (NEW.id, NEW.record_id); RETURN NEW; END'; "
	    "CREATE OR REPLACE TRIGGER note AFTER INSERT ON outbox FOR EACH ROW EXECUTE FUNCTION note()");
	for (int i = 0; i < WRITERS; i++)
		writers[i].sql = lab_connect(&lab, 0);
	for (int step = 0; step < 4000; step++) {
		if (roll(&seed, 3) > 0) {
			writer_step(writers, &writers[roll(&seed, WRITERS)], locked, &seed);
		} else if (roll(&seed, 2)) {
			int n = read_some(1 + (int)roll(&seed, 8), ids);

			for (int i = 0; i < n; i++)
				all[nread++] = ids[i];
		} else {
			int64_t sent[4096];
			int n = ids_in(PL_IN_FLIGHT_SENT, sent);

			for (int i = 0; i < n; i++)
				if (roll(&seed, 2))
					pl_in_flight_set(&in_flight, sent[i], PL_IN_FLIGHT_DONE);
			settle_done();
		}
	}
	for (int i = 0; i < WRITERS; i++) {
		if (writers[i].open)
			say(writers[i].sql, "COMMIT");
		PQfinish(writers[i].sql);
	}
	for (int n; (n = read_some(50, ids)) > 0;)
		for (int i = 0; i < n; i++)
			all[nread++] = ids[i];

	assert_int_equal(nread, atoi(lab_ask(&lab, 0, "SELECT count(*) FROM ever")));
	assert_true(nread > 300);
	for (int i = 0; i < nread; i++) { // in order for each record
		int record = atoi(
			lab_ask(&lab, 0, "SELECT record_id FROM ever WHERE id = %lld", (long long)all[i]));

		assert_true(all[i] > last[record]);
		last[record] = all[i];
	}
	say(lab.sql[0], "DROP TRIGGER note ON outbox");
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

static void plan_is_good(const char *when)
{
	static const char *const statements[] = {
		"EXPLAIN EXECUTE outbox_read(1000, 1000, 4000)",
		"EXPLAIN EXECUTE outbox_read_gaps(1000, 1000, 4000, '{1,5}', '{3,6}')",
		"EXPLAIN EXECUTE outbox_read_large(1000, 1000, 4000000)",
		"EXPLAIN EXECUTE outbox_read_gaps_large(1000, 1000, 4000000, '{1,5}', '{3,6}')"
	};
	struct pl_error err = { 0 };

	for (int at = 0; at < 4; at++) {
		PGresult *result = pl_session_exec(session, statements[at], 0, NULL, &err);

		if (!result)
			fail_msg("%s", err.text);
		for (int i = 0; i < PQntuples(result); i++) {
			const char *line = PQgetvalue(result, i, 0);

			if (strstr(line, "Seq Scan") || strstr(line, "Bitmap"))
				fail_msg("%s: %s", when, line);
		}
		PQclear(result);
	}
}

// The read uses the index whatever the statistics of a table say that is usually empty.
static void a_read_uses_the_index(void **state)
{
	PGconn *sql = lab_connect(&lab, 0);

	plan_is_good("without statistics");
	say(sql, "ANALYZE outbox");
	plan_is_good("empty");
	for (int i = 0; i < 3; i++)
		insert(sql, i);
	say(sql, "ANALYZE outbox");
	plan_is_good("three rows");
	say(sql,
	    "INSERT INTO outbox (resource, record_id, origin, value, vector, request_id, fingerprint, "
	    "status, expires_at) "
	    "SELECT 'properties', i, 'us', '{}', '{\"us\": 1}', gen_random_uuid()::text, sha256('x'), 200, "
	    "now() FROM generate_series(1, 5000) AS i");
	say(sql, "ANALYZE outbox");
	plan_is_good("full");
	PQfinish(sql);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(rows_come_in_order_and_once),
		TEST(a_row_that_commits_late_is_read_although_later_ids_were_read),
		TEST(the_floor_follows_the_acknowledgements),
		TEST(the_floor_passes_rows_that_were_acknowledged_above_a_gap),
		TEST(of_large_rows_a_read_takes_only_so_many_bytes),
		TEST(a_row_that_is_larger_than_a_read_is_read_alone),
		TEST(small_rows_before_a_large_one_are_read_without_it),
		TEST(it_is_remembered_whether_rows_are_large),
		TEST(a_read_says_whether_it_left_rows_behind),
		TEST(large_rows_in_a_gap_are_bounded_with_those_above_it),
		TEST(rows_are_deleted_by_ranges_and_those_set_aside_stay),
		TEST(rows_above_an_open_transaction_are_remembered_as_ranges),
		TEST(a_read_uses_the_index),
		TEST(the_look_returns_the_number_and_the_age_of_events),
		TEST(only_one_session_has_the_lock),
		TEST(a_session_that_falls_silent_loses_the_lock),
		TEST(nothing_is_lost_in_any_order_of_commits),
	};

	return cmocka_run_group_tests(tests, start, stop);
}
