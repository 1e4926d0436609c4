// A consumer that reads a full topic does not wait while messages are there.
#include "lab.h"

#include <time.h>

#include "base/clock.h"
#include "kafka/consumer.h"
#include "kafka/dev_broker.h"

#define BATCH     2500
#define BATCH_US  100000 // what the database takes for one
#define MESSAGES  100000 // ten times what librdkafka's queue may hold
// librdkafka itself would pause each time its queue was full, for two thirds of this.
#define WITHIN_US (MESSAGES / BATCH * BATCH_US / 5 * 7)

static const char topic[] = "property-updates";

static void fill(const char *brokers)
{
	rd_kafka_conf_t *conf = rd_kafka_conf_new();
	rd_kafka_t *producer;
	char value[] = "x";

	rd_kafka_conf_set(conf, "bootstrap.servers", brokers, NULL, 0);
	rd_kafka_conf_set(conf, "linger.ms", "20", NULL, 0);
	producer = rd_kafka_new(RD_KAFKA_PRODUCER, conf, NULL, 0);
	assert_non_null(producer);
	for (int i = 0; i < MESSAGES; i++) {
		while (rd_kafka_producev(producer, RD_KAFKA_V_TOPIC(topic), RD_KAFKA_V_VALUE(value, 1),
		                         RD_KAFKA_V_PARTITION(0), RD_KAFKA_V_END) != 0)
			rd_kafka_poll(producer, 10);
	}
	assert_int_equal(rd_kafka_flush(producer, 30000), 0);
	rd_kafka_destroy(producer);
}

// Takes its time, in which librdkafka fills its queue.
static void apply_batch(void)
{
	nanosleep(&(struct timespec){ .tv_nsec = BATCH_US * 1000L }, NULL);
}

static void a_backlog_larger_than_the_queue_is_read_without_pauses(void **state)
{
	static const char *const topics[] = { topic, NULL };
	struct pl_consumer_options options = { .heartbeats = false };
	rd_kafka_topic_partition_list_t *all = rd_kafka_topic_partition_list_new(1);
	struct pl_error err = { 0 };
	struct pl_dev_broker *broker = pl_dev_broker_start(
		&(struct pl_dev_broker_options){ .partitions = 1, .topics = topics }, &err);
	struct pl_consumer *consumer;
	int64_t began_us = 0, deadline_us;
	struct lab lab;
	int n = 0;

	assert_non_null(broker);
	fill(pl_dev_broker_address(broker));
	lab_start(&lab, &(struct lab_options){ .regions = 2, .brokers = pl_dev_broker_address(broker) });
	options.config = lab.config;
	options.region = lab_region(&lab, 1);
	consumer = pl_consumer_new(&options, &err);
	assert_non_null(consumer);
	rd_kafka_topic_partition_list_add(all, topic, 0);
	assert_int_equal(pl_consumer_add(consumer, all, &err), 0);
	deadline_us = pl_mono_us() + 60000000;
	while (n < MESSAGES && pl_mono_us() < deadline_us) {
		rd_kafka_message_t *message = pl_consumer_poll(consumer, 100);

		if (!message)
			continue;
		if (n++ == 0)
			began_us = pl_mono_us();
		rd_kafka_message_destroy(message);
		if (n % BATCH == 0)
			apply_batch();
	}
	assert_int_equal(n, MESSAGES);
	print_message("# took %.1f s\n", (double)(pl_mono_us() - began_us) / 1e6);
	assert_true(pl_mono_us() - began_us < WITHIN_US);
	rd_kafka_topic_partition_list_destroy(all);
	pl_consumer_free(&consumer, 100000);
	lab_stop(&lab);
	pl_dev_broker_stop(&broker);
	(void)state;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_backlog_larger_than_the_queue_is_read_without_pauses),
	};

	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
