// How configuration, tables and daemons differ: see schema_findings.h.
#include "admin/schema_findings.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "admin/cell.h"
#include "base/json.h"
#include "store/quote.h"
#include "store/statement.h"
#include "store/table_guards.h"
#include "store/table_lacks.h"

void pl_schema_findings_fini(struct pl_schema_findings *findings)
{
	free(findings->each);
	findings->each = NULL;
	findings->n = findings->cap = 0;
}

void pl_schema_findings_add(struct pl_schema_findings *f, const struct pl_schema_finding *finding)
{
	if (f->n == f->cap) {
		f->cap = f->cap ? 2 * f->cap : 16;
		f->each = pl_realloc(f->each, (size_t)f->cap * sizeof(f->each[0]));
	}
	f->each[f->n++] = *finding;
}

const char *pl_schema_findings_sql_type(const struct pl_field *field, char text[PL_SQL_TYPE_MAX])
{
	static const char *const names[] = {
		[PL_FIELD_INTEGER] = "INTEGER", [PL_FIELD_STRING] = "TEXT", [PL_FIELD_BOOLEAN] = "BOOLEAN"
	};
	if (field->type == PL_FIELD_DECIMAL)
		snprintf(text, PL_SQL_TYPE_MAX, "NUMERIC(%d,%d)", field->precision, field->scale);
	else
		snprintf(text, PL_SQL_TYPE_MAX, "%s", names[field->type]);
	return text;
}

// ---- columns

// A table that is being looked at.
struct table_look {
	struct pl_schema_findings *findings;
	struct pl_region_session *region_session;
	const struct pl_resource *resource;
	const char *table; // quoted
	PGresult *columns;
};

enum { C_NAME, C_TYPE, C_NOT_NULL, C_DEFAULT, C_REGISTERED, C_GENERATED, C_IDENTITY };

static const char columns_sql[] =
	"SELECT a.attname, format_type(a.atttypid, a.atttypmod), a.attnotnull, CASE WHEN a.attgenerated = '' "
	"THEN pg_get_expr(d.adbin, d.adrelid) END, EXISTS (SELECT FROM plist.resource_fields r WHERE "
	"r.resource = $2 AND r.name = a.attname), a.attgenerated <> '', a.attidentity <> '' FROM "
	"pg_attribute a LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum WHERE "
	"a.attrelid = to_regclass($1) AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum";

static void add(struct table_look *look, const char *object, const char *text, const char *run)
{
	pl_schema_findings_add(look->findings,
	                       &(struct pl_schema_finding){ look->region_session->region->name,
	                                                    look->resource->name, object, text, run, false });
}

static struct pl_schema_finding *last(struct table_look *look)
{
	return &look->findings->each[look->findings->n - 1];
}

// A difference with which daemons cannot use the table.
static void add_unfit(struct table_look *look, const char *object, const char *text, const char *run)
{
	add(look, object, text, run);
	last(look)->unfit = true;
}

static const char *quoted(struct table_look *look, const char *name)
{
	struct pl_buf buf = { 0 };
	pl_quote_name(&buf, name);
	const char *text = pl_arena_strndup(look->findings->arena, buf.data, buf.len);
	pl_buf_fini(&buf);
	return text;
}

static int column_named(const struct table_look *look, const char *name)
{
	for (int i = 0; i < PQntuples(look->columns); i++)
		if (strcmp(pl_cell(look->columns, i, C_NAME), name) == 0)
			return i;
	return -1;
}

// Whether every value of the field is stored in such a column, and read back as it was.
static bool type_ok(const struct pl_field *field, const char *type)
{
	int n, scale;
	switch (field->type) {
	case PL_FIELD_INTEGER: return strcmp(type, "integer") == 0 || strcmp(type, "bigint") == 0;
	case PL_FIELD_BOOLEAN: return strcmp(type, "boolean") == 0;
	case PL_FIELD_STRING:
		return strcmp(type, "text") == 0 || strcmp(type, "character varying") == 0 ||
		       (sscanf(type, "character varying(%d)", &n) == 1 && n >= field->max_length);
	case PL_FIELD_DECIMAL: // one with more digits after the point shows them
		return sscanf(type, "numeric(%d,%d)", &n, &scale) == 2 && n >= field->precision &&
		       scale == field->scale;
	}
	return false;
}

static bool is_number(const char *type)
{
	static const char *const names[] = { "smallint", "integer",          "bigint",
		                             "real",     "double precision", "numeric" };
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		if (strcmp(type, names[i]) == 0)
			return true;
	return strncmp(type, "numeric(", 8) == 0;
}

// Whether the column's values would be rounded when it gets the type that its field
// needs.
static bool would_round(const struct pl_field *field, const char *type)
{
	int n, scale, wanted = field->type == PL_FIELD_DECIMAL ? field->scale : 0;
	if (field->type != PL_FIELD_DECIMAL && field->type != PL_FIELD_INTEGER)
		return false;
	if (sscanf(type, "numeric(%d,%d)", &n, &scale) == 2)
		return scale > wanted;
	return strcmp(type, "numeric") == 0 || strcmp(type, "real") == 0 ||
	       strcmp(type, "double precision") == 0 || strcmp(type, "money") == 0;
}

// What PostgreSQL needs to be told to convert the column: it does so by itself to text
// and between numbers.
static const char *conversion(struct table_look *look, const struct pl_field *field, const char *name,
                              const char *type)
{
	char wanted[PL_SQL_TYPE_MAX];
	bool number = field->type == PL_FIELD_INTEGER || field->type == PL_FIELD_DECIMAL;
	if (field->type == PL_FIELD_STRING || (number && is_number(type)))
		return "";
	pl_schema_findings_sql_type(field, wanted);
	return pl_arena_printf(look->findings->arena, " USING %s::%s::%s", name,
	                       number && strcmp(type, "boolean") == 0 ? "integer"
	                       : number && strcmp(type, "money") == 0 ? "numeric"
	                                                              : "text",
	                       wanted);
}

static void look_at_type(struct table_look *look, const struct pl_field *field, const char *object,
                         const char *name, const char *type)
{
	struct pl_arena *arena = look->findings->arena;
	char wanted[PL_SQL_TYPE_MAX];
	pl_schema_findings_sql_type(field, wanted);
	if (type_ok(field, type))
		return;
	add_unfit(look, object,
	          pl_arena_printf(arena, "has the type %s; the configuration needs %s%s", type, wanted,
	                          would_round(field, type) ? "; its values would be rounded" : ""),
	          pl_arena_printf(arena, "ALTER TABLE %s ALTER COLUMN %s TYPE %s%s;", look->table, name,
	                          wanted, conversion(look, field, name, type)));
	last(look)->decide = would_round(field, type);
}

static void look_at_field(struct table_look *look, const struct pl_field *field)
{
	struct pl_arena *arena = look->findings->arena;
	char type[PL_SQL_TYPE_MAX];
	const char *object = pl_arena_printf(arena, "column %s", field->name),
		   *name = quoted(look, field->name);
	int i = column_named(look, field->name);
	pl_schema_findings_sql_type(field, type);
	if (i < 0) {
		add_unfit(
			look, object, "is missing",
			pl_arena_printf(arena, "ALTER TABLE %s ADD COLUMN %s %s;", look->table, name, type));
		return;
	}
	if (pl_cell(look->columns, i, C_GENERATED)[0] == 't') {
		add_unfit(look, object, "is generated by PostgreSQL from other columns: no write can set it",
		          pl_arena_printf(arena, "ALTER TABLE %s ALTER COLUMN %s DROP EXPRESSION;",
		                          look->table, name));
		last(look)->decide = true;
	}
	if (pl_cell(look->columns, i, C_DEFAULT))
		add(look, object,
		    "has a DEFAULT, which no write of plist uses: a field that a write does not name is null",
		    pl_arena_printf(arena, "ALTER TABLE %s ALTER COLUMN %s DROP DEFAULT;", look->table,
		                    name));
	look_at_type(look, field, object, name, pl_cell(look->columns, i, C_TYPE)); // after its default
	if (!field->required && pl_cell(look->columns, i, C_NOT_NULL)[0] == 't')
		add(look, object,
		    "is NOT NULL, and the field is not required: a write without it is "
		    "refused here, also one of "
		    "another region",
		    pl_arena_printf(arena, "ALTER TABLE %s ALTER COLUMN %s DROP NOT NULL;", look->table,
		                    name));
}

// ---- columns that are not fields

static const char *const own_columns[] = {
	"id",           "region_origin", "version",    "updated_at",     "vector", "deleted_at",
	"has_siblings", "field_times",   "request_id", "unknown_fields", NULL
};

static bool is_own(const char *name)
{
	for (int i = 0; own_columns[i]; i++)
		if (strcmp(own_columns[i], name) == 0)
			return true;
	return false;
}

static bool is_field(const struct pl_resource *resource, const char *name)
{
	for (int i = 0; i < resource->nall; i++)
		if (strcmp(resource->fields[i].name, name) == 0)
			return true;
	return false;
}

static void look_at_other_column(struct table_look *look, int i)
{
	struct pl_arena *arena = look->findings->arena;
	const char *column = pl_cell(look->columns, i, C_NAME), *name = quoted(look, column),
		   *object = pl_arena_printf(arena, "column %s", column);
	bool not_null = pl_cell(look->columns, i, C_NOT_NULL)[0] == 't',
	     has_default = pl_cell(look->columns, i, C_DEFAULT) != NULL;
	if (pl_cell(look->columns, i, C_IDENTITY)[0] == 't')
		return;
	if (pl_cell(look->columns, i, C_REGISTERED)[0] == 't') {
		add(look, object,
		    "was a field, and is not one in this configuration: add the field again, or drop the "
		    "column when no daemon of any region knows it",
		    pl_arena_printf(arena, "ALTER TABLE %s DROP COLUMN %s;", look->table, name));
		last(look)->decide = true;
		return;
	}
	if (!not_null && !has_default)
		return;
	if (not_null && !has_default)
		add_unfit(
			look, object,
			"is NOT NULL without a DEFAULT, and is not a field: every new record is refused here",
			pl_arena_printf(arena, "ALTER TABLE %s ALTER COLUMN %s DROP NOT NULL;", look->table,
		                        name));
	else
		add(look, object,
		    pl_arena_printf(
			    arena,
			    "has %sa DEFAULT, and is not a field: its values are this region's own; as a "
			    "field, it would have other values in other regions",
			    not_null ? "NOT NULL and " : ""),
		    pl_arena_printf(
			    arena, "ALTER TABLE %s ALTER COLUMN %s DROP DEFAULT%s;", look->table, name,
			    not_null ? pl_arena_printf(arena, ", ALTER COLUMN %s DROP NOT NULL", name) : ""));
	last(look)->decide = true;
}

static void look_at_columns(struct table_look *look)
{
	for (int i = 0; i < look->resource->nall; i++)
		look_at_field(look, &look->resource->fields[i]);
	for (int i = 0; own_columns[i]; i++)
		if (column_named(look, own_columns[i]) < 0)
			add_unfit(look, pl_arena_printf(look->findings->arena, "column %s", own_columns[i]),
			          "is missing; plist needs it",
			          strcmp(own_columns[i], "unknown_fields") == 0 ? "plist-admin migrate"
			                                                        : NULL);
	for (int i = 0; i < PQntuples(look->columns); i++)
		if (!is_own(pl_cell(look->columns, i, C_NAME)) &&
		    !is_field(look->resource, pl_cell(look->columns, i, C_NAME)))
			look_at_other_column(look, i);
}

// ---- what can refuse or change a row

static const char *definition_of(struct table_look *look, const struct pl_table_guard *guard)
{
	const char *params[] = { guard->kind, guard->oid };
	PGresult *result =
		pl_region_sessions_query(look->region_session, pl_table_guards_definition_sql, 2, params);
	const char *text = result && !PQgetisnull(result, 0, 0)
	                           ? pl_arena_strdup(look->findings->arena, PQgetvalue(result, 0, 0))
	                           : "it is gone";
	PQclear(result);
	return text;
}

static void add_guard(struct table_look *look, const struct pl_table_guard *guard)
{
	struct pl_arena *arena = look->findings->arena;
	struct pl_buf undo = { 0 };
	pl_table_guards_undo(&undo, look->table, guard);
	const char *cure =
		pl_table_guards_can_be_tolerated(guard)
			? pl_arena_printf(arena,
	                                  ", or listed in resources.%s.tolerate, daemons refuse writes",
	                                  look->resource->name)
			: ", daemons refuse writes, even if tolerate lists it: PostgreSQL executes none of "
			  "plist's statements on a table with such a rule";
	add_unfit(look, pl_arena_printf(arena, "%s %s", guard->kind, guard->name),
	          pl_arena_printf(arena, "can %s rows of other regions: %s; until it is dropped%s",
	                          pl_table_guards_can_change(guard) ? "change or refuse" : "refuse",
	                          definition_of(look, guard), cure),
	          pl_arena_strndup(arena, undo.data, undo.len));
	last(look)->decide = true;
	pl_buf_fini(&undo);
}

void pl_schema_findings_compare(struct pl_schema_findings *findings,
                                const struct pl_region_sessions *sessions)
{
	int regions = 0;
	for (int i = 0; i < sessions->n; i++)
		regions += sessions->each[i].up;
	for (int i = 0; i < findings->n; i++) {
		struct pl_schema_finding *finding = &findings->each[i];
		int lack = 0;
		for (int j = 0; j < findings->n && finding->tolerates; j++)
			lack += findings->each[j].tolerates == finding->tolerates;
		finding->elsewhere = lack > 0 && lack < regions;
		if (finding->elsewhere)
			finding->text = pl_arena_printf(
				findings->arena,
				"is not in this region's table, but in another region's: what that one "
				"refuses is parked there");
	}
}

static void look_at_tolerated(struct table_look *look, const PGresult *result)
{
	for (int t = 0; t < look->resource->ntolerate; t++) {
		const char *name = look->resource->tolerate[t];
		bool found = false;
		for (int i = 0; i < PQntuples(result) && !found; i++)
			found = strcmp(pl_table_guards_scan(result, i).name, name) == 0;
		if (found)
			continue;
		add(look, pl_arena_printf(look->findings->arena, "tolerate %s", name),
		    pl_arena_printf(look->findings->arena,
		                    "names nothing that can refuse or change rows of this table; take it "
		                    "out of resources.%s.tolerate",
		                    look->resource->name),
		    NULL);
		last(look)->tolerates = name;
	}
}

static void look_at_guards(struct table_look *look)
{
	struct pl_buf tables = { 0 };
	pl_table_guards_tables(&tables, look->resource, 1);
	const char *params[] = { tables.data };
	PGresult *result = pl_region_sessions_query(look->region_session, pl_table_guards_sql, 1, params);
	pl_buf_fini(&tables);
	for (int i = 0; result && i < PQntuples(result); i++) {
		struct pl_table_guard guard = pl_table_guards_scan(result, i);
		if (!pl_table_guards_is_tolerated(look->resource, &guard))
			add_guard(look, &guard);
	}
	if (result)
		look_at_tolerated(look, result);
	PQclear(result);
}

// Without a list of filled columns, none is named: look_at_columns does that.
static void look_at_lacks(struct table_look *look)
{
	struct pl_buf tables = { 0 };
	pl_table_guards_tables(&tables, look->resource, 1);
	const char *params[] = { tables.data, "[]" };
	PGresult *result = pl_region_sessions_query(look->region_session, pl_table_lacks_sql, 2, params);
	pl_buf_fini(&tables);
	for (int i = 0; result && i < PQntuples(result); i++) {
		struct pl_table_lack lack = pl_table_lacks_scan(result, i);
		add_unfit(look, "table", pl_arena_strdup(look->findings->arena, lack.what),
		          pl_arena_strdup(look->findings->arena, lack.sql));
		last(look)->decide = strstr(lack.sql, " DROP EXPRESSION") != NULL;
	}
	PQclear(result);
}

// ---- values that are not in their columns

// A daemon writes the values of a retired field there, and housekeeping moves them. Once
// its column is gone, they go with the next write of each record.
static void look_at_values(struct table_look *look)
{
	struct pl_arena *arena = look->findings->arena;
	if (column_named(look, "unknown_fields") < 0)
		return;
	const char *params[] = { look->resource->name };
	const char *sql = pl_arena_printf(
		arena,
		"SELECT f.name, count(*) FROM %s p, jsonb_each(p.unknown_fields) AS f(name, value) WHERE "
		"p.unknown_fields IS NOT NULL AND f.value <> 'null' AND NOT EXISTS (SELECT FROM "
		"plist.resource_fields r WHERE r.resource = $1 AND r.name = f.name AND r.retired) GROUP BY 1 "
		"ORDER BY 1",
		look->table);
	PGresult *result = pl_region_sessions_query(look->region_session, sql, 1, params);
	for (int i = 0; result && i < PQntuples(result); i++) {
		const char *name = pl_cell(result, i, 0);
		add(look, pl_arena_printf(arena, "field %s", name),
		    pl_arena_printf(
			    arena,
			    is_field(look->resource, name)
				    ? "%s rows hold its value in unknown_fields: no daemon of this "
				      "region has "
				      "moved it to the column yet, or it does not fit the type"
				    : "%s rows hold a value for it, and the configuration does not name it: "
				      "another region knows this field",
			    pl_cell(result, i, 1)),
		    NULL);
	}
	PQclear(result);
}

static bool there(struct table_look *look, const char *relation)
{
	const char *params[] = { relation };
	PGresult *result = pl_region_sessions_query(look->region_session,
	                                            "SELECT to_regclass($1) IS NOT NULL", 1, params);
	bool there = result && pl_cell(result, 0, 0)[0] == 't';
	PQclear(result);
	return there;
}

static void look_at_table(struct table_look *look)
{
	struct pl_arena *arena = look->findings->arena;
	const char *params[] = { look->table, look->resource->name };
	const char *sequence = pl_arena_printf(arena, "%s_ids", look->resource->table);
	if (!there(look, look->table)) {
		if (look->region_session->up)
			add_unfit(look, pl_arena_printf(arena, "table %s", look->resource->table),
			          "is missing",
			          pl_arena_printf(arena, "plist-admin schema sql %s --region %s",
			                          look->resource->name, look->region_session->region->name));
		return;
	}
	if (!there(look, sequence) && look->region_session->up)
		add_unfit(look, pl_arena_printf(arena, "sequence %s", sequence), "is missing",
		          pl_arena_printf(arena, "CREATE SEQUENCE %s MINVALUE 1;", sequence));
	look->columns = pl_region_sessions_query(look->region_session, columns_sql, 2, params);
	if (look->columns) {
		look_at_columns(look);
		look_at_guards(look);
		look_at_lacks(look);
		look_at_values(look);
	}
	PQclear(look->columns);
}

void pl_schema_findings_tables(struct pl_schema_findings *findings, struct pl_region_session *region_session)
{
	for (int i = 0; i < findings->config->nresources && region_session->up; i++) {
		struct table_look look = { .findings = findings,
			                   .region_session = region_session,
			                   .resource = &findings->config->resources[i] };
		struct pl_buf table = { 0 };
		pl_statement_table(&table, look.resource);
		look.table = pl_arena_strndup(findings->arena, table.data, table.len);
		pl_buf_fini(&table);
		look_at_table(&look);
	}
}

// ---- what daemons know

struct daemon {
	struct pl_schema_findings *findings;
	const char *region, *object; // "daemon host:8001"
	const struct pl_resource *resource;
};

static void add_of_daemon(const struct daemon *daemon, const char *text, const char *run)
{
	for (int i = 0; i < daemon->findings->n; i++) { // another database has said so
		const struct pl_schema_finding *known = &daemon->findings->each[i];
		if (known->resource == daemon->resource->name && strcmp(known->object, daemon->object) == 0 &&
		    known->region && strcmp(known->region, daemon->region) == 0 &&
		    strcmp(known->text, text) == 0)
			return;
	}
	pl_schema_findings_add(daemon->findings,
	                       &(struct pl_schema_finding){ daemon->region, daemon->resource->name,
	                                                    daemon->object, text, run, false });
}

static void compare_fields(const struct daemon *daemon, const cJSON *known)
{
	struct pl_arena *arena = daemon->findings->arena;
	char type[PL_FIELD_TYPE_MAX];
	for (int f = 0; f < daemon->resource->nall; f++) {
		const struct pl_field *field = &daemon->resource->fields[f];
		const char *theirs = pl_json_string(known, field->name),
			   *ours = pl_config_field_type(field, type);
		ours = field->retired ? pl_arena_printf(arena, "retired %s", ours) : ours;
		if (!theirs)
			add_of_daemon(
				daemon,
				pl_arena_printf(arena,
			                        field->required
			                                ? "does not know the field %s, which is required: "
			                                  "records that it creates lack it; make it optional "
			                                  "until every daemon knows it"
			                                : "does not know the field %s yet",
			                        field->name),
				"restart it with this configuration");
		else if (strcmp(theirs, ours) != 0)
			add_of_daemon(daemon,
			              pl_arena_printf(arena,
			                              "knows the field %s as %s, this configuration as %s",
			                              field->name, theirs, ours),
			              "restart it with this configuration");
	}
	for (const cJSON *item = known->child; item; item = item->next)
		if (!is_field(daemon->resource, item->string))
			add_of_daemon(daemon,
			              pl_arena_printf(arena,
			                              "knows the field %s, this configuration does not",
			                              item->string),
			              "restart it with this configuration, or add the field here");
}

static void compare_daemon(struct pl_schema_findings *findings, const char *region, const char *name,
                           const char *fields)
{
	cJSON *json = pl_json_parse(fields, strlen(fields), &pl_json_default_limits, NULL);
	struct daemon daemon = { .findings = findings,
		                 .region = pl_arena_strdup(findings->arena, region),
		                 .object = pl_arena_printf(findings->arena, "daemon %s", name) };
	for (int i = 0; i < findings->config->nresources; i++) {
		const cJSON *known = pl_json_get(json, findings->config->resources[i].name);
		daemon.resource = &findings->config->resources[i];
		if (known)
			compare_fields(&daemon, known);
	}
	cJSON_Delete(json);
}

void pl_schema_findings_daemons(struct pl_schema_findings *findings, struct pl_region_session *region_session)
{
	const char *params[] = { region_session->region->name };
	if (!region_session->up)
		return;
	PGresult *result = pl_region_sessions_query(
		region_session,
		"SELECT $1::text, daemon, fields::text FROM plist.daemon_fields WHERE "
		"seen_at > now() - interval "
		"'20 seconds' UNION SELECT h.region, d.daemon, d.fields::text FROM "
		"plist.region_heartbeats AS h, "
		"jsonb_each(h.fields) AS d(daemon, fields) WHERE h.region <> $1::text "
		"AND h.heard_at > now() - "
		"interval '20 seconds' ORDER BY 1, 2",
		1, params);
	for (int i = 0; result && i < PQntuples(result); i++)
		compare_daemon(findings, pl_cell(result, i, 0), pl_cell(result, i, 1), pl_cell(result, i, 2));
	PQclear(result);
}
