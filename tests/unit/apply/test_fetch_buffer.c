// The messages at hand, with real ones: in which order they stand while batches are written, fail, and lose their partitions.
#include "lab.h"

#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "replicate/embedded.h"
#include "replicate/hand.h"

#define MESSAGES 6

static struct lab lab;
static struct pl_embedded *broker;
static struct pl_consumer *consumer;
static struct pl_hand hand;

static void produce(void)
{
	rd_kafka_conf_t *conf = rd_kafka_conf_new();
	rd_kafka_t *producer;
	char why[256], text[2] = "0";

	rd_kafka_conf_set(conf, "bootstrap.servers", pl_embedded_address(broker), why, sizeof why);
	producer = rd_kafka_new(RD_KAFKA_PRODUCER, conf, why, sizeof why);
	assert_non_null(producer);
	for (int i = 0; i < MESSAGES; i++) {
		text[0] = (char)('0' + i);
		assert_int_equal(rd_kafka_producev(producer, RD_KAFKA_V_TOPIC("property-updates"), RD_KAFKA_V_PARTITION(0), RD_KAFKA_V_VALUE(text, 1),
		                                   RD_KAFKA_V_MSGFLAGS(RD_KAFKA_MSG_F_COPY), RD_KAFKA_V_END), RD_KAFKA_RESP_ERR_NO_ERROR);
	}
	assert_int_equal(rd_kafka_flush(producer, 10000), RD_KAFKA_RESP_ERR_NO_ERROR);
	rd_kafka_destroy(producer);
}

static void assigned(void *arg, const rd_kafka_topic_partition_list_t *partitions)
{
	pl_hand_assign(&hand, partitions);
}

static void revoked(void *arg)
{
	pl_hand_assign(&hand, NULL);
}

static void take(int n)
{
	int64_t deadline_us = pl_mono_us() + 20000000;

	while (n > 0) {
		rd_kafka_message_t *message = pl_consumer_poll(consumer, 100);

		if (pl_mono_us() > deadline_us)
			fail_msg("%d messages do not come", n);
		if (!message)
			continue;
		pl_hand_take(&hand, message);
		n--;
	}
}

static int start(void **state)
{
	static const char *const topics[] = { "property-updates", "plist-heartbeats", NULL };
	struct pl_error err = { 0 };

	broker = pl_embedded_start(&(struct pl_embedded_options){ .partitions = 1, .topics = topics }, &err);
	assert_non_null(broker);
	lab_start(&lab, &(struct lab_options){ .regions = 1, .brokers = pl_embedded_address(broker), .more = "  partitions: 1\n" });
	produce();
	pl_hand_init(&hand);
	consumer = pl_consumer_new(&(struct pl_consumer_options){ .config = lab.config, .region = lab_region(&lab, 0), .assigned = assigned,
		.revoked = revoked }, &err);
	assert_non_null(consumer);
	if (pl_consumer_subscribe(consumer, lab.config, 5000000, -1, &err) < 0)
		fail_msg("%s", err.text);
	take(1); // it is assigned
	return 0;
}

static int stop(void **state)
{
	pl_consumer_free(&consumer, 3000000);
	pl_hand_fini(&hand);
	lab_stop(&lab);
	pl_embedded_stop(&broker);
	return 0;
}

static rd_kafka_topic_partition_list_t *partition(int number)
{
	rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new(1);

	rd_kafka_topic_partition_list_add(list, "property-updates", number);
	return list;
}

// A hand that has the partition and nothing of it yet; the consumer begins anew.
static int setup(void **state)
{
	rd_kafka_topic_partition_list_t *partitions = partition(0);
	struct pl_error err = { 0 };

	pl_hand_fini(&hand);
	pl_hand_init(&hand);
	partitions->elems[0].offset = 0;
	pl_hand_assign(&hand, partitions);
	if (pl_consumer_place(consumer, partitions, 10000, &err) < 0)
		fail_msg("%s", err.text);
	rd_kafka_topic_partition_list_destroy(partitions);
	return 0;
}

// The values, which are a digit each.
static void holds(const struct pl_held *held, const char *expected)
{
	char values[MESSAGES + 1] = "";

	for (int i = 0; i < held->n; i++)
		values[i] = *(const char *)held->messages[i].value;
	assert_string_equal(values, expected);
}

static void what_came_ahead_is_the_next_batch(void **state)
{
	take(2);
	holds(&hand.now, "01");
	pl_hand_begin(&hand);
	take(3);
	holds(&hand.now, "01");
	holds(&hand.ahead, "234");
	pl_hand_done(&hand, consumer, true);
	holds(&hand.now, "234");
	holds(&hand.ahead, "");
	assert_int_equal(hand.partitions[0].next, 2);
	take(1);
	holds(&hand.now, "2345");
}

static void a_batch_that_fails_is_not_overtaken(void **state)
{
	take(2);
	pl_hand_begin(&hand);
	take(2);
	assert_true(pl_hand_failed(&hand));
	take(1); // behind what came ahead
	holds(&hand.now, "01");
	holds(&hand.ahead, "234");
	pl_hand_begin(&hand);
	assert_true(pl_hand_failed(&hand));
	holds(&hand.now, "01");
	pl_hand_drop(&hand);
	holds(&hand.now, "");
	holds(&hand.ahead, "");
}

static void a_batch_keeps_its_messages_when_its_partitions_are_taken_away(void **state)
{
	take(3);
	pl_hand_begin(&hand);
	take(2);
	pl_hand_assign(&hand, NULL);
	holds(&hand.now, "012"); // PostgreSQL is being sent them
	holds(&hand.ahead, "");
	assert_false(pl_hand_failed(&hand));
	holds(&hand.now, "");
}

static void a_batch_whose_partitions_were_taken_and_given_back_moves_nothing(void **state)
{
	rd_kafka_topic_partition_list_t *again = partition(0);

	take(3);
	pl_hand_begin(&hand);
	pl_hand_assign(&hand, NULL);
	pl_hand_assign(&hand, again);
	take(1);
	holds(&hand.ahead, "3");
	pl_hand_done(&hand, consumer, true);
	holds(&hand.now, "3");
	assert_int_equal(hand.partitions[0].next, -1); // where the group is will be asked for
	rd_kafka_topic_partition_list_destroy(again);
}

static void the_newest_time_that_was_read_outlives_a_rebalance_that_brings_the_partition_back(void **state)
{
	rd_kafka_topic_partition_list_t *same = partition(0), *other = partition(1);
	int64_t newest_ms;

	take(2);
	newest_ms = hand.now.messages[1].broker_time_us / 1000;
	assert_true(newest_ms > 0);
	assert_int_equal(hand.partitions[0].latest_ms, 0);
	pl_hand_begin(&hand);
	pl_hand_done(&hand, consumer, true);
	assert_int_equal(hand.partitions[0].latest_ms, newest_ms);
	pl_hand_assign(&hand, NULL);
	pl_hand_assign(&hand, same);
	assert_int_equal(hand.partitions[0].latest_ms, newest_ms);
	pl_hand_assign(&hand, other); // another daemon reads on in the first one
	assert_int_equal(hand.partitions[0].latest_ms, 0);
	pl_hand_assign(&hand, same);
	assert_int_equal(hand.partitions[0].latest_ms, 0);
	rd_kafka_topic_partition_list_destroy(same);
	rd_kafka_topic_partition_list_destroy(other);
}

static void after_the_newest_message_there_is_none(void **state)
{
	rd_kafka_topic_partition_list_t *list = partition(0);
	struct pl_error err = { 0 };

	list->elems[0].offset = pl_now_us() / 1000 + 3600 * 1000;
	if (pl_consumer_since(consumer, list, 10000, &err) < 0)
		fail_msg("%s", err.text);
	assert_true(list->elems[0].offset < 0);
	rd_kafka_topic_partition_list_destroy(list);
}

#define TEST(name) cmocka_unit_test_setup(name, setup)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(a_batch_that_fails_is_not_overtaken),
		TEST(a_batch_keeps_its_messages_when_its_partitions_are_taken_away),
		TEST(a_batch_whose_partitions_were_taken_and_given_back_moves_nothing),
		TEST(the_newest_time_that_was_read_outlives_a_rebalance_that_brings_the_partition_back),
		TEST(after_the_newest_message_there_is_none),
		TEST(what_came_ahead_is_the_next_batch),
	};

	return cmocka_run_group_tests(tests, start, stop);
}
