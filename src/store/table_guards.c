// Guards of tables: see table_guards.h.
#include "store/table_guards.h"

#include <stdlib.h>
#include <string.h>

#include "store/quote.h"
#include "store/statement.h"

enum { RESOURCE, KIND, NAME, OID, OWNER };

// Waits for no lock, so pg_partition_tree() and the functions that print a definition
// are not used: they open the table. `part` also has the partitions of a table; what
// they inherited is listed once, with the parent. Triggers: bit 1 of tgtype is FOR EACH
// ROW, 2 BEFORE, 64 INSTEAD OF, 4 INSERT, 16 UPDATE. Only those that fire in ordinary
// sessions count, and only the policies that this role is subject to.
const char pl_table_guards_sql[] =
	"WITH RECURSIVE root AS (SELECT n - 1 AS n, to_regclass(name)::oid AS oid FROM "
	"jsonb_array_elements_text($1::jsonb) WITH ORDINALITY AS t(name, n)), "
	"part AS (SELECT n, oid, NULL::text AS owner FROM root WHERE oid IS NOT NULL "
	"UNION SELECT n, i.inhrelid, i.inhrelid::regclass::text FROM part JOIN pg_inherits AS i "
	"ON i.inhparent = part.oid JOIN pg_class AS c ON c.oid = i.inhrelid AND c.relispartition), "
	"keyed AS (SELECT part.*, ARRAY[a.attnum] AS key FROM part LEFT JOIN pg_attribute a "
	"ON a.attrelid = part.oid AND a.attname = 'id'), "
	"policy AS (SELECT root.n, p.* FROM root JOIN pg_policy p ON p.polrelid = root.oid "
	"WHERE row_security_active(root.oid) AND EXISTS (SELECT FROM unnest(p.polroles) AS r "
	"WHERE r = 0 OR pg_has_role(r, 'USAGE'))) "
	// constraints of the table
	"SELECT n, 'constraint', conname, c.oid, owner "
	"FROM keyed JOIN pg_constraint c ON c.conrelid = keyed.oid "
	"WHERE (contype IN ('x', 'f', 'c') OR (contype IN ('u', 'p') AND "
	"(conkey IS DISTINCT FROM key OR condeferrable))) AND conparentid = 0 AND conislocal UNION ALL "
	// foreign keys that point to it: they fix the columns' values, but an id never
	// changes
	"SELECT n, 'constraint', conname, c.oid, conrelid::regclass::text "
	"FROM keyed JOIN pg_constraint c ON c.confrelid = keyed.oid WHERE contype = 'f' "
	"AND conrelid <> confrelid AND confkey IS DISTINCT FROM key AND conparentid = 0 UNION ALL "
	// unique indexes that are not constraints
	"SELECT n, 'index', x.relname, indexrelid, owner FROM keyed "
	"JOIN pg_index i ON i.indrelid = keyed.oid JOIN pg_class x ON x.oid = indexrelid "
	"WHERE indisunique AND (indnkeyatts <> 1 OR ARRAY[indkey[0]] IS DISTINCT FROM key) "
	"AND NOT EXISTS (SELECT FROM pg_constraint k WHERE k.conindid = indexrelid) "
	"AND NOT EXISTS (SELECT FROM pg_inherits h WHERE h.inhrelid = indexrelid) UNION ALL "
	"SELECT n, 'trigger', tgname, t.oid, owner FROM part "
	"JOIN pg_trigger t ON t.tgrelid = part.oid JOIN pg_proc p ON p.oid = t.tgfoid "
	"WHERE NOT tgisinternal AND tgenabled IN ('O', 'A') AND tgparentid = 0 AND tgtype & 20 <> 0 "
	"AND (tgconstraint <> 0 OR (tgtype & 1 = 1 AND tgtype & 66 <> 0)) "
	"AND proname <> 'plist_vector_of_foreign_row' "
	"AND pronamespace IS DISTINCT FROM to_regnamespace('plist')::oid UNION ALL "
	"SELECT n, 'rule', rulename, r.oid, owner FROM part "
	"JOIN pg_rewrite r ON r.ev_class = part.oid "
	"WHERE ev_type IN ('2', '3') AND ev_enabled IN ('O', 'A') UNION ALL "
	"SELECT n, 'policy', polname, policy.oid, NULL FROM policy UNION ALL "
	"SELECT n, 'row level security', 'row_level_security', 0, NULL FROM root "
	"WHERE row_security_active(root.oid) "
	"AND NOT EXISTS (SELECT FROM policy p WHERE p.n = root.n) ORDER BY 1, 2, 3";

const char pl_table_guards_definition_sql[] =
	"SELECT CASE $1 WHEN 'constraint' THEN pg_get_constraintdef($2::oid) "
	"WHEN 'index' THEN pg_get_indexdef($2::oid) WHEN 'trigger' THEN pg_get_triggerdef($2::oid) "
	"WHEN 'rule' THEN pg_get_ruledef($2::oid) WHEN 'policy' THEN "
	"(SELECT concat_ws(' ', 'USING ' || pg_get_expr(polqual, polrelid), "
	"'WITH CHECK ' || pg_get_expr(polwithcheck, polrelid)) FROM pg_policy WHERE oid = $2::oid) "
	"ELSE 'there is no policy for plist''s role' END";

void pl_table_guards_tables(struct pl_buf *param, const struct pl_resource *resources, int n)
{
	struct pl_buf table = { 0 };

	pl_buf_addc(param, '[');
	for (int i = 0; i < n; i++) {
		pl_buf_reset(&table);
		pl_statement_table(&table, &resources[i]);
		pl_buf_adds(param, i ? "," : "");
		pl_buf_add_json(param, table.data, table.len);
	}
	pl_buf_addc(param, ']');
	pl_buf_fini(&table);
}

struct pl_table_guard pl_table_guards_scan(const PGresult *result, int row)
{
	return (struct pl_table_guard){
		.resource = atoi(PQgetvalue(result, row, RESOURCE)),
		.kind = PQgetvalue(result, row, KIND),
		.name = PQgetvalue(result, row, NAME),
		.oid = PQgetvalue(result, row, OID),
		.owner = PQgetisnull(result, row, OWNER) ? NULL : PQgetvalue(result, row, OWNER),
	};
}

bool pl_table_guards_can_be_tolerated(const struct pl_table_guard *guard)
{
	return strcmp(guard->kind, "rule") != 0;
}

bool pl_table_guards_is_tolerated(const struct pl_resource *resource, const struct pl_table_guard *guard)
{
	for (int i = 0; i < resource->ntolerate; i++)
		if (strcmp(resource->tolerate[i], guard->name) == 0)
			return pl_table_guards_can_be_tolerated(guard);
	return false;
}

bool pl_table_guards_can_change(const struct pl_table_guard *guard)
{
	return strcmp(guard->kind, "trigger") == 0 || strcmp(guard->kind, "rule") == 0;
}

void pl_table_guards_undo(struct pl_buf *sql, const char *table, const struct pl_table_guard *guard)
{
	const char *kind = guard->kind;

	if (guard->owner)
		table = guard->owner;
	if (strcmp(kind, "row level security") == 0) {
		pl_buf_printf(sql, "ALTER TABLE %s DISABLE ROW LEVEL SECURITY;", table);
		return;
	}
	if (strcmp(kind, "constraint") == 0)
		pl_buf_printf(sql, "ALTER TABLE %s DROP CONSTRAINT ", table);
	else
		pl_buf_adds(sql, strcmp(kind, "index") == 0     ? "DROP INDEX "
		                 : strcmp(kind, "trigger") == 0 ? "DROP TRIGGER "
		                 : strcmp(kind, "rule") == 0    ? "DROP RULE "
		                                                : "DROP POLICY ");
	pl_quote_name(sql, guard->name);
	if (strcmp(kind, "constraint") != 0 && strcmp(kind, "index") != 0)
		pl_buf_printf(sql, " ON %s", table);
	pl_buf_addc(sql, ';');
}
