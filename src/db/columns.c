// Arrays for unnest(): how a batch of any size becomes one statement with a fixed number
// of parameters.
//
// Used by apply/rows. Threads: any; an object belongs to one at a time.
#include "db/columns.h"

#include <stdlib.h>

#include "base/mem.h"

struct pl_columns *pl_columns_new(int n, const enum pl_wire_type *types)
{
	struct pl_columns *columns = pl_calloc(1, sizeof(*columns));

	columns->n = n;
	for (int i = 0; i < n; i++) {
		columns->columns[i].type = types[i];
		columns->formats[i] = 1;
	}
	pl_columns_reset(columns);
	return columns;
}

void pl_columns_free(struct pl_columns **columns_p)
{
	struct pl_columns *columns = *columns_p;

	if (!columns)
		return;
	for (int i = 0; i < columns->n; i++)
		pl_buf_fini(&columns->columns[i].data);
	pl_buf_fini(&columns->rows);
	free(columns);
	*columns_p = NULL;
}

void pl_columns_reset(struct pl_columns *columns)
{
	if (columns->by_row)
		pl_wire_copy_begin(&columns->rows);
	for (int i = 0; i < columns->n; i++) {
		pl_wire_array_begin(&columns->columns[i].data);
		columns->columns[i].n = 0;
		columns->columns[i].nulls = false;
	}
}

// Where the column's next element is appended.
static struct pl_buf *next_element(struct pl_columns *columns, int column, bool null)
{
	columns->columns[column].n++;
	columns->columns[column].nulls |= null;
	if (!columns->by_row)
		return &columns->columns[column].data;
	if (column == 0)
		pl_wire_copy_row(&columns->rows, columns->n);
	return &columns->rows;
}

void pl_columns_text(struct pl_columns *columns, int column, const char *value)
{
	pl_wire_text(next_element(columns, column, !value), columns->columns[column].type, value);
}

void pl_columns_i64(struct pl_columns *columns, int column, int64_t value)
{
	pl_wire_int(next_element(columns, column, false), columns->columns[column].type, value);
}

void pl_columns_bool(struct pl_columns *columns, int column, bool value)
{
	pl_wire_bool(next_element(columns, column, false), value);
}

void pl_columns_time(struct pl_columns *columns, int column, int64_t at_us)
{
	struct pl_buf *buf = next_element(columns, column, at_us == 0);

	if (at_us == 0)
		pl_wire_null(buf);
	else
		pl_wire_time(buf, at_us);
}

void pl_columns_bytes(struct pl_columns *columns, int column, const void *data, size_t len)
{
	struct pl_buf *buf = next_element(columns, column, !data);

	if (data)
		pl_wire_bytes(buf, data, len);
	else
		pl_wire_null(buf);
}

const struct pl_buf *pl_columns_copy(struct pl_columns *columns)
{
	pl_wire_copy_end(&columns->rows);
	return &columns->rows;
}

struct pl_conn_params pl_columns_params(struct pl_columns *columns)
{
	for (int i = 0; i < columns->n; i++) {
		struct pl_column *c = &columns->columns[i];

		pl_wire_array_end(&c->data, c->type, c->n, c->nulls);
		columns->values[i] = c->data.data;
		columns->lengths[i] = (int)c->data.len;
	}
	return (struct pl_conn_params){ columns->n, columns->values, columns->lengths, columns->formats };
}
