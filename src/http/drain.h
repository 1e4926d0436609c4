// Connections whose last answer has been sent while the client is still sending. Private
// to http/.
//
// Threads: the worker's.
#pragma once

#include "base/loop.h"

struct pl_drain;

struct pl_drain *pl_drain_new(struct pl_loop *loop);
void pl_drain_free(struct pl_drain **drain_p); // closes those that are left

// Call this when the connection is about to be closed by its owner: data that still
// arrives is read and discarded, for at most one second.
void pl_drain_take(struct pl_drain *drain, int fd);
// Closes connections whose second is over.
void pl_drain_sweep(struct pl_drain *drain, int64_t now_us);
