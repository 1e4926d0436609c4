// The fetch buffer with real messages: their order while batches are written, fail, or
// lose their partitions.
#include "lab.h"

#include <stdlib.h>
#include <string.h>

#include "apply/fetch_buffer.h"
#include "base/clock.h"
#include "kafka/dev_broker.h"

#define MESSAGES 6
#define HEADER   1000

static struct lab lab;
static struct pl_dev_broker *broker;
static struct pl_consumer *consumer;
static struct pl_fetch_buffer buffer;

static void produce(void)
{
	rd_kafka_conf_t *conf = rd_kafka_conf_new();
	rd_kafka_t *producer;
	char why[256], text[2] = "0", header[HEADER] = "";

	rd_kafka_conf_set(conf, "bootstrap.servers", pl_dev_broker_address(broker), why, sizeof(why));
	producer = rd_kafka_new(RD_KAFKA_PRODUCER, conf, why, sizeof(why));
	assert_non_null(producer);
	for (int i = 0; i < MESSAGES; i++) {
		text[0] = (char)('0' + i);
		assert_int_equal(rd_kafka_producev(producer, RD_KAFKA_V_TOPIC("property-updates"),
		                                   RD_KAFKA_V_PARTITION(0), RD_KAFKA_V_VALUE(text, 1),
		                                   RD_KAFKA_V_HEADER("plist-deleted", header, HEADER),
		                                   RD_KAFKA_V_MSGFLAGS(RD_KAFKA_MSG_F_COPY), RD_KAFKA_V_END),
		                 RD_KAFKA_RESP_ERR_NO_ERROR);
	}
	assert_int_equal(rd_kafka_flush(producer, 10000), RD_KAFKA_RESP_ERR_NO_ERROR);
	rd_kafka_destroy(producer);
}

static void take(int n)
{
	int64_t deadline_us = pl_mono_us() + 60000000;

	while (n > 0) {
		rd_kafka_message_t *message = pl_consumer_poll(consumer, 100);

		if (pl_mono_us() > deadline_us)
			fail_msg("%d messages did not arrive", n);
		if (!message)
			continue;
		pl_fetch_buffer_take(&buffer, message);
		n--;
	}
}

static rd_kafka_topic_partition_list_t *partition(int number)
{
	rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new(1);

	rd_kafka_topic_partition_list_add(list, "property-updates", number);
	return list;
}

static int start(void **state)
{
	static const char *const topics[] = { "property-updates", "plist-heartbeats", NULL };
	rd_kafka_topic_partition_list_t *partitions;
	struct pl_error err = { 0 };

	broker = pl_dev_broker_start(&(struct pl_dev_broker_options){ .partitions = 1, .topics = topics },
	                             &err);
	assert_non_null(broker);
	lab_start(&lab, &(struct lab_options){ .regions = 1,
	                                       .brokers = pl_dev_broker_address(broker),
	                                       .more = "  partitions: 1\n" });
	produce();
	pl_fetch_buffer_init(&buffer);
	consumer = pl_consumer_new(
		&(struct pl_consumer_options){ .config = lab.config, .region = lab_region(&lab, 0) }, &err);
	assert_non_null(consumer);
	partitions = partition(0);
	if (pl_consumer_prepare(consumer, lab.config, 5000000, -1, &err) < 0 ||
	    pl_consumer_add(consumer, partitions, &err) < 0)
		fail_msg("%s", err.text);
	rd_kafka_topic_partition_list_destroy(partitions);
	take(1); // the partition is assigned
	return 0;
}

static int stop(void **state)
{
	pl_consumer_free(&consumer, 3000000);
	pl_fetch_buffer_fini(&buffer);
	lab_stop(&lab);
	pl_dev_broker_stop(&broker);
	return 0;
}

// A buffer with the partition and without messages; the consumer starts at the
// beginning.
static int setup(void **state)
{
	rd_kafka_topic_partition_list_t *partitions = partition(0);
	struct pl_error err = { 0 };

	pl_fetch_buffer_fini(&buffer);
	pl_fetch_buffer_init(&buffer);
	partitions->elems[0].offset = 0;
	pl_fetch_buffer_assign(&buffer, partitions);
	if (pl_consumer_place(consumer, partitions, 10000, &err) < 0)
		fail_msg("%s", err.text);
	rd_kafka_topic_partition_list_destroy(partitions);
	return 0;
}

// The batch, as the applier reads it: the values of its messages, one digit each.
static void batch_is(const char *expected)
{
	char values[MESSAGES + 1] = "";

	for (int i = 0; i < buffer.now.n; i++)
		values[i] = *(const char *)buffer.now.messages[i].value;
	assert_string_equal(values, expected);
}

static const struct pl_fetch_partition *found(int number)
{
	return pl_fetch_buffer_find(&buffer, "property-updates", number);
}

static void messages_fetched_ahead_are_the_next_batch(void **state)
{
	take(2);
	batch_is("01");
	pl_fetch_buffer_begin(&buffer);
	take(3);
	batch_is("01");
	pl_fetch_buffer_done(&buffer, consumer, true);
	batch_is("234");
	assert_int_equal(found(0)->next, 2);
	take(1);
	batch_is("2345");
}

// A delete has the whole record in its headers.
static void headers_count_among_the_bytes_of_a_batch(void **state)
{
	take(2);
	assert_int_equal(buffer.now.bytes, 2 * (1 + HEADER));
	pl_fetch_buffer_remove(&buffer, "property-updates", 0);
	assert_int_equal(buffer.now.bytes, 0);
}

static void a_batch_that_fails_is_not_overtaken(void **state)
{
	take(2);
	pl_fetch_buffer_begin(&buffer);
	take(2);
	assert_true(pl_fetch_buffer_failed(&buffer));
	take(1);
	batch_is("01");
	pl_fetch_buffer_begin(&buffer);
	assert_true(pl_fetch_buffer_failed(&buffer));
	batch_is("01");
	pl_fetch_buffer_begin(&buffer);
	pl_fetch_buffer_done(&buffer, consumer, true);
	batch_is("234");
}

static void dropped_messages_are_in_no_batch(void **state)
{
	take(2);
	pl_fetch_buffer_begin(&buffer);
	take(2);
	assert_true(pl_fetch_buffer_failed(&buffer));
	pl_fetch_buffer_drop(&buffer);
	batch_is("");
	take(1);
	batch_is("4");
}

static void a_batch_keeps_its_messages_when_its_partitions_are_taken_away(void **state)
{
	take(3);
	pl_fetch_buffer_begin(&buffer);
	take(2);
	pl_fetch_buffer_assign(&buffer, NULL);
	batch_is("012"); // they are being sent to PostgreSQL
	assert_false(pl_fetch_buffer_failed(&buffer));
	batch_is("");
}

static void a_batch_whose_partitions_were_taken_and_given_back_moves_nothing(void **state)
{
	rd_kafka_topic_partition_list_t *again = partition(0);

	take(3);
	pl_fetch_buffer_begin(&buffer);
	pl_fetch_buffer_assign(&buffer, NULL);
	pl_fetch_buffer_assign(&buffer, again);
	take(1);
	pl_fetch_buffer_done(&buffer, consumer, true);
	batch_is("3");
	assert_int_equal(found(0)->next, -1); // the group's offset will be asked for
	rd_kafka_topic_partition_list_destroy(again);
}

static void the_newest_time_that_was_read_outlives_a_rebalance_that_brings_the_partition_back(void **state)
{
	rd_kafka_topic_partition_list_t *same = partition(0), *other = partition(1);
	int64_t newest_ms;

	take(2);
	newest_ms = buffer.now.messages[1].broker_time_us / 1000;
	assert_true(newest_ms > 0);
	assert_int_equal(found(0)->latest_ms, 0);
	pl_fetch_buffer_begin(&buffer);
	pl_fetch_buffer_done(&buffer, consumer, true);
	assert_int_equal(found(0)->latest_ms, newest_ms);
	pl_fetch_buffer_assign(&buffer, NULL);
	pl_fetch_buffer_assign(&buffer, same);
	assert_int_equal(found(0)->latest_ms, newest_ms);
	// another daemon continues reading the first partition
	pl_fetch_buffer_assign(&buffer, other);
	assert_int_equal(found(1)->latest_ms, 0);
	pl_fetch_buffer_assign(&buffer, same);
	assert_int_equal(found(0)->latest_ms, 0);
	rd_kafka_topic_partition_list_destroy(same);
	rd_kafka_topic_partition_list_destroy(other);
}

static void no_message_is_found_after_the_newest_one(void **state)
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
		TEST(headers_count_among_the_bytes_of_a_batch),
		TEST(a_batch_that_fails_is_not_overtaken),
		TEST(a_batch_keeps_its_messages_when_its_partitions_are_taken_away),
		TEST(a_batch_whose_partitions_were_taken_and_given_back_moves_nothing),
		TEST(the_newest_time_that_was_read_outlives_a_rebalance_that_brings_the_partition_back),
		TEST(no_message_is_found_after_the_newest_one),
		TEST(messages_fetched_ahead_are_the_next_batch),
		TEST(dropped_messages_are_in_no_batch),
	};

	return cmocka_run_group_tests(tests, start, stop);
}
