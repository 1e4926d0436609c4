// The store: a worker's connections to its region's database, and the turn in which they are given work.
//
// Stands under the Lua bindings and over db/conn. What it does is in its parts: record/parts.h lists them; begin with record/batch.c.
//
//	writers   database.writers connections, a batch of writes at a time on each; of a daemon's workers none has any, see record/writes.h
//	careful   one, made when first needed: a write at a time, that may wait for a lock
//	readers   database.readers connections: reads by id, questions about writes, lookups
//	query     one, made when first needed: lists and db.query
//
// Threads: belongs to its worker's thread.
#include "record/store.h"

#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "record/parts.h"

#define LOOK_AGAIN_US 50000 // at a connection that is away

// What was in flight waits again, and may have to be told that it waits in vain.
static void changed(struct pl_conn *conn, bool up, void *arg)
{
	(void)conn;
	if (!up)
		pl_store_wake_at(arg, pl_mono_us() + LOOK_AGAIN_US);
}

struct pl_conn *pl_store_connect(struct pl_store *store, const char *what, bool read_only, const char *const *setup)
{
	char name[PL_REGION_MAX + 32];

	snprintf(name, sizeof name, "plist %s %s", store->region->name, what);
	return pl_conn_new(&(struct pl_conn_options){
		.loop = store->loop, .dsn = store->region->database, .application_name = name,
		.connect_timeout_us = store->config->database.connect_timeout_us,
		.statement_timeout_us = store->config->database.statement_timeout_us,
		.lock_timeout_us = store->config->database.lock_timeout_us,
		.read_only = read_only, .setup = setup, .changed = changed, .arg = store });
}

int pl_store_away(struct pl_conn *conn, struct pl_store *store, struct pl_error *err)
{
	const struct pl_error *last = pl_conn_last_error(conn);

	if (pl_conn_up(conn))
		return 0;
	if (pl_conn_down_us(conn) < store->grace_us) {
		pl_store_wake_at(store, pl_mono_us() + LOOK_AGAIN_US);
		return 0;
	}
	pl_error_set(err, PL_EUNAVAIL, "the database is away: %s", last->code ? last->text : "it cannot be reached");
	err->retryable = true;
	return PL_EUNAVAIL;
}

int pl_store_queue_max(const struct pl_store *store)
{
	return store->config->http.queue * (store->doors > 1 ? store->doors : 1);
}

// ---- time

void pl_store_wake_at(struct pl_store *store, int64_t at_us)
{
	if (at_us >= store->wake_us)
		return;
	store->wake_us = at_us;
	pl_timer_set(store->timer, at_us - pl_mono_us());
}

void pl_store_wait(struct pl_store *store, const struct pl_conn *conn, int64_t deadline_us)
{
	pl_store_wake_at(store, deadline_us);
	if (!conn || !pl_conn_up(conn))
		pl_store_wake_at(store, pl_mono_us() + LOOK_AGAIN_US);
}

// Something is due: a deadline, a moment after a deadlock, a look at a lost backend. Whoever waits for more sets the timer again. The
// turn that follows delivers what was finished.
static void on_timer(void *arg)
{
	struct pl_store *store = arg;
	int64_t now_us = pl_mono_us();

	store->wake_us = INT64_MAX;
	pl_batch_due(store, now_us);
	pl_loss_look(store, now_us);
	pl_remember_due(store, now_us);
	pl_read_due(store, now_us);
}

static void send_all(struct pl_store *store)
{
	if (store->door)
		pl_door_turn(store->door);
	pl_batch_cut(store);
	pl_ask_send(store);
	pl_remember_send(store);
	pl_read_send(store);
}

static bool deliver_all(struct pl_store *store)
{
	bool handed = store->door && pl_door_deliver(store->door);
	bool writes = pl_task_deliver(store), reads = pl_read_deliver(store), lookups = pl_remember_deliver(store);

	return handed || writes || reads || lookups;
}

void pl_store_turn(struct pl_store *store)
{
	do // first the next batch, so that the database works while the answers of the last one are made
		send_all(store);
	while (deliver_all(store)); // who has been answered may have asked for more
}

// ---- making and ending

static void connect_all(struct pl_store *store)
{
	store->nwriters = store->door ? 0 : store->config->database.writers > 0 ? store->config->database.writers : 1;
	store->nreaders = store->config->database.readers > 0 ? store->config->database.readers : 1;
	store->writers = pl_calloc((size_t)store->nwriters, sizeof store->writers[0]);
	store->readers = pl_calloc((size_t)store->nreaders, sizeof store->readers[0]);
	for (int i = 0; i < store->nwriters; i++) {
		struct pl_conn *conn = pl_store_connect(store, "write", false, pl_statement_pinned_plans);

		store->writers[i].conn = conn;
		for (int k = 0; k < PL_LAYERS_MAX; k++)
			pl_lane_init(&store->writers[i].layers[k], store, conn, k > 0);
		pl_remember_prepare(NULL, conn);
	}
	for (int i = 0; i < store->nreaders; i++) {
		store->readers[i] = pl_store_connect(store, "read", true, pl_statement_pinned_plans);
		pl_remember_prepare(store->readers[i], NULL);
	}
	pl_lane_init(&store->careful, store, NULL, false);
	pl_lane_init(&store->asker, store, store->readers[0], false);
}

struct pl_store *pl_store_new(const struct pl_store_options *options, struct pl_error *err)
{
	struct pl_store *store;

	if (!options->region || !options->region->database) {
		pl_error_set(err, PL_EINVAL, "the region has no database");
		return NULL;
	}
	store = pl_calloc(1, sizeof *store);
	store->loop = options->loop;
	store->config = pl_config_ref(options->config);
	store->region = options->region;
	store->own_running = options->running ? NULL : pl_running_new();
	store->running = options->running ? options->running : store->own_running;
	store->committed = options->committed;
	store->arg = options->arg;
	store->grace_us = options->config->database.connect_timeout_us;
	store->timer = pl_timer_new(store->loop, on_timer, store);
	store->wake_us = INT64_MAX;
	if (options->writes)
		store->door = pl_door_new(options->writes, store->loop, options->committed, options->arg);
	connect_all(store);
	pl_shapes_reconfigure(store);
	return store;
}

void pl_store_reconfigure(struct pl_store *store, const struct pl_config *config, const struct pl_region *region)
{
	struct pl_config *old = store->config;

	store->config = pl_config_ref(config);
	store->region = region;
	store->grace_us = config->database.connect_timeout_us;
	pl_shapes_reconfigure(store);
	pl_config_unref(&old);
}

void pl_store_free(struct pl_store **at)
{
	struct pl_store *store = *at;

	if (!store)
		return;
	*at = NULL;
	store->stopping = true;
	pl_door_free(&store->door); // answers what went through it
	for (int i = 0; i < store->nwriters; i++) // each answers what is in flight on it
		pl_conn_free(&store->writers[i].conn);
	pl_conn_free(&store->careful.conn);
	for (int i = 0; i < store->nreaders; i++)
		pl_conn_free(&store->readers[i]);
	pl_conn_free(&store->query_conn);
	pl_task_stop(store);
	pl_losses_free(store);
	pl_read_stop(store);
	pl_remember_stop(store);
	while (deliver_all(store)) // who asks again while being told is told again
		;
	for (int i = 0; i < store->nwriters; i++)
		for (int k = 0; k < PL_LAYERS_MAX; k++)
			pl_lane_fini(&store->writers[i].layers[k]);
	pl_lane_fini(&store->careful);
	pl_lane_fini(&store->asker);
	pl_shapes_free(store);
	pl_running_free(&store->own_running);
	pl_timer_free(&store->timer);
	free(store->writers);
	free(store->readers);
	pl_config_unref(&store->config);
	free(store);
}

// ---- what others see of it

static bool ready(const struct pl_conn *conn, const char *what, struct pl_error *why)
{
	const struct pl_error *last = pl_conn_last_error(conn);

	if (!pl_conn_up(conn)) {
		pl_error_set(why, PL_EUNAVAIL, "no connection for %s: %s", what, last->code ? last->text : "connecting");
		return false;
	}
	if (!pl_conn_prepared(conn, why)) {
		pl_error_prefix(why, "%s", what);
		return false;
	}
	return true;
}

bool pl_store_ready(const struct pl_store *store, struct pl_error *why)
{
	for (int i = 0; i < store->nwriters; i++)
		if (!ready(store->writers[i].conn, "writes", why))
			return false;
	for (int i = 0; i < store->nreaders; i++)
		if (!ready(store->readers[i], "reads", why))
			return false;
	return true;
}

void pl_store_stats(const struct pl_store *store, struct pl_store_stats *stats_r)
{
	struct pl_task *task;
	int waiting = 0;

	*stats_r = store->stats;
	DL_FOREACH(store->waiting, task)
		waiting++;
	stats_r->write_queue = waiting;
	stats_r->read_queue = store->nreads + store->nlookups + store->nqueries;
	stats_r->in_flight = store->ntasks - waiting;
	for (int i = 0; i < store->nwriters; i++)
		stats_r->reconnects += pl_conn_reconnects(store->writers[i].conn);
	for (int i = 0; i < store->nreaders; i++)
		stats_r->reconnects += pl_conn_reconnects(store->readers[i]);
	if (store->careful.conn)
		stats_r->reconnects += pl_conn_reconnects(store->careful.conn);
	if (store->query_conn)
		stats_r->reconnects += pl_conn_reconnects(store->query_conn);
}
