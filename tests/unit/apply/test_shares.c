// Shares: which applier should read which partition.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "apply/shares.h"
#include "base/mem.h"

#define LANES      16
#define PARTITIONS 256
#define TOPICS     4

static bool reads[LANES][TOPICS];
static struct pl_shares_lane lanes[LANES];
static struct pl_shares_partition partitions[PARTITIONS];
static int n;

static int setup(void **state)
{
	for (int i = 0; i < LANES; i++) {
		for (int j = 0; j < TOPICS; j++)
			reads[i][j] = true;
		lanes[i].reads = reads[i];
	}
	n = 0;
	return 0;
}

static void add(int topic, int count, int lane)
{
	for (int i = 0; i < count; i++)
		partitions[n++] = (struct pl_shares_partition){ .topic = topic, .lane = lane };
}

static int of(int lane, int topic)
{
	int count = 0;

	for (int i = 0; i < n; i++)
		count += partitions[i].to == lane && (topic < 0 || partitions[i].topic == topic);
	return count;
}

static int moved(void)
{
	int count = 0;

	for (int i = 0; i < n; i++)
		count += partitions[i].lane >= 0 && partitions[i].to != partitions[i].lane;
	return count;
}

// The plan becomes the state.
static void carry_out(void)
{
	for (int i = 0; i < n; i++)
		partitions[i].lane = partitions[i].to;
}

static void is_even(int nlanes)
{
	for (int i = 0; i < nlanes; i++)
		for (int j = 0; j < nlanes; j++)
			assert_true(of(i, -1) - of(j, -1) <= 1);
}

static void free_partitions_are_shared_evenly_and_each_topic_too(void **state)
{
	add(0, 8, -1);
	add(1, 8, -1);
	pl_shares_plan(partitions, n, lanes, 4, 2);
	is_even(4);
	for (int i = 0; i < 4; i++) {
		assert_int_equal(of(i, 0), 2);
		assert_int_equal(of(i, 1), 2);
	}
}

static void an_even_distribution_does_not_change(void **state)
{
	add(0, 3, 0);
	add(0, 3, 1);
	add(0, 2, 2);
	pl_shares_plan(partitions, n, lanes, 3, 1);
	assert_int_equal(moved(), 0);
}

static void a_new_applier_gets_its_share_and_nothing_else_moves(void **state)
{
	add(0, 4, 0);
	add(1, 4, 0);
	add(0, 4, 1);
	add(1, 4, 1);
	pl_shares_plan(partitions, n, lanes, 3, 2);
	is_even(3);
	assert_int_equal(moved(), 5);
	assert_true(of(2, 0) >= 2 && of(2, 1) >= 2);
}

static void only_the_partitions_of_the_one_that_ended_move(void **state)
{
	add(0, 3, 0);
	add(0, 3, 1);
	add(0, 3, -1);
	pl_shares_plan(partitions, n, lanes, 2, 1);
	is_even(2);
	assert_int_equal(moved(), 0);
}

static void a_topic_goes_only_to_those_that_read_it(void **state)
{
	reads[0][1] = false;
	add(0, 2, -1);
	add(1, 8, -1);
	pl_shares_plan(partitions, n, lanes, 2, 2);
	assert_int_equal(of(0, 1), 0);
	assert_int_equal(of(0, 0), 2);
	assert_int_equal(of(1, 1), 8);
}

static void a_partition_that_its_applier_can_no_longer_read_moves(void **state)
{
	reads[0][0] = reads[0][1] = false; // no broker answers it
	add(0, 4, 0);
	add(1, 4, 0);
	pl_shares_plan(partitions, n, lanes, 2, 2);
	assert_int_equal(of(0, -1), 0);
	assert_int_equal(of(1, -1), 8);
}

static void a_topic_that_nobody_reads_is_assigned_to_nobody(void **state)
{
	reads[0][1] = reads[1][1] = false;
	add(0, 1, 0);
	add(1, 1, -1);
	pl_shares_plan(partitions, n, lanes, 2, 2);
	assert_int_equal(partitions[0].to, 0);
	assert_int_equal(partitions[1].to, -1);
	partitions[0].lane = -1;
	pl_shares_plan(partitions, n, lanes, 0, 2);
	assert_int_equal(partitions[0].to, -1);
}

// Appliers come and go at random; each plan is even, and a second one moves nothing.
static void every_plan_is_even_and_lasts(void **state)
{
	unsigned dice = 7;

	add(0, 13, -1);
	add(1, 8, -1);
	add(2, 30, -1);
	for (int round = 0; round < 500; round++) {
		int nlanes;

		dice = dice * 1103515245u + 12345u;
		nlanes = 1 + (int)(dice >> 16) % LANES;
		for (int i = 0; i < n; i++)
			if (partitions[i].lane >= nlanes)
				partitions[i].lane = -1;
		pl_shares_plan(partitions, n, lanes, nlanes, 3);
		is_even(nlanes);
		carry_out();
		pl_shares_plan(partitions, n, lanes, nlanes, 3);
		assert_int_equal(moved(), 0);
	}
}

#define TEST(name) cmocka_unit_test_setup(name, setup)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(free_partitions_are_shared_evenly_and_each_topic_too),
		TEST(an_even_distribution_does_not_change),
		TEST(a_new_applier_gets_its_share_and_nothing_else_moves),
		TEST(only_the_partitions_of_the_one_that_ended_move),
		TEST(a_topic_goes_only_to_those_that_read_it),
		TEST(a_partition_that_its_applier_can_no_longer_read_moves),
		TEST(a_topic_that_nobody_reads_is_assigned_to_nobody),
		TEST(every_plan_is_even_and_lasts),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
