// Where the partitions end according to a broker, and how long plist-admin waits for a
// slow broker.
#include "admin/offsets.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/clock.h"
#include "config/config_private.h"
#include "kafka/dev_broker.h"

#define TOPIC      "property-updates"
#define PARTITIONS 16
#define SECOND     INT64_C(1000000)

static struct pl_dev_broker *broker;
static struct pl_config *config;

static int setup(void **state)
{
	static const char *const topics[] = { TOPIC, NULL };
	struct pl_error err = { 0 };

	broker = pl_dev_broker_start(
		&(struct pl_dev_broker_options){ .partitions = PARTITIONS, .topics = topics }, &err);
	assert_non_null(broker);
	config = pl_config_new();
	config->kafka.brokers = pl_dev_broker_address(broker);
	config->kafka.group = "plist";
	config->nregions = config->nresources = 1;
	config->regions = pl_arena_array(config->arena, 1, sizeof(config->regions[0]));
	config->regions[0].name = "us";
	config->resources = pl_arena_array(config->arena, 1, sizeof(config->resources[0]));
	config->resources[0].topic = TOPIC;
	return 0;
}

static int teardown(void **state)
{
	pl_config_unref(&config);
	pl_dev_broker_stop(&broker);
	return 0;
}

static void produce(int32_t partition, int n)
{
	rd_kafka_conf_t *conf = rd_kafka_conf_new();
	char why[128];

	assert_int_equal(
		rd_kafka_conf_set(conf, "bootstrap.servers", config->kafka.brokers, why, sizeof(why)),
		RD_KAFKA_CONF_OK);
	rd_kafka_t *producer = rd_kafka_new(RD_KAFKA_PRODUCER, conf, why, sizeof(why));
	assert_non_null(producer);
	for (int i = 0; i < n; i++)
		assert_int_equal(rd_kafka_producev(producer, RD_KAFKA_V_TOPIC(TOPIC),
		                                   RD_KAFKA_V_PARTITION(partition),
		                                   RD_KAFKA_V_VALUE((void *)"x", 1), RD_KAFKA_V_END),
		                 RD_KAFKA_RESP_ERR_NO_ERROR);
	assert_int_equal(rd_kafka_flush(producer, 30000), RD_KAFKA_RESP_ERR_NO_ERROR);
	rd_kafka_destroy(producer);
}

static void each_partition_begins_and_ends_where_the_broker_says(void **state)
{
	struct pl_offsets *offsets = pl_offsets_new(config, 30 * SECOND);
	struct pl_offset *list = NULL;
	struct pl_error err = { 0 };

	produce(3, 5);
	produce(9, 1);
	assert_int_equal(pl_offsets_ends(offsets, &list, &err), PARTITIONS);
	for (int i = 0; i < PARTITIONS; i++) {
		assert_int_equal(list[i].partition, i);
		assert_int_equal(list[i].low, 0);
		assert_int_equal(list[i].end, i == 3 ? 5 : i == 9 ? 1 : 0);
	}
	free(list);
	pl_offsets_free(&offsets);
}

// Asked one after the other, they would take at least 8 seconds.
static void a_slow_broker_is_asked_for_all_partitions_at_once(void **state)
{
	struct pl_offsets *offsets = pl_offsets_new(config, 30 * SECOND);
	struct pl_offset *list = NULL;
	struct pl_error err = { 0 };

	rd_kafka_mock_broker_set_rtt(pl_dev_broker_cluster(broker), 1, 500);
	int64_t began_us = pl_mono_us();
	assert_int_equal(pl_offsets_ends(offsets, &list, &err), PARTITIONS);
	assert_true(pl_mono_us() - began_us < 8 * SECOND);
	rd_kafka_mock_broker_set_rtt(pl_dev_broker_cluster(broker), 1, 0);
	free(list);
	pl_offsets_free(&offsets);
}

// Each request alone is answered in time, but not all of them together.
static void the_timeout_applies_to_all_requests_of_a_look_together(void **state)
{
	struct pl_offsets *offsets = pl_offsets_new(config, 3 * SECOND);
	struct pl_offset *list = NULL;
	struct pl_error err = { 0 };

	rd_kafka_mock_broker_set_rtt(pl_dev_broker_cluster(broker), 1, 1200);
	int64_t began_us = pl_mono_us();
	assert_int_equal(pl_offsets_ends(offsets, &list, &err), PL_EUNAVAIL);
	assert_null(list);
	assert_true(pl_mono_us() - began_us < 8 * SECOND);
	rd_kafka_mock_broker_set_rtt(pl_dev_broker_cluster(broker), 1, 0);
	pl_offsets_free(&offsets);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(each_partition_begins_and_ends_where_the_broker_says),
		cmocka_unit_test(a_slow_broker_is_asked_for_all_partitions_at_once),
		cmocka_unit_test(the_timeout_applies_to_all_requests_of_a_look_together),
	};

	return cmocka_run_group_tests_name("offsets", tests, setup, teardown);
}
