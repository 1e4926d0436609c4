// A background thread of a daemon, which works on the region's database in turns: in
// its own session, under the newest configuration, and with another try after a
// failure.
//
// For audit/, heal/, integrity/ and ops/housekeep. Threads: the callbacks are called by
// the new thread; the functions may be called from any, except where they say otherwise.
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"
#include "config/config.h"
#include "db/session.h"

struct pl_background;

struct pl_background_options {
	const char *name; // of the thread, its session and its log lines; not copied
	const struct pl_config *config;
	const struct pl_region *region;
	const char *const *setup;  // see db/session.h; may be NULL
	int64_t least_us, most_us; // bounds of the wait after a failed turn
	bool any_owner;            // also in a database that was not accepted as the region's

	// Called with the first configuration and with each new one. The arguments are
	// valid until the next call. The session stays the same unless the database's
	// address or its time limits have changed.
	void (*configure)(void *arg, struct pl_session *session, const struct pl_config *config,
	                  const struct pl_region *region);
	// Executes a turn; connects with pl_background_connect. Returns 0 or a code;
	// PL_ESTOPPED ends the thread. *wait_us_r is the time until the next turn, 0 if
	// it is not set; -1: until the configuration changes.
	int (*turn)(void *arg, int64_t *wait_us_r, struct pl_error *err);
	void (*failed)(void *arg); // after a turn that has failed. May be NULL
	void (*ended)(void *arg);  // the last call. May be NULL
	void *arg;
};

// Creates the thread without starting it. Keeps a reference to the configuration.
struct pl_background *pl_background_new(const struct pl_background_options *options);
// 0 or PL_EINTERNAL.
int pl_background_start(struct pl_background *background, struct pl_error *err);
// Waits for the thread, if it was started.
void pl_background_free(struct pl_background **background_p);
// Passes a new configuration, which takes effect before the next turn. That begins at
// once.
void pl_background_reconfigure(struct pl_background *background, const struct pl_config *config,
                               const struct pl_region *region);
// The turns that have failed.
uint64_t pl_background_failures(struct pl_background *background);
// For how long every turn has failed although the database can be reached; 0: not.
int64_t pl_background_failing_us(struct pl_background *background);

// ---- for the thread

// Connects the session unless it is connected and usable. *new_r: whether it was
// connected by this call, or its database accepted (db/owner.h). 0 or a code; a turn that
// returns PL_EBUSY is tried again quietly until the database is accepted.
int pl_background_connect(struct pl_background *background, bool *new_r, struct pl_error *err);
// Whether a new configuration waits to take effect.
bool pl_background_outdated(struct pl_background *background);
// A descriptor that is readable when it is time to stop.
int pl_background_stop_fd(const struct pl_background *background);
