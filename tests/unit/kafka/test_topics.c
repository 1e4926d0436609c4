// kafka/topics: which settings of a topic are unsuitable, and that each finding names
// the command to run.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kafka/topics.h"

static struct pl_config config;
static struct pl_topic_findings findings;

static int setup(void **state)
{
	config = (struct pl_config){ 0 };
	config.kafka.brokers = "127.0.0.1:9092";
	config.kafka.partitions = 8;
	config.kafka.replication_factor = 3;
	config.kafka.apply_connections = 1;
	config.kafka.min_retention_us = INT64_C(86400000000);
	config.http.max_body = 65536;
	return 0;
}

static int teardown(void **state)
{
	pl_topics_findings_fini(&findings);
	return 0;
}

static struct pl_topic_facts good(void)
{
	return (struct pl_topic_facts){
		.name = "orders",
		.partitions = 8,
		.replicas = 3,
		.cleanup_policy = "delete",
		.retention_ms = 604800000,
		.retention_bytes = -1,
		.min_insync_replicas = 2,
		.max_message_bytes = 1048588,
	};
}

// The only finding.
static void finds(const struct pl_topic_facts *facts, enum pl_topic_severity severity, const char *what,
                  const char *command)
{
	pl_topics_findings_fini(&findings);
	pl_topics_judge(facts, &config, &findings);
	if (findings.n != 1)
		fail_msg("%d findings: %s", findings.n, findings.n ? findings.each[0].text : "");
	if (!strstr(findings.each[0].text, what) || !strstr(findings.each[0].text, command))
		fail_msg("%s", findings.each[0].text);
	assert_int_equal(findings.each[0].severity, severity);
	assert_int_equal(findings.refused, severity == PL_TOPIC_REFUSED);
	assert_int_equal(findings.warnings, severity == PL_TOPIC_WARNING);
}

static void finds_nothing(const struct pl_topic_facts *facts)
{
	pl_topics_findings_fini(&findings);
	pl_topics_judge(facts, &config, &findings);
	if (findings.n)
		fail_msg("%s", findings.each[0].text);
}

static void a_good_topic_and_one_with_unknown_settings_pass(void **state)
{
	struct pl_topic_facts facts = good(), unknown = {
		.name = "orders",
		.retention_ms = PL_TOPIC_UNKNOWN,
		.retention_bytes = PL_TOPIC_UNKNOWN,
		.min_insync_replicas = PL_TOPIC_UNKNOWN,
		.max_message_bytes = PL_TOPIC_UNKNOWN,
	};

	finds_nothing(&facts);
	finds_nothing(&unknown);
	facts.retention_ms = -1;
	finds_nothing(&facts);
}

static void a_compacted_topic_is_refused(void **state)
{
	static const char *const policies[] = { "compact", "compact,delete", "delete,compact" };

	for (int i = 0; i < 3; i++) {
		struct pl_topic_facts facts = good();

		strcpy(facts.cleanup_policy, policies[i]);
		finds(&facts, PL_TOPIC_REFUSED, "topic orders is compacted",
		      "kafka-configs.sh --bootstrap-server 127.0.0.1:9092 --alter --entity-type topics "
		      "--entity-name orders --add-config cleanup.policy=delete");
	}
}

static void a_retention_that_is_too_short_is_reported(void **state)
{
	struct pl_topic_facts facts = good();

	facts.retention_ms = 86399999;
	finds(&facts, PL_TOPIC_WARNING,
	      "keeps messages for 86399 s (retention.ms), less than kafka.min_retention (86400 s)",
	      "--add-config retention.ms=604800000");
	facts.retention_ms = 86400000;
	finds_nothing(&facts);
	config.kafka.min_retention_us = INT64_C(30) * 86400000000;
	finds(&facts, PL_TOPIC_WARNING, "less than kafka.min_retention",
	      "--add-config retention.ms=2592000000");
	facts = good();
	config.kafka.min_retention_us = 0;
	facts.retention_bytes = 1000000;
	finds(&facts, PL_TOPIC_WARNING, "keeps at most 1000000 bytes", "--add-config retention.bytes=-1");
}

static void there_must_be_enough_replicas_for_a_durable_acknowledgement(void **state)
{
	struct pl_topic_facts facts = good();

	facts.min_insync_replicas = 4;
	finds(&facts, PL_TOPIC_WARNING,
	      "has 3 replicas and wants 4 in sync (min.insync.replicas): Kafka acknowledges no write",
	      "min.insync.replicas=2");
	facts.min_insync_replicas = 1;
	finds(&facts, PL_TOPIC_WARNING, "losing one broker's disk may lose it", "min.insync.replicas=2");
	facts.replicas = facts.min_insync_replicas = 1;
	finds(&facts, PL_TOPIC_WARNING, "kafka.replication_factor is 3", "kafka-reassign-partitions.sh");
	config.kafka.replication_factor = 1;
	finds_nothing(&facts);
}

static void a_topic_must_accept_the_largest_body(void **state)
{
	struct pl_topic_facts facts = good();

	facts.max_message_bytes = 65536;
	finds(&facts, PL_TOPIC_WARNING,
	      "accepts messages of up to 65536 bytes (max.message.bytes), but a request's body may have "
	      "65536",
	      "max.message.bytes=73728");
	facts.max_message_bytes = 73728;
	finds_nothing(&facts);
}

static void another_number_of_partitions_is_warned_about(void **state)
{
	struct pl_topic_facts facts = good();

	facts.partitions = 12;
	finds(&facts, PL_TOPIC_NOTICE,
	      "has 12 partitions, but kafka.partitions, used if it is created "
	      "again, is 8",
	      "");
	config.kafka.partitions = facts.partitions = 2;
	config.kafka.apply_connections = 4;
	finds(&facts, PL_TOPIC_NOTICE, "has 2 partitions, fewer than kafka.apply_connections (4)", "");
}

// ---- leaders

static rd_kafka_metadata_topic_t topic_led_by(const char *name, rd_kafka_metadata_partition_t *partitions,
                                              const int *leaders, int n)
{
	for (int i = 0; i < n; i++)
		partitions[i] = (rd_kafka_metadata_partition_t){ .id = i, .leader = leaders[i] };
	return (rd_kafka_metadata_topic_t){ .topic = (char *)(uintptr_t)name,
		                            .partition_cnt = n,
		                            .partitions = partitions };
}

static void partitions_that_no_broker_leads_are_named(void **state)
{
	struct pl_resource resource = { .topic = "orders", .index = 0 };
	rd_kafka_metadata_partition_t some[4], beats[1], all[64], foreign[1];
	int many[64];

	for (int i = 0; i < 64; i++)
		many[i] = -1;
	rd_kafka_metadata_topic_t topics[] = {
		topic_led_by("orders", some, (const int[]){ 1, -1, 2, -1 }, 4),
		topic_led_by("beats", beats, (const int[]){ -1 }, 1),
		topic_led_by("foreign", foreign, (const int[]){ -1 }, 1),
	};
	rd_kafka_metadata_t metadata = { .topic_cnt = 3, .topics = topics };

	config.resources = &resource;
	config.nresources = 1;
	config.kafka.heartbeat_topic = "beats";
	findings.partitions = calloc(1, sizeof(findings.partitions[0]));
	pl_topics_judge_partitions(&metadata, &config, &findings);
	assert_int_equal(findings.n, 2);
	assert_int_equal(findings.warnings, 2);
	assert_non_null(strstr(findings.each[0].text, "topic orders: no broker leads partitions 1, 3, so"));
	assert_non_null(strstr(findings.each[1].text, "topic beats: no broker leads partition 0, so"));
	assert_int_equal(findings.partitions[0], 4);
	topics[0] = topic_led_by("orders", all, many, 64);
	pl_topics_judge_partitions(&metadata, &config, &findings);
	assert_int_equal(findings.n, 4);
	assert_non_null(strstr(findings.each[2].text, "0, 1, 2, 3, "));
	assert_non_null(strstr(findings.each[2].text, ", ..., so"));
	topics[0] = topic_led_by("orders", some, (const int[]){ 1, 1, 2, 1 }, 4);
	metadata.topic_cnt = 1;
	pl_topics_judge_partitions(&metadata, &config, &findings);
	assert_int_equal(findings.n, 4);
}

static void a_topic_that_the_broker_does_not_describe_is_warned_about(void **state)
{
	pl_topics_judge_undescribed("orders", RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART, &findings);
	pl_topics_judge_undescribed("orders", RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED, &findings);
	assert_int_equal(findings.n, 2);
	assert_int_equal(findings.warnings, 2);
	assert_non_null(strstr(findings.each[0].text, "topic orders does not exist"));
	assert_non_null(strstr(findings.each[1].text, "topic orders: its settings are not known"));
	assert_non_null(strstr(findings.each[1].text, "uthorization failed"));
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(a_good_topic_and_one_with_unknown_settings_pass),
		TEST(a_compacted_topic_is_refused),
		TEST(a_retention_that_is_too_short_is_reported),
		TEST(there_must_be_enough_replicas_for_a_durable_acknowledgement),
		TEST(a_topic_must_accept_the_largest_body),
		TEST(another_number_of_partitions_is_warned_about),
		TEST(partitions_that_no_broker_leads_are_named),
		TEST(a_topic_that_the_broker_does_not_describe_is_warned_about),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
