// Marks: what a region has received, what it lacks, and what cannot be sent again.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "relay/id_ranges.h"
#include "relay/marks.h"

static struct pl_marks marks;
static struct pl_mark_region region;

static void mark(int64_t floor, int64_t seq)
{
	struct pl_mark made = { .id = floor, .floor = floor, .rows_total = floor, .made_us = floor };

	pl_sequence_at(&made.published, "t", 0)->seq = seq;
	pl_marks_add(&marks, &made);
}

static void received(struct pl_sequence s)
{
	region.heard = true;
	*pl_sequence_at(&region.received, "t", 0) = s;
}

static int setup(void **state)
{
	pl_marks_init(&marks);
	memset(&region, 0, sizeof(region));
	mark(0, 0);
	mark(10, 100);
	mark(20, 200);
	mark(30, 300);
	return 0;
}

static int teardown(void **state)
{
	pl_marks_fini(&marks);
	pl_sequence_fini(&region.received);
	return 0;
}

static void a_region_has_received_what_its_numbers_cover(void **state)
{
	assert_int_equal(pl_marks_received(&marks, &region), 0); // without a heartbeat
	received((struct pl_sequence){ .seq = 250 });
	assert_int_equal(pl_marks_received(&marks, &region), 2);
	received((struct pl_sequence){ .seq = 300 });
	assert_int_equal(pl_marks_received(&marks, &region), 3);
	assert_false(region.lost);
}

static void a_region_that_is_only_behind_lacks_nothing(void **state)
{
	received((struct pl_sequence){ .seq = 100 });
	assert_false(pl_marks_lacks(&marks, 1, &region, INT64_MAX));
}

static void a_region_at_the_end_of_a_partition_lacks_events_published_well_before(void **state)
{
	received((struct pl_sequence){ .seq = 100, .level = true });
	assert_true(pl_marks_lacks(&marks, 1, &region, INT64_MAX));
	assert_false(pl_marks_lacks(&marks, 1, &region, 20)); // the mark is too recent
}

static void a_region_lacks_the_events_in_a_gap_unless_their_stream_was_abandoned(void **state)
{
	received((struct pl_sequence){ .seq = 100, .chain_from = 150, .chain_to = 200 });
	assert_true(pl_marks_lacks(&marks, 1, &region, INT64_MAX));
	marks.restarted_seq = 250;
	assert_false(pl_marks_lacks(&marks, 1, &region, INT64_MAX));
}

static void deleted_events_are_lost_and_not_waited_for(void **state)
{
	pl_marks_rebase(&marks, 1);
	received((struct pl_sequence){ .seq = 50, .chain_from = 100, .chain_to = 300 });
	assert_int_equal(pl_marks_received(&marks, &region), 2);
	assert_true(region.lost);
	assert_false(pl_marks_lacks(&marks, 2, &region, INT64_MAX));
}

static void numbers_that_were_never_assigned_are_impossible(void **state)
{
	received((struct pl_sequence){ .seq = 300, .chain_from = 310, .chain_to = 320 });
	assert_true(pl_marks_possible(&region, 321));
	assert_false(pl_marks_possible(&region, 320));
	received((struct pl_sequence){ .seq = 300 });
	assert_true(pl_marks_possible(&region, 301));
	assert_false(pl_marks_possible(&region, 300));
}

static void too_many_marks_are_thinned_out_and_the_newest_stay(void **state)
{
	int64_t ids[PL_MARKS_MAX];

	for (int i = 4; i < PL_MARKS_MAX; i++)
		mark(10 * i, 100 * i);
	assert_true(pl_marks_thin(&marks, ids) > 200);
	assert_true(marks.n < 800);
	assert_int_equal(marks.marks[marks.n - 1].floor, 10 * (PL_MARKS_MAX - 1));
	for (int i = 1; i < marks.n; i++)
		assert_true(marks.marks[i].floor > marks.marks[i - 1].floor);
}

static void ids_become_ranges_and_gaps(void **state)
{
	struct pl_id_ranges set = { 0 };
	struct pl_id_run gaps[8];

	for (int64_t id = 1; id <= 1000; id++)
		if (id != 7 && id != 500)
			pl_id_ranges_add(&set, id);
	assert_int_equal(set.n, 3);
	assert_int_equal(pl_id_ranges_gaps(&set, 0, 1002, gaps), 3);
	assert_int_equal(gaps[0].first, 7);
	assert_int_equal(gaps[0].last, 7);
	assert_int_equal(gaps[2].last, 1002);
	pl_id_ranges_add(&set, 7);
	pl_id_ranges_remove(&set, 600);
	pl_id_ranges_remove(&set, 600);
	assert_int_equal(set.ids, 998);
	pl_id_ranges_drop(&set, 550);
	assert_int_equal(set.ids, 449);
	assert_int_equal(set.ranges[0].first, 551);
	pl_id_ranges_fini(&set);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(a_region_has_received_what_its_numbers_cover),
		TEST(a_region_that_is_only_behind_lacks_nothing),
		TEST(a_region_at_the_end_of_a_partition_lacks_events_published_well_before),
		TEST(a_region_lacks_the_events_in_a_gap_unless_their_stream_was_abandoned),
		TEST(deleted_events_are_lost_and_not_waited_for),
		TEST(numbers_that_were_never_assigned_are_impossible),
		TEST(too_many_marks_are_thinned_out_and_the_newest_stay),
		cmocka_unit_test(ids_become_ranges_and_gaps),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
