// The inside of a batch of the applier, for the files batch*.c only.
#pragma once

#include "apply/batch.h"

#include <stdlib.h>
#include <string.h>

#include "apply/decision.h"
#include "base/clock.h"
#include "base/log.h"

#define TRIES               5
#define PL_CHUNK            64 // events of a failed batch that are tried together
// For how many transactions the upserting statements are used after a row or request
// was found to exist.
#define UPSERT_TRANSACTIONS 20

// Why the database refuses an event. In the arena of the reading.
struct refusal {
	// all may be NULL, except `reason`
	const char *reason, *sqlstate, *constraint, *column;
	bool lock; // another session holds the row and may release it soon
};

// A message, and the event that was read from it.
struct item {
	const struct pl_message *message;
	struct pl_event *event;        // NULL: our own, or unreadable
	const char *error;             // why it is a dead letter
	const struct refusal *refusal; // why it is parked
	bool too_slow;                 // it was tried, and took too long
	bool put_off;                  // it was retried and stays parked
	int slow;                      // how often it was tried and took too long
	const struct pl_resource *resource;
	int64_t id;
	struct pl_message_numbers numbers;
	struct pl_dot own;              // of an event of our own region; counter 0: it is none
	struct pl_touched_row *touched; // the event's record, in the current attempt
};

// Messages as they were read.
struct reading {
	struct pl_arena *arena;
	struct item *items;
	int nitems, items_cap;
	int nevents, nerrors, nown;
};

#define MARKS_MAX 32

// Records that are remembered for a while, since something was wrong with them. Zeroed:
// none.
struct marks {
	struct mark {
		struct pl_touched_row_key key;
		int64_t until_us;
	} each[MARKS_MAX];
	int n;
};

#define NULLS_MAX 16

// A column that must not be NULL, as the database has said when it refused an event.
struct null_column {
	const struct pl_resource *resource;
	int field; // -1: a column that plist does not know
	const struct refusal *refusal;
};

// What is known of a resource's table: see batch_locked.c.
struct table_state {
	enum pl_table_lock lock; // as the batch has found that is being written
	bool shunned;            // its events are parked untried
	bool unretried;          // its parked events are not retried
};

struct pl_apply_batch {
	struct reading now, ahead;   // to be written; read meanwhile
	struct reading parked_again; // parked events that are retried

	// The current attempt: its decision, and what is written besides records.
	struct pl_arena *arena;
	struct pl_apply_decision decision;
	struct pl_dead_letter *dead;
	int ndead;
	struct pl_parked *parked;
	int nparked, parked_cap;
	struct pl_position *positions;
	int npositions;
	struct pl_sequence_write *numbers;
	int nnumbers;
	struct pl_apply_counts counts;

	bool skip_locked;                    // this attempt does not wait for locked rows
	bool retrying;                       // this attempt is of parked events
	bool no_positions;                   // this attempt does not move positions
	bool silent;                         // this attempt only looks ahead, and logs nothing
	bool any_parked;                     // there may be parked events that this batch makes stale
	struct marks stuck;                  // records that another session held locked
	int64_t crowded_until_us;            // there were more of them
	struct marks slow;                   // records whose events took too long
	int64_t wary_until_us;               // a statement took too long a moment ago
	bool limited;                        // this retry's statements get less time
	char limit[64];                      // the statement that says how long others may take
	struct null_column nulls[NULLS_MAX]; // of the batch that is being sorted out
	int nnulls;
	struct table_state *tables; // by the resources' indexes; NULL: nothing is known
	int ntables;
	int64_t barred_since_us; // since when batches fail for locked tables; 0: they do not
	int64_t denied_until_us; // until then, what may not use a table is not waited for
	// for how many transactions rows and requests are still expected to exist
	int upsert;
	int together; // how many parked events are tried at once
};

// Events that are tried in one transaction, several times.
struct pass {
	struct pl_arena *arena; // of the refusals
	struct pl_apply_counts counts;
	int refused, unclear;  // events that failed; of these, whose error may concern all
	int contended, raised; // of these, which met another session, or a trigger's error
	int slow_run;          // so many in a row took too long
	int denied;            // of those that failed, which may not use a table
	int barred;            // whose table another session had locked
	bool barred_all;       // another session had locked a table of plist's
	bool wrote;
	struct pl_error first; // the first unclear error
};

#define PL_BEGIN_PASS     "BEGIN ISOLATION LEVEL READ COMMITTED; SET CONSTRAINTS ALL IMMEDIATE"
#define PL_SAVEPOINT_PASS "SAVEPOINT event"
// From here on, the transaction hardly waits for locks.
#define PL_SHORT_WAIT     "SET LOCAL lock_timeout = 50"

void pl_apply_batch_forget_attempt(struct pl_apply_batch *b);
// What the current attempt has decided.
struct pl_apply_outcome pl_apply_batch_outcome(const struct pl_apply_batch *b);
void pl_apply_batch_add_parked(struct pl_apply_batch *b, const struct item *item,
                               const struct refusal *refusal);
// The positions and sequence numbers after these messages; and once they are committed.
void pl_apply_batch_note_positions(struct pl_apply_batch *b, const struct pl_apply_tools *tools,
                                   const struct item *items, int n);
void pl_apply_batch_positions_written(struct pl_apply_batch *b);
void pl_apply_batch_begin_attempt(struct pl_apply_batch *b, const struct pl_apply_tools *tools,
                                  struct item *items, int n);
// Locks and reads the items' rows, and takes the events into them, in memory.
int pl_apply_batch_decide(struct pl_apply_batch *b, const struct pl_apply_tools *tools,
                          const struct item *items, int n, struct pl_error *err);
// Whether that failed only because the records or conflicts have too many bytes: fewer
// events may succeed, even in the same transaction.
bool pl_apply_batch_is_too_large(const struct pl_apply_tools *tools, int code, const struct pl_error *err);
int pl_apply_batch_attempt(struct pl_apply_batch *b, const struct pl_apply_tools *tools,
                           const struct item *items, int n, struct pl_error *err);
int pl_apply_batch_transaction(struct pl_apply_batch *b, const struct pl_apply_tools *tools,
                               struct item *items, int n, struct pl_error *err);
void pl_apply_batch_read_one(struct reading *r, const struct pl_apply_tools *tools, struct item *item);
void pl_apply_batch_add_counts(struct pl_apply_counts *to, const struct pl_apply_counts *from);
void pl_apply_batch_log_dead_letters(const struct pl_apply_batch *b);
void pl_apply_batch_log_returned(const struct pl_apply_counts *counts);
void pl_apply_batch_roll_back(const struct pl_apply_tools *tools);
// batch_refused.c: whether the failure may concern single events, and how to continue
// in that case.
bool pl_apply_batch_is_refusal(const struct pl_apply_tools *tools, int code, const struct pl_error *err);
// Whether the event met another session: it waited too long, or there was a deadlock.
bool pl_apply_batch_is_contention(const struct pl_error *err);
int pl_apply_batch_sort_out(struct pl_apply_batch *b, const struct pl_apply_tools *tools, struct item *items,
                            int n, struct pl_apply_counts *counts, struct pl_error *err);
// Tries these events together, after PL_BEGIN_PASS and PL_SAVEPOINT_PASS. 0: written, or
// stale. A lost connection ends the pass; with other codes, nothing was done.
int pl_apply_batch_try(struct pl_apply_batch *b, const struct pl_apply_tools *tools, struct item *items,
                       int n, struct pl_error *err);
const struct refusal *pl_apply_batch_refusal(struct pl_arena *arena, int code, const struct pl_error *err);
// Parks the refused events at once, in the transaction of the others.
int pl_apply_batch_park(struct pl_apply_batch *b, const struct pl_apply_tools *tools,
                        const struct item *items, int n, struct pass *pass, struct pl_error *err);
// Whether the batch contains a record that was held locked a moment ago. It does not wait
// for locks then.
bool pl_apply_batch_has_stuck(struct pl_apply_batch *b);
// batch_marks.c: marks a record for so long from now on; false: there are too many.
bool pl_apply_batch_marks_add(struct marks *marks, struct pl_touched_row_key key, int64_t for_us);
// Forgets those whose time is over.
void pl_apply_batch_marks_expire(struct marks *marks);
void pl_apply_batch_marks_drop(struct marks *marks, int i);
bool pl_apply_batch_mark_is(const struct mark *mark, const struct item *item);
// batch_slow.c: whether the database has ended a statement that took too long; from then
// on, others get less time. As SQL, "" if they do not. And for what follows, the usual
// time again.
bool pl_apply_batch_is_slow(const struct pl_error *err);
// Whether it was since then, and not at once, by a trigger that raises this error.
bool pl_apply_batch_took_long(int64_t since_us, const struct pl_error *err);
void pl_apply_batch_be_wary(struct pl_apply_batch *b);
const char *pl_apply_batch_limit(struct pl_apply_batch *b, const struct pl_apply_tools *tools, int n);
int pl_apply_batch_limit_retry(struct pl_apply_batch *b, const struct pl_apply_tools *tools,
                               const struct item *items, int n, struct pl_error *err);
int pl_apply_batch_lift_limit(struct pl_apply_batch *b, const struct pl_apply_tools *tools,
                              struct pl_error *err);
// The record of this event that took too long; those that were applied by a retry; and
// refuses, without trying them, events of such records, and those after a run of them.
void pl_apply_batch_note_slow(struct pl_apply_batch *b, const struct item *item);
void pl_apply_batch_forget_slow(struct pl_apply_batch *b, const struct item *items, int n);
void pl_apply_batch_spare_slow(struct pl_apply_batch *b, struct item *items, int n);
void pl_apply_batch_spare_run(struct pass *pass, struct item *items, int n);
// batch_foresee.c: notes the column for whose NULL this event was refused; false: for
// another reason, or it is known. Then gives the events that have the same fault the
// same refusal, without trying them.
bool pl_apply_batch_note_null(struct pl_apply_batch *b, const struct item *item, const struct pl_error *err);
int pl_apply_batch_foresee(struct pl_apply_batch *b, const struct pl_apply_tools *tools, struct item *items,
                           int n, struct pl_error *err);
// batch_locked.c: forgets what is known of tables.
void pl_apply_batch_forget_tables(struct pl_apply_batch *b);
// Asks what is locked, since this event met another session. Then refuses the events that
// need it, without trying them.
int pl_apply_batch_ask_locked(struct pl_apply_batch *b, const struct pl_apply_tools *tools,
                              const struct item *item, struct pass *pass, struct pl_error *err);
void pl_apply_batch_spare_locked(const struct pl_apply_batch *b, struct item *items, int n);
// Whether to park the events of a pass that could write nothing, although only their
// tables are locked; if so, those of later batches are parked, too.
bool pl_apply_batch_parks_locked(struct pl_apply_batch *b, const struct pl_apply_tools *tools,
                                 const struct pass *pass);
void pl_apply_batch_shun_locked(struct pl_apply_batch *b, const struct pl_apply_tools *tools);
// Before a batch is written: refuses its events for tables that are still locked.
int pl_apply_batch_look_shunned(struct pl_apply_batch *b, const struct pl_apply_tools *tools,
                                struct item *items, int n, struct pl_error *err);
// The same for parked events that are retried: one has met another session; and before
// others are read, `except` gets the resources that are left out, as a PostgreSQL array.
// Returns their number, or a code.
int pl_apply_batch_ask_unretried(struct pl_apply_batch *b, const struct pl_apply_tools *tools,
                                 const struct item *item, struct pass *pass, struct pl_error *err);
int pl_apply_batch_look_unretried(struct pl_apply_batch *b, const struct pl_apply_tools *tools,
                                  struct pl_buf *except, struct pl_error *err);
