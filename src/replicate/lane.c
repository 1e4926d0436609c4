// A lane of the applier: its thread, and what it does when something is away.
//
// Stands between Kafka (replicate/consumer) and the database (replicate/apply_batch). Round after round it takes the messages that are there, up to a batch,
// has them applied, and only then stores their offsets for the group to commit. After a batch of PL_PACE_BUSY messages or more the next one is not begun before
// kafka.pace has passed, unless it is full: see "Pace" in replicate/relay.c.
// Threads: one of its own. reconfigure and the two stops come from the main thread.
//
// What is away, and what then
//
//   the broker     nothing comes. librdkafka looks for it; when it is back, everything goes on where it was.
//   the database   the batch is held, the consumer pauses and keeps its place in the group, and the batch is tried until it is in.
//   a partition    was given to another daemon while its messages were held: they are dropped, the other one reads them.
//   offsets        that Kafka no longer has: it begins at the earliest that there is.
//   a topic        that was not there for a moment, when the broker lost its disk: the group is joined again until it has its share of it.
//
// Where to read on is decided by the group's offsets. The database's own positions can only send us further *back*, and do so when they are
// behind the group's: then this database is not the one that those events were written to (it was restored from a backup, or is new). Never
// forward: a broker that lost its disk starts counting again. Nor may the group's send us past events that are newer than all that we have read of
// a partition: its offsets may be of the topic that is gone. This is looked at whenever partitions are assigned or the database was lost,
// before anything is applied. Applying twice does no harm.
//
// Events of our own region come back to us and need no transaction: our database has them. Their offsets are stored at once, the database hears
// of the position once a second. But a database that we have just found may be a backup, or a standby that had not heard everything when it took
// over, and then our own last writes are known to all but us, and their dots would be given to others. So what was in Kafka by the time when
// the database was found is looked at whoever wrote it. What the database has is stale, as always.
#include "replicate/lane.h"

#include "replicate/lane_in.h"

static bool stopping(const struct pl_lane *lane)
{
	return pl_kafka_stopping(pl_wake_fd(lane->halt));
}

static void publish_counts(struct pl_lane *lane)
{
	const struct pl_apply_counts *c = &lane->counts;

	NOTE(lane, applied, c->applied);
	NOTE(lane, stale, c->stale);
	NOTE(lane, own, c->own);
	NOTE(lane, conflicts, c->conflicts);
	NOTE(lane, twins, c->twins);
	NOTE(lane, policy_errors, c->policy_errors);
	NOTE(lane, foreign, c->foreign);
	NOTE(lane, dead_letters, c->dead_letters);
	NOTE(lane, batches, c->batches);
	NOTE(lane, retries, c->retries);
	NOTE(lane, shadow_same, c->shadow_same);
	NOTE(lane, shadow_different, c->shadow_different);
	NOTE(lane, shadow_failed, c->shadow_failed);
}

// --- tools: what a configuration makes

static void free_tools(struct pl_lane *lane)
{
	pl_session_free(&lane->tools.session);
	pl_apply_sql_free(&lane->tools.sql);
	free(lane->tools.policies);
	free(lane->tools.shadows);
	pl_vm_free(&lane->vm);
	memset(&lane->tools, 0, sizeof lane->tools);
}

static struct pl_vm *load_policies(const struct pl_config *config)
{
	struct pl_problems problems = { 0 };
	struct pl_vm *vm = pl_vm_new(config, PL_WORLD_POLICY, &problems);

	for (int i = 0; i < problems.n; i++)
		pl_err("%s", problems.lines[i].text);
	pl_problems_fini(&problems);
	return vm;
}

static struct pl_policy *policy_at(struct pl_lane *lane, const char *path)
{
	return lane->vm && path ? pl_policy_find(lane->vm, path) : NULL;
}

// Without a VM every policy is missing, and last writer wins until it is mended.
static void make_tools(struct pl_lane *lane)
{
	const struct pl_config *config = lane->config;
	char name[PL_REGION_MAX + 32];

	lane->vm = load_policies(config);
	lane->tools.config = config;
	lane->tools.region = lane->region;
	lane->tools.sql = pl_apply_sql_new(config);
	lane->tools.policies = pl_calloc((size_t)config->nresources + 1, sizeof lane->tools.policies[0]);
	lane->tools.shadows = pl_calloc((size_t)config->nresources + 1, sizeof lane->tools.shadows[0]);
	for (int i = 0; i < config->nresources; i++) {
		lane->tools.policies[i] = policy_at(lane, config->resources[i].policy);
		lane->tools.shadows[i] = policy_at(lane, config->resources[i].shadow);
	}
	snprintf(name, sizeof name, "plistd %s apply-%d", lane->region->name, lane->index + 1);
	lane->tools.session = pl_session_new(&(struct pl_session_options){
		.dsn = lane->region->database, .application_name = name, .connect_timeout_us = config->database.connect_timeout_us,
		.statement_timeout_us = config->database.statement_timeout_us, .lock_timeout_us = config->database.lock_timeout_us,
		.stop_fd = pl_wake_fd(lane->halt), .setup = pl_apply_sql_setup(lane->tools.sql),
	});
}

static void begin_anew(struct pl_lane *lane)
{
	lane->anew = lane->index == 0;
	lane->anew_resource[0] = '\0';
	lane->anew_id = 0;
	lane->anew_seen = lane->anew_changed = 0;
	NOTE(lane, anew_total, 0);
	NOTE(lane, anew_seen, 0);
	NOTE(lane, anew_changed, 0);
}

// A topic has one resource, so two configurations with as many have the same ones when one has all of the other's.
static bool same_topics(const struct pl_config *a, const struct pl_config *b)
{
	for (int i = 0; i < a->nresources; i++)
		if (!pl_config_resource_of_topic(b, a->resources[i].topic))
			return false;
	return a->nresources == b->nresources;
}

// Between two batches. Who joins its group anew has no partitions for a moment and is not ready: only when there are other topics to be heard.
static void take_configuration(struct pl_lane *lane)
{
	struct pl_config *config;
	const struct pl_region *region;

	pthread_mutex_lock(&lane->mutex);
	config = lane->next_config;
	region = lane->next_region;
	lane->next_config = NULL;
	if (config)
		lane->taken = atomic_load(&lane->stats.given);
	pthread_mutex_unlock(&lane->mutex);
	if (!config)
		return;
	free_tools(lane);
	lane->subscribed &= same_topics(lane->config, config);
	pl_config_unref(&lane->config);
	lane->config = config;
	lane->region = region;
	make_tools(lane);
	pl_lane_read_again(lane);  // with the new fields
	lane->unchecked = true;
	begin_anew(lane);
}

// --- losing and finding the database

void pl_lane_database_failed(struct pl_lane *lane, const struct pl_error *err)
{
	if (err->code == PL_ESTOPPED)
		return;
	if (pl_log_limit_ok(&lane->database_limit, 10 * SECOND))
		pl_warning("%s; %d messages are held until it works", err->text, lane->hand.now.n);
	if (!pl_session_connected(lane->tools.session))
		NOTE(lane, database_up, false);
	pl_consumer_hold(lane->consumer, true);
	lane->try_at_us = pl_mono_us() + pl_backoff_next(&lane->backoff);
}

void pl_lane_database_works(struct pl_lane *lane)
{
	pl_backoff_reset(&lane->backoff);
	lane->try_at_us = 0;
	if (lane->consumer)
		pl_consumer_hold(lane->consumer, false);
}

bool pl_lane_have_database(struct pl_lane *lane)
{
	struct pl_error err = { 0 };

	if (pl_session_connected(lane->tools.session))
		return true;
	if (pl_mono_us() < lane->try_at_us)
		return false;
	if (pl_session_connect(lane->tools.session, &err) < 0) {
		pl_lane_database_failed(lane, &err);
		return false;
	}
	pl_info("connected to the database");
	NOTE(lane, database_up, true);
	lane->unchecked = true; // it may not be the database that we left
	return true;
}

// --- taking messages

static void take(struct pl_lane *lane, rd_kafka_message_t *message)
{
	if (pl_consumer_is_heartbeat(lane->consumer, message)) {
		pl_lane_take_heartbeat(lane, message);
		rd_kafka_message_destroy(message);
	} else {
		pl_hand_take(&lane->hand, message);
	}
}

// Up to a batch; waits for the first one at most.
static void take_up_to_a_batch(struct pl_lane *lane, int timeout_ms)
{
	const struct pl_held *held = pl_hand_open(&lane->hand);
	rd_kafka_message_t *message;

	while (held->n < lane->config->kafka.apply_batch && held->bytes < BATCH_BYTES) {
		message = pl_consumer_poll(lane->consumer, timeout_ms); // may drop what was taken
		if (!message)
			return;
		take(lane, message);
		held = pl_hand_open(&lane->hand);
		timeout_ms = 0;
	}
}

// How long more messages are to gather: while many come, each partition's come by themselves, and a transaction for each would cost more than they do.
static int64_t gather_us(const struct pl_lane *lane)
{
	int64_t left_us = pl_pace_until(&lane->pace, lane->config->kafka.pace_us) - pl_mono_us();

	return left_us > 0 && lane->hand.now.n < lane->config->kafka.apply_batch && lane->hand.now.bytes < BATCH_BYTES ? left_us : 0;
}

static int patience_ms(const struct pl_lane *lane)
{
	int64_t gather_ms = (gather_us(lane) + 999) / 1000;

	if (lane->anew)
		return 0;
	if (lane->hand.now.n > 0 && lane->try_at_us <= pl_mono_us())
		return gather_ms < POLL_MS ? (int)gather_ms : POLL_MS;
	return POLL_MS;
}

static void take_messages(struct pl_lane *lane)
{
	rd_kafka_message_t *message;

	take_up_to_a_batch(lane, patience_ms(lane));
	// Full: poll all the same now and then, for rebalances; held, nothing comes of it.
	if (lane->try_at_us > pl_mono_us() && (message = pl_consumer_poll(lane->consumer, POLL_MS)))
		take(lane, message);
}

// While the database is busy with a large batch, which takes it about as long: the next one is taken and read.
static void take_ahead(void *arg)
{
	struct pl_lane *lane = arg;

	pl_hand_sweep(&lane->hand);
	take_up_to_a_batch(lane, 0);
	pl_hand_doubt(&lane->hand, &lane->hand.ahead);
	pl_apply_batch_read_ahead(lane->batch, &lane->tools, lane->hand.ahead.messages, lane->hand.ahead.n);
}

// What is at hand, or what it is read with, has changed.
void pl_lane_read_again(struct pl_lane *lane)
{
	if (lane->hand.writing)
		pl_apply_batch_forget_ahead(lane->batch);
	else
		pl_apply_batch_forget(lane->batch);
}

static void on_assigned(void *arg, const rd_kafka_topic_partition_list_t *partitions)
{
	struct pl_lane *lane = arg;
	struct pl_board_partition *on_board = pl_calloc((size_t)partitions->cnt + 1, sizeof on_board[0]);

	pl_hand_assign(&lane->hand, partitions);
	pl_lane_read_again(lane);
	lane->unchecked = true;
	for (int i = 0; i < partitions->cnt; i++)
		on_board[i] = (struct pl_board_partition){ partitions->elems[i].topic, partitions->elems[i].partition, -1, -1, 0 };
	pl_board_assign(lane->board, lane->index, on_board, partitions->cnt);
	free(on_board);
	NOTE(lane, partitions, partitions->cnt);
	NOTE(lane, assigned, true);
	lane->shares_at_us = pl_mono_us() + SHARES_US;
	pl_info("has %d partitions", partitions->cnt);
}

static void on_revoked(void *arg)
{
	struct pl_lane *lane = arg;

	if (lane->hand.now.n > 0)
		pl_info("%d messages were held and belong to another daemon now", lane->hand.now.n + lane->hand.ahead.n);
	pl_hand_assign(&lane->hand, NULL);
	pl_lane_read_again(lane);
	pl_board_assign(lane->board, lane->index, NULL, 0);
	NOTE(lane, partitions, 0);
	NOTE(lane, assigned, false);
}

// --- applying them

struct holding { int n; struct pl_board_hand of[PL_REGIONS_MAX]; };

static void count_held(void *arg, const struct pl_event *event)
{
	struct holding *holding = arg;
	int64_t at_us = event->broker_time_us ? event->broker_time_us : event->write.updated_at_us;
	int i = 0;

	while (i < holding->n && strcmp(holding->of[i].region, event->write.dot.region) != 0)
		i++;
	if (i == PL_REGIONS_MAX)
		return;
	if (i == holding->n) {
		strcpy(holding->of[i].region, event->write.dot.region);
		holding->of[i].oldest_us = at_us;
		holding->n++;
	}
	holding->of[i].events++;
	if (at_us < holding->of[i].oldest_us)
		holding->of[i].oldest_us = at_us;
}

void pl_lane_report_progress(struct pl_lane *lane)
{
	struct pl_board_partition *partitions = pl_calloc((size_t)lane->hand.npartitions + 1, sizeof partitions[0]);

	for (int i = 0; i < lane->hand.npartitions; i++) {
		const struct pl_hand_partition *p = &lane->hand.partitions[i];

		partitions[i] = (struct pl_board_partition){ p->topic, p->partition, p->next, pl_consumer_end(lane->consumer, p->topic, p->partition), 0 };
		for (int j = 0; j < lane->hand.now.n; j++)
			partitions[i].hand += lane->hand.now.messages[j].partition == p->partition &&
			                      strcmp(lane->hand.now.messages[j].topic, p->topic) == 0;
		if (partitions[i].next < 0 && partitions[i].end == 0) // an empty partition from which nothing was ever committed
			partitions[i].next = 0;
	}
	pl_board_progress(lane->board, lane->index, partitions, lane->hand.npartitions, pl_now_us());
	free(partitions);
}

static void note_applied(void *arg, const struct pl_event *event)
{
	struct pl_lane *lane = arg;

	pl_board_applied(lane->board, event->write.dot.region, event->broker_time_us ? event->broker_time_us : event->write.updated_at_us);
}

// Reads what is at hand and was not read yet, and tells the board that it is held.
static void read_messages(struct pl_lane *lane)
{
	struct holding holding = { 0 };

	pl_hand_doubt(&lane->hand, &lane->hand.now);
	pl_apply_batch_read(lane->batch, &lane->tools, lane->hand.now.messages, lane->hand.now.n);
	pl_apply_batch_each(lane->batch, count_held, &holding);
	pl_board_holds(lane->board, lane->index, holding.of, holding.n);
}

static bool write_batch(struct pl_lane *lane)
{
	struct pl_error err = { 0 };

	lane->tools.meanwhile = take_ahead;
	lane->tools.arg = lane;
	pl_pace_note(&lane->pace, lane->hand.now.n, pl_mono_us());
	pl_hand_begin(&lane->hand);
	if (pl_apply_batch_write(lane->batch, &lane->tools, &lane->counts, &err) == 0) {
		pl_apply_batch_each(lane->batch, note_applied, lane);
		return true;
	}
	lane->counts.retries++;
	pl_lane_database_failed(lane, &err);
	if (!pl_hand_failed(&lane->hand))
		pl_apply_batch_advance(lane->batch);
	return false;
}

static void apply_messages(struct pl_lane *lane)
{
	bool matters;

	if (lane->hand.now.n == 0)
		return;
	read_messages(lane);
	matters = pl_apply_batch_matters(lane->batch);
	if (matters || lane->unchecked) {
		if (!pl_lane_have_database(lane) || !pl_lane_check_positions(lane) || lane->hand.now.n == 0)
			return;
		if (pl_apply_batch_size(lane->batch) < lane->hand.now.n) // not with what is known of the database now
			read_messages(lane);
		matters = pl_apply_batch_matters(lane->batch);
	}
	if (matters && !write_batch(lane))
		return;
	if (!matters)
		lane->counts.own += (uint64_t)lane->hand.now.n;
	publish_counts(lane);
	pl_hand_done(&lane->hand, lane->consumer, matters);
	pl_apply_batch_advance(lane->batch);
	pl_board_holds(lane->board, lane->index, NULL, 0);
	pl_lane_report_progress(lane);
	pl_lane_database_works(lane);
}

// --- the loop

static void pause_for(struct pl_lane *lane, int64_t us)
{
	struct pollfd p = { .fd = pl_wake_fd(lane->halt), .events = POLLIN };

	if (us > 0)
		poll(&p, 1, (int)(us / 1000) + 1);
}

static bool have_consumer(struct pl_lane *lane)
{
	struct pl_consumer_options options = {
		.config = lane->config, .region = lane->region, .heartbeats = lane->index == 0,
		.assigned = on_assigned, .revoked = on_revoked, .arg = lane,
	};
	struct pl_error err = { 0 };

	if (!lane->consumer)
		lane->consumer = pl_consumer_new(&options, &err);
	if (lane->consumer && (lane->subscribed || pl_mono_us() < lane->subscribe_at_us))
		return true;
	if (lane->consumer && pl_consumer_subscribe(lane->consumer, lane->config, TOPICS_US, pl_wake_fd(lane->halt), &err) == 0) {
		lane->subscribed = true;
		pl_backoff_reset(&lane->kafka_backoff);
		return true;
	}
	if (err.code != PL_ESTOPPED && pl_log_limit_ok(&lane->kafka_limit, 10 * SECOND))
		pl_warning("%s; trying again", err.text);
	lane->subscribe_at_us = pl_mono_us() + pl_backoff_next(&lane->kafka_backoff);
	return lane->consumer != NULL;
}

static void round_of(struct pl_lane *lane)
{
	int64_t now_us;

	take_configuration(lane);
	if (!have_consumer(lane)) {
		pause_for(lane, lane->subscribe_at_us - pl_mono_us());
		return;
	}
	take_messages(lane);
	now_us = pl_mono_us();
	if (now_us >= lane->try_at_us) {
		if (gather_us(lane) == 0)
			apply_messages(lane);
		if (now_us >= lane->flush_at_us)
			pl_lane_flush(lane);
		if (lane->anew)
			pl_lane_show_anew(lane);
	}
	if (now_us >= lane->tick_at_us) {
		pl_hand_sweep(&lane->hand); // nothing came that would have done it
		pl_lane_tick(lane);
	}
}

static void *run(void *arg)
{
	struct pl_lane *lane = arg;
	struct pl_error err = { 0 };
	char name[24];

	snprintf(name, sizeof name, lane->index ? "apply-%d" : "apply", lane->index + 1);
	pl_log_set_thread(name);
	make_tools(lane);
	begin_anew(lane);
	while (!stopping(lane))
		round_of(lane);
	if (pl_session_connected(lane->tools.session) && !lane->unchecked && pl_lane_flush_positions(lane, &err))
		pl_lane_flush_heartbeats(lane, &err);
	pl_hand_sweep(&lane->hand);
	pl_consumer_free(&lane->consumer, LEAVE_US);
	free_tools(lane);
	return NULL;
}

static void free_lane(struct pl_lane *lane)
{
	pl_hand_fini(&lane->hand);
	pl_apply_batch_free(&lane->batch);
	pl_arena_free(&lane->arena);
	for (int i = 0; i < PL_REGIONS_MAX; i++)
		if (lane->beat_arenas[i])
			pl_arena_free(&lane->beat_arenas[i]);
	if (lane->next_config)
		pl_config_unref(&lane->next_config);
	pl_config_unref(&lane->config);
	pthread_mutex_destroy(&lane->mutex);
	pl_wake_free(&lane->halt);
	free(lane);
}

struct pl_lane *pl_lane_start(const struct pl_config *config, const struct pl_region *region, int index, struct pl_board *board,
                              struct pl_error *err)
{
	struct pl_lane *lane = pl_calloc(1, sizeof *lane);

	lane->halt = pl_wake_new();
	pthread_mutex_init(&lane->mutex, NULL);
	lane->board = board;
	lane->index = index;
	lane->taken = 1;
	atomic_store(&lane->stats.given, 1);
	lane->config = pl_config_ref(config);
	lane->region = region;
	lane->arena = pl_arena_new(16 * 1024);
	lane->batch = pl_apply_batch_new();
	lane->backoff = lane->kafka_backoff = (struct pl_backoff){ .min_us = SECOND / 20, .max_us = SECOND };
	pl_hand_init(&lane->hand);
	if (pthread_create(&lane->thread, NULL, run, lane) != 0) {
		pl_error_set(err, PL_EINTERNAL, "the applier's thread cannot be started");
		free_lane(lane);
		return NULL;
	}
	return lane;
}

void pl_lane_reconfigure(struct pl_lane *lane, const struct pl_config *config, const struct pl_region *region)
{
	pthread_mutex_lock(&lane->mutex);
	if (lane->next_config)
		pl_config_unref(&lane->next_config);
	lane->next_config = pl_config_ref(config);
	lane->next_region = region;
	atomic_fetch_add(&lane->stats.given, 1);
	pthread_mutex_unlock(&lane->mutex);
}

void pl_lane_ask_to_stop(struct pl_lane *lane)
{
	pl_wake_ring(lane->halt);
}

void pl_lane_stop(struct pl_lane **lane)
{
	if (!*lane)
		return;
	pl_lane_ask_to_stop(*lane);
	pthread_join((*lane)->thread, NULL);
	free_lane(*lane);
	*lane = NULL;
}

const struct pl_lane_stats *pl_lane_stats(const struct pl_lane *lane)
{
	return &lane->stats;
}
