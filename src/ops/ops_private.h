// What a daemon is, for the files of this room: its threads and what they share.
//
// Everybody else sees ops/daemon.h, where the struct is opaque.
#pragma once

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"
#include "config/config.h"
#include "ops/daemon.h"

// Threads: members above `lock` are written before any other thread starts and are
// constant from then on. Members below `lock` are protected by it.
struct pl_daemon {
	char *region, *file;
	int64_t started_us; // pl_now_us
	struct pl_stats *stats;
	struct pl_shared_writer *writes; // shared by all workers
	struct pl_limits *limits;        // likewise
	struct pl_key_fetcher *keys;     // likewise; used under `reloading`
	struct pl_relay *relay;
	struct pl_apply *apply;
	struct pl_housekeep *housekeep;
	struct pl_watchdog *watchdog;
	struct pl_tls_server *tls; // the latest; changed under `reloading`. NULL: without TLS
	struct pl_heal *heal;
	struct pl_table_gate *tables; // resources that take no writes
	struct pl_integrity *integrity;
	atomic_bool beat_soon;      // the relay's, set by the applier
	struct pl_audit_mail *mail; // between the audit, the relay and the applier
	struct pl_audit *audit;
	bool alone;                 // no other region knows more than this one's database
	struct pl_sockfile *socket; // a second listener of all workers; NULL: not configured
	int nworkers;
	struct pl_worker **workers;
	struct pl_admin_listener *admin_listener;
	atomic_bool draining;
	atomic_int control_up;     // whether the control socket is there; -1: none is configured
	pthread_mutex_t reloading; // held for a whole reload or activation: one at a time
	pthread_mutex_t lock;
	struct pl_loaded *loaded;
	struct pl_certificates *certificates;
	uint64_t reloads, reload_failures;
	bool last_reload_ok;
	int64_t loaded_us; // pl_now_us
	char reload_error[PL_ERROR_TEXT_MAX];
	char key[PL_REGION_MAX + 1]; // of this region's writes; "": not known yet
};
