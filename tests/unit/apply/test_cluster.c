// Whole regions against each other: relays and appliers on real databases and the embedded broker, clients that write the same few records in
// all regions at once, send requests twice, delete; and everything that can fail, failing. At the end the regions are equal.
//
// LAB_SEED chooses the clients' dice, LAB_SECONDS how long they write, LAB_ONLY (with * and ?) which tests run.
#include "lab.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "replicate/apply.h"
#include "replicate/embedded.h"
#include "replicate/relay.h"

static struct lab lab;
static struct pl_embedded *broker;
static rd_kafka_t *looker; // at the topics' ends; a consumer knows them only as of its last fetch, and fetches nothing while its database is away
static struct pl_relay *relays[LAB_REGIONS_MAX];
static struct pl_apply *appliers[LAB_REGIONS_MAX];
static pthread_rwlock_t bells = PTHREAD_RWLOCK_INITIALIZER; // held while one of them is rung, or taken away
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
			fail_msg("waited in vain until %s", what);
		usleep(10000);
	}
}

static void look_by(const char *address)
{
	rd_kafka_conf_t *conf = rd_kafka_conf_new();
	char why[256];

	rd_kafka_conf_set(conf, "bootstrap.servers", address, why, sizeof why);
	looker = rd_kafka_new(RD_KAFKA_PRODUCER, conf, why, sizeof why);
	if (!looker)
		fail_msg("%s", why);
}

static void start_cluster(int regions, const char *policy, const char *more)
{
	static const char *const topics[] = { "property-updates", "plist-heartbeats", NULL };
	struct pl_error err = { 0 };
	char kafka[256];

	snprintf(kafka, sizeof kafka, "  partitions: 3\n  relay_batch: 100\n%s%s", more && strstr(more, "apply_batch") ? "" : "  apply_batch: 50\n", more ? more : "");
	broker = pl_embedded_start(&(struct pl_embedded_options){ .partitions = 3, .topics = topics }, &err);
	assert_non_null(broker);
	lab_start(&lab, &(struct lab_options){ .regions = regions, .policy = policy, .brokers = pl_embedded_address(broker), .more = kafka });
	look_by(pl_embedded_address(broker));
	for (int i = 0; i < regions; i++)
		start_region(i);
	wait_for(all_assigned, "all appliers have partitions");
}

static int stop_cluster(void **state)
{
	for (int i = 0; i < LAB_REGIONS_MAX; i++)
		stop_region(i);
	if (looker)
		rd_kafka_destroy(looker);
	looker = NULL;
	lab_stop(&lab);
	pl_embedded_stop(&broker);
	return 0;
}

// --- clients

struct client { pthread_t thread; int region, number; _Atomic int *stop, *written; };

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

		if (PQstatus(sql) != CONNECTION_OK) { // its database is away
			PQreset(sql);
			usleep(20000);
			continue;
		}
		snprintf(price, sizeof price, "%u.00", 1 + roll(&dice, 600));
		if (roll(&dice, 4) == 0) { // requests that clients of other regions send, too: the same id, the same question
			unsigned which = roll(&dice, 200), record = 1 + which % 12;

			snprintf(request, sizeof request, "shared-%u", which);
			snprintf(price, sizeof price, "%u.00", 1 + which);
			shared = request;
			*client->written += lab_write(&lab, sql, region, record, price, shared);
		} else {
			*client->written += lab_write(&lab, sql, region, 1 + roll(&dice, 12), roll(&dice, 12) ? price : NULL, NULL);
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

// Clients write in all regions while `trouble` does its worst. The number of writes.
static int write_everywhere(void (*trouble)(void))
{
	struct client clients[2 * LAB_REGIONS_MAX];
	_Atomic int stop = 0, written = 0;
	int n = 2 * lab.nregions;
	int64_t end_us = pl_mono_us() + (int64_t)(seconds * 1e6);

	for (int i = 0; i < n; i++) {
		clients[i] = (struct client){ .region = i % lab.nregions, .number = i, .stop = &stop, .written = &written };
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

	return rd_kafka_query_watermark_offsets(looker, partition->topic, partition->partition, &first, &end, 2000) == RD_KAFKA_RESP_ERR_NO_ERROR &&
	       partition->committed >= end;
}

static bool quiet(void)
{
	for (int i = 0; i < lab.nregions; i++) {
		struct pl_lag lag;

		if (strcmp(lab_ask(&lab, i, "SELECT count(*) FROM outbox"), "0") != 0)
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
	for (int i = 0; i < 3; i++) { // an event may have left the outbox of a region that was looked at, after another had read to the end
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

// --- the tests

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

static void lanes_share_the_work(void **state)
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
		rd_kafka_mock_broker_set_down(pl_embedded_cluster(broker), 1);
		usleep(400000);
		rd_kafka_mock_broker_set_up(pl_embedded_cluster(broker), 1);
		rd_kafka_mock_push_request_errors(pl_embedded_cluster(broker), 0, 3, RD_KAFKA_RESP_ERR_REQUEST_TIMED_OUT,
		                                  RD_KAFKA_RESP_ERR_OUT_OF_ORDER_SEQUENCE_NUMBER, RD_KAFKA_RESP_ERR_OUT_OF_ORDER_SEQUENCE_NUMBER);
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
	pl_apply_stop(&second); // in the middle of it; the first takes everything over
	written += write_everywhere(NULL);
	regions_end_equal(written);
}

static void a_policy_that_changes_at_different_times_ends_equal(void **state)
{
	struct pl_config *config;
	int written;

	start_cluster(2, "highest_price", NULL);
	written = write_everywhere(NULL);
	// us gets the new policy, the two differ for a while, then eu gets it.
	for (int i = 0; i < 2; i++) {
		config = lab_config(&lab, &(struct lab_options){ .regions = 2, .policy = "region_order", .brokers = pl_embedded_address(broker),
			.more = "  partitions: 3\n  apply_batch: 50\n" });
		pl_relay_reconfigure(relays[i], config, lab_region(&lab, i));
		pl_apply_reconfigure(appliers[i], config, lab_region(&lab, i));
		written += write_everywhere(NULL);
	}
	regions_end_equal(written);
	lab_is(&lab, "0", 0, "SELECT count(*) FROM conflicts WHERE closed_at IS NULL AND policy_name <> 'region_order' AND detected_at = "
	       "(SELECT max(detected_at) FROM conflicts c WHERE c.record_id = conflicts.record_id)");
}

// A database that was restored from a backup: behind the group's offsets, which are Kafka's. What it had written itself since then comes back, too.
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
	lab_until(&lab, lab_ask(&lab, 0, "SELECT count(*) FROM properties WHERE vector ? 'eu'"), 1, "SELECT count(*) FROM properties WHERE vector ? 'eu'");
	regions_end_equal(written);
}

static int64_t batches_of(int region)
{
	struct pl_apply_stats stats;

	pl_apply_stats(appliers[region], &stats);
	return (int64_t)stats.batches;
}

static void pace_of_the_applier(const char *pace)
{
	char more[128];
	struct pl_config *config;

	snprintf(more, sizeof more, "  partitions: 3\n  apply_batch: 50\n  pace: %s\n", pace);
	config = lab_config(&lab, &(struct lab_options){ .regions = 2, .policy = "highest_price", .brokers = pl_embedded_address(broker), .more = more });
	pl_apply_reconfigure(appliers[1], config, lab_region(&lab, 1));
}

static void until_level(void)
{
	lab_until(&lab, lab_ask(&lab, 0, "SELECT sum(version) FROM properties"), 1, "SELECT sum(version) FROM properties");
}

static void write_one(int64_t id, const char *price)
{
	assert_true(lab_write(&lab, lab.sql[0], "us", id, price, NULL));
	pl_relay_wake(relays[0]);
}

// How many batches 30 events become that follow upon 140.
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
		usleep(20000); // so that an applier that does not wait has taken some of them alone
	}
	until_level();
	return batches_of(1) - before;
}

static void many_events_gather_and_few_do_not_wait(void **state)
{
	int64_t batches = INT64_MAX;

	start_cluster(2, "highest_price", "  pace: 0us\n"); // the relay does not gather them
	pace_of_the_applier("60s");
	for (int i = 0; i < 5; i++) {
		write_one(1, "100.00");
		until_level();
	}
	pace_of_the_applier("3s");
	for (int i = 0; batches > 3 && i < 5; i++) // the many may come as two batches of which the second is small: then nothing is held
		batches = batches_after_many();
	assert_true(batches <= 3);
}

// A topic that is full when a region comes back: batch upon batch is taken ahead while the one before it is written, and its database is killed
// and its partitions are taken away and given back in the midst of it.
static void a_full_topic_is_caught_up_with_while_everything_fails(void **state)
{
	struct pl_error err = { 0 };
	struct pl_apply *second;
	struct pl_apply_stats stats;

	start_cluster(2, "highest_price", "  apply_batch: 200\n");
	stop_region(1);
	lab_ask(&lab, 0, "INSERT INTO properties (id, price, bedrooms, bathrooms, region_origin, version, vector, request_id) "
	        "SELECT i, 100, 1, 1, 'us', 1, '{\"us\": 1}', 'full-1-' || i FROM generate_series(1, 400) AS i");
	for (int version = 1; version <= 30; version++) {
		if (version > 1)
			lab_ask(&lab, 0, "UPDATE properties SET version = %d, vector = jsonb_build_object('us', %d), price = %d, request_id = 'full-%d-' || id",
			        version, version, 100 + version, version);
		lab_ask(&lab, 0, "INSERT INTO outbox (resource, record_id, origin, value, vector, request_id, fingerprint, status, expires_at) "
		        "SELECT 'properties', id, 'us', json_build_object('id', id, 'price', price, 'bedrooms', bedrooms, 'bathrooms', bathrooms, "
		        "'region_origin', region_origin, 'version', version, 'updated_at', to_char(updated_at AT TIME ZONE 'UTC', "
		        "'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"'))::text, vector, request_id, sha256(request_id::bytea), 200, '2090-01-01' FROM properties");
	}
	lab_until(&lab, "0", 0, "SELECT count(*) FROM outbox");
	start_region(1);
	second = pl_apply_start(lab.config, lab_region(&lab, 1), &err); // takes a part of the partitions away
	assert_non_null(second);
	lab_until(&lab, "t", 1, "SELECT count(*) > 500 FROM processed_requests");
	lab_server("kill");
	lab_server("start");
	lab_reconnect(&lab);
	pl_apply_stop(&second); // and gives them back
	lab_until(&lab, "12000", 1, "SELECT count(*) FROM processed_requests WHERE request_id LIKE 'full-%%'");
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
		TEST(lanes_share_the_work),
		TEST(databases_that_are_killed_lose_nothing),
		TEST(a_broker_that_comes_and_goes_loses_nothing),
		TEST(daemons_that_are_stopped_and_started_lose_nothing),
		TEST(two_daemons_of_a_region_share_its_partitions),
		TEST(a_policy_that_changes_at_different_times_ends_equal),
		TEST(a_restored_database_catches_up_from_kafka),
		TEST(many_events_gather_and_few_do_not_wait),
		TEST(a_full_topic_is_caught_up_with_while_everything_fails),
	};

	if (getenv("LAB_SEED"))
		seed = (unsigned)atoi(getenv("LAB_SEED"));
	if (getenv("LAB_SECONDS"))
		seconds = atof(getenv("LAB_SECONDS"));
	if (getenv("LAB_ONLY"))
		cmocka_set_test_filter(getenv("LAB_ONLY"));
	return cmocka_run_group_tests(tests, NULL, NULL);
}
