// The limits of what a record may hold, as an SQL condition. See record/edge.h.
//
// Threads: any; nothing is shared.
#pragma once

#include "record/edge.h"

// The condition on a row p of the resource that is about to be written under the
// region's `key`: everything that pl_edge_fault checks, and that no decimal which remains
// (one that x.flags does not replace; or all of them) is NaN or infinite.
void pl_edge_sql(struct pl_buf *sql, const struct pl_config *config, const struct pl_resource *resource,
                 const char *key);
// The part of it that the row's version is the sum of its vector.
void pl_edge_sql_sum(struct pl_buf *sql, const struct pl_config *config, const char *key);

// For the statement of the plain case (store/statement_plain.c). Whether the vector of a
// row p names only what ordinary vectors name; false also if it is not a vector.
void pl_edge_sql_ordinary_names(struct pl_buf *sql, const struct pl_config *config, const char *key);
// Whether a row p of such names, with a version below PL_EDGE_PLAIN_MAX, was within the
// limits before one write under `key` was added to it. It may raise an error instead.
#define PL_EDGE_PLAIN_MAX 1000000000
void pl_edge_sql_written(struct pl_buf *sql, const struct pl_config *config,
                         const struct pl_resource *resource, const char *key);
