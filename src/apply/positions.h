// Positions: where to continue reading in each partition, and the database's own record
// of it.
//
// The group's offsets decide where to continue; the positions in the database can only
// move the applier back. apply/applier.c gives the reason. They are written with each
// batch (apply/rows), and here for partitions that have since held only our own events.
// Threads: an applier's.
#pragma once

#include "apply/batch.h"
#include "apply/fetch_buffer.h"
#include "kafka/consumer.h"

// What the functions below work on; everything is the applier's.
struct pl_positions {
	struct pl_fetch_buffer *buffer;
	struct pl_consumer *consumer;
	const struct pl_apply_tools *tools;
	struct pl_arena *arena; // of one step
};

// What the database has recorded for each partition.
struct pl_positions_written {
	struct pl_position *of;
	int n;
};
int pl_positions_load(const struct pl_positions *p, struct pl_positions_written *written_r,
                      struct pl_error *err);

// Asks the broker for the group's offsets and the ranges of the partitions that are not
// settled, and goes back where the database is behind; then the buffer is empty.
// Afterwards, buffered messages have to be read again, since the ranges say which events
// may be missing here.
int pl_positions_settle(const struct pl_positions *p, const struct pl_positions_written *written,
                        struct pl_error *err);

// It may be another database: all partitions are checked again.
void pl_positions_unsettle(struct pl_fetch_buffer *buffer);

// Writes the positions of partitions that advanced without a transaction.
int pl_positions_flush(const struct pl_positions *p, struct pl_error *err);
