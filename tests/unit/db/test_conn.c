// db/conn on a real PostgreSQL: results, errors, failed commits, losses, and
// reconnecting.
#include "conn_fixture.h"

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

	other_session("CREATE TABLE IF NOT EXISTS late (id int PRIMARY KEY, other int REFERENCES late "
	              "DEFERRABLE INITIALLY DEFERRED)");
	await_until(f->loop, is_up, f);
	send_sql(f, "INSERT INTO late VALUES (1, 2) RETURNING id", &a);
	send_sql(f, "SELECT count(*) FROM late", &b);
	await_until(f->loop, is_answered, &b);
	assert_string_equal(a.sqlstate, "23503");
	assert_int_equal(a.calls, 1);
	assert_int_equal(b.code, 0);
	assert_string_equal(b.value, "0");
}

// Sends all of them between pl_conn_begin and pl_conn_commit, and waits for the last
// answer.
static void send_together(struct fixture *f, const char *const *sql, struct answer *answers, int n)
{
	await_until(f->loop, is_up, f);
	memset(answers, 0, sizeof(answers[0]) * (size_t)n);
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

static void commands_between_begin_and_commit_are_one_transaction(void **state)
{
	static const char *const same[] = { "SELECT txid_current()", "SELECT txid_current()",
		                            "SELECT txid_current()" };
	struct fixture *f = *state;
	struct answer a[3], b = { 0 };

	send_together(f, same, a, 3);
	send_sql(f, same[0], &b);
	await_until(f->loop, is_answered, &b);
	assert_string_equal(a[0].value, a[1].value);
	assert_string_equal(a[0].value, a[2].value);
	assert_string_not_equal(a[0].value, b.value);
	pl_conn_begin(f->conn); // without commands
	pl_conn_commit(f->conn);
	send_together(f, same, a, 1);
	assert_int_equal(a[0].code, 0);
}

static void a_failed_command_undoes_all_and_only_it_is_told_its_own_error(void **state)
{
	static const char *const sql[] = { "INSERT INTO together VALUES (1) RETURNING id",
		                           "INSERT INTO together VALUES (2 / 0)",
		                           "INSERT INTO together VALUES (3) RETURNING id" };
	struct fixture *f = *state;
	struct answer a[3], b = { 0 };

	other_session("CREATE TABLE IF NOT EXISTS together (id int PRIMARY KEY, other int REFERENCES "
	              "together DEFERRABLE INITIALLY DEFERRED)");
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
		memset(&b, 0, sizeof(b));
		send_sql(f, "SELECT count(*) FROM together", &b);
		await_until(f->loop, is_answered, &b);
		assert_string_equal(b.value, "0");
	}
}

static void a_failed_commit_of_several_is_the_error_of_the_last(void **state)
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

static void a_database_without_the_schema_is_unavailable(void **state)
{
	struct fixture *f = *state;
	struct answer a = { 0 };

	await_until(f->loop, is_up, f);
	send_sql(f, "SELECT not_migrated.f()", &a);
	await_until(f->loop, is_answered, &a);
	assert_string_equal(a.sqlstate, "3F000");
	assert_int_equal(a.code, PL_EUNAVAIL);
}

static void prepares_again_when_a_missing_table_exists(void **state)
{
	struct fixture *f = *state;
	struct answer a = { 0 }, b = { 0 }, c = { 0 };
	struct pl_error why = { 0 };

	pl_conn_prepare(f->conn, "late", "SELECT count(*) FROM comes_late");
	await_until(f->loop, is_up, f); // nevertheless
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

static void reports_a_loss_to_all_and_reconnects(void **state)
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
	snprintf(sql, sizeof(sql), "SELECT pg_terminate_backend(%d)", pid);
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

// libpq notices it while sending, and closes the socket, so that no event tells the loop.
static void a_loss_that_is_noticed_while_sending_is_a_loss(void **state)
{
	struct fixture *f = *state;
	static struct answer answers[200];
	struct pl_error err = { 0 };
	char sql[80];
	int n = 0, refused = 0;

	memset(answers, 0, sizeof(answers));
	await_until(f->loop, is_up, f);
	snprintf(sql, sizeof(sql), "SELECT pg_terminate_backend(%d, 5000)", pl_conn_backend_pid(f->conn));
	other_session(sql);
	while (n < 200 && refused == 0) // the loop does not run meanwhile
		refused = pl_conn_send_sql(f->conn, "SELECT 1", NULL, answered, &answers[n++], &err);
	assert_int_equal(refused, -1);
	assert_int_equal(err.code, PL_EUNAVAIL);
	assert_true(err.retryable);
	assert_false(pl_conn_up(f->conn));
	assert_int_equal(f->downs, 0); // the callbacks wait until the sender has returned
	await_until(f->loop, is_answered, &answers[0]);
	assert_int_equal(f->downs, 1);
	for (int i = 0; i < n - 1; i++)
		assert_true(answers[i].calls == 1 && answers[i].lost && answers[i].code == PL_EUNKNOWN);
	assert_int_equal(answers[n - 1].calls, 0);
	await_until(f->loop, is_up, f);
	assert_null(strstr(pl_conn_last_error(f->conn)->text, "does not respond"));
}

static void reconnects_when_the_server_is_back(void **state)
{
	struct fixture *f = *state;
	struct answer a = { 0 };
	char command[256];

	await_until(f->loop, is_up, f);
	snprintf(command, sizeof(command), "%s stop", getenv("PL_POSTGRES_CTL"));
	assert_int_equal(system(command), 0);
	await_until(f->loop, is_down, f);
	snprintf(command, sizeof(command), "%s start", getenv("PL_POSTGRES_CTL"));
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

static void answers_outstanding_commands_when_freed(void **state)
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

static void gives_up_on_a_silent_server(void **state)
{
	struct fixture *f = *state;
	struct answer a = { 0 };
	char command[64];
	int pid;

	pl_conn_free(&f->conn);
	f->conn = conn_new(f, NULL, 100000); // and three seconds more
	await_until(f->loop, is_up, f);
	pid = pl_conn_backend_pid(f->conn);
	snprintf(command, sizeof(command), "kill -STOP %d", pid);
	assert_int_equal(system(command), 0);
	send_sql(f, "SELECT 1", &a);
	await_until(f->loop, is_answered, &a);
	snprintf(command, sizeof(command), "kill -CONT %d", pid);
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
		t(commands_between_begin_and_commit_are_one_transaction),
		t(a_failed_command_undoes_all_and_only_it_is_told_its_own_error),
		t(a_failed_commit_of_several_is_the_error_of_the_last),
		t(a_database_without_the_schema_is_unavailable),
		t(prepares_again_when_a_missing_table_exists),
		t(reports_a_loss_to_all_and_reconnects),
		t(a_loss_that_is_noticed_while_sending_is_a_loss),
		t(reconnects_when_the_server_is_back),
		t(may_be_dropped_and_freed_in_a_callback),
		t(answers_outstanding_commands_when_freed),
		t(may_be_freed_while_it_connects),
		t(says_why_it_cannot_connect),
		t(gives_up_on_a_silent_server),
	};

	pl_log_init(PL_LOG_ERROR, PL_LOG_TEXT);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
