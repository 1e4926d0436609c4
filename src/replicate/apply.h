// The applier: takes events from Kafka, decides, writes them with their position, commits, then stores the Kafka offset.
//
// Threads: one of its own, with a policy VM of its own.
#pragma once

#include "config/config.h"
#include "replicate/board.h"
#include "replicate/lag.h"

struct pl_apply;

struct pl_apply_stats {
	uint64_t applied, stale, own, conflicts, twins, policy_errors, foreign, dead_letters, batches, retries;
	int partitions;              // assigned now
	bool assigned;               // has had an assignment since start and has one now
	bool database_up, broker_up;
	uint64_t shadow_same, shadow_different, shadow_failed;
	// Showing records with siblings anew, after a start or a change of policies: whether it is under way; of how many, how many were asked about and changed.
	bool anew_pending;
	uint64_t anew_total, anew_seen, anew_changed;
};

struct pl_apply *pl_apply_start(const struct pl_config *config, const struct pl_region *region, struct pl_error *err);
// Builds the policy VM of the new configuration in the applier's thread; policies were checked before. Open siblings are shown anew.
void pl_apply_reconfigure(struct pl_apply *apply, const struct pl_config *config, const struct pl_region *region);
void pl_apply_stop(struct pl_apply **apply);
void pl_apply_stats(struct pl_apply *apply, struct pl_apply_stats *stats_r);
// What the other regions say of their policies: see replicate/board.h.
int pl_apply_policies(struct pl_apply *apply, struct pl_arena *arena, struct pl_board_policies policies_r[PL_REGIONS_MAX]);
void pl_apply_lag(struct pl_apply *apply, struct pl_lag *lag_r);
