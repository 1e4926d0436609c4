// The header plist-answer: what a handler could have answered is accepted. Anything
// else is refused with a reason, since anyone who can write to the topic can set this
// header.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "event/event_answer.h"

static struct pl_arena *arena;

static int setup(void **state)
{
	arena = pl_arena_new(0);
	return 0;
}

static int teardown(void **state)
{
	pl_arena_free(&arena);
	return 0;
}

static struct pl_event_answer taken(const char *text)
{
	struct pl_event_answer answer;
	struct pl_error err = { 0 };

	if (pl_event_answer_parse(arena, text, &answer, &err) < 0)
		fail_msg("%s: %s", text, err.text);
	return answer;
}

static void assert_refused(const char *text, const char *says)
{
	struct pl_event_answer answer;
	struct pl_error err = { 0 };

	assert_int_equal(pl_event_answer_parse(arena, text, &answer, &err), PL_EINVAL);
	if (!strstr(err.text, says))
		fail_msg("%s: \"%s\" does not say \"%s\"", text, err.text, says);
}

static void an_own_answer_is_accepted_unchanged(void **state)
{
	static const char *const own[] = {
		"{\"status\":409,\"headers\":[],\"body\":\"no\"}",
		"{\"status\":200,\"headers\":[[\"X-Custom\",\"a \\\"b\\\"\"]],\"hex\":\"0001ff\"}",
		"{\"status\":204,\"headers\":[[\"ETag\",\"\\\"own\\\"\"]]}",
		"{\"status\":200,\"headers\":[],\"of a later version\":{\"a\":[1]}}",
		"{\"status\":200,\"region\":\"us\",\"bytes\":70000}",
	};

	for (size_t i = 0; i < sizeof(own) / sizeof(own[0]); i++) {
		struct pl_event_answer answer = taken(own[i]);

		assert_string_equal(answer.own, own[i]);
		assert_null(answer.location);
	}
	assert_int_equal(taken(own[0]).status, 409);
}

static void a_location_belongs_to_the_default_answer(void **state)
{
	struct pl_event_answer answer = taken("{\"location\":\"/eu/properties/7\"}");

	assert_string_equal(answer.location, "/eu/properties/7");
	assert_null(answer.own);
	assert_int_equal(answer.status, 0);
}

static void answers_that_no_handler_can_give_are_refused(void **state)
{
	assert_refused("{\"status\":200", "line 1");
	assert_refused("[]", "not an object");
	assert_refused("{\"status\":199,\"headers\":[]}", "status from 200 to 499");
	assert_refused("{\"status\":500,\"headers\":[]}", "status from 200 to 499");
	assert_refused("{\"status\":\"200\",\"headers\":[]}", "status from 200 to 499");
	assert_refused("{\"status\":200}", "no list of headers");
	assert_refused("{\"status\":200,\"headers\":[\"X\"]}", "no handler");
	assert_refused("{\"status\":200,\"headers\":[[\"X\"]]}", "no handler");
	assert_refused("{\"status\":200,\"headers\":[[\"X\",1]]}", "no handler");
	assert_refused("{\"status\":200,\"headers\":[[\"X Y\",\"a\"]]}", "no handler");
	assert_refused("{\"status\":200,\"headers\":[[\"\",\"a\"]]}", "no handler");
	assert_refused("{\"status\":200,\"headers\":[[\"X\",\"a\\r\\nSet-Cookie: b\"]]}", "no handler");
	assert_refused("{\"status\":200,\"headers\":[[\"content-length\",\"7\"]]}", "no handler");
	assert_refused("{\"status\":200,\"headers\":[[\"X-Accel-Redirect\",\"/\"]]}", "no handler");
	assert_refused("{\"status\":200,\"headers\":[],\"body\":7}", "not a text");
	assert_refused("{\"status\":200,\"headers\":[],\"hex\":\"0\"}", "not hexadecimal");
	assert_refused("{\"status\":200,\"headers\":[],\"hex\":\"0x\"}", "not hexadecimal");
	assert_refused("{\"status\":200,\"bytes\":70000}", "how large");
	assert_refused("{\"location\":\"elsewhere\"}", "not a path");
	assert_refused("{\"location\":\"/a\\nb\"}", "not a path");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(an_own_answer_is_accepted_unchanged, setup, teardown),
		cmocka_unit_test_setup_teardown(a_location_belongs_to_the_default_answer, setup, teardown),
		cmocka_unit_test_setup_teardown(answers_that_no_handler_can_give_are_refused, setup,
		                                teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
