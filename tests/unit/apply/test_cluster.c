// Whole regions: relays and appliers on real databases and the embedded broker, with
// clients that write the same few records in all regions at once, repeat requests and
// delete; and everything that can fail does. At the end, the regions are equal.
//
// LAB_SEED seeds the clients' random choices, LAB_SECONDS says how long they write, and
// LAB_ONLY (with * and ?) selects tests.
#include "lab.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "apply/apply.h"
#include "base/clock.h"
#include "kafka/dev_broker.h"
#include "relay/relay.h"

#define OFFSET_COMMIT 8 // a request, by its number in the protocol

static struct lab lab;
static struct pl_dev_broker *broker;
// Asks the broker where the topics end. An applier's consumer knows this only from its
// last fetch, and does not fetch while the database is unavailable.
static rd_kafka_t *looker;
static struct pl_relay *relays[LAB_REGIONS_MAX];
static struct pl_apply *appliers[LAB_REGIONS_MAX];
static pthread_rwlock_t bells = PTHREAD_RWLOCK_INITIALIZER; // held while a relay is woken, or removed
static unsigned seed = 1;
static double seconds = 1.5;

static void start_region(int region)
{
	struct pl_error err = { 0 };

	relays[region] = pl_relay_start(lab.config, lab_region(&lab, region), &err);
	if (!relays[region])
		fail_msg("%s", err.text);
	appliers[region] = pl_apply_start(lab.config, lab_region(&lab, region), &err);
	if (!appliers[region])
		fail_msg("%s", err.text);
}

static void stop_region(int region)
{
	if (relays[region])
		pl_relay_stop(&relays[region], 0);
	if (appliers[region])
		pl_apply_stop(&appliers[region]);
}

static bool all_assigned(void)
{
	for (int i = 0; i < lab.nregions; i++) {
		struct pl_apply_stats stats;

		pl_apply_stats(appliers[i], &stats);
		if (!stats.assigned || stats.partitions == 0)
			return false;
	}
	return true;
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

static void look_by(const char *address)
{
	rd_kafka_conf_t *conf = rd_kafka_conf_new();
	char why[256];

	rd_kafka_conf_set(conf, "bootstrap.servers", address, why, sizeof(why));
	looker = rd_kafka_new(RD_KAFKA_PRODUCER, conf, why, sizeof(why));
	if (!looker)
		fail_msg("%s", why);
}

static void start_broker(const char *listen)
{
	static const char *const topics[] = { "property-updates", "plist-heartbeats", NULL };
	struct pl_error err = { 0 };

	broker = pl_dev_broker_start(
		&(struct pl_dev_broker_options){ .listen = listen, .partitions = 3, .topics = topics }, &err);
	if (!broker)
		fail_msg("%s", err.text);
}

static void start_cluster_at(const char *listen, int regions, const char *policy, const char *more)
{
	char kafka[256];

	snprintf(kafka, sizeof(kafka), "  partitions: 3\n  relay_batch: 100\n%s%s",
	         more && strstr(more, "apply_batch") ? "" : "  apply_batch: 50\n", more ? more : "");
	start_broker(listen);
	lab_start(&lab, &(struct lab_options){ .regions = regions,
	                                       .policy = policy,
	                                       .brokers = pl_dev_broker_address(broker),
	                                       .more = kafka });
	look_by(pl_dev_broker_address(broker));
	for (int i = 0; i < regions; i++)
		start_region(i);
	wait_for(all_assigned, "all appliers have partitions");
}

static void start_cluster(int regions, const char *policy, const char *more)
{
	start_cluster_at(NULL, regions, policy, more);
}

static int stop_cluster(void **state)
{
	for (int i = 0; i < LAB_REGIONS_MAX; i++)
		stop_region(i);
	if (looker)
		rd_kafka_destroy(looker);
	looker = NULL;
	lab_stop(&lab);
	pl_dev_broker_stop(&broker);
	return 0;
}

// ---- clients

struct client {
	pthread_t thread;
	int region, number;
	_Atomic int *stop, *written;
};

static unsigned roll(unsigned *state, unsigned n)
{
	*state = *state * 1103515245u + 12345u;
	return (*state >> 16) % n;
}

static void *run_client(void *arg)
{
	struct client *client = arg;
	const char *region = lab_region(&lab, client->region)->name;
	unsigned dice = seed * 31 + (unsigned)client->number;
	PGconn *sql = PQconnectdb(lab.dsn[client->region]);

	while (!atomic_load(client->stop)) {
		char price[32], request[64], *shared = NULL;

		if (PQstatus(sql) != CONNECTION_OK) { // its database is unavailable
			PQreset(sql);
			usleep(20000);
			continue;
		}
		snprintf(price, sizeof(price), "%u.00", 1 + roll(&dice, 600));
		if (roll(&dice, 4) ==
		    0) { // requests that clients send to other regions as well: same id, same content
			unsigned which = roll(&dice, 200), record = 1 + which % 12;

			snprintf(request, sizeof(request), "shared-%u", which);
			snprintf(price, sizeof(price), "%u.00", 1 + which);
			shared = request;
			*client->written += lab_write(&lab, sql, region, record, price, shared);
		} else {
			*client->written += lab_write(&lab, sql, region, 1 + roll(&dice, 12),
			                              roll(&dice, 12) ? price : NULL, NULL);
		}
		if (roll(&dice, 2)) {
			pthread_rwlock_rdlock(&bells);
			if (relays[client->region])
				pl_relay_wake(relays[client->region]);
			pthread_rwlock_unlock(&bells);
		}
		usleep(roll(&dice, 3000));
	}
	PQfinish(sql);
	return NULL;
}

// Clients write in all regions while `trouble` is at work. Returns the number of
// writes.
static int write_everywhere(void (*trouble)(void))
{
	struct client clients[2 * LAB_REGIONS_MAX];
	_Atomic int stop = 0, written = 0;
	int n = 2 * lab.nregions;
	int64_t end_us = pl_mono_us() + (int64_t)(seconds * 1e6);

	for (int i = 0; i < n; i++) {
		clients[i] = (struct client){
			.region = i % lab.nregions, .number = i, .stop = &stop, .written = &written
		};
		assert_int_equal(pthread_create(&clients[i].thread, NULL, run_client, &clients[i]), 0);
	}
	if (trouble)
		trouble();
	while (pl_mono_us() < end_us)
		usleep(10000);
	atomic_store(&stop, 1);
	for (int i = 0; i < n; i++)
		pthread_join(clients[i].thread, NULL);
	return written;
}

static bool has_read_to_the_end(const struct pl_lag_partition *partition)
{
	int64_t first, end;

	return rd_kafka_query_watermark_offsets(looker, partition->topic, partition->partition, &first, &end,
	                                        2000) == RD_KAFKA_RESP_ERR_NO_ERROR &&
	       partition->committed >= end;
}

static bool quiet(void)
{
	for (int i = 0; i < lab.nregions; i++) {
		struct pl_lag lag;

		if (strcmp(lab_ask(&lab, i, "SELECT plist.plist_outbox_unpublished()"), "0") != 0)
			return false;
		pl_apply_lag(appliers[i], &lag);
		if (!lag.broker_up || lag.npartitions < 3)
			return false;
		for (int p = 0; p < lag.npartitions; p++)
			if (!has_read_to_the_end(&lag.partitions[p]))
				return false;
	}
	return true;
}

static bool quiet_for_a_while(void)
{
	for (int i = 0; i < 3;
	     // an event may have left the outbox of one region after another region was
	     // found to be at the end
	     i++) {
		if (!quiet())
			return false;
		usleep(10000);
	}
	return true;
}

static void regions_end_equal(int written)
{
	int conflicts = 0, twins = 0;

	wait_for(quiet_for_a_while, "nothing is behind");
	lab_regions_are_equal(&lab);
	for (int i = 0; i < lab.nregions; i++) {
		struct pl_apply_stats stats;

		pl_apply_stats(appliers[i], &stats);
		conflicts += (int)stats.conflicts;
		twins += (int)stats.twins;
	}
	print_message("# seed %u: %d writes, %d conflicts, %d twins\n", seed, written, conflicts, twins);
	assert_true(written > 100);
}

// ---- the tests

static void two_regions_end_equal(void **state)
{
	start_cluster(2, "highest_price", NULL);
	regions_end_equal(write_everywhere(NULL));
}

static void three_regions_end_equal(void **state)
{
	start_cluster(3, "region_order", NULL);
	regions_end_equal(write_everywhere(NULL));
}

static void appliers_share_the_work(void **state)
{
	start_cluster(2, "delete_wins", "  apply_connections: 3\n");
	regions_end_equal(write_everywhere(NULL));
}

static void kill_databases(void)
{
	for (int i = 0; i < 3; i++) {
		usleep(300000);
		lab_server("kill");
		usleep(200000);
		lab_server("start");
	}
	lab_reconnect(&lab);
}

static void databases_that_are_killed_lose_nothing(void **state)
{
	int written;

	start_cluster(2, "highest_price", NULL);
	seconds *= 2;
	written = write_everywhere(kill_databases);
	seconds /= 2;
	regions_end_equal(written);
}

static void break_the_broker(void)
{
	for (int i = 0; i < 3; i++) {
		usleep(200000);
		rd_kafka_mock_broker_set_down(pl_dev_broker_cluster(broker), 1);
		usleep(400000);
		rd_kafka_mock_broker_set_up(pl_dev_broker_cluster(broker), 1);
		rd_kafka_mock_push_request_errors(pl_dev_broker_cluster(broker), 0, 3,
		                                  RD_KAFKA_RESP_ERR_REQUEST_TIMED_OUT,
		                                  RD_KAFKA_RESP_ERR_OUT_OF_ORDER_SEQUENCE_NUMBER,
		                                  RD_KAFKA_RESP_ERR_OUT_OF_ORDER_SEQUENCE_NUMBER);
	}
}

static void a_broker_that_comes_and_goes_loses_nothing(void **state)
{
	int written;

	start_cluster(2, "highest_price", NULL);
	seconds *= 2;
	written = write_everywhere(break_the_broker);
	seconds /= 2;
	regions_end_equal(written);
}

static void restart_regions(void)
{
	for (int i = 0; i < 2; i++) {
		usleep(300000);
		pthread_rwlock_wrlock(&bells);
		stop_region(i);
		pthread_rwlock_unlock(&bells);
		usleep(300000);
		pthread_rwlock_wrlock(&bells);
		start_region(i);
		pthread_rwlock_unlock(&bells);
	}
}

static void daemons_that_are_stopped_and_started_lose_nothing(void **state)
{
	int written;

	start_cluster(2, "highest_price", NULL);
	seconds *= 2;
	written = write_everywhere(restart_regions);
	seconds /= 2;
	wait_for(all_assigned, "all appliers have partitions");
	regions_end_equal(written);
}

static void two_daemons_of_a_region_share_its_partitions(void **state)
{
	struct pl_error err = { 0 };
	struct pl_apply *second;
	int written;

	start_cluster(2, "highest_price", NULL);
	second = pl_apply_start(lab.config, lab_region(&lab, 1), &err);
	assert_non_null(second);
	written = write_everywhere(NULL);
	pl_apply_stop(&second); // in the middle of it; the first one takes over everything
	written += write_everywhere(NULL);
	regions_end_equal(written);
}

static struct pl_apply_stats applier_stats(int region)
{
	struct pl_apply_stats stats;

	pl_apply_stats(appliers[region], &stats);
	return stats;
}

static bool a_consumer_was_replaced(void)
{
	return applier_stats(0).consumers_replaced + applier_stats(1).consumers_replaced > 0;
}

static void a_consumer_that_fails_for_good_is_replaced(void **state)
{
	start_cluster(2, "highest_price", NULL);
	rd_kafka_mock_push_request_errors(pl_dev_broker_cluster(broker), OFFSET_COMMIT, 1,
	                                  RD_KAFKA_RESP_ERR_FENCED_INSTANCE_ID);
	assert_true(lab_write(&lab, lab.sql[0], "us", 1, "100.00", NULL)); // to be committed
	pl_relay_wake(relays[0]);
	wait_for(a_consumer_was_replaced, "the consumer was replaced");
	wait_for(all_assigned, "all appliers have partitions again");
	regions_end_equal(write_everywhere(NULL));
}

static void a_broker_that_restarts_repeatedly_is_found_again(void **state)
{
	const char *address = lab_free_address();

	start_cluster_at(address, 2, "highest_price", NULL);
	for (int i = 0; i < 3; i++) {
		pl_dev_broker_stop(&broker);
		usleep(500000);
		start_broker(address);
		usleep(2500000);
	}
	wait_for(all_assigned, "all appliers have partitions again");
	regions_end_equal(write_everywhere(NULL));
}

static struct pl_config *two_regions(const char *policy, const char *more)
{
	const char *brokers = pl_dev_broker_address(broker);

	return lab_config(&lab, &(struct lab_options){ .policy = policy, .brokers = brokers, .more = more });
}

static void regions_end_equal_if_a_policy_changes_at_different_times(void **state)
{
	struct pl_config *config;
	int written;

	start_cluster(2, "highest_price", NULL);
	written = write_everywhere(NULL);
	// us gets the new policy first, the two differ for a while, then eu gets it.
	for (int i = 0; i < 2; i++) {
		config = two_regions("region_order", "  partitions: 3\n  apply_batch: 50\n");
		pl_relay_reconfigure(relays[i], config, lab_region(&lab, i));
		pl_apply_reconfigure(appliers[i], config, lab_region(&lab, i));
		written += write_everywhere(NULL);
	}
	regions_end_equal(written);
	lab_is(&lab, "0", 0,
	       "SELECT count(*) FROM conflicts o WHERE closed_at IS NULL AND policy_name <> 'region_order' "
	       "AND detected_at = (SELECT max(detected_at) FROM conflicts WHERE record_id = o.record_id)");
}

// A database restored from a backup is behind the group's offsets, which are Kafka's.
// The region's own writes since the backup come back, too.
static void a_restored_database_catches_up_from_kafka(void **state)
{
	int written;

	start_cluster(2, "last_writer_wins", NULL);
	written = write_everywhere(NULL);
	wait_for(quiet_for_a_while, "nothing is behind");
	stop_region(1);
	lab_ask(&lab, 1, "TRUNCATE properties, processed_requests, applied_positions, record_siblings");
	start_region(1);
	wait_for(all_assigned, "all appliers have partitions");
	lab_until(&lab, lab_ask(&lab, 0, "SELECT count(*) FROM properties WHERE vector ? 'eu'"), 1,
	          "SELECT count(*) FROM properties WHERE vector ? 'eu'");
	regions_end_equal(written);
}

static int64_t batches_of(int region)
{
	struct pl_apply_stats stats;

	pl_apply_stats(appliers[region], &stats);
	return (int64_t)stats.batches;
}

static void pace_of_the_applier(const char *linger)
{
	struct pl_config *config;
	char more[128];

	snprintf(more, sizeof(more), "  partitions: 3\n  apply_batch: 50\n  linger: %s\n", linger);
	config = two_regions("highest_price", more); // the region is one of this
	pl_apply_reconfigure(appliers[1], config, lab_region(&lab, 1));
}

static void until_level(void)
{
	const char *const sum = "SELECT sum(version) FROM properties";

	lab_until(&lab, lab_ask(&lab, 0, sum), 1, sum);
}

static void write_one(int64_t id, const char *price)
{
	assert_true(lab_write(&lab, lab.sql[0], "us", id, price, NULL));
	pl_relay_wake(relays[0]);
}

// The number of batches for 30 events that follow 140 others.
static int64_t batches_after_many(void)
{
	int64_t before;

	PQclear(PQexec(lab.sql[0], "BEGIN"));
	for (int i = 0; i < 140; i++)
		write_one(1 + i, "200.00");
	PQclear(PQexec(lab.sql[0], "COMMIT"));
	until_level();
	before = batches_of(1);
	for (int i = 0; i < 30; i++) {
		write_one(1 + i, "300.00");
		usleep(20000); // an applier that does not wait would take some of them alone
	}
	until_level();
	return batches_of(1) - before;
}

static void many_events_share_a_batch_and_few_do_not_wait(void **state)
{
	int64_t batches = INT64_MAX;

	start_cluster(2, "highest_price", "  linger: 0us\n"); // the relay does not delay them
	pace_of_the_applier("60s");
	for (int i = 0; i < 5; i++) {
		write_one(1, "100.00");
		until_level();
	}
	pace_of_the_applier("3s");
	// If they arrive as two batches, the second one is small and does not wait.
	for (int i = 0; batches > 3 && i < 5; i++)
		batches = batches_after_many();
	assert_true(batches <= 3);
}

// A topic that is full when a region starts. While the region catches up, its database is
// killed, and partitions move to another daemon and back.
static void a_full_topic_is_caught_up_with_while_everything_fails(void **state)
{
	struct pl_error err = { 0 };
	struct pl_apply *second;
	struct pl_apply_stats stats;

	start_cluster(2, "highest_price", "  apply_batch: 200\n");
	stop_region(1);
	lab_ask(&lab, 0,
	        "INSERT INTO properties (id, price, bedrooms, bathrooms, region_origin, version, vector, "
	        "request_id) SELECT i, 100, 1, 1, 'us', 1, '{\"us\": 1}', 'full-1-' || i "
	        "FROM generate_series(1, 400) AS i");
	for (int version = 1; version <= 30; version++) {
		if (version > 1)
			lab_ask(&lab, 0,
			        "WITH rows AS (SELECT FROM properties ORDER BY id FOR UPDATE) "
			        "UPDATE properties SET version = %d, vector = jsonb_build_object('us', %d), "
			        "price = %d, request_id = 'full-%d-' || id WHERE (SELECT count(*) FROM rows) "
			        "> 0",
			        version, version, 100 + version, version);
		lab_ask(&lab, 0,
		        "INSERT INTO outbox (resource, record_id, origin, value, vector, request_id, "
		        "fingerprint, status, expires_at) SELECT 'properties', id, 'us', json_build_object("
		        "'id', id, 'price', price, 'bedrooms', bedrooms, 'bathrooms', bathrooms, "
		        "'region_origin', region_origin, 'version', version, 'updated_at', to_char("
		        "updated_at AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"'))::text, vector, "
		        "request_id, sha256(request_id::bytea), 200, '2090-01-01' FROM properties");
	}
	lab_until(&lab, "0", 0, "SELECT plist.plist_outbox_unpublished()");
	start_region(1);
	second = pl_apply_start(lab.config, lab_region(&lab, 1), &err); // takes some of the partitions
	assert_non_null(second);
	lab_until(&lab, "t", 1, "SELECT count(*) > 500 FROM processed_requests");
	lab_server("kill");
	lab_server("start");
	lab_reconnect(&lab);
	pl_apply_stop(&second); // and returns them
	lab_until(&lab, "12000", 1, "SELECT count(*) FROM processed_requests WHERE request_id ~ '^full-'");
	wait_for(quiet_for_a_while, "nothing is behind");
	lab_regions_are_equal(&lab);
	pl_apply_stats(appliers[1], &stats);
	assert_int_equal(stats.dead_letters, 0);
}

#define TEST(name) cmocka_unit_test_teardown(name, stop_cluster)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(two_regions_end_equal),
		TEST(three_regions_end_equal),
		TEST(appliers_share_the_work),
		TEST(databases_that_are_killed_lose_nothing),
		TEST(a_broker_that_comes_and_goes_loses_nothing),
		TEST(daemons_that_are_stopped_and_started_lose_nothing),
		TEST(two_daemons_of_a_region_share_its_partitions),
		TEST(a_consumer_that_fails_for_good_is_replaced),
		TEST(a_broker_that_restarts_repeatedly_is_found_again),
		TEST(regions_end_equal_if_a_policy_changes_at_different_times),
		TEST(a_restored_database_catches_up_from_kafka),
		TEST(many_events_share_a_batch_and_few_do_not_wait),
		TEST(a_full_topic_is_caught_up_with_while_everything_fails),
	};

	seed = getenv("LAB_SEED") ? (unsigned)atoi(getenv("LAB_SEED")) : seed;
	seconds = getenv("LAB_SECONDS") ? atof(getenv("LAB_SECONDS")) : seconds;
	if (getenv("LAB_ONLY"))
		cmocka_set_test_filter(getenv("LAB_ONLY"));
	return cmocka_run_group_tests(tests, NULL, NULL);
}
