// Cells of a query's result. Threads: the tool has one.
#include "admin/cell.h"

#include <stdlib.h>

const char *pl_cell(const PGresult *result, int row, int column)
{
	return PQgetisnull(result, row, column) ? NULL : PQgetvalue(result, row, column);
}

int64_t pl_cell_int(const PGresult *result, int row, int column, int64_t otherwise)
{
	const char *text = pl_cell(result, row, column);
	return text ? strtoll(text, NULL, 10) : otherwise;
}

int64_t pl_cell_time(const PGresult *result, int row, int column)
{
	return pl_cell_int(result, row, column, 0);
}
