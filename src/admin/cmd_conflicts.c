// plist-admin conflicts list|show: what was detected when regions wrote the same record at the same time, and how it was decided.
//
// Each region records what it detected itself, so the same meeting of writes stands in several regions, under numbers of their own.
// The way back, `conflicts restore`, would stand beside it in a file of its own.
#include "admin/commands.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "admin/parse.h"
#include "admin/reach.h"
#include "admin/table.h"
#include "admin/talk.h"
#include "base/buf.h"
#include "base/clock.h"
#include "base/json.h"

#define LIMIT 50

enum { REGION, ID, DETECTED, RESOURCE, RECORD, TYPE, STATE, WRITES, POLICY, VERDICT, ERROR,
       CLOSED, POLICY_HASH, SIBLINGS, VERDICT_JSON, VISIBLE, VECTOR, TOPIC, PARTITION, OFFSET };

static const struct pl_column columns[] = {
	[REGION] = { "region", PL_CELL_TEXT },
	[ID] = { "id", PL_CELL_NUMBER },
	[DETECTED] = { "detected_at", PL_CELL_TEXT },
	[RESOURCE] = { "resource", PL_CELL_TEXT },
	[RECORD] = { "record_id", PL_CELL_NUMBER },
	[TYPE] = { "type", PL_CELL_TEXT },
	[STATE] = { "state", PL_CELL_TEXT },
	[WRITES] = { "writes", PL_CELL_NUMBER },
	[POLICY] = { "policy", PL_CELL_TEXT },
	[VERDICT] = { "shown", PL_CELL_TEXT },
	[ERROR] = { "policy_error", PL_CELL_TEXT, PL_COLUMN_CUT },
	[CLOSED] = { "closed_at", PL_CELL_TEXT, PL_COLUMN_DETAIL },
	[POLICY_HASH] = { "policy_sha256", PL_CELL_TEXT, PL_COLUMN_DETAIL },
	[SIBLINGS] = { "siblings", PL_CELL_JSON, PL_COLUMN_DATA },
	[VERDICT_JSON] = { "verdict", PL_CELL_JSON, PL_COLUMN_DATA },
	[VISIBLE] = { "visible", PL_CELL_JSON, PL_COLUMN_DATA },
	[VECTOR] = { "vector", PL_CELL_JSON, PL_COLUMN_DETAIL },
	[TOPIC] = { "topic", PL_CELL_TEXT, PL_COLUMN_DETAIL },
	[PARTITION] = { "partition", PL_CELL_NUMBER, PL_COLUMN_DETAIL },
	[OFFSET] = { "offset", PL_CELL_NUMBER, PL_COLUMN_DETAIL },
	{ NULL },
};

enum { C_ID, C_DETECTED, C_RESOURCE, C_RECORD, C_TYPE, C_CLOSED, C_POLICY, C_POLICY_HASH, C_ERROR, C_SIBLINGS, C_VERDICT, C_VISIBLE, C_VECTOR,
       C_TOPIC, C_PARTITION, C_OFFSET };

#define SELECT                                                                                                                      \
	"SELECT id, " PL_EPOCH("detected_at") ", resource, record_id, type, " PL_EPOCH("closed_at") ", policy_name, policy_sha256,"  \
	" policy_error, siblings, verdict, visible, vector, topic, partition, \"offset\" FROM conflicts"

// ---- the siblings

// What a conflict's columns of JSON say, parsed; NULL members where they say nothing that is understood.
struct writes { cJSON *siblings, *verdict, *visible; };

static cJSON *parse(const char *text)
{
	static const struct pl_json_limits limits = { 16 << 20, 16, 1000000 };
	struct pl_error err;
	return text ? pl_json_parse(text, strlen(text), &limits, &err) : NULL;
}

static void writes_init(struct writes *writes, const PGresult *result, int row)
{
	writes->siblings = parse(pl_cell(result, row, C_SIBLINGS));
	writes->verdict = parse(pl_cell(result, row, C_VERDICT));
	writes->visible = parse(pl_cell(result, row, C_VISIBLE));
}

static void writes_fini(struct writes *writes)
{
	cJSON_Delete(writes->siblings);
	cJSON_Delete(writes->verdict);
	cJSON_Delete(writes->visible);
}

// Which of the siblings is shown, from 0; -1 when they were merged.
static int taken(const struct writes *writes)
{
	int64_t take;
	const cJSON *item = writes->verdict ? pl_json_get(writes->verdict, "take") : NULL;
	return item && pl_json_int64(item, &take) == 0 && take >= 1 && take <= cJSON_GetArraySize(writes->siblings) ? (int)take - 1 : -1;
}

// "us:5": whose write, and the how manyth.
static void dot_of(const cJSON *sibling, struct pl_buf *buf)
{
	const char *origin = pl_json_string(sibling, "origin");
	const cJSON *item = pl_json_get(sibling, "counter");
	int64_t counter = 0;
	if (item)
		(void)pl_json_int64(item, &counter);
	pl_buf_printf(buf, "%s:%" PRId64, origin ? origin : "?", counter);
}

// A value for people. NULL for what is not there; "null" is said, because it is a value.
static const char *value_text(struct pl_arena *arena, const cJSON *value)
{
	struct pl_buf buf = { 0 };
	if (!value)
		return NULL;
	if (cJSON_IsString(value))
		return value->valuestring;
	pl_json_print(&buf, value);
	const char *text = pl_arena_strdup(arena, buf.data);
	pl_buf_fini(&buf);
	return text;
}

// ---- the list

static void set_verdict(struct pl_table *table, const struct writes *writes)
{
	struct pl_buf text = { 0 };
	int take = taken(writes);
	if (take >= 0)
		dot_of(cJSON_GetArrayItem(writes->siblings, take), &text);
	else
		pl_buf_adds(&text, "a merge");
	if (writes->visible && cJSON_IsTrue(pl_json_get(writes->visible, "deleted")))
		pl_buf_adds(&text, " (deleted)");
	pl_table_text(table, VERDICT, text.data);
	pl_buf_fini(&text);
}

static void add_row(struct pl_table *table, const struct pl_reach *reach, const PGresult *result, int i)
{
	struct writes writes;
	bool closed = pl_cell(result, i, C_CLOSED) != NULL;
	writes_init(&writes, result, i);
	pl_table_row(table);
	pl_table_text(table, REGION, reach->region->name);
	pl_table_number(table, ID, pl_cell_int(result, i, C_ID, 0));
	pl_table_time(table, DETECTED, pl_cell_time(result, i, C_DETECTED));
	pl_table_text(table, RESOURCE, pl_cell(result, i, C_RESOURCE));
	pl_table_number(table, RECORD, pl_cell_int(result, i, C_RECORD, 0));
	pl_table_text(table, TYPE, pl_cell(result, i, C_TYPE));
	pl_table_text(table, STATE, closed ? "closed" : "open");
	pl_table_tone(table, STATE, closed ? PL_TONE_PLAIN : PL_TONE_DOUBT);
	pl_table_number(table, WRITES, cJSON_GetArraySize(writes.siblings));
	pl_table_text(table, POLICY, pl_cell(result, i, C_POLICY));
	set_verdict(table, &writes);
	pl_table_text(table, ERROR, pl_cell(result, i, C_ERROR));
	pl_table_tone(table, ERROR, PL_TONE_BAD);
	pl_table_time(table, CLOSED, pl_cell_time(result, i, C_CLOSED));
	pl_table_text(table, POLICY_HASH, pl_cell(result, i, C_POLICY_HASH));
	pl_table_json(table, SIBLINGS, pl_cell(result, i, C_SIBLINGS));
	pl_table_json(table, VERDICT_JSON, pl_cell(result, i, C_VERDICT));
	pl_table_json(table, VISIBLE, pl_cell(result, i, C_VISIBLE));
	pl_table_json(table, VECTOR, pl_cell(result, i, C_VECTOR));
	pl_table_text(table, TOPIC, pl_cell(result, i, C_TOPIC));
	if (pl_cell(result, i, C_PARTITION))
		pl_table_number(table, PARTITION, pl_cell_int(result, i, C_PARTITION, 0));
	if (pl_cell(result, i, C_OFFSET))
		pl_table_number(table, OFFSET, pl_cell_int(result, i, C_OFFSET, 0));
	writes_fini(&writes);
}

// The filters as parameters of one statement: what is not asked for is NULL and lets everything pass.
#define FILTER                                                                                                   \
	" WHERE ($1::timestamptz IS NULL OR detected_at >= $1) AND ($2::timestamptz IS NULL OR detected_at < $2)"  \
	" AND ($3::text IS NULL OR resource = $3) AND ($4::bigint IS NULL OR record_id = $4)"                      \
	" AND ($5::text IS NULL OR policy_name = $5) AND ($6::text IS NULL OR type = $6)"                          \
	" AND ($7::boolean IS NULL OR (closed_at IS NULL) = $7) ORDER BY detected_at DESC, id DESC LIMIT $8"

static const char *time_param(struct pl_call *call, const char *option)
{
	char text[PL_TIME_TEXT_MAX];
	return pl_call_has(call, option) ? pl_arena_strdup(call->arena, pl_time_format(pl_call_us(call, option, 0), text)) : NULL;
}

static int list(struct pl_call *call)
{
	struct pl_reaches reaches;
	bool open = pl_call_has(call, "open"), closed = pl_call_has(call, "closed");
	int rc = pl_call_regions(call);
	if (rc)
		return rc;
	const char *params[] = {
		time_param(call, "since"), time_param(call, "until"), pl_call_text(call, "resource", NULL), pl_call_text(call, "key", NULL),
		pl_call_text(call, "policy", NULL), pl_call_text(call, "type", NULL), open == closed ? NULL : open ? "t" : "f",
		pl_arena_printf(call->arena, "%" PRId64, pl_call_number(call, "limit", LIMIT)),
	};
	struct pl_table *table = pl_table_new("conflicts", columns);
	pl_reaches_open(call, &reaches, pl_call_timeout_us(call));
	for (int i = 0; i < reaches.n; i++) {
		PGresult *result = pl_reach_query(&reaches.each[i], SELECT FILTER, 8, params);
		for (int row = 0; result && row < PQntuples(result); row++)
			add_row(table, &reaches.each[i], result, row);
		PQclear(result);
	}
	rc = pl_reaches_exit(&reaches, PL_EXIT_YES);
	pl_table_print(call, table, rc == PL_EXIT_YES ? "no conflicts" : NULL);
	pl_table_free(&table);
	pl_reaches_close(&reaches);
	return rc;
}

// ---- side by side

// The columns of one conflict: what, each of the siblings, what is shown.
static struct pl_column *side_columns(struct pl_arena *arena, const struct writes *writes)
{
	int n = cJSON_GetArraySize(writes->siblings), take = taken(writes);
	struct pl_column *side = pl_arena_alloc(arena, (size_t)(n + 3) * sizeof *side);
	side[0] = (struct pl_column){ "", PL_CELL_TEXT };
	for (int i = 0; i < n; i++) {
		struct pl_buf name = { 0 };
		dot_of(cJSON_GetArrayItem(writes->siblings, i), &name);
		pl_buf_adds(&name, i == take ? " *" : "");
		side[1 + i] = (struct pl_column){ pl_arena_strdup(arena, name.data), PL_CELL_TEXT, PL_COLUMN_AS_IS };
		pl_buf_fini(&name);
	}
	side[1 + n] = (struct pl_column){ "shown", PL_CELL_TEXT };
	return side;
}

// One line of the comparison. `of` finds the value in a sibling, and in what is shown. Of a merge, each value that went into it is marked.
static void add_side(struct pl_table *table, struct pl_arena *arena, const struct writes *writes, const char *name,
                     const cJSON *(*of)(const cJSON *write, const char *name))
{
	int n = cJSON_GetArraySize(writes->siblings), take = taken(writes);
	const char *shown = writes->visible ? value_text(arena, of(writes->visible, name)) : NULL;
	pl_table_row(table);
	pl_table_text(table, 0, name);
	for (int i = 0; i < n; i++) {
		const char *text = value_text(arena, of(cJSON_GetArrayItem(writes->siblings, i), name));
		bool merged = take < 0 && text && shown && strcmp(text, shown) == 0;
		pl_table_text(table, 1 + i, text && merged ? pl_arena_printf(arena, "%s *", text) : text);
		pl_table_tone(table, 1 + i, merged || i == take ? PL_TONE_STRONG : PL_TONE_PLAIN);
	}
	pl_table_text(table, 1 + n, shown);
	pl_table_tone(table, 1 + n, PL_TONE_STRONG);
}

static const cJSON *member(const cJSON *write, const char *name)
{
	return pl_json_get(write, name);
}

static const cJSON *field(const cJSON *write, const char *name)
{
	const cJSON *fields = pl_json_get(write, "fields");
	return fields ? pl_json_get(fields, name) : NULL;
}

// The fields in the configuration's order; then those that it no longer has.
static void add_fields(struct pl_table *table, struct pl_call *call, const struct writes *writes, const char *resource_name)
{
	const struct pl_resource *resource = pl_config_resource(call->config, resource_name);
	const cJSON *first = pl_json_get(cJSON_GetArrayItem(writes->siblings, 0), "fields"), *item;
	for (int i = 0; resource && i < resource->nfields; i++)
		add_side(table, call->arena, writes, resource->fields[i].name, field);
	cJSON_ArrayForEach(item, first)
		if (!resource || pl_resource_field(resource, item->string, strlen(item->string)) < 0)
			add_side(table, call->arena, writes, item->string, field);
}

static void print_sides(struct pl_call *call, const PGresult *result, int row)
{
	static const char *const members[] = { "deleted", "updated_at", "vector", "request_id" };
	struct writes writes;
	writes_init(&writes, result, row);
	if (cJSON_IsArray(writes.siblings) && cJSON_GetArraySize(writes.siblings) > 0) {
		struct pl_table *table = pl_table_new("writes", side_columns(call->arena, &writes));
		add_fields(table, call, &writes, pl_cell(result, row, C_RESOURCE));
		for (size_t i = 0; i < sizeof members / sizeof *members; i++)
			add_side(table, call->arena, &writes, members[i], member);
		putchar('\n');
		pl_table_print(call, table, NULL);
		pl_table_free(&table);
	}
	writes_fini(&writes);
}

static int show(struct pl_call *call)
{
	const struct pl_region *region;
	struct pl_reaches reaches;
	int64_t id;
	int rc = pl_call_regions(call);
	if (!rc)
		rc = pl_reach_id(call, call->args[0], &region, &id);
	if (rc)
		return rc;
	pl_call_only(call, region);
	const char *params[] = { pl_arena_printf(call->arena, "%" PRId64, id) };
	struct pl_table *all = pl_table_new("conflicts", columns);
	pl_reaches_open(call, &reaches, pl_call_timeout_us(call));
	for (int i = 0; i < reaches.n; i++) {
		PGresult *result = pl_reach_query(&reaches.each[i], SELECT " WHERE id = $1 ORDER BY detected_at", 1, params);
		for (int row = 0; result && row < PQntuples(result); row++) {
			struct pl_table *one = pl_table_new("conflicts", columns);
			add_row(all, &reaches.each[i], result, row);
			add_row(one, &reaches.each[i], result, row);
			if (!call->json) {
				printf("%s", pl_table_rows(all) > 1 ? "\n" : "");
				pl_table_print_cards(call, one, NULL);
				print_sides(call, result, row);
			}
			pl_table_free(&one);
		}
		PQclear(result);
	}
	rc = pl_reaches_exit(&reaches, pl_table_rows(all) ? PL_EXIT_YES : PL_EXIT_NO);
	if (call->json)
		pl_table_print(call, all, NULL);
	if (rc == PL_EXIT_NO)
		pl_say("there is no such conflict");
	pl_table_free(&all);
	pl_reaches_close(&reaches);
	return rc;
}

const struct pl_command pl_cmd_conflicts_list = {
	.noun = "conflicts",
	.verb = "list",
	.summary = "records that regions wrote at the same time",
	.help = "Lists what was detected when regions wrote the same record before hearing of each other, the newest first. Each region keeps its "
	        "own list. Open: the writes still stand beside each other; closed: a later write has replaced them all.",
	.options = (const struct pl_option[]){
		{ "since", 0, PL_OPTION_TIME, "TIME", "detected then or later: 2026-02-21T10:00:00Z, 2026-02-21, or 7d ago" },
		{ "until", 0, PL_OPTION_TIME, "TIME", "detected before then" },
		{ "resource", 0, PL_OPTION_RESOURCE, "NAME", "of this resource" },
		{ "key", 'k', PL_OPTION_COUNT, "ID", "of this record" },
		{ "policy", 'p', PL_OPTION_TEXT, "NAME", "decided by this policy" },
		{ "type", 't', PL_OPTION_TEXT, "TYPE", "of this type: update_origin_differs, update_deleted, …" },
		{ "open", 0, PL_OPTION_SWITCH, NULL, "whose writes still stand beside each other" },
		{ "closed", 0, PL_OPTION_SWITCH, NULL, "whose writes were replaced by a later one" },
		{ "limit", 'n', PL_OPTION_COUNT, "N", "at most this many per region (default: 50)" },
		{ NULL },
	},
	.prints_data = true,
	.regions = true,
	.waits = true,
	.run = list,
};

const struct pl_command pl_cmd_conflicts_show = {
	.noun = "conflicts",
	.verb = "show",
	.arguments = "ID",
	.min_args = 1,
	.max_args = 1,
	.summary = "one of them: the writes side by side, and what is shown",
	.help = "Shows one conflict: its writes side by side, field by field, the one that is shown marked with a star (of a merge: the values that "
	        "went into it), and the policy that decided. ID is the number from the list, or REGION/NUMBER.",
	.prints_data = true,
	.regions = true,
	.waits = true,
	.run = show,
};
