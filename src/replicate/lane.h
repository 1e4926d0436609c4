// A lane: one thread that applies what its consumer brings. There is one, or as many as kafka.apply_connections says; the group shares
// the partitions out among them, so what belongs to one record stays in one lane and in order.
#pragma once

#include <stdatomic.h>

#include "replicate/apply_batch.h"
#include "replicate/board.h"

struct pl_lane;

// What a lane says of itself; it alone writes.
struct pl_lane_stats {
	_Atomic uint64_t applied, stale, own, conflicts, twins, policy_errors, foreign, dead_letters, batches, retries;
	_Atomic uint64_t shadow_same, shadow_different, shadow_failed;
	_Atomic int partitions;
	atomic_bool assigned, database_up, broker_up;
	// Showing records with siblings anew, which the first lane does: the configurations that were given, and the one whose policies were asked about
	// all of them; how many records there were, were asked about, were changed by it, with the one at hand.
	_Atomic uint64_t given, shown, anew_total, anew_seen, anew_changed;
};

struct pl_lane *pl_lane_start(const struct pl_config *config, const struct pl_region *region, int index, struct pl_board *board,
                              struct pl_error *err);
void pl_lane_reconfigure(struct pl_lane *lane, const struct pl_config *config, const struct pl_region *region);
// In two steps, so that many stop at the same time.
void pl_lane_ask_to_stop(struct pl_lane *lane);
void pl_lane_stop(struct pl_lane **lane);
const struct pl_lane_stats *pl_lane_stats(const struct pl_lane *lane);
