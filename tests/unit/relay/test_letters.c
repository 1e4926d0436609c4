// Dead letters reach their topic complete: the relay against a real PostgreSQL and the
// embedded broker.
#include "../apply/lab.h"

#include <librdkafka/rdkafka.h>
#include <string.h>

#include "base/clock.h"
#include "base/faults.h"
#include "kafka/dev_broker.h"
#include "relay/relay.h"

// The last one comes from an earlier dead letter queue.
static const char headers_before[] =
	"[{\"name\": \"a\", \"value\": \"x\"}, {\"name\": \"b\", \"hex\": \"00ff\"}, "
	"{\"name\": \"__dlq.errors.message\", \"value\": \"an earlier one\"}]";

#define PRODUCE 0 // in Kafka's protocol
#define LETTER                                                                                          \
	"INSERT INTO dead_letters (topic, partition, kafka_offset, key, value, headers, error, tries) " \
	"VALUES ('property-updates', 3, 43, '\\x6b', NULL, '[]', 'no event', 1)"

static struct lab lab;
static struct pl_dev_broker *broker;

static int start(void **state)
{
	static const char *const topics[] = { "property-updates", "plist-heartbeats", "dead", NULL };
	struct pl_error err = { 0 };

	broker = pl_dev_broker_start(&(struct pl_dev_broker_options){ .partitions = 3, .topics = topics },
	                             &err);
	assert_non_null(broker);
	lab_start(&lab, &(struct lab_options){ .regions = 1,
	                                       .brokers = pl_dev_broker_address(broker),
	                                       .more = "  dead_letter_topic: dead\n" });
	return 0;
}

static int stop(void **state)
{
	lab_stop(&lab);
	pl_dev_broker_stop(&broker);
	return 0;
}

static rd_kafka_t *reader(void)
{
	rd_kafka_conf_t *conf = rd_kafka_conf_new();
	char why[256];
	rd_kafka_t *rk;

	rd_kafka_conf_set(conf, "bootstrap.servers", pl_dev_broker_address(broker), why, sizeof(why));
	rd_kafka_conf_set(conf, "group.id", "test", why, sizeof(why));
	rd_kafka_conf_set(conf, "enable.partition.eof", "true", why, sizeof(why));
	rk = rd_kafka_new(RD_KAFKA_CONSUMER, conf, why, sizeof(why));
	assert_non_null(rk);
	rd_kafka_poll_set_consumer(rk);
	return rk;
}

// The only message of the topic of dead letters, or NULL.
static rd_kafka_message_t *dead_letter(rd_kafka_t *rk)
{
	rd_kafka_topic_partition_list_t *all = rd_kafka_topic_partition_list_new(3);
	rd_kafka_message_t *found = NULL;

	for (int i = 0; i < 3; i++)
		rd_kafka_topic_partition_list_add(all, "dead", i)->offset = RD_KAFKA_OFFSET_BEGINNING;
	rd_kafka_assign(rk, all);
	for (int ends = 0; ends < 3;) {
		rd_kafka_message_t *m = rd_kafka_consumer_poll(rk, 5000);

		assert_non_null(m);
		if (m->err) {
			assert_int_equal(m->err, RD_KAFKA_RESP_ERR__PARTITION_EOF);
			ends++;
			rd_kafka_message_destroy(m);
			continue;
		}
		assert_null(found);
		found = m;
	}
	rd_kafka_topic_partition_list_destroy(all);
	return found;
}

static void header_is(const rd_kafka_message_t *m, const char *name, const void *expected, size_t len)
{
	rd_kafka_headers_t *headers;
	const void *value;
	size_t got;

	assert_int_equal(rd_kafka_message_headers(m, &headers), 0);
	assert_int_equal(rd_kafka_header_get_last(headers, name, &value, &got), 0);
	assert_int_equal(got, len);
	assert_memory_equal(value, expected, len);
}

static void a_dead_letter_is_sent_once_unchanged_and_says_why(void **state)
{
	struct pl_error err = { 0 };
	struct pl_relay *relay = pl_relay_start(lab.config, lab_region(&lab, 0), &err);
	rd_kafka_t *rk = reader();
	rd_kafka_message_t *m;

	assert_non_null(relay);
	lab_ask(&lab, 0,
	        "INSERT INTO dead_letters (topic, partition, kafka_offset, key, value, headers, error, tries)"
	        " VALUES ('property-updates', 3, 42, '\\x6b0079', NULL, '%s', 'no event', 2)",
	        headers_before);
	lab_until(
		&lab, "t", 0,
		"SELECT bool_and(coalesce(sent_at > now() - interval '1 minute', false)) FROM dead_letters");
	m = dead_letter(rk);
	assert_non_null(m);
	assert_int_equal(m->key_len, 3);
	assert_memory_equal(m->key, "k\0y", 3);
	assert_null(m->payload);
	header_is(m, "a", "x", 1);
	header_is(m, "b", "\0\377", 2);
	header_is(m, "__dlq.errors.topic", "property-updates", 16);
	header_is(m, "__dlq.errors.partition", "3", 1);
	header_is(m, "__dlq.errors.offset", "42", 2);
	header_is(m, "__dlq.errors.message", "no event", 8);
	header_is(m, "__dlq.errors.delivery.count", "3", 1);
	header_is(m, "__dlq.errors.group", "plist-us", 8);
	rd_kafka_message_destroy(m);
	rd_kafka_consumer_close(rk);
	rd_kafka_destroy(rk);
	pl_relay_stop(&relay, 0);
}

static void more_dead_letters_than_are_read_at_once_are_all_sent(void **state)
{
	struct pl_error err = { 0 };
	struct pl_relay *relay = pl_relay_start(lab.config, lab_region(&lab, 0), &err);

	assert_non_null(relay);
	lab_ask(&lab, 0,
	        "INSERT INTO dead_letters (topic, partition, kafka_offset, key, value, headers, error, tries)"
	        " SELECT 'property-updates', 3, 100 + n, '\\x6b', NULL, '[]', 'no event', 1 FROM "
	        "generate_series(1, 250) AS n");
	lab_until(
		&lab, "t", 0,
		"SELECT bool_and(coalesce(sent_at > now() - interval '1 minute', false)) FROM dead_letters");
	pl_relay_stop(&relay, 0);
}

// Those that are read at once are noted as sent at once.
static void of_large_dead_letters_a_few_are_read_at_once(void **state)
{
	struct pl_error err = { 0 };
	struct pl_relay *relay;

	lab_empty(&lab);
	lab_ask(&lab, 0,
	        "INSERT INTO dead_letters (topic, partition, kafka_offset, key, value, headers, error, tries)"
	        " SELECT 'property-updates', 3, 1000 + n, '\\x6b', convert_to(repeat('x', 900000), 'UTF8'), "
	        "'[]', 'no event', 1 FROM generate_series(1, 11) AS n");
	relay = pl_relay_start(lab.config, lab_region(&lab, 0), &err);
	assert_non_null(relay);
	lab_until(
		&lab, "t", 0,
		"SELECT bool_and(coalesce(sent_at > now() - interval '1 minute', false)) FROM dead_letters");
	lab_is(&lab, "5", 0,
	       "SELECT max(n) FROM (SELECT count(*) AS n FROM dead_letters GROUP BY sent_at) AS looks");
	pl_relay_stop(&relay, 0);
}

// A broker that refuses copies, and one that does not take them now.
static void a_copy_that_is_not_sent_is_a_loss(void **state)
{
	struct pl_error err = { 0 };
	struct pl_relay *relay;
	uint64_t refused;
	bool recent;

	lab_ask(&lab, 0, "DELETE FROM dead_letters");
	assert_int_equal(pl_faults_losses(PL_LOSS_DEAD_LETTER_COPY, pl_mono_us(), &recent), 0);
	relay = pl_relay_start(lab.config, lab_region(&lab, 0), &err);
	assert_non_null(relay);
	for (int i = 0; i < 4; i++)
		rd_kafka_mock_push_request_errors(pl_dev_broker_cluster(broker), PRODUCE, 1,
		                                  RD_KAFKA_RESP_ERR_INVALID_RECORD);
	lab_ask(&lab, 0, LETTER);
	lab_until(&lab, "1", 0, "SELECT count(*) FROM dead_letters WHERE sent_at IS NOT NULL");
	rd_kafka_mock_clear_request_errors(pl_dev_broker_cluster(broker), PRODUCE);
	refused = pl_faults_losses(PL_LOSS_DEAD_LETTER_COPY, pl_mono_us(), &recent);
	assert_true(refused > 0 && recent);
	pl_relay_stop(&relay, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_dead_letter_is_sent_once_unchanged_and_says_why),
		cmocka_unit_test(more_dead_letters_than_are_read_at_once_are_all_sent),
		cmocka_unit_test(of_large_dead_letters_a_few_are_read_at_once),
		cmocka_unit_test(a_copy_that_is_not_sent_is_a_loss),
	};

	return cmocka_run_group_tests(tests, start, stop);
}
