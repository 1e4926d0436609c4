// Housekeeping: remembered requests that have expired, the conflicts' monthly partitions and their retention.
//
// Threads: one of its own; the functions here may be called from any.
#pragma once

#include "config/config.h"

struct pl_housekeep;

struct pl_housekeep_stats {
	uint64_t requests_expired, partitions_made, partitions_dropped, conflicts_deleted, failures;
	int64_t last_run_us; // pl_now_us of the last round that succeeded, 0 = none
};

struct pl_housekeep *pl_housekeep_start(const struct pl_config *config, const char *region, struct pl_error *err);
void pl_housekeep_reconfigure(struct pl_housekeep *housekeep, const struct pl_config *config);
void pl_housekeep_stop(struct pl_housekeep **housekeep);
void pl_housekeep_stats(struct pl_housekeep *housekeep, struct pl_housekeep_stats *stats_r);
