// Array literals for unnest(): how a batch of any size becomes one statement with a fixed number of parameters.
//
// Used by replicate/apply_sql. Threads: any; an object belongs to one at a time.
#include "replicate/columns.h"

#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/mem.h"

struct pl_columns *pl_columns_new(int n)
{
	struct pl_columns *columns = pl_calloc(1, sizeof *columns);

	columns->n = n;
	pl_columns_reset(columns);
	return columns;
}

void pl_columns_free(struct pl_columns **at)
{
	struct pl_columns *columns = *at;

	if (!columns)
		return;
	for (int i = 0; i < columns->n; i++)
		pl_buf_fini(&columns->bufs[i]);
	free(columns);
	*at = NULL;
}

void pl_columns_reset(struct pl_columns *columns)
{
	for (int i = 0; i < columns->n; i++) {
		pl_buf_reset(&columns->bufs[i]);
		pl_buf_addc(&columns->bufs[i], '{');
	}
}

static struct pl_buf *next_element(struct pl_columns *columns, int column)
{
	struct pl_buf *buf = &columns->bufs[column];

	if (buf->len > 1)
		pl_buf_addc(buf, ',');
	return buf;
}

void pl_columns_text(struct pl_columns *columns, int column, const char *value)
{
	pl_buf_add_pg_element(next_element(columns, column), value, value ? strlen(value) : 0);
}

void pl_columns_i64(struct pl_columns *columns, int column, int64_t value)
{
	pl_buf_add_i64(next_element(columns, column), value);
}

void pl_columns_bool(struct pl_columns *columns, int column, bool value)
{
	pl_buf_addc(next_element(columns, column), value ? 't' : 'f');
}

void pl_columns_time(struct pl_columns *columns, int column, int64_t at_us)
{
	char text[PL_TIME_TEXT_MAX];

	pl_columns_text(columns, column, at_us ? pl_time_format(at_us, text) : NULL);
}

void pl_columns_bytes(struct pl_columns *columns, int column, const void *data, size_t len)
{
	static const char digits[] = "0123456789abcdef";
	struct pl_buf *buf = next_element(columns, column);
	const unsigned char *bytes = data;

	if (!data) {
		pl_buf_adds(buf, "NULL");
		return;
	}
	pl_buf_adds(buf, "\"\\\\x");
	pl_buf_reserve(buf, 2 * len + 1);
	for (size_t i = 0; i < len; i++) {
		pl_buf_addc(buf, digits[bytes[i] >> 4]);
		pl_buf_addc(buf, digits[bytes[i] & 15]);
	}
	pl_buf_addc(buf, '"');
}

const char *const *pl_columns_params(struct pl_columns *columns)
{
	for (int i = 0; i < columns->n; i++) {
		struct pl_buf *buf = &columns->bufs[i];

		if (buf->data[buf->len - 1] != '}' || buf->len == 1)
			pl_buf_addc(buf, '}');
		columns->params[i] = buf->data;
	}
	return columns->params;
}
