// apply/leaderless: a partition counts as one without a leader if two looks in a row find
// none, for each topic by itself.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "apply/leaderless.h"
#include "base/log.h"

static struct pl_leaderless leaderless;

static int tear_down(void **state)
{
	(void)state;
	pl_leaderless_fini(&leaderless);
	return 0;
}

// Partitions 2 and, if `too` >= 0, that one have no leader.
static bool look(const char *topic, int32_t too, int64_t now_us)
{
	return pl_leaderless_note(&leaderless, topic, (const int32_t[]){ 2, too }, too < 0 ? 1 : 2, now_us);
}

static void it_takes_two_looks_and_counts_from_the_first(void **state)
{
	assert_false(look("records", -1, 100));
	assert_int_equal(pl_leaderless_since(&leaderless, "records", 2), 0);
	assert_true(look("records", -1, 200));
	assert_false(look("records", -1, 300));
	assert_int_equal(pl_leaderless_since(&leaderless, "records", 2), 100);
	assert_int_equal(pl_leaderless_since(&leaderless, "records", 1), 0);
	(void)state;
}

static void a_leader_that_moves_is_not_one_that_is_missing(void **state)
{
	for (int i = 0; i < 5; i++) {
		assert_false(look("records", -1, 100));
		assert_false(pl_leaderless_note(&leaderless, "records", NULL, 0, 200));
	}
	(void)state;
}

static void each_partition_and_each_topic_is_counted_by_itself(void **state)
{
	look("records", -1, 100);
	assert_true(look("records", 5, 200));
	assert_false(look("others", -1, 300));
	assert_int_equal(pl_leaderless_since(&leaderless, "records", 2), 100);
	assert_int_equal(pl_leaderless_since(&leaderless, "records", 5), 0);
	assert_int_equal(pl_leaderless_since(&leaderless, "others", 2), 0);
	assert_true(look("records", 5, 400));
	assert_int_equal(pl_leaderless_since(&leaderless, "records", 5), 200);
	(void)state;
}

static void one_with_a_leader_again_is_forgotten_and_counted_from_the_beginning(void **state)
{
	look("records", 5, 100);
	look("records", 5, 200);
	assert_true(look("records", -1, 300));
	assert_int_equal(pl_leaderless_since(&leaderless, "records", 5), 0);
	assert_int_equal(pl_leaderless_since(&leaderless, "records", 2), 100);
	assert_true(pl_leaderless_note(&leaderless, "records", NULL, 0, 400));
	assert_false(pl_leaderless_note(&leaderless, "records", NULL, 0, 500));
	assert_false(look("records", -1, 600));
	assert_true(look("records", -1, 700));
	assert_int_equal(pl_leaderless_since(&leaderless, "records", 2), 600);
	(void)state;
}

#define TEST(name) cmocka_unit_test_teardown(name, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(it_takes_two_looks_and_counts_from_the_first),
		TEST(a_leader_that_moves_is_not_one_that_is_missing),
		TEST(each_partition_and_each_topic_is_counted_by_itself),
		TEST(one_with_a_leader_again_is_forgotten_and_counted_from_the_beginning),
	};

	pl_log_init(PL_LOG_ERROR, PL_LOG_TEXT);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
