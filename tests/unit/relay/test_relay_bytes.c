// How many bytes of events the relay keeps in memory while the broker does not answer. On
// a real PostgreSQL and the embedded broker.
#include "../apply/lab.h"

#include <librdkafka/rdkafka.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/clock.h"
#include "kafka/dev_broker.h"
#include "relay/outbox.h"
#include "relay/relay.h"

#define LARGE 400000

static struct lab lab;
static struct pl_dev_broker *broker;
static struct pl_relay *relay;

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

static int setup(void **state)
{
	lab_empty(&lab);
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

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(large_events_in_flight_are_few),
	};

	return cmocka_run_group_tests(tests, start, stop);
}
