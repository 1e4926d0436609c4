// Rows made up for a resource: what `plist-admin seed --rows` fills a table with.
//
// A row is a function of its id, of the resource's fields and of the configured regions, and of nothing else: every region makes the
// same bytes, and a run that was stopped goes on as if it had not been. Blocks of 500 ids belong to the regions in turn, as in seeds/:
// 1-500 to the first, 501-1000 to the second, 1001-1500 to the first again (of two).
#pragma once

#include "base/buf.h"
#include "config/config.h"

#define PL_SEED_BLOCK 500

struct pl_seed_rows;

// NULL with err when a field can have no value (its min above its max).
struct pl_seed_rows *pl_seed_rows_new(const struct pl_config *config, const struct pl_resource *resource, struct pl_error *err);
void pl_seed_rows_free(struct pl_seed_rows **rows);
// The columns of a row, quoted, with commas between.
const char *pl_seed_rows_columns(const struct pl_seed_rows *rows);
// One line of COPY's text format.
void pl_seed_rows_add(struct pl_seed_rows *rows, int64_t id, struct pl_buf *out);
const struct pl_region *pl_seed_rows_region(const struct pl_config *config, int64_t id);

// A name as SQL takes it: "price".
void pl_buf_add_identifier(struct pl_buf *buf, const char *name);
