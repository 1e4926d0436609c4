// db/session on a real PostgreSQL.
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/wake.h"
#include "db/conn.h"
#include "db/session.h"

static struct pl_session *session_new(int stop_fd, int64_t statement_timeout_us)
{
	return pl_session_new(&(struct pl_session_options){ .dsn = getenv("DATABASE_URL"),
	                                                    .application_name = "test session",
	                                                    .connect_timeout_us = 3000000,
	                                                    .statement_timeout_us = statement_timeout_us,
	                                                    .lock_timeout_us = 200000,
	                                                    .stop_fd = stop_fd });
}

static struct pl_session *connected(int stop_fd, int64_t statement_timeout_us)
{
	struct pl_session *session = session_new(stop_fd, statement_timeout_us);
	struct pl_error err;

	assert_int_equal(pl_session_connect(session, &err), 0);
	return session;
}

static int control(const char *verb)
{
	char command[256];

	snprintf(command, sizeof(command), "%s %s", getenv("PL_POSTGRES_CTL"), verb);
	return system(command);
}

static void value_is(struct pl_session *session, const char *sql, const char *expected)
{
	struct pl_error err;
	PGresult *result = pl_session_exec(session, sql, 0, NULL, &err);

	assert_non_null(result);
	assert_string_equal(PQgetvalue(result, 0, 0), expected);
	PQclear(result);
}

static void executes_reports_errors_and_continues(void **state)
{
	struct pl_session *session = connected(-1, 5000000);
	const char *params[] = { "41" };
	struct pl_error err;
	PGresult *result;

	(void)state;
	result = pl_session_exec(session, "SELECT $1::int + 1", 1, params, &err);
	assert_string_equal(PQgetvalue(result, 0, 0), "42");
	PQclear(result);
	assert_null(pl_session_exec(session, "SELECT 1/0", 0, NULL, &err));
	assert_string_equal(err.sqlstate, "22012");
	assert_int_equal(err.code, PL_EINVAL);
	assert_string_equal(err.text, "division by zero");
	assert_true(pl_session_connected(session));
	assert_int_equal(pl_session_do(session, "PREPARE p AS SELECT 7", &err), 0);
	result = pl_session_exec_prepared(session, "p", 0, NULL, &err);
	assert_string_equal(PQgetvalue(result, 0, 0), "7");
	PQclear(result);
	value_is(session, "SHOW TimeZone", "UTC");
	value_is(session, "SHOW lock_timeout", "200ms");
	value_is(session, "SHOW application_name", "test session");
	pl_session_free(&session);
	assert_null(session);
}

static void a_statement_can_be_sent_first_and_received_later(void **state)
{
	struct pl_session *session = connected(-1, 5000000);
	const char *values[] = { "\0\0\0\052" };
	struct pl_conn_params params = { 1, values, (int[]){ 4 }, (int[]){ 1 } }; // 42 in binary form
	struct pl_error err;
	PGresult *result;

	(void)state;
	assert_int_equal(pl_session_do(session, "PREPARE p (int) AS SELECT 84 / $1", &err), 0);
	assert_int_equal(pl_session_send(session, "p", &params, &err), 0);
	result = pl_session_receive(session, &err);
	assert_non_null(result);
	assert_string_equal(PQgetvalue(result, 0, 0), "2");
	PQclear(result);
	values[0] = "\0\0\0\0";
	assert_int_equal(pl_session_send(session, "p", &params, &err), 0);
	assert_null(pl_session_receive(session, &err));
	assert_string_equal(err.sqlstate, "22012");
	value_is(session, "SELECT 1", "1");
	pl_session_drop(session);
	assert_int_equal(pl_session_send(session, "p", &params, &err), PL_EUNAVAIL);
	assert_null(pl_session_receive(session, &err));
	assert_int_equal(err.code, PL_EUNAVAIL);
	pl_session_free(&session);
}

static void a_commit_of_a_failed_transaction_is_not_a_success(void **state)
{
	struct pl_session *session = connected(-1, 5000000);
	struct pl_error err;

	(void)state;
	assert_int_equal(pl_session_do(session, "BEGIN", &err), 0);
	assert_int_equal(pl_session_do(session, "SELECT 1/0", &err), PL_EINVAL);
	assert_int_equal(pl_session_do(session, "COMMIT", &err), PL_EINTERNAL);
	assert_int_equal(pl_session_do(session, "BEGIN", &err), 0);
	assert_int_equal(pl_session_do(session, "COMMIT", &err), 0);
	pl_session_free(&session);
}

// libpq's own error after a failed send has no fields of the server, and PQstatus may
// still be OK.
static void an_error_that_the_server_did_not_send_means_the_connection_is_lost(void **state)
{
	PGresult *own = PQmakeEmptyPGresult(NULL, PGRES_FATAL_ERROR),
		 *answer = PQmakeEmptyPGresult(NULL, PGRES_TUPLES_OK);

	(void)state;
	assert_true(pl_db_error_is_fatal(own));
	assert_false(pl_db_error_is_fatal(answer));
	PQclear(own);
	PQclear(answer);
}

static void a_statement_that_takes_too_long_is_retryable(void **state)
{
	struct pl_session *session = connected(-1, 100000);
	struct pl_error err;

	(void)state;
	assert_null(pl_session_exec(session, "SELECT pg_sleep(5)", 0, NULL, &err));
	assert_int_equal(err.code, PL_ETIMEOUT);
	assert_true(err.retryable);
	assert_string_equal(err.sqlstate, "57014");
	assert_true(pl_session_connected(session));
	pl_session_free(&session);
}

static void a_lost_connection_is_an_unknown_outcome_and_can_be_made_again(void **state)
{
	struct pl_session *session = connected(-1, 5000000), *other = connected(-1, 5000000);
	struct pl_error err;
	char sql[80];

	(void)state;
	snprintf(sql, sizeof(sql), "SELECT pg_terminate_backend(%d)", PQbackendPID(pl_session_pg(session)));
	assert_int_equal(pl_session_do(other, sql, &err), 0);
	assert_null(pl_session_exec(session, "SELECT 1", 0, NULL, &err));
	assert_int_equal(err.code, PL_EUNKNOWN);
	assert_false(pl_session_connected(session));
	assert_null(pl_session_exec(session, "SELECT 1", 0, NULL, &err));
	assert_int_equal(err.code, PL_EUNAVAIL); // not connected, nothing was sent
	assert_int_equal(pl_session_connect(session, &err), 0);
	value_is(session, "SELECT 1", "1");
	pl_session_free(&session);
	pl_session_free(&other);
}

static void *ring_soon(void *wake)
{
	usleep(100000); // so that the other thread is waiting already; the outcome does not depend on it
	pl_wake_ring(wake);
	return NULL;
}

static void stops_waiting_when_told_to(void **state)
{
	struct pl_wake *wake = pl_wake_new();
	struct pl_session *session = connected(pl_wake_fd(wake), 60000000);
	int64_t start_us = pl_mono_us();
	struct pl_error err;
	pthread_t thread;

	(void)state;
	assert_int_equal(pl_session_pause(session, 1000), 0);
	pthread_create(&thread, NULL, ring_soon, wake);
	assert_null(pl_session_exec(session, "SELECT pg_sleep(30)", 0, NULL, &err));
	pthread_join(thread, NULL);
	assert_int_equal(err.code, PL_ESTOPPED);
	assert_false(pl_session_connected(session));
	assert_int_equal(pl_session_pause(session, 60000000), PL_ESTOPPED);
	assert_int_equal(pl_session_connect(session, &err), PL_ESTOPPED);
	assert_true(pl_mono_us() - start_us < 5000000);
	pl_session_free(&session);
	pl_wake_free(&wake);
}

static void copies_rows_in(void **state)
{
	struct pl_session *session = connected(-1, 5000000);
	struct pl_error err;
	PGresult *result;
	char line[64];

	(void)state;
	assert_int_equal(pl_session_do(session, "CREATE TEMP TABLE c (a int, b text)", &err), 0);
	result = pl_session_exec(session, "COPY c FROM STDIN", 0, NULL, &err);
	assert_int_equal(PQresultStatus(result), PGRES_COPY_IN);
	PQclear(result);
	for (int i = 0; i < 50000; i++) {
		snprintf(line, sizeof(line), "%d\tsome text that fills the buffers\n", i);
		assert_int_equal(pl_session_copy_put(session, line, strlen(line), &err), 0);
	}
	assert_int_equal(pl_session_copy_end(session, NULL, &err), 0);
	value_is(session, "SELECT count(*) FROM c", "50000");
	result = pl_session_exec(session, "COPY c FROM STDIN", 0, NULL, &err);
	PQclear(result);
	assert_int_equal(pl_session_copy_put(session, "x\ty\n", 4, &err), 0);
	assert_int_equal(pl_session_copy_end(session, NULL, &err), PL_EINVAL);
	assert_string_equal(err.sqlstate, "22P02");
	result = pl_session_exec(session, "COPY c FROM STDIN", 0, NULL, &err);
	PQclear(result);
	assert_int_equal(pl_session_copy_end(session, "not today", &err), PL_ETIMEOUT); // 57014: cancelled
	value_is(session, "SELECT count(*) FROM c", "50000");
	pl_session_free(&session);
}

static void says_that_the_server_is_unavailable(void **state)
{
	struct pl_session *session = session_new(-1, 0);
	struct pl_error err;

	(void)state;
	assert_int_equal(control("stop"), 0);
	assert_int_equal(pl_session_connect(session, &err), PL_EUNAVAIL);
	assert_true(err.retryable);
	assert_null(strchr(err.text, '\n'));
	assert_int_equal(control("start"), 0);
	assert_int_equal(pl_session_connect(session, &err), 0);
	pl_session_free(&session);
}

static void make_table(const char *sql)
{
	struct pl_session *other = connected(-1, 5000000);
	struct pl_error err = { 0 };

	if (pl_session_do(other, sql, &err) < 0)
		fail_msg("%s", err.text);
	pl_session_free(&other);
}

static struct pl_session *with_a_prepared_statement(void)
{
	static const char *const setup[] = { "SET enable_sort = on",
		                             "PREPARE look (bigint) AS SELECT * FROM looked_at", NULL };

	make_table("DROP TABLE IF EXISTS looked_at; CREATE TABLE looked_at (a) AS SELECT 7");
	return pl_session_new(&(struct pl_session_options){ .dsn = getenv("DATABASE_URL"),
	                                                    .connect_timeout_us = 3000000,
	                                                    .statement_timeout_us = 5000000,
	                                                    .lock_timeout_us = 200000,
	                                                    .stop_fd = -1,
	                                                    .setup = setup });
}

static void an_outdated_prepared_statement_ends_its_session_and_works_in_the_next(void **state)
{
	struct pl_session *session = with_a_prepared_statement();
	const char *params[] = { "1" };
	struct pl_error err = { 0 };
	PGresult *result;

	(void)state;
	assert_int_equal(pl_session_connect(session, &err), 0);
	PQclear(pl_session_exec_prepared(session, "look", 1, params, &err));
	make_table("ALTER TABLE looked_at ALTER a TYPE text");
	assert_null(pl_session_exec_prepared(session, "look", 1, params, &err));
	assert_string_equal(err.sqlstate, "0A000");
	assert_true(err.retryable);
	assert_false(pl_session_connected(session));
	assert_int_equal(pl_session_connect(session, &err), 0);
	result = pl_session_exec_prepared(session, "look", 1, params, &err);
	assert_non_null(result);
	PQclear(result);
	pl_session_free(&session);
}

static void a_look_finds_what_has_changed_and_waits_for_no_lock(void **state)
{
	struct pl_session *session = with_a_prepared_statement(), *locker = connected(-1, 5000000);
	struct pl_error err = { 0 };
	int64_t began_us;

	(void)state;
	assert_int_equal(pl_session_connect(session, &err), 0);
	assert_int_equal(pl_session_look(session, &err), 0);
	assert_int_equal(pl_session_do(locker, "BEGIN; ALTER TABLE looked_at ALTER a TYPE text", &err), 0);
	began_us = pl_mono_us();
	assert_int_equal(pl_session_look(session, &err), 0);
	assert_true(pl_mono_us() - began_us < 1000000);
	assert_int_equal(pl_session_do(locker, "COMMIT", &err), 0);
	assert_true(pl_session_look(session, &err) < 0);
	assert_false(pl_session_connected(session));
	assert_int_equal(pl_session_connect(session, &err), 0);
	assert_int_equal(pl_session_look(session, &err), 0);
	make_table("ALTER ROLE postgres SET search_path = public");
	assert_true(pl_session_look(session, &err) < 0);
	assert_int_equal(pl_session_connect(session, &err), 0);
	assert_int_equal(pl_session_look(session, &err), 0);
	make_table("ALTER ROLE postgres RESET search_path");
	pl_session_free(&locker);
	pl_session_free(&session);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(executes_reports_errors_and_continues),
		cmocka_unit_test(an_error_that_the_server_did_not_send_means_the_connection_is_lost),
		cmocka_unit_test(a_statement_can_be_sent_first_and_received_later),
		cmocka_unit_test(a_commit_of_a_failed_transaction_is_not_a_success),
		cmocka_unit_test(a_statement_that_takes_too_long_is_retryable),
		cmocka_unit_test(a_lost_connection_is_an_unknown_outcome_and_can_be_made_again),
		cmocka_unit_test(stops_waiting_when_told_to),
		cmocka_unit_test(copies_rows_in),
		cmocka_unit_test(says_that_the_server_is_unavailable),
		cmocka_unit_test(an_outdated_prepared_statement_ends_its_session_and_works_in_the_next),
		cmocka_unit_test(a_look_finds_what_has_changed_and_waits_for_no_lock),
	};

	pl_log_init(PL_LOG_ERROR, PL_LOG_TEXT);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
