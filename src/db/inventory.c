// The inventory of plist's schema: see inventory.h.
//
// All migrations may have been applied, and something that they made may still be
// missing: a table was dropped, renamed or altered by hand, or left out when a backup was
// restored. Called by plist-admin status. Threads: the session's.
#include "db/inventory.h"

#include <stdlib.h>

#include "base/mem.h"

static const struct object {
	const char *kind, *name, *columns, *indexes;
} objects[] = {
#define TABLE(name, columns, indexes) { "table", name, columns, indexes },
#define FUNCTION(name)                { "function", name, NULL, NULL },
#include "db/inventory.inc"
#undef TABLE
#undef FUNCTION
};

// The type of a column as one word.
#define TYPE                                                                                             \
	"replace(replace(format_type(atttypid, atttypmod), 'timestamp with time zone', 'timestamptz'), " \
	"'character varying', 'varchar')"

// $1: kinds, $2: names, $3: columns, $4: indexes of the objects.
static const char check[] =
	"WITH expected AS (SELECT * FROM unnest($1::text[], $2::text[], $3::text[], $4::text[]) AS "
	"e(kind, name, columns, indexes)), "
	"tables AS (SELECT e.name, e.columns, e.indexes, to_regclass('plist.' || e.name) AS oid FROM "
	"expected e WHERE e.kind = 'table'), "
	"missing AS (SELECT 1 AS rank, 'table plist.' || name AS what FROM tables WHERE oid IS NULL "
	"UNION ALL SELECT 2, format('column plist.%s.%s', name, split_part(c, ':', 1)) FROM tables, "
	"unnest(string_to_array(columns, ' ')) AS c WHERE oid IS NOT NULL AND NOT EXISTS "
	"(SELECT FROM pg_attribute WHERE attrelid = oid AND attname = split_part(c, ':', 1) "
	"AND attnum > 0 AND NOT attisdropped) "
	"UNION ALL SELECT 3, format('type %s of column plist.%s.%s', split_part(c, ':', 2), name, attname) "
	"FROM tables, unnest(string_to_array(columns, ' ')) AS c JOIN pg_attribute ON attname = "
	"split_part(c, ':', 1) WHERE attrelid = oid AND attnum > 0 AND NOT attisdropped AND " TYPE
	" <> split_part(c, ':', 2) "
	"UNION ALL SELECT 4, 'index plist.' || i FROM tables, unnest(string_to_array(indexes, ' ')) AS i "
	"WHERE oid IS NOT NULL AND NOT EXISTS (SELECT FROM pg_index x JOIN pg_class r ON r.oid = "
	"x.indexrelid WHERE x.indrelid = tables.oid AND r.relname = i AND x.indisvalid) "
	"UNION ALL SELECT 5, 'function ' || name FROM expected e WHERE kind = 'function' AND NOT EXISTS "
	"(SELECT FROM pg_proc WHERE proname = e.name AND pg_function_is_visible(pg_proc.oid))) "
	"SELECT what FROM missing ORDER BY rank, what";

static const char lines[] =
	"SELECT string_agg(line, E'\\n' ORDER BY rank, line) FROM (SELECT 1 AS rank, format('TABLE(\"%s\", "
	"\"%s\", \"%s\")', c.relname, (SELECT string_agg(attname || ':' || " TYPE
	", ' ' ORDER BY attnum) FROM pg_attribute "
	"WHERE attrelid = c.oid AND attnum > 0 AND NOT attisdropped), (SELECT string_agg(i.relname, ' ' "
	"ORDER BY i.relname) FROM pg_index x JOIN pg_class i ON i.oid = x.indexrelid WHERE x.indrelid = "
	"c.oid)) AS line FROM pg_class c WHERE relnamespace = to_regnamespace('plist') AND relkind IN "
	"('r', 'p') AND NOT relispartition "
	"UNION ALL SELECT 2, format('FUNCTION(\"%s\")', proname) FROM pg_proc WHERE proname ~ '^plist_' "
	"AND pg_function_is_visible(oid) AND prorettype <> 'trigger'::regtype) AS l";

// Rows that a migration makes, one in each database. A daemon makes them again if they
// are missing: see heal/heal_rows.c.
static const char rows[] =
	"SELECT what FROM (VALUES (1, 'the row of plist.identity', EXISTS (SELECT FROM plist.identity)), "
	"(2, 'the row of plist.outbox_sequence', EXISTS (SELECT FROM plist.outbox_sequence)), "
	"(3, 'the row ''relay'' of plist.plist_leaders', EXISTS (SELECT FROM plist.plist_leaders "
	"WHERE name = 'relay')), "
	"(4, 'the row ''housekeeping'' of plist.plist_leaders', EXISTS (SELECT FROM plist.plist_leaders "
	"WHERE name = 'housekeeping'))) AS r(rank, what, found) WHERE NOT found ORDER BY rank";

// Adds an element of an array literal; names of the inventory need no escapes.
static void add_element(struct pl_buf *array, const char *text)
{
	pl_buf_adds(array, array->len ? "," : "{");
	if (text)
		pl_buf_printf(array, "\"%s\"", text);
	else
		pl_buf_adds(array, "NULL");
}

// Takes over the result.
static int list(PGresult *result, struct pl_buf *missing, int *n_r, const struct pl_error *err)
{
	if (!result)
		return err->code;
	*n_r = PQntuples(result);
	for (int i = 0; i < *n_r; i++)
		pl_buf_printf(missing, "%s%s", i ? ", " : "", PQgetvalue(result, i, 0));
	PQclear(result);
	return 0;
}

int pl_inventory_check(struct pl_session *session, struct pl_buf *missing, int *n_r, struct pl_error *err)
{
	struct pl_buf arrays[4] = { { 0 } };
	const char *params[4];
	PGresult *result;

	for (size_t i = 0; i < sizeof(objects) / sizeof(objects[0]); i++) {
		add_element(&arrays[0], objects[i].kind);
		add_element(&arrays[1], objects[i].name);
		add_element(&arrays[2], objects[i].columns);
		add_element(&arrays[3], objects[i].indexes);
	}
	for (int i = 0; i < 4; i++) {
		pl_buf_addc(&arrays[i], '}');
		params[i] = arrays[i].data;
	}
	result = pl_session_exec(session, check, 4, params, err);
	for (int i = 0; i < 4; i++)
		pl_buf_fini(&arrays[i]);
	return list(result, missing, n_r, err);
}

int pl_inventory_check_rows(struct pl_session *session, struct pl_buf *missing, int *n_r,
                            struct pl_error *err)
{
	return list(pl_session_exec(session, rows, 0, NULL, err), missing, n_r, err);
}

char *pl_inventory_lines(struct pl_session *session, struct pl_error *err)
{
	PGresult *result = pl_session_exec(session, lines, 0, NULL, err);
	char *text = result ? pl_strdup(PQgetvalue(result, 0, 0)) : NULL;

	PQclear(result);
	return text;
}
