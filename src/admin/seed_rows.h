// Generated rows of a resource: what `plist-admin seed --rows` writes into a table.
//
// A row depends only on its id, the resource's fields and the configured regions, so
// every region generates the same bytes, and a run that was stopped continues as if it
// had not been. Blocks of 500 ids belong to the regions in turn, as in seeds/: with two
// regions, 1-500 to the first, 501-1000 to the second, 1001-1500 to the first again.
#pragma once

#include "base/buf.h"
#include "config/config.h"

#define PL_SEED_BLOCK 500

struct pl_seed_rows;

// NULL with err if a field cannot have any value (its min is above its max).
struct pl_seed_rows *pl_seed_rows_new(const struct pl_config *config, const struct pl_resource *resource,
                                      struct pl_error *err);
void pl_seed_rows_free(struct pl_seed_rows **rows_p);
// The columns of a row, quoted, separated by commas.
const char *pl_seed_rows_columns(const struct pl_seed_rows *rows);
// One line in the text format of COPY.
void pl_seed_rows_add(struct pl_seed_rows *rows, int64_t id, struct pl_buf *out);
const struct pl_region *pl_seed_rows_region(const struct pl_config *config, int64_t id);

// A name quoted for SQL: "price".
void pl_seed_rows_add_identifier(struct pl_buf *buf, const char *name);
