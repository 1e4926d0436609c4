// A daemon: the threads of one region. Started once, reloaded any number of times,
// stopped by one function.
//
// ops/reload.h and ops/activate.h change a running daemon; ops/commands.h lets operators
// ask for both.
#pragma once

#include "base/error.h"
#include "config/config.h"
#include "ops/loaded.h"

struct pl_daemon;

// Takes ownership of `loaded` (pl_loaded_new), even on failure. Returns NULL and sets
// *err: PL_EUNAVAIL if an address is in use, PL_EINVAL, PL_EINTERNAL. The database and
// Kafka need not be available yet: the threads keep trying to connect.
// `alone`: see struct pl_heal_options.
struct pl_daemon *pl_daemon_start(struct pl_loaded *loaded, const char *region, bool alone,
                                  struct pl_error *err);
// Stops all threads, from any state that pl_daemon_start can leave. Requests in flight
// and the outbox get http.drain_timeout each. Stop the control socket first
// (ops/commands.h).
void pl_daemon_stop(struct pl_daemon **daemon_p);

// Returns a new reference to the current configuration. Threads: any.
struct pl_config *pl_daemon_config(struct pl_daemon *daemon);
