// Decides a whole batch: the records as they will be written, the requests to remember,
// the conflicts that were detected.
// Between apply/batch, which locks and reads the records' rows and writes the result, and
// decide/decide, which decides one event on one record. In memory, apart from one query
// for remembered requests.
//
// Call order: _begin, an _add for each event, _sort; then the rows are locked; _collect;
// then they are read; a _take for each event; _read_requests; _resolve_all.
// Threads: an object belongs to one.
#pragma once

#include "apply/batch.h"

struct pl_decision_event {
	struct pl_event *event;
	struct pl_touched_row *touched;
};

struct pl_apply_decision {
	struct pl_arena *arena;         // of the attempt
	struct pl_apply_counts *counts; // of the attempt
	struct pl_decision_event *events;
	int nevents;
	struct pl_touched_row *by_key, **touched_rows; // the array ascends after _sort
	int ntouched;
	struct pl_known_request *known_requests; // that the events carry
	int nknown;
	struct pl_known_key *known_by_key;
	struct pl_stored_requests stored; // that the database remembers
	struct pl_conflict_seen **conflicts_seen;
	int nconflicts_seen;
	int64_t conflict_bytes;            // of their writes
	struct pl_conflict_row *conflicts; // to be written
	int nconflicts;
};

// Room for `n` events. The memory is in `arena`, except for the hash tables.
void pl_decision_begin(struct pl_apply_decision *d, struct pl_arena *arena, struct pl_apply_counts *counts,
                       int n);
// Frees the hash tables. The arena may be reset afterwards.
void pl_decision_forget(struct pl_apply_decision *d);

// Adds an event, or only a record, to what will be locked. Returns the record's row.
struct pl_touched_row *pl_decision_add(struct pl_apply_decision *d, struct pl_event *event);
struct pl_touched_row *pl_decision_touch(struct pl_apply_decision *d, const struct pl_resource *resource,
                                         int64_t id);
// Puts the rows into the order in which they are locked.
void pl_decision_sort(struct pl_apply_decision *d);

// Collects the requests carried by events whose rows are not `locked`.
void pl_decision_collect(struct pl_apply_decision *d);
// Takes an event into its row's state. False: the event cannot be joined to it, and the
// row is as it was.
bool pl_decision_take(struct pl_apply_decision *d, struct pl_event *event, struct pl_touched_row *touched);
// Reads what is remembered of the requests behind siblings, which may be twins. Asks the
// database only when there are siblings to resolve.
int pl_decision_read_requests(struct pl_apply_decision *d, const struct pl_apply_tools *tools,
                              struct pl_error *err);
// Resolves each conflict that was detected and each row that has siblings: asks the
// policy, and makes the visible row of its answer.
void pl_decision_resolve_all(struct pl_apply_decision *d, const struct pl_apply_tools *tools);

// Resolves the rows that have siblings again, with the policies as they are now, after
// _sort and locking and reading. Rows with the same answer as before are not `changed`.
int pl_decision_reresolve(struct pl_apply_decision *d, const struct pl_apply_tools *tools,
                          struct pl_error *err);
