// Inside of apply_sql.c and apply_write.c. Nobody else includes this.
#pragma once

#include "replicate/apply_sql.h"
#include "replicate/columns.h"

struct pl_apply_sql {
	const struct pl_config *config;
	struct pl_arena *arena;
	const char *const *setup;
	struct pl_columns *ids, *pairs, *questions, *requests, *positions;
	// What was made ready: the rows by resource; records that had siblings, and those of them that have none any more; …
	struct pl_columns **rows, *replaced, *settled, *siblings, *conflicts, *anew, *dead;
	int first;                // with this resource's rows go the positions and the requests
	struct pl_columns *copy;  // of requests, as COPY takes them
	struct pl_buf text;       // scratch
};

// A statement with its columns: sent; asked; and, where the answer has nothing to say, told.
int pl_apply_send(struct pl_session *session, const char *statement, struct pl_columns *columns, struct pl_error *err);
PGresult *pl_apply_ask(struct pl_session *session, const char *statement, struct pl_columns *columns, struct pl_error *err);
int pl_apply_told(struct pl_session *session, struct pl_error *err); // waits for what was sent
int pl_apply_tell(struct pl_session *session, const char *statement, struct pl_columns *columns, struct pl_error *err);
const char *pl_apply_vector_text(struct pl_apply_sql *sql, const struct pl_vector *vector); // valid until the next scratch text
