// What the relay holds back: large events, of which it keeps few in memory while the
// broker does not answer, and events of a database that was not accepted as the region's.
// On a real PostgreSQL and the embedded broker.
#include "../apply/lab.h"

#include <librdkafka/rdkafka.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/clock.h"
#include "event/heartbeat.h"
#include "kafka/dev_broker.h"
#include "relay/outbox.h"
#include "relay/relay.h"

#define LARGE 400000

static struct lab lab;
static struct pl_dev_broker *broker;
static struct pl_relay *relay;
static rd_kafka_t *kept; // the client of the message that a test looks at

static int start(void **state)
{
	static const char *const topics[] = { "property-updates", "plist-heartbeats", NULL };
	struct pl_error err = { 0 };

	broker = pl_dev_broker_start(&(struct pl_dev_broker_options){ .partitions = 3, .topics = topics },
	                             &err);
	assert_non_null(broker);
	lab_start(&lab, &(struct lab_options){ .regions = 1,
	                                       .brokers = pl_dev_broker_address(broker),
	                                       .more = "  partitions: 3\n" });
	return 0;
}

static int stop(void **state)
{
	lab_stop(&lab);
	pl_dev_broker_stop(&broker);
	return 0;
}

static void place_is(const char *place)
{
	lab_ask(&lab, 0, "UPDATE plist.identity SET place = %s", place);
}

static int setup(void **state)
{
	lab_empty(&lab);
	place_is("plist.plist_place()");
	return 0;
}

static int teardown(void **state)
{
	rd_kafka_mock_broker_set_rtt(pl_dev_broker_cluster(broker), 1, 0);
	if (relay)
		pl_relay_stop(&relay, 0);
	return 0;
}

static void start_relay(void)
{
	struct pl_error err = { 0 };

	relay = pl_relay_start(lab.config, lab_region(&lab, 0), &err);
	if (!relay)
		fail_msg("%s", err.text);
}

static struct pl_relay_stats stats(void)
{
	struct pl_relay_stats now;

	pl_relay_stats(relay, &now);
	return now;
}

static void wait_for(bool (*condition)(void), const char *what)
{
	int64_t deadline_us = pl_mono_us() + 20000000;

	while (!condition()) {
		if (pl_mono_us() > deadline_us)
			fail_msg("timed out waiting until %s", what);
		usleep(5000);
	}
}

// Returns the id of the first one.
static int64_t fill(int n, int bytes)
{
	return strtoll(lab_ask(&lab, 0,
	                       "INSERT INTO outbox (resource, record_id, origin, value, vector, request_id, "
	                       "fingerprint, status, expires_at) SELECT 'properties', i, 'us', "
	                       "format('{\"note\":\"%%s\"}', repeat('x', %d)), '{\"us\": 1}', 'r' || i, "
	                       "sha256(''), 200, '2090-01-01' FROM generate_series(1, %d) AS i RETURNING id",
	                       bytes, n),
	               NULL, 10);
}

// ---- large events

// The number does not grow while the broker does not answer.
static int64_t sent_in_the_end(int64_t before)
{
	int64_t deadline_us = pl_mono_us() + 20000000, since_us = pl_mono_us(), last = before;

	while (pl_mono_us() - since_us < 500000 || last <= before) {
		int64_t sent = stats().sent_id;

		if (sent != last)
			since_us = pl_mono_us();
		last = sent;
		if (pl_mono_us() > deadline_us)
			fail_msg("the relay goes on sending: event %lld", (long long)last);
		usleep(5000);
	}
	return last;
}

static void large_events_in_flight_are_few(void **state)
{
	int64_t first;

	start_relay();
	fill(1, 10); // then it knows the topic's partitions
	lab_until(&lab, "0", 0, "SELECT count(*) FROM outbox");
	rd_kafka_mock_broker_set_rtt(pl_dev_broker_cluster(broker), 1, 5000);
	first = fill(90, LARGE);
	pl_relay_wake(relay);
	// Four reads, each of which may have one more than its bytes.
	assert_in_range(sent_in_the_end(first - 1) - first + 1, 11, 4 * (PL_OUTBOX_READ_BYTES / LARGE + 2));
	rd_kafka_mock_broker_set_rtt(pl_dev_broker_cluster(broker), 1, 0);
	lab_until(&lab, "0", 0, "SELECT count(*) FROM outbox");
	assert_int_equal(stats().published, 91);
}

// ---- whose database it is

static bool heard(void)
{
	return stats().heartbeats > 0;
}

static bool leads(void)
{
	return stats().leader;
}

// The next heartbeat that arrives in the topic.
static rd_kafka_message_t *next_heartbeat(void)
{
	rd_kafka_conf_t *conf = rd_kafka_conf_new();
	rd_kafka_topic_partition_list_t *partitions = rd_kafka_topic_partition_list_new(3);
	rd_kafka_message_t *message = NULL;
	char text[256];
	rd_kafka_t *kafka;

	assert_int_equal(RD_KAFKA_CONF_OK,
	                 rd_kafka_conf_set(conf, "bootstrap.servers", pl_dev_broker_address(broker), text,
	                                   sizeof(text)));
	assert_int_equal(RD_KAFKA_CONF_OK, rd_kafka_conf_set(conf, "group.id", "test", text, sizeof(text)));
	kafka = rd_kafka_new(RD_KAFKA_CONSUMER, conf, text, sizeof(text));
	assert_non_null(kafka);
	for (int i = 0; i < 3; i++)
		rd_kafka_topic_partition_list_add(partitions, "plist-heartbeats", i)->offset =
			RD_KAFKA_OFFSET_END;
	rd_kafka_assign(kafka, partitions);
	rd_kafka_topic_partition_list_destroy(partitions);
	message = rd_kafka_consumer_poll(kafka, 20000);
	assert_non_null(message);
	assert_int_equal(RD_KAFKA_RESP_ERR_NO_ERROR, message->err);
	kept = kafka;
	return message;
}

// Such as a copy of the region's database.
static void a_database_that_was_not_accepted_is_heard_and_publishes_nothing(void **state)
{
	place_is("'elsewhere'");
	fill(3, 10);
	start_relay();
	wait_for(heard, "the relay has sent a heartbeat");
	assert_int_equal(stats().published + stats().batches, 0);
	assert_false(stats().leader);
	lab_is(&lab, "0 3", 0,
	       "SELECT format('%%s %%s', (SELECT count(*) FROM plist.outbox_marks), (SELECT count(*) FROM "
	       "outbox))");
	place_is("plist.plist_place()");
	wait_for(leads, "the relay publishes");
	lab_until(&lab, "0", 0, "SELECT count(*) FROM outbox");
	assert_int_equal(stats().published, 3);
}

static void its_heartbeats_report_no_numbers_of_another_database(void **state)
{
	rd_kafka_message_t *message;
	struct pl_heartbeat heartbeat;
	struct pl_arena *arena = pl_arena_new(0);
	struct pl_error err = { 0 };

	place_is("'elsewhere'");
	start_relay();
	message = next_heartbeat();
	assert_int_equal(
		0, pl_heartbeat_parse(arena, message->payload, message->len, pl_now_us(), &heartbeat, &err));
	assert_false(heartbeat.sender.accepted);
	assert_null(heartbeat.published);
	assert_null(heartbeat.applied);
	assert_null(strstr(heartbeat.word, "\"served\""));
	rd_kafka_message_destroy(message);
	rd_kafka_destroy(kept);
	pl_arena_free(&arena);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(large_events_in_flight_are_few),
		TEST(a_database_that_was_not_accepted_is_heard_and_publishes_nothing),
		TEST(its_heartbeats_report_no_numbers_of_another_database),
	};

	return cmocka_run_group_tests(tests, start, stop);
}
