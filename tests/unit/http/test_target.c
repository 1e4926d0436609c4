// A request's target: split, decoded, refused. Threads: one.
#include "http/target.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

struct fixture {
	struct pl_arena *arena;
	struct pl_target target;
	const char *why;
};

static int setup(void **state)
{
	static struct fixture f;
	memset(&f, 0, sizeof(f));
	f.arena = pl_arena_new(0);
	*state = &f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;
	pl_arena_free(&f->arena);
	return 0;
}

static int parse(struct fixture *f, const char *raw)
{
	f->why = NULL;
	return pl_target_parse(f->arena, raw, strlen(raw), &f->target, &f->why);
}

static void a_path_is_split_before_it_is_decoded(void **state)
{
	struct fixture *f = *state;
	assert_int_equal(parse(f, "/us/properties/a%2Fb"), 0);
	assert_int_equal(f->target.nsegments, 3);
	assert_string_equal(f->target.segments[0], "us");
	assert_string_equal(f->target.segments[2], "a/b");
}

static void the_root_has_one_empty_segment_and_a_last_slash_makes_one_more(void **state)
{
	struct fixture *f = *state;
	assert_int_equal(parse(f, "/"), 0);
	assert_int_equal(f->target.nsegments, 1);
	assert_string_equal(f->target.segments[0], "");
	assert_int_equal(parse(f, "/us/"), 0);
	assert_int_equal(f->target.nsegments, 2);
}

static void a_plus_is_a_space_in_a_query_and_itself_in_a_path(void **state)
{
	struct fixture *f = *state;
	assert_int_equal(parse(f, "/a+b?c+d=e+f%2B&&g&h="), 0);
	assert_string_equal(f->target.segments[0], "a+b");
	struct pl_param *q = f->target.query;
	assert_string_equal(q->name, "c d");
	assert_string_equal(q->value, "e f+");
	assert_string_equal(q->next->name, "g");
	assert_string_equal(q->next->value, "");
	assert_string_equal(q->next->next->name, "h");
	assert_null(q->next->next->next);
}

static void an_absolute_target_begins_at_its_path(void **state)
{
	struct fixture *f = *state;
	assert_int_equal(parse(f, "http://example.org:80/us/health?x=1"), 0);
	assert_int_equal(f->target.nsegments, 2);
	assert_string_equal(f->target.segments[1], "health");
	assert_string_equal(f->target.query->name, "x");
	assert_int_equal(parse(f, "http://example.org"), 0);
	assert_int_equal(f->target.nsegments, 1);
	assert_string_equal(f->target.segments[0], "");
	assert_int_equal(parse(f, "ftp://example.org/us"), 400);
}

static void a_path_in_the_query_of_an_absolute_target_is_not_its_path(void **state)
{
	struct fixture *f = *state;
	assert_int_equal(parse(f, "http://evil?x=/us/properties/7"), 0);
	assert_int_equal(f->target.nsegments, 1);
	assert_string_equal(f->target.segments[0], "");
	assert_string_equal(f->target.query->value, "/us/properties/7");
}

static void a_target_with_an_invalid_host_is_refused(void **state)
{
	struct fixture *f = *state;
	static const char *const bad[] = { "http:///us",    "http://?/us", "http://a@b/us", "http://a:b@c/us",
		                           "http://:80/us", "http:/us",    "http:us",       "https://",
		                           "http://a\\/us", "a:443",       "http://\"/us" };
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		assert_int_equal(parse(f, bad[i]), 400);
	assert_int_equal(parse(f, "http://[::1]:80/us"), 0);
}

static void empty_parameters_count(void **state)
{
	struct fixture *f = *state;
	char target[128] = "/?";
	memset(target + 2, '&', PL_QUERY_MAX);
	assert_int_equal(parse(f, target), 0);
	assert_null(f->target.query);
	memset(target + 2, '&', PL_QUERY_MAX + 1);
	assert_int_equal(parse(f, target), 400);
}

static void ambiguous_targets_are_refused(void **state)
{
	struct fixture *f = *state;
	static const char *const bad[] = {
		"/a%00b", "/a%0d%0aX:y", "/a%0A",    "/a%1f",   "/a%7F", "/a%",     "/a%4",      "/a%4x",
		"/a%zz",  "/%ff",        "/%c0%80",  "/a b",    "/a\tb", "/a#b",    "/\xc3\xa9", "a",
		"",       "*x",          "/?a%00=1", "/?a=%0d", "/?%",   "/a%\x01", "/%ed%a0%80"
	};
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		assert_int_equal(parse(f, bad[i]), 400);
		assert_non_null(f->why);
	}
}

static void encoded_characters_of_other_languages_pass(void **state)
{
	struct fixture *f = *state;
	assert_int_equal(parse(f, "/caf%C3%A9"), 0);
	assert_string_equal(f->target.segments[0], "caf\xc3\xa9");
}

static void an_asterisk_is_only_itself(void **state)
{
	struct fixture *f = *state;
	assert_int_equal(parse(f, "*"), 0);
	assert_true(f->target.asterisk);
}

static void lengths_are_bounded(void **state)
{
	struct fixture *f = *state;
	static char raw[PL_TARGET_MAX + 2];
	memset(raw, 'a', sizeof(raw) - 1);
	raw[0] = '/';
	raw[PL_TARGET_MAX] = '\0';
	assert_int_equal(parse(f, raw), 0);
	raw[PL_TARGET_MAX] = 'a';
	assert_int_equal(parse(f, raw), 414);
	assert_int_equal(parse(f, "/1/2/3/4/5/6/7/8/9/10/11/12/13/14/15/16"), 0);
	assert_int_equal(parse(f, "/1/2/3/4/5/6/7/8/9/10/11/12/13/14/15/16/17"), 400);
	char query[PL_QUERY_MAX * 2 + 8] = "/?";
	for (int i = 0; i < PL_QUERY_MAX; i++)
		strcat(query, "a&");
	assert_int_equal(parse(f, query), 0);
	strcat(query, "a");
	assert_int_equal(parse(f, query), 400);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(a_path_is_split_before_it_is_decoded, setup, teardown),
		cmocka_unit_test_setup_teardown(
			the_root_has_one_empty_segment_and_a_last_slash_makes_one_more, setup, teardown),
		cmocka_unit_test_setup_teardown(a_plus_is_a_space_in_a_query_and_itself_in_a_path, setup,
		                                teardown),
		cmocka_unit_test_setup_teardown(an_absolute_target_begins_at_its_path, setup, teardown),
		cmocka_unit_test_setup_teardown(a_path_in_the_query_of_an_absolute_target_is_not_its_path,
		                                setup, teardown),
		cmocka_unit_test_setup_teardown(a_target_with_an_invalid_host_is_refused, setup, teardown),
		cmocka_unit_test_setup_teardown(empty_parameters_count, setup, teardown),
		cmocka_unit_test_setup_teardown(ambiguous_targets_are_refused, setup, teardown),
		cmocka_unit_test_setup_teardown(encoded_characters_of_other_languages_pass, setup, teardown),
		cmocka_unit_test_setup_teardown(an_asterisk_is_only_itself, setup, teardown),
		cmocka_unit_test_setup_teardown(lengths_are_bounded, setup, teardown),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
