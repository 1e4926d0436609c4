// Appliers on a real database and the embedded broker: one of three partitions loses its
// leader, policies cannot be loaded, the broker refuses to say or to take offsets, a
// record with siblings is locked, and the database is not the region's.
#include "lab.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "apply/apply.h"
#include "base/clock.h"
#include "kafka/dev_broker.h"
#include "relay/relay.h"

#define RECORDS 60
#define TOPIC   "property-updates"

static struct lab lab;
static struct pl_dev_broker *broker;
static struct pl_relay *relay; // of us
static struct pl_apply *apply; // of eu

static int start(void **state)
{
	static const char *const topics[] = { TOPIC, "plist-heartbeats", NULL };
	struct pl_error err = { 0 };

	(void)state;
	broker = pl_dev_broker_start(&(struct pl_dev_broker_options){ .partitions = 3, .topics = topics },
	                             &err);
	assert_non_null(broker);
	lab_start(&lab, &(struct lab_options){ .regions = 2,
	                                       .policy = "highest_price",
	                                       .brokers = pl_dev_broker_address(broker),
	                                       .more = "  partitions: 3\n" });
	relay = pl_relay_start(lab.config, lab_region(&lab, 0), &err);
	assert_non_null(relay);
	return 0;
}

static int stop(void **state)
{
	(void)state;
	pl_relay_stop(&relay, 0);
	pl_apply_stop(&apply);
	lab_stop(&lab);
	pl_dev_broker_stop(&broker);
	return 0;
}

static void wait_for(bool (*condition)(void), const char *what)
{
	int64_t deadline_us = pl_mono_us() + 40000000;

	while (!condition()) {
		if (pl_mono_us() > deadline_us)
			fail_msg("timed out waiting until %s", what);
		usleep(10000);
	}
}

static int leaderless(void)
{
	struct pl_apply_stats stats;

	pl_apply_stats(apply, &stats);
	return stats.leaderless;
}

static bool policies_are_missing(void)
{
	struct pl_apply_stats stats;

	pl_apply_stats(apply, &stats);
	return stats.policies_missing;
}

static bool policies_are_there(void)
{
	return !policies_are_missing();
}

static bool says_that_a_partition_has_no_leader(void)
{
	struct pl_lag lag;

	pl_apply_lag(apply, &lag);
	return leaderless() == 1 && lag.seconds > 1 && lag.origins[0].state == PL_LAG_ORIGIN_BEHIND;
}

static bool is_level(void)
{
	struct pl_lag lag;

	pl_apply_lag(apply, &lag);
	return leaderless() == 0 && lag.seconds == 0 && lag.npartitions == 3;
}

static void lead_partition_1(int leader)
{
	assert_int_equal(rd_kafka_mock_partition_set_leader(pl_dev_broker_cluster(broker), TOPIC, 1, leader),
	                 RD_KAFKA_RESP_ERR_NO_ERROR);
}

// How many of the records are in partition 1.
static int in_partition_1(void)
{
	rd_kafka_conf_t *conf = rd_kafka_conf_new();
	int64_t first, end;
	rd_kafka_t *rk;
	char why[256];

	rd_kafka_conf_set(conf, "bootstrap.servers", pl_dev_broker_address(broker), why, sizeof(why));
	rk = rd_kafka_new(RD_KAFKA_PRODUCER, conf, why, sizeof(why));
	assert_int_equal(rd_kafka_query_watermark_offsets(rk, TOPIC, 1, &first, &end, 5000),
	                 RD_KAFKA_RESP_ERR_NO_ERROR);
	rd_kafka_destroy(rk);
	assert_in_range(end, 1, RECORDS - 1);
	return (int)end;
}

// eu starts while one of three partitions has no leader: it applies the others' events
// and says that it is behind. Later, that partition loses its leader again.
static void a_partition_without_a_leader_counts_as_behind_and_holds_nothing_else_up(void **state)
{
	const char *const all = "SELECT count(*) FROM properties";
	struct pl_error err = { 0 };
	struct pl_lag lag;
	char others[24];

	(void)state;
	for (int i = 0; i < RECORDS; i++)
		assert_true(lab_write(&lab, lab.sql[0], "us", 1 + i, "100.00", NULL));
	pl_relay_wake(relay);
	lab_until(&lab, "0", 0, "SELECT plist.plist_outbox_unpublished()");
	snprintf(others, sizeof(others), "%d", RECORDS - in_partition_1());
	lead_partition_1(-1);
	apply = pl_apply_start(lab.config, lab_region(&lab, 1), &err);
	assert_non_null(apply);
	lab_until(&lab, others, 1, all);
	wait_for(says_that_a_partition_has_no_leader, "eu says that a partition has no leader");
	lab_is(&lab, others, 1, all);
	lead_partition_1(1);
	lab_until(&lab, "60", 1, all);
	wait_for(is_level, "nothing is behind");
	lead_partition_1(-1);
	wait_for(says_that_a_partition_has_no_leader, "eu says it again");
	pl_apply_lag(apply, &lag);
	assert_string_equal(lag.partitions[2].topic, TOPIC);
	assert_int_equal(lag.partitions[2].partition, 1);
	assert_true(lag.partitions[2].seconds > 1 && lag.partitions[0].seconds == 0);
	lead_partition_1(1);
	wait_for(is_level, "nothing is behind");
}

// The configuration has been checked, so only memory that is short would do this.
static void an_applier_that_cannot_load_its_policies_says_so_until_the_next_configuration(void **state)
{
	struct pl_script_source *source;
	struct pl_error err = { 0 };
	const char *good;

	(void)state;
	source = (struct pl_script_source *)(uintptr_t)pl_config_source(lab.config,
	                                                                lab.config->resources[0].policy);
	good = source->text;
	source->text = "x";
	source->len = 1;
	apply = pl_apply_start(lab.config, lab_region(&lab, 1), &err);
	assert_non_null(apply);
	wait_for(policies_are_missing, "the policies are missing");
	source->text = good;
	source->len = strlen(good);
	pl_apply_reconfigure(apply, lab.config, lab_region(&lab, 1));
	wait_for(policies_are_there, "the policies are there");
}

// ---- what the broker does not say

#define LIST_OFFSETS  2 // in Kafka's protocol
#define OFFSET_COMMIT 8

static bool is_unwatched(void)
{
	struct pl_apply_stats stats;

	rd_kafka_mock_clear_request_errors(pl_dev_broker_cluster(broker), LIST_OFFSETS);
	for (int i = 0; i < 50; i++)
		rd_kafka_mock_push_request_errors(pl_dev_broker_cluster(broker), LIST_OFFSETS, 1,
		                                  RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED);
	pl_apply_stats(apply, &stats);
	return stats.blind_us > 0;
}

static bool is_watched(void)
{
	struct pl_apply_stats stats;

	pl_apply_stats(apply, &stats);
	return stats.blind_us == 0;
}

static bool has_partitions(void)
{
	struct pl_apply_stats stats;

	pl_apply_stats(apply, &stats);
	return stats.assigned && stats.partitions == 3;
}

static bool hears_us(void)
{
	struct pl_lag lag;

	pl_apply_lag(apply, &lag);
	return lag.norigins == 1 && lag.origins[0].last_heartbeat_us > 0;
}

static void a_broker_that_does_not_report_the_ends_of_partitions_is_a_fault_if_it_lasts(void **state)
{
	struct pl_error err = { 0 };

	(void)state;
	for (int i = 0; i < RECORDS; i++)
		assert_true(lab_write(&lab, lab.sql[0], "us", 1 + i, "100.00", NULL));
	pl_relay_wake(relay);
	apply = pl_apply_start(lab.config, lab_region(&lab, 1), &err);
	assert_non_null(apply);
	wait_for(has_partitions, "eu has partitions");
	// From here on, librdkafka itself does not have to ask where any of them begins.
	lab_until(&lab, "60", 1, "SELECT count(*) FROM properties");
	wait_for(hears_us, "a heartbeat has arrived");
	wait_for(is_unwatched, "several looks have failed");
	rd_kafka_mock_clear_request_errors(pl_dev_broker_cluster(broker), LIST_OFFSETS);
	wait_for(is_watched, "a look has succeeded");
}

static bool commits_fail(void)
{
	struct pl_apply_stats stats;

	pl_apply_stats(apply, &stats);
	return stats.commits_refused;
}

static bool commits_succeed(void)
{
	return !commits_fail();
}

static void write_one(int id)
{
	assert_true(lab_write(&lab, lab.sql[0], "us", id, "100.00", NULL));
	pl_relay_wake(relay);
}

static void offsets_that_may_not_be_committed_are_a_fault_until_they_are(void **state)
{
	struct pl_error err = { 0 };

	(void)state;
	apply = pl_apply_start(lab.config, lab_region(&lab, 1), &err);
	assert_non_null(apply);
	wait_for(has_partitions, "eu has partitions");
	assert_false(commits_fail());
	for (int i = 0; i < 20; i++)
		rd_kafka_mock_push_request_errors(pl_dev_broker_cluster(broker), OFFSET_COMMIT, 1,
		                                  RD_KAFKA_RESP_ERR_GROUP_AUTHORIZATION_FAILED);
	write_one(1);
	wait_for(commits_fail, "a commit has been refused");
	rd_kafka_mock_clear_request_errors(pl_dev_broker_cluster(broker), OFFSET_COMMIT);
	write_one(2);
	wait_for(commits_succeed, "a commit has succeeded");
}

// ---- what is tried again

static struct pl_apply_stats stats_now(void)
{
	struct pl_apply_stats stats;

	pl_apply_stats(apply, &stats);
	return stats;
}

static bool one_is_left(void)
{
	return stats_now().reresolve_left == 1;
}

static bool all_are_resolved(void)
{
	return stats_now().reresolve_left == 0 && !stats_now().reresolve_pending;
}

static void make_siblings(void)
{
	assert_true(lab_write(&lab, lab.sql[1], "eu", 1, "100.00", NULL));
	lab_ask(&lab, 1,
	        "INSERT INTO record_siblings (resource, record_id, origin, counter, vector, updated_at, "
	        "fields) SELECT 'properties', 1, origin, 1, jsonb_build_object(origin, 1), now(), "
	        "'{\"price\": 100.00}' FROM (VALUES ('us'), ('ap')) AS o(origin)");
	lab_ask(&lab, 1, "UPDATE properties SET has_siblings = true WHERE id = 1");
}

static void a_record_that_could_not_be_resolved_again_is_counted_until_it_was(void **state)
{
	PGconn *other = lab_connect(&lab, 1);
	struct pl_error err = { 0 };

	(void)state;
	make_siblings();
	PQclear(PQexec(other, "BEGIN; SELECT FROM properties WHERE id = 1 FOR UPDATE"));
	apply = pl_apply_start(lab.config, lab_region(&lab, 1), &err);
	assert_non_null(apply);
	wait_for(one_is_left, "the locked record is counted");
	PQfinish(other);
	wait_for(all_are_resolved, "it is resolved");
}

// Such as a copy of the region's database: the applier asks whose it is, and no more.
static void in_a_database_that_was_not_accepted_nothing_is_tried_again(void **state)
{
	struct pl_error err = { 0 };

	(void)state;
	make_siblings();
	lab_ask(&lab, 1,
	        "INSERT INTO parked_events (resource, record_id, origin, counter, topic, partition, "
	        "kafka_offset, reason, retry_at) VALUES ('properties', 2, 'us', 1, '" TOPIC
	        "', 0, 7, 'test', "
	        "now())");
	lab_ask(&lab, 1, "UPDATE plist.identity SET place = 'elsewhere'");
	apply = pl_apply_start(lab.config, lab_region(&lab, 1), &err);
	assert_non_null(apply);
	lab_until(&lab, "t", 1,
	          "SELECT bool_or(query LIKE '%%plist_place%%' AND query_start > backend_start + interval '1 "
	          "second') FROM pg_stat_activity WHERE application_name = 'plistd eu apply-1'");
	assert_int_equal(stats_now().reresolve_seen, 0);
	lab_is(&lab, "1", 1, "SELECT max(tries) FROM parked_events");
	lab_ask(&lab, 1, "UPDATE plist.identity SET place = plist.plist_place()");
	wait_for(all_are_resolved, "siblings are resolved");
	lab_until(&lab, "0", 1, "SELECT count(*) FROM parked_events WHERE tries = 1");
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, start, stop)
	const struct CMUnitTest tests[] = {
		TEST(a_partition_without_a_leader_counts_as_behind_and_holds_nothing_else_up),
		TEST(an_applier_that_cannot_load_its_policies_says_so_until_the_next_configuration),
		TEST(a_broker_that_does_not_report_the_ends_of_partitions_is_a_fault_if_it_lasts),
		TEST(offsets_that_may_not_be_committed_are_a_fault_until_they_are),
		TEST(a_record_that_could_not_be_resolved_again_is_counted_until_it_was),
		TEST(in_a_database_that_was_not_accepted_nothing_is_tried_again),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
