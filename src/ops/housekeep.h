// Housekeeping: deletes expired request ids, moves values of fields into their columns,
// creates and drops the monthly partitions of conflicts, and applies the retention of
// conflicts and dead letters.
//
// Threads: it has a thread of its own; the functions here may be called from any.
#pragma once

#include "config/config.h"

struct pl_housekeep;

struct pl_housekeep_stats {
	uint64_t fields_folded, requests_expired, partitions_made, partitions_dropped, conflicts_deleted,
		dead_letters_deleted, failures;
	uint64_t fields_left; // rows whose values the last round could not move to their columns
	int64_t failing_us;   // see pl_background_failing_us
	int64_t last_run_us;  // pl_now_us of the end of the last successful round, 0 if none
};

struct pl_housekeep *pl_housekeep_start(const struct pl_config *config, const struct pl_region *region,
                                        struct pl_error *err);
void pl_housekeep_reconfigure(struct pl_housekeep *housekeep, const struct pl_config *config,
                              const struct pl_region *region);
void pl_housekeep_stop(struct pl_housekeep **housekeep_p);
void pl_housekeep_stats(struct pl_housekeep *housekeep, struct pl_housekeep_stats *stats_r);
