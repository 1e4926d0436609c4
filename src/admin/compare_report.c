// The result of a comparison, as tables and as JSON. The page is in compare_html.c.
// Threads: the tool has one.
#include "admin/compare_report.h"

#include <string.h>

#include "admin/format.h"
#include "admin/messages.h"
#include "base/json.h"

static const struct pl_json_limits limits = { .bytes = 4 << 20, .depth = 16, .nodes = 4096 };

// ---- values

const char *pl_compare_report_value(struct pl_arena *arena, const struct pl_scan_copy *copy,
                                    const char *field)
{
	struct pl_buf text = { 0 };
	cJSON *json;
	const cJSON *item;
	const char *value;
	if (!copy->copy.exists)
		return NULL;
	json = pl_json_parse(copy->fields, strlen(copy->fields), &limits, NULL);
	item = pl_json_get(json, field);
	if (item)
		pl_json_print(&text, item);
	value = pl_arena_strndup(arena, item ? text.data : "?", item ? text.len : 1);
	pl_buf_fini(&text);
	cJSON_Delete(json);
	return value;
}

// Whether the existing copies do not agree on the field.
static bool field_differs(struct pl_arena *arena, const struct pl_found *found, int ncopies,
                          const char *field)
{
	const char *first = NULL;
	for (int i = 0; i < ncopies; i++) {
		const char *value = pl_compare_report_value(arena, &found->copies[i], field);
		if (value && first && strcmp(value, first) != 0)
			return true;
		first = value ? value : first;
	}
	return false;
}

// The fields on which copies differ, with this copy's values; all fields if only one
// region has the record.
static const char *values_text(struct pl_arena *arena, const struct pl_comparison *c,
                               const struct pl_found *found, int copy)
{
	struct pl_buf text = { 0 };
	int exist = 0;
	const char *out;
	for (int i = 0; i < c->scan.n; i++)
		exist += found->copies[i].copy.exists;
	for (int f = 0; f < c->resource->nfields; f++) {
		const char *name = c->resource->fields[f].name;
		const char *value = pl_compare_report_value(arena, &found->copies[copy], name);
		if (value && (exist == 1 || field_differs(arena, found, c->scan.n, name)))
			pl_buf_printf(&text, "%s%s %s", text.len ? ", " : "", name, value);
	}
	out = text.len ? pl_arena_strndup(arena, text.data, text.len) : NULL;
	pl_buf_fini(&text);
	return out;
}

// ---- JSON of a difference

static void add_copy(struct pl_buf *json, const struct pl_region *region, const struct pl_scan_copy *copy,
                     enum pl_copy_state state)
{
	pl_buf_printf(json, "{\"region\":\"%s\",\"state\":\"%s\"", region->name,
	              pl_classify_state_name(state));
	if (copy->copy.exists) {
		pl_buf_printf(json, ",\"vector\":%s,\"version\":%s,\"updated_at\":", copy->vector,
		              copy->version);
		pl_buf_add_json(json, copy->updated_at, copy->updated_at ? strlen(copy->updated_at) : 0);
		pl_buf_adds(json, ",\"region_origin\":");
		pl_buf_add_json(json, copy->origin, copy->origin ? strlen(copy->origin) : 0);
		pl_buf_printf(json, ",\"deleted\":%s,\"fields\":%s", copy->deleted ? "true" : "false",
		              copy->fields);
	}
	pl_buf_printf(json, ",\"siblings\":%s}", copy->siblings ? copy->siblings : "[]");
}

void pl_compare_report_copies(struct pl_buf *json, const struct pl_comparison *c,
                              const struct pl_found *found)
{
	for (int i = 0; i < c->scan.n; i++) {
		pl_buf_addc(json, i ? ',' : '[');
		add_copy(json, c->sessions->each[i].region, &found->copies[i], found->is.state[i]);
	}
	pl_buf_addc(json, ']');
}

static void add_differing_fields(struct pl_buf *json, const struct pl_comparison *c,
                                 const struct pl_found *found)
{
	bool any = false;
	pl_buf_addc(json, '[');
	for (int f = 0; f < c->resource->nfields; f++)
		if (field_differs(c->arena, found, c->scan.n, c->resource->fields[f].name)) {
			pl_buf_printf(json, "%s\"%s\"", any ? "," : "", c->resource->fields[f].name);
			any = true;
		}
	pl_buf_addc(json, ']');
}

// ---- tables

enum {
	R_RESOURCE,
	R_RECORDS,
	R_MISSING,
	R_BEHIND,
	R_CONCURRENT,
	R_SIBLINGS,
	R_CONTENT,
	R_UNSETTLED,
	R_ON_ITS_WAY,
	R_SECONDS
};

// clang-format off
static const struct pl_table_column resource_columns[] = {
	[R_RESOURCE] = { "resource", PL_CELL_TEXT },
	[R_RECORDS] = { "records", PL_CELL_NUMBER },
	[R_MISSING] = { "missing", PL_CELL_NUMBER },
	[R_BEHIND] = { "behind", PL_CELL_NUMBER },
	[R_CONCURRENT] = { "concurrent", PL_CELL_NUMBER },
	[R_SIBLINGS] = { "siblings_differ", PL_CELL_NUMBER },
	[R_CONTENT] = { "content_differs", PL_CELL_NUMBER },
	[R_UNSETTLED] = { "unsettled", PL_CELL_NUMBER },
	[R_ON_ITS_WAY] = { "on_its_way", PL_CELL_NUMBER, PL_COLUMN_DATA },
	[R_SECONDS] = { "seconds", PL_CELL_NUMBER },
	{ NULL },
};

enum { D_RECORD, D_DIFFERENCE, D_REGION, D_COPY, D_VERSION, D_VECTOR, D_UPDATED_AT, D_VALUES };

static const struct pl_table_column people_columns[] = {
	[D_RECORD] = { "record", PL_CELL_TEXT },
	[D_DIFFERENCE] = { "difference", PL_CELL_TEXT },
	[D_REGION] = { "region", PL_CELL_TEXT },
	[D_COPY] = { "copy", PL_CELL_TEXT },
	[D_VERSION] = { "version", PL_CELL_TEXT },
	[D_VECTOR] = { "vector", PL_CELL_TEXT },
	[D_UPDATED_AT] = { "updated_at", PL_CELL_TEXT },
	[D_VALUES] = { "values", PL_CELL_TEXT, PL_COLUMN_CUT },
	{ NULL },
};

enum { J_RESOURCE, J_ID, J_DIFFERENCE, J_FIELDS, J_COPIES };

static const struct pl_table_column data_columns[] = {
	[J_RESOURCE] = { "resource", PL_CELL_TEXT },
	[J_ID] = { "id", PL_CELL_NUMBER },
	[J_DIFFERENCE] = { "difference", PL_CELL_TEXT },
	[J_FIELDS] = { "differing_fields", PL_CELL_JSON },
	[J_COPIES] = { "copies", PL_CELL_JSON },
	{ NULL },
};
// clang-format on

static int64_t records_of(const struct pl_comparison *c)
{
	int64_t most = 0;
	for (int i = 0; i < c->scan.n; i++)
		most = c->scan.rows[i] > most ? c->scan.rows[i] : most;
	return most;
}

static void add_resource(struct pl_table *table, const struct pl_comparison *c)
{
	static const int columns[] = { [PL_DIFFERENCE_MISSING] = R_MISSING,
		                       [PL_DIFFERENCE_BEHIND] = R_BEHIND,
		                       [PL_DIFFERENCE_CONCURRENT] = R_CONCURRENT,
		                       [PL_DIFFERENCE_SIBLINGS] = R_SIBLINGS,
		                       [PL_DIFFERENCE_CONTENT] = R_CONTENT };
	pl_table_row(table);
	pl_table_text(table, R_RESOURCE, c->resource->name);
	pl_table_number(table, R_RECORDS, records_of(c));
	for (int i = PL_DIFFERENCE_MISSING; i < PL_DIFFERENCES; i++) {
		pl_table_number(table, columns[i], c->counts[i]);
		pl_table_tone(table, columns[i], c->counts[i] ? PL_TONE_BAD : PL_TONE_GOOD);
	}
	pl_table_number(table, R_UNSETTLED, c->unsettled);
	pl_table_number(table, R_ON_ITS_WAY, c->passed);
	pl_table_seconds(table, R_SECONDS, c->seconds);
}

static void add_for_people(struct pl_table *table, const struct pl_comparison *c,
                           const struct pl_found *found)
{
	for (int i = 0; i < c->scan.n; i++) {
		const struct pl_scan_copy *copy = found->copies ? &found->copies[i] : NULL;
		pl_table_row(table);
		if (i == 0) {
			pl_table_printf(table, D_RECORD, "%s/%lld", c->resource->name, (long long)found->id);
			pl_table_text(table, D_DIFFERENCE, pl_classify_name(found->is.difference));
			pl_table_tone(table, D_DIFFERENCE, PL_TONE_STRONG);
		}
		pl_table_text(table, D_REGION, c->sessions->each[i].region->name);
		pl_table_printf(table, D_COPY, "%s%s", pl_classify_state_name(found->is.state[i]),
		                copy && copy->deleted ? ", deleted" : "");
		if (!copy)
			continue;
		pl_table_text(table, D_VERSION, copy->version);
		pl_table_text(table, D_VECTOR, copy->vector);
		pl_table_text(table, D_UPDATED_AT, copy->updated_at);
		pl_table_text(table, D_VALUES, values_text(c->arena, c, found, i));
	}
}

static void add_as_data(struct pl_table *table, const struct pl_comparison *c, const struct pl_found *found)
{
	struct pl_buf json = { 0 };
	pl_table_row(table);
	pl_table_text(table, J_RESOURCE, c->resource->name);
	pl_table_number(table, J_ID, found->id);
	pl_table_text(table, J_DIFFERENCE, pl_classify_name(found->is.difference));
	if (!found->copies)
		return;
	add_differing_fields(&json, c, found);
	pl_table_json(table, J_FIELDS, json.data);
	pl_buf_reset(&json);
	pl_compare_report_copies(&json, c, found);
	pl_table_json(table, J_COPIES, json.data);
	pl_buf_fini(&json);
}

void pl_compare_report_print(const struct pl_invocation *invocation, const struct pl_comparison *comparisons,
                             int n)
{
	struct pl_table *tables[] = { pl_table_new("resources", resource_columns),
		                      pl_table_new("differences",
		                                   invocation->json ? data_columns : people_columns) };
	bool any = invocation->json;
	for (int i = 0; i < n; i++) {
		const struct pl_comparison *c = &comparisons[i];
		add_resource(tables[0], c);
		for (int d = 0; d < c->nfound && d < c->limit; d++)
			(invocation->json ? add_as_data : add_for_people)(tables[1], c, &c->found[d]);
		any |= c->nfound > 0 && c->limit > 0;
	}
	pl_tables_print(invocation, any ? 2 : 1, tables, NULL);
	pl_table_free(&tables[0]);
	pl_table_free(&tables[1]);
}

// ---- sentences

void pl_compare_report_say_shown(const struct pl_comparison *comparisons, int n)
{
	char count[PL_COUNT_MAX];
	for (int i = 0; i < n; i++) {
		const struct pl_comparison *c = &comparisons[i];
		if (c->nfound > c->limit)
			pl_say("%s: the first %d of %s differences are shown; --limit shows more",
			       c->resource->name, c->limit, pl_format_count(c->nfound, count));
		if (c->without_copies)
			pl_say("%s: the copies of the last %s of them are not shown, since they are large; "
			       "'plist-admin compare --ids' shows single ones",
			       c->resource->name, pl_format_count(c->without_copies, count));
	}
}

void pl_compare_report_say(const struct pl_comparison *comparisons, int n)
{
	char count[PL_COUNT_MAX];
	for (int i = 0; i < n; i++) {
		const struct pl_comparison *c = &comparisons[i];
		if (c->scan.more)
			pl_warn("%s: more than %d records differ; the others were not compared. "
			        "Repair these, then compare again",
			        c->resource->name, PL_SCAN_IDS_MAX);
		if (c->unsettled)
			pl_fail("%s: %s records differ, but the events may still be in transit: %s",
			        c->resource->name, pl_format_count(c->unsettled, count), c->why);
	}
}
