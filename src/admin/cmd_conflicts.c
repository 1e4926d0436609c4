// plist-admin conflicts list|show: concurrent writes of one record, and how they were
// resolved.
//
// Each region records the conflicts that it detected, so the same conflict appears in
// several regions under different numbers. `conflicts restore` is in
// cmd_conflicts_restore.c.
#include "admin/commands.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "admin/cell.h"
#include "admin/messages.h"
#include "admin/numbered.h"
#include "admin/pages.h"
#include "admin/parse.h"
#include "admin/region_sessions.h"
#include "admin/table.h"
#include "base/buf.h"
#include "base/clock.h"
#include "base/json.h"
#include "decide/decide.h"

#define LIMIT 50

enum {
	REGION,
	ID,
	DETECTED,
	RESOURCE,
	RECORD,
	TYPE,
	STATE,
	WRITES,
	POLICY,
	VERDICT,
	ERROR,
	CLOSED,
	POLICY_HASH,
	SIBLINGS,
	VERDICT_JSON,
	VISIBLE,
	VECTOR,
	TOPIC,
	PARTITION,
	OFFSET
};

// clang-format off
static const struct pl_table_column columns[] = {
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
// clang-format on

enum {
	C_ID,
	C_DETECTED,
	C_RESOURCE,
	C_RECORD,
	C_TYPE,
	C_CLOSED,
	C_POLICY,
	C_POLICY_HASH,
	C_ERROR,
	C_SIBLINGS,
	C_VERDICT,
	C_VISIBLE,
	C_VECTOR,
	C_TOPIC,
	C_PARTITION,
	C_OFFSET
};

#define SELECT                                                                                       \
	"SELECT id, " PL_EPOCH("detected_at") ", resource, record_id, type, " PL_EPOCH(              \
		"closed_at") ", policy_name, policy_sha256,"                                         \
			     " policy_error, siblings, verdict, visible, vector, topic, partition, " \
			     "kafka_offset FROM plist.conflicts"

// ---- the siblings

// The JSON columns of a conflict, parsed; NULL if they cannot be parsed.
struct writes {
	cJSON *siblings, *verdict, *visible;
};

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

// The index of the visible sibling, from 0; -1 if they were merged.
static int taken(const struct writes *writes)
{
	int64_t take;
	const cJSON *item = writes->verdict ? pl_json_get(writes->verdict, "take") : NULL;
	return item && pl_json_int64(item, &take) == 0 && take >= 1 &&
	                       take <= cJSON_GetArraySize(writes->siblings)
	               ? (int)take - 1
	               : -1;
}

// "us:5": origin and counter.
static void dot_of(const cJSON *sibling, struct pl_buf *buf)
{
	const char *origin = pl_json_string(sibling, "origin");
	const cJSON *item = pl_json_get(sibling, "counter");
	int64_t counter = 0;
	if (item)
		(void)pl_json_int64(item, &counter);
	pl_buf_printf(buf, "%s:%" PRId64, origin ? origin : "?", counter);
}

// A value for people. A missing value stays NULL; JSON's null is printed as "null".
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

static void set_violated(struct pl_buf *text, const char *fields, const struct writes *writes)
{
	const cJSON *counted = pl_json_get(writes->verdict, "records");
	int64_t records = 0;
	pl_buf_printf(text, "%s violated%s", fields,
	              pl_json_get(writes->verdict, "written") ? ", changed here" : "");
	if (counted && pl_json_int64(counted, &records) == 0 &&
	    records > cJSON_GetArraySize(writes->siblings))
		pl_buf_printf(text, " (by %" PRId64 " records)", records);
}

static void set_verdict(struct pl_table *table, const struct writes *writes)
{
	struct pl_buf text = { 0 };
	int take = taken(writes);
	const char *fields = writes->verdict ? pl_json_string(writes->verdict, "fields") : NULL;
	if (fields) // a violation
		set_violated(&text, fields, writes);
	else if (take >= 0)
		dot_of(cJSON_GetArrayItem(writes->siblings, take), &text);
	else
		pl_buf_adds(&text, "a merge");
	if (writes->visible && cJSON_IsTrue(pl_json_get(writes->visible, "deleted")))
		pl_buf_adds(&text, " (deleted)");
	pl_table_text(table, VERDICT, text.data);
	pl_buf_fini(&text);
}

static void add_row(struct pl_table *table, const struct pl_region_session *region_session,
                    const PGresult *result, int i)
{
	struct writes writes;
	bool closed = pl_cell(result, i, C_CLOSED) != NULL;
	writes_init(&writes, result, i);
	pl_table_row(table);
	pl_table_text(table, REGION, region_session->region->name);
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

// The filters as parameters of one statement. An unused filter is NULL and matches
// everything.
#define FILTER                                                                                \
	" WHERE ($1::timestamptz IS NULL OR detected_at >= $1) "                              \
	"AND ($2::timestamptz IS NULL OR detected_at < $2)"                                   \
	" AND ($3::text IS NULL OR resource = $3) AND ($4::bigint IS NULL OR record_id = $4)" \
	" AND ($5::text IS NULL OR policy_name = $5) AND ($6::text IS NULL OR type = $6)"     \
	" AND ($7::boolean IS NULL OR (closed_at IS NULL) = $7) "                             \
	"ORDER BY detected_at DESC, id DESC LIMIT $8"

#define BYTES                                                                                              \
	"octet_length(siblings::text) + coalesce(octet_length(verdict::text), 0) + coalesce(octet_length(" \
	"visible::text), 0)"

struct listing {
	struct pl_table *table;
	const struct pl_region_session *session;
};

static void add_page(void *arg, const PGresult *page)
{
	struct listing *listing = arg;
	for (int row = 0; row < PQntuples(page); row++)
		add_row(listing->table, listing->session, page, row);
}

static void add_region(struct pl_table *table, struct pl_region_session *session, const char *const *params)
{
	struct listing listing = { table, session };
	pl_pages_read(session, &(struct pl_pages){ "SELECT id, " BYTES " FROM plist.conflicts" FILTER, 8,
	                                           params, SELECT PL_PAGES_IN_ORDER, add_page, &listing });
}

static const char *time_param(struct pl_invocation *invocation, const char *option)
{
	char text[PL_TIME_TEXT_MAX];
	return pl_invocation_has(invocation, option)
	               ? pl_arena_strdup(invocation->arena,
	                                 pl_clock_format_time(pl_invocation_us(invocation, option, 0), text))
	               : NULL;
}

static int list(struct pl_invocation *invocation)
{
	struct pl_region_sessions sessions;
	bool open = pl_invocation_has(invocation, "open"), closed = pl_invocation_has(invocation, "closed");
	int rc = pl_invocation_regions(invocation);
	if (rc)
		return rc;
	if (pl_invocation_has(invocation, "since") && pl_invocation_has(invocation, "until") &&
	    pl_invocation_us(invocation, "since", 0) >= pl_invocation_us(invocation, "until", 0)) {
		pl_fail("--since must be before --until");
		return PL_EXIT_USAGE;
	}
	const char *params[] = {
		time_param(invocation, "since"),
		time_param(invocation, "until"),
		pl_invocation_text(invocation, "resource", NULL),
		pl_invocation_text(invocation, "key", NULL),
		pl_invocation_text(invocation, "policy", NULL),
		pl_invocation_text(invocation, "type", NULL),
		open == closed ? NULL
		: open         ? "t"
			       : "f",
		pl_arena_printf(invocation->arena, "%" PRId64,
		                pl_invocation_number(invocation, "limit", LIMIT)),
	};
	struct pl_table *table = pl_table_new("conflicts", columns);
	pl_region_sessions_open(invocation, &sessions, pl_invocation_timeout_us(invocation));
	pl_numbered_hold(invocation, table);
	for (int i = 0; i < sessions.n; i++)
		add_region(table, &sessions.each[i], params);
	rc = pl_region_sessions_exit(&sessions, PL_EXIT_YES);
	const char *named = pl_invocation_text(invocation, "resource", NULL);
	// A name that the configuration no longer has may have left conflicts.
	if (rc == PL_EXIT_YES && named && pl_table_rows(table) == 0 &&
	    !pl_config_resource(invocation->config, named))
		rc = pl_invocation_unknown_resource(invocation, named);
	if (rc != PL_EXIT_USAGE)
		pl_table_print(invocation, table, rc == PL_EXIT_YES ? "no conflicts" : NULL);
	pl_numbered_say_left_out(invocation, table, "conflicts show");
	pl_table_free(&table);
	pl_region_sessions_close(&sessions);
	return rc;
}

// ---- side by side

// The columns of one conflict: the label, each sibling, and the visible row.
static struct pl_table_column *side_columns(struct pl_arena *arena, const struct writes *writes)
{
	int n = cJSON_GetArraySize(writes->siblings), take = taken(writes);
	struct pl_table_column *side = pl_arena_alloc(arena, (size_t)(n + 3) * sizeof(*side));
	side[0] = (struct pl_table_column){ "", PL_CELL_TEXT };
	for (int i = 0; i < n; i++) {
		struct pl_buf name = { 0 };
		dot_of(cJSON_GetArrayItem(writes->siblings, i), &name);
		pl_buf_adds(&name, i == take ? " *" : "");
		side[1 + i] = (struct pl_table_column){ pl_arena_strdup(arena, name.data), PL_CELL_TEXT,
			                                PL_COLUMN_AS_IS };
		pl_buf_fini(&name);
	}
	side[1 + n] = (struct pl_table_column){ "shown", PL_CELL_TEXT };
	return side;
}

// One line of the comparison. `of` extracts the value from a sibling or from the
// visible row. In a merge, each value that was used is marked.
static void add_side(struct pl_table *table, struct pl_arena *arena, const struct writes *writes,
                     const char *name, const cJSON *(*of)(const cJSON *write, const char *name))
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

// The fields in the order of the configuration, then those that it no longer has.
static void add_fields(struct pl_table *table, struct pl_invocation *invocation, const struct writes *writes,
                       const char *resource_name)
{
	const struct pl_resource *resource = pl_config_resource(invocation->config, resource_name);
	const cJSON *first = pl_json_get(cJSON_GetArrayItem(writes->siblings, 0), "fields"), *item;
	for (int i = 0; resource && i < resource->nfields; i++)
		add_side(table, invocation->arena, writes, resource->fields[i].name, field);
	cJSON_ArrayForEach (item, first)
		if (!resource || pl_config_field(resource, item->string, strlen(item->string)) < 0)
			add_side(table, invocation->arena, writes, item->string, field);
}

static void print_sides(struct pl_invocation *invocation, const PGresult *result, int row)
{
	// the id where the writes are of two records
	static const char *const members[] = { "id", "deleted", "updated_at", "vector", "request_id" };
	struct writes writes;
	writes_init(&writes, result, row);
	if (cJSON_IsArray(writes.siblings) && cJSON_GetArraySize(writes.siblings) > 0) {
		struct pl_table *table = pl_table_new("writes", side_columns(invocation->arena, &writes));
		add_fields(table, invocation, &writes, pl_cell(result, row, C_RESOURCE));
		bool two = pl_json_get(cJSON_GetArrayItem(writes.siblings, 0), "id") != NULL;
		for (size_t i = two ? 0 : 1; i < sizeof(members) / sizeof(*members); i++)
			add_side(table, invocation->arena, &writes, members[i], member);
		putchar('\n');
		pl_table_print(invocation, table, NULL);
		pl_table_free(&table);
	}
	writes_fini(&writes);
}

static int show(struct pl_invocation *invocation)
{
	const struct pl_region *region;
	struct pl_region_sessions sessions;
	int64_t id;
	int rc = pl_invocation_regions(invocation);
	if (!rc)
		rc = pl_region_sessions_parse_id(invocation, invocation->args[0], &region, &id);
	if (rc)
		return rc;
	pl_invocation_only(invocation, region);
	const char *params[] = { pl_arena_printf(invocation->arena, "%" PRId64, id) };
	struct pl_table *all = pl_table_new("conflicts", columns);
	pl_region_sessions_open(invocation, &sessions, pl_invocation_timeout_us(invocation));
	for (int i = 0; i < sessions.n; i++) {
		PGresult *result = pl_region_sessions_query(
			&sessions.each[i], SELECT " WHERE id = $1 ORDER BY detected_at", 1, params);
		for (int row = 0; result && row < PQntuples(result); row++) {
			struct pl_table *one = pl_table_new("conflicts", columns);
			add_row(all, &sessions.each[i], result, row);
			add_row(one, &sessions.each[i], result, row);
			if (!invocation->json) {
				printf("%s", pl_table_rows(all) > 1 ? "\n" : "");
				pl_table_print_cards(invocation, one, NULL);
				print_sides(invocation, result, row);
			}
			pl_table_free(&one);
		}
		PQclear(result);
	}
	rc = pl_region_sessions_exit(&sessions, PL_EXIT_YES);
	if (invocation->json)
		pl_table_print(invocation, all, NULL);
	if (rc == PL_EXIT_YES && pl_table_rows(all) == 0) {
		pl_fail("there is no such conflict");
		rc = PL_EXIT_NO;
	}
	pl_table_free(&all);
	pl_region_sessions_close(&sessions);
	return rc;
}

static const struct pl_option conflicts_list_options[] = {
	{ "since", 0, PL_OPTION_TIME, "TIME",
	  "only those detected at or after this time: 2026-02-21T10:00:00Z, 2026-02-21, or 7d for seven days "
	  "ago" },
	{ "until", 0, PL_OPTION_TIME, "TIME", "only those detected before this time" },
	{ "resource", 0, PL_OPTION_RESOURCE, "NAME", "only those of this resource", .past = true },
	{ "key", 'k', PL_OPTION_COUNT, "ID", "only those of this record", .min = 1 },
	{ "policy", 'p', PL_OPTION_TEXT, "NAME", "only those decided by this policy" },
	{ "type", 't', PL_OPTION_CHOICE, "TYPE",
	  "only those of this type: insert_exists, update_origin_differs, update_deleted, "
	  "delete_origin_differs, delete_missing, created_twice, multiple_unique_conflicts or "
	  "reference_missing",
	  .choices = PL_DECIDE_CONFLICT_TYPES },
	{ "open", 0, PL_OPTION_SWITCH, NULL,
	  "only those whose siblings are still current, whose two records both exist, or whose records "
	  "still violate what they violated" },
	{ "closed", 0, PL_OPTION_SWITCH, NULL, "only those that are no longer open" },
	{ "limit", 'n', PL_OPTION_COUNT, "N", "maximum number per region (default: 50)", .max = 1000000,
	  .min = 1 },
	{ NULL },
};

const struct pl_command pl_cmd_conflicts_list = {
	.noun = "conflicts",
	.verb = "list",
	.summary = "list conflicts: concurrent writes of one record, and violations",
	.help = "Lists the conflicts that were detected when regions wrote the same record concurrently, "
		"newest first, and the violations of unique values and references that regions' writes have "
		"made together. Each region keeps its own list. A conflict is open while its siblings are "
		"current, both records of its pair exist, or its violation is there; then it is closed.",
	.options = conflicts_list_options,
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
	.summary = "show one conflict: its writes side by side",
	.help = "Shows one conflict: its writes side by side, field by field, and the policy that decided "
		"it. A star marks the write that is visible, or, for a merge, the values that were used. ID "
		"is the "
		"number from the list, or REGION/NUMBER.",
	.prints_data = true,
	.regions = true,
	.waits = true,
	.run = show,
};
