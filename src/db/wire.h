// PostgreSQL's binary format, used for values that are sent in large numbers: parsing
// it costs the server far less than text.
//
// An element is its length (int32, -1 for null) and its bytes, both in an array and in
// a row of COPY. Numbers are in network byte order.
// Threads: any; nothing is shared.
#pragma once

#include "base/buf.h"

// Type OIDs of pg_type, which never change.
enum pl_wire_type {
	PL_WIRE_BOOL = 16,
	PL_WIRE_BYTEA = 17,
	PL_WIRE_INT8 = 20,
	PL_WIRE_INT2 = 21,
	PL_WIRE_INT4 = 23,
	PL_WIRE_TEXT = 25,
	PL_WIRE_TIMESTAMPTZ = 1184,
	PL_WIRE_JSONB = 3802,
};

void pl_wire_null(struct pl_buf *buf);
void pl_wire_bytes(struct pl_buf *buf, const void *data, size_t len); // unchanged: bytea, text
// A value given as text, in PostgreSQL's notation, whose type is a text, a number or a
// boolean. NULL is null.
void pl_wire_text(struct pl_buf *buf, enum pl_wire_type type, const char *text);
void pl_wire_int(struct pl_buf *buf, enum pl_wire_type type, int64_t value); // int8, int4, int2
void pl_wire_bool(struct pl_buf *buf, bool value);
void pl_wire_time(struct pl_buf *buf, int64_t at_us); // timestamptz

// A one-dimensional array: reserve its header, add the elements, then fill in the
// header for `n` of them.
void pl_wire_array_begin(struct pl_buf *buf);
void pl_wire_array_end(struct pl_buf *buf, enum pl_wire_type type, int n, bool nulls);
#define PL_WIRE_ARRAY_HEADER 20 // bytes before the first element

// COPY … FROM STDIN (FORMAT binary): the beginning; for each row its number of columns
// and its elements; the end.
void pl_wire_copy_begin(struct pl_buf *buf);
void pl_wire_copy_row(struct pl_buf *buf, int ncolumns);
void pl_wire_copy_end(struct pl_buf *buf);
