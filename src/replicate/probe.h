// Probing a policy before it goes live: is it loadable, deterministic, total, valid, within its budget; and do simulated regions converge with it?
//
// Called by plist-admin policy check and by the gate that start and reload go through (replicate/gate.h). The policy runs in the production
// sandbox, on inputs made from the resource's own fields: small sets of concurrent writes exhaustively, larger ones at random from a seed. What
// fails is shrunk to the smallest input that still fails. No claim goes beyond the bounds that the report names.
// Threads: any; a probe makes VMs of its own.
#pragma once

#include "base/decimal.h"
#include "config/config.h"
#include "script/policy.h"

#define PL_PROBE_ROWS_MAX 5

// Concurrent writes as a policy could meet them, in canonical order.
struct pl_probe_case {
	int64_t id; // the record's
	int n;
	struct pl_sibling rows[PL_PROBE_ROWS_MAX];
};

enum pl_probe_fault {
	PL_PROBE_ACCEPTED,
	PL_PROBE_NOT_LOADABLE,      // no such file, a syntax error, no `resolve`, a forbidden name
	PL_PROBE_NOT_TOTAL,         // an input without a verdict, or an error
	PL_PROBE_NOT_VALID,         // a verdict that no row could be
	PL_PROBE_OVER_BUDGET,       // instructions, time or memory
	PL_PROBE_NOT_DETERMINISTIC, // the same input, another answer
	PL_PROBE_NOT_CONVERGENT,    // simulated regions ended with different rows
};
const char *pl_probe_fault_name(enum pl_probe_fault fault); // "accepted", "not_total", …

struct pl_probe_options {
	const struct pl_config *config;     // holds the policy's file as a source
	const struct pl_resource *resource; // its `policy` names that source
	uint64_t seed;
	int cases;                          // at random; 0 = 4000
	int histories;                      // simulated; 0 = 1500
};

// One line of the decision table: a situation that matters, and what the policy does with it, in words.
struct pl_probe_decision { const char *situation, *writes, *answer; };

struct pl_probe_report {
	enum pl_probe_fault fault;
	const char *name, *doc;             // NULL when it could not be loaded
	const char *sentence;               // what is wrong and what follows from it; NULL when accepted
	bool by_the_clock;                  // over_budget because of the time: elsewhere, or later, it may be accepted
	const char *detail;                 // what Lua or the check of the verdict said; may be NULL
	struct pl_probe_case *smallest;     // the smallest input that shows it; NULL when no input does
	const char *first, *second;         // two answers to it, when they differ; or the one answer in `first`
	int exhaustive, random, fresh, histories; // how many of each were run
	const char *bounds;                 // a sentence: which inputs these were
	int ndecisions;
	const struct pl_probe_decision *decisions; // only when accepted
};

// Fills in the report; its memory is in `arena`. Never fails: what cannot be run is a refused policy.
void pl_probe_run(struct pl_arena *arena, const struct pl_probe_options *options, struct pl_probe_report *report_r);

// --- probe_cases.c, for the probe's own files and its tests

struct pl_probe_pool { int n, usual; const char *values[64]; }; // a field's values, the simplest first; NULL is null. Behind `usual`: the file's own

struct pl_probe_source {                // what cases are made from
	struct pl_arena *arena;
	const struct pl_resource *resource;
	int nregions;                       // the configured ones and, up to five, invented ones: a region may have been removed
	const char *regions[PL_PROBE_ROWS_MAX];
	struct pl_probe_pool small[PL_FIELDS_MAX], large[PL_FIELDS_MAX];
	int states;                         // of one live row in the exhaustive sets
	int nids;                           // of records; the simplest first
	int64_t ids[64];
	int varied;                         // fields that take more than one value there
	uint64_t rng;
};

void pl_probe_source_init(struct pl_probe_source *source, struct pl_arena *arena, const struct pl_config *config,
                          const struct pl_resource *resource, uint64_t seed);
// The i-th case of the exhaustive sets; false when there are no more.
bool pl_probe_exhaustive(struct pl_probe_source *source, int i, struct pl_probe_case *case_r);
void pl_probe_random(struct pl_probe_source *source, struct pl_probe_case *case_r);
// A row of `region` with the first values of the small pools.
void pl_probe_row(struct pl_probe_source *source, struct pl_sibling *row_r, int region, int64_t at);
void pl_probe_sort(struct pl_probe_case *c);
// Calls fails(arg, case) on ever simpler cases and keeps those that still fail.
void pl_probe_shrink(struct pl_probe_source *source, struct pl_probe_case *c, bool (*fails)(void *arg, const struct pl_probe_case *c), void *arg);

// --- probe_constants.c

#define PL_PROBE_CONSTANTS 16           // of each kind; more are left out
#define PL_PROBE_CONSTANT_MAX 64        // bytes

struct pl_probe_constants { int nnumbers, ntexts; const char *numbers[PL_PROBE_CONSTANTS], *texts[PL_PROBE_CONSTANTS]; };

// Adds the numbers and texts that a Lua file names.
void pl_probe_constants_read(struct pl_arena *arena, const char *text, size_t len, struct pl_probe_constants *into);
// The number, and what is one unit of its last allowed digit less and more; NULL where there is none.
void pl_probe_neighbours(struct pl_arena *arena, const char *text, int scale, const char *around[3]);

// --- probe_words.c

// "us wrote price 100.00, bedrooms null; eu, 1 µs later, deleted it".
const char *pl_probe_writes(struct pl_arena *arena, const struct pl_resource *resource, const struct pl_probe_case *c);
// "keeps what eu wrote: price 200.00", "merges: price 150.00 (nobody's), bedrooms 3 (us's)", "it stays deleted".
const char *pl_probe_answer(struct pl_arena *arena, const struct pl_resource *resource, const struct pl_probe_case *c, const struct pl_verdict *verdict);
// The situations of the decision table, as cases. Returns their number; NULL-safe for resources that lack what a situation needs.
int pl_probe_situations(struct pl_probe_source *source, const char **titles, struct pl_probe_case *cases, int max);
