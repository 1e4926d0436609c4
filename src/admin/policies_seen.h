// Which policy each region decides by, as its daemons and its heartbeats say; and where regions do not agree.
//
// Used by status and lag. Threads: the tool has one.
#pragma once

#include "admin/reach.h"
#include "admin/table.h"

struct pl_policy_seen {
	const char *resource, *region, *name, *sha256, *told_by; // "daemon", "heartbeat"
	int64_t at_us;                                           // of the heartbeat; INT64_MAX: the daemon itself, now
};

struct pl_policies_seen {
	struct pl_arena *arena; // the call's
	int n;
	struct pl_policy_seen *each;
};

// What a daemon of the region says in its metrics.
void pl_policies_from_metrics(struct pl_policies_seen *seen, const struct pl_region *region, const char *text);
// What a database has heard of all regions within the last minute. The newest word of a region counts; a daemon's own comes first.
void pl_policies_from_heartbeats(struct pl_policies_seen *seen, struct pl_reach *reach);
// A new table "policies", to be freed by the caller.
struct pl_table *pl_policies_table(const struct pl_policies_seen *seen);
// Calls `warn` with a sentence, both hashes in it, for each pair of regions that differ.
void pl_policies_compare(const struct pl_policies_seen *seen, void (*warn)(void *arg, const char *sentence), void *arg);
void pl_policies_seen_fini(struct pl_policies_seen *seen);
