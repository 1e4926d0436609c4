// Fields as JSON and back.
//
// Beside record/record.c, which prints whole records as clients see them; a sibling has no version of its own and is no record.
// Threads: any; nothing is shared.
#include "replicate/fields.h"

#include <string.h>

#include "base/json.h"

static void print_value(struct pl_buf *buf, const struct pl_field *field, const char *value)
{
	if (!value || (field->type == PL_FIELD_DECIMAL && strcmp(value, "NaN") == 0))
		pl_buf_adds(buf, "null");
	else if (field->type == PL_FIELD_STRING)
		pl_buf_add_json(buf, value, strlen(value));
	else if (field->type == PL_FIELD_BOOLEAN)
		pl_buf_adds(buf, value[0] == 't' ? "true" : "false");
	else
		pl_buf_adds(buf, value);
}

void pl_fields_print(struct pl_buf *buf, const struct pl_resource *resource, const char *const *values)
{
	pl_buf_addc(buf, '{');
	for (int i = 0; i < resource->nfields; i++) {
		pl_buf_adds(buf, i ? ",\"" : "\"");
		pl_buf_adds(buf, resource->fields[i].name); // an identifier: needs no escapes
		pl_buf_adds(buf, "\":");
		print_value(buf, &resource->fields[i], values[i]);
	}
	pl_buf_addc(buf, '}');
}

static const char *parse_value(struct pl_arena *arena, const struct pl_field *field, const cJSON *item)
{
	switch (field->type) {
	case PL_FIELD_DECIMAL:
	case PL_FIELD_INTEGER:
		return pl_json_is_number(item) ? pl_arena_strdup(arena, pl_json_number_text(item)) : NULL;
	case PL_FIELD_STRING:
		return cJSON_IsString(item) ? pl_arena_strdup(arena, item->valuestring) : NULL;
	case PL_FIELD_BOOLEAN:
		return cJSON_IsBool(item) ? (cJSON_IsTrue(item) ? "t" : "f") : NULL;
	}
	return NULL;
}

const char **pl_fields_parse(struct pl_arena *arena, const struct pl_resource *resource, const char *text)
{
	static const struct pl_json_limits limits = { .bytes = 4 * 1024 * 1024, .depth = 16, .nodes = 4096 };
	const char **values = pl_arena_alloc(arena, sizeof values[0] * (size_t)resource->nfields + 1);
	cJSON *json = pl_json_parse(text, strlen(text), &limits, NULL);

	for (int i = 0; json && i < resource->nfields; i++) {
		const cJSON *item = pl_json_get(json, resource->fields[i].name);

		if (item)
			values[i] = parse_value(arena, &resource->fields[i], item);
	}
	cJSON_Delete(json);
	return values;
}
