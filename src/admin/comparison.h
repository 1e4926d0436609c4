// Compares one resource in all selected regions and finds the differences that
// replication will not remove by itself.
//
// It reads twice. A record that differs in the first pass is a candidate, with the
// vectors of its copies. Then the command waits until everything committed so far has
// been applied (admin/settle), and reads the candidates again. A candidate is a
// difference if a copy still lacks something that another copy had in the first pass,
// or if the copies are unchanged, with equal vectors and different contents. The other
// candidates were still being replicated, or have been written since, and their new
// differences are being replicated.
// Threads: the tool has one.
#pragma once

#include "admin/id_range.h"
#include "admin/region_sessions.h"
#include "compare/scan.h"

struct pl_found {
	int64_t id;
	struct pl_classified is;
	// One bit for each region: it has siblings that no row claims; its row claims to
	// have siblings.
	uint32_t strays, claims;
	struct pl_scan_copy *copies; // one per region; NULL: they were not kept
};

struct pl_comparison {
	const struct pl_resource *resource;
	struct pl_region_sessions *sessions;
	struct pl_arena *arena;
	struct pl_scan scan;
	int nfound, limit; // how many differences are shown
	// Of the first `limit`, those whose copies were not kept, since the copies before
	// them need PL_COMPARISON_COPIES bytes.
	int without_copies;
	struct pl_found *found;
	int64_t counts[PL_DIFFERENCES];
	int64_t passed;    // candidates that were still being replicated
	int64_t unsettled; // candidates about which nothing can be said; `why` has the reason
	const char *why;
	double seconds;
};

#define PL_COMPARISON_COPIES ((size_t)16 << 20)

struct pl_comparison_options {
	const struct pl_id_range *range;
	int64_t wait_us;
	bool at_once; // do not wait: a change that is still being replicated counts as a difference
	int limit;
};

// Returns 0, or a pl_exit after printing what failed. Call pl_comparison_fini in any
// case.
int pl_comparison_run(struct pl_invocation *invocation, struct pl_region_sessions *sessions,
                      const struct pl_resource *resource, const struct pl_comparison_options *options,
                      struct pl_comparison *comparison_r);
void pl_comparison_fini(struct pl_comparison *comparison);
// Reads these records (ids, ascending) again, and calls `each` with those that differ;
// their copies are valid until it returns. Returns 0, or a pl_exit after printing what
// failed.
int pl_comparison_look(struct pl_comparison *comparison, const int64_t *ids, int n,
                       void (*each)(void *arg, const struct pl_found *found), void *arg);

// Opens sessions to all selected regions; there must be at least two, all of them
// reachable. Returns 0 or a pl_exit. Call pl_region_sessions_close in any case.
int pl_comparison_open(struct pl_invocation *invocation, struct pl_region_sessions *sessions);
// The resources named by the arguments, or all of them. Returns 0 or a pl_exit.
int pl_comparison_resources(struct pl_invocation *invocation, const struct pl_resource ***resources_r,
                            int *n_r);
