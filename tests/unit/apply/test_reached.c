// apply/reached: when a position that another region has reported is reached.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "apply/reached.h"

static struct pl_applied_sequences sequences;
static struct pl_reached reached;
static struct pl_region regions[] = { { .name = "us" }, { .name = "eu" }, { .name = "ap" } };
static const struct pl_config config = { .regions = regions, .nregions = 3 };

static int tear_down(void **state)
{
	(void)state;
	pl_sequences_fini(&sequences);
	pl_reached_fini(&reached);
	return 0;
}

static void take(const char *text)
{
	rd_kafka_message_t message = { .payload = (void *)(uintptr_t)text, .len = strlen(text) };

	pl_reached_take(&reached, &config, "eu", &message);
}

// The region us has published 120 rows, the last ones in partitions 0 and 2.
#define TOLD                                                               \
	"{\"region\":\"us\",\"published\":{\"properties\":\"900,0,870\"}," \
	"\"position\":{\"generation\":1,\"id\":120}}"

static struct pl_sequence *known(int partition)
{
	return &pl_sequences_of(&sequences, "us", 2, "properties", partition)->known;
}

static bool is_reached(void)
{
	return pl_reached_is(&reached.of[0].told[0], &sequences);
}

static void every_partition_counts(void **state)
{
	(void)state;
	take(TOLD);
	assert_int_equal(reached.of[0].n, 1);
	assert_false(is_reached());
	known(0)->seq = 900;
	known(2)->seq = 869;
	assert_false(is_reached());
	known(2)->seq = 1000;
	assert_true(is_reached());
	known(2)->seq = 800; // messages behind a gap do not count
	known(2)->chain_from = 850;
	known(2)->chain_to = 1000;
	assert_false(is_reached());
}

static void numbers_of_an_earlier_run_do_not_count(void **state)
{
	(void)state;
	take(TOLD);
	known(0)->seq = known(2)->seq = 900;
	assert_true(is_reached());
	known(2)->seq = known(2)->run = 1001; // the first message of the next run
	assert_false(is_reached());
	known(2)->run = 870; // the run in which the position was reported
	assert_true(is_reached());
}

static void partitions_that_are_only_claimed_take_no_room(void **state)
{
	(void)state;
	take("{\"region\":\"us\",\"published\":{\"a\":\"0,0,0,0\",\"b\":\"7\"},"
	     "\"position\":{\"generation\":1,\"id\":120}}");
	assert_false(is_reached());
	assert_int_equal(sequences.n, 0);
}

static void valid_reports_of_other_regions_are_accepted_and_nothing_else(void **state)
{
	static const char *const bad[] = {
		"",
		"x",
		"{}",
		"{\"region\":\"us\"}",
		"{\"region\":\"us\",\"published\":{},\"position\":{\"generation\":0,\"id\":1}}",
		"{\"region\":\"us\",\"published\":{},\"position\":{\"generation\":1}}",
		"{\"region\":\"us\",\"published\":{\"t\":\"x\"},\"position\":{\"generation\":1,\"id\":1}}",
		"{\"region\":\"us.2\",\"published\":{},\"position\":{\"generation\":1,\"id\":1}}",
		"{\"region\":\"eu\",\"published\":{},\"position\":{\"generation\":1,\"id\":1}}", // our own
	};

	(void)state;
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		take(bad[i]);
	assert_false(pl_reached_pending(&reached));
	take(TOLD);
	assert_true(pl_reached_pending(&reached));
	assert_true(pl_reached_due(&reached, 1));
}

static void regions_that_are_not_configured_take_no_room(void **state)
{
	char text[200];

	(void)state;
	for (int i = 0; i < 2 * PL_REGIONS_MAX; i++) {
		snprintf(text, sizeof(text),
		         "{\"region\":\"old-%d\",\"published\":{\"properties\":\"1\"},"
		         "\"position\":{\"generation\":1,\"id\":1}}",
		         i);
		take(text);
	}
	assert_false(pl_reached_pending(&reached));
	take(TOLD);
	assert_true(pl_reached_pending(&reached));
}

static void the_newest_and_the_oldest_are_kept(void **state)
{
	char text[200];

	(void)state;
	for (int i = 1; i <= 3 * PL_REACHED_TOLD_MAX; i++) {
		snprintf(text, sizeof(text),
		         "{\"region\":\"us\",\"published\":{\"properties\":\"%d\"},"
		         "\"position\":{\"generation\":1,\"id\":%d}}",
		         i, i);
		take(text);
	}
	assert_int_equal(reached.of[0].n, PL_REACHED_TOLD_MAX);
	assert_int_equal(reached.of[0].told[0].position.id, 1);
	assert_int_equal(reached.of[0].told[PL_REACHED_TOLD_MAX - 1].position.id, 3 * PL_REACHED_TOLD_MAX);
}

static void the_run_of_a_message_is_kept(void **state)
{
	struct pl_sequence_write writes[2];
	struct pl_message_numbers numbers = { .origin = "us",
		                              .origin_len = 2,
		                              .header = { .seq = 5, .prev = 0, .run = 5 } };
	struct pl_message message = { .topic = "properties", .partition = 0 };
	int n = 0;

	(void)state;
	pl_sequences_take(&sequences, &message, &numbers, writes, &n);
	numbers.header = (struct pl_sequence_header){ .seq = 6, .prev = 5 };
	pl_sequences_take(&sequences, &message, &numbers, writes, &n);
	assert_int_equal(n, 1);
	assert_int_equal(writes[0].to.run, 5);
	numbers.header = (struct pl_sequence_header){ .seq = 20, .prev = 9, .run = 18 }; // behind a gap
	pl_sequences_take(&sequences, &message, &numbers, writes, &n);
	assert_int_equal(writes[0].to.run, 18);
	assert_int_equal(writes[0].to.seq, 6);
	assert_int_equal(pl_sequence_parse_run("18", 2), 18);
	assert_int_equal(pl_sequence_parse_run("18x", 3), 0);
	assert_int_equal(pl_sequence_parse_run("", 0), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_teardown(every_partition_counts, tear_down),
		cmocka_unit_test_teardown(numbers_of_an_earlier_run_do_not_count, tear_down),
		cmocka_unit_test_teardown(partitions_that_are_only_claimed_take_no_room, tear_down),
		cmocka_unit_test_teardown(valid_reports_of_other_regions_are_accepted_and_nothing_else,
		                          tear_down),
		cmocka_unit_test_teardown(regions_that_are_not_configured_take_no_room, tear_down),
		cmocka_unit_test_teardown(the_newest_and_the_oldest_are_kept, tear_down),
		cmocka_unit_test_teardown(the_run_of_a_message_is_kept, tear_down),
	};

	return cmocka_run_group_tests_name("apply/reached", tests, NULL, NULL);
}
