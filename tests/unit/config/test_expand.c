// ${…}: every valid form, invalid forms, and that no value ever appears in an error.
#include "config/expand.h"

#include "fixture.h"

#include <stdlib.h>
#include <string.h>

static struct pl_arena *arena;

static int setup(void **state)
{
	arena = pl_arena_new(0);
	setenv("T_SET", "value", 1);
	setenv("T_EMPTY", "", 1);
	setenv("T_FORM", "${T_SET}: [x]", 1);
	unsetenv("T_UNSET");
	return 0;
}

static int teardown(void **state)
{
	pl_arena_free(&arena);
	return 0;
}

static void gives(const char *text, const char *expected)
{
	struct pl_error err = { 0 };
	const char *out;

	if (pl_expand(arena, text, &out, &err) < 0)
		fail_msg("%s: %s", text, err.text);
	assert_string_equal(out, expected);
}

static void refuses(const char *text, int code, const char *part)
{
	struct pl_error err = { 0 };
	const char *out;

	assert_int_equal(pl_expand(arena, text, &out, &err), code);
	assert_non_null(strstr(err.text, part));
}

static void variables_are_replaced_by_their_values(void **state)
{
	gives("plain", "plain");
	gives("${T_SET}", "value");
	gives("a${T_SET}b${T_SET}", "avaluebvalue");
	gives("${T_EMPTY}", "");
}

static void defaults_replace_unset_and_empty_variables(void **state)
{
	gives("${T_UNSET:-x y}", "x y");
	gives("${T_EMPTY:-x}", "x");
	gives("${T_SET:-x}", "value");
	gives("${T_UNSET:-}", "");
	gives("${T_UNSET:-${T_SET}/${T_EMPTY:-z}}", "value/z");
}

static void dollars(void **state)
{
	gives("$$", "$");
	gives("$${T_SET}", "${T_SET}");
	gives("a$b $ c$", "a$b $ c$");
	gives("$$$$", "$$");
}

static void a_value_is_not_expanded_again(void **state)
{
	gives("${T_FORM}", "${T_SET}: [x]");
}

static void unset_variables_are_named(void **state)
{
	refuses("${T_UNSET}", PL_ENOTFOUND, "the environment variable T_UNSET is not set");
	refuses("${T_UNSET:?ask the team}", PL_ENOTFOUND, "T_UNSET is not set: ask the team");
	refuses("${T_EMPTY:?ask}", PL_ENOTFOUND, "ask");
	gives("${T_SET:?ask}", "value");
}

static void invalid_forms_are_refused(void **state)
{
	refuses("${T_SET", PL_EINVAL, "without its");
	refuses("${}", PL_EINVAL, "does not name a variable");
	refuses("${1X}", PL_EINVAL, "does not name a variable");
	refuses("${T SET}", PL_EINVAL, "must be followed by");
	refuses("${T_SET-x}", PL_EINVAL, "must be followed by");
	refuses("${T_SET:+x}", PL_EINVAL, "must be followed by");
	refuses("${T_SET:}", PL_EINVAL, "must be followed by");
	refuses("${T_UNSET:-${T_UNSET:-${T_UNSET:-${T_UNSET:-${T_UNSET:-x}}}}}", PL_EINVAL,
	        "nested too deeply");
}

static void an_error_contains_no_value(void **state)
{
	struct pl_error err;
	const char *out;

	setenv("T_SECRET", "hunter2", 1);
	assert_int_equal(pl_expand(arena, "${T_SECRET}${T_UNSET}", &out, &err), PL_ENOTFOUND);
	assert_null(strstr(err.text, "hunter2"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(variables_are_replaced_by_their_values, setup, teardown),
		cmocka_unit_test_setup_teardown(defaults_replace_unset_and_empty_variables, setup, teardown),
		cmocka_unit_test_setup_teardown(dollars, setup, teardown),
		cmocka_unit_test_setup_teardown(a_value_is_not_expanded_again, setup, teardown),
		cmocka_unit_test_setup_teardown(unset_variables_are_named, setup, teardown),
		cmocka_unit_test_setup_teardown(invalid_forms_are_refused, setup, teardown),
		cmocka_unit_test_setup_teardown(an_error_contains_no_value, setup, teardown),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
