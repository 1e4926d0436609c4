// Events that meet another session, at a lock or in a deadlock, or a trigger's error,
// hold up nothing else, even if they are alone.
#include "lab_applier.h"

#include "base/clock.h"

static void a_locked_row_holds_up_nothing_else(void **state)
{
	PGconn *other = lab_connect(&lab, 1);
	int64_t begun_us;

	APPLY({ .origin = "us", .vector = "{\"us\":1}", .id = 7 },
	      { .origin = "us", .vector = "{\"us\":1}", .id = 8 });
	PQclear(PQexec(other, "BEGIN; SELECT FROM properties WHERE id = 7 FOR UPDATE"));
	APPLY({ .origin = "us", .vector = "{\"us\":2}", .id = 7 },
	      { .origin = "us", .vector = "{\"us\":2}", .id = 8 });
	lab_is(&lab, "1 2", 1, "SELECT string_agg(version::text, ' ' ORDER BY id) FROM properties");
	lab_is(&lab, "7 55P03", 1, "SELECT format('%%s %%s', record_id, sqlstate) FROM parked_events");
	begun_us = pl_mono_us();
	for (int i = 3; i < 13; i++) // they are known to be locked by now
		APPLY({ .origin = "us", .vector = pl_arena_printf(lab.arena, "{\"us\":%d}", i), .id = 7 },
		      { .origin = "us", .vector = pl_arena_printf(lab.arena, "{\"us\":%d}", i), .id = 8 });
	assert_true(pl_mono_us() - begun_us < 3000000); // less than one lock_timeout
	lab_retry(11);
	lab_is(&lab, "11", 1, PARKED);
	PQclear(PQexec(other, "ROLLBACK"));
	PQfinish(other);
	lab_retry(11);
	lab_is(&lab, "0", 1, PARKED);
	lab_is(&lab, "12 12", 1, "SELECT string_agg(version::text, ' ' ORDER BY id) FROM properties");
}

static void a_transaction_that_locks_many_rows_delays_nothing_else(void **state)
{
	PGconn *other = lab_connect(&lab, 1);
	struct pl_message *messages = pl_arena_alloc(lab.arena, sizeof(messages[0]) * 300);
	int64_t begun_us, took_us;

	for (int i = 0; i < 300; i++)
		messages[i] = lab_one(100 + i, "5.00");
	lab_apply_messages(messages, 300);
	PQclear(PQexec(other, "BEGIN; SELECT FROM properties WHERE id < 400 FOR UPDATE"));
	for (int i = 0; i < 300; i++)
		messages[i] = lab_message(
			&lab, &(struct lab_write){ .origin = "us", .vector = "{\"us\":2}", .id = 100 + i });
	lab_apply_messages(messages, 100);
	lab_is(&lab, "100", 1, PARKED);
	begun_us = pl_mono_us();
	for (int i = 100; i < 300; i += 20) // none of them was known to be locked
		lab_apply_messages(messages + i, 20);
	took_us = pl_mono_us() - begun_us;
	PQclear(PQexec(other, "ROLLBACK"));
	PQfinish(other);
	assert_true(took_us < 3000000); // less than one lock_timeout
	lab_retry(PL_RETRY_MAX);
	lab_retry(300 - PL_RETRY_MAX);
	lab_is(&lab, "600", 1, "SELECT sum(version) FROM properties");
}

// Applies one event alone, which the database does not take. Returns the code.
static int apply_alone(const char *sql)
{
	PGconn *other = lab_connect(&lab, 1);
	struct pl_message message = lab_one(7, "5.00");
	struct pl_error err = { 0 };
	int code;

	pl_session_do(eu.tools.session, "SET lock_timeout = 100", NULL);
	PQclear(PQexec(other, sql));
	pl_apply_batch_forget(eu.batch);
	pl_apply_batch_read(eu.batch, &eu.tools, &message, 1);
	code = pl_apply_batch_write(eu.batch, &eu.tools, &eu.counts, &err);
	PQclear(PQexec(other, "ROLLBACK"));
	PQfinish(other);
	return code;
}

// No other event would be fetched while the batch fails.
static void a_locked_table_is_waited_for_once_and_not_for_each_event(void **state)
{
	PGconn *other = lab_connect(&lab, 1);
	struct pl_message messages[60];
	struct pl_error err = { 0 };
	int64_t begun_us;

	for (int i = 0; i < 60; i++)
		messages[i] = lab_one(100 + i, "5.00");
	assert_int_equal(pl_session_do(eu.tools.session, "SET lock_timeout = '100ms'", &err), 0);
	PQclear(PQexec(other, "BEGIN; LOCK TABLE properties IN ACCESS EXCLUSIVE MODE"));
	begun_us = pl_mono_us();
	pl_apply_batch_read(eu.batch, &eu.tools, messages, 60);
	assert_true(pl_apply_batch_write(eu.batch, &eu.tools, &eu.counts, &err) < 0);
	assert_true(pl_mono_us() - begun_us < 3000000); // less than 60 times lock_timeout
	PQclear(PQexec(other, "ROLLBACK"));
	PQfinish(other);
	lab_is(&lab, "0", 1, PARKED);
	assert_int_equal(pl_apply_batch_write(eu.batch, &eu.tools, &eu.counts, &err), 0);
	lab_is(&lab, "60", 1, "SELECT count(*) FROM properties");
}

static void an_event_alone_that_waits_for_another_session_is_parked(void **state)
{
	assert_int_equal(
		apply_alone("BEGIN; INSERT INTO properties (id, price, region_origin) VALUES (7, 9, 'eu')"),
		0);
	lab_is(&lab, "7 55P03", 1, "SELECT format('%%s %%s', record_id, sqlstate) FROM parked_events");
	lab_retry(1);
	lab_is(&lab, "0 5.00", 1,
	       "SELECT format('%%s %%s', (" PARKED "), (SELECT price FROM properties WHERE id = 7))");
}

static void a_locked_table_stops_the_batch_and_parks_nothing(void **state)
{
	assert_true(apply_alone("BEGIN; LOCK TABLE properties IN SHARE MODE") < 0);
	lab_is(&lab, "0", 1, PARKED);
	assert_true(apply_alone("BEGIN; LOCK TABLE processed_requests IN SHARE MODE") < 0);
	lab_is(&lab, "0", 1, PARKED);
	assert_int_equal(apply_alone("BEGIN; CREATE TABLE of_no_concern (id integer); INSERT INTO properties "
	                             "(id, price, region_origin) VALUES (7, 9, 'eu')"),
	                 0);
	lab_is(&lab, "1", 1, PARKED);
}

// They could wait for as long as it is locked: nothing else waits behind them.
static void a_locked_table_of_the_only_resource_parks_nothing_however_long(void **state)
{
	PGconn *other = lab_connect(&lab, 1);
	struct pl_message message = lab_one(7, "5.00");
	int64_t until_us = pl_mono_us() + 1800000;
	struct pl_error err = { 0 };

	pl_session_do(eu.tools.session, "SET lock_timeout = 50", NULL);
	PQclear(PQexec(other, "BEGIN; LOCK TABLE properties IN ACCESS EXCLUSIVE MODE"));
	pl_apply_batch_read(eu.batch, &eu.tools, &message, 1);
	while (pl_mono_us() < until_us)
		assert_true(pl_apply_batch_write(eu.batch, &eu.tools, &eu.counts, &err) < 0);
	PQfinish(other);
	lab_is(&lab, "0", 1, PARKED);
}

// One session waits for a row that another one holds: it has an exclusive lock on that
// row's place until it is its turn, but the table is free.
static void sessions_that_queue_for_another_row_do_not_lock_the_table(void **state)
{
	PGconn *second = lab_connect(&lab, 1);

	APPLY({ .origin = "us", .vector = "{\"us\":1}", .id = 8 });
	lab_ask(&lab, 1, "BEGIN");
	lab_ask(&lab, 1, "SELECT 1 FROM properties WHERE id = 8 FOR UPDATE");
	assert_int_equal(PQsendQuery(second, "SELECT FROM properties WHERE id = 8 FOR UPDATE"), 1);
	lab_until(&lab, "1", 1,
	          "SELECT count(*) FROM pg_locks WHERE locktype = 'tuple' AND granted AND mode LIKE "
	          "'%%ExclusiveLock'");
	assert_int_equal(
		apply_alone("BEGIN; INSERT INTO properties (id, price, region_origin) VALUES (7, 9, 'eu')"),
		0);
	lab_ask(&lab, 1, "COMMIT");
	PQfinish(second);
	lab_is(&lab, "7 55P03", 1, "SELECT format('%%s %%s', record_id, sqlstate) FROM parked_events");
}

static enum pl_table_lock table_lock(void)
{
	enum pl_table_lock lock;
	struct pl_error err = { 0 };

	if (pl_apply_rows_table_lock(eu.tools.session, lab_properties(&lab), &lock, &err) < 0)
		fail_msg("%s", err.text);
	return lock;
}

// An operator waits for a client's transaction to end; an event would wait behind him.
// But if he waits for the one that asks, that one has the lock that it needs.
static void a_session_that_waits_for_a_table_keeps_out_those_that_have_not_locked_it(void **state)
{
	PGconn *client = lab_connect(&lab, 1), *waiting = lab_connect(&lab, 1);

	PQclear(PQexec(client, "BEGIN; LOCK TABLE properties IN ROW EXCLUSIVE MODE"));
	assert_int_equal(table_lock(), PL_TABLE_FREE);
	assert_int_equal(
		pl_session_do(eu.tools.session, "BEGIN; LOCK TABLE properties IN ROW EXCLUSIVE MODE", NULL),
		0);
	assert_int_equal(PQsendQuery(waiting, "BEGIN; LOCK TABLE properties IN ACCESS EXCLUSIVE MODE"), 1);
	lab_until(&lab, "1", 1, "SELECT count(*) FROM pg_locks WHERE NOT granted");
	assert_int_equal(table_lock(), PL_TABLE_FREE);
	assert_int_equal(pl_session_do(eu.tools.session, "ROLLBACK", NULL), 0);
	assert_int_equal(table_lock(), PL_TABLE_LOCKED);
	PQfinish(client);
	PQfinish(waiting);
}

// Each event of another lot would wait for the foreign key's check.
static void a_locked_table_of_a_foreign_key_holds_up_only_what_refers_to_it(void **state)
{
	PGconn *other = lab_connect(&lab, 1);
	struct pl_message messages[60];
	int64_t begun_us;

	lab_ask(&lab, 1,
	        "CREATE TABLE lots AS SELECT generate_series(1, 60)::bigint AS lot; ALTER TABLE lots ADD "
	        "PRIMARY KEY (lot); ALTER TABLE properties ADD COLUMN lot bigint GENERATED ALWAYS AS (CASE "
	        "WHEN id < 60 THEN id END) STORED REFERENCES lots");
	APPLY({ .origin = "us", .vector = "{\"us\":1}", .id = 60 });
	for (int i = 0; i < 59; i++)
		messages[i] = lab_one(1 + i, "5.00");
	messages[59] =
		lab_message(&lab, &(struct lab_write){ .origin = "us", .vector = "{\"us\":2}", .id = 60 });
	assert_int_equal(pl_session_do(eu.tools.session, "SET lock_timeout = 400", NULL), 0);
	PQclear(PQexec(other, "BEGIN; LOCK TABLE lots IN ACCESS EXCLUSIVE MODE"));
	begun_us = pl_mono_us();
	lab_apply_messages(messages, 60);
	assert_true(pl_mono_us() - begun_us < 2500000); // less than 50 ms for each of them
	lab_is(&lab, "60", 1, PARKED);
	lab_retry(60); // one by one
	// a change that does not concern the lot needs no check
	lab_is(&lab, "60 2", 1, "SELECT string_agg(id || ' ' || version, ';') FROM properties");
	PQfinish(other);
	lab_retry(59);
	lab_is(&lab, "60", 1, "SELECT count(*) FROM properties");
	lab_ask(&lab, 1, "ALTER TABLE properties DROP COLUMN lot; DROP TABLE lots");
}

#define RAISE                                                                                            \
	"CREATE FUNCTION stumble() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RAISE EXCEPTION ''no'' "   \
	"USING ERRCODE = ''%s''; END'; CREATE TRIGGER stumble BEFORE INSERT ON properties FOR EACH ROW " \
	"EXECUTE FUNCTION stumble()"

// P0002: SELECT INTO STRICT found nothing. The last ones are what the database itself
// says when it can take nothing at all.
static void a_triggers_error_parks_the_only_event_of_a_batch(void **state)
{
	static const char *const codes[] = { "P0002", "40P01", "57014", "AB123",
		                             "53100", "08006", "57P01", "25006" };

	for (size_t i = 0; i < sizeof(codes) / sizeof(codes[0]); i++) {
		lab_ask(&lab, 1, RAISE, codes[i]);
		assert_int_equal(apply_alone("SELECT 1"), 0);
		lab_is(&lab, codes[i], 1, "SELECT sqlstate FROM parked_events");
		lab_ask(&lab, 1, "DROP FUNCTION stumble CASCADE");
		lab_ask(&lab, 1, "DELETE FROM parked_events");
	}
}

static void an_event_that_met_a_deadlock_is_retried_within_seconds(void **state)
{
	lab_ask(&lab, 1, RAISE, "40P01");
	apply_alone("SELECT 1");
	lab_ask(&lab, 1, "UPDATE parked_events SET tries = 12");
	lab_retry(1);
	lab_is(&lab, "t", 1, "SELECT retry_at - tried_at <= interval '4 seconds' FROM parked_events");
	lab_ask(&lab, 1, "DROP FUNCTION stumble CASCADE");
	lab_retry(1);
	lab_is(&lab, "0", 1, PARKED);
}

// Whatever waits for whichever table: nothing else is parked in its place, and once the
// table is free, it is as if it had never been locked.
static void every_message_survives_a_lock_of_every_table(void **state)
{
	const char *list = lab_ask(&lab, 1,
	                           "SELECT string_agg(c.oid::regclass::text, ' ') FROM pg_class AS c WHERE "
	                           "relkind IN ('r', 'p') AND NOT relispartition AND (relnamespace = "
	                           "'plist'::regnamespace OR relname = 'properties')");
	struct pl_message kinds[] = {
		lab_one(7, "5.00"),
		lab_message(&lab, &(struct lab_write){ .origin = "eu", .vector = "{\"eu\":1}", .id = 7 }),
		lab_one(8, "5.00"),
	};
	char *tables = pl_arena_strdup(lab.arena, list), *next = NULL;

	kinds[2].value = "{";
	kinds[2].value_len = 1;
	pl_session_do(eu.tools.session, "SET lock_timeout = 20", NULL);
	for (const char *table = strtok_r(tables, " ", &next); table; table = strtok_r(NULL, " ", &next))
		for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
			PGconn *other = lab_connect(&lab, 1);
			struct pl_error err = { 0 };
			int code;

			PQclear(PQexec(other, pl_arena_printf(lab.arena, "BEGIN; LOCK TABLE %s", table)));
			pl_apply_batch_forget(eu.batch);
			pl_apply_batch_read(eu.batch, &eu.tools, &kinds[i], 1);
			code = pl_apply_batch_write(eu.batch, &eu.tools, &eu.counts, &err);
			PQclear(PQexec(other, "ROLLBACK"));
			PQfinish(other);
			if (code < 0 && pl_apply_batch_write(eu.batch, &eu.tools, &eu.counts, &err) < 0)
				fail_msg("%s: %s", table, err.text);
			if (strcmp(lab_ask(&lab, 1, PARKED), "0") != 0)
				fail_msg("message %d was parked while %s was locked", (int)i, table);
			lab_is(&lab, i == 2 ? "1" : "0", 1, "SELECT count(*) FROM dead_letters");
			lab_is(&lab, i == 0 ? "1" : "0", 1, "SELECT count(*) FROM properties");
			lab_empty(&lab);
		}
}

#define T(name) cmocka_unit_test_setup_teardown(name, lab_applier_setup, lab_applier_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(a_locked_row_holds_up_nothing_else),
		T(a_transaction_that_locks_many_rows_delays_nothing_else),
		T(a_locked_table_is_waited_for_once_and_not_for_each_event),
		T(an_event_alone_that_waits_for_another_session_is_parked),
		T(a_locked_table_stops_the_batch_and_parks_nothing),
		T(a_locked_table_of_the_only_resource_parks_nothing_however_long),
		T(sessions_that_queue_for_another_row_do_not_lock_the_table),
		T(a_session_that_waits_for_a_table_keeps_out_those_that_have_not_locked_it),
		T(a_locked_table_of_a_foreign_key_holds_up_only_what_refers_to_it),
		T(a_triggers_error_parks_the_only_event_of_a_batch),
		T(an_event_that_met_a_deadlock_is_retried_within_seconds),
		T(every_message_survives_a_lock_of_every_table),
	};

	return cmocka_run_group_tests(tests, lab_applier_start, lab_applier_stop);
}
