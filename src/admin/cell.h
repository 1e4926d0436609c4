// Cells of a query's result, as text, number or time.
#pragma once

#include <libpq-fe.h>
#include <stdint.h>

// NULL is SQL's null.
const char *pl_cell(const PGresult *result, int row, int column);
int64_t pl_cell_int(const PGresult *result, int row, int column, int64_t otherwise);
int64_t pl_cell_time(const PGresult *result, int row,
                     int column); // of a column written by PL_EPOCH; 0 for null

// Microseconds since 1970 as text, whatever the session's time zone and style: an
// expression for a timestamptz.
#define PL_EPOCH(expression) "(extract(epoch FROM " expression ") * 1000000)::bigint"
