// The writes of a daemon: one store through which all its workers write.
//
// Stands between the workers' own stores, which read, and the database. What the workers write at the same time is one batch, as large as if there
// were one worker; and the writes of one record meet in one queue instead of in the database's locks.
//
// It has no thread. A worker takes the lock when it has writes to hand in, or when the connection or a timer has something for whoever comes first;
// it turns the store's loop once, without waiting, takes home what is finished of its own, and lets go. So a write that is alone never waits for
// another thread to wake up, and under load the next free worker sends the next batch.
//
// Threads: any; each door belongs to its worker's thread.
#pragma once

#include "base/loop.h"
#include "record/store.h"

struct pl_writes;
struct pl_door;

// `options` as for a store, without a loop; `committed` is not called, the doors' are. NULL with err.
struct pl_writes *pl_writes_new(const struct pl_store_options *options, struct pl_error *err);
void pl_writes_free(struct pl_writes **writes); // all doors are closed
// After a reload, before the first write under it. The second worker that says so changes nothing.
void pl_writes_reconfigure(struct pl_writes *writes, const struct pl_config *config, const struct pl_region *region);
bool pl_writes_ready(struct pl_writes *writes, struct pl_error *why); // its connections are up
void pl_writes_stats(struct pl_writes *writes, struct pl_store_stats *stats_r);

// A worker's way in. `committed` (may be NULL) is told of each transaction whose answer this worker took, whoever wrote in it.
struct pl_door *pl_door_new(struct pl_writes *writes, struct pl_loop *loop, void (*committed)(int writes, void *arg), void *arg);
// What is still on its way is answered: PL_ESTOPPED, or PL_EUNKNOWN where it was sent. Calls `done` of it.
void pl_door_free(struct pl_door **door);

// Hands in, at the latest with the next turn. `done` is called from pl_door_deliver.
void pl_door_write(struct pl_door *door, struct pl_write *write);
void pl_door_remember_answer(struct pl_door *door, struct pl_remember_answer *answer);
void pl_door_turn(struct pl_door *door);
bool pl_door_deliver(struct pl_door *door); // whether there was anything

// For the store inside, under the lock: the write or answer goes back to where it came from.
void pl_door_give_write(struct pl_write *write);
void pl_door_give_answer(struct pl_remember_answer *answer);
