// Indexes for unique fields and for references: see schema_indexes.h.
//
// They are ordinary ones. An index that is UNIQUE would refuse events of other regions.
#include "admin/schema_indexes.h"

#include <string.h>

#include "admin/cell.h"
#include "store/quote.h"
#include "store/statement.h"

// The i-th list of fields that needs an index: "room,day". NULL: there are no more.
static const char *fields_at(const struct pl_resource *resource, int i)
{
	if (i < resource->nunique)
		return resource->unique[i];
	i -= resource->nunique;
	for (int f = 0; f < resource->nfields; f++)
		if (resource->fields[f].references && i-- == 0)
			return resource->fields[f].name;
	return NULL;
}

static bool names(const char *fields, int most, const char *name, size_t len)
{
	for (int i = 0; i < most && *fields; i++) {
		size_t n = strcspn(fields, ",");

		if (n == len && strncmp(fields, name, len) == 0)
			return true;
		fields += n + (fields[n] == ',');
	}
	return false;
}

static int count(const char *fields)
{
	int n = 1;

	for (; *fields; fields++)
		n += *fields == ',';
	return n;
}

// Whether the index of another list begins with these fields, in any order; of two equal
// ones, the later is covered.
static bool is_covered(const struct pl_resource *resource, int i)
{
	const char *fields = fields_at(resource, i), *others;
	int n = count(fields);

	for (int j = 0; (others = fields_at(resource, j)) != NULL; j++) {
		bool all = j != i && (count(others) > n || (count(others) == n && j < i));

		for (const char *name = fields; all && *name; name += *name == ',') {
			size_t len = strcspn(name, ",");

			all = names(others, n, name, len);
			name += len;
		}
		if (all)
			return true;
	}
	return false;
}

static void statement(struct pl_buf *sql, const struct pl_resource *resource, const char *fields,
                      const char *how)
{
	pl_buf_printf(sql, "CREATE INDEX %sON ", how);
	pl_statement_table(sql, resource);
	for (const char *name = fields; *name; name += *name == ',') {
		size_t len = strcspn(name, ",");

		pl_buf_adds(sql, name == fields ? " (" : ", ");
		pl_quote_name_n(sql, name, len);
		name += len;
	}
	pl_buf_adds(sql, ");");
}

// Whether a complete index begins with the fields, in any order.
static bool is_there(struct pl_region_session *region_session, const char *table, const char *fields)
{
	const char *params[] = { table, fields };
	PGresult *result = pl_region_sessions_query(
		region_session,
		"SELECT to_regclass($1) IS NULL OR EXISTS (SELECT FROM pg_index AS i, (SELECT "
		"array_agg(f ORDER BY f COLLATE \"C\") AS names FROM unnest(string_to_array($2, ',')) AS f) "
		"AS w WHERE i.indrelid = to_regclass($1) AND i.indisvalid AND i.indpred IS NULL "
		"AND (SELECT array_agg(a.attname::text ORDER BY a.attname COLLATE \"C\") FROM "
		"unnest((i.indkey::int2[])[0:cardinality(w.names) - 1]) AS k "
		"JOIN pg_attribute AS a ON a.attrelid = i.indrelid AND a.attnum = k) = w.names)",
		2, params);
	bool there = !result || pl_cell(result, 0, 0)[0] == 't';

	PQclear(result);
	return there;
}

static void look_at(struct pl_schema_findings *findings, struct pl_region_session *region_session,
                    const struct pl_resource *resource)
{
	struct pl_buf table = { 0 }, sql = { 0 };
	const char *fields;

	pl_statement_table(&table, resource);
	for (int i = 0; (fields = fields_at(resource, i)) != NULL && region_session->up; i++) {
		if (is_covered(resource, i) || is_there(region_session, table.data, fields))
			continue;
		pl_buf_reset(&sql);
		statement(&sql, resource, fields, "CONCURRENTLY ");
		pl_schema_findings_add(
			findings, &(struct pl_schema_finding){
					  region_session->region->name, resource->name,
					  pl_arena_printf(findings->arena, "index (%s)", fields),
					  "is missing: each write would be checked against the whole table",
					  pl_arena_strndup(findings->arena, sql.data, sql.len), false });
	}
	pl_buf_fini(&sql);
	pl_buf_fini(&table);
}

void pl_schema_indexes_look(struct pl_schema_findings *findings, struct pl_region_session *region_session)
{
	for (int i = 0; i < findings->config->nresources; i++)
		look_at(findings, region_session, &findings->config->resources[i]);
}

void pl_schema_indexes_sql(struct pl_buf *sql, const struct pl_resource *resource)
{
	const char *fields;

	for (int i = 0; (fields = fields_at(resource, i)) != NULL; i++) {
		if (is_covered(resource, i))
			continue;
		statement(sql, resource, fields, "");
		pl_buf_addc(sql, '\n');
	}
}
