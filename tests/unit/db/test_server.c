// db/server: a session learns that new ones reach another server, and a name that leads
// to two servers in turns does not keep all sessions connecting.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "base/clock.h"
#include "base/log.h"
#include "db/server.h"

#define SECOND INT64_C(1000000)

static struct pl_server at(const char *source, const char *name)
{
	struct pl_server server;

	pl_server_init(&server, source, NULL);
	snprintf(server.name, sizeof(server.name), "%s", name);
	pl_server_note(&server);
	return server;
}

static bool is_former(const struct pl_server *server, int64_t age_us)
{
	return pl_server_is_former(server, pl_mono_us() - age_us);
}

static void a_session_is_to_be_replaced_if_a_newer_one_is_on_another_server(void **state)
{
	struct pl_server first = at("host=moves", "1"), again = at("host=moves", "1"), other;

	assert_false(is_former(&first, 10 * SECOND));
	assert_false(is_former(&again, 10 * SECOND));
	other = at("host=moves", "2");
	assert_true(is_former(&first, 10 * SECOND));
	assert_false(is_former(&first, SECOND)); // it has only just begun
	assert_false(is_former(&other, 10 * SECOND));
	assert_false(pl_server_alternates());
	(void)state;
}

static void sessions_of_another_connection_string_do_not_count_and_its_password_does_not(void **state)
{
	struct pl_server us = at("host=us password=a", "1"), file, same_file;

	at("host=eu password=a", "2");
	assert_false(is_former(&us, 10 * SECOND));
	at("host=us password=b", "3");
	assert_true(is_former(&us, 10 * SECOND));
	pl_server_init(&file, "host=us", "/etc/plist/us");
	pl_server_init(&same_file, "host=us port=1", "/etc/plist/us");
	assert_true(file.source == same_file.source && file.source != us.source);
	(void)state;
}

static void a_server_that_is_not_known_is_never_former(void **state)
{
	struct pl_server known = at("host=some", "1"), unknown = at("host=some", ""), none;

	assert_false(is_former(&known, 10 * SECOND));
	assert_false(is_former(&unknown, 10 * SECOND));
	pl_server_init(&none, "host=nowhere", NULL);
	assert_false(is_former(&none, 10 * SECOND));
	(void)state;
}

static void each_return_to_a_server_that_was_just_left_doubles_how_long_a_session_is_left_alone(void **state)
{
	struct pl_server one = at("host=two", "1"), two = at("host=two", "2");

	assert_true(is_former(&one, 3 * SECOND));
	for (int64_t patience_us = 4 * SECOND; patience_us <= 64 * SECOND; patience_us *= 2) {
		const struct pl_server *former = patience_us % (3 * SECOND) == SECOND ? &two : &one;

		pl_server_note(former == &two ? &one : &two);
		assert_false(is_former(former, patience_us - SECOND));
		assert_true(is_former(former, patience_us + SECOND));
		assert_true(pl_server_alternates());
	}
	at("host=two", "3"); // not one of the two
	assert_true(is_former(&one, 3 * SECOND));
	(void)state;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_session_is_to_be_replaced_if_a_newer_one_is_on_another_server),
		cmocka_unit_test(
			sessions_of_another_connection_string_do_not_count_and_its_password_does_not),
		cmocka_unit_test(a_server_that_is_not_known_is_never_former),
		cmocka_unit_test(
			each_return_to_a_server_that_was_just_left_doubles_how_long_a_session_is_left_alone),
	};

	pl_log_init(PL_LOG_ERROR, PL_LOG_TEXT);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
