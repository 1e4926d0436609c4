// The policy in use in each region, as its daemons and heartbeats report it, and where
// regions disagree.
//
// Used by status and lag. Threads: the tool has one.
#pragma once

#include "admin/region_sessions.h"
#include "admin/table.h"

struct pl_policy_seen {
	const char *resource, *region, *name, *sha256, *told_by; // "daemon", "heartbeat"
	int64_t at_us; // of the heartbeat; INT64_MAX: from the daemon, now
};

struct pl_policies_seen {
	struct pl_arena *arena; // the invocation's
	int n;
	struct pl_policy_seen *each;
};

// Reads a daemon's metrics.
void pl_policies_seen_in_metrics(struct pl_policies_seen *seen, const struct pl_region *region,
                                 const char *text);
// Reads what a database received from all regions within the last minute. The newest
// report about a region counts; a daemon's own report takes precedence.
void pl_policies_seen_in_heartbeats(struct pl_policies_seen *seen, struct pl_region_session *region_session);
// A new table "policies", to be freed by the caller.
struct pl_table *pl_policies_seen_table(const struct pl_policies_seen *seen);
// Calls `warn` with a sentence that contains both hashes, for each pair of regions that
// disagree.
void pl_policies_seen_compare(const struct pl_policies_seen *seen,
                              void (*warn)(void *arg, const char *sentence), void *arg);
void pl_policies_seen_fini(struct pl_policies_seen *seen);
