// Fields as JSON and back.
//
// record/record.c prints whole records as clients see them. A sibling is not a record:
// it has no version.
// Threads: any; nothing is shared.
#include "record/fields.h"

#include <string.h>

#include "record/unknown.h"

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

void pl_fields_print(struct pl_buf *buf, const struct pl_resource *resource, const char *const *values,
                     const char *unknown)
{
	pl_buf_addc(buf, '{');
	for (int i = 0; i < resource->nfields; i++) {
		pl_buf_adds(buf, i ? ",\"" : "\"");
		pl_buf_adds(buf, resource->fields[i].name); // an identifier needs no escapes
		pl_buf_adds(buf, "\":");
		print_value(buf, &resource->fields[i], values[i]);
	}
	pl_unknown_print_members(buf, unknown);
	pl_buf_addc(buf, '}');
}

const char **pl_fields_parse(struct pl_arena *arena, const struct pl_resource *resource, const char *text,
                             const char **unknown_r)
{
	const char **values = pl_arena_alloc(arena, sizeof(values[0]) * (size_t)resource->nfields + 1);

	pl_unknown_split(arena, resource, text, values, unknown_r);
	return values;
}
