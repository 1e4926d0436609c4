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

// Locks the rows of `targets` (ascending by resource and id), and reads them and their siblings into state and row.
int pl_apply_sql_load(struct pl_apply_sql *sql, struct pl_session *session, struct pl_arena *arena, struct pl_target *const *targets, int n,
                      struct pl_error *err);

// What is remembered of requests: by their ids, for the records given beside them. Sorts the questions.
struct pl_question { const char *request_id, *principal; const struct pl_target *target; };
struct pl_remembrance { const struct pl_target *target; struct pl_twins twins; };
int pl_apply_sql_remembered(struct pl_apply_sql *sql, struct pl_session *session, struct pl_arena *arena, struct pl_question *questions,
                            int n, struct pl_remembrance **found_r, int *nfound_r, struct pl_error *err);

// Writes the changed targets, the positions, and the requests, which are left to _copy where they are many. PL_ECONFLICT, retryable: a row appeared
// since it was looked for. Not `careful`: a row or a request that is there already is an error, 23505.
int pl_apply_sql_write(struct pl_apply_sql *sql, struct pl_session *session, bool careful, struct pl_target *const *targets, int n,
                       const struct pl_heard *heard, int nheard, const struct pl_position *positions, int npositions, struct pl_error *err);
// The requests that _write left, if it did. `meanwhile` is called while the server works on them; it must not use the session.
int pl_apply_sql_copy(struct pl_apply_sql *sql, struct pl_session *session, void (*meanwhile)(void *arg), void *arg, struct pl_error *err);
// After both: the requests whose id another one of the batch has.
int pl_apply_sql_later(struct pl_apply_sql *sql, struct pl_session *session, const struct pl_heard *heard, int n, struct pl_error *err);
// The siblings of targets whose flag or set changed: deletes those that were and inserts those that stand.
int pl_apply_sql_siblings(struct pl_apply_sql *sql, struct pl_session *session, struct pl_target *const *targets, int n, struct pl_error *err);
// Closes the open conflicts of records that have no siblings any more.
int pl_apply_sql_close(struct pl_apply_sql *sql, struct pl_session *session, struct pl_target *const *targets, int n, struct pl_error *err);

struct pl_conflict_row {
	const struct pl_target *target;
	const char *type, *policy_name, *policy_sha256, *policy_error, *siblings, *verdict, *visible;
	const struct pl_vector *vector;
	const struct pl_event *event; // NULL: shown anew, the latest open conflict of the record is brought up to date
	bool closed;
};
int pl_apply_sql_conflicts(struct pl_apply_sql *sql, struct pl_session *session, const struct pl_conflict_row *rows, int n,
                           struct pl_error *err);
int pl_apply_sql_dead_letters(struct pl_apply_sql *sql, struct pl_session *session, const struct pl_dead_letter *letters, int n,
                              struct pl_error *err);
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
