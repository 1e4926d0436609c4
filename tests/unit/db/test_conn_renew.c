// db/conn on a real PostgreSQL: an outdated session is replaced, and the next one
// executes what it could not.
#include "conn_fixture.h"

#include <unistd.h>

#include "db/session.h"

static void answer_again(struct fixture *f, const char *statement, struct answer *answer)
{
	struct pl_error err;

	memset(answer, 0, sizeof(*answer));
	await_until(f->loop, is_up, f);
	assert_int_equal(pl_conn_send(f->conn, statement, NULL, answered, answer, &err), 0);
	await_until(f->loop, is_answered, answer);
}

static void a_statement_whose_table_was_altered_is_to_be_sent_again_in_a_new_session(void **state)
{
	struct fixture *f = *state;
	struct answer a;
	int pid;

	other_session("DROP TABLE IF EXISTS altered; CREATE TABLE altered (a) AS SELECT 7");
	pl_conn_prepare(f->conn, "altered", "SELECT * FROM altered");
	answer_again(f, "altered", &a);
	assert_string_equal(a.value, "7");
	pid = pl_conn_backend_pid(f->conn);
	other_session("ALTER TABLE altered ALTER a TYPE text");
	answer_again(f, "altered", &a);
	assert_int_equal(a.code, PL_ECONFLICT);
	assert_string_equal(a.sqlstate, "40000");
	answer_again(f, "altered", &a);
	assert_int_equal(a.code, 0);
	assert_string_equal(a.value, "7");
	assert_int_not_equal(pl_conn_backend_pid(f->conn), pid);
}

static void a_statement_that_was_deallocated_is_prepared_again(void **state)
{
	struct fixture *f = *state;
	struct answer a;

	pl_conn_prepare(f->conn, "seven", "SELECT 7");
	answer_again(f, "seven", &a);
	memset(&a, 0, sizeof(a));
	send_sql(f, "DEALLOCATE ALL", &a);
	await_until(f->loop, is_answered, &a);
	answer_again(f, "seven", &a);
	if (a.code) // unless the check of the session came first
		answer_again(f, "seven", &a);
	assert_int_equal(a.code, 0);
	assert_string_equal(a.value, "7");
}

static bool is_prepared(void *arg)
{
	struct fixture *f = arg;

	return pl_conn_up(f->conn) && pl_conn_prepared(f->conn, NULL);
}

static bool is_not_prepared(void *arg)
{
	struct fixture *f = arg;

	return pl_conn_up(f->conn) && !pl_conn_prepared(f->conn, NULL);
}

static void it_notices_that_a_table_has_gone_and_come_back(void **state)
{
	struct fixture *f = *state;

	other_session("DROP TABLE IF EXISTS seen; CREATE TABLE seen (a) AS SELECT 7");
	pl_conn_prepare(f->conn, "seen", "SELECT a FROM seen");
	await_until(f->loop, is_prepared, f);
	other_session("ALTER TABLE seen RENAME TO unseen");
	await_until(f->loop, is_not_prepared, f);
	other_session("ALTER TABLE unseen RENAME TO seen");
	await_until(f->loop, is_prepared, f);
	other_session("DROP TABLE seen");
}

// An error that a new session does not cure is reported as it is, and does not cause
// one new session after the other.
static void an_error_that_a_new_session_does_not_cure_is_passed_on(void **state)
{
	struct fixture *f = *state;
	struct answer a;
	int tries = 0;

	other_session("DROP TABLE IF EXISTS missing; CREATE TABLE missing (a) AS SELECT 7");
	pl_conn_prepare(f->conn, "missing", "SELECT a FROM missing");
	answer_again(f, "missing", &a);
	other_session("DROP TABLE missing");
	do
		answer_again(f, "missing", &a);
	while (strcmp(a.sqlstate, "40000") == 0 && ++tries < 3);
	assert_string_equal(a.sqlstate, "42P01");
	assert_true(tries <= 1);
}

static bool is_writable(void *arg)
{
	struct fixture *f = arg;

	return pl_conn_up(f->conn) && pl_conn_writable(f->conn, NULL);
}

static bool is_frozen(void *arg)
{
	struct fixture *f = arg;

	return pl_conn_up(f->conn) && !pl_conn_writable(f->conn, NULL);
}

static void it_takes_the_settings_that_an_operator_gives_to_new_sessions(void **state)
{
	struct fixture *f = *state;
	struct pl_error why = { 0 };

	await_until(f->loop, is_writable, f);
	for (int i = 0; i < 3; i++) {
		other_session("ALTER ROLE postgres SET default_transaction_read_only = on");
		await_until(f->loop, is_frozen, f);
		assert_false(pl_conn_writable(f->conn, &why));
		assert_non_null(strstr(why.text, "default_transaction_read_only"));
		assert_string_equal(why.sqlstate, "25006");
		other_session("BEGIN READ WRITE; ALTER ROLE postgres RESET default_transaction_read_only; "
		              "COMMIT");
		await_until(f->loop, is_writable, f);
	}
}

static void a_discard_leaves_nothing_of_a_command(void **state)
{
	struct fixture *f = *state;
	struct answer a = { 0 }, b = { 0 };

	await_until(f->loop, is_up, f);
	send_sql(f,
	         "SELECT pg_advisory_lock(1), set_config('TimeZone', 'Asia/Tokyo', false), "
	         "set_config('statement_timeout', '0', false)",
	         &a);
	pl_conn_discard(f->conn);
	send_sql(f,
	         "SELECT concat_ws(' ', (SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND pid = "
	         "pg_backend_pid()), "
	         "current_setting('TimeZone'), current_setting('statement_timeout'))",
	         &b);
	await_until(f->loop, is_answered, &b);
	assert_int_equal(a.code, 0);
	assert_string_equal(b.value, "0 UTC 5s");
}

// ---- another server

static char service_file[] = "/tmp/plist-test-service-XXXXXX";

// Another database stands for another server: sessions tell both apart.
static void service_leads_to(const char *database)
{
	PGconn *pg = PQconnectdb(getenv("DATABASE_URL"));
	FILE *f = fopen(service_file, "w");

	assert_non_null(f);
	fprintf(f, "[moving]\nhost=%s\nport=%s\nuser=%s\ndbname=%s\n", PQhost(pg), PQport(pg), PQuser(pg),
	        database);
	fclose(f);
	PQfinish(pg);
}

static int make_service(void **state)
{
	int fd = mkstemp(service_file);

	assert_true(fd >= 0);
	close(fd);
	setenv("PGSERVICEFILE", service_file, 1);
	service_leads_to("postgres");
	other_session("CREATE DATABASE moved");
	return setup(state);
}

static int drop_service(void **state)
{
	int code = teardown(state);

	other_session("DROP DATABASE moved WITH (FORCE)");
	unsetenv("PGSERVICEFILE");
	unlink(service_file);
	return code;
}

static struct pl_session *session_of_service(void)
{
	struct pl_error err;
	struct pl_session *session =
		pl_session_new(&(struct pl_session_options){ .dsn = "service=moving password=one",
	                                                     .connect_timeout_us = 3000000,
	                                                     .statement_timeout_us = 5000000,
	                                                     .stop_fd = -1 });

	assert_int_equal(pl_session_connect(session, &err), 0);
	return session;
}

static void session_is_on(struct pl_session *session, const char *database)
{
	struct pl_error err;
	PGresult *result = pl_session_exec(session, "SELECT current_database()", 0, NULL, &err);

	assert_non_null(result);
	assert_string_equal(PQgetvalue(result, 0, 0), database);
	PQclear(result);
}

static bool has_a_new_session(void *arg)
{
	struct fixture *f = arg;

	return pl_conn_reconnects(f->conn) > 0 && pl_conn_up(f->conn);
}

static void conn_is_on(struct fixture *f, const char *database)
{
	struct answer a = { 0 };

	await_until(f->loop, is_up, f);
	send_sql(f, "SELECT current_database()", &a);
	await_until(f->loop, is_answered, &a);
	assert_int_equal(a.code, 0);
	assert_string_equal(a.value, database);
}

// Also with another password in the string, as after a reload.
static void all_sessions_follow_to_the_server_that_a_new_one_reaches(void **state)
{
	struct fixture *f = *state;
	struct pl_session *looks = session_of_service(), *stands = session_of_service(), *fresh;
	struct pl_error err = { 0 };
	struct answer a = { 0 };

	pl_conn_free(&f->conn);
	f->conn = pl_conn_new(&(struct pl_conn_options){ .loop = f->loop,
	                                                 .dsn = "service=moving password=another",
	                                                 .connect_timeout_us = 3000000,
	                                                 .statement_timeout_us = 5000000,
	                                                 .changed = changed,
	                                                 .arg = f });
	conn_is_on(f, "postgres");
	service_leads_to("moved");
	conn_is_on(f, "postgres");
	assert_int_equal(pl_session_look(looks, &err), 0);
	assert_true(pl_session_stands(stands));
	fresh = session_of_service();
	session_is_on(fresh, "moved");
	send_sql(f, "SELECT pg_sleep(3), 1", &a); // is waited for
	await_until(f->loop, has_a_new_session, f);
	assert_int_equal(a.calls, 1);
	assert_int_equal(a.code, 0);
	conn_is_on(f, "moved");
	assert_true(pl_session_look(looks, &err) < 0);
	assert_non_null(strstr(err.text, "another server"));
	assert_int_equal(pl_session_connect(looks, &err), 0);
	session_is_on(looks, "moved");
	assert_false(pl_session_stands(stands));
	assert_true(pl_session_stands(fresh));
	pl_session_free(&looks);
	pl_session_free(&stands);
	pl_session_free(&fresh);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define t(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
		t(a_statement_whose_table_was_altered_is_to_be_sent_again_in_a_new_session),
		t(a_statement_that_was_deallocated_is_prepared_again),
		t(it_notices_that_a_table_has_gone_and_come_back),
		t(an_error_that_a_new_session_does_not_cure_is_passed_on),
		t(it_takes_the_settings_that_an_operator_gives_to_new_sessions),
		t(a_discard_leaves_nothing_of_a_command),
		cmocka_unit_test_setup_teardown(all_sessions_follow_to_the_server_that_a_new_one_reaches,
		                                make_service, drop_service),
	};

	pl_log_init(PL_LOG_ERROR, PL_LOG_TEXT);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
