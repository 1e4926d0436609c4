// The writes of a daemon: all its workers write through one shared writer.
//
// Between the workers' stores (store/store.h) and the database. Writes that several
// workers make at the same time go into one batch, as large as if there were one
// worker; and the writes of one record meet in one queue instead of in the database's
// locks.
//
// The writer has no thread. A worker takes its lock when it has writes to hand in, or
// when a connection or a timer needs attention; it turns the writer's loop once without
// waiting, takes its own finished writes, and releases the lock. So a single write
// never waits for another thread to wake up, and under load the next free worker sends
// the next batch.
//
// Threads: any.
#pragma once

#include "config/config.h"
#include "store/store.h"

struct pl_shared_writer;
struct pl_table_gate;

// NULL with err.
struct pl_shared_writer *pl_shared_writer_new(const struct pl_config *config, const struct pl_region *region,
                                              struct pl_error *err);
void pl_shared_writer_free(struct pl_shared_writer **writer_p); // after all its stores
// After a reload, before the first write under the new configuration. Every worker
// calls it; only the first call has an effect.
void pl_shared_writer_reconfigure(struct pl_shared_writer *writer, const struct pl_config *config,
                                  const struct pl_region *region);
// The key under which writes are counted (record/vector.h), the region's name at first.
// If it changes, the connections are made again.
void pl_shared_writer_set_key(struct pl_shared_writer *writer, const char *key);
// Refuses the writes of resources for which the gate is closed; it outlives the writer.
// To be called before the first write.
void pl_shared_writer_set_gate(struct pl_shared_writer *writer, struct pl_table_gate *tables);
bool pl_shared_writer_ready(struct pl_shared_writer *writer, struct pl_error *why); // it is connected
void pl_shared_writer_stats(struct pl_shared_writer *writer, struct pl_store_stats *stats_r);
