// Reading recorded conflicts: see conflict_read.h.
//
// Threads: any; nothing is shared.
#include "apply/conflict_read.h"

#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/decimal.h"
#include "base/json.h"
#include "record/fields.h"

static const struct pl_json_limits limits = { 16 << 20, 16, 1000000 };

static const char *text_of_member(struct pl_arena *arena, const cJSON *object, const char *name)
{
	const char *text = pl_json_string(object, name);

	return text ? pl_arena_strdup(arena, text) : NULL;
}

// Any JSON member as text; NULL if it is null or missing.
static const char *json_of_member(struct pl_arena *arena, const cJSON *object, const char *name)
{
	const cJSON *item = pl_json_get(object, name);
	struct pl_buf buf = { 0 };
	const char *text;

	if (!item || cJSON_IsNull(item))
		return NULL;
	pl_json_print(&buf, item);
	text = pl_arena_strndup(arena, buf.data, buf.len);
	pl_buf_fini(&buf);
	return text;
}

static int read_row(struct pl_arena *arena, const struct pl_resource *resource, const cJSON *json,
                    struct pl_sibling *row)
{
	const char *origin = pl_json_string(json, "origin"), *at = pl_json_string(json, "updated_at");
	const char *vector = json_of_member(arena, json, "vector"),
		   *fields = json_of_member(arena, json, "fields");
	const cJSON *counter_item = pl_json_get(json, "counter");
	int64_t counter = 0;

	if (!origin || !at || !vector || !fields || strlen(origin) > PL_REGION_MAX || !counter_item ||
	    pl_json_int64(counter_item, &counter) < 0 ||
	    pl_clock_parse_time(at, strlen(at), &row->updated_at_us) < 0 ||
	    pl_vector_parse(&row->vector, vector, strlen(vector)) < 0)
		return -1;
	snprintf(row->dot.region, sizeof(row->dot.region), "%s", origin);
	row->dot.counter = (int32_t)counter;
	row->deleted = cJSON_IsTrue(pl_json_get(json, "deleted"));
	row->values = pl_fields_parse(arena, resource, fields, &row->unknown);
	row->field_times = json_of_member(arena, json, "field_times");
	row->request_id = text_of_member(arena, json, "request_id");
	row->principal = text_of_member(arena, json, "principal");
	row->principal = row->principal ? row->principal : "";
	return row->values ? 0 : -1;
}

static int read_siblings(struct pl_arena *arena, const struct pl_resource *resource, const cJSON *json,
                         struct pl_recorded_conflict *recorded)
{
	int n = cJSON_IsArray(json) ? cJSON_GetArraySize(json) : 0;
	const cJSON *item;

	recorded->rows = pl_arena_alloc(arena, sizeof(recorded->rows[0]) * (size_t)(n + 1));
	cJSON_ArrayForEach (item, json)
		if (n > 0 && read_row(arena, resource, item, &recorded->rows[recorded->n++]) < 0)
			return -1;
	return recorded->n > 0 ? 0 : -1;
}

int pl_conflict_read(struct pl_arena *arena, const struct pl_resource *resource, const char *siblings,
                     const char *visible, struct pl_recorded_conflict *recorded_r, struct pl_error *err)
{
	cJSON *rows = siblings ? pl_json_parse(siblings, strlen(siblings), &limits, NULL) : NULL;
	cJSON *shown = visible ? pl_json_parse(visible, strlen(visible), &limits, NULL) : NULL;
	const char *fields = json_of_member(arena, shown, "fields");
	int rc = 0;

	memset(recorded_r, 0, sizeof(*recorded_r));
	if (!fields || read_siblings(arena, resource, rows, recorded_r) < 0)
		rc = pl_error_set(err, PL_EINVAL, "the recorded conflict cannot be read");
	else
		recorded_r->visible = pl_fields_parse(arena, resource, fields, NULL);
	recorded_r->visible_deleted = cJSON_IsTrue(pl_json_get(shown, "deleted"));
	cJSON_Delete(rows);
	cJSON_Delete(shown);
	return rc;
}

void pl_conflict_read_show(const struct pl_recorded_conflict *recorded, const struct pl_verdict *verdict,
                           const char *const **values_r, bool *deleted_r)
{
	*deleted_r = verdict->take >= 0 && recorded->rows[verdict->take].deleted;
	*values_r = verdict->take >= 0 ? recorded->rows[verdict->take].values : verdict->merged;
}

static bool same_value(const struct pl_field *field, const char *a, const char *b)
{
	int sign;

	if (!a || !b)
		return a == b;
	if (field->type == PL_FIELD_DECIMAL && pl_decimal_cmp_text(a, b, &sign) == 0)
		return sign == 0;
	return strcmp(a, b) == 0;
}

bool pl_conflict_read_same(const struct pl_resource *resource, const struct pl_recorded_conflict *recorded,
                           const char *const *values, bool deleted)
{
	if (deleted || recorded->visible_deleted)
		return deleted == recorded->visible_deleted;
	for (int f = 0; f < resource->nfields; f++)
		if (!same_value(&resource->fields[f], values[f], recorded->visible[f]))
			return false;
	return true;
}
