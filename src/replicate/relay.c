// The relay: takes events out of the outbox, in order, and deletes them when the broker has them.
//
// Stands between the writes of this region and Kafka: record/batch commits a row into the outbox and rings pl_relay_wake; this thread
// reads (replicate/outbox), encodes (replicate/event), sends (replicate/producer) and, after the broker's acknowledgement, deletes.
// Threads: one of its own. pl_relay_wake and pl_relay_stats may be called from any; start, reconfigure and stop from the main thread.
//
// One relay per region. Whoever holds the advisory lock is it; the other daemons of the region try once a second. The lock lives and dies
// with the database session, and so does all that the relay remembers: when the session is lost it forgets what was in flight and throws
// its producer away. What was not deleted is read and sent again, by this daemon or another. Sending twice does no harm (a vector covers
// what it has seen); sending never would, and nothing but an acknowledgement takes a row away. A process that is frozen, or a machine that
// is gone without a word, would keep the session and so the lock: PostgreSQL ends a leader's session that says nothing for a while
// (LEASE_US). When that leader wakes up, what it still has under way arrives a second time.
//
// Order. Rows are read in the order of their ids, which is each record's order (replicate/outbox.c), and sent in it. When anything was not
// delivered, everything in flight is given up and read anew. What had overtaken it is then sent once more, after it: an acknowledged row is deleted
// only when all before it are acknowledged, too. So the last message of a record is always its newest. Only a message that the broker refuses for
// good (too large) is set aside, alone: it stays in the outbox and is tried again every minute, and the others go on. The broker refuses whole
// batches, so after a refusal the rows concerned go one by one, to find the guilty.
//
// Pace. Nothing sleeps on a timer while there is work. While reads come back full, up to WINDOW batches are in flight; when one comes
// back part-full, the relay is level with its writers, and the next read waits for the acknowledgement of what is in flight. So a lone
// write leaves at once, and under load rows gather by themselves while the broker is busy. A look every IDLE_US finds what other daemons
// have committed.
//
// The broker is not busy for long, though, and answers each small batch with a request for each partition, here and at every consumer. Where it
// shares the machine with the writers, or serves many, that is most of what an event costs. So after a read that brought PL_PACE_BUSY rows or more,
// and left none behind, the next one waits until kafka.pace has passed since. (Measured on two processors with everything on them, PUT/s while
// the relay publishes, medians of runs in turns: 13.2 thousand without, 15.6 at 10 ms, 17.2 at 20 ms; the whole chain: 5.6, 6.3 at 10 ms, 7.1 at 20 ms.
// On another machine: 14.0 thousand at 20 ms, 17.1 at 40 ms, 17.1 at 80 ms, where Kafka had 24, 14 and 11 µs of processor for an event.)
// Below some 800 events a second no read brings so many within the default pace, and nothing waits.
#include "replicate/relay.h"

#include "replicate/relay_in.h"

// --- the work

static int64_t *scratch(struct pl_relay *relay, int n)
{
	if (n > relay->nids) {
		relay->nids = n + 1024;
		relay->ids = pl_realloc(relay->ids, sizeof relay->ids[0] * (size_t)relay->nids);
	}
	return relay->ids;
}

static bool delete_done(struct pl_relay *relay)
{
	int64_t now_us = pl_mono_us();
	struct pl_error err = { 0 };
	int n;

	if (relay->flights.done == 0) {
		relay->delete_at_us = 0;
		return true;
	}
	if (relay->delete_at_us == 0)
		relay->delete_at_us = now_us + DELETE_US;
	if (relay->flights.sent > 0 && relay->flights.done < relay->config->kafka.relay_batch && now_us < relay->delete_at_us)
		return true;
	n = pl_flights_settled(&relay->flights, scratch(relay, relay->flights.n));
	if (n == 0) {
		relay->delete_at_us = now_us + DELETE_US;
		return true;
	}
	if (pl_outbox_delete(relay->session, &relay->cursor, relay->ids, n, &err) < 0) {
		pl_relay_database_failed(relay, &err);
		return false;
	}
	pl_flights_drop(&relay->flights, PL_FLIGHT_DONE, relay->ids[n - 1]);
	relay->delete_at_us = 0;
	if (relay->level)
		NOTE(relay, outbox_events, relay->flights.n);
	if (relay->level && relay->flights.n == 0)
		NOTE(relay, outbox_oldest_us, 0);
	return true;
}

static void set_aside(struct pl_relay *relay, const struct pl_outbox_row *row, const char *why)
{
	pl_err("event %lld (%s %s) cannot be sent: %s; it stays in the outbox, the others go on", (long long)row->id, row->resource,
	       row->record_id, why);
	COUNT(relay, failed, 1);
	pl_flights_add(&relay->flights, row->id, PL_FLIGHT_ASIDE);
}

// False: no more can be sent now; this row and those after it are read again.
static bool send_row(struct pl_relay *relay, const struct pl_outbox_row *row)
{
	const struct pl_resource *resource = pl_config_resource(relay->config, row->resource);
	struct pl_event_message message;
	struct pl_error err = { 0 };

	if (!resource) {
		set_aside(relay, row, "the configuration has no such resource");
		return true;
	}
	if (pl_event_encode(relay->arena, row, pl_policies_header(relay->policies, resource->index), &message, &err) < 0) {
		set_aside(relay, row, err.text);
		return true;
	}
	switch (pl_producer_send(relay->producer, resource->topic, &message, row->id, &err)) {
	case 0:
		pl_flights_add(&relay->flights, row->id, PL_FLIGHT_SENT);
		return true;
	case PL_EINVAL:
		set_aside(relay, row, err.text);
		return true;
	case PL_EBUSY:
		return false;
	default:
		relay->undelivered = true;
		return false;
	}
}

// Until when more rows are to gather; 0: they need not.
static int64_t paced_until(const struct pl_relay *relay)
{
	if (!relay->level || relay->careful > 0 || atomic_load(&relay->drain_until_us) != 0)
		return 0;
	return pl_pace_until(&relay->pace, relay->config->kafka.pace_us);
}

static bool may_read(const struct pl_relay *relay)
{
	if (!relay->wanted || relay->undelivered)
		return false;
	if (relay->careful > 0 || relay->level)
		return relay->flights.sent == 0 && pl_mono_us() >= paced_until(relay);
	return relay->flights.sent + relay->flights.done < WINDOW * relay->config->kafka.relay_batch;
}

static bool read_and_send(struct pl_relay *relay)
{
	int64_t now_us = pl_mono_us();
	int limit = relay->careful > 0 ? 1 : relay->config->kafka.relay_batch, sent = 0, nflights;
	bool whole = now_us >= relay->whole_at_us;
	struct pl_outbox_batch batch;
	struct pl_error err = { 0 };

	atomic_store(&relay->rung, false); // before reading: whoever commits from now on rings again
	relay->poll_at_us = now_us + IDLE_US;
	if (whole)
		relay->whole_at_us = now_us + WHOLE_US;
	nflights = pl_flights_ids(&relay->flights, scratch(relay, relay->flights.n));
	if (pl_outbox_read(relay->session, &relay->cursor, relay->ids, nflights, limit, whole, &batch, &err) < 0) {
		pl_relay_database_failed(relay, &err);
		return false;
	}
	relay->alone = relay->careful > 0;
	while (sent < batch.n && send_row(relay, &batch.rows[sent]))
		sent++;
	relay->level = batch.n < limit;
	pl_pace_note(&relay->pace, batch.n, now_us);
	relay->wanted = !relay->level || sent < batch.n;
	if (batch.n > 0)
		COUNT(relay, batches, 1);
	if (relay->level)
		NOTE(relay, outbox_events, relay->flights.n);
	if (relay->careful > 0 && batch.n == 0) // those that were to be tried alone are gone
		relay->careful = 0;
	pl_outbox_batch_fini(&batch);
	pl_arena_reset(relay->arena);
	return true;
}

static void beat_if_due(struct pl_relay *relay, int64_t now_us)
{
	struct pl_heartbeat heartbeat = { .sent_at_us = pl_now_us() };
	struct pl_outbox_look look;
	struct pl_event_message message = { .key = relay->region->name, .key_len = strlen(relay->region->name) };
	struct pl_buf value = { 0 }, policies = { 0 };
	struct pl_error err = { 0 };

	if (now_us < relay->beat_at_us)
		return;
	relay->beat_at_us = pl_mono_us() + relay->config->kafka.heartbeat_us;
	if (pl_outbox_look(relay->session, &look, &err) < 0) {
		pl_relay_database_failed(relay, &err);
		return;
	}
	strcpy(heartbeat.region, relay->region->name);
	heartbeat.outbox_events = look.events;
	heartbeat.outbox_oldest_us = look.events > 0 ? heartbeat.sent_at_us - look.oldest_age_us : 0;
	NOTE(relay, outbox_events, look.events);
	NOTE(relay, outbox_oldest_us, heartbeat.outbox_oldest_us);
	if (!relay->topics_ready || relay->heartbeat_sent)
		return;
	pl_policies_print(&policies, relay->policies);
	heartbeat.policies = policies.data;
	pl_heartbeat_print(&value, &heartbeat);
	message.value = value.data;
	message.value_len = value.len;
	relay->heartbeat_sent = pl_producer_send(relay->producer, relay->config->kafka.heartbeat_topic, &message, HEARTBEAT_TAG, &err) == 0;
	pl_buf_fini(&value);
	pl_buf_fini(&policies);
}

// --- the loop

static void take_configuration(struct pl_relay *relay)
{
	struct pl_config *config;
	const struct pl_region *region;

	pthread_mutex_lock(&relay->mutex);
	config = relay->next_config;
	region = relay->next_region;
	relay->next_config = NULL;
	pthread_mutex_unlock(&relay->mutex);
	if (!config)
		return;
	pl_config_unref(&relay->config);
	relay->config = config;
	relay->region = region;
	pl_policies_free(&relay->policies);
	relay->policies = pl_policies_new(config);
	relay->topics_ready = false; // there may be new ones
	relay->aside_at_us = 0;      // and what had no resource may have one
}

static void retry_aside(struct pl_relay *relay, int64_t now_us)
{
	if (relay->flights.aside == 0 || now_us < relay->aside_at_us)
		return;
	if (relay->aside_at_us != 0) {
		pl_flights_drop(&relay->flights, PL_FLIGHT_ASIDE, INT64_MAX);
		relay->whole_at_us = 0; // they may lie below the floor
		relay->wanted = true;
	}
	relay->aside_at_us = now_us + ASIDE_US;
}

// One round of what is to be done. False when something is away and there is nothing to do until try_at_us.
static bool turn(struct pl_relay *relay)
{
	int64_t now_us = pl_mono_us();

	if (now_us < relay->try_at_us)
		return false;
	if (!pl_relay_have_database(relay))
		return false;
	if (!pl_relay_leads(relay)) {
		beat_if_due(relay, now_us); // for the statistics only: without a producer nothing is sent
		return true;
	}
	if (!pl_relay_have_producer(relay) || !pl_relay_producer_lives(relay)) {
		beat_if_due(relay, now_us); // the lock's session must not fall silent
		return false;
	}
	if (!delete_done(relay))
		return false;
	retry_aside(relay, now_us);
	beat_if_due(relay, now_us);
	relay->wanted |= now_us >= relay->poll_at_us || atomic_load(&relay->rung);
	if (may_read(relay) && !read_and_send(relay))
		return false;
	if (relay->topics_ready && pl_session_connected(relay->session))
		pl_backoff_reset(&relay->backoff);
	return true;
}

static int64_t earliest(int64_t a, int64_t b)
{
	return a < b ? a : b;
}

// When the next round is due, if nobody rings.
static int64_t next_turn(const struct pl_relay *relay, bool busy)
{
	int64_t next_us = relay->beat_at_us;

	if (!busy)
		return relay->try_at_us;
	if (!relay->leader)
		return earliest(next_us, relay->lock_at_us);
	if (may_read(relay))
		return 0;
	if (relay->flights.sent == 0)
		next_us = earliest(next_us, relay->wanted && paced_until(relay) > 0 ? paced_until(relay) : relay->poll_at_us);
	if (relay->delete_at_us)
		next_us = earliest(next_us, relay->delete_at_us);
	return next_us;
}

static void sleep_until(struct pl_relay *relay, int64_t at_us)
{
	struct pollfd p[2] = {
		{ .fd = pl_wake_fd(relay->wake), .events = POLLIN }, { .fd = pl_wake_fd(relay->halt), .events = POLLIN },
	};
	int64_t left_us = at_us - pl_mono_us();

	if (left_us > 0)
		poll(p, 2, (int)((left_us + 999) / 1000));
	pl_wake_drain(relay->wake);
}

// Stopping: over when everything was sent, or cannot be, or the time for it is over.
static bool finished(const struct pl_relay *relay, bool busy)
{
	int64_t until_us = atomic_load(&relay->drain_until_us);

	if (until_us == 0)
		return false;
	if (pl_mono_us() >= until_us || !busy || !relay->leader || !relay->producer || !pl_producer_up(relay->producer))
		return true;
	return relay->level && !relay->wanted && !atomic_load(&relay->rung) && relay->flights.sent == 0 && relay->flights.done == 0;
}

static void *run(void *arg)
{
	struct pl_relay *relay = arg;
	bool busy = true;

	pl_log_set_thread("relay");
	while (!finished(relay, busy)) {
		take_configuration(relay);
		busy = turn(relay);
		if (!finished(relay, busy))
			sleep_until(relay, next_turn(relay, busy));
	}
	if (relay->leader && relay->flights.done > 0) {
		relay->delete_at_us = 1;
		delete_done(relay);
	}
	pl_producer_free(&relay->producer);
	pl_session_free(&relay->session);
	pl_wake_ring(relay->ended);
	return NULL;
}

// What any half-started state holds; the thread has ended or never was.
static void free_relay(struct pl_relay *relay)
{
	pl_policies_free(&relay->policies);
	pl_flights_fini(&relay->flights);
	pl_arena_free(&relay->arena);
	pl_session_free(&relay->session);
	if (relay->next_config)
		pl_config_unref(&relay->next_config);
	pl_config_unref(&relay->config);
	pthread_mutex_destroy(&relay->mutex);
	pl_wake_free(&relay->wake);
	pl_wake_free(&relay->halt);
	pl_wake_free(&relay->ended);
	free(relay->ids);
	free(relay);
}

struct pl_relay *pl_relay_start(const struct pl_config *config, const struct pl_region *region, struct pl_error *err)
{
	struct pl_relay *relay;
	char name[PL_REGION_MAX + 16];

	if (pl_producer_check(config, region, err) < 0)
		return NULL;
	relay = pl_calloc(1, sizeof *relay);
	relay->wake = pl_wake_new();
	relay->halt = pl_wake_new();
	relay->ended = pl_wake_new();
	pthread_mutex_init(&relay->mutex, NULL);
	relay->config = pl_config_ref(config);
	relay->region = region;
	relay->policies = pl_policies_new(config);
	relay->arena = pl_arena_new(256 * 1024);
	relay->backoff = (struct pl_backoff){ .min_us = SECOND / 20, .max_us = SECOND };
	relay->wanted = true;
	snprintf(name, sizeof name, "plistd %s relay", region->name);
	relay->session = pl_session_new(&(struct pl_session_options){
		.dsn = region->database, .application_name = name, .connect_timeout_us = config->database.connect_timeout_us,
		.statement_timeout_us = config->database.statement_timeout_us, .lock_timeout_us = config->database.lock_timeout_us,
		.stop_fd = pl_wake_fd(relay->halt), .setup = pl_outbox_setup,
	});
	if (pthread_create(&relay->thread, NULL, run, relay) != 0) {
		pl_error_set(err, PL_EINTERNAL, "the relay's thread cannot be started");
		free_relay(relay);
		return NULL;
	}
	return relay;
}

void pl_relay_wake(struct pl_relay *relay)
{
	if (!atomic_exchange(&relay->rung, true))
		pl_wake_ring(relay->wake);
}

void pl_relay_reconfigure(struct pl_relay *relay, const struct pl_config *config, const struct pl_region *region)
{
	pthread_mutex_lock(&relay->mutex);
	if (relay->next_config)
		pl_config_unref(&relay->next_config);
	relay->next_config = pl_config_ref(config);
	relay->next_region = region;
	pthread_mutex_unlock(&relay->mutex);
	pl_wake_ring(relay->wake);
}

void pl_relay_stop(struct pl_relay **at, int64_t drain_us)
{
	struct pl_relay *relay = *at;
	struct pollfd p;

	if (!relay)
		return;
	p = (struct pollfd){ .fd = pl_wake_fd(relay->ended), .events = POLLIN };
	atomic_store(&relay->rung, true); // one more read, for what was committed last
	atomic_store(&relay->drain_until_us, pl_mono_us() + (drain_us > 0 ? drain_us : 0));
	pl_wake_ring(relay->wake);
	poll(&p, 1, (int)(drain_us / 1000) + 1);
	pl_wake_ring(relay->halt); // also ends a wait inside a statement
	pthread_join(relay->thread, NULL);
	free_relay(relay);
	*at = NULL;
}

void pl_relay_stats(struct pl_relay *relay, struct pl_relay_stats *stats_r)
{
	*stats_r = (struct pl_relay_stats){
		.published = relay->stats.published, .batches = relay->stats.batches, .failed = relay->stats.failed,
		.producers_replaced = relay->stats.producers_replaced, .heartbeats = relay->stats.heartbeats,
		.outbox_events = relay->stats.outbox_events, .outbox_oldest_us = relay->stats.outbox_oldest_us,
		.leader = relay->stats.leader, .database_up = relay->stats.database_up, .broker_up = relay->stats.broker_up,
		.last_publish_us = relay->stats.last_publish_us,
	};
}
