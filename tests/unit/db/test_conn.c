// db/conn against a real PostgreSQL: results, errors, commits that fail, losses, and coming back.
#include "await.h"

#include <libpq-fe.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "db/conn.h"
#include "db/session.h"

struct fixture {
	struct pl_loop *loop;
	struct pl_conn *conn;
	int ups, downs;
};

struct answer {
	int calls, code;
	bool lost;
	char sqlstate[6], value[64];
	struct pl_conn **free_it, **drop_it; // in the callback
	struct answer *then;      // sent again in the callback
	struct fixture *fixture;
};

static void changed(struct pl_conn *conn, bool up, void *arg)
{
	struct fixture *f = arg;

	(void)conn;
	f->ups += up;
	f->downs += !up;
}

static void answered(void *arg, PGresult *result, const struct pl_error *err)
{
	struct answer *answer = arg;

	answer->calls++;
	answer->code = err->code;
	answer->lost = !result;
	strcpy(answer->sqlstate, err->sqlstate);
	if (result && PQntuples(result) > 0)
		snprintf(answer->value, sizeof answer->value, "%s", PQgetvalue(result, 0, 0));
	if (answer->free_it)
		pl_conn_free(answer->free_it);
	if (answer->drop_it)
		pl_conn_drop(*answer->drop_it, "on purpose");
	if (answer->then)
		answer->then->code = pl_conn_send_sql(answer->fixture->conn, "SELECT 5", NULL, answered, answer->then, NULL);
}

static bool is_answered(void *arg)
{
	return ((struct answer *)arg)->calls > 0;
}

static bool is_up(void *arg)
{
	return pl_conn_up(((struct fixture *)arg)->conn);
}

static bool is_down(void *arg)
{
	return !is_up(arg);
}

static struct pl_conn *conn_new(struct fixture *f, const char *const *setup, int64_t statement_timeout_us)
{
	return pl_conn_new(&(struct pl_conn_options){
		.loop = f->loop, .dsn = getenv("DATABASE_URL"), .application_name = "test conn", .connect_timeout_us = 3000000,
		.statement_timeout_us = statement_timeout_us, .lock_timeout_us = 1000000, .setup = setup, .changed = changed, .arg = f });
}

static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof *f);

	f->loop = pl_loop_new();
	f->conn = conn_new(f, NULL, 5000000);
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	pl_conn_free(&f->conn);
	pl_loop_free(&f->loop);
	free(f);
	return 0;
}

static void send_sql(struct fixture *f, const char *sql, struct answer *answer)
{
	struct pl_error err;

	assert_int_equal(pl_conn_send_sql(f->conn, sql, NULL, answered, answer, &err), 0);
}

// On a connection of its own, that waits.
static void other_session(const char *sql)
{
	PGconn *pg = PQconnectdb(getenv("DATABASE_URL"));
	PGresult *result = PQexec(pg, sql);

	assert_true(PQresultStatus(result) == PGRES_COMMAND_OK || PQresultStatus(result) == PGRES_TUPLES_OK);
	PQclear(result);
	PQfinish(pg);
}

static void refuses_to_send_before_it_is_up(void **state)
{
	struct fixture *f = *state;
	struct pl_error err;

	assert_int_equal(pl_conn_send_sql(f->conn, "SELECT 1", NULL, answered, NULL, &err), -1);
	assert_int_equal(err.code, PL_EUNAVAIL);
	assert_true(err.retryable);
}

static void answers_commands_in_order(void **state)
{
	struct fixture *f = *state;
	struct answer a[3] = { 0 };

	pl_conn_prepare(f->conn, "plus", "SELECT $1::int + 1");
	await_until(f->loop, is_up, f);
	for (int i = 0; i < 3; i++) {
		const char *value = (const char *[]){ "1", "x", "3" }[i];
		struct pl_conn_params params = { .n = 1, .values = &value };

		assert_int_equal(pl_conn_send(f->conn, "plus", &params, answered, &a[i], NULL), 0);
	}
	assert_int_equal(pl_conn_in_flight(f->conn), 3);
	await_until(f->loop, is_answered, &a[2]);
	assert_string_equal(a[0].value, "2");
	assert_string_equal(a[1].sqlstate, "22P02"); // fails alone
	assert_int_equal(a[1].code, PL_EINVAL);
	assert_string_equal(a[2].value, "4");
	assert_int_equal(a[2].code, 0);
	assert_int_equal(pl_conn_in_flight(f->conn), 0);
	assert_int_equal(f->ups, 1);
	assert_true(pl_conn_backend_pid(f->conn) > 0);
	assert_non_null(strstr(pl_conn_backend_start(f->conn), "+00"));
}

static void reports_a_commit_that_fails_after_the_result(void **state)
{
	struct fixture *f = *state;
	struct answer a = { 0 }, b = { 0 };

	other_session("CREATE TABLE IF NOT EXISTS late (id int PRIMARY KEY, other int REFERENCES late DEFERRABLE INITIALLY DEFERRED)");
	await_until(f->loop, is_up, f);
	send_sql(f, "INSERT INTO late VALUES (1, 2) RETURNING id", &a);
	send_sql(f, "SELECT count(*) FROM late", &b);
	await_until(f->loop, is_answered, &b);
	assert_string_equal(a.sqlstate, "23503");
	assert_int_equal(a.calls, 1);
	assert_int_equal(b.code, 0);
	assert_string_equal(b.value, "0");
}

// Sends each between one begin and its commit, and waits for the last answer.
static void send_together(struct fixture *f, const char *const *sql, struct answer *answers, int n)
{
	await_until(f->loop, is_up, f);
	memset(answers, 0, sizeof answers[0] * (size_t)n);
	pl_conn_begin(f->conn);
	for (int i = 0; i < n; i++)
		send_sql(f, sql[i], &answers[i]);
	pl_conn_commit(f->conn);
	assert_int_equal(pl_conn_in_flight(f->conn), n);
	await_until(f->loop, is_answered, &answers[n - 1]);
	assert_int_equal(pl_conn_in_flight(f->conn), 0);
	for (int i = 0; i < n; i++)
		assert_int_equal(answers[i].calls, 1);
}

static void what_is_sent_between_begin_and_commit_is_one_transaction(void **state)
{
	static const char *const same[] = { "SELECT txid_current()", "SELECT txid_current()", "SELECT txid_current()" };
	struct fixture *f = *state;
	struct answer a[3], b = { 0 };

	send_together(f, same, a, 3);
	send_sql(f, same[0], &b);
	await_until(f->loop, is_answered, &b);
	assert_string_equal(a[0].value, a[1].value);
	assert_string_equal(a[0].value, a[2].value);
	assert_string_not_equal(a[0].value, b.value);
	pl_conn_begin(f->conn); // of nothing
	pl_conn_commit(f->conn);
	send_together(f, same, a, 1);
	assert_int_equal(a[0].code, 0);
}

static void one_that_fails_undoes_all_and_each_is_told_what_was_its_own_fault(void **state)
{
	static const char *const sql[] = { "INSERT INTO together VALUES (1) RETURNING id", "INSERT INTO together VALUES (2 / 0)",
	                                   "INSERT INTO together VALUES (3) RETURNING id" };
	struct fixture *f = *state;
	struct answer a[3], b = { 0 };

	other_session("CREATE TABLE IF NOT EXISTS together (id int PRIMARY KEY, other int REFERENCES together DEFERRABLE INITIALLY DEFERRED)");
	for (int wrong = 0; wrong < 3; wrong++) {
		const char *order[3] = { sql[0], sql[2], sql[2] };

		order[wrong] = sql[1];
		send_together(f, order, a, 3);
		for (int i = 0; i < 3; i++) {
			assert_string_equal(a[i].sqlstate, i == wrong ? "22012" : "40000");
			assert_false(a[i].lost);
			if (i != wrong)
				assert_int_equal(a[i].code, PL_ECONFLICT);
		}
		memset(&b, 0, sizeof b);
		send_sql(f, "SELECT count(*) FROM together", &b);
		await_until(f->loop, is_answered, &b);
		assert_string_equal(b.value, "0");
	}
}

static void a_commit_of_several_that_fails_is_the_last_ones_fault(void **state)
{
	static const char *const sql[] = { "INSERT INTO together VALUES (1, 5) RETURNING id", "SELECT 1" };
	struct fixture *f = *state;
	struct answer a[2], b = { 0 };

	send_together(f, sql, a, 2);
	assert_string_equal(a[0].sqlstate, "40000");
	assert_string_equal(a[1].sqlstate, "23503");
	send_sql(f, "SELECT count(*) FROM together", &b);
	await_until(f->loop, is_answered, &b);
	assert_string_equal(b.value, "0");
	other_session("DROP TABLE together");
}

static void prepares_again_when_a_missing_table_has_come(void **state)
{
	struct fixture *f = *state;
	struct answer a = { 0 }, b = { 0 }, c = { 0 };
	struct pl_error why = { 0 };

	pl_conn_prepare(f->conn, "late", "SELECT count(*) FROM comes_late");
	await_until(f->loop, is_up, f); // in spite of it
	assert_false(pl_conn_prepared(f->conn, &why));
	assert_non_null(strstr(why.text, "comes_late"));
	assert_int_equal(pl_conn_send(f->conn, "late", NULL, answered, &a, NULL), 0);
	await_until(f->loop, is_answered, &a);
	assert_string_equal(a.sqlstate, "42P01");
	other_session("CREATE TABLE comes_late ()");
	assert_int_equal(pl_conn_send(f->conn, "late", NULL, answered, &b, NULL), 0);
	assert_int_equal(pl_conn_send(f->conn, "late", NULL, answered, &c, NULL), 0);
	await_until(f->loop, is_answered, &c);
	assert_string_equal(b.value, "0");
	assert_string_equal(c.value, "0");
	assert_true(pl_conn_prepared(f->conn, &why));
	pl_conn_unprepare(f->conn, "late");
	assert_int_equal(pl_conn_send(f->conn, "late", NULL, answered, &c, NULL), -1);
	other_session("DROP TABLE comes_late");
}

static void tells_everyone_of_a_loss_and_comes_back(void **state)
{
	struct fixture *f = *state;
	struct answer a = { 0 }, b = { 0 }, c = { 0 }, again = { 0 };
	char sql[80];
	int pid;

	pl_conn_prepare(f->conn, "one", "SELECT 1");
	await_until(f->loop, is_up, f);
	pid = pl_conn_backend_pid(f->conn);
	a.then = &again;
	a.fixture = f;
	send_sql(f, "SELECT pg_sleep(60)", &a);
	send_sql(f, "SELECT 2", &b);
	snprintf(sql, sizeof sql, "SELECT pg_terminate_backend(%d)", pid);
	other_session(sql);
	await_until(f->loop, is_answered, &b);
	assert_true(a.lost && b.lost);
	assert_int_equal(a.code, PL_EUNKNOWN);
	assert_int_equal(again.code, -1); // sending from the callback is refused, not lost
	assert_int_equal(again.calls, 0);
	assert_int_equal(f->downs, 1);
	assert_true(pl_conn_down_us(f->conn) > 0);
	await_until(f->loop, is_up, f);
	assert_int_equal(pl_conn_down_us(f->conn), 0);
	assert_int_not_equal(pl_conn_backend_pid(f->conn), pid);
	assert_int_equal(pl_conn_reconnects(f->conn), 1);
	assert_int_equal(pl_conn_send(f->conn, "one", NULL, answered, &c, NULL), 0);
	await_until(f->loop, is_answered, &c);
	assert_string_equal(c.value, "1");
}

static void comes_back_after_the_server(void **state)
{
	struct fixture *f = *state;
	struct answer a = { 0 };
	char command[256];

	await_until(f->loop, is_up, f);
	snprintf(command, sizeof command, "%s stop", getenv("PL_POSTGRES_CTL"));
	assert_int_equal(system(command), 0);
	await_until(f->loop, is_down, f);
	snprintf(command, sizeof command, "%s start", getenv("PL_POSTGRES_CTL"));
	assert_int_equal(system(command), 0);
	await_until(f->loop, is_up, f);
	send_sql(f, "SELECT 7", &a);
	await_until(f->loop, is_answered, &a);
	assert_string_equal(a.value, "7");
}

static void may_be_dropped_and_freed_in_a_callback(void **state)
{
	struct fixture *f = *state;
	struct answer a = { .drop_it = &f->conn }, b = { 0 }, c = { .free_it = &f->conn }, d = { 0 };

	await_until(f->loop, is_up, f);
	send_sql(f, "SELECT 1", &a);
	send_sql(f, "SELECT 2", &b);
	await_until(f->loop, is_answered, &b);
	assert_false(a.lost);
	assert_true(b.lost);
	await_until(f->loop, is_up, f);
	send_sql(f, "SELECT 3", &c);
	send_sql(f, "SELECT 4", &d);
	await_until(f->loop, is_answered, &d);
	assert_null(f->conn);
	assert_int_equal(c.code, 0);
	assert_int_equal(d.code, PL_ESTOPPED);
}

static void answers_what_is_outstanding_when_freed(void **state)
{
	struct fixture *f = *state;
	struct answer a = { 0 };

	await_until(f->loop, is_up, f);
	send_sql(f, "SELECT pg_sleep(60)", &a);
	pl_conn_free(&f->conn);
	assert_int_equal(a.calls, 1);
	assert_int_equal(a.code, PL_ESTOPPED);
}

static void may_be_freed_while_it_connects(void **state)
{
	struct fixture *f = *state;

	pl_conn_free(&f->conn);
	f->conn = conn_new(f, NULL, 0);
}

static void says_why_it_cannot_connect(void **state)
{
	struct fixture *f = *state;
	const char *const bad[] = { "SET no_such_setting = 1", NULL };
	int64_t start_us = pl_mono_us();

	pl_conn_free(&f->conn);
	f->conn = conn_new(f, bad, 0);
	while (!pl_conn_last_error(f->conn)->code && pl_mono_us() - start_us < 10000000)
		await_for(f->loop, 20000, NULL, NULL, is_up, f);
	assert_non_null(strstr(pl_conn_last_error(f->conn)->text, "no_such_setting"));
	assert_int_equal(f->ups, 0);
}

static void gives_a_silent_server_up(void **state)
{
	struct fixture *f = *state;
	struct answer a = { 0 };
	char command[64];
	int pid;

	pl_conn_free(&f->conn);
	f->conn = conn_new(f, NULL, 100000); // and three seconds of grace
	await_until(f->loop, is_up, f);
	pid = pl_conn_backend_pid(f->conn);
	snprintf(command, sizeof command, "kill -STOP %d", pid);
	assert_int_equal(system(command), 0);
	send_sql(f, "SELECT 1", &a);
	await_until(f->loop, is_answered, &a);
	snprintf(command, sizeof command, "kill -CONT %d", pid);
	assert_int_equal(system(command), 0);
	assert_int_equal(a.code, PL_EUNKNOWN);
	await_until(f->loop, is_up, f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define t(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
		t(refuses_to_send_before_it_is_up),
		t(answers_commands_in_order),
		t(reports_a_commit_that_fails_after_the_result),
		t(what_is_sent_between_begin_and_commit_is_one_transaction),
		t(one_that_fails_undoes_all_and_each_is_told_what_was_its_own_fault),
		t(a_commit_of_several_that_fails_is_the_last_ones_fault),
		t(prepares_again_when_a_missing_table_has_come),
		t(tells_everyone_of_a_loss_and_comes_back),
		t(comes_back_after_the_server),
		t(may_be_dropped_and_freed_in_a_callback),
		t(answers_what_is_outstanding_when_freed),
		t(may_be_freed_while_it_connects),
		t(says_why_it_cannot_connect),
		t(gives_a_silent_server_up),
	};

	pl_log_init(PL_LOG_ERROR, PL_LOG_TEXT);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
