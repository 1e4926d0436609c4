// How the copies of a record are related: every kind of difference, and which copies
// have to be republished.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "compare/classify.h"

static struct pl_copy copy(const char *vector, int64_t content, int64_t siblings)
{
	struct pl_copy made = { .exists = vector != NULL, .content = content, .siblings = siblings };
	if (vector)
		assert_int_equal(pl_vector_parse(&made.vector, vector, strlen(vector)), 0);
	return made;
}

// The difference, and a letter for the state of each copy; a capital means that it is
// to be republished.
static void are(const char *expected, enum pl_difference difference, int n, const struct pl_copy *copies)
{
	static const char letters[][2] = { [PL_COPY_NEWEST] = "n",
		                           [PL_COPY_MISSING] = "m",
		                           [PL_COPY_BEHIND] = "b",
		                           [PL_COPY_CONCURRENT] = "c" };
	struct pl_classified is;
	char found[PL_REGIONS_MAX + 1] = "";
	pl_classify(copies, n, &is);
	for (int i = 0; i < n; i++)
		found[i] = (char)(letters[is.state[i]][0] - (is.publish[i] ? 32 : 0));
	assert_string_equal(found, expected);
	assert_string_equal(pl_classify_name(is.difference), pl_classify_name(difference));
}

#define ARE(expected, difference, n, ...) \
	are(expected, difference, n, (const struct pl_copy[]){ __VA_ARGS__ })

static void equal_copies_do_not_differ(void **state)
{
	ARE("Nn", PL_DIFFERENCE_NONE, 2, copy("{\"us\":2}", 1, 1), copy("{\"us\":2}", 1, 1));
}

static void a_copy_that_does_not_exist_is_missing(void **state)
{
	ARE("Nm", PL_DIFFERENCE_MISSING, 2, copy("{\"us\":2}", 1, 1), copy(NULL, 0, 0));
	ARE("mNn", PL_DIFFERENCE_MISSING, 3, copy(NULL, 0, 0), copy("{\"us\":2}", 1, 1),
	    copy("{\"us\":2}", 1, 1));
}

static void a_record_without_rows_differs_only_by_its_siblings(void **state)
{
	ARE("mm", PL_DIFFERENCE_NONE, 2, copy(NULL, 0, 5), copy(NULL, 0, 5));
	ARE("mmm", PL_DIFFERENCE_SIBLINGS, 3, copy(NULL, 0, 5), copy(NULL, 0, 5), copy(NULL, 0, 6));
}

static void a_covered_copy_is_behind_and_need_not_be_published(void **state)
{
	ARE("bN", PL_DIFFERENCE_BEHIND, 2, copy("{\"us\":1}", 1, 1), copy("{\"eu\":1,\"us\":1}", 2, 1));
}

static void copies_that_do_not_cover_each_other_are_concurrent_and_both_are_published(void **state)
{
	ARE("CC", PL_DIFFERENCE_CONCURRENT, 2, copy("{\"us\":2}", 1, 1), copy("{\"eu\":1,\"us\":1}", 2, 1));
	ARE("CCcb", PL_DIFFERENCE_CONCURRENT, 4, copy("{\"us\":2}", 1, 1), copy("{\"eu\":1,\"us\":1}", 2, 1),
	    copy("{\"us\":2}", 1, 1), copy("{\"us\":1}", 3, 1));
}

static void a_copy_that_has_seen_both_sides_puts_all_others_behind(void **state)
{
	ARE("bbN", PL_DIFFERENCE_BEHIND, 3, copy("{\"us\":1}", 1, 1), copy("{\"eu\":1}", 2, 1),
	    copy("{\"eu\":1,\"us\":1}", 3, 1));
}

static void equal_vectors_with_different_contents_or_siblings_need_a_choice(void **state)
{
	ARE("Nn", PL_DIFFERENCE_CONTENT, 2, copy("{\"us\":2}", 1, 1), copy("{\"us\":2}", 2, 1));
	ARE("Nn", PL_DIFFERENCE_SIBLINGS, 2, copy("{\"us\":2}", 1, 1), copy("{\"us\":2}", 1, 2));
	ARE("Nn", PL_DIFFERENCE_CONTENT, 2, copy("{\"us\":2}", 1, 1), copy("{\"us\":2}", 2, 2));
}

static void a_difference_that_needs_a_choice_is_named_before_one_that_republishing_repairs(void **state)
{
	ARE("Nnm", PL_DIFFERENCE_CONTENT, 3, copy("{\"us\":2}", 1, 1), copy("{\"us\":2}", 2, 1),
	    copy(NULL, 0, 0));
}

static void old_copies_that_contradict_each_other_are_only_behind(void **state)
{
	ARE("bbN", PL_DIFFERENCE_BEHIND, 3, copy("{\"us\":1}", 1, 1), copy("{\"us\":1}", 2, 1),
	    copy("{\"us\":2}", 3, 1));
}

static void each_kind_is_found_by_its_name(void **state)
{
	for (int i = 1; i < PL_DIFFERENCES; i++)
		assert_int_equal(pl_classify_named(pl_classify_name((enum pl_difference)i)), i);
	assert_int_equal(pl_classify_named("worse"), PL_DIFFERENCE_NONE);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(equal_copies_do_not_differ),
		cmocka_unit_test(a_copy_that_does_not_exist_is_missing),
		cmocka_unit_test(a_record_without_rows_differs_only_by_its_siblings),
		cmocka_unit_test(a_covered_copy_is_behind_and_need_not_be_published),
		cmocka_unit_test(copies_that_do_not_cover_each_other_are_concurrent_and_both_are_published),
		cmocka_unit_test(a_copy_that_has_seen_both_sides_puts_all_others_behind),
		cmocka_unit_test(equal_vectors_with_different_contents_or_siblings_need_a_choice),
		cmocka_unit_test(
			a_difference_that_needs_a_choice_is_named_before_one_that_republishing_repairs),
		cmocka_unit_test(old_copies_that_contradict_each_other_are_only_behind),
		cmocka_unit_test(each_kind_is_found_by_its_name),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
