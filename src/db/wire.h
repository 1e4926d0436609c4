// PostgreSQL's binary form of values, for what is sent many at a time: the server spends far less on it than on reading text.
//
// An element is its length (int32, -1 for null) and its bytes, in an array and in a row of COPY alike. Numbers are in network order.
// Threads: any; nothing is shared.
#pragma once

#include "base/buf.h"

// Type numbers of pg_type, which never change.
enum pl_wire_type {
	PL_WIRE_BOOL = 16, PL_WIRE_BYTEA = 17, PL_WIRE_INT8 = 20, PL_WIRE_INT2 = 21, PL_WIRE_INT4 = 23, PL_WIRE_TEXT = 25,
	PL_WIRE_TIMESTAMPTZ = 1184, PL_WIRE_JSONB = 3802,
};

void pl_wire_null(struct pl_buf *buf);
void pl_wire_bytes(struct pl_buf *buf, const void *data, size_t len); // as they are: bytea, text
// A value given as text, as PostgreSQL prints it: of a type that is text, a number or a boolean. NULL is null.
void pl_wire_text(struct pl_buf *buf, enum pl_wire_type type, const char *text);
void pl_wire_int(struct pl_buf *buf, enum pl_wire_type type, int64_t value); // int8, int4, int2
void pl_wire_bool(struct pl_buf *buf, bool value);
void pl_wire_time(struct pl_buf *buf, int64_t at_us);                        // timestamptz

// An array of one dimension: room for its header, then the elements, then the header for `n` of them.
void pl_wire_array_begin(struct pl_buf *buf);
void pl_wire_array_end(struct pl_buf *buf, enum pl_wire_type type, int n, bool nulls);
#define PL_WIRE_ARRAY_HEADER 20 // bytes before the first element

// COPY … FROM STDIN (FORMAT binary): the beginning, then for each row its number of columns and an element for each, then the end.
void pl_wire_copy_begin(struct pl_buf *buf);
void pl_wire_copy_row(struct pl_buf *buf, int ncolumns);
void pl_wire_copy_end(struct pl_buf *buf);
