// The inside of apply/rows, for the files rows_*.c only.
#pragma once

#include "apply/rows.h"
#include "db/columns.h"

struct pl_apply_rows {
	const struct pl_config *config;
	struct pl_arena *arena;
	const char *const *setup;
	struct pl_columns *ids, *locks, *pairs, *questions, *requests, *positions;
	// Encoded by pl_apply_rows_ready: the rows by resource; records that had
	// siblings, those of them that have none left; …
	struct pl_columns **rows, *replaced, *settled, *siblings, *conflicts, *reresolve, *dead, *parked,
		*clear, *own, *created, *notes, *returned;
	// the resource whose statement also writes positions and requests; -1: none
	int first;
	struct pl_columns *copy; // of requests, in COPY format
	struct pl_buf text;      // scratch
	int64_t loaded;          // bytes of the rows that were locked last
};

// Executes a statement with its columns: sends it only, returns its result, or ignores
// the result.
int pl_apply_rows_send(struct pl_session *session, const char *statement, struct pl_columns *columns,
                       struct pl_error *err);
PGresult *pl_apply_rows_query(struct pl_session *session, const char *statement, struct pl_columns *columns,
                              struct pl_error *err);
// receives the answer to _send
int pl_apply_rows_wait(struct pl_session *session, struct pl_error *err);
int pl_apply_rows_exec(struct pl_session *session, const char *statement, struct pl_columns *columns,
                       struct pl_error *err);
const char *pl_apply_rows_vector_text(struct pl_apply_rows *sql,
                                      // valid until `text` is used again
                                      const struct pl_vector *vector);

static inline const char *pl_apply_rows_cell(const PGresult *result, int row, int column)
{
	return PQgetisnull(result, row, column) ? NULL : PQgetvalue(result, row, column);
}

// A cell with a bytea of 32 bytes; NULL if it is anything else.
const uint8_t *pl_apply_rows_fingerprint(struct pl_arena *arena, const PGresult *result, int row, int column);
