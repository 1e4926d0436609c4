// While an operator has locked the table of one resource, the events of others are
// applied, and its own wait: in Kafka for a moment, then in parked_events.
#include "lab_applier.h"

#include <unistd.h>

#include "apply/parked_retry.h"
#include "base/clock.h"

#define PROPERTIES(n)                          \
	lab_message(&lab, &(struct lab_write){ \
				  .origin = "us", .vector = "{\"us\":1}", .id = (n), .create = true })
#define CABIN(n)                     \
	lab_message(                 \
		&lab,                \
		&(struct lab_write){ \
			.origin = "us", .vector = "{\"us\":1}", .id = (n), .create = true, .cabin = true })
#define ROWS "SELECT (SELECT count(*) FROM properties) || ' ' || (SELECT count(*) FROM cabins)"

// Another session of eu that has done this in a transaction.
static PGconn *holding(const char *sql)
{
	PGconn *other = lab_connect(&lab, 1);
	PGresult *result = PQexec(other, sql);

	if (PQresultStatus(result) != PGRES_COMMAND_OK && PQresultStatus(result) != PGRES_TUPLES_OK)
		fail_msg("%s: %s", sql, PQerrorMessage(other));
	PQclear(result);
	return other;
}

// The server ends a session some time after its client; a transaction at once.
static void let_go(PGconn *other)
{
	PQclear(PQexec(other, "ROLLBACK"));
	PQfinish(other);
}

static void lock_timeout(const char *value)
{
	char sql[64];

	snprintf(sql, sizeof(sql), "SET lock_timeout = '%s'", value);
	assert_int_equal(pl_session_do(eu.tools.session, sql, NULL), 0);
}

static char failure[1024]; // why the last batch failed

static int write_batch(const struct pl_message *messages, int n)
{
	struct pl_error err = { 0 };
	int code;

	pl_apply_batch_read(eu.batch, &eu.tools, messages, n);
	code = pl_apply_batch_write(eu.batch, &eu.tools, &eu.counts, &err);
	snprintf(failure, sizeof(failure), "%s", err.text);
	return code;
}

// Tries a batch again and again, as the applier does, at most so long. Returns how long
// it took, or -1.
static int64_t insist(const struct pl_message *messages, int n, int64_t most_us)
{
	int64_t begun_us = pl_mono_us();

	while (write_batch(messages, n) < 0) {
		if (pl_mono_us() - begun_us > most_us) {
			print_message("# %s\n", failure);
			return -1;
		}
		usleep(50000);
	}
	pl_apply_batch_advance(eu.batch);
	return pl_mono_us() - begun_us;
}

static void retry_due(int expected)
{
	struct pl_error err = { 0 };
	struct pl_retry retry = { 0 };

	if (pl_apply_batch_retry(eu.batch, &eu.tools, PL_KEPT_PARKED, &eu.counts, &retry, &err) < 0)
		fail_msg("%s", err.text);
	assert_int_equal(retry.tried, expected);
}

static void all_are_due(void)
{
	lab_ask(&lab, 1, "UPDATE parked_events SET retry_at = now()");
}

static void a_locked_table_holds_up_other_resources_for_seconds_at_most(void **state)
{
	PGconn *other = holding("BEGIN; LOCK TABLE properties IN ACCESS EXCLUSIVE MODE");
	struct pl_message first[] = { PROPERTIES(1), PROPERTIES(2), PROPERTIES(3) };
	struct pl_message more[] = { PROPERTIES(4), CABIN(1), PROPERTIES(5), CABIN(2) };
	int64_t took_us;

	lock_timeout("100ms");
	assert_true(write_batch(first, 3) < 0);
	lab_is(&lab, "0", 1, PARKED);
	took_us = insist(first, 3, 4000000);
	assert_in_range(took_us, 500000, 2500000);
	lab_is(&lab, "3", 1, PARKED);
	// from now on nobody waits
	lock_timeout("2s");
	took_us = insist(more, 4, 0);
	assert_in_range(took_us, 0, 1500000);
	let_go(other);
	lab_is(&lab, "0 2", 1, ROWS);
	lab_is(&lab, "5 55P03", 1, "SELECT count(*) || ' ' || min(sqlstate) FROM parked_events");
	// and as soon as it is free, later events find it so
	more[0] = PROPERTIES(6);
	assert_true(insist(more, 1, 0) >= 0);
	lab_is(&lab, "1 2", 1, ROWS);
	all_are_due();
	retry_due(5);
	lab_is(&lab, "6 2", 1, ROWS);
}

static void a_lock_of_one_partition_is_a_lock_of_the_table(void **state)
{
	PGconn *other = holding("BEGIN; LOCK TABLE cabins_1 IN ACCESS EXCLUSIVE MODE");
	struct pl_message messages[31] = { PROPERTIES(1) };
	struct pl_parked_retry r = { .parked = 1 };
	struct pl_error err = { 0 };
	int64_t took_us;

	for (int i = 1; i < 31; i++)
		messages[i] = CABIN(i);
	lock_timeout("200ms");
	took_us = insist(messages, 31, 0);    // the first one is written
	assert_in_range(took_us, 0, 1600000); // and 29 of the cabins are not tried
	lab_is(&lab, "30", 1, PARKED);
	// nor does looking at the tables wait
	lock_timeout("50ms");
	if (pl_parked_retry_look(&r, &eu.tools, &err) < 0)
		fail_msg("%s", err.text);
	let_go(other);
	lab_is(&lab, "1 0", 1, ROWS);
	all_are_due();
	retry_due(30);
	lab_is(&lab, "1 30", 1, ROWS);
}

static void events_that_wait_for_a_table_are_not_in_the_way_of_other_parked_ones(void **state)
{
	struct pl_message messages[PL_RETRY_MAX], cabin[] = { CABIN(1) };
	PGconn *other, *row;

	row = holding("BEGIN; INSERT INTO cabins (id, price, region_origin, vector) VALUES (1, 9, 'eu', "
	              "'{\"eu\": 1}')");
	other = holding("BEGIN; LOCK TABLE properties IN SHARE MODE");
	lock_timeout("50ms");
	for (int i = 0; i < PL_RETRY_MAX; i++)
		messages[i] = PROPERTIES(i + 1);
	assert_true(insist(messages, PL_RETRY_MAX, 4000000) >= 0);
	assert_true(insist(cabin, 1, 0) >= 0);
	lab_is(&lab, "257", 1, PARKED);
	let_go(row);
	lab_ask(&lab, 1,
	        "UPDATE parked_events SET retry_at = now() - CASE resource WHEN 'properties' THEN interval "
	        "'1 hour' ELSE '0' END");
	retry_due(1); // one of them, which finds the table locked
	retry_due(1); // the cabin
	lab_is(&lab, "1", 1, "SELECT count(*) FROM cabins");
	retry_due(0);
	lab_is(&lab, "255", 1, PARKED " WHERE tries = 1");
	let_go(other);
	all_are_due();
	retry_due(PL_RETRY_MAX);
	lab_is(&lab, "256 1", 1, ROWS);
	lab_is(&lab, "0", 1, PARKED);
}

// No event of any resource could be written.
static void events_are_not_parked_for_a_locked_table_of_plist(void **state)
{
	PGconn *other = holding("BEGIN; LOCK TABLE processed_requests IN SHARE MODE");
	struct pl_message messages[] = { PROPERTIES(1), CABIN(1) };

	lock_timeout("50ms");
	assert_true(insist(messages, 2, 1800000) < 0);
	lab_is(&lab, "0", 1, PARKED);
	let_go(other);
	assert_true(insist(messages, 2, 0) >= 0);
	lab_is(&lab, "1 1", 1, ROWS);
}

// A table may be locked for a moment again and again, as by a batch job.
static void the_moments_of_several_locks_do_not_add_up(void **state)
{
	struct pl_message messages[] = { PROPERTIES(1) };

	lock_timeout("50ms");
	for (int i = 0; i < 3; i++) {
		PGconn *other = holding("BEGIN; LOCK TABLE properties IN ACCESS EXCLUSIVE MODE");

		messages[0] = PROPERTIES(1 + i);
		assert_true(write_batch(messages, 1) < 0);
		usleep(600000);
		let_go(other);
		assert_true(insist(messages, 1, 0) >= 0);
	}
	lab_is(&lab, "3 0", 1, ROWS);
	lab_is(&lab, "0", 1, PARKED);
}

// The role under which a daemon logs in, and which may do all but this.
static void deny(const char *what)
{
	lab_ask(&lab, 1, "DROP ROLE IF EXISTS daemon");
	lab_ask(&lab, 1, "CREATE ROLE daemon");
	lab_ask(&lab, 1, "GRANT ALL ON SCHEMA public, plist TO daemon");
	lab_ask(&lab, 1, "GRANT ALL ON ALL TABLES IN SCHEMA public, plist TO daemon");
	lab_ask(&lab, 1, "GRANT ALL ON ALL SEQUENCES IN SCHEMA public, plist TO daemon");
	lab_ask(&lab, 1, "REVOKE %s FROM daemon", what);
	assert_int_equal(pl_session_do(eu.tools.session, "SET ROLE daemon", NULL), 0);
}

static void a_table_that_may_not_be_written_holds_up_other_resources_for_seconds_at_most(void **state)
{
	struct pl_message first[] = { PROPERTIES(1), PROPERTIES(2) };
	struct pl_message later[] = { PROPERTIES(3) };
	struct pl_message other[] = { CABIN(1) };
	int64_t took_us;

	deny("INSERT ON properties");
	took_us = insist(first, 2, 4000000);
	assert_in_range(took_us, 500000, 2500000);
	assert_in_range(insist(later, 1, 0), 0, 1500000); // from now on nobody waits
	assert_in_range(insist(other, 1, 0), 0, 1500000);
	lab_is(&lab, "0 1", 1, ROWS);
	lab_is(&lab, "3 42501", 1, "SELECT count(*) || ' ' || min(sqlstate) FROM parked_events");
	lab_ask(&lab, 1, "GRANT INSERT ON properties TO daemon");
	all_are_due();
	retry_due(3);
	lab_is(&lab, "3 1", 1, ROWS);
	pl_session_do(eu.tools.session, "RESET ROLE", NULL);
	lab_ask(&lab, 1, "DROP OWNED BY daemon");
	lab_ask(&lab, 1, "DROP ROLE daemon");
}

static int start(void **state)
{
	lab_start(&lab, &(struct lab_options){ .regions = 2, .policy = "highest_price", .cabins = true });
	return 0;
}

static int setup(void **state)
{
	lab_applier_setup(state);
	lab_ask(&lab, 1, "TRUNCATE cabins");
	return 0;
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, lab_applier_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(a_locked_table_holds_up_other_resources_for_seconds_at_most),
		T(a_lock_of_one_partition_is_a_lock_of_the_table),
		T(events_that_wait_for_a_table_are_not_in_the_way_of_other_parked_ones),
		T(events_are_not_parked_for_a_locked_table_of_plist),
		T(the_moments_of_several_locks_do_not_add_up),
		T(a_table_that_may_not_be_written_holds_up_other_resources_for_seconds_at_most),
	};

	return cmocka_run_group_tests(tests, start, lab_applier_stop);
}
