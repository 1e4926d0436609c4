// If-Match and If-None-Match. Threads: one.
#include "http/condition.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static int match(const char *value, struct pl_if_match *m)
{
	const char *why = NULL;
	int code = pl_if_match_parse(value, m, &why);
	assert_true((code != 0) == (why != NULL));
	return code;
}

static void one_tag_of_ours_is_the_lock(void **state)
{
	struct pl_if_match m;
	assert_int_equal(match("\"eu:1+us:2\"", &m), 0);
	assert_true(m.given && !m.any && !m.never);
	assert_int_equal(pl_vector_get(&m.vector, "us"), 2);
	assert_int_equal(match(" \"us:1\" ", &m), 0);
	assert_false(m.never);
}

static void an_asterisk_matches_anything_that_is_there(void **state)
{
	struct pl_if_match m;
	assert_int_equal(match("*", &m), 0);
	assert_true(m.any && !m.never);
}

static void weak_and_foreign_tags_can_match_nothing(void **state)
{
	static const char *const never[] = {"W/\"us:1\"", "\"nonsense\"", "\"\"", "\"a\", W/\"us:1\"", "\"us:0\"", "\"us:1+eu:1\""};
	for (size_t i = 0; i < sizeof(never) / sizeof(never[0]); i++) {
		struct pl_if_match m;
		assert_int_equal(match(never[i], &m), 0);
		assert_true(m.given && m.never && !m.any);
	}
}

static void a_tag_of_ours_among_foreign_ones_is_the_lock(void **state)
{
	struct pl_if_match m;
	assert_int_equal(match("\"x\", W/\"us:9\" ,\"us:3\"", &m), 0);
	assert_false(m.never);
	assert_int_equal(pl_vector_get(&m.vector, "us"), 3);
	assert_int_equal(match("\"us:3\", \"us:3\"", &m), 0);
}

static void what_is_no_list_is_refused(void **state)
{
	static const char *const bad[] = {"", " ", "us:1", "\"us:1", "\"us:1\" \"us:2\"", "\"us:1\" \"us:1\"", "\"us:1\"x", "\"a b\"", "W/us:1", "* , \"us:1\"",
	                                  "\"us:1\", \"us:2\""};
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		struct pl_if_match m;
		assert_int_equal(match(bad[i], &m), -1);
	}
}

static void if_none_match_is_compared_weakly(void **state)
{
	const char *etag = "\"us:1\"";
	assert_true(pl_if_none_match_has("\"us:1\"", etag));
	assert_true(pl_if_none_match_has("W/\"us:1\"", etag));
	assert_true(pl_if_none_match_has("\"other\", \"us:1\"", etag));
	assert_true(pl_if_none_match_has("*", etag));
	assert_false(pl_if_none_match_has("\"us:2\"", etag));
	assert_false(pl_if_none_match_has("\"us:1", etag));
	assert_false(pl_if_none_match_has("us:1", etag));
	assert_false(pl_if_none_match_has("", etag));
	assert_false(pl_if_none_match_has(NULL, etag));
	assert_false(pl_if_none_match_has("*", NULL));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(one_tag_of_ours_is_the_lock),
		cmocka_unit_test(an_asterisk_matches_anything_that_is_there),
		cmocka_unit_test(weak_and_foreign_tags_can_match_nothing),
		cmocka_unit_test(a_tag_of_ours_among_foreign_ones_is_the_lock),
		cmocka_unit_test(what_is_no_list_is_refused),
		cmocka_unit_test(if_none_match_is_compared_weakly),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
