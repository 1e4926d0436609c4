// The relay on a real PostgreSQL and the embedded broker, which is made to fail in
// every possible way.
#include "../apply/lab.h"

#include <librdkafka/rdkafka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "kafka/dev_broker.h"
#include "relay/relay.h"

#define PRODUCE 0   // its number in the protocol
#define KEYS    100 // above all record ids used here

static struct lab lab;
static struct pl_dev_broker *broker;
static struct pl_relay *relay;
static int64_t seen_from[8];

static int start(void **state)
{
	static const char *const topics[] = { "property-updates", "plist-heartbeats", NULL };
	struct pl_error err = { 0 };

	broker = pl_dev_broker_start(&(struct pl_dev_broker_options){ .partitions = 3, .topics = topics },
	                             &err);
	assert_non_null(broker);
	lab_start(&lab, &(struct lab_options){ .regions = 1, .brokers = pl_dev_broker_address(broker) });
	return 0;
}

static int stop(void **state)
{
	lab_stop(&lab);
	pl_dev_broker_stop(&broker);
	return 0;
}

// Heartbeats would consume errors that are meant for events. Messages that are passed
// together must become one request, so that counting requests shows which one gets an
// error.
static void configure(const char *linger, const char *producer)
{
	static char more[200];

	snprintf(more, sizeof(more),
	         "  partitions: 3\n  relay_batch: 50\n  heartbeat: 60s\n  properties: { linger.ms: 40%s }\n  "
	         "linger: %s\n",
	         producer, linger);
	lab_config(&lab, &(struct lab_options){
				 .regions = 1, .brokers = pl_dev_broker_address(broker), .more = more });
}

static struct pl_relay *start_relay(void)
{
	struct pl_error err = { 0 };
	struct pl_relay *started = pl_relay_start(lab.config, lab_region(&lab, 0), &err);

	if (!started)
		fail_msg("%s", err.text);
	return started;
}

static int setup(void **state)
{
	rd_kafka_mock_clear_request_errors(pl_dev_broker_cluster(broker), PRODUCE);
	lab_empty(&lab);
	configure("20ms", "");
	relay = start_relay();
	return 0;
}

static int teardown(void **state)
{
	if (relay)
		pl_relay_stop(&relay, 0);
	return 0;
}

static struct pl_relay_stats stats(struct pl_relay *of)
{
	struct pl_relay_stats now;

	pl_relay_stats(of, &now);
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

static void fill(int n)
{
	lab_ask(&lab, 0,
	        "INSERT INTO outbox (resource, record_id, origin, value, vector, request_id, fingerprint, "
	        "status, expires_at) "
	        "SELECT 'properties', 1 + i %% 20, 'us', "
	        "format('{\"id\":%%s,\"price\":%%s.00,\"region_origin\":\"us\",\"version\":%%s,"
	        "\"updated_at\":\"2026-02-21T10:00:00.000000Z\"}', 1 + i %% 20, i, 1 + i / 20), "
	        "jsonb_build_object('us', 1 + i / 20), 'request-' || i, "
	        "sha256(i::text::bytea), 200, '2090-01-01' FROM generate_series(0, %d) AS i",
	        n - 1);
	pl_relay_wake(relay);
}

// Writes of one record.
static void fill_one_key(int n)
{
	lab_ask(&lab, 0,
	        "INSERT INTO outbox (resource, record_id, origin, value, vector, request_id, fingerprint, "
	        "status, expires_at) "
	        "SELECT 'properties', 5, 'us', '{}', jsonb_build_object('us', i), 'r' || i, sha256(''), 200, "
	        "'2090-01-01' FROM generate_series(1, %d) AS i",
	        n);
}

static void until_empty(void)
{
	lab_until(&lab, "0", 0, "SELECT count(*) FROM outbox");
}

// ---- the contents of the broker

struct got {
	int n, out_of_order, duplicates, end_early;
}; // end_early: keys whose last message is not their newest

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

// Everything since the last call: counted, and compared with the order of each key.
static struct got look(void)
{
	rd_kafka_topic_partition_list_t *all = rd_kafka_topic_partition_list_new(3);
	struct got got = { 0 };
	int last[KEYS] = { 0 }, newest[KEYS] = { 0 }, ends = 0;
	rd_kafka_t *rk = reader();

	for (int i = 0; i < 3; i++)
		rd_kafka_topic_partition_list_add(all, "property-updates", i)->offset = seen_from[i];
	rd_kafka_assign(rk, all);
	while (ends < 3) {
		rd_kafka_message_t *m = rd_kafka_consumer_poll(rk, 5000);
		const void *vector;
		rd_kafka_headers_t *headers;
		size_t len;
		int key, count;

		assert_non_null(m);
		if (m->err) {
			assert_int_equal(m->err, RD_KAFKA_RESP_ERR__PARTITION_EOF);
			ends++;
			rd_kafka_message_destroy(m);
			continue;
		}
		assert_int_equal(rd_kafka_message_headers(m, &headers), 0);
		assert_int_equal(rd_kafka_header_get_last(headers, "plist-vector", &vector, &len), 0);
		key = atoi(pl_arena_strndup(lab.arena, m->key, m->key_len));
		assert_in_range(key, 0, KEYS - 1);
		assert_int_equal(sscanf(vector, "{\"us\": %d}", &count), 1);
		got.n++;
		got.duplicates += count == last[key];
		got.out_of_order += count < last[key];
		last[key] = count;
		newest[key] = count > newest[key] ? count : newest[key];
		seen_from[m->partition] = m->offset + 1;
		rd_kafka_message_destroy(m);
	}
	for (int i = 0; i < KEYS; i++)
		got.end_early += last[i] < newest[i];
	rd_kafka_topic_partition_list_destroy(all);
	rd_kafka_consumer_close(rk);
	rd_kafka_destroy(rk);
	return got;
}

// ---- the tests

static void the_outbox_goes_out_in_order_and_is_emptied(void **state)
{
	struct got got;

	look();
	fill(1000);
	until_empty();
	got = look();
	assert_int_equal(got.n, 1000);
	assert_int_equal(got.out_of_order + got.duplicates, 0);
	assert_int_equal(stats(relay).published, 1000);
	assert_true(stats(relay).leader && stats(relay).database_up && stats(relay).broker_up);
}

static bool level(void)
{
	return stats(relay).leader && stats(relay).heartbeats > 0 && stats(relay).outbox_events == 0;
}

static void linger(const char *least)
{
	configure(least, "");
	pl_relay_reconfigure(relay, lab.config, lab_region(&lab, 0));
}

static void many_writes_share_a_batch_and_few_do_not_wait(void **state)
{
	uint64_t batches;

	linger("60s");
	for (int i = 0; i < 3; i++) { // one at a time
		fill(1);
		until_empty();
	}
	batches = stats(relay).batches;
	assert_true(batches >= 3);
	linger("800ms");
	fill(40);
	until_empty();
	for (int i = 0; i < 30; i++) {
		fill(1);
		usleep(10000); // a relay that does not wait would read some of them alone
	}
	until_empty();
	assert_true(stats(relay).batches - batches <= 3); // one of forty, one of thirty
	assert_int_equal(look().n, 3 + 40 + 30);
	linger("0us");
	fill(40);
	until_empty();
	look();
}

static void a_stop_does_not_wait_for_the_linger_time(void **state)
{
	int64_t begun_us = pl_mono_us();

	linger("60s");
	fill(40);
	until_empty();
	fill(5);
	pl_relay_stop(&relay, 10000000);
	lab_is(&lab, "0", 0, "SELECT count(*) FROM outbox");
	assert_true(pl_mono_us() - begun_us < 30000000);
	look();
}

static void a_write_of_another_daemon_is_found_without_a_wake_up(void **state)
{
	wait_for(level, "it leads and has caught up");
	assert_true(lab_write(&lab, lab.sql[0], "us", 77, "5.00", NULL)); // without a call of pl_relay_wake
	until_empty();
}

static struct pl_relay *second;

static bool second_leads(void)
{
	return stats(second).leader;
}

static void one_of_two_daemons_publishes_and_the_other_takes_over(void **state)
{
	wait_for(level, "it leads and has caught up");
	second = start_relay();
	fill(100);
	until_empty();
	assert_int_equal(stats(second).published, 0);
	assert_false(stats(second).leader);
	pl_relay_stop(&relay, 0);
	wait_for(second_leads, "the other leads");
	relay = second;
	fill(100);
	until_empty();
	assert_int_equal(stats(second).published, 100);
}

static bool replaced(void)
{
	return stats(relay).producers_replaced > 0;
}

static void undelivered_events_are_sent_again_by_another_producer(void **state)
{
	struct got got;

	wait_for(level, "it leads and has caught up");
	look();
	// An error after which librdkafka does not retry by itself.
	rd_kafka_mock_push_request_errors(pl_dev_broker_cluster(broker), PRODUCE, 2,
	                                  RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED,
	                                  RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED);
	fill(500);
	wait_for(replaced, "the producer was replaced");
	until_empty();
	got = look();
	assert_true(got.n >= 500);
	assert_int_equal(got.end_early, 0);
}

static void temporary_errors_are_retried(void **state)
{
	struct got got;

	wait_for(level, "it leads and has caught up");
	look();
	rd_kafka_mock_push_request_errors(
		pl_dev_broker_cluster(broker), PRODUCE, 4, RD_KAFKA_RESP_ERR_NOT_ENOUGH_REPLICAS,
		RD_KAFKA_RESP_ERR_REQUEST_TIMED_OUT, RD_KAFKA_RESP_ERR_NOT_LEADER_FOR_PARTITION,
		RD_KAFKA_RESP_ERR__TRANSPORT);
	fill(300);
	until_empty();
	got = look();
	assert_true(got.n >= 300);
	assert_int_equal(got.end_early, 0);
}

// With requests of few messages, so that several of one partition are in flight.
static void events_that_have_overtaken_others_are_sent_again(void **state)
{
	pl_relay_stop(&relay, 0);
	configure("20ms", ", batch.num.messages: 5");
	relay = start_relay();
	wait_for(level, "it leads and has caught up");
	look();
	rd_kafka_mock_push_request_errors(pl_dev_broker_cluster(broker), PRODUCE, 3,
	                                  RD_KAFKA_RESP_ERR_NO_ERROR, RD_KAFKA_RESP_ERR_NO_ERROR,
	                                  RD_KAFKA_RESP_ERR_NOT_ENOUGH_REPLICAS);
	fill_one_key(20);
	until_empty();
	assert_int_equal(look().end_early, 0);
}

static void an_event_that_the_broker_refuses_is_set_aside_alone(void **state)
{
	wait_for(level, "it leads and has caught up");
	// A batch of three is refused, then its first event alone, which is the
	// culprit.
	rd_kafka_mock_push_request_errors(pl_dev_broker_cluster(broker), PRODUCE, 2,
	                                  RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE,
	                                  RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE);
	fill_one_key(3);
	lab_until(&lab, "1", 0, "SELECT count(*) FROM outbox");
	lab_is(&lab, "{\"us\": 1}", 0, "SELECT vector FROM outbox");
	lab_until(&lab, "t", 0,
	          "SELECT refused_because ~ 'too large.* bytes for topic property-updates; raise its "
	          "max.message.bytes' FROM outbox");
	fill(100);
	lab_until(&lab, "1", 0, "SELECT count(*) FROM outbox");
	assert_true(stats(relay).failed > 0);
	assert_int_equal(stats(relay).refused, 1);
}

// Two events are refused: neither affects the other or the producer, and those behind
// them are sent once.
static void events_behind_refused_ones_are_sent_once(void **state)
{
	struct got got;

	wait_for(level, "it leads and has caught up");
	look();
	// The requests carry all three, the first one alone, the others, the second one
	// alone.
	rd_kafka_mock_push_request_errors(
		pl_dev_broker_cluster(broker), PRODUCE, 4, RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE,
		RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE, RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE,
		RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE);
	fill_one_key(3);
	lab_until(&lab, "2", 0, "SELECT count(*) FROM outbox");
	lab_until(&lab, "2", 0,
	          "SELECT count(*) FROM outbox WHERE refusals = 1 AND retry_at > now() + interval '50 s'");
	fill(100);
	lab_until(&lab, "2", 0, "SELECT count(*) FROM outbox");
	got = look();
	assert_int_equal(got.n, 101);
	assert_int_equal(got.duplicates, 0);
	assert_int_equal(stats(relay).producers_replaced, 0);
}

// In a refused batch with many good events, the good ones are found by halving the
// batch.
static void a_refused_batch_is_sent_again_in_portions(void **state)
{
	wait_for(level, "it leads and has caught up");
	look();
	rd_kafka_mock_push_request_errors(pl_dev_broker_cluster(broker), PRODUCE, 2,
	                                  RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE,
	                                  RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE);
	fill_one_key(40);
	until_empty();
	assert_int_equal(look().end_early, 0);
	assert_int_equal(stats(relay).producers_replaced, 0);
	assert_true(stats(relay).batches < 15);
}

static void a_refused_event_is_retried_when_it_is_due(void **state)
{
	wait_for(level, "it leads and has caught up");
	rd_kafka_mock_push_request_errors(pl_dev_broker_cluster(broker), PRODUCE, 2,
	                                  RD_KAFKA_RESP_ERR_INVALID_RECORD, RD_KAFKA_RESP_ERR_INVALID_RECORD);
	fill_one_key(1);
	lab_until(&lab, "1", 0, "SELECT count(*) FROM outbox WHERE refusals = 1");
	lab_ask(&lab, 0, "UPDATE outbox SET retry_at = now()");
	lab_until(&lab, "2", 0, "SELECT refusals FROM outbox");
	lab_is(&lab, "t", 0, "SELECT retry_at > now() + interval '100 s' FROM outbox");
	lab_ask(&lab, 0, "UPDATE outbox SET retry_at = now()");
	until_empty();
}

// Another daemon that takes over the relay knows of the refused event, and retries it
// after a change of the configuration.
static void a_refused_event_is_remembered_and_a_reload_retries_it(void **state)
{
	wait_for(level, "it leads and has caught up");
	rd_kafka_mock_push_request_errors(pl_dev_broker_cluster(broker), PRODUCE, 1,
	                                  RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE);
	fill_one_key(1);
	lab_until(&lab, "1", 0, "SELECT count(*) FROM outbox WHERE refusals = 1");
	pl_relay_stop(&relay, 0);
	relay = start_relay();
	wait_for(level, "it leads and has caught up");
	fill(10);
	lab_until(&lab, "1", 0, "SELECT count(*) FROM outbox");
	assert_int_equal(stats(relay).refused, 1);
	pl_relay_reconfigure(relay, lab.config, lab_region(&lab, 0));
	until_empty();
}

// A daemon with an old configuration does not know a new resource. When a daemon that
// knows the resource takes over, it need not wait until these events are due; other
// events stay postponed.
static void a_takeover_publishes_what_the_old_configuration_did_not_know(void **state)
{
	wait_for(level, "it leads and has caught up");
	rd_kafka_mock_push_request_errors(pl_dev_broker_cluster(broker), PRODUCE, 1,
	                                  RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE);
	fill_one_key(1);
	lab_until(&lab, "1", 0, "SELECT count(*) FROM outbox WHERE refusals = 1");
	lab_ask(&lab, 0,
	        "INSERT INTO outbox (resource, record_id, origin, value, vector, request_id, fingerprint, "
	        "status, expires_at) VALUES ('unheard-of', 2, 'us', '{\"id\":2}', '{\"us\": 1}', 'a', "
	        "sha256(''), 200, now())");
	lab_until(&lab, "2", 0, "SELECT count(*) FROM outbox WHERE refusals = 1");
	pl_relay_stop(&relay, 0);
	// events that the old configuration left behind for a resource that this one
	// has
	lab_ask(&lab, 0, "UPDATE outbox SET resource = 'properties' WHERE resource = 'unheard-of'");
	relay = start_relay();
	lab_until(&lab, "1", 0, "SELECT count(*) FROM outbox");
	lab_is(&lab, "t 1", 0,
	       "SELECT format('%%s %%s', retry_at > now(), refusals) FROM outbox WHERE refused_at IS NOT "
	       "NULL");
}

static void a_row_that_is_not_an_event_is_set_aside(void **state)
{
	lab_ask(&lab, 0,
	        "INSERT INTO outbox (resource, record_id, origin, value, vector, request_id, fingerprint, "
	        "status, expires_at) VALUES "
	        "('unheard-of', 1, 'us', '{}', '{\"us\": 1}', 'a', sha256(''), 200, now()), ('properties', "
	        "1, 'us', '{}', '{\"eu\": 1}', 'a', sha256(''), 200, now())");
	fill(10);
	lab_until(&lab, "2", 0, "SELECT count(*) FROM outbox");
	lab_until(&lab, "the configuration has no such resource", 0,
	          "SELECT refused_because FROM outbox WHERE resource = 'unheard-of'");
}

static bool database_away(void)
{
	return !stats(relay).database_up;
}

static bool leads(void)
{
	return stats(relay).leader;
}

static void the_database_may_go_and_come_back(void **state)
{
	wait_for(level, "it leads and has caught up");
	fill(2000);
	lab_server("kill");
	wait_for(database_away, "the relay knows");
	lab_server("start");
	lab_reconnect(&lab);
	wait_for(leads, "it leads again");
	until_empty();
}

static bool broker_away(void)
{
	return !stats(relay).broker_up;
}

static void the_broker_may_go_and_come_back(void **state)
{
	struct got got;

	wait_for(level, "it leads and has caught up");
	look();
	rd_kafka_mock_broker_set_down(pl_dev_broker_cluster(broker), 1);
	fill(300);
	wait_for(broker_away, "the relay knows");
	lab_is(&lab, "300", 0, "SELECT count(*) FROM outbox");
	rd_kafka_mock_broker_set_up(pl_dev_broker_cluster(broker), 1);
	until_empty();
	got = look();
	assert_true(got.n >= 300);
	assert_int_equal(got.out_of_order, 0);
}

static void a_stop_sends_what_is_in_the_outbox(void **state)
{
	wait_for(level, "it leads and has caught up");
	lab_ask(&lab, 0, "BEGIN");
	fill(500);
	lab_ask(&lab, 0, "COMMIT");
	pl_relay_stop(&relay, 10000000);
	lab_is(&lab, "0", 0, "SELECT count(*) FROM outbox");
}

static void a_stop_does_not_wait_for_an_unavailable_broker(void **state)
{
	int64_t begin_us;

	rd_kafka_mock_broker_set_down(pl_dev_broker_cluster(broker), 1);
	fill(10);
	begin_us = pl_mono_us();
	pl_relay_stop(&relay, 3000000);
	assert_true(pl_mono_us() - begin_us < 5000000);
	rd_kafka_mock_broker_set_up(pl_dev_broker_cluster(broker), 1);
	lab_is(&lab, "10", 0, "SELECT count(*) FROM outbox");
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(the_outbox_goes_out_in_order_and_is_emptied),
		TEST(many_writes_share_a_batch_and_few_do_not_wait),
		TEST(a_stop_does_not_wait_for_the_linger_time),
		TEST(a_write_of_another_daemon_is_found_without_a_wake_up),
		TEST(one_of_two_daemons_publishes_and_the_other_takes_over),
		TEST(undelivered_events_are_sent_again_by_another_producer),
		TEST(temporary_errors_are_retried),
		TEST(events_that_have_overtaken_others_are_sent_again),
		TEST(an_event_that_the_broker_refuses_is_set_aside_alone),
		TEST(events_behind_refused_ones_are_sent_once),
		TEST(a_refused_batch_is_sent_again_in_portions),
		TEST(a_refused_event_is_retried_when_it_is_due),
		TEST(a_refused_event_is_remembered_and_a_reload_retries_it),
		TEST(a_takeover_publishes_what_the_old_configuration_did_not_know),
		TEST(a_row_that_is_not_an_event_is_set_aside),
		TEST(the_database_may_go_and_come_back),
		TEST(the_broker_may_go_and_come_back),
		TEST(a_stop_sends_what_is_in_the_outbox),
		TEST(a_stop_does_not_wait_for_an_unavailable_broker),
	};

	return cmocka_run_group_tests(tests, start, stop);
}
