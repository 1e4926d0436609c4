// Parameters of a write's statement: see params.h. An array travels as: dimensions, whether it has nulls, the elements' type, their
// number, the first index; then for each element its length and its bytes. A single value is just the bytes of such an element.
//
// Threads: belongs to its store's thread.
#include "record/params.h"

#include <arpa/inet.h>
#include <endian.h>
#include <stdlib.h>
#include <string.h>

#define HEADER 20                              // bytes before an array's first element
#define POSTGRES_EPOCH_US INT64_C(946684800000000) // 2000-01-01, which its times count from

// Type numbers of pg_type, which never change.
enum { BOOL = 16, BYTEA = 17, INT8 = 20, INT4 = 23, TEXT = 25, TIMESTAMPTZ = 1184 };

static uint32_t type_of(const struct pl_resource *resource, int place)
{
	static const uint32_t types[] = { INT8, INT8, INT4, TEXT, TEXT, TEXT, BYTEA, TIMESTAMPTZ, TEXT, TEXT };

	if (place < PL_PARAM_FIELD)
		return types[place];
	switch (resource->fields[place - PL_PARAM_FIELD].type) {
	case PL_FIELD_INTEGER:
		return INT4;
	case PL_FIELD_BOOLEAN:
		return BOOL;
	default:
		return TEXT;
	}
}

void pl_params_fini(struct pl_params *params)
{
	for (int i = 0; i < PL_PARAMS_MAX; i++)
		pl_buf_fini(&params->columns[i].data);
}

void pl_params_begin(struct pl_params *params, const struct pl_resource *resource)
{
	static const char header[HEADER];

	params->resource = resource;
	params->ncolumns = PL_PARAM_FIELD + resource->nfields;
	params->nrows = 0;
	for (int i = 0; i < params->ncolumns; i++) {
		struct pl_params_column *column = &params->columns[i];

		pl_buf_reset(&column->data);
		pl_buf_add(&column->data, header, HEADER);
		column->any = column->nulls = false;
	}
}

static void put32(struct pl_buf *buf, uint32_t value)
{
	value = htonl(value);
	pl_buf_add(buf, &value, sizeof value);
}

void pl_params_null(struct pl_params *params, int place)
{
	put32(&params->columns[place].data, UINT32_MAX);
	params->columns[place].nulls = true;
}

void pl_params_bytes(struct pl_params *params, int place, const void *data, size_t len)
{
	put32(&params->columns[place].data, (uint32_t)len);
	pl_buf_add(&params->columns[place].data, data, len);
	params->columns[place].any = true;
}

void pl_params_int64(struct pl_params *params, int place, int64_t value)
{
	uint64_t wire = htobe64((uint64_t)value);

	pl_params_bytes(params, place, &wire, sizeof wire);
}

void pl_params_int32(struct pl_params *params, int place, int32_t value)
{
	uint32_t wire = htonl((uint32_t)value);

	pl_params_bytes(params, place, &wire, sizeof wire);
}

void pl_params_text(struct pl_params *params, int place, const char *text)
{
	if (text)
		pl_params_bytes(params, place, text, strlen(text));
	else
		pl_params_null(params, place);
}

void pl_params_time(struct pl_params *params, int place, int64_t at_us)
{
	pl_params_int64(params, place, at_us - POSTGRES_EPOCH_US);
}

void pl_params_field(struct pl_params *params, int field, const char *text)
{
	int place = PL_PARAM_FIELD + field;

	if (!text) {
		pl_params_null(params, place);
		return;
	}
	switch (params->resource->fields[field].type) {
	case PL_FIELD_INTEGER:
		pl_params_int32(params, place, (int32_t)strtol(text, NULL, 10));
		break;
	case PL_FIELD_BOOLEAN:
		pl_params_bytes(params, place, text[0] == 't' ? "\1" : "\0", 1);
		break;
	case PL_FIELD_DECIMAL:
	case PL_FIELD_STRING:
		pl_params_bytes(params, place, text, strlen(text));
		break;
	}
}

void pl_params_row(struct pl_params *params)
{
	params->nrows++;
}

struct pl_conn_params pl_params_batch(struct pl_params *params)
{
	for (int i = 0; i < params->ncolumns; i++) {
		struct pl_params_column *column = &params->columns[i];
		uint32_t header[5] = { htonl(1), htonl(column->nulls), htonl(type_of(params->resource, i)), htonl((uint32_t)params->nrows), htonl(1) };

		memcpy(column->data.data, header, HEADER);
		params->values[i] = column->any ? column->data.data : NULL;
		params->lengths[i] = (int)column->data.len;
		params->formats[i] = 1;
	}
	return (struct pl_conn_params){ params->ncolumns, params->values, params->lengths, params->formats };
}

struct pl_conn_params pl_params_one(struct pl_params *params)
{
	for (int i = 0; i < params->ncolumns; i++) {
		struct pl_params_column *column = &params->columns[i];

		params->values[i] = column->any ? column->data.data + HEADER + sizeof(uint32_t) : NULL;
		params->lengths[i] = (int)(column->data.len - HEADER - sizeof(uint32_t));
		params->formats[i] = 1;
	}
	return (struct pl_conn_params){ params->ncolumns, params->values, params->lengths, params->formats };
}
