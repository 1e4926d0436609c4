// Errors: texts that are too long, contexts, names.
#include "base/error.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "base/utf8.h"

static void setting_returns_the_code_and_fills_the_error(void **state)
{
	struct pl_error err = { .sqlstate = "23505", .retryable = true };
	assert_int_equal(pl_error_set(&err, PL_EINVAL, "row %d: %s", 7, "no price"), PL_EINVAL);
	assert_int_equal(err.code, PL_EINVAL);
	assert_string_equal(err.text, "row 7: no price");
	assert_string_equal(err.sqlstate, "");
	assert_false(err.retryable);
}

static void only_temporary_errors_are_retryable(void **state)
{
	static const int codes[] = { PL_EINVAL,   PL_ENOTFOUND, PL_ECONFLICT, PL_EBUSY,
		                     PL_EUNAVAIL, PL_EUNKNOWN,  PL_ETIMEOUT,  PL_EBUDGET,
		                     PL_ESCRIPT,  PL_ESTOPPED,  PL_EINTERNAL };
	for (size_t i = 0; i < sizeof(codes) / sizeof(codes[0]); i++) {
		struct pl_error err;
		pl_error_set(&err, codes[i], "x");
		bool passes = codes[i] == PL_EBUSY || codes[i] == PL_EUNAVAIL || codes[i] == PL_ETIMEOUT;
		assert_int_equal(err.retryable, passes);
	}
}

static void the_error_may_be_null(void **state)
{
	assert_int_equal(pl_error_set(NULL, PL_EBUSY, "x"), PL_EBUSY);
	assert_int_equal(pl_error_prefix(NULL, "x"), PL_EINTERNAL);
}

static void a_prefix_precedes_the_text_and_keeps_the_rest(void **state)
{
	struct pl_error err;
	pl_error_set(&err, PL_EUNAVAIL, "connection refused");
	strcpy(err.sqlstate, "08001");
	assert_int_equal(pl_error_prefix(&err, "region %s", "us"), PL_EUNAVAIL);
	assert_string_equal(err.text, "region us: connection refused");
	assert_string_equal(err.sqlstate, "08001");
	assert_true(err.retryable);
}

static void an_error_may_be_built_from_its_own_text(void **state)
{
	struct pl_error err;
	pl_error_set(&err, PL_EINVAL, "inner");
	pl_error_set(&err, PL_EINTERNAL, "outer of (%s)", err.text);
	assert_string_equal(err.text, "outer of (inner)");
	pl_error_prefix(&err, "%s", err.text);
	assert_string_equal(err.text, "outer of (inner): outer of (inner)");
}

static void a_long_text_is_cut_between_characters(void **state)
{
	// A two-byte character at each place where the cut can be.
	for (int pad = 0; pad < 4; pad++) {
		char text[2 * PL_ERROR_TEXT_MAX + 8];
		memset(text, 'x', (size_t)pad);
		for (int i = pad; i < 2 * PL_ERROR_TEXT_MAX; i += 4)
			memcpy(text + i, "\xF0\x9F\x8F\xA0", 5);
		struct pl_error err;
		pl_error_set(&err, PL_EINVAL, "%s", text);
		assert_in_range(strlen(err.text), PL_ERROR_TEXT_MAX - 5, PL_ERROR_TEXT_MAX - 1);
		assert_true(pl_utf8_valid(err.text, strlen(err.text)));
		pl_error_prefix(&err, "p%d", pad);
		assert_true(pl_utf8_valid(err.text, strlen(err.text)));
	}
}

static void every_code_has_its_own_name(void **state)
{
	for (int code = PL_EINTERNAL; code <= PL_OK; code++) {
		assert_string_not_equal(pl_error_code_name(code), "undefined");
		for (int other = PL_EINTERNAL; other < code; other++)
			assert_string_not_equal(pl_error_code_name(code), pl_error_code_name(other));
	}
	assert_string_equal(pl_error_code_name(PL_EUNKNOWN), "unknown_outcome");
	assert_string_equal(pl_error_code_name(-99), "undefined");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(setting_returns_the_code_and_fills_the_error),
		cmocka_unit_test(only_temporary_errors_are_retryable),
		cmocka_unit_test(the_error_may_be_null),
		cmocka_unit_test(a_prefix_precedes_the_text_and_keeps_the_rest),
		cmocka_unit_test(an_error_may_be_built_from_its_own_text),
		cmocka_unit_test(a_long_text_is_cut_between_characters),
		cmocka_unit_test(every_code_has_its_own_name),
	};
	return cmocka_run_group_tests_name("base/error", tests, NULL, NULL);
}
