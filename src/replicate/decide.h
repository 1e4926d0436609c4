// Deciding: what a record becomes when an event arrives. Pure code, no database, no clock: the simulation in tests/ drives exactly this.
//
// A region keeps, per record, the writes that no other known write covers; usually that is one. Siblings are stored plainly; twins
// (one request executed in two regions) are sorted out when the row is shown. See the essay at the top of decide.c.
#pragma once

#include "replicate/event.h"
#include "script/policy.h"

struct pl_state {                     // what a region knows of one record
	bool known;                       // false: never heard of it
	struct pl_vector vector;          // join of all known writes
	int n;                            // writes standing: 1, or more when they are siblings
	struct pl_sibling *writes;        // in no particular order
	int32_t version;                  // of the row; equals the vector's sum
};

enum pl_decision {
	PL_DECIDED_STALE,                 // covered already: a duplicate, or overtaken
	PL_DECIDED_REPLACED,              // one write stands
	PL_DECIDED_CONCURRENT,            // two or more stand
	PL_DECIDED_REFUSED,               // its vector and ours have no join that a row could hold: too many regions, or too large a version
};

// Takes `event` into `state` (memory from `arena`; nothing that the state held before is written to). REFUSED leaves it as it was.
enum pl_decision pl_decide_take(struct pl_arena *arena, struct pl_state *state, const struct pl_event *event);

// Dots by which a request is known to have been executed: what processed_requests.dots remembers.
struct pl_twins { const char *request_id, *principal; const uint8_t *fingerprint; int n; const struct pl_dot *dots; };

// A row's own columns say only the id of the request that wrote it; what is remembered of requests says the rest. Completes the request of the
// standing writes whose fingerprint is not known and whose dot is among the twins'. Returns how many were found.
int pl_decide_identify(struct pl_state *state, const struct pl_twins *twins, int ntwins);

// The canonical order: updated_at, then region, then counter. Negative, 0 (the same write), positive.
int pl_decide_order(const struct pl_sibling *a, const struct pl_sibling *b);

// The siblings that are shown to the policy: without twins, in canonical order (updated_at, region, counter). Returns their number (>= 1);
// rows_r[0..n) are written, room for state->n.
int pl_decide_shown(const struct pl_state *state, const struct pl_twins *twins, int ntwins, struct pl_sibling *rows_r);

struct pl_shown {                     // the visible row, and how it came about
	struct pl_sibling row;            // its origin is row.dot.region
	int nrows;                        // how many the policy was asked about; 1 = it was not asked
	const struct pl_sibling *rows;
	struct pl_verdict verdict;        // valid when nrows > 1
	bool policy_failed;               // fell back to last_writer_wins
	struct pl_error policy_error;
};

// The visible row of a state. A merge is computed, never published: its updated_at and origin are those of the last of the rows.
int pl_decide_show(struct pl_arena *arena, const struct pl_resource *resource, int64_t id, const struct pl_state *state,
                   const struct pl_twins *twins, int ntwins, struct pl_policy *policy, struct pl_shown *shown_r);

// The same with any answerer in the policy's place: the simulation's, and the shadow's. Its contract is that of pl_policy_resolve.
typedef int pl_decide_ask_fn(void *arg, const struct pl_resource *resource, int64_t id, const struct pl_sibling *rows, int n,
                             struct pl_arena *arena, struct pl_verdict *verdict_r, struct pl_error *err);
int pl_decide_show_by(struct pl_arena *arena, const struct pl_resource *resource, int64_t id, const struct pl_state *state,
                      const struct pl_twins *twins, int ntwins, pl_decide_ask_fn *ask, void *arg, struct pl_shown *shown_r);

// PostgreSQL's name for the kind of conflict: "update_origin_differs", "update_deleted", "delete_origin_differs", "insert_exists", …
const char *pl_decide_conflict_type(const struct pl_sibling *rows, int n);
