// The relay: publishes the events of the outbox in order, and deletes them when every
// other region has applied them.
//
// Between this region's writes and Kafka: store/write_batch commits a row into the
// outbox and calls pl_relay_wake; this thread reads it (relay/outbox), encodes it
// (event/event), sends it (kafka/producer), and deletes it when the broker has
// acknowledged it and the other regions have applied it (relay/relay_marks.c).
// Threads: one of its own. pl_relay_wake and pl_relay_stats may be called from any;
// start, reconfigure and stop from the main thread.
//
// One relay per region. It is the session named by a row of plist_leaders; the region's
// other daemons try to take over four times a second. Leadership ends with the database
// session, and with it everything that the relay remembers: a relay that loses its
// session forgets what was in flight and discards its producer. Rows after the newest
// mark (relay/relay_marks.c) are read and sent again, by this daemon or another. Sending
// an event twice is harmless, since a vector covers the writes that it includes; never
// sending it would not be, so no row is deleted that was not acknowledged.
//
// A frozen process, or a machine that disappears, would keep the session and thereby
// leadership. The daemon that takes over its partitions ends that session (apply/claims).
// So leadership has no lease of its own: it ends with that of the claims, which a thread
// keeps that waits for nothing but the database. The relay's own thread may wait for a
// broker for seconds, and its session may be in the middle of sending rows, which no
// timeout of PostgreSQL ends. If no daemon takes over partitions, such as when its
// database cannot be written, PostgreSQL ends a leader's session that is silent for
// SILENT_US. When the old leader wakes up, what it still has in flight arrives a second
// time. A leader whose session was used within the last second is not taken for dead,
// even if its claims have ended; one that was only slow finds its session ended, connects
// again, and leads again if nobody else does.
//
// Order. Rows are read and sent in the order of their ids, which is the order of each
// record's writes (relay/outbox.c). If an event was not delivered, everything in flight
// is abandoned and read again. Events that had overtaken it are then sent once more,
// after it: an acknowledged row is deleted only when all rows before it are
// acknowledged. So the last message of a record is always its newest write. Only an
// event that the broker refuses permanently (too large) is set aside: it stays in the
// outbox and is retried later, while the others continue (relay/relay_refused.c).
//
// Pace. There are no timers while there is work. While reads return as many rows, or as
// many bytes, as they may, up to WINDOW batches are in flight. When a read returns fewer,
// the relay has caught up with the writers, and the next read waits until everything in
// flight is acknowledged. So a single write is sent immediately, and under load rows
// accumulate while the broker is busy. A read every IDLE_US finds what other daemons have
// committed.
//
// But the broker is not busy for long, and answers each small batch with one request
// per partition, here and at every consumer. If it shares the machine with the writers,
// or serves many, this is most of the cost of an event. So after a read of
// PL_LINGER_BUSY or more rows that left none behind, if they came at such a rate that the
// linger time is long enough for that many, the next one waits until kafka.linger has
// passed. (PUT/s while the relay publishes, on two processors shared
// by everything, medians of alternating runs: 13.2 thousand without, 15.6 at 10 ms,
// 17.2 at 20 ms; end to end: 5.6, 6.3 at 10 ms, 7.1 at 20 ms. On another machine: 14.0
// thousand at 20 ms, 17.1 at 40 ms, 17.1 at 80 ms, where Kafka used 24, 14 and 11 µs of
// processor time per event.) Below about 800 events a second, no read returns that many
// at the default setting, and nothing waits.
#include "relay/relay.h"

#include "relay/relay_private.h"

// ---- the work

static size_t size_of(const struct pl_outgoing_message *message)
{
	size_t size = message->key_len + message->value_len;

	for (int i = 0; i < message->nheaders; i++)
		size += strlen(message->headers[i].name) + message->headers[i].len;
	return size;
}

static void note_sent(struct pl_relay *relay, const struct pl_outbox_row *row,
                      const struct pl_resource *resource, const struct pl_outgoing_message *message)
{
	struct pl_relay_sent *last = &relay->last;

	last->id = row->id;
	last->bytes = size_of(message);
	last->too_large = false;
	snprintf(last->what, sizeof(last->what), "%s %s", row->resource, row->record_id);
	snprintf(last->topic, sizeof(last->topic), "%s", resource->topic);
}

// A number shared by all rows of one record, and rarely by others.
static uint32_t number_of(const struct pl_resource *resource, const struct pl_outbox_row *row)
{
	return (uint32_t)strtoull(row->record_id, NULL, 10) +
	       (uint32_t)resource->index * UINT32_C(2654435761);
}

static bool refuse(struct pl_relay *relay, const struct pl_outbox_row *row, const char *why)
{
	char what[128];

	snprintf(what, sizeof(what), "%s %s", row->resource, row->record_id);
	relay->retrying = false;
	pl_id_ranges_add(&relay->cursor.read, row->id);
	return pl_relay_refuse(relay, row->id, what, why);
}

// Called when the producer has accepted it.
static void note_in_flight(struct pl_relay *relay, const struct pl_in_flight_row *row)
{
	pl_in_flight_add(&relay->in_flight, row);
	if (row->id > relay->cursor.floor)
		pl_id_ranges_add(&relay->cursor.read, row->id);
}

// Called when it was not accepted but has used up a number.
static void note_not_sent(struct pl_relay *relay, const struct pl_in_flight_row *row)
{
	if (row->seq > 0)
		pl_streams_break(pl_streams_at(&relay->streams, row->slot), row->prev);
}

bool pl_relay_send_row(struct pl_relay *relay, const struct pl_outbox_row *row)
{
	const struct pl_resource *resource = pl_config_resource(relay->config, row->resource);
	struct pl_in_flight_row sent = { .id = row->id, .state = PL_IN_FLIGHT_SENT };
	struct pl_outgoing_message message;
	struct pl_sequence_text text;
	struct pl_error err = { 0 };
	int code;

	if (!resource)
		return refuse(relay, row, PL_OUTBOX_UNKNOWN_RESOURCE);
	if (pl_event_encode(relay->arena, row, pl_policy_ids_header(relay->policies, resource->index),
	                    &message, &err) < 0)
		return refuse(relay, row, err.text);
	sent.record = number_of(resource, row);
	sent.bytes = size_of(&message);
	code = pl_relay_number(relay, resource, &message, &sent, &text, &err);
	if (code == 0)
		code = pl_producer_send(relay->producer, resource->topic, &message, row->id, &err);
	if (code == 0) {
		note_in_flight(relay, &sent);
		if (relay->alone)
			note_sent(relay, row, resource, &message);
		return true;
	}
	note_not_sent(relay, &sent);
	if (code == PL_EINVAL)
		return refuse(relay, row, err.text);
	if (code != PL_EBUSY && pl_log_limit_ok(&relay->delivery_limit, 10 * SECOND))
		pl_warning("relay: %s; events wait in the outbox", err.text);
	relay->undelivered |= code != PL_EBUSY;
	return false;
}

// Reads a gap above the floor once more, then closes it.
static bool closes_a_gap(const struct pl_relay *relay)
{
	return relay->cursor.next_floor > relay->cursor.floor && pl_outbox_has_gap(&relay->cursor);
}

// Until when to wait for more rows; 0: do not wait.
static int64_t paced_until(const struct pl_relay *relay)
{
	if (!relay->level || relay->one_by_one > 0 || closes_a_gap(relay) ||
	    atomic_load(&relay->drain_until_us) != 0)
		return 0;
	return pl_linger_until(&relay->linger, relay->config->kafka.linger_us);
}

static bool may_read(const struct pl_relay *relay)
{
	if (!relay->wanted || relay->undelivered || pl_relay_rewinds(relay) || relay->in_flight.refused > 0 ||
	    relay->topics_refused)
		return false;
	if (relay->one_by_one > 0 || relay->level || relay->alone || pl_relay_retry_due(relay, pl_mono_us()))
		return relay->in_flight.sent == 0 && pl_mono_us() >= paced_until(relay);
	return relay->in_flight.sent + relay->in_flight.done < WINDOW * relay->config->kafka.relay_batch &&
	       relay->in_flight.bytes < (size_t)WINDOW * PL_OUTBOX_READ_BYTES;
}

static int portion_of(const struct pl_relay *relay)
{
	int most = relay->one_by_one < relay->config->kafka.relay_batch ? relay->one_by_one
	                                                                : relay->config->kafka.relay_batch;

	return relay->portion < most ? relay->portion : most;
}

static bool read_and_send(struct pl_relay *relay)
{
	int64_t now_us = pl_mono_us();
	int limit = relay->one_by_one > 0 ? portion_of(relay) : relay->config->kafka.relay_batch, sent = 0;
	bool closes = closes_a_gap(relay);
	struct pl_outbox_batch batch;
	struct pl_error err = { 0 };

	atomic_store(&relay->rung, false); // before reading: a later commit rings again
	relay->poll_at_us = now_us + IDLE_US;
	if (pl_outbox_read(relay->session, &relay->cursor, pl_in_flight_first(&relay->in_flight), limit,
	                   &batch, &err) < 0) {
		pl_relay_database_failed(relay, &err);
		return false;
	}
	relay->alone = batch.n == 1 && relay->in_flight.sent == 0;
	relay->used = batch.n;
	while (sent < batch.n && pl_relay_send_row(relay, &batch.rows[sent]))
		sent++;
	relay->level = !batch.more;
	if (relay->one_by_one > 0) {
		relay->one_by_one -= sent < relay->one_by_one ? sent : relay->one_by_one;
		relay->portion *= 2; // a refusal has halved the last one's size
	}
	if (batch.n > 0 || !closes)
		pl_linger_note(&relay->linger, batch.n, now_us, relay->config->kafka.linger_us);
	relay->wanted = !relay->level || sent < batch.n;
	if (batch.n > 0)
		COUNT(relay, batches, 1);
	if (relay->level)
		NOTE(relay, outbox_events, relay->in_flight.n);
	if (relay->one_by_one > 0 && batch.n == 0) // the rows that were to be tried alone no longer exist
		relay->one_by_one = 0;
	pl_outbox_batch_fini(&batch);
	pl_arena_reset(relay->arena);
	return true;
}

// ---- the loop

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
	pl_session_set_dsn(relay->session, region->database, region->database_file);
	pl_policy_ids_free(&relay->policies);
	relay->policies = pl_policy_ids_new(config);
	pl_relay_renew_producer(relay);
	relay->topics_ready = false; // the configuration may have new topics
	pl_relay_forget_topics_question(relay);
	relay->retry_all = true; // a refused event's resource may be configured now
}

// One round of work. False if something is unavailable and there is nothing to do until
// try_at_us.
static bool turn(struct pl_relay *relay)
{
	int64_t now_us = pl_mono_us();

	if (now_us < relay->try_at_us)
		return false;
	if (!pl_relay_have_database(relay))
		return false;
	if (!pl_relay_leads(relay)) {
		if (relay->asks && pl_relay_have_producer(relay))
			pl_relay_producer_lives(relay);
		pl_relay_beat_if_due(relay, now_us); // for the statistics: nothing is sent without a producer
		return true;
	}
	if (!pl_relay_have_producer(relay) || !pl_relay_producer_lives(relay)) {
		pl_relay_beat_if_due(relay, now_us); // the leader's session must not be silent
		return false;
	}
	// First, because checking the session finds out why later steps would fail.
	if (!pl_relay_beat_if_due(relay, now_us) || !relay->leader)
		return false;
	if (!pl_relay_settle(relay) || !pl_relay_settle_refused(relay) ||
	    !pl_relay_keep_marks(relay, now_us) || !pl_relay_tell_position(relay, now_us))
		return false;
	pl_relay_watch_topics(relay, now_us);
	pl_relay_send_mail(relay);
	if (!relay->leader || !pl_relay_retry_refused(relay, now_us) || !pl_relay_send_letters(relay, now_us))
		return false;
	relay->wanted |= now_us >= relay->poll_at_us || atomic_load(&relay->rung);
	if (may_read(relay) && !read_and_send(relay))
		return false;
	if (relay->topics_ready && pl_session_connected(relay->session))
		pl_backoff_reset(&relay->backoff);
	if (relay->topics_ready && pl_mono_us() >= relay->try_at_us) // nothing has failed in this round
		pl_relay_database_works(relay);
	return true;
}

static int64_t earliest(int64_t a, int64_t b)
{
	return a < b ? a : b;
}

// When the next round is due without a wake-up.
static int64_t next_turn(const struct pl_relay *relay, bool busy)
{
	int64_t next_us = relay->beat_at_us;

	if (!busy)
		return relay->try_at_us;
	if (!relay->leader)
		return earliest(next_us, relay->lock_at_us);
	if (relay->topics_refused)
		return earliest(next_us, pl_mono_us() + IDLE_US);
	if (may_read(relay))
		return 0;
	if (relay->in_flight.sent == 0)
		next_us = earliest(next_us, relay->wanted && paced_until(relay) > 0 ? paced_until(relay)
		                                                                    : relay->poll_at_us);
	next_us = earliest(next_us, pl_relay_marks_due_us(relay));
	next_us = earliest(next_us, pl_relay_position_due_us(relay));
	if (relay->config->kafka.dead_letter_topic && relay->letters.n == 0)
		next_us = earliest(next_us, relay->letters.look_at_us);
	if (relay->refused > 0 && relay->in_flight.sent == 0)
		next_us = earliest(next_us, relay->retry_at_us);
	return next_us;
}

static void sleep_until(struct pl_relay *relay, int64_t at_us)
{
	struct pollfd p[2] = {
		{ .fd = pl_wake_fd(relay->wake), .events = POLLIN },
		{ .fd = pl_wake_fd(relay->halt), .events = POLLIN },
	};
	int64_t left_us = at_us - pl_mono_us();

	if (left_us > 0)
		poll(p, 2, (int)((left_us + 999) / 1000));
	pl_wake_drain(relay->wake);
}

// While stopping: whether everything was sent, cannot be sent, or the time is up.
static bool finished(const struct pl_relay *relay, bool busy)
{
	int64_t until_us = atomic_load(&relay->drain_until_us);

	if (until_us == 0)
		return false;
	if (pl_mono_us() >= until_us || !busy || !relay->leader || relay->topics_refused ||
	    !relay->producer || !pl_producer_up(relay->producer))
		return true;
	return relay->level && !relay->wanted && !atomic_load(&relay->rung) && relay->in_flight.sent == 0 &&
	       relay->in_flight.done == 0;
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
	pl_relay_end(relay);
	pl_relay_forget_topics_question(relay);
	pl_producer_free(&relay->producer);
	pl_session_free(&relay->session);
	pl_wake_ring(relay->ended);
	return NULL;
}

// Frees what a partly started relay holds; the thread has ended or never ran.
static void free_relay(struct pl_relay *relay)
{
	pl_policy_ids_free(&relay->policies);
	pl_topics_findings_fini(&relay->findings);
	pl_in_flight_fini(&relay->in_flight);
	pl_arena_free(&relay->arena);
	pl_session_free(&relay->session);
	if (relay->next_config)
		pl_config_unref(&relay->next_config);
	pl_config_unref(&relay->config);
	pthread_mutex_destroy(&relay->mutex);
	pl_wake_free(&relay->wake);
	pl_wake_free(&relay->halt);
	pl_wake_free(&relay->ended);
	for (int i = 0; i < PL_REGIONS_MAX; i++)
		pl_sequence_fini(&relay->regions[i].received);
	pl_marks_fini(&relay->marks);
	pl_streams_fini(&relay->streams);
	pl_outbox_cursor_fini(&relay->cursor);
	pl_relay_forget_letters(relay);
	free(relay);
}

struct pl_relay *pl_relay_start(const struct pl_config *config, const struct pl_region *region,
                                struct pl_error *err)
{
	struct pl_relay *relay;
	char name[PL_REGION_MAX + 16];

	if (pl_producer_check(config, region, err) < 0)
		return NULL;
	relay = pl_calloc(1, sizeof(*relay));
	relay->wake = pl_wake_new();
	relay->halt = pl_wake_new();
	relay->ended = pl_wake_new();
	pthread_mutex_init(&relay->mutex, NULL);
	relay->config = pl_config_ref(config);
	relay->region = region;
	pl_kafka_client_files(config, relay->checked_files);
	relay->policies = pl_policy_ids_new(config);
	relay->arena = pl_arena_new(256 * 1024);
	relay->backoff = (struct pl_backoff){ .min_us = SECOND / 20, .max_us = SECOND };
	relay->replace_backoff = (struct pl_backoff){ .min_us = SECOND / 20, .max_us = 5 * SECOND };
	relay->rewind_backoff = (struct pl_backoff){ .min_us = SECOND, .max_us = 60 * SECOND };
	pl_marks_init(&relay->marks);
	relay->wanted = true;
	snprintf(name, sizeof(name), "plistd %s relay", region->name);
	relay->session = pl_session_new(&(struct pl_session_options){
		.dsn = region->database,
		.dsn_file = region->database_file,
		.application_name = name,
		.connect_timeout_us = config->database.connect_timeout_us,
		.statement_timeout_us = config->database.statement_timeout_us,
		.lock_timeout_us = config->database.lock_timeout_us,
		.stop_fd = pl_wake_fd(relay->halt),
		.setup = pl_outbox_setup,
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

const _Atomic int *pl_relay_process(const struct pl_relay *relay)
{
	return &relay->stats.process;
}

void pl_relay_reconfigure(struct pl_relay *relay, const struct pl_config *config,
                          const struct pl_region *region)
{
	pthread_mutex_lock(&relay->mutex);
	if (relay->next_config)
		pl_config_unref(&relay->next_config);
	relay->next_config = pl_config_ref(config);
	relay->next_region = region;
	pthread_mutex_unlock(&relay->mutex);
	pl_wake_ring(relay->wake);
}

void pl_relay_stop(struct pl_relay **relay_p, int64_t drain_us)
{
	struct pl_relay *relay = *relay_p;
	struct pollfd p;

	if (!relay)
		return;
	p = (struct pollfd){ .fd = pl_wake_fd(relay->ended), .events = POLLIN };
	atomic_store(&relay->rung, true); // one more read, for the last commits
	atomic_store(&relay->drain_until_us, pl_mono_us() + (drain_us > 0 ? drain_us : 0));
	pl_wake_ring(relay->wake);
	poll(&p, 1, (int)(drain_us / 1000) + 1);
	pl_wake_ring(relay->halt); // also ends a wait within a statement
	pthread_join(relay->thread, NULL);
	free_relay(relay);
	*relay_p = NULL;
}

void pl_relay_stats(struct pl_relay *relay, struct pl_relay_stats *stats_r)
{
	*stats_r = (struct pl_relay_stats){
		.published = relay->stats.published,
		.batches = relay->stats.batches,
		.failed = relay->stats.failed,
		.producers_replaced = relay->stats.producers_replaced,
		.heartbeats = relay->stats.heartbeats,
		.outbox_events = relay->stats.outbox_events,
		.outbox_oldest_us = relay->stats.outbox_oldest_us,
		.leader = relay->stats.leader,
		.database_up = relay->stats.database_up,
		.broker_up = relay->stats.broker_up,
		.last_publish_us = relay->stats.last_publish_us,
		.refused = relay->stats.refused,
		.kept_rows = relay->stats.kept_rows,
		.sent_id = relay->stats.sent_id,
		.rewinds = relay->stats.rewinds,
		.republished = relay->stats.republished,
		.topic_problems = relay->stats.topic_problems,
	};
	int64_t since_us = relay->stats.failing_since_us;

	if (since_us == 0)
		return;
	stats_r->failing_us = pl_mono_us() - since_us;
	pthread_mutex_lock(&relay->mutex);
	snprintf(stats_r->trouble, sizeof(stats_r->trouble), "%s", relay->trouble);
	pthread_mutex_unlock(&relay->mutex);
}
