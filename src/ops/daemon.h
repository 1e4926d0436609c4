// A daemon: one region's threads, held together. Started once, reloaded any number of times, stopped by one function.
#pragma once

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>

#include "base/buf.h"
#include "base/sockfile.h"
#include "config/config.h"
#include "ops/control.h"
#include "ops/housekeep.h"
#include "ops/stats.h"
#include "ops/worker.h"
#include "record/running.h"
#include "record/writes.h"
#include "replicate/apply.h"
#include "replicate/relay.h"

// A policy that the current configuration names, as it describes itself.
struct pl_policy_facts {
	const char *resource, *path, *name, *doc, *sha256;
	bool shadow;
};

// A configuration with what was found out when it was checked.
struct pl_loaded {
	struct pl_config *config;
	struct pl_arena *arena;
	int npolicies;
	struct pl_policy_facts *policies;
};

// Threads: what stands before `lock` is written before other threads begin and not after. The rest is under `lock`.
struct pl_daemon {
	char *region, *file;
	int64_t started_us;          // pl_now_us
	struct pl_stats *stats;
	struct pl_running *running;  // requests of all workers
	struct pl_writes *writes;    // what all workers write through
	struct pl_relay *relay;
	struct pl_apply *apply;
	struct pl_housekeep *housekeep;
	struct pl_control *control;
	struct pl_sockfile *socket;  // at which all workers listen, too; NULL: the region has none
	int nworkers;
	struct pl_worker **workers;
	atomic_bool draining;
	pthread_mutex_t reloading;   // one reload at a time
	pthread_mutex_t lock;
	struct pl_loaded *loaded;
	uint64_t reloads, reload_failures;
	bool last_reload_ok;
	int64_t loaded_us;           // pl_now_us
	char reload_error[PL_ERROR_TEXT_MAX];
};

// `loaded` (pl_loaded_new) becomes the daemon's, also on failure. NULL with *err: PL_EUNAVAIL when an address is taken, PL_EINVAL, PL_EINTERNAL.
// The database and Kafka may be away: they are waited for.
struct pl_daemon *pl_daemon_start(struct pl_loaded *loaded, const char *region, struct pl_error *err);
// Ends everything, from any state that pl_daemon_start can leave: requests in flight and the outbox get http.drain_timeout.
void pl_daemon_stop(struct pl_daemon **daemon);

// Loads, checks and publishes the configuration file anew: all of it or nothing. The outcome is logged, and appended to `members` (may be NULL) as JSON
// members for the operators' socket. Threads: any.
int pl_daemon_reload(struct pl_daemon *daemon, struct pl_buf *members, struct pl_error *err);

// Puts one policy in force until the next reload: what the operators' socket's "activate" asks. The gate is asked here again, whoever asks.
int pl_daemon_activate(struct pl_daemon *daemon, const cJSON *request, struct pl_buf *members, struct pl_error *err);
// ,"name":["…","…"]: the warnings of `problems`, or those that are none.
void pl_daemon_list_problems(struct pl_buf *members, const char *name, const struct pl_problems *problems, bool warnings);

// Reads the file, loads every Lua file that it names, and probes its policies. NULL with problems.
struct pl_loaded *pl_loaded_new(const char *file, const char *region, struct pl_problems *problems);
// The same of a configuration that was derived from one in force: only its policies are loaded, and none is probed. Takes the reference; NULL with problems.
struct pl_loaded *pl_loaded_derived(struct pl_config *config, struct pl_problems *problems);
void pl_loaded_free(struct pl_loaded **loaded);

// A reference to the current configuration.
struct pl_config *pl_daemon_config(struct pl_daemon *daemon);
