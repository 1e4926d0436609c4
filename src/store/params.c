// Parameters of a write's statement: see params.h. A single value is the bytes of an
// array's element (db/wire.h).
//
// Threads: belongs to its store's thread.
#include "store/params.h"

#include <string.h>

#define FIRST (PL_WIRE_ARRAY_HEADER + sizeof(uint32_t)) // where the bytes of an array's first element begin

enum pl_wire_type pl_params_field_type(const struct pl_field *field)
{
	switch (field->type) {
	case PL_FIELD_INTEGER: return PL_WIRE_INT4;
	case PL_FIELD_BOOLEAN: return PL_WIRE_BOOL;
	case PL_FIELD_DECIMAL:
	case PL_FIELD_STRING: break;
	}
	return PL_WIRE_TEXT;
}

static enum pl_wire_type type_of(const struct pl_resource *resource, int place)
{
	static const enum pl_wire_type types[] = {
		PL_WIRE_INT8, PL_WIRE_INT8,  PL_WIRE_INT4,        PL_WIRE_TEXT, PL_WIRE_TEXT,
		PL_WIRE_TEXT, PL_WIRE_BYTEA, PL_WIRE_TIMESTAMPTZ, PL_WIRE_TEXT, PL_WIRE_TEXT,
	};

	return place < PL_PARAM_FIELD ? types[place]
	                              : pl_params_field_type(&resource->fields[place - PL_PARAM_FIELD]);
}

void pl_params_fini(struct pl_params *params)
{
	for (int i = 0; i < PL_PARAMS_MAX; i++)
		pl_buf_fini(&params->columns[i].data);
}

void pl_params_begin(struct pl_params *params, const struct pl_resource *resource)
{
	params->resource = resource;
	params->ncolumns = PL_PARAM_FIELD + resource->nfields;
	params->nrows = 0;
	for (int i = 0; i < params->ncolumns; i++) {
		pl_wire_array_begin(&params->columns[i].data);
		params->columns[i].any = params->columns[i].nulls = false;
	}
}

void pl_params_null(struct pl_params *params, int place)
{
	pl_wire_null(&params->columns[place].data);
	params->columns[place].nulls = true;
}

void pl_params_bytes(struct pl_params *params, int place, const void *data, size_t len)
{
	pl_wire_bytes(&params->columns[place].data, data, len);
	params->columns[place].any = true;
}

void pl_params_int64(struct pl_params *params, int place, int64_t value)
{
	pl_wire_int(&params->columns[place].data, PL_WIRE_INT8, value);
	params->columns[place].any = true;
}

void pl_params_int32(struct pl_params *params, int place, int32_t value)
{
	pl_wire_int(&params->columns[place].data, PL_WIRE_INT4, value);
	params->columns[place].any = true;
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
	pl_wire_time(&params->columns[place].data, at_us);
	params->columns[place].any = true;
}

void pl_params_field(struct pl_params *params, int field, const char *text)
{
	int place = PL_PARAM_FIELD + field;

	if (!text) {
		pl_params_null(params, place);
		return;
	}
	pl_wire_text(&params->columns[place].data, type_of(params->resource, place), text);
	params->columns[place].any = true;
}

void pl_params_row(struct pl_params *params)
{
	params->nrows++;
}

struct pl_conn_params pl_params_batch(struct pl_params *params)
{
	for (int i = 0; i < params->ncolumns; i++) {
		struct pl_params_column *column = &params->columns[i];

		pl_wire_array_end(&column->data, type_of(params->resource, i), params->nrows, column->nulls);
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

		params->values[i] = column->any ? column->data.data + FIRST : NULL;
		params->lengths[i] = (int)(column->data.len - FIRST);
		params->formats[i] = 1;
	}
	return (struct pl_conn_params){ params->ncolumns, params->values, params->lengths, params->formats };
}

// ---- a write as a row

static int64_t flags_of(const struct pl_write *write)
{
	bool create = write->op == PL_WRITE_CREATE;
	bool locked = write->has_version || write->has_etag || write->etag_never;
	int64_t flags = (int64_t)write->op;

	for (int i = 0; i < write->resource->nfields; i++)
		if (create || (write->op == PL_WRITE_UPDATE && write->changes.set[i]))
			flags |= PL_FLAG_FIELD(i);
	if (!create && write->etag_never)
		flags |= PL_FLAG_ETAG_NEVER;
	if (!create && !locked && write->lock == PL_LOCK_REQUIRED)
		flags |= PL_FLAG_UNLOCKED;
	return flags;
}

static void lock_params(struct pl_params *params, const struct pl_write *write)
{
	bool create = write->op == PL_WRITE_CREATE;
	struct pl_buf text = { 0 };

	if (!create && write->has_version)
		pl_params_int32(params, PL_PARAM_VERSION, write->version);
	else
		pl_params_null(params, PL_PARAM_VERSION);
	if (!create && write->has_etag && !write->etag_any && !write->etag_never)
		pl_vector_print(&text, &write->etag);
	pl_params_text(params, PL_PARAM_ETAG, text.data);
	pl_buf_fini(&text);
}

void pl_params_write(struct pl_params *params, const struct pl_write *write, int64_t expires_us,
                     const struct pl_region *region)
{
	bool create = write->op == PL_WRITE_CREATE;

	pl_params_int64(params, PL_PARAM_ID, write->id);
	pl_params_int64(params, PL_PARAM_FLAGS, flags_of(write));
	lock_params(params, write);
	pl_params_text(params, PL_PARAM_REQUEST_ID, write->request_id ? write->request_id : "");
	pl_params_text(params, PL_PARAM_PRINCIPAL,
	               write->principal && write->principal[0] ? write->principal : NULL);
	pl_params_bytes(params, PL_PARAM_FINGERPRINT, write->fingerprint, PL_SHA256_SIZE);
	pl_params_time(params, PL_PARAM_EXPIRES, expires_us);
	pl_params_text(params, PL_PARAM_PREFIX,
	               create ? (write->region_prefix ? write->region_prefix : "") : NULL);
	pl_params_text(params, PL_PARAM_TRACEPARENT, write->traceparent);
	for (int i = 0; i < write->resource->nfields; i++)
		pl_params_field(params, i,
		                write->op != PL_WRITE_DELETE && write->changes.set[i]
		                        ? write->changes.values[i]
		                        : NULL);
	pl_params_row(params);
}
