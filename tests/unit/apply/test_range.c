// The applier's query for the range of a partition's offsets, against a broker that
// does not answer. An applier that waits for it notices neither a lost broker nor the
// stop.
#include "lab.h"

#include "base/clock.h"
#include "kafka/consumer.h"
#include "kafka/dev_broker.h"

static void the_query_for_a_range_ends_at_its_timeout(void **state)
{
	static const char *const topics[] = { "property-updates", NULL };
	struct pl_consumer_options options = { .heartbeats = false };
	struct pl_offset_range range = { -1, -1 };
	struct pl_error err = { 0 };
	struct pl_dev_broker *broker = pl_dev_broker_start(
		&(struct pl_dev_broker_options){ .partitions = 1, .topics = topics }, &err);
	struct pl_consumer *consumer;
	struct lab lab;
	int64_t began_us;

	assert_non_null(broker);
	lab_start(&lab, &(struct lab_options){ .regions = 2, .brokers = pl_dev_broker_address(broker) });
	options.config = lab.config;
	options.region = lab_region(&lab, 1);
	consumer = pl_consumer_new(&options, &err);
	assert_non_null(consumer);
	assert_int_equal(pl_consumer_ask_range(consumer, topics[0], 0, 10000, &range, &err), 0);
	assert_true(range.first == 0 && range.end == 0);
	rd_kafka_mock_broker_set_rtt(pl_dev_broker_cluster(broker), 1, 6000);
	began_us = pl_mono_us();
	assert_int_equal(pl_consumer_ask_range(consumer, topics[0], 0, 500, &range, &err), PL_EUNAVAIL);
	assert_true(pl_mono_us() - began_us < 3000000);
	rd_kafka_mock_broker_set_rtt(pl_dev_broker_cluster(broker), 1, 0);
	pl_consumer_free(&consumer, 100000);
	lab_stop(&lab);
	pl_dev_broker_stop(&broker);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_query_for_a_range_ends_at_its_timeout),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
