// Parameters of a write's statement in PostgreSQL's binary form: arrays for a batch,
// values for a single write.
//
// Binary, because the server needs 3 µs per row to parse the same arrays as text.
// Threads: belongs to one thread at a time.
#pragma once

#include "base/buf.h"
#include "db/conn.h"
#include "db/wire.h"
#include "store/statement.h"
#include "store/store.h"

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

// The wire type of a field's values. Decimals travel as text, because PostgreSQL's
// binary numeric is a format of its own.
enum pl_wire_type pl_params_field_type(const struct pl_field *field);

void pl_params_fini(struct pl_params *params);
// Empties and keeps the memory.
void pl_params_begin(struct pl_params *params, const struct pl_resource *resource);

// A row takes one call per column, in any order.
void pl_params_null(struct pl_params *params, int place);
void pl_params_int64(struct pl_params *params, int place, int64_t value);
void pl_params_int32(struct pl_params *params, int place, int32_t value);
void pl_params_bytes(struct pl_params *params, int place, const void *data, size_t len);
void pl_params_text(struct pl_params *params, int place, const char *text); // NULL is null
void pl_params_time(struct pl_params *params, int place, int64_t at_us);
// A field's value as the record's texts have it; NULL is null.
void pl_params_field(struct pl_params *params, int field, const char *text);
void pl_params_row(struct pl_params *params); // the row is complete
// A whole row: a write, the time when its request is forgotten, the executing region.
void pl_params_write(struct pl_params *params, const struct pl_write *write, int64_t expires_us,
                     const struct pl_region *region);

// For pl_conn_send; valid until the next begin. A column that is null in every row of a
// batch is sent as a null instead of an array.
struct pl_conn_params pl_params_batch(struct pl_params *params);
struct pl_conn_params pl_params_one(struct pl_params *params);
