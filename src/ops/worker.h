// Workers: threads, each with an event loop, a listener, a store and a generation.
//
// Threads: started, reloaded, drained and joined by the same thread.
#pragma once

#include "config/config.h"
#include "ops/loaded.h"
#include "tls/server.h"

struct pl_daemon;
struct pl_worker;

// Takes ownership of the listening socket `fd`, even on failure. Returns when the worker
// is serving, or NULL if it cannot.
struct pl_worker *pl_worker_start(struct pl_daemon *daemon, int number, int fd,
                                  const struct pl_loaded *loaded, struct pl_error *err);

// Makes all workers use a configuration that has been checked, and returns when they do.
// Returns the number of workers that failed and kept the old one. `tls`: for connections
// from then on; NULL: no change.
int pl_workers_reload(struct pl_worker *const *workers, int n, const struct pl_loaded *loaded,
                      struct pl_tls_server *tls);

// Stops accepting; the worker ends when no request is in flight, or after `for_us`.
void pl_worker_drain(struct pl_worker *worker, int64_t for_us);
// Waits until it has ended. Drains first if that was not requested before.
void pl_worker_join(struct pl_worker **worker_p);
