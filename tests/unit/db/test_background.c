// Background threads on a real PostgreSQL: turns, failures, new configurations and the
// end of the thread.
#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include "base/clock.h"
#include "db/background.h"

#define LONG_US INT64_C(3600000000)

// What the thread has done, and what its next turn does.
static struct {
	pthread_mutex_t lock;
	pthread_cond_t changed;
	struct pl_background *background;
	struct pl_session *session;
	const struct pl_config *config;
	int configured, turns, connects, failures, ends;
	bool owned;      // only in an accepted database
	bool lasts, had; // a turn lasts until the stop; by then it has still had `background`
	int to_fail;     // this many of the next turns
	int64_t wait_us; // what a turn asks for
	const char *sql; // what a turn runs; NULL: it does not connect
} it = { .lock = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER };

static struct pl_config *config;

static void count(int *counter)
{
	pthread_mutex_lock(&it.lock);
	(*counter)++;
	pthread_cond_broadcast(&it.changed);
	pthread_mutex_unlock(&it.lock);
}

static void await_count(const int *counter, int n)
{
	struct timespec until;
	int rc = 0;

	clock_gettime(CLOCK_REALTIME, &until);
	until.tv_sec += 10;
	pthread_mutex_lock(&it.lock);
	while (*counter < n && rc == 0)
		rc = pthread_cond_timedwait(&it.changed, &it.lock, &until);
	pthread_mutex_unlock(&it.lock);
	assert_int_equal(rc, 0);
}

static void configure(void *arg, struct pl_session *session, const struct pl_config *to,
                      const struct pl_region *region)
{
	(void)arg;
	(void)region;
	it.session = session;
	it.config = to;
	count(&it.configured);
}

static int run_sql(struct pl_error *err)
{
	PGresult *result;
	bool fresh;
	int code = pl_background_connect(it.background, &fresh, err);

	if (code < 0)
		return code;
	if (fresh)
		count(&it.connects);
	result = pl_session_exec(it.session, it.sql, 0, NULL, err);
	PQclear(result);
	return result ? 0 : err->code;
}

static int turn(void *arg, int64_t *wait_us_r, struct pl_error *err)
{
	int code = it.sql ? run_sql(err) : 0;
	struct pollfd p = { .events = POLLIN };

	(void)arg;
	if (it.lasts) {
		p.fd = pl_background_stop_fd(it.background);
		count(&it.turns);
		poll(&p, 1, 10000);
		it.had = it.background != NULL;
	}
	*wait_us_r = it.wait_us;
	if (code == 0 && it.to_fail > 0) {
		it.to_fail--;
		code = pl_error_set(err, PL_EBUSY, "not yet");
	}
	count(&it.turns);
	return code;
}

static void failed(void *arg)
{
	(void)arg;
	count(&it.failures);
}

static void ended(void *arg)
{
	(void)arg;
	count(&it.ends);
}

static struct pl_config *load(const char *url)
{
	struct pl_diagnostics diagnostics = { 0 };
	const char *top = getenv("PL_TOP_SRCDIR");
	struct pl_config *loaded;
	char file[1000];

	setenv("US_DATABASE_URL", url, 1);
	setenv("EU_DATABASE_URL", "postgresql://nobody@localhost/eu", 1);
	snprintf(file, sizeof(file), "%s/conf/plist.yaml", top ? top : ".");
	loaded = pl_config_load(file, NULL, &diagnostics);
	pl_diagnostics_fini(&diagnostics);
	assert_non_null(loaded);
	return loaded;
}

static const struct pl_region *us(const struct pl_config *of)
{
	return pl_config_region(of, "us", 2);
}

static void start(void)
{
	struct pl_error err;

	it.background = pl_background_new(&(struct pl_background_options){ .name = "test",
	                                                                   .any_owner = !it.owned,
	                                                                   .config = config,
	                                                                   .region = us(config),
	                                                                   .least_us = 1000,
	                                                                   .most_us = 10000,
	                                                                   .configure = configure,
	                                                                   .turn = turn,
	                                                                   .failed = failed,
	                                                                   .ended = ended });
	assert_int_equal(pl_background_start(it.background, &err), 0);
}

static int begin(void **state)
{
	(void)state;
	it.configured = it.turns = it.connects = it.failures = it.ends = it.to_fail = 0;
	it.wait_us = LONG_US;
	it.sql = NULL;
	it.lasts = it.had = it.owned = false;
	config = load(getenv("DATABASE_URL"));
	return 0;
}

static int end(void **state)
{
	(void)state;
	pl_background_free(&it.background);
	pl_config_unref(&config);
	return 0;
}

// ---- turns

static void a_failed_turn_is_tried_again_at_once_and_a_successful_one_waits(void **state)
{
	(void)state;
	it.to_fail = 3;
	start();
	await_count(&it.turns, 4);
	pl_background_free(&it.background);
	assert_int_equal(it.turns, 4);
	assert_int_equal(it.failures, 3);
	assert_int_equal(it.ends, 1);
}

static void a_configuration_is_taken_over_before_the_first_turn(void **state)
{
	(void)state;
	start();
	await_count(&it.turns, 1);
	assert_int_equal(it.configured, 1);
	assert_ptr_equal(it.config, config);
}

static void a_new_configuration_ends_even_an_endless_wait(void **state)
{
	struct pl_config *other = load(getenv("DATABASE_URL"));

	it.wait_us = -1;
	start();
	await_count(&it.turns, 1);
	pl_background_reconfigure(it.background, other, us(other));
	await_count(&it.turns, 2);
	assert_ptr_equal(it.config, other);
	pl_config_unref(&other);
	(void)state;
}

static void only_the_newest_of_several_configurations_is_taken_over(void **state)
{
	struct pl_config *others[3];

	it.background = NULL;
	for (int i = 0; i < 3; i++)
		others[i] = load(getenv("DATABASE_URL"));
	it.background = pl_background_new(&(struct pl_background_options){ .name = "test",
	                                                                   .any_owner = true,
	                                                                   .config = config,
	                                                                   .region = us(config),
	                                                                   .configure = configure,
	                                                                   .turn = turn });
	for (int i = 0; i < 3; i++)
		pl_background_reconfigure(it.background, others[i], us(others[i]));
	assert_true(pl_background_outdated(it.background));
	assert_int_equal(pl_background_start(it.background, &(struct pl_error){ 0 }), 0);
	await_count(&it.turns, 1);
	assert_false(pl_background_outdated(it.background));
	assert_ptr_equal(it.config, others[2]);
	assert_int_equal(it.configured, 1);
	for (int i = 0; i < 3; i++)
		pl_config_unref(&others[i]);
	(void)state;
}

// ---- the session

static void a_session_stays_until_it_is_lost(void **state)
{
	PGconn *other = PQconnectdb(getenv("DATABASE_URL"));

	it.sql = "SELECT 1";
	it.wait_us = 1000;
	start();
	await_count(&it.turns, 3);
	assert_int_equal(it.connects, 1);
	PQclear(PQexec(other,
	               "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = "
	               "'plistd us test'"));
	PQfinish(other);
	await_count(&it.connects, 2);
	(void)state;
}

static void a_session_is_kept_for_the_same_address_and_replaced_for_another(void **state)
{
	char url[600];
	struct pl_config *same = load(getenv("DATABASE_URL")), *moved;

	snprintf(url, sizeof(url), "%s&connect_timeout=7", getenv("DATABASE_URL"));
	moved = load(url);
	it.sql = "SELECT 1";
	start();
	await_count(&it.turns, 1);
	pl_background_reconfigure(it.background, same, us(same));
	await_count(&it.turns, 2);
	assert_int_equal(it.connects, 1);
	pl_background_reconfigure(it.background, moved, us(moved));
	await_count(&it.turns, 3);
	assert_int_equal(it.connects, 2);
	pl_config_unref(&same);
	pl_config_unref(&moved);
	(void)state;
}

// The database answers and refuses each turn; then it cannot be reached, which others
// say.
static void how_long_all_turns_have_failed_is_known_while_the_database_can_be_reached(void **state)
{
	struct pl_config *nowhere = load("postgresql://nobody@127.0.0.1:1/nowhere");
	int failures;

	(void)state;
	it.sql = "SELECT 1/0";
	start();
	await_count(&it.failures, 3);
	assert_true(pl_background_failing_us(it.background) > 0);
	pl_background_reconfigure(it.background, nowhere, us(nowhere));
	await_count(&it.configured, 2);
	failures = it.failures;
	await_count(&it.failures, failures + 3);
	assert_int_equal(pl_background_failing_us(it.background), 0);
	pl_background_free(&it.background);
	pl_config_unref(&nowhere);
}

static void a_turn_that_succeeds_ends_a_series_of_failures(void **state)
{
	(void)state;
	it.sql = "SELECT 1";
	it.to_fail = 3;
	start();
	await_count(&it.failures, 3);
	await_count(&it.turns, 4);
	pl_background_reconfigure(it.background, config, us(config)); // another turn, which begins after that
	await_count(&it.turns, 5);
	assert_int_equal(pl_background_failing_us(it.background), 0);
}

static void the_end_does_not_wait_for_a_statement(void **state)
{
	int64_t began_us;

	it.sql = "SELECT pg_sleep(60)";
	start();
	await_count(&it.connects, 1);
	began_us = pl_mono_us();
	pl_background_free(&it.background);
	assert_true(pl_mono_us() - began_us < 5000000);
	assert_int_equal(it.ends, 1);
	(void)state;
}

static void a_turn_that_is_stopped_has_its_thread_until_it_returns(void **state)
{
	it.lasts = true;
	start();
	await_count(&it.turns, 1);
	pl_background_free(&it.background);
	assert_true(it.had);
	assert_null(it.background);
	(void)state;
}

static void a_thread_that_was_never_started_can_be_freed(void **state)
{
	it.background = pl_background_new(
		&(struct pl_background_options){ .name = "test", .config = config, .region = us(config) });
	pl_background_free(&it.background);
	assert_null(it.background);
	pl_background_free(&it.background);
	(void)state;
}

// ---- whose database it is

static void say(const char *sql)
{
	PGconn *other = PQconnectdb(getenv("DATABASE_URL"));
	PGresult *result = PQexec(other, sql);

	if (PQresultStatus(result) != PGRES_COMMAND_OK && PQresultStatus(result) != PGRES_TUPLES_OK)
		fail_msg("%s: %s", sql, PQerrorMessage(other));
	PQclear(result);
	PQfinish(other);
}

static void nothing_is_done_in_a_database_until_it_is_accepted_and_that_is_not_a_failure(void **state)
{
	say("CREATE SCHEMA plist; CREATE TABLE plist.identity AS SELECT 'us' AS region, 'settled' AS state, "
	    "'there' AS place, 'now' AS run; CREATE FUNCTION plist.plist_place() RETURNS text RETURN 'here'; "
	    "CREATE FUNCTION plist.plist_run() RETURNS text RETURN 'now'; CREATE TABLE done (n int)");
	it.owned = true;
	it.sql = "INSERT INTO done VALUES (1)";
	start();
	await_count(&it.turns, 3);
	assert_int_equal(it.connects, 0);
	assert_int_equal(it.failures, 0);
	say("DO 'BEGIN ASSERT (SELECT count(*) FROM done) = 0; END'");
	say("UPDATE plist.identity SET place = 'here', run = 'before'"); // a server with the same files
	await_count(&it.turns, 6);
	assert_int_equal(it.connects, 0);
	say("DO 'BEGIN ASSERT (SELECT count(*) FROM done) = 0; END'");
	say("UPDATE plist.identity SET run = 'now'");
	await_count(&it.connects, 1); // and begins as in a new session
	say("UPDATE plist.identity SET region = 'eu'; SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
	    "WHERE application_name = 'plistd us test'");
	pl_background_reconfigure(it.background, config, us(config));
	await_count(&it.failures, 1); // another region's: this is one
	assert_int_equal(it.connects, 1);
	say("DROP SCHEMA plist CASCADE; DROP TABLE done");
	(void)state;
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, begin, end)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(a_failed_turn_is_tried_again_at_once_and_a_successful_one_waits),
		TEST(a_configuration_is_taken_over_before_the_first_turn),
		TEST(a_new_configuration_ends_even_an_endless_wait),
		TEST(only_the_newest_of_several_configurations_is_taken_over),
		TEST(a_session_stays_until_it_is_lost),
		TEST(a_session_is_kept_for_the_same_address_and_replaced_for_another),
		TEST(how_long_all_turns_have_failed_is_known_while_the_database_can_be_reached),
		TEST(a_turn_that_succeeds_ends_a_series_of_failures),
		TEST(the_end_does_not_wait_for_a_statement),
		TEST(a_turn_that_is_stopped_has_its_thread_until_it_returns),
		TEST(a_thread_that_was_never_started_can_be_freed),
		TEST(nothing_is_done_in_a_database_until_it_is_accepted_and_that_is_not_a_failure),
	};

	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
