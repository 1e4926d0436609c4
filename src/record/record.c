// Records as JSON: one form for clients, remembered answers and events; and read back
// from an event.
//
// The batch statements build the same text inside the database (store/statement.c); a
// test compares the two byte by byte.
// Threads: any; nothing is shared.
#include "record/record.h"

#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "record/unknown.h"

struct pl_record *pl_record_new(struct pl_arena *arena, const struct pl_resource *resource)
{
	struct pl_record *record = pl_arena_alloc(arena, sizeof(*record));

	record->resource = resource;
	record->values = pl_arena_alloc(arena, sizeof(record->values[0]) * (size_t)resource->nfields);
	return record;
}

static void print_value(struct pl_buf *buf, const struct pl_field *field, const char *value)
{
	if (!value) {
		pl_buf_adds(buf, "null");
		return;
	}
	switch (field->type) {
	// JSON has no NaN or Infinity, which the column may hold if it was changed by
	// hand
	case PL_FIELD_DECIMAL: pl_buf_adds(buf, strpbrk(value, "NI") ? "null" : value); break;
	case PL_FIELD_INTEGER: pl_buf_adds(buf, value); break;
	case PL_FIELD_BOOLEAN: pl_buf_adds(buf, value[0] == 't' ? "true" : "false"); break;
	case PL_FIELD_STRING: pl_buf_add_json(buf, value, strlen(value)); break;
	}
}

// A region's name needs no escapes, but something other than plist may have written
// another text.
static void print_origin(struct pl_buf *buf, const char *origin)
{
	size_t len = strlen(origin);

	if (!pl_vector_region_name_ok(origin, len)) {
		pl_buf_add_json(buf, origin, len);
		return;
	}
	len = pl_vector_region_len(origin, len); // clients see the region, not its key
	pl_buf_addc(buf, '"');
	pl_buf_add(buf, origin, len);
	pl_buf_addc(buf, '"');
}

void pl_record_print(struct pl_buf *buf, const struct pl_record *record)
{
	char at[PL_TIME_TEXT_MAX];

	if (record->json) {
		pl_buf_adds(buf, record->json);
		return;
	}
	pl_buf_adds(buf, "{\"id\":");
	pl_buf_add_i64(buf, record->id);
	for (int i = 0; i < record->resource->nfields; i++) {
		const struct pl_field *field = &record->resource->fields[i];

		pl_buf_adds(buf, ",\"");
		pl_buf_adds(buf, field->name); // an identifier needs no escapes
		pl_buf_adds(buf, "\":");
		print_value(buf, field, record->values[i]);
	}
	pl_buf_adds(buf, ",\"region_origin\":");
	print_origin(buf, record->region_origin);
	pl_buf_adds(buf, ",\"version\":");
	pl_buf_add_i64(buf, record->version);
	pl_buf_adds(buf, ",\"updated_at\":\"");
	pl_buf_adds(buf, pl_clock_format_time(record->updated_at_us, at));
	pl_buf_adds(buf, "\"}");
}

static void parse_fields(struct pl_arena *arena, const cJSON *json, struct pl_record *record)
{
	for (int i = 0; i < record->resource->nfields; i++) {
		const struct pl_field *field = &record->resource->fields[i];
		const cJSON *item = pl_json_get(json, field->name);
		const char *unfit = NULL,
			   *fault = item ? pl_changes_check_field_type(arena, field, item, &record->values[i],
		                                                       &unfit)
		                         : NULL;

		if ((fault || unfit) && !record->unfit)
			record->unfit = pl_arena_printf(arena, "%s %s", field->name, fault ? fault : unfit);
		record->mistyped |= fault != NULL;
	}
}

const char *pl_record_fault(struct pl_arena *arena, const struct pl_resource *resource, const cJSON *json)
{
	for (int i = 0; i < resource->nfields; i++) {
		const struct pl_field *field = &resource->fields[i];
		const cJSON *item = pl_json_get(json, field->name);
		const char *text, *fault = item ? pl_changes_check_field(arena, field, item, &text)
		                           : field->required ? "is missing"
		                                             : NULL;

		if (fault)
			return pl_arena_printf(arena, "%s %s", field->name, fault);
	}
	return NULL;
}

int pl_record_parse(struct pl_arena *arena, const struct pl_resource *resource, const cJSON *json,
                    struct pl_record **record_r, struct pl_error *err)
{
	struct pl_record *record = pl_record_new(arena, resource);
	const char *origin, *at;
	int64_t version;

	if (!cJSON_IsObject(json))
		return pl_error_set(err, PL_EINVAL, "a record must be a JSON object");
	if (pl_json_int64(pl_json_get(json, "id"), &record->id) < 0)
		return pl_error_set(err, PL_EINVAL, "id is not an integer");
	parse_fields(arena, json, record);
	record->unknown = pl_unknown_collect(arena, resource, json);
	origin = pl_json_string(json, "region_origin");
	if (!origin || strlen(origin) > PL_REGION_MAX)
		return pl_error_set(err, PL_EINVAL, "region_origin is not the name of a region");
	strcpy(record->region_origin, origin);
	if (pl_json_int64(pl_json_get(json, "version"), &version) < 0 || version < INT32_MIN ||
	    version > INT32_MAX)
		return pl_error_set(err, PL_EINVAL, "version is not an integer from 1 to 2147483647");
	record->version = (int32_t)version;
	at = pl_json_string(json, "updated_at");
	if (!at || pl_clock_parse_time(at, strlen(at), &record->updated_at_us) < 0)
		return pl_error_set(err, PL_EINVAL, "updated_at is not an RFC 3339 time");
	*record_r = record;
	return 0;
}

// ---- plist's own JSON, read without a JSON parser: every write's answer is read here

// Reads `"key":` and its value from a copy of the text, which is cut up in place.
// False: the text is not as plist prints it, or has escapes.
static bool scan_member(char **at, const char *key, const char **value_r, bool *quoted_r)
{
	size_t len = strlen(key);
	char *p = *at + 1; // after the { or , that was overwritten to end the last value

	if (p[0] != '"' || strncmp(p + 1, key, len) != 0 || p[len + 1] != '"' || p[len + 2] != ':')
		return false;
	p += len + 3;
	*quoted_r = *p == '"';
	if (*quoted_r) {
		*value_r = ++p;
		p += strcspn(p, "\"\\");
		if (*p != '"')
			return false;
		*p++ = '\0';
	} else {
		*value_r = p;
		p += strcspn(p, ",}");
	}
	if (*p != ',' && *p != '}')
		return false;
	*p = '\0';
	*at = p;
	return true;
}

static bool scan_field(char **at, const struct pl_field *field, const char **value_r, bool *is_json_r)
{
	bool quoted;

	if (!scan_member(at, field->name, value_r, &quoted))
		return false;
	if (!quoted && strcmp(*value_r, "null") == 0) {
		*value_r = NULL;
		return true;
	}
	if (!quoted && strpbrk(*value_r, "NI")) { // NaN, Infinity: shown as null
		*value_r = NULL;
		*is_json_r = false;
		return true;
	}
	if (field->type == PL_FIELD_BOOLEAN)
		*value_r = (*value_r)[0] == 't' ? "t" : "f";
	return quoted == (field->type == PL_FIELD_STRING);
}

static bool scan(char *at, struct pl_record *record, bool *is_json_r)
{
	const char *id, *origin, *version, *updated_at;
	bool quoted;

	if (*at != '{' || !scan_member(&at, "id", &id, &quoted))
		return false;
	for (int i = 0; i < record->resource->nfields; i++)
		if (!scan_field(&at, &record->resource->fields[i], &record->values[i], is_json_r))
			return false;
	if (!scan_member(&at, "region_origin", &origin, &quoted) || strlen(origin) > PL_REGION_MAX ||
	    !scan_member(&at, "version", &version, &quoted) ||
	    !scan_member(&at, "updated_at", &updated_at, &quoted))
		return false;
	record->id = strtoll(id, NULL, 10);
	strcpy(record->region_origin, origin);
	record->version = (int32_t)strtol(version, NULL, 10);
	return pl_clock_parse_time(updated_at, strlen(updated_at), &record->updated_at_us) == 0;
}

void pl_record_take_vector(struct pl_record *record, const char *text, size_t len)
{
	if (pl_vector_parse(&record->vector, text, len) == 0)
		return;
	record->guessed = true;
	record->vector.n = 0;
	if (record->version > 0)
		pl_vector_set(&record->vector, record->region_origin, record->version);
}

int pl_record_scan(struct pl_arena *arena, const struct pl_resource *resource, const char *json,
                   const char *vector, struct pl_record **record_r, struct pl_error *err)
{
	static const struct pl_json_limits any = { .bytes = 1 << 30,
		                                   .depth = 2,
		                                   .nodes = 1 << 16 }; // the database holds it already
	struct pl_record *record = pl_record_new(arena, resource);
	size_t len = strlen(json);
	bool is_json = true;

	if (!scan(pl_arena_strndup(arena, json, len), record, &is_json)) { // usually escapes in a string
		cJSON *parsed = pl_json_parse(json, len, &any, err);
		int code = parsed ? pl_record_parse(arena, resource, parsed, &record, err) : PL_EINVAL;

		cJSON_Delete(parsed);
		if (code == 0 && record->mistyped)
			code = pl_error_set(err, PL_EINVAL, "%s", record->unfit);
		if (code < 0)
			return pl_error_prefix(err, "the database's own record");
	}
	if (vector)
		pl_record_take_vector(record, vector, strlen(vector));
	record->json = is_json ? pl_arena_strndup(arena, json, len) : NULL;
	*record_r = record;
	return 0;
}

static bool in_order(const struct pl_resource *resource, int i, const char **name_r)
{
	static const char *const last[] = { "region_origin", "version", "updated_at" };

	if (i == 0)
		*name_r = "id";
	else if (i <= resource->nfields)
		*name_r = resource->fields[i - 1].name;
	else if (i < resource->nfields + 4)
		*name_r = last[i - resource->nfields - 1];
	else
		return false;
	return true;
}

static bool is_member(const struct pl_resource *resource, const char *name)
{
	const char *member;

	for (int i = 0; in_order(resource, i, &member); i++)
		if (strcmp(member, name) == 0)
			return true;
	return false;
}

static void print_member(struct pl_buf *buf, const cJSON *item, bool *first)
{
	pl_buf_addc(buf, *first ? '{' : ',');
	pl_buf_add_json(buf, item->string, strlen(item->string));
	pl_buf_addc(buf, ':');
	pl_json_print(buf, item);
	*first = false;
}

void pl_record_print_members(struct pl_buf *buf, const struct pl_resource *resource, const cJSON *json)
{
	const char *name;
	bool first = true;

	if (!cJSON_IsObject(json) || !json->child) {
		pl_json_print(buf, json);
		return;
	}
	for (int i = 0; in_order(resource, i, &name); i++) {
		const cJSON *item = pl_json_get(json, name);

		if (item)
			print_member(buf, item, &first);
	}
	for (const cJSON *item = json->child; item; item = item->next)
		if (!is_member(resource, item->string))
			print_member(buf, item, &first);
	pl_buf_addc(buf, '}');
}
