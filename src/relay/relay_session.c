// The relay's two ends: finding the database and the broker, losing them, and what the broker says of what was sent.
//
// Beside replicate/relay, which says what it does in between. Threads: the relay's.
#include "replicate/relay_in.h"

// --- losing and finding

static void forget_flights(struct pl_relay *relay)
{
	pl_flights_fini(&relay->flights);
	memset(&relay->cursor, 0, sizeof relay->cursor);
	relay->careful = 0;
	relay->alone = false;
	relay->undelivered = false;
	relay->heartbeat_sent = false;
	relay->wanted = true;
}

static void drop_producer(struct pl_relay *relay)
{
	pl_producer_free(&relay->producer);
	relay->topics_ready = false;
	NOTE(relay, broker_up, false);
	forget_flights(relay);
}

static void wait_a_while(struct pl_relay *relay)
{
	relay->try_at_us = pl_mono_us() + pl_backoff_next(&relay->backoff);
}

// A database call failed. When the connection is gone, so is the lock and all that stood under it.
void pl_relay_database_failed(struct pl_relay *relay, const struct pl_error *err)
{
	if (err->code == PL_ESTOPPED)
		return;
	if (pl_log_limit_ok(&relay->database_limit, 10 * SECOND))
		pl_warning("%s; events wait in the outbox", err->text);
	if (!pl_session_connected(relay->session)) {
		if (relay->leader)
			drop_producer(relay);
		relay->leader = false;
		NOTE(relay, leader, false);
		NOTE(relay, database_up, false);
	}
	wait_a_while(relay);
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

// The database is looked at with every heartbeat at the latest.
static int64_t lease_of(const struct pl_config *config)
{
	return 4 * config->kafka.heartbeat_us > LEASE_US ? 4 * config->kafka.heartbeat_us : LEASE_US;
}

bool pl_relay_leads(struct pl_relay *relay)
{
	struct pl_error err = { 0 };
	int64_t now_us = pl_mono_us();
	int ours;

	if (relay->leader || now_us < relay->lock_at_us)
		return relay->leader;
	relay->lock_at_us = now_us + LOCK_US;
	ours = pl_outbox_lock(relay->session, lease_of(relay->config), &err);
	if (ours < 0)
		pl_relay_database_failed(relay, &err);
	if (ours <= 0)
		return false;
	relay->leader = true;
	NOTE(relay, leader, true);
	forget_flights(relay);
	pl_notice("publishes this region's events");
	return true;
}

// --- the producer, and what it says

static void delivered(void *arg, int64_t tag, enum pl_delivery what, const char *why)
{
	struct pl_relay *relay = arg;

	if (what == PL_DELIVERED && tag != HEARTBEAT_TAG) {
		pl_flights_set(&relay->flights, tag, PL_FLIGHT_DONE);
		COUNT(relay, published, 1);
		relay->careful -= relay->alone && relay->careful > 0;
		NOTE(relay, last_publish_us, pl_now_us());
		return;
	}
	if (tag == HEARTBEAT_TAG) {
		relay->heartbeat_sent = false;
		if (what == PL_DELIVERED)
			COUNT(relay, heartbeats, 1);
		return;
	}
	COUNT(relay, failed, 1);
	if (what == PL_UNDELIVERED) {
		if (!relay->undelivered && pl_log_limit_ok(&relay->delivery_limit, 10 * SECOND))
			pl_warning("event %lld was not delivered (%s); sending again what the broker has not acknowledged", (long long)tag, why);
		relay->undelivered = true;
	} else if (relay->alone) {
		pl_err("the broker refuses event %lld (%s); it stays in the outbox, the others go on", (long long)tag, why);
		pl_flights_set(&relay->flights, tag, PL_FLIGHT_ASIDE);
		relay->careful -= relay->careful > 0;
	} else { // one of a batch: which one it was is found by sending them one by one
		relay->careful++;
		relay->undelivered = true;
	}
}

bool pl_relay_have_producer(struct pl_relay *relay)
{
	struct pl_producer_options options = {
		.config = relay->config, .region = relay->region, .wake = relay->wake, .delivered = delivered, .arg = relay,
	};
	struct pl_error err = { 0 };

	if (!relay->producer) {
		relay->producer = pl_producer_new(&options, &err);
		if (!relay->producer) { // the same configuration worked at the start: memory, descriptors
			pl_err("%s", err.text);
			wait_a_while(relay);
			return false;
		}
	}
	if (relay->topics_ready)
		return true;
	if (pl_producer_topics(relay->producer, relay->config, TOPICS_US, pl_wake_fd(relay->halt), &err) < 0) {
		if (err.code != PL_ESTOPPED && pl_log_limit_ok(&relay->broker_limit, 10 * SECOND))
			pl_warning("%s; events wait in the outbox", err.text);
		relay->was_up = false;
		wait_a_while(relay);
		return false;
	}
	relay->topics_ready = true;
	return true;
}

static void watch_broker(struct pl_relay *relay)
{
	bool up = pl_producer_up(relay->producer);

	NOTE(relay, broker_up, up);
	if (up && !relay->was_up)
		pl_notice("connected to Kafka at %s", relay->config->kafka.brokers);
	else if (!up && relay->was_up)
		pl_warning("no broker answers at %s; events wait in the outbox", relay->config->kafka.brokers);
	relay->was_up = up;
}

// Serves the producer; false when it had to be given up.
bool pl_relay_producer_lives(struct pl_relay *relay)
{
	int careful;

	pl_producer_serve(relay->producer);
	watch_broker(relay);
	if (!relay->undelivered)
		return true;
	careful = relay->careful;
	drop_producer(relay);
	relay->careful = careful;
	COUNT(relay, producers_replaced, 1);
	wait_a_while(relay);
	return false;
}
