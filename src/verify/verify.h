// The verifier: does a policy load, answer every input with a valid verdict, stay within
// its budget, and give the same answer to the same input?
//
// Called by plist-admin policy check, and for a start or a reload by verify/admission.h.
// The policy runs in the production sandbox, on inputs made from the resource's own
// fields: small sets of concurrent writes exhaustively, larger ones at random from a
// seed. An input that fails is shrunk to the smallest one that still fails. The report
// names the bounds of what was tried and claims nothing beyond them.
// Threads: any; each verification makes its own VMs.
#pragma once

#include "base/decimal.h"
#include "config/config.h"
#include "script/policy.h"

#define PL_VERIFY_ROWS_MAX 5

// Concurrent writes as a policy could meet them, in canonical order.
struct pl_verify_case {
	int64_t id; // the record's
	int n;
	struct pl_sibling rows[PL_VERIFY_ROWS_MAX];
};

enum pl_verify_fault {
	PL_VERIFY_ACCEPTED,
	// no such file, a syntax error, no `resolve`, a forbidden name
	PL_VERIFY_NOT_LOADABLE,
	PL_VERIFY_NOT_TOTAL,         // no verdict, or an error, for some input
	PL_VERIFY_NOT_VALID,         // a verdict that is not a possible row
	PL_VERIFY_OVER_BUDGET,       // instructions, time or memory
	PL_VERIFY_NOT_DETERMINISTIC, // different answers to the same input
};
const char *pl_verify_fault_name(enum pl_verify_fault fault); // "accepted", "not_total", …

struct pl_verify_options {
	const struct pl_config *config;     // holds the policy's file as a source
	const struct pl_resource *resource; // its `policy` names that source
	uint64_t seed;
	int cases; // random ones; 0 = 4000
	// Called often, with the number of inputs tried so far; may be NULL.
	void (*progress)(void *arg, int steps);
	void *arg;
};

// One line of the decision table: a typical situation, and what the policy makes of it,
// in words.
struct pl_verify_decision {
	const char *situation, *writes, *answer;
};

struct pl_verify_report {
	enum pl_verify_fault fault;
	const char *name, *doc; // NULL if it could not be loaded
	// what is wrong and its consequence; NULL if accepted
	const char *sentence;
	// the message of Lua or of the check of the verdict; may be NULL
	const char *detail;
	struct pl_verify_case *smallest; // the smallest input that fails; may be NULL
	const char *first, *second;      // two different answers to it
	int exhaustive, random, fresh;   // inputs tried
	const char *bounds;              // a sentence that says which inputs these were
	int ndecisions;
	const struct pl_verify_decision *decisions; // only if accepted
};

// Fills in the report; its memory is in `arena`. Never fails: a policy that cannot be run
// is refused.
void pl_verify_run(struct pl_arena *arena, const struct pl_verify_options *options,
                   struct pl_verify_report *report_r);
// The same for the rule that the resource's `violations` names: rules.c.
void pl_verify_run_rule(struct pl_arena *arena, const struct pl_verify_options *options,
                        struct pl_verify_report *report_r);

// ---- cases.c, for the verifier's files and its tests

struct pl_verify_pool {
	int n, usual;
	const char *values[64];
}; // a field's values, the simplest first; NULL is null. After `usual`: the file's constants

struct pl_verify_source { // what cases are made from
	struct pl_arena *arena;
	const struct pl_resource *resource;
	const char *text; // of the policy's file; NULL: there is none
	// Those that are configured, and up to five in all, invented ones: a region may
	// have been removed.
	int nregions;
	const char *regions[PL_VERIFY_ROWS_MAX];
	struct pl_verify_pool small[PL_FIELDS_MAX], large[PL_FIELDS_MAX];
	int states; // of one live row in the exhaustive sets
	int nids;   // of records; the simplest first
	int64_t ids[64];
	int varied; // fields with more than one value there
	uint64_t rng;
};

void pl_verify_source_init(struct pl_verify_source *source, struct pl_arena *arena,
                           const struct pl_config *config, const struct pl_resource *resource, uint64_t seed);
// The i-th case of the exhaustive sets; false when there are no more.
bool pl_verify_exhaustive(struct pl_verify_source *source, int i, struct pl_verify_case *case_r);
void pl_verify_random(struct pl_verify_source *source, struct pl_verify_case *case_r);
// A row of `region` with the first values of the small pools.
void pl_verify_row(struct pl_verify_source *source, struct pl_sibling *row_r, int region, int64_t at);
void pl_verify_sort(struct pl_verify_case *c);
// Calls fails(arg, case) on simpler and simpler cases, and keeps those that still fail.
void pl_verify_shrink(struct pl_verify_source *source, struct pl_verify_case *c,
                      bool (*fails)(void *arg, const struct pl_verify_case *c), void *arg);

// ---- constants.c

#define PL_VERIFY_CONSTANTS    16 // of each kind; others are ignored
#define PL_VERIFY_CONSTANT_MAX 64 // bytes

struct pl_verify_constants {
	int nnumbers, ntexts;
	const char *numbers[PL_VERIFY_CONSTANTS], *texts[PL_VERIFY_CONSTANTS];
};

// Adds the numbers and texts in a Lua file.
void pl_verify_constants_read(struct pl_arena *arena, const char *text, size_t len,
                              struct pl_verify_constants *into);
// The number and its neighbours, one unit of its last allowed digit below and above;
// NULL if there is none.
void pl_verify_neighbours(struct pl_arena *arena, const char *text, int scale, const char *around[3]);

// ---- messages.c

// "us wrote price 100.00, bedrooms null; eu, 1 µs later, deleted it".
const char *pl_verify_writes(struct pl_arena *arena, const struct pl_resource *resource,
                             const struct pl_verify_case *c);
// "keeps what eu wrote: price 200.00", "merges: price 150.00 (nobody's), bedrooms 3
// (us's)", "it stays deleted".
const char *pl_verify_answer(struct pl_arena *arena, const struct pl_resource *resource,
                             const struct pl_verify_case *c, const struct pl_verdict *verdict);
// The situations of the decision table, as cases. Returns their number; NULL-safe for
// resources that lack what a situation needs.
int pl_verify_situations(struct pl_verify_source *source, const char **titles, struct pl_verify_case *cases,
                         int max);
