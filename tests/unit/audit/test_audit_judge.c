// What another region's answer says about this one: only what is missing or different
// here, whatever the other region lacks.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "audit/audit_judge.h"

static struct pl_copy copy(const char *vector, int64_t content, int64_t siblings)
{
	struct pl_copy made = { .exists = vector != NULL, .content = content, .siblings = siblings };

	if (vector)
		assert_int_equal(pl_vector_parse(&made.vector, vector, strlen(vector)), 0);
	return made;
}

static void is(enum pl_difference expected, struct pl_copy here, struct pl_copy there)
{
	assert_string_equal(pl_classify_name(pl_audit_judge_copies(&here, &there)),
	                    pl_classify_name(expected));
}

static void equal_copies_do_not_differ(void **state)
{
	is(PL_DIFFERENCE_NONE, copy("{\"us\":2}", 1, 1), copy("{\"us\":2}", 1, 1));
}

static void records_that_the_other_region_shows_must_exist_here(void **state)
{
	is(PL_DIFFERENCE_MISSING, copy(NULL, 0, 0), copy("{\"us\":1}", 1, 1));
	is(PL_DIFFERENCE_BEHIND, copy("{\"us\":1}", 1, 1), copy("{\"us\":2}", 2, 1));
	is(PL_DIFFERENCE_CONCURRENT, copy("{\"us\":1,\"eu\":1}", 1, 1), copy("{\"us\":2}", 2, 1));
	is(PL_DIFFERENCE_SIBLINGS, copy(NULL, 0, 0), copy(NULL, 0, 7));
}

static void records_that_only_this_region_has_are_for_the_other_one_to_find(void **state)
{
	is(PL_DIFFERENCE_NONE, copy("{\"us\":1}", 1, 1), copy(NULL, 0, 0));
	is(PL_DIFFERENCE_NONE, copy("{\"us\":2}", 2, 1), copy("{\"us\":1}", 1, 1));
	is(PL_DIFFERENCE_NONE, copy("{\"us\":1}", 1, 7), copy(NULL, 0, 8));
}

static void equal_vectors_have_equal_contents_and_siblings(void **state)
{
	is(PL_DIFFERENCE_CONTENT, copy("{\"us\":2}", 1, 1), copy("{\"us\":2}", 2, 1));
	is(PL_DIFFERENCE_SIBLINGS, copy("{\"us\":2}", 1, 1), copy("{\"us\":2}", 1, 2));
}

static void digests(const char *expected, const char *here, const char *there)
{
	int64_t places[8];
	struct pl_buf found = { 0 };
	int n = pl_audit_judge_digests(here, there, places, 8);

	for (int i = 0; i < n; i++)
		pl_buf_printf(&found, "%s%lld", i ? " " : "", (long long)places[i]);
	assert_string_equal(n ? found.data : "", expected);
	pl_buf_fini(&found);
}

static void places_of_the_answer_that_are_not_the_same_here_differ(void **state)
{
	digests("", "", "");
	digests("", "1 10\n2 20\n", "1 10\n2 20\n");
	digests("2", "1 10\n2 20\n", "1 10\n2 21\n");
	digests("2", "1 10\n2 200\n", "1 10\n2 20\n");
	digests("-3 2", "1 10\n3 30\n", "-3 5\n1 10\n2 20\n3 30");
	digests("", "1 10\n2 20\n3 30\n", "2 20\n"); // places that only this region has
	digests("1 2", "", "1 10\n2 20\n");
}

static void broken_lines_end_the_digests(void **state)
{
	digests("1", "", "1 10\nx 3\n2 20\n");
	digests("", "1 10\n", "1\n");
	digests("", "", "99999999999999999999 1\n");
}

static void a_record_is_read_as_it_was_printed(void **state)
{
	struct pl_audit_copy of[2] = { { 7, copy("{\"eu.2\":1,\"us\":3}", -5, 12) },
		                       { 8, copy(NULL, 0, 3) } };
	struct pl_audit_copy read;
	struct pl_buf lines = { 0 };
	const char *at;

	for (int i = 0; i < 2; i++)
		pl_audit_judge_print(&lines, &of[i]);
	at = lines.data;
	for (int i = 0; i < 2; i++) {
		assert_true(pl_audit_judge_parse(&at, &read));
		assert_int_equal(read.id, of[i].id);
		is(PL_DIFFERENCE_NONE, read.copy, of[i].copy);
		assert_int_equal(read.copy.exists, of[i].copy.exists);
		assert_int_equal(read.copy.siblings, of[i].copy.siblings);
	}
	assert_false(pl_audit_judge_parse(&at, &read));
	pl_buf_fini(&lines);
}

static void a_line_that_is_not_a_record_is_not_read(void **state)
{
	static const char *const lines[] = { "", "7", "7 1 2", "7 1 2 ", "7 1 x {}", "7 1 2 {\"us\":-1}" };
	struct pl_audit_copy read;

	for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++) {
		const char *at = lines[i];

		if (pl_audit_judge_parse(&at, &read))
			fail_msg("read: %s", lines[i]);
	}
}

static void a_span_is_checked_up_to_the_largest_numbers(void **state)
{
	assert_true(pl_audit_judge_span(0, 4096, 4096));
	assert_true(pl_audit_judge_span(INT64_MIN, INT64_MIN + 4096, 4096));
	assert_true(pl_audit_judge_span(INT64_MAX - 5, INT64_MAX, 4096));
	assert_false(pl_audit_judge_span(0, 4097, 4096));
	assert_false(pl_audit_judge_span(7, 7, 4096));
	assert_false(pl_audit_judge_span(INT64_MIN, INT64_MAX, 4096)); // longer than a number can express
	assert_false(pl_audit_judge_span(INT64_MAX, INT64_MIN, 4096));
}

static void places_must_lie_within_the_span(void **state)
{
	const int64_t ids[] = { 4096, 8191 }, ranges[] = { -1, 1 }, far[] = { INT64_MAX / 2 };

	assert_true(pl_audit_judge_places(ids, 2, 0, 4096, 8192));
	assert_false(pl_audit_judge_places(ids, 2, 0, 4096, 8191));
	assert_false(pl_audit_judge_places(ids, 2, 0, 4097, 8192));
	assert_true(pl_audit_judge_places(ranges, 2, 12, -5, 8192));
	assert_false(pl_audit_judge_places(ranges, 2, 12, -5, 4096));
	assert_false(pl_audit_judge_places(far, 1, 12, 0, 4096));
	assert_true(pl_audit_judge_places(NULL, 0, 12, 0, 4096));
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(equal_copies_do_not_differ),
		cmocka_unit_test(records_that_the_other_region_shows_must_exist_here),
		cmocka_unit_test(records_that_only_this_region_has_are_for_the_other_one_to_find),
		cmocka_unit_test(equal_vectors_have_equal_contents_and_siblings),
		cmocka_unit_test(places_of_the_answer_that_are_not_the_same_here_differ),
		cmocka_unit_test(broken_lines_end_the_digests),
		cmocka_unit_test(a_span_is_checked_up_to_the_largest_numbers),
		cmocka_unit_test(places_must_lie_within_the_span),
		cmocka_unit_test(a_record_is_read_as_it_was_printed),
		cmocka_unit_test(a_line_that_is_not_a_record_is_not_read),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
