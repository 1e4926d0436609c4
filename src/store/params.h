// Parameters of a write's statement in PostgreSQL's binary form: arrays for a batch, values for a single write.
//
// Binary, because the server spends 3 µs a row on reading the same arrays as text.
// Threads: belongs to its store's thread.
#pragma once

#include "base/buf.h"
#include "db/conn.h"
#include "db/wire.h"
#include "record/statement.h"

struct pl_params_column {
	struct pl_buf data; // room for an array's header, then a length and bytes for each element
	bool any, nulls;    // has an element that is not null; that is
};

// Zeroed is empty.
struct pl_params {
	int ncolumns, nrows;
	const struct pl_resource *resource;
	struct pl_params_column columns[PL_PARAMS_MAX];
	const char *values[PL_PARAMS_MAX];
	int lengths[PL_PARAMS_MAX], formats[PL_PARAMS_MAX];
};

// How a field's values travel. Decimals as text: PostgreSQL's binary numeric is a thing of its own.
enum pl_wire_type pl_params_field_type(const struct pl_field *field);

void pl_params_fini(struct pl_params *params);
// Empties and keeps the memory.
void pl_params_begin(struct pl_params *params, const struct pl_resource *resource);

// One row is one call for each column, in any order.
void pl_params_null(struct pl_params *params, int place);
void pl_params_int64(struct pl_params *params, int place, int64_t value);
void pl_params_int32(struct pl_params *params, int place, int32_t value);
void pl_params_bytes(struct pl_params *params, int place, const void *data, size_t len);
void pl_params_text(struct pl_params *params, int place, const char *text); // NULL is null
void pl_params_time(struct pl_params *params, int place, int64_t at_us);
// A field's value as the record's texts have it; NULL is null.
void pl_params_field(struct pl_params *params, int field, const char *text);
void pl_params_row(struct pl_params *params); // the row is complete

// For pl_conn_send; valid until the next begin. A batch's column that is null in every row is a null instead of an array.
struct pl_conn_params pl_params_batch(struct pl_params *params);
struct pl_conn_params pl_params_one(struct pl_params *params);
