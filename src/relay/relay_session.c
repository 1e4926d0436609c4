// The relay's connections: finding the database and the broker, losing them, and the
// broker's reports about what was sent.
//
// Beside relay/relay, which does the work in between. Threads: the relay's.
#include "relay/relay_private.h"

// ---- losing and finding

// What is in flight is read again, and sent again by the next producer.
static void forget_flights(struct pl_relay *relay)
{
	pl_relay_break(relay, PL_IN_FLIGHT_SENT, true);
	pl_in_flight_fini(&relay->in_flight);
	pl_streams_forget_sizes(&relay->streams);
	relay->renumber_id = 0;
	relay->one_by_one = 0;
	relay->alone = relay->retrying = false;
	relay->undelivered = false;
	relay->heartbeat_sent = false;
	pl_relay_forget_letters(relay);
	relay->wanted = true;
}

static void drop_producer(struct pl_relay *relay)
{
	pl_relay_forget_topics_question(relay);
	pl_producer_free(&relay->producer);
	relay->topics_ready = false;
	NOTE(relay, broker_up, false);
	forget_flights(relay);
}

static void wait_a_while(struct pl_relay *relay)
{
	relay->try_at_us = pl_mono_us() + pl_backoff_next(&relay->backoff);
}

// Called when a database call failed. If the connection is lost, so is leadership.
void pl_relay_database_failed(struct pl_relay *relay, const struct pl_error *err)
{
	if (err->code == PL_ESTOPPED)
		return;
	if (relay->stats.failing_since_us == 0)
		NOTE(relay, failing_since_us, pl_mono_us());
	pthread_mutex_lock(&relay->mutex);
	snprintf(relay->trouble, sizeof(relay->trouble), "%s", err->text);
	pthread_mutex_unlock(&relay->mutex);
	if (pl_log_limit_ok(&relay->database_limit, 10 * SECOND))
		pl_warning("%s; events wait in the outbox%s", err->text,
		           strcmp(err->sqlstate, "42P01") == 0 ? "; has plist-admin migrate been run?" : "");
	if (!pl_session_connected(relay->session)) {
		if (relay->leader || relay->asks)
			drop_producer(relay);
		relay->asks = relay->accepted = false;
		pl_relay_forget_topics(relay); // another daemon checks them now
		pl_relay_forget_regions(relay);
		relay->leader = false;
		NOTE(relay, leader, false);
		NOTE(relay, process, 0);
		NOTE(relay, database_up, false);
	}
	wait_a_while(relay);
}

void pl_relay_database_works(struct pl_relay *relay)
{
	NOTE(relay, failing_since_us, 0);
}

bool pl_relay_have_database(struct pl_relay *relay)
{
	struct pl_error err = { 0 };
	bool was_up = atomic_load(&relay->stats.database_up);

	if (pl_session_connected(relay->session))
		return true;
	if (pl_session_connect(relay->session, &err) < 0) {
		pl_relay_database_failed(relay, &err);
		return false;
	}
	NOTE(relay, database_up, true);
	if (!was_up)
		pl_info("connected to the database");
	relay->lock_at_us = 0;
	return true;
}

// The session is checked at least with every heartbeat.
static int64_t silence_of(const struct pl_config *config)
{
	return 4 * config->kafka.heartbeat_us > SILENT_US ? 4 * config->kafka.heartbeat_us : SILENT_US;
}

static bool lead(struct pl_relay *relay)
{
	struct pl_error err = { 0 };

	forget_flights(relay);
	if (pl_relay_begin(relay, &err) < 0 ||
	    pl_outbox_retry_known(relay->session, relay->config, &err) < 0) {
		pl_relay_database_failed(relay, &err);
		return false;
	}
	relay->leader = true;
	NOTE(relay, leader, true);
	NOTE(relay, process, pl_session_process(relay->session));
	pl_notice("relay: publishing events of region %s", relay->region->name);
	return true;
}

// A relay that leads does not ask again whose database it is: the daemon that finds that
// it is no longer the region's ends its session (heal/heal_settle). One whose database
// was not accepted only sends heartbeats.
bool pl_relay_leads(struct pl_relay *relay)
{
	struct pl_error err = { 0 };
	int64_t now_us = pl_mono_us();
	int code;

	if (relay->leader || now_us < relay->lock_at_us)
		return relay->leader;
	relay->lock_at_us = now_us + LOCK_US;
	code = pl_owner_judge(relay->session, relay->region->name, &relay->accepted, &err);
	if (code == 0)
		code = relay->asks ? 1 : pl_outbox_lock(relay->session, silence_of(relay->config), &err);
	if (code < 0)
		pl_relay_database_failed(relay, &err);
	else if (code == 0) // another daemon publishes
		pl_relay_database_works(relay);
	if (code <= 0)
		return false;
	relay->asks = !relay->accepted;
	return relay->accepted && lead(relay);
}

// ---- the producer and its reports

static void delivered(void *arg, int64_t tag, enum pl_delivery what, const char *why)
{
	struct pl_relay *relay = arg;

	if (tag == PL_RELAY_POSITION_TAG)
		return; // the next one says it, too
	if (tag < HEARTBEAT_TAG) {
		pl_relay_letter_sent(relay, tag, what, why);
		return;
	}
	if (what == PL_DELIVERED && tag != HEARTBEAT_TAG) {
		pl_in_flight_set(&relay->in_flight, tag, PL_IN_FLIGHT_DONE);
		COUNT(relay, published, 1);
		if (relay->retrying) {
			pl_notice("relay: event %lld, which had been refused, was published", (long long)tag);
			relay->retrying = false;
			relay->renumber_id = tag;
			NOTE(relay, refused, relay->refused -= relay->refused > 0);
		}
		NOTE(relay, last_publish_us, pl_now_us());
		return;
	}
	if (tag == HEARTBEAT_TAG) {
		relay->heartbeat_sent = false;
		if (what == PL_DELIVERED)
			COUNT(relay, heartbeats, 1);
		return;
	}
	if (what == PL_REFUSED || what == PL_TOO_LARGE) { // or another of its batch: see relay_refused.c
		snprintf(relay->refusal, sizeof(relay->refusal), "%s", why);
		relay->last.too_large = what == PL_TOO_LARGE;
		pl_in_flight_set(&relay->in_flight, tag, PL_IN_FLIGHT_REFUSED);
		return;
	}
	COUNT(relay, failed, 1);
	if (!relay->undelivered && pl_log_limit_ok(&relay->delivery_limit, 10 * SECOND))
		pl_warning("event %lld was not delivered (%s); sending again what the broker has not "
		           "acknowledged",
		           (long long)tag, why);
	relay->undelivered = true;
}

bool pl_relay_have_producer(struct pl_relay *relay)
{
	struct pl_producer_options options = {
		.config = relay->config,
		.region = relay->region,
		.wake = relay->wake,
		.delivered = delivered,
		.arg = relay,
	};
	struct pl_error err = { 0 };

	if (!relay->producer) {
		pl_kafka_client_files(relay->config, relay->producer_files);
		relay->producer = pl_producer_new(&options, &err);
		relay->producer_made_us = pl_mono_us();
		if (!relay->producer) { // it worked at the start: memory, descriptors
			pl_err("%s", err.text);
			wait_a_while(relay);
			return false;
		}
	}
	if (relay->topics_ready)
		return true;
	if (pl_producer_topics(relay->producer, relay->config, TOPICS_US, pl_wake_fd(relay->halt), &err) <
	    0) {
		if (err.code != PL_ESTOPPED && pl_log_limit_ok(&relay->broker_limit, 10 * SECOND))
			pl_warning("%s; events wait in the outbox", err.text);
		relay->was_up = false;
		wait_a_while(relay);
		return false;
	}
	relay->topics_ready = true;
	return true;
}

void pl_relay_renew_producer(struct pl_relay *relay)
{
	uint8_t files[PL_SHA256_SIZE];

	pl_kafka_client_files(relay->config, files);
	if (!relay->producer || memcmp(files, relay->producer_files, sizeof(files)) == 0)
		return;
	pl_notice("relay: certificates or keys have changed; reconnecting to Kafka");
	drop_producer(relay);
}

int pl_relay_check_files(struct pl_relay *relay, const struct pl_config *config,
                         const struct pl_region *region, struct pl_error *err)
{
	uint8_t files[PL_SHA256_SIZE];

	if (pl_kafka_client_keys(config, err) < 0)
		return err->code;
	pl_kafka_client_files(config, files);
	if (memcmp(files, relay->checked_files, sizeof(files)) == 0)
		return 0;
	if (pl_producer_check(config, region, err) < 0)
		return err->code;
	memcpy(relay->checked_files, files, sizeof(files));
	return 0;
}

static void watch_broker(struct pl_relay *relay)
{
	bool up = pl_producer_up(relay->producer);

	NOTE(relay, broker_up, up);
	if (up && !relay->was_up)
		pl_notice("connected to Kafka at %s", relay->config->kafka.brokers);
	else if (!up && relay->was_up)
		pl_warning("no broker answers at %s; events wait in the outbox",
		           relay->config->kafka.brokers);
	relay->was_up = up;
}

// Serves the producer; false if it had to be replaced.
bool pl_relay_producer_lives(struct pl_relay *relay)
{
	pl_producer_serve(relay->producer);
	watch_broker(relay);
	if (!relay->undelivered)
		return true;
	if (pl_mono_us() - relay->producer_made_us > LIVED_US)
		pl_backoff_reset(&relay->replace_backoff);
	drop_producer(relay);
	COUNT(relay, producers_replaced, 1);
	relay->try_at_us = pl_mono_us() + pl_backoff_next(&relay->replace_backoff);
	return false;
}
