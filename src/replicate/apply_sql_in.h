// Inside of apply_sql.c and apply_write.c. Nobody else includes this.
#pragma once

#include "replicate/apply_sql.h"
#include "replicate/columns.h"

struct pl_apply_sql {
	const struct pl_config *config;
	struct pl_arena *arena;
	const char *const *setup;
	struct pl_columns **rows; // by resource
	struct pl_columns *ids, *pairs, *questions, *siblings, *conflicts, *anew, *dead, *requests, *positions;
	struct pl_columns *copy;  // of requests, as COPY takes them
	struct pl_buf text;       // scratch
};

PGresult *pl_apply_ask(struct pl_session *session, const char *statement, struct pl_columns *columns, struct pl_error *err);
int pl_apply_tell(struct pl_session *session, const char *statement, struct pl_columns *columns, struct pl_error *err);
const char *pl_apply_vector_text(struct pl_apply_sql *sql, const struct pl_vector *vector); // valid until the next scratch text
