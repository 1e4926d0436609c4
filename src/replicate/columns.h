// Columns of rows on their way into one unnest(): array literals that grow together, one element per row and column.
#pragma once

#include "base/buf.h"

#define PL_COLUMNS_MAX 80

struct pl_columns {
	int n;
	struct pl_buf bufs[PL_COLUMNS_MAX];
	const char *params[PL_COLUMNS_MAX];
};

struct pl_columns *pl_columns_new(int n);
void pl_columns_free(struct pl_columns **columns);
void pl_columns_reset(struct pl_columns *columns); // no rows; memory is kept
void pl_columns_text(struct pl_columns *columns, int column, const char *value); // NULL is null
void pl_columns_i64(struct pl_columns *columns, int column, int64_t value);
void pl_columns_bool(struct pl_columns *columns, int column, bool value);
void pl_columns_time(struct pl_columns *columns, int column, int64_t at_us);     // 0 is null
void pl_columns_bytes(struct pl_columns *columns, int column, const void *data, size_t len); // bytea; data NULL is null
// The parameters, valid until the columns change.
const char *const *pl_columns_params(struct pl_columns *columns);
