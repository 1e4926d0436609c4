// Records as JSON: printed for clients, for remembered answers and for events alike, and read back from an event.
//
// Stands between PostgreSQL's texts and everything that is shown of a record. The batch statements build the same text inside the
// database (record/statement.c); a test compares the two byte by byte.
// Threads: any; nothing is shared.
#include "record/record.h"

#include <string.h>

#include "base/clock.h"

#define ID_MAX ((INT64_C(1) << 53) - 1) // beyond it, JSON's readers disagree about integers

struct pl_record *pl_record_new(struct pl_arena *arena, const struct pl_resource *resource)
{
	struct pl_record *record = pl_arena_alloc(arena, sizeof *record);

	record->resource = resource;
	record->values = pl_arena_alloc(arena, sizeof record->values[0] * (size_t)resource->nfields);
	return record;
}

static void print_value(struct pl_buf *buf, const struct pl_field *field, const char *value)
{
	if (!value) {
		pl_buf_adds(buf, "null");
		return;
	}
	switch (field->type) {
	case PL_FIELD_DECIMAL: // a NaN that someone put into the column by hand has no place in JSON
		pl_buf_adds(buf, strcmp(value, "NaN") != 0 ? value : "null");
		break;
	case PL_FIELD_INTEGER:
		pl_buf_adds(buf, value);
		break;
	case PL_FIELD_BOOLEAN:
		pl_buf_adds(buf, value[0] == 't' ? "true" : "false");
		break;
	case PL_FIELD_STRING:
		pl_buf_add_json(buf, value, strlen(value));
		break;
	}
}

void pl_record_print(struct pl_buf *buf, const struct pl_record *record)
{
	char at[PL_TIME_TEXT_MAX];

	pl_buf_adds(buf, "{\"id\":");
	pl_buf_add_i64(buf, record->id);
	for (int i = 0; i < record->resource->nfields; i++) {
		const struct pl_field *field = &record->resource->fields[i];

		pl_buf_adds(buf, ",\"");
		pl_buf_adds(buf, field->name); // an identifier: needs no escapes
		pl_buf_adds(buf, "\":");
		print_value(buf, field, record->values[i]);
	}
	pl_buf_adds(buf, ",\"region_origin\":\"");
	pl_buf_adds(buf, record->region_origin);
	pl_buf_adds(buf, "\",\"version\":");
	pl_buf_add_i64(buf, record->version);
	pl_buf_adds(buf, ",\"updated_at\":\"");
	pl_buf_adds(buf, pl_time_format(record->updated_at_us, at));
	pl_buf_adds(buf, "\"}");
}

static int parse_fields(struct pl_arena *arena, const cJSON *json, struct pl_record *record, struct pl_error *err)
{
	for (int i = 0; i < record->resource->nfields; i++) {
		const struct pl_field *field = &record->resource->fields[i];
		const cJSON *item = pl_json_get(json, field->name);
		const char *fault = !item ? (field->required ? "is missing" : NULL)
		                          : pl_field_fault(arena, field, item, &record->values[i]);

		if (fault)
			return pl_error_set(err, PL_EINVAL, "%s %s", field->name, fault);
	}
	return 0;
}

int pl_record_parse(struct pl_arena *arena, const struct pl_resource *resource, const cJSON *json,
                    struct pl_record **record_r, struct pl_error *err)
{
	struct pl_record *record = pl_record_new(arena, resource);
	const char *origin, *at;
	int64_t version;

	if (!cJSON_IsObject(json))
		return pl_error_set(err, PL_EINVAL, "a record is a JSON object, this is none");
	if (pl_json_int64(pl_json_get(json, "id"), &record->id) < 0 || record->id < 1 || record->id > ID_MAX)
		return pl_error_set(err, PL_EINVAL, "id is no integer from 1 to 2^53-1");
	if (parse_fields(arena, json, record, err) < 0)
		return PL_EINVAL;
	origin = pl_json_string(json, "region_origin");
	if (!origin || !pl_region_name_ok(origin, strlen(origin)))
		return pl_error_set(err, PL_EINVAL, "region_origin is no name of a region");
	strcpy(record->region_origin, origin);
	if (pl_json_int64(pl_json_get(json, "version"), &version) < 0 || version < 1 || version > INT32_MAX)
		return pl_error_set(err, PL_EINVAL, "version is no integer from 1 to 2147483647");
	record->version = (int32_t)version;
	at = pl_json_string(json, "updated_at");
	if (!at || pl_time_parse(at, strlen(at), &record->updated_at_us) < 0)
		return pl_error_set(err, PL_EINVAL, "updated_at is no RFC 3339 time");
	*record_r = record;
	return 0;
}
