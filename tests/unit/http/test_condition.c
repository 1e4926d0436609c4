// If-Match and If-None-Match. Threads: one.
#include "http/condition.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static struct pl_arena *arena;

static int match(const char *value, struct pl_if_match *m)
{
	const char *why = NULL;
	int code = pl_condition_if_match(arena, value, m, &why);
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

static void an_asterisk_matches_any_record_that_exists(void **state)
{
	struct pl_if_match m;
	assert_int_equal(match("*", &m), 0);
	assert_true(m.any && !m.never);
}

static void weak_and_foreign_tags_can_match_nothing(void **state)
{
	static const char *const never[] = { "W/\"us:1\"",        "\"nonsense\"", "\"\"",
		                             "\"a\", W/\"us:1\"", "\"us:0\"",     "\"us:1+eu:1\"" };
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

static void several_tags_of_ours_are_all_kept(void **state)
{
	struct pl_if_match m;
	assert_int_equal(match("\"us:3\",\"x\", \"us:4\" , \"us:3\",\"eu:1+us:4\",\"us:4\"", &m), 0);
	assert_false(m.never);
	assert_int_equal(pl_vector_get(&m.vector, "us"), 3);
	assert_int_equal(pl_vector_get(&m.others->vector, "us"), 4);
	assert_int_equal(pl_vector_get(&m.others->next->vector, "eu"), 1);
	assert_null(m.others->next->next);
}

static void more_versions_than_can_be_asked_for_are_refused(void **state)
{
	char list[1024] = "";
	struct pl_if_match m;
	for (int i = 1; i <= PL_IF_MATCH_MAX; i++)
		snprintf(list + strlen(list), sizeof(list) - strlen(list), "%s\"us:%d\"", i > 1 ? "," : "",
		         i);
	assert_int_equal(match(list, &m), 0);
	snprintf(list + strlen(list), sizeof(list) - strlen(list), ",\"us:99\"");
	assert_int_equal(match(list, &m), -1);
}

static void text_that_is_not_a_list_is_refused(void **state)
{
	static const char *const bad[] = {
		"",          " ",       "us:1",   "\"us:1",      "\"us:1\" \"us:2\"", "\"us:1\" \"us:1\"",
		"\"us:1\"x", "\"a b\"", "W/us:1", "* , \"us:1\""
	};
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		struct pl_if_match m;
		assert_int_equal(match(bad[i], &m), -1);
	}
}

static void if_none_match_is_compared_weakly(void **state)
{
	const char *etag = "\"us:1\"";
	assert_true(pl_condition_if_none_match("\"us:1\"", etag));
	assert_true(pl_condition_if_none_match("W/\"us:1\"", etag));
	assert_true(pl_condition_if_none_match("\"other\", \"us:1\"", etag));
	assert_true(pl_condition_if_none_match("*", etag));
	assert_false(pl_condition_if_none_match("\"us:2\"", etag));
	assert_false(pl_condition_if_none_match("\"us:1", etag));
	assert_false(pl_condition_if_none_match("us:1", etag));
	assert_false(pl_condition_if_none_match("", etag));
	assert_false(pl_condition_if_none_match(NULL, etag));
	assert_false(pl_condition_if_none_match("*", NULL));
}

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

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(one_tag_of_ours_is_the_lock),
		cmocka_unit_test(an_asterisk_matches_any_record_that_exists),
		cmocka_unit_test(weak_and_foreign_tags_can_match_nothing),
		cmocka_unit_test(a_tag_of_ours_among_foreign_ones_is_the_lock),
		cmocka_unit_test(several_tags_of_ours_are_all_kept),
		cmocka_unit_test(more_versions_than_can_be_asked_for_are_refused),
		cmocka_unit_test(text_that_is_not_a_list_is_refused),
		cmocka_unit_test(if_none_match_is_compared_weakly),
	};
	return cmocka_run_group_tests(tests, setup, teardown);
}
