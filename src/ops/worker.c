// A worker: a thread that handles requests from their first byte to their last.
//
// It owns the event loop that http/listener and store/store run in. Workers share only
// the writer (store/shared_writer), which notifies them by posting to their loops.
//
// A turn: callbacks of sockets and timers; then libmicrohttpd starts requests, whose
// handlers queue writes; then the store forms its batches. Answers that are ready are
// sent before the thread waits. Handlers that run long get a slice of each turn, at its
// end.
//
// Ending: the listener stops accepting. When no request is in flight, or at the timeout,
// the loop ends. The store is freed first, which answers its remaining requests (with
// "unknown outcome" where that is true), then the listener, which sends those answers and
// closes the connections.
// Invariant: a reload replaces the generation between two requests; those that have
// arrived completely keep theirs, which lives until the last of them is done.
// Threads: see above.
#include "ops/worker.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/sockfile.h"
#include "heal/heal.h"
#include "http/listener.h"
#include "ops/builtin.h"
#include "ops/ops_private.h"
#include "ops/stats.h"
#include "relay/relay.h"
#include "store/running_ids.h"
#include "store/shared_writer.h"

#define SAMPLE_US 200000 // maximum age of the numbers of other workers in a scrape

struct pl_worker {
	struct pl_daemon *daemon;
	int number, fd;
	pthread_t thread;
	bool running;
	struct pl_config *first; // the initial configuration
	struct pl_credentials *first_credentials;
	struct pl_loop *loop;
	struct pl_store *store;
	struct pl_listener *listener;
	struct pl_generation *generation;
	struct pl_stats_block *block;
	struct pl_timer *sampling, *ending;
	bool draining;    // of the worker's thread
	bool drain_asked; // used by the owning thread, like the next member, until it is posted
	int64_t drain_us;
	// The outcome of the start, for the thread that waits for it.
	pthread_mutex_t lock;
	pthread_cond_t done_cond;
	bool started;
	struct pl_error err;
};

// ---- what the listener and the store call

static void take_sample(struct pl_worker *worker)
{
	struct pl_stats_sample sample = { 0 };
	struct pl_error why = { 0 };
	pl_listener_stats(worker->listener, &sample.listener);
	pl_store_stats(worker->store, &sample.store);
	sample.store_ready = pl_store_ready(worker->store, &why);
	if (!sample.store_ready)
		snprintf(sample.why, sizeof(sample.why), "%s", why.text);
	sample.lua_memory = pl_vm_memory(worker->generation->vm);
	snprintf(sample.config_sha256, sizeof(sample.config_sha256), "%s",
	         worker->generation->config->sha256);
	pl_stats_sample(worker->block, &sample);
}

static void on_builtin(enum pl_builtin which, const struct pl_request *request, struct pl_answer *answer,
                       void *arg)
{
	struct pl_worker *worker = arg;
	take_sample(worker);
	pl_builtin_answer(worker->daemon, which, request, answer);
}

static void on_served(const struct pl_served *served, void *arg)
{
	struct pl_worker *worker = arg;
	pl_stats_served(worker->block, served);
}

static bool is_closed(bool writes, char reason_r[PL_ERROR_TEXT_MAX], void *arg)
{
	struct pl_worker *worker = arg;
	enum pl_heal_gate gate = pl_heal_gate(worker->daemon->heal);
	if (gate == PL_HEAL_OPEN || (gate == PL_HEAL_NO_WRITES && !writes))
		return false;
	return pl_heal_reason(worker->daemon->heal, reason_r) != PL_HEAL_OPEN;
}

static void on_committed(int writes, void *arg)
{
	struct pl_worker *worker = arg;
	if (writes > 0)
		pl_stats_batch(worker->block, writes);
	else if (worker->daemon->relay)
		pl_relay_wake(worker->daemon->relay);
}

static void on_sampling(void *arg)
{
	struct pl_worker *worker = arg;
	take_sample(worker);
	pl_loop_timer_set(worker->sampling, SAMPLE_US);
}

// ---- ending

static void on_ending(void *arg)
{
	struct pl_worker *worker = arg;
	struct pl_listener_stats stats;
	pl_listener_stats(worker->listener, &stats);
	if (stats.in_flight > 0)
		pl_warning("worker: %d requests are still in flight after http.drain_timeout; aborting them",
		           stats.in_flight);
	pl_loop_stop(worker->loop);
}

static void begin_drain(void *arg)
{
	struct pl_worker *worker = arg;
	if (worker->draining)
		return;
	worker->draining = true;
	pl_listener_quiesce(worker->listener);
	pl_loop_timer_set(worker->ending, worker->drain_us);
}

// ---- the loop

static int turn(void *arg)
{
	struct pl_worker *worker = arg;
	int wait_ms, lane_ms;
	do {
		wait_ms = pl_listener_turn(worker->listener);
		pl_store_turn(worker->store);
	} while (pl_listener_pending(worker->listener));
	lane_ms = pl_listener_turn_lane(worker->listener);
	pl_store_turn(worker->store); // what slow handlers have asked for
	if (pl_listener_drained(worker->listener))
		pl_loop_stop(worker->loop);
	return lane_ms >= 0 && (wait_ms < 0 || lane_ms < wait_ms) ? lane_ms : wait_ms;
}

// Creates the generation. This step comes first because it is the only one that can fail
// because of what an operator wrote.
static int load_program(const struct pl_config *config, struct pl_credentials *credentials,
                        struct pl_generation **program_r, struct pl_error *err)
{
	struct pl_diagnostics diagnostics = { 0 };
	*program_r = pl_generation_new(config, credentials, &diagnostics);
	int code = *program_r ? 0
	                      : pl_error_set(err, PL_EINVAL, "%s",
	                                     diagnostics.n > 0 ? diagnostics.lines[0].text
	                                                       : "the handlers cannot be loaded");
	pl_diagnostics_fini(&diagnostics);
	return code;
}

static int build(struct pl_worker *worker, struct pl_error *err)
{
	const struct pl_config *config = worker->first;
	const char *name = worker->daemon->region;
	worker->loop = pl_loop_new();
	if (load_program(config, worker->first_credentials, &worker->generation, err) != 0)
		return err->code;
	worker->store = pl_store_new(
		&(struct pl_store_options){
			.loop = worker->loop,
			.config = config,
			.region = pl_config_region(config, name, strlen(name)),
			.writer = worker->daemon->writes,
			.committed = on_committed,
			.arg = worker,
		},
		err);
	if (!worker->store)
		return err->code;
	int fd = worker->fd;
	worker->fd = -1;
	worker->listener = pl_listener_new(
		&(struct pl_listener_options){
			.loop = worker->loop,
			.fd = fd,
			.shared_fd = worker->daemon->socket ? pl_sockfile_fd(worker->daemon->socket) : -1,
			.region = name,
			.generation = worker->generation,
			.tls = worker->daemon->tls,
			.store = worker->store,
			.limits = worker->daemon->limits,
			.max_connections = config->http.max_connections,
			.builtin = on_builtin,
			.served = on_served,
			.closed = is_closed,
			.arg = worker,
		},
		err);
	if (!worker->listener)
		return err->code;
	worker->ending = pl_loop_timer_new(worker->loop, on_ending, worker);
	worker->sampling = pl_loop_timer_new(worker->loop, on_sampling, worker);
	on_sampling(worker);
	return 0;
}

static void tear_down(struct pl_worker *worker)
{
	if (worker->listener)
		pl_listener_quiesce(worker->listener);
	pl_store_free(&worker->store);
	pl_listener_free(&worker->listener);
	pl_generation_unref(&worker->generation);
	pl_loop_timer_free(&worker->ending);
	pl_loop_timer_free(&worker->sampling);
}

static void *run(void *arg)
{
	struct pl_worker *worker = arg;
	struct pl_error err = { 0 };
	char name[32];
	snprintf(name, sizeof(name), "worker-%d", worker->number);
	pl_log_set_thread(name);
	int code = build(worker, &err);
	pthread_mutex_lock(&worker->lock);
	worker->started = true;
	worker->err = err;
	worker->err.code = code;
	pthread_cond_signal(&worker->done_cond);
	pthread_mutex_unlock(&worker->lock);
	if (code == 0)
		pl_loop_run(worker->loop, turn, worker);
	tear_down(worker);
	return NULL;
}

// ---- from outside

static void worker_free(struct pl_worker **worker_p)
{
	struct pl_worker *worker = *worker_p;
	pl_loop_free(&worker->loop); // after the thread: others may still have been posting to it
	pl_config_unref(&worker->first);
	pl_credentials_unref(&worker->first_credentials);
	pthread_mutex_destroy(&worker->lock);
	pthread_cond_destroy(&worker->done_cond);
	if (worker->fd >= 0)
		close(worker->fd);
	free(worker);
	*worker_p = NULL;
}

struct pl_worker *pl_worker_start(struct pl_daemon *daemon, int number, int fd,
                                  const struct pl_loaded *loaded, struct pl_error *err)
{
	struct pl_worker *worker = pl_calloc(1, sizeof(*worker));
	worker->daemon = daemon;
	worker->number = number;
	worker->fd = fd;
	worker->first = pl_config_ref(loaded->config);
	worker->first_credentials = pl_credentials_ref(loaded->credentials);
	worker->block = pl_stats_block_new(daemon->stats);
	pthread_mutex_init(&worker->lock, NULL);
	pthread_cond_init(&worker->done_cond, NULL);
	int failed = pthread_create(&worker->thread, NULL, run, worker);
	if (failed) {
		pl_error_set(err, PL_EINTERNAL, "pthread_create: %s", strerror(failed));
		worker_free(&worker);
		return NULL;
	}
	worker->running = true;
	pthread_mutex_lock(&worker->lock);
	while (!worker->started)
		pthread_cond_wait(&worker->done_cond, &worker->lock);
	pthread_mutex_unlock(&worker->lock);
	if (worker->err.code != 0) {
		*err = worker->err;
		pthread_join(worker->thread, NULL);
		worker_free(&worker);
	}
	return worker;
}

// A reload that is being distributed to all workers; on the stack of the thread that
// waits for it.
struct reload {
	const struct pl_config *config;
	struct pl_credentials *credentials;
	struct pl_tls_server *tls;
	pthread_mutex_t lock;
	pthread_cond_t done_cond;
	int pending, failed;
};

struct reload_one {
	struct reload *reload;
	struct pl_worker *worker;
};

static void take_config(void *arg)
{
	struct reload_one *one = arg;
	struct pl_worker *worker = one->worker;
	struct reload *reload = one->reload;
	struct pl_generation *generation;
	struct pl_error err = { 0 };
	int code = load_program(reload->config, reload->credentials, &generation, &err);
	if (code == 0) {
		const struct pl_region *region = pl_config_region(reload->config, worker->daemon->region,
		                                                  strlen(worker->daemon->region));
		pl_shared_writer_reconfigure(worker->daemon->writes, reload->config, region);
		pl_listener_set_generation(worker->listener, generation);
		if (reload->tls)
			pl_listener_set_tls(worker->listener, reload->tls);
		pl_store_reconfigure(worker->store, reload->config, region);
		pl_generation_unref(&worker->generation);
		worker->generation = generation;
		take_sample(worker);
	} else
		pl_err("worker: the new configuration passed its check but cannot be loaded; the old one "
		       "stays in force: %s",
		       err.text);
	free(one);
	pthread_mutex_lock(&reload->lock);
	reload->pending--;
	reload->failed += code != 0;
	pthread_cond_signal(&reload->done_cond);
	pthread_mutex_unlock(&reload->lock);
}

int pl_workers_reload(struct pl_worker *const *workers, int n, const struct pl_loaded *loaded,
                      struct pl_tls_server *tls)
{
	struct reload reload = {
		.config = loaded->config, .credentials = loaded->credentials, .tls = tls, .pending = n
	};
	pthread_mutex_init(&reload.lock, NULL);
	pthread_cond_init(&reload.done_cond, NULL);
	for (int i = 0; i < n; i++) {
		struct reload_one *one = pl_calloc(1, sizeof(*one));
		*one = (struct reload_one){ &reload, workers[i] };
		pl_loop_post(workers[i]->loop, take_config, one);
	}
	pthread_mutex_lock(&reload.lock);
	while (reload.pending > 0)
		pthread_cond_wait(&reload.done_cond, &reload.lock);
	pthread_mutex_unlock(&reload.lock);
	pthread_mutex_destroy(&reload.lock);
	pthread_cond_destroy(&reload.done_cond);
	return reload.failed;
}

void pl_worker_drain(struct pl_worker *worker, int64_t for_us)
{
	if (worker->drain_asked)
		return;
	worker->drain_asked = true;
	worker->drain_us = for_us;
	pl_loop_post(worker->loop, begin_drain, worker);
}

void pl_worker_join(struct pl_worker **worker_p)
{
	struct pl_worker *worker = *worker_p;
	if (!worker)
		return;
	pl_worker_drain(worker, 0);
	pthread_join(worker->thread, NULL);
	worker_free(worker_p);
}
