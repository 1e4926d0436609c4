// A worker: a thread in which everything of a request happens, from its first byte to its last.
//
// Stands around http/listener and record/store: it owns the loop that both are in. Nothing of it is shared with other workers but the way
// to write (record/writes); they tell it things by posting to its loop.
//
// A turn: callbacks of sockets and timers; then libmicrohttpd begins requests, whose handlers queue writes; then the store cuts its batches. What was
// answered within the turn is sent before waiting.
//
// Ending: the listener accepts no more; when nothing is in flight, or the time is over, the loop ends; the store is freed first, which answers
// what it still had ("unknown" where that is so); then the listener, which sends those answers and closes.
// Invariant: a reload swaps the program between two requests; those that run keep theirs, which lives until the last of them is done.
// Threads: see above.
#include "ops/worker.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "http/listener.h"
#include "ops/builtin.h"
#include "ops/daemon.h"

#define SAMPLE_US 200000 // how old the numbers of other workers may be in a scrape

struct pl_worker {
	struct pl_daemon *daemon;
	int number, fd;
	pthread_t thread;
	bool running;
	struct pl_config *first;         // the configuration to begin with
	struct pl_loop *loop;
	struct pl_store *store;
	struct pl_listener *listener;
	struct pl_program *program;
	struct pl_stats_block *block;
	struct pl_timer *sampling, *ending;
	bool draining;                   // of the worker's thread
	bool drain_asked;                // of the thread that owns the worker, as is the next, until it is posted
	int64_t drain_us;
	// How the start went, told to the thread that waits for it.
	pthread_mutex_t lock;
	pthread_cond_t told;
	bool started;
	struct pl_error err;
};

// ---- what the listener and the store call

static void take_sample(struct pl_worker *worker)
{
	struct pl_stats_sample sample = {0};
	struct pl_error why = {0};
	pl_listener_stats(worker->listener, &sample.listener);
	pl_store_stats(worker->store, &sample.store);
	sample.store_ready = pl_store_ready(worker->store, &why);
	if (!sample.store_ready)
		snprintf(sample.why, sizeof(sample.why), "%s", why.text);
	sample.lua_memory = pl_vm_memory(worker->program->vm);
	snprintf(sample.config_sha256, sizeof(sample.config_sha256), "%s", worker->program->config->sha256);
	pl_stats_sample(worker->block, &sample);
}

static void on_builtin(enum pl_builtin which, const struct pl_request *request, struct pl_answer *answer, void *arg)
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

static void on_committed(int writes, void *arg)
{
	struct pl_worker *worker = arg;
	pl_stats_batch(worker->block, writes);
	if (worker->daemon->relay)
		pl_relay_wake(worker->daemon->relay);
}

static void on_sampling(void *arg)
{
	struct pl_worker *worker = arg;
	take_sample(worker);
	pl_timer_set(worker->sampling, SAMPLE_US);
}

// ---- ending

static void on_ending(void *arg)
{
	struct pl_worker *worker = arg;
	struct pl_listener_stats stats;
	pl_listener_stats(worker->listener, &stats);
	if (stats.in_flight > 0)
		pl_warning("worker: %d requests are still in flight after http.drain_timeout; they are ended", stats.in_flight);
	pl_loop_stop(worker->loop);
}

static void begin_drain(void *arg)
{
	struct pl_worker *worker = arg;
	if (worker->draining)
		return;
	worker->draining = true;
	pl_listener_quiesce(worker->listener);
	pl_timer_set(worker->ending, worker->drain_us);
}

// ---- the loop

static int turn(void *arg)
{
	struct pl_worker *worker = arg;
	int wait_ms;
	do {
		wait_ms = pl_listener_turn(worker->listener);
		pl_store_turn(worker->store);
	} while (pl_listener_pending(worker->listener));
	if (pl_listener_drained(worker->listener))
		pl_loop_stop(worker->loop);
	return wait_ms;
}

// The program: the only step that can fail for what an operator wrote, so it comes first and its problems are told.
static int load_program(const struct pl_config *config, struct pl_program **program_r, struct pl_error *err)
{
	struct pl_problems problems = {0};
	*program_r = pl_program_new(config, &problems);
	int code = *program_r ? 0 : pl_error_set(err, PL_EINVAL, "%s", problems.n > 0 ? problems.lines[0].text : "the handlers do not load");
	pl_problems_fini(&problems);
	return code;
}

static int build(struct pl_worker *worker, struct pl_error *err)
{
	const struct pl_config *config = worker->first;
	const char *name = worker->daemon->region;
	worker->loop = pl_loop_new();
	if (load_program(config, &worker->program, err) != 0)
		return err->code;
	worker->store = pl_store_new(&(struct pl_store_options){
		.loop = worker->loop,
		.config = config,
		.region = pl_config_region(config, name, strlen(name)),
		.running = worker->daemon->running,
		.writes = worker->daemon->writes,
		.committed = on_committed,
		.arg = worker,
	}, err);
	if (!worker->store)
		return err->code;
	int fd = worker->fd;
	worker->fd = -1;
	worker->listener = pl_listener_new(&(struct pl_listener_options){
		.loop = worker->loop,
		.fd = fd,
		.shared_fd = worker->daemon->socket ? pl_sockfile_fd(worker->daemon->socket) : -1,
		.region = name,
		.program = worker->program,
		.store = worker->store,
		.max_connections = config->http.max_connections,
		.builtin = on_builtin,
		.served = on_served,
		.arg = worker,
	}, err);
	if (!worker->listener)
		return err->code;
	worker->ending = pl_timer_new(worker->loop, on_ending, worker);
	worker->sampling = pl_timer_new(worker->loop, on_sampling, worker);
	on_sampling(worker);
	return 0;
}

static void tear_down(struct pl_worker *worker)
{
	if (worker->listener)
		pl_listener_quiesce(worker->listener);
	pl_store_free(&worker->store);
	pl_listener_free(&worker->listener);
	pl_program_unref(&worker->program);
	pl_timer_free(&worker->ending);
	pl_timer_free(&worker->sampling);
}

static void *run(void *arg)
{
	struct pl_worker *worker = arg;
	struct pl_error err = {0};
	char name[32];
	snprintf(name, sizeof(name), "worker-%d", worker->number);
	pl_log_set_thread(name);
	int code = build(worker, &err);
	pthread_mutex_lock(&worker->lock);
	worker->started = true;
	worker->err = err;
	worker->err.code = code;
	pthread_cond_signal(&worker->told);
	pthread_mutex_unlock(&worker->lock);
	if (code == 0)
		pl_loop_run(worker->loop, turn, worker);
	tear_down(worker);
	return NULL;
}

// ---- from outside

static void worker_free(struct pl_worker **worker_r)
{
	struct pl_worker *worker = *worker_r;
	pl_loop_free(&worker->loop); // after the thread: others may still have been posting to it
	pl_config_unref(&worker->first);
	pthread_mutex_destroy(&worker->lock);
	pthread_cond_destroy(&worker->told);
	if (worker->fd >= 0)
		close(worker->fd);
	free(worker);
	*worker_r = NULL;
}

struct pl_worker *pl_worker_start(struct pl_daemon *daemon, int number, int fd, const struct pl_config *config, struct pl_error *err)
{
	struct pl_worker *worker = pl_calloc(1, sizeof(*worker));
	worker->daemon = daemon;
	worker->number = number;
	worker->fd = fd;
	worker->first = pl_config_ref(config);
	worker->block = pl_stats_block_new(daemon->stats);
	pthread_mutex_init(&worker->lock, NULL);
	pthread_cond_init(&worker->told, NULL);
	int failed = pthread_create(&worker->thread, NULL, run, worker);
	if (failed) {
		pl_error_set(err, PL_EINTERNAL, "pthread_create: %s", strerror(failed));
		worker_free(&worker);
		return NULL;
	}
	worker->running = true;
	pthread_mutex_lock(&worker->lock);
	while (!worker->started)
		pthread_cond_wait(&worker->told, &worker->lock);
	pthread_mutex_unlock(&worker->lock);
	if (worker->err.code != 0) {
		*err = worker->err;
		pthread_join(worker->thread, NULL);
		worker_free(&worker);
	}
	return worker;
}

// A reload on its way to all workers; lives on the stack of the thread that waits for them.
struct reload {
	const struct pl_config *config;
	pthread_mutex_t lock;
	pthread_cond_t told;
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
	struct pl_program *program;
	struct pl_error err = {0};
	int code = load_program(reload->config, &program, &err);
	if (code == 0) {
		const struct pl_region *region = pl_config_region(reload->config, worker->daemon->region, strlen(worker->daemon->region));
		pl_writes_reconfigure(worker->daemon->writes, reload->config, region);
		pl_listener_set_program(worker->listener, program);
		pl_store_reconfigure(worker->store, reload->config, region);
		pl_program_unref(&worker->program);
		worker->program = program;
		take_sample(worker);
	} else
		pl_err("worker: the new configuration was checked and still does not load, so the old one stays: %s", err.text);
	free(one);
	pthread_mutex_lock(&reload->lock);
	reload->pending--;
	reload->failed += code != 0;
	pthread_cond_signal(&reload->told);
	pthread_mutex_unlock(&reload->lock);
}

int pl_workers_reload(struct pl_worker *const *workers, int n, const struct pl_config *config)
{
	struct reload reload = {.config = config, .pending = n};
	pthread_mutex_init(&reload.lock, NULL);
	pthread_cond_init(&reload.told, NULL);
	for (int i = 0; i < n; i++) {
		struct reload_one *one = pl_calloc(1, sizeof(*one));
		*one = (struct reload_one){&reload, workers[i]};
		pl_loop_post(workers[i]->loop, take_config, one);
	}
	pthread_mutex_lock(&reload.lock);
	while (reload.pending > 0)
		pthread_cond_wait(&reload.told, &reload.lock);
	pthread_mutex_unlock(&reload.lock);
	pthread_mutex_destroy(&reload.lock);
	pthread_cond_destroy(&reload.told);
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

void pl_worker_join(struct pl_worker **worker_r)
{
	struct pl_worker *worker = *worker_r;
	if (!worker)
		return;
	pl_worker_drain(worker, 0);
	pthread_join(worker->thread, NULL);
	worker_free(worker_r);
}
