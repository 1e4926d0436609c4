// Workers: threads with a loop, a listener, a store and a program each.
//
// Threads: started, reloaded, drained and joined by one thread; within, each is one thread.
#pragma once

#include "config/config.h"

struct pl_daemon;
struct pl_worker;

// `fd` listens and becomes the worker's, also on failure. Returns when the worker serves, or NULL when it cannot.
struct pl_worker *pl_worker_start(struct pl_daemon *daemon, int number, int fd, const struct pl_config *config, struct pl_error *err);

// Has all of them take a configuration that was checked before; returns when they have. How many could not, and kept the old one.
int pl_workers_reload(struct pl_worker *const *workers, int n, const struct pl_config *config);

// Accepts no more; ends by itself when nothing is in flight any more, and after `for_us` in any case.
void pl_worker_drain(struct pl_worker *worker, int64_t for_us);
// Waits for its end. Drains first if that was not asked before.
void pl_worker_join(struct pl_worker **worker);
