// apply/silence: partitions from which nothing arrives are noticed, and no others.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "apply/silence.h"

static struct pl_silence silence;

static int tear_down(void **state)
{
	(void)state;
	pl_silence_fini(&silence);
	return 0;
}

static struct pl_silence_look at(const char *topic, int32_t partition, int64_t position, int64_t end)
{
	return (struct pl_silence_look){ topic, partition, position, 0, end };
}

// One look at a single partition. Returns whether it is silent.
static int look(int64_t position, int64_t end)
{
	struct pl_silence_look one = at("records", 0, position, end);

	return pl_silence_note(&silence, &one, 1) == 0;
}

static void a_partition_that_stays_behind_is_silent_at_the_fourth_look(void **state)
{
	for (int i = 1; i < PL_SILENCE_LOOKS; i++)
		assert_false(look(5, 9));
	assert_true(look(5, 9));
	(void)state;
}

static void all_partitions_are_counted_at_the_same_time(void **state)
{
	enum { N = 64 };
	struct pl_silence_look looks[N];

	for (int round = 1; round <= PL_SILENCE_LOOKS; round++) {
		for (int i = 0; i < N; i++)
			looks[i] = at(i < N / 2 ? "records" : "heartbeats", i % (N / 2), 7, i == 61 ? 8 : 7);
		assert_int_equal(pl_silence_note(&silence, looks, N), round < PL_SILENCE_LOOKS ? -1 : 61);
	}
	(void)state;
}

static void a_partition_that_moves_is_not_silent_however_far_it_is_behind(void **state)
{
	for (int i = 0; i < 3 * PL_SILENCE_LOOKS; i++)
		assert_false(look(5 + i, 1000000));
	(void)state;
}

static void a_partition_that_was_read_to_its_end_is_not_silent(void **state)
{
	for (int i = 0; i < 3 * PL_SILENCE_LOOKS; i++)
		assert_false(look(9, 9));
	(void)state;
}

static void an_empty_partition_that_was_never_read_is_not_silent_and_one_with_messages_is(void **state)
{
	struct pl_silence_look empty = { "records", 0, -1, 30, 30 }, full = { "records", 1, -1, 30, 31 };
	struct pl_silence_look both[] = { empty, full };

	for (int i = 1; i < PL_SILENCE_LOOKS; i++)
		assert_int_equal(pl_silence_note(&silence, both, 2), -1);
	assert_int_equal(pl_silence_note(&silence, both, 2), 1);
	(void)state;
}

static void new_messages_behind_a_stopped_position_do_not_hide_it(void **state)
{
	for (int i = 1; i < PL_SILENCE_LOOKS; i++)
		assert_false(look(5, 9 + i));
	assert_true(look(5, 20));
	(void)state;
}

static void a_partition_is_reported_less_and_less_often_while_nothing_changes(void **state)
{
	int looks = PL_SILENCE_LOOKS;

	for (int report = 1; report <= 5; report++, looks *= 4) {
		for (int i = 1; i < looks; i++)
			assert_false(look(5, 9));
		assert_true(look(5, 9));
		pl_silence_restart(&silence);
	}
	(void)state;
}

static void a_partition_that_went_on_gets_the_first_patience_again(void **state)
{
	for (int i = 1; i < PL_SILENCE_LOOKS; i++)
		look(5, 9);
	assert_true(look(5, 9));
	assert_false(look(9, 9));
	for (int i = 1; i < PL_SILENCE_LOOKS; i++)
		assert_false(look(9, 12));
	assert_true(look(9, 12));
	(void)state;
}

static void a_position_behind_the_end_is_silent_too(void **state)
{
	for (int i = 1; i < PL_SILENCE_LOOKS; i++) // its topic was made anew
		assert_false(look(500, 3));
	assert_true(look(500, 3));
	(void)state;
}

static void a_partition_with_a_new_end_is_reported_as_soon_as_the_first_time(void **state)
{
	for (int i = 1; i < PL_SILENCE_LOOKS; i++)
		look(5, 9);
	assert_true(look(5, 9));
	pl_silence_restart(&silence);
	for (int i = 0; i < 3 * PL_SILENCE_LOOKS; i++)
		assert_false(look(5, 9));
	for (int i = 1; i < PL_SILENCE_LOOKS; i++)
		assert_false(look(5, 10));
	assert_true(look(5, 10));
	(void)state;
}

static void a_new_consumer_gets_all_looks_again(void **state)
{
	for (int i = 1; i < PL_SILENCE_LOOKS; i++)
		look(5, 9);
	pl_silence_restart(&silence);
	for (int i = 1; i < PL_SILENCE_LOOKS; i++)
		assert_false(look(5, 9));
	assert_true(look(5, 9));
	(void)state;
}

static void a_partition_that_went_to_another_daemon_and_came_back_is_counted_again(void **state)
{
	struct pl_silence_look other = at("records", 1, 3, 3);

	for (int i = 1; i < PL_SILENCE_LOOKS; i++)
		look(5, 9);
	assert_int_equal(pl_silence_note(&silence, &other, 1), -1);
	assert_false(look(5, 9));
	(void)state;
}

static void two_silent_partitions_are_reported_one_after_the_other(void **state)
{
	struct pl_silence_look both[] = { at("records", 0, 1, 2), at("records", 1, 1, 2) };

	for (int i = 1; i < PL_SILENCE_LOOKS; i++)
		assert_int_equal(pl_silence_note(&silence, both, 2), -1);
	assert_int_equal(pl_silence_note(&silence, both, 2), 0);
	assert_int_equal(pl_silence_note(&silence, both, 2), 1);
	assert_int_equal(pl_silence_note(&silence, both, 2), -1);
	(void)state;
}

#define TEST(name) cmocka_unit_test_teardown(name, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(a_partition_that_stays_behind_is_silent_at_the_fourth_look),
		TEST(all_partitions_are_counted_at_the_same_time),
		TEST(a_partition_that_moves_is_not_silent_however_far_it_is_behind),
		TEST(a_partition_that_was_read_to_its_end_is_not_silent),
		TEST(an_empty_partition_that_was_never_read_is_not_silent_and_one_with_messages_is),
		TEST(new_messages_behind_a_stopped_position_do_not_hide_it),
		TEST(a_partition_is_reported_less_and_less_often_while_nothing_changes),
		TEST(a_partition_that_went_on_gets_the_first_patience_again),
		TEST(a_position_behind_the_end_is_silent_too),
		TEST(a_partition_with_a_new_end_is_reported_as_soon_as_the_first_time),
		TEST(a_new_consumer_gets_all_looks_again),
		TEST(a_partition_that_went_to_another_daemon_and_came_back_is_counted_again),
		TEST(two_silent_partitions_are_reported_one_after_the_other),
	};

	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
