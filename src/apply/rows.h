// The applier's SQL: everything that it reads from PostgreSQL and writes there, many
// rows to a statement.
//
// Threads: an object belongs to one.
#pragma once

#include "apply/sequences.h"
#include "apply/touched.h"
#include "db/session.h"
#include "event/heartbeat.h"

struct pl_apply_rows;

// The statements for the resources of `config`, which must outlive the object.
struct pl_apply_rows *pl_apply_rows_new(const struct pl_config *config);
void pl_apply_rows_free(struct pl_apply_rows **sql_p);
// The statements for the session's setup; NULL-ended, owned by the object.
const char *const *pl_apply_rows_setup(const struct pl_apply_rows *sql);

// The following belong in one transaction and return 0 or the session's code.

// Locks the touched rows (ascending by resource and id), and reads them and their
// siblings into state and row. In two steps: the caller may compute while the server
// works on the first; nothing else may be asked between them. `skip_locked`: does not
// wait for rows that other sessions hold, and marks them `locked`. PL_EBUSY without an
// SQLSTATE: they have more than PL_APPLY_ROWS_BYTES of texts and siblings, which only a
// single record may have; the transaction may go on with fewer of them.
#define PL_APPLY_ROWS_BYTES 16777216
struct pl_rows_to_lock {
	struct pl_touched_row *const *rows;
	int n;
	bool skip_locked;
};
int pl_apply_rows_lock(struct pl_apply_rows *sql, struct pl_session *session,
                       const struct pl_rows_to_lock *wanted, struct pl_error *err);
int pl_apply_rows_load(struct pl_apply_rows *sql, struct pl_session *session, struct pl_arena *arena,
                       const struct pl_rows_to_lock *wanted, struct pl_error *err);
// How many bytes these were, at least.
int64_t pl_apply_rows_loaded(const struct pl_apply_rows *sql);

// Reads what is remembered of requests, by their ids and records. Sorts the questions.
struct pl_questions {
	struct pl_question {
		const char *request_id, *principal;
		struct pl_touched_row *touched;
	} * items;
	int n;
};
int pl_apply_rows_remembered(struct pl_apply_rows *sql, struct pl_session *session, struct pl_arena *arena,
                             struct pl_questions *questions, struct pl_stored_requests *found_r,
                             struct pl_error *err);

// COPY writes many requests at half the cost, provided none is known yet (else 23505).
// The first function says whether these are enough, the second sends them, the third
// waits. The caller may compute in between; nothing else may be asked.
bool pl_apply_rows_copies(const struct pl_known_request *known_requests, int n);
int pl_apply_rows_copy_send(struct pl_apply_rows *sql, struct pl_session *session,
                            const struct pl_known_request *known_requests, int n, struct pl_error *err);
int pl_apply_rows_copy_receive(struct pl_session *session, struct pl_error *err);

struct pl_conflict_row {
	const struct pl_touched_row *touched;
	const char *type, *policy_name, *policy_sha256, *policy_error, *siblings, *verdict, *visible;
	const struct pl_vector *vector;
	// NULL: re-resolved; the latest open conflict of the record is updated.
	const struct pl_event *event;
	bool closed;
};

// The outcome of a batch, to be written.
struct pl_apply_outcome {
	struct pl_touched_row *const *touched_rows;
	// ascending by resource and id; changed ones are written, with their siblings
	int ntouched;
	const struct pl_known_request *known_requests;
	int nknown; // except those sent by COPY
	const struct pl_position *positions;
	int npositions;
	const struct pl_sequence_write *numbers;
	int nnumbers;
	const struct pl_conflict_row *conflicts;
	int nconflicts;
	const struct pl_dead_letter *dead;
	int ndead;
	const struct pl_parked *parked;
	int nparked;
	bool clear_parked; // remove parked events that the written rows cover
};

// Encodes it as the statements' parameters; needs no session. Afterwards the outcome
// may be freed.
void pl_apply_rows_ready(struct pl_apply_rows *sql, const struct pl_apply_outcome *outcome);
// Writes the encoded outcome. PL_ECONFLICT, retryable: a row was created since it was
// looked for. Without `upsert` an existing row or request is an error, 23505.
int pl_apply_rows_write(struct pl_apply_rows *sql, struct pl_session *session, bool upsert,
                        struct pl_error *err);
// Then the requests that share their id with another one of the batch.
int pl_apply_rows_later(struct pl_apply_rows *sql, struct pl_session *session,
                        const struct pl_known_request *known_requests, int n, struct pl_error *err);
// Of an outcome, only its positions and numbers, at once.
int pl_apply_rows_positions(struct pl_apply_rows *sql, struct pl_session *session,
                            const struct pl_apply_outcome *outcome, struct pl_error *err);

// Messages that are kept to be retried: parked events, and dead letters that an operator
// wants to be read again.
enum pl_kept { PL_KEPT_PARKED, PL_KEPT_LETTERS };

// Up to PL_RETRY_MAX (apply/batch.h) that are due, locked until the transaction ends, as
// messages in `arena`; of parked events, none of the resources `except`, a PostgreSQL
// array ("{}"). And removes those that are done. A dead letter that was written again
// meanwhile stays.
struct pl_messages {
	struct pl_message *items;
	int *slow; // how often each was tried, if it took too long the last time; else 0
	int n;
};
int pl_apply_rows_due(enum pl_kept kept, struct pl_session *session, struct pl_arena *arena,
                      const char *except, struct pl_messages *due_r, struct pl_error *err);
int pl_apply_rows_done(enum pl_kept kept, struct pl_session *session, const struct pl_message *messages,
                       int n, struct pl_error *err);
// Makes parked events due now: some of those whose id is above *id, which then is the
// last of them; INT64_MAX: there are no more.
int pl_apply_rows_parked_hurry(struct pl_session *session, int64_t *id, struct pl_error *err);
// A digest of what decides whether an event is refused: the tables' columns,
// constraints, indexes, triggers and their functions, rules and policies; and the
// region's daemons, whose configurations may differ. It changes with any of them.
#define PL_DEFINITIONS_MAX 24
int pl_apply_rows_definitions(struct pl_apply_rows *sql, struct pl_session *session,
                              char digest_r[PL_DEFINITIONS_MAX], struct pl_error *err);
// What another session has locked, or waits to lock, so that events of a resource would
// wait for it.
enum pl_table_lock {
	PL_TABLE_FREE,
	PL_TABLE_LINKED,   // a table that a foreign key links with the resource's: some events
	PL_TABLE_LOCKED,   // the resource's table or a part of it: all its events
	PL_TABLE_OF_PLIST, // a table of plist's: all events
};
int pl_apply_rows_table_lock(struct pl_session *session, const struct pl_resource *resource,
                             enum pl_table_lock *lock_r, struct pl_error *err);
// Counts parked events and dead letters, up to 100,000 of each. *due_r: whether dead
// letters are to be retried.
int pl_apply_rows_count_kept(struct pl_session *session, int64_t *parked_r, int64_t *dead_r, bool *due_r,
                             struct pl_error *err);
// Of a resource's events in this region's own name: sets `lost` of those that no row here
// accounts for.
struct pl_own_event {
	int64_t id;
	struct pl_dot dot;
	bool lost;
};
int pl_apply_rows_check_own(struct pl_apply_rows *sql, struct pl_session *session,
                            const struct pl_resource *resource, struct pl_own_event *events, int n,
                            struct pl_error *err);

// The positions in this database, in `arena`.
int pl_apply_rows_where(struct pl_apply_rows *sql, struct pl_session *session, struct pl_arena *arena,
                        struct pl_position **positions_r, int *n_r, struct pl_error *err);
// Records with siblings, ascending, after (resource, id); up to `limit`. Returns their
// number, or the session's code.
struct pl_flagged {
	const char *resource;
	int64_t id;
	// of resolving it again: batch.h
	enum pl_flagged_state { PL_FLAGGED_DONE, PL_FLAGGED_LOCKED, PL_FLAGGED_REFUSED } state;
};
int pl_apply_rows_count_flagged(struct pl_session *session, int64_t *n_r, struct pl_error *err);
int pl_apply_rows_flagged(struct pl_session *session, struct pl_arena *arena, const struct pl_flagged *after,
                          int limit, struct pl_flagged **found_r, struct pl_error *err);

// Stores what region `own` has heard; silence_us: see plist_hear in
// sql/022_questions.sql.
int pl_apply_rows_heartbeat(struct pl_apply_rows *sql, struct pl_session *session, const char *own,
                            const struct pl_heartbeat *heartbeat, int64_t silence_us, struct pl_error *err);
