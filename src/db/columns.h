// Columns of rows for one unnest(): arrays that grow, one element per row and column.
//
// They are in PostgreSQL's binary format. The columns of one unnest() must have the
// same length.
// Threads: any; an object belongs to one thread at a time.
#pragma once

#include "db/conn.h"
#include "db/wire.h"

#define PL_COLUMNS_MAX 96

struct pl_column {
	enum pl_wire_type type;
	struct pl_buf data; // the array
	int n;              // elements
	bool nulls;
};

struct pl_columns {
	int n;
	// rows for COPY, all in `rows`, instead of arrays: each row's columns must be
	// added in order
	bool by_row;
	struct pl_buf rows;
	struct pl_column columns[PL_COLUMNS_MAX];
	const char *values[PL_COLUMNS_MAX];
	int lengths[PL_COLUMNS_MAX], formats[PL_COLUMNS_MAX];
};

struct pl_columns *pl_columns_new(int n, const enum pl_wire_type *types);
void pl_columns_free(struct pl_columns **columns_p);
void pl_columns_reset(struct pl_columns *columns); // removes all rows; keeps the memory
// Adds an element. `value` is in PostgreSQL's text notation of the column's type; NULL
// is null.
void pl_columns_text(struct pl_columns *columns, int column, const char *value);
void pl_columns_i64(struct pl_columns *columns, int column, int64_t value);
void pl_columns_bool(struct pl_columns *columns, int column, bool value);
void pl_columns_time(struct pl_columns *columns, int column, int64_t at_us); // 0 is null
void pl_columns_bytes(struct pl_columns *columns, int column, const void *data,
                      size_t len); // bytea; data NULL is null
// The parameters, valid until the columns change.
struct pl_conn_params pl_columns_params(struct pl_columns *columns);
// By row: the complete input of COPY … (FORMAT binary).
const struct pl_buf *pl_columns_copy(struct pl_columns *columns);
