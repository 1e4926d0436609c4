// An applier: its thread, and how it survives the loss of what it depends on.
//
// Between Kafka (kafka/consumer) and the database (apply/batch). Each round takes the
// messages that have arrived, up to a batch, has them applied, and only then stores their
// offsets for the group to commit. After a batch of PL_LINGER_BUSY messages or more, the
// next one does not start before kafka.linger has passed, unless it is full: see
// relay/relay.c.
// Threads: one of its own. pl_applier_reconfigure and the two stops are called by the
// main thread.
//
// What may be unavailable, and what happens then
//
//   the broker     nothing arrives. librdkafka reconnects, and reading continues where it
//                  stopped.
//   the database   the batch is kept, the consumer pauses and keeps its partitions, and
//                  the batch is retried until it is written. Heartbeats are still read,
//                  and written when the database takes them.
//   a table        that another session has locked: the same for a moment; then its
//                  events are parked if there are other resources. See
//                  apply/batch_locked.c.
//   a partition    is given up for another daemon (apply/claims) while its messages are
//                  buffered: they are dropped, and the other daemon reads them.
//   offsets        that Kafka no longer has: reading starts at the earliest message.
//                  applier_sequences.c finds what is missing then.
//   a topic        that was missing for a moment, when the broker lost its disk: it is
//                  created again, and read from its start.
//
// The group's offsets decide where reading continues. The positions in the database can
// only send the applier *back*, when they are behind the group's: then this is not the
// database that those events were written to (it was restored from a backup, or is new).
// They never send it forward: a broker that lost its disk counts offsets from the start
// again. Nor may the group's offset skip events that are newer than all that were read of
// a partition: it may belong to the lost topic. All this is checked whenever reading of a
// partition begins, and after the database or all brokers were lost, before anything is
// applied (apply/positions). Applying twice is harmless.
//
// Our own region's events come back from Kafka and need no transaction, since our
// database has them. Their offsets are stored at once, and the position in the database
// follows once a second. But a database that was just connected to may be a backup, or
// a standby that lacked the latest transactions when it was promoted. Then every region
// but ours knows our last writes, and we would assign their dots again. So events that
// were in Kafka when the database was found are applied whatever their origin; those
// that it has are stale.
#include "apply/applier.h"

#include "apply/applier_private.h"

static bool stopping(const struct pl_applier *applier)
{
	return pl_kafka_client_stopping(pl_wake_fd(applier->halt));
}

static void publish_counts(struct pl_applier *applier)
{
	const struct pl_apply_counts *c = &applier->counts;

	NOTE(applier, applied, c->applied);
	NOTE(applier, stale, c->stale);
	NOTE(applier, own, c->own);
	NOTE(applier, conflicts, c->conflicts);
	NOTE(applier, twins, c->twins);
	NOTE(applier, policy_errors, c->policy_errors);
	NOTE(applier, foreign, c->foreign);
	NOTE(applier, dead_letters, c->dead_letters);
	NOTE(applier, batches, c->batches);
	NOTE(applier, retries, c->retries);
	NOTE(applier, shadow_same, c->shadow_same);
	NOTE(applier, shadow_different, c->shadow_different);
	NOTE(applier, shadow_failed, c->shadow_failed);
	NOTE(applier, parked_total, c->parked);
	NOTE(applier, not_ours, c->not_ours);
	NOTE(applier, returned, c->returned);
}

void pl_applier_read_again(struct pl_applier *applier)
{
	if (applier->buffer.writing)
		pl_apply_batch_forget_ahead(applier->batch);
	else
		pl_apply_batch_forget(applier->batch);
}

// Each topic belongs to one resource, so two configurations with equally many resources
// have the same topics if one has all of the other's.
static bool same_topics(const struct pl_config *a, const struct pl_config *b)
{
	for (int i = 0; i < a->nresources; i++)
		if (!pl_config_resource_of_topic(b, a->resources[i].topic))
			return false;
	return a->nresources == b->nresources;
}

// Between two batches. Topics are looked at again only if they have changed, since that
// waits for the broker.
static void take_configuration(struct pl_applier *applier)
{
	struct pl_config *config;
	const struct pl_region *region;

	pthread_mutex_lock(&applier->mutex);
	config = applier->next_config;
	region = applier->next_region;
	applier->next_config = NULL;
	if (config)
		applier->taken = atomic_load(&applier->stats.given);
	pthread_mutex_unlock(&applier->mutex);
	if (!config)
		return;
	pl_applier_free_tools(applier);
	applier->prepared &= same_topics(applier->config, config);
	pl_config_unref(&applier->config);
	applier->config = config;
	applier->region = region;
	pl_applier_make_tools(applier);
	pl_applier_forget_topics(applier);
	if (applier->prepared)
		pl_applier_note_topics(applier);
	pl_applier_read_again(applier); // with the new fields
	applier->unchecked = true;
	applier->follows = false;
	pl_applier_renew_consumer(applier);
	pl_applier_begin_retries(applier);
}

// ---- taking messages

static void take(struct pl_applier *applier, rd_kafka_message_t *message)
{
	if (pl_consumer_is_heartbeat(applier->consumer, message)) {
		pl_applier_take_heartbeat(applier, message);
		rd_kafka_message_destroy(message);
	} else {
		pl_fetch_buffer_take(&applier->buffer, message);
	}
}

// Takes messages up to a batch; waits only for the first one.
static void take_up_to_a_batch(struct pl_applier *applier, int timeout_ms)
{
	const struct pl_fetched *held = pl_fetch_buffer_open(&applier->buffer);
	rd_kafka_message_t *message;

	while (held->n < applier->config->kafka.apply_batch && held->bytes < BATCH_BYTES) {
		// may drop what was taken
		message = pl_consumer_poll(applier->consumer, timeout_ms);
		if (!message)
			return;
		take(applier, message);
		held = pl_fetch_buffer_open(&applier->buffer);
		timeout_ms = 0;
	}
}

// How long to wait for more messages. Under load each partition's arrive separately,
// and a transaction for each would cost more than the messages.
static int64_t gather_us(const struct pl_applier *applier)
{
	int64_t left_us = pl_linger_until(&applier->linger, applier->config->kafka.linger_us) - pl_mono_us();

	return left_us > 0 && applier->buffer.now.n < applier->config->kafka.apply_batch &&
	                       applier->buffer.now.bytes < BATCH_BYTES
	               ? left_us
	               : 0;
}

static int patience_ms(const struct pl_applier *applier)
{
	int64_t gather_ms = (gather_us(applier) + 999) / 1000;
	int ms = POLL_MS;

	if (!applier->follows)
		ms = START_MS;
	else if (pl_reached_pending(&applier->reached) && applier->buffer.now.n == 0)
		ms = PL_REACHED_LOOK_MS;
	else if (applier->buffer.now.n > 0 && applier->try_at_us <= pl_mono_us() && gather_ms < POLL_MS)
		ms = (int)gather_ms;
	ms = pl_reresolve_patience_ms(&applier->reresolve, ms);
	return pl_parked_retry_patience_ms(&applier->parked, ms);
}

static void take_messages(struct pl_applier *applier)
{
	rd_kafka_message_t *message;

	take_up_to_a_batch(applier, patience_ms(applier));
	// Poll also while waiting for the database, for heartbeats and what librdkafka
	// reports.
	if (applier->try_at_us > pl_mono_us() && (message = pl_consumer_poll(applier->consumer, POLL_MS)))
		take(applier, message);
}

// Takes and reads the next batch while the database is busy with this one.
static void take_ahead(void *arg)
{
	struct pl_applier *applier = arg;

	pl_fetch_buffer_sweep(&applier->buffer);
	take_up_to_a_batch(applier, 0);
	pl_fetch_buffer_doubt(&applier->buffer, &applier->buffer.ahead);
	pl_apply_batch_read_ahead(applier->batch, &applier->tools, applier->buffer.ahead.messages,
	                          applier->buffer.ahead.n);
}

// ---- where to read on

static struct pl_positions positions_of(struct pl_applier *applier)
{
	return (struct pl_positions){ &applier->buffer, applier->consumer, &applier->tools, applier->arena };
}

// Before anything is applied to this database or from these partitions. False: try later.
static bool check_positions(struct pl_applier *applier)
{
	struct pl_positions positions = positions_of(applier);
	struct pl_positions_written written;
	struct pl_error err = { 0 };

	if (!applier->unchecked || applier->buffer.npartitions == 0)
		return true;
	pl_arena_reset(applier->arena);
	if (pl_positions_load(&positions, &written, &err) < 0 ||
	    pl_sequences_load(&applier->sequences, applier->tools.session, &err) < 0 ||
	    pl_applier_learn_heard(applier, &err) < 0) {
		pl_applier_database_failed(applier, &err);
		return false;
	}
	applier->unsettled = pl_positions_settle(&positions, &written, &err) < 0;
	if (applier->unsettled) {
		if (pl_log_limit_ok(&applier->kafka_limit, 10 * SECOND))
			pl_warning("%s; trying again", err.text);
		if (applier->was_up)
			pl_applier_note_failure(applier, err.text);
		applier->try_at_us = pl_mono_us() + pl_backoff_next(&applier->backoff);
		return false;
	}
	pl_applier_forget_reached(applier);
	pl_applier_read_again(applier);
	applier->unchecked = false;
	return true;
}

// ---- applying messages

// Reads the buffered messages that were not read yet, and reports to the tracker that
// they are not applied.
static void read_messages(struct pl_applier *applier)
{
	pl_fetch_buffer_doubt(&applier->buffer, &applier->buffer.now);
	pl_apply_batch_read(applier->batch, &applier->tools, applier->buffer.now.messages,
	                    applier->buffer.now.n);
	pl_applier_report_held(applier);
}

static bool write_batch(struct pl_applier *applier)
{
	struct pl_error err = { 0 };
	uint64_t kept = applier->counts.parked + applier->counts.dead_letters;

	applier->tools.meanwhile = take_ahead;
	applier->tools.arg = applier;
	pl_linger_note(&applier->linger, applier->buffer.now.n, pl_mono_us(),
	               applier->config->kafka.linger_us);
	applier->had_backlog |= applier->buffer.now.n >= BACKLOG;
	pl_fetch_buffer_begin(&applier->buffer);
	if (pl_apply_batch_write(applier->batch, &applier->tools, &applier->counts, &err) == 0) {
		pl_applier_report_applied(applier);
		pl_parked_retry_note_others(&applier->parked);
		if (applier->counts.parked + applier->counts.dead_letters != kept)
			applier->flush_at_us = 0; // count them at once
		return true;
	}
	applier->counts.retries++;
	pl_applier_database_failed(applier, &err);
	if (!pl_fetch_buffer_failed(&applier->buffer))
		pl_apply_batch_advance(applier->batch);
	return false;
}

// False: another daemon may read these partitions now. Try later: either they come back
// or their messages are dropped.
static bool claims_hold(struct pl_applier *applier)
{
	if (pl_claims_hold(applier->claims))
		return true;
	applier->try_at_us = pl_mono_us() + SECOND / 20;
	return false;
}

static void apply_messages(struct pl_applier *applier)
{
	struct pl_error err = { 0 };
	bool matters;

	if (applier->buffer.now.n == 0)
		return;
	read_messages(applier);
	matters = pl_apply_batch_matters(applier->batch);
	if (matters || applier->unchecked || pl_apply_batch_has_own(applier->batch)) {
		if (!pl_applier_may_write(applier) || !check_positions(applier) || applier->buffer.now.n == 0)
			return;
		if (pl_apply_batch_size(applier->batch) < applier->buffer.now.n)
			// again: more is known of the database now
			read_messages(applier);
		if (pl_apply_batch_check_own(applier->batch, &applier->tools, &applier->counts, &err) < 0) {
			pl_applier_database_failed(applier, &err);
			return;
		}
		matters = pl_apply_batch_matters(applier->batch);
	}
	if (matters && (!claims_hold(applier) || !write_batch(applier)))
		return;
	if (!matters)
		applier->counts.own += (uint64_t)applier->buffer.now.n;
	publish_counts(applier);
	pl_fetch_buffer_done(&applier->buffer, applier->consumer, matters);
	pl_apply_batch_advance(applier->batch);
	pl_lag_tracker_holds(applier->tracker, applier->index, NULL, 0);
	pl_applier_report_progress(applier);
	pl_applier_database_works(applier);
}

// ---- besides applying

// Counts what waits for an operator, for metrics and status.
static int count_kept(struct pl_applier *applier, struct pl_error *err)
{
	int64_t dead, left_twice = 0;
	int code = pl_parked_retry_count(&applier->parked, applier->batch, &applier->tools, &dead, err);

	if (code == 0 && applier->index == 0)
		code = pl_parked_retry_look(&applier->parked, &applier->tools, err);
	if (code == 0 && applier->index == 0)
		code = pl_created_twice_count(&applier->tools, &left_twice, err);
	if (code < 0)
		return code;
	NOTE(applier, left_twice, left_twice);
	NOTE(applier, parked, applier->parked.parked);
	NOTE(applier, dead, dead);
	return 0;
}

// A database that was not accepted yet must know the others' heartbeats, or nobody could
// judge it.
static void hear_others(struct pl_applier *applier)
{
	struct pl_error err = { 0 };

	if (pl_session_connected(applier->tools.session) && !applier->accepted &&
	    pl_heartbeats_flush(&applier->heartbeats, &applier->tools, &err) < 0)
		pl_applier_database_failed(applier, &err);
	pl_applier_answer(applier);
	applier->flush_at_us = applier->flushed_at_us + FLUSH_US / 4;
}

// Writes what only operators read, once a second.
static void flush(struct pl_applier *applier)
{
	struct pl_positions positions = positions_of(applier);
	struct pl_error err = { 0 };

	applier->flushed_at_us = pl_mono_us();
	applier->flush_at_us = applier->flushed_at_us + FLUSH_US;
	pl_applier_give_memory_back(applier);
	// Without writes nothing else would notice that the session's database was
	// replaced.
	pl_session_stands(applier->tools.session);
	if (!pl_applier_may_write(applier)) {
		hear_others(applier);
		return;
	}
	if (!check_positions(applier) || !claims_hold(applier))
		return;
	pl_applier_rewrite_positions(applier);
	pl_arena_reset(applier->arena);
	if (pl_session_look(applier->tools.session, &err) < 0 || pl_positions_flush(&positions, &err) < 0 ||
	    pl_heartbeats_flush(&applier->heartbeats, &applier->tools, &err) < 0 ||
	    count_kept(applier, &err) < 0 || !pl_applier_check_sequences(applier, &err))
		pl_applier_database_failed(applier, &err);
	else if (applier->buffer.now.n == 0)
		pl_applier_database_works(applier);
	pl_applier_answer(applier);
}

// ---- the loop

static void pause_for(struct pl_applier *applier, int64_t us)
{
	struct pollfd p = { .fd = pl_wake_fd(applier->halt), .events = POLLIN };

	if (us > 0)
		poll(&p, 1, (int)(us / 1000) + 1);
}

static bool have_consumer(struct pl_applier *applier)
{
	struct pl_consumer_options options = {
		.config = applier->config,
		.region = applier->region,
		.heartbeats = applier->index == 0,
	};
	struct pl_error err = { 0 };

	if (!applier->consumer) {
		pl_applier_forget_topics(applier);
		pl_kafka_client_files(applier->config, applier->consumer_files);
		applier->consumer = pl_consumer_new(&options, &err);
		applier->losses = 0;
	}
	if (applier->consumer && (applier->prepared || pl_mono_us() < applier->prepare_at_us))
		return true;
	if (applier->consumer && pl_consumer_prepare(applier->consumer, applier->config, TOPICS_US,
	                                             pl_wake_fd(applier->halt), &err) == 0) {
		applier->prepared = true;
		applier->look_at_us = pl_mono_us() + LOOK_US;
		pl_applier_doubt_topics(applier);
		pl_applier_note_topics(applier);
		pl_backoff_reset(&applier->kafka_backoff);
		return true;
	}
	if (err.code != PL_ESTOPPED)
		pl_applier_note_trouble(applier, err.text);
	if (err.code != PL_ESTOPPED && pl_log_limit_ok(&applier->kafka_limit, 10 * SECOND))
		pl_warning("%s; trying again", err.text);
	applier->prepare_at_us = pl_mono_us() + pl_backoff_next(&applier->kafka_backoff);
	return applier->consumer != NULL;
}

static void round_of(struct pl_applier *applier)
{
	int64_t now_us;
	take_configuration(applier);
	if (!have_consumer(applier)) {
		pause_for(applier, applier->prepare_at_us - pl_mono_us());
		return;
	}
	if (applier->prepared)
		pl_applier_follow_claims(applier);
	take_messages(applier);
	pl_applier_notice_losses(applier);
	now_us = pl_mono_us();
	if (now_us >= applier->try_at_us) {
		if (gather_us(applier) == 0)
			apply_messages(applier);
		if (now_us >= applier->flush_at_us)
			flush(applier);
		if (applier->accepted)
			pl_applier_reach(applier, now_us);
		if (applier->index == 0 && pl_parked_retry_is_due(&applier->parked, now_us))
			pl_applier_retry_parked(applier);
		if (applier->index == 0 && applier->accepted)
			pl_created_twice_run(&applier->created_twice, &applier->tools);
		if (pl_reresolve_is_due(&applier->reresolve, now_us))
			pl_applier_reresolve(applier);
	}
	if (now_us >= applier->tick_at_us) {
		pl_fetch_buffer_sweep(&applier->buffer); // no batch has done it meanwhile
		pl_applier_tick(applier);
	}
}

static void *run(void *arg)
{
	struct pl_applier *applier = arg;
	struct pl_positions positions;
	struct pl_error err = { 0 };
	char name[24];

	snprintf(name, sizeof(name), applier->index ? "apply-%d" : "apply", applier->index + 1);
	pl_log_set_thread(name);
	pl_applier_make_tools(applier);
	pl_applier_begin_retries(applier);
	while (!stopping(applier))
		round_of(applier);
	positions = positions_of(applier);
	if (pl_session_connected(applier->tools.session) && !applier->unchecked &&
	    pl_claims_hold(applier->claims) && pl_positions_flush(&positions, &err) == 0)
		pl_heartbeats_flush(&applier->heartbeats, &applier->tools, &err);
	pl_fetch_buffer_sweep(&applier->buffer);
	pl_consumer_free(&applier->consumer, LEAVE_US);
	pl_applier_free_tools(applier);
	return NULL;
}

static void free_applier(struct pl_applier *applier)
{
	free(applier->partition_counts);
	if (applier->wanted)
		rd_kafka_topic_partition_list_destroy(applier->wanted);
	pl_sequences_fini(&applier->sequences);
	pl_fetch_buffer_fini(&applier->buffer);
	pl_apply_batch_free(&applier->batch);
	pl_arena_free(&applier->arena);
	pl_heartbeats_fini(&applier->heartbeats);
	pl_reached_fini(&applier->reached);
	pl_silence_fini(&applier->silence);
	pl_leaderless_fini(&applier->leaderless);
	if (applier->next_config)
		pl_config_unref(&applier->next_config);
	pl_config_unref(&applier->config);
	pthread_mutex_destroy(&applier->mutex);
	pl_wake_free(&applier->halt);
	free(applier);
}

struct pl_applier *pl_applier_start(const struct pl_config *config, const struct pl_region *region, int index,
                                    struct pl_lag_tracker *tracker, struct pl_claims *claims,
                                    struct pl_error *err)
{
	struct pl_applier *applier = pl_calloc(1, sizeof(*applier));

	applier->halt = pl_wake_new();
	pthread_mutex_init(&applier->mutex, NULL);
	applier->tracker = tracker;
	applier->claims = claims;
	applier->index = index;
	applier->taken = 1;
	atomic_store(&applier->stats.given, 1);
	applier->heartbeats.refused = &applier->stats.heartbeats_refused;
	applier->config = pl_config_ref(config);
	applier->region = region;
	applier->arena = pl_arena_new(16 * 1024);
	applier->batch = pl_apply_batch_new();
	applier->backoff = applier->kafka_backoff =
		(struct pl_backoff){ .min_us = SECOND / 20, .max_us = SECOND };
	applier->replace_backoff = (struct pl_backoff){ .min_us = SECOND / 5, .max_us = 10 * SECOND };
	pl_fetch_buffer_init(&applier->buffer);
	if (pthread_create(&applier->thread, NULL, run, applier) != 0) {
		pl_error_set(err, PL_EINTERNAL, "cannot start an applier thread");
		free_applier(applier);
		return NULL;
	}
	return applier;
}

void pl_applier_reconfigure(struct pl_applier *applier, const struct pl_config *config,
                            const struct pl_region *region)
{
	pthread_mutex_lock(&applier->mutex);
	if (applier->next_config)
		pl_config_unref(&applier->next_config);
	applier->next_config = pl_config_ref(config);
	applier->next_region = region;
	atomic_fetch_add(&applier->stats.given, 1);
	pthread_mutex_unlock(&applier->mutex);
}

void pl_applier_ask_to_stop(struct pl_applier *applier)
{
	pl_wake_ring(applier->halt);
}

void pl_applier_stop(struct pl_applier **applier_p)
{
	if (!*applier_p)
		return;
	pl_applier_ask_to_stop(*applier_p);
	pthread_join((*applier_p)->thread, NULL);
	free_applier(*applier_p);
	*applier_p = NULL;
}

const struct pl_applier_stats *pl_applier_stats(const struct pl_applier *applier)
{
	return &applier->stats;
}
