// The applier's SQL: everything that it asks of PostgreSQL and writes there, many rows to a statement.
//
// Threads: an object belongs to one.
#pragma once

#include "db/session.h"
#include "replicate/heartbeat.h"
#include "replicate/target.h"

struct pl_apply_sql;

// The statements for the resources of `config`, which must outlive the object.
struct pl_apply_sql *pl_apply_sql_new(const struct pl_config *config);
void pl_apply_sql_free(struct pl_apply_sql **sql);
// What the session's setup has to hold; NULL-ended, the object's.
const char *const *pl_apply_sql_setup(const struct pl_apply_sql *sql);

// All that follow belong into one transaction, and return 0 or the session's code.

// Locks the rows of `targets` (ascending by resource and id), and reads them and their siblings into state and row. In two steps: while the
// server is at the first, the caller has time; nothing else may be asked between them.
int pl_apply_sql_lock(struct pl_apply_sql *sql, struct pl_session *session, struct pl_target *const *targets, int n, struct pl_error *err);
int pl_apply_sql_load(struct pl_apply_sql *sql, struct pl_session *session, struct pl_arena *arena, struct pl_target *const *targets, int n,
                      struct pl_error *err);

// What is remembered of requests: by their ids, for the records given beside them. Sorts the questions.
struct pl_question { const char *request_id, *principal; struct pl_target *target; };
int pl_apply_sql_remembered(struct pl_apply_sql *sql, struct pl_session *session, struct pl_arena *arena, struct pl_question *questions,
                            int n, struct pl_remembrance **found_r, int *nfound_r, struct pl_error *err);

// Many requests, of which none is known yet (23505 otherwise), are written at half the cost by COPY: whether these are many; sent; and waited for.
// While the server is at them, the caller has time; nothing else may be asked.
bool pl_apply_sql_copies(const struct pl_heard *heard, int n);
int pl_apply_sql_copy_send(struct pl_apply_sql *sql, struct pl_session *session, const struct pl_heard *heard, int n, struct pl_error *err);
int pl_apply_sql_copy_receive(struct pl_session *session, struct pl_error *err);

struct pl_conflict_row {
	const struct pl_target *target;
	const char *type, *policy_name, *policy_sha256, *policy_error, *siblings, *verdict, *visible;
	const struct pl_vector *vector;
	const struct pl_event *event; // NULL: shown anew, the latest open conflict of the record is brought up to date
	bool closed;
};

// What a batch came to, and is to be written.
struct pl_apply_outcome {
	struct pl_target *const *targets; int ntargets;       // ascending by resource and id; those that changed are written, with their siblings
	const struct pl_heard *heard; int nheard;             // but those that were copied
	const struct pl_position *positions; int npositions;
	const struct pl_conflict_row *conflicts; int nconflicts;
	const struct pl_dead_letter *dead; int ndead;
};

// Puts it into the form that the statements take; needs no session. What it points to may go then.
void pl_apply_sql_ready(struct pl_apply_sql *sql, const struct pl_apply_outcome *outcome);
// Writes what was made ready. PL_ECONFLICT, retryable: a row appeared since it was looked for. Not `careful`: a row or a request that is there
// already is an error, 23505.
int pl_apply_sql_write(struct pl_apply_sql *sql, struct pl_session *session, bool careful, struct pl_error *err);
// After it: the requests whose id another one of the batch has.
int pl_apply_sql_later(struct pl_apply_sql *sql, struct pl_session *session, const struct pl_heard *heard, int n, struct pl_error *err);
int pl_apply_sql_positions(struct pl_apply_sql *sql, struct pl_session *session, const struct pl_position *positions, int n,
                           struct pl_error *err);

// Where this database is. Into `arena`.
int pl_apply_sql_where(struct pl_apply_sql *sql, struct pl_session *session, struct pl_arena *arena, struct pl_position **positions_r, int *n_r,
                       struct pl_error *err);
// Records that have siblings, ascending, after (resource, id); up to `limit`.
struct pl_flagged { const char *resource; int64_t id; };
int pl_apply_sql_count_flagged(struct pl_session *session, int64_t *n_r, struct pl_error *err);
int pl_apply_sql_flagged(struct pl_apply_sql *sql, struct pl_session *session, struct pl_arena *arena, const struct pl_flagged *after, int limit,
                         struct pl_flagged **found_r, int *n_r, struct pl_error *err);

int pl_apply_sql_heartbeat(struct pl_apply_sql *sql, struct pl_session *session, const struct pl_heartbeat *heartbeat, struct pl_error *err);
