// Deciding what a record becomes when an event arrives. Pure code, no database, no clock:
// the simulation in tests/unit/decide runs it.
//
// A region keeps, for each record, the writes that no other known write covers; usually
// that is one. Siblings are stored as they are; twins (one request executed in two
// regions) are sorted out when the visible row is computed. The essay at the head of
// decide.c explains why regions converge.
#pragma once

#include "event/event.h"
#include "record/sibling.h"

struct pl_state {                  // what a region knows of one record
	bool known;                // false: no write of it is known
	struct pl_vector vector;   // join of all known writes
	int n;                     // uncovered writes: 1, or more if they are siblings
	struct pl_sibling *writes; // in no particular order
	int32_t version;           // of the row; equals the vector's sum
};

enum pl_decision {
	PL_DECIDED_STALE,      // covered already: a duplicate, or replaced
	PL_DECIDED_REPLACED,   // it replaced all others
	PL_DECIDED_CONCURRENT, // there are two or more siblings
	// Its vector and ours have no join that a row could hold: too many regions, or
	// too large a version.
	PL_DECIDED_REFUSED,
};

// Takes `event` into `state`. Memory is from `arena`; what the state pointed to before
// is not modified. REFUSED leaves the state as it was.
enum pl_decision pl_decide_take(struct pl_arena *arena, struct pl_state *state, const struct pl_event *event);

// The known executions of a request, as remembered in processed_requests.dots.
struct pl_twins {
	const char *request_id, *principal;
	const uint8_t *fingerprint;
	int n;
	const struct pl_dot *dots;
};

// A row's own columns hold only the id of the request that wrote it. Completes the
// request of each write whose fingerprint is not known and whose dot is among the
// twins'. Returns how many were found.
int pl_decide_identify(struct pl_state *state, const struct pl_twins *twins, int ntwins);

// The canonical order: updated_at, then region, then counter. Negative, 0 (the same
// write), positive.
int pl_decide_order(const struct pl_sibling *a, const struct pl_sibling *b);

// The siblings that the policy is asked about: without twins, in canonical order. Returns
// their number (>= 1). rows_r has room for state->n.
int pl_decide_shown(const struct pl_state *state, const struct pl_twins *twins, int ntwins,
                    struct pl_sibling *rows_r);

struct pl_shown {              // the visible row, and its reason
	struct pl_sibling row; // its origin is row.dot.region
	// number of rows the policy was asked about; 1: it was not asked
	int nrows;
	const struct pl_sibling *rows;
	struct pl_verdict verdict; // valid when nrows > 1
	bool policy_failed;        // the last writer wins instead
	struct pl_error policy_error;
};

// What is known of a record.
struct pl_known_record {
	const struct pl_resource *resource;
	int64_t id;
	const struct pl_state *state;
	const struct pl_twins *twins;
	int ntwins;
};

// Answers in the policy's place, with pl_policy_resolve's contract.
typedef int pl_decide_ask_fn(void *arg, const struct pl_policy_question *question, struct pl_arena *arena,
                             struct pl_verdict *verdict_r, struct pl_error *err);
// The visible row. A merged row is computed and never published; its updated_at and
// origin are those of the latest write.
void pl_decide_show(struct pl_arena *arena, const struct pl_known_record *known, pl_decide_ask_fn *ask,
                    void *arg, struct pl_shown *shown_r);

// All types of conflicts, as an option's choices.
#define PL_DECIDE_CONFLICT_TYPES                                                                   \
	"insert_exists|update_origin_differs|update_deleted|delete_origin_differs|delete_missing|" \
	"created_twice|multiple_unique_conflicts|reference_missing"
// PostgreSQL's name for the type of conflict.
const char *pl_decide_conflict_type(const struct pl_sibling *rows, int n);
