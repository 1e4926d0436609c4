// What tables lack: see table_lacks.h.
#include "store/table_lacks.h"

#include <stdlib.h>
#include <string.h>

enum { RESOURCE, WHAT, SQL };

// A trigger before inserts may fill a column, and so may a domain's default. Rights on
// single columns are enough; has_any_column_privilege is also true for a right on the
// whole table.
const char pl_table_lacks_sql[] =
	"WITH root AS (SELECT n - 1 AS n, to_regclass(name)::oid AS oid, $2::jsonb -> (n - 1)::int AS filled "
	"FROM jsonb_array_elements_text($1::jsonb) WITH ORDINALITY AS t(name, n)), "
	"there AS (SELECT * FROM root WHERE oid IS NOT NULL), "
	"plists(name) AS (VALUES ('plist.outbox'), ('plist.processed_requests')), "
	"own(name, types, least, wanted) AS (VALUES ('id', '{bigint}'::regtype[], 0, 'bigint'), "
	"('region_origin', '{text,varchar}', 36, 'varchar(32)'), ('version', '{integer}', 0, 'integer'), "
	"('updated_at', '{timestamptz}', 6, 'timestamptz'), ('vector', '{jsonb}', 0, 'jsonb'), "
	"('deleted_at', '{timestamptz}', 6, 'timestamptz'), ('has_siblings', '{boolean}', 0, 'boolean'), "
	"('field_times', '{jsonb}', 0, 'jsonb'), ('request_id', '{text,varchar}', 259, 'varchar(255)'), "
	"('unknown_fields', '{jsonb}', 0, 'jsonb')) "
	"SELECT n, 'has no unique index on id alone that ON CONFLICT can use', "
	"format('ALTER TABLE %s ADD PRIMARY KEY (id);', oid::regclass) FROM there WHERE NOT EXISTS "
	"(SELECT FROM pg_index i JOIN pg_attribute a ON a.attrelid = indrelid AND a.attname = 'id' "
	"WHERE indrelid = oid AND indisunique AND indimmediate AND indisvalid AND indpred IS NULL "
	"AND indexprs IS NULL AND indnkeyatts = 1 AND indkey[0] = a.attnum) UNION ALL "
	"SELECT n, format('does not let the role %s %s', current_user, r), "
	"format('GRANT %s ON %s TO %I;', r, oid::regclass, current_user) "
	"FROM there, unnest(ARRAY['SELECT', 'INSERT', 'UPDATE']) AS r "
	"WHERE NOT has_any_column_privilege(oid, r) UNION ALL "
	"SELECT n, format('cannot be written, since the role %s may not INSERT into %s', current_user, "
	"p.name), "
	"format('GRANT INSERT ON %s TO %I;', p.name, current_user) "
	"FROM there, plists AS p WHERE NOT has_any_column_privilege(to_regclass(p.name), 'INSERT') UNION ALL "
	"SELECT n, format('has the column %s, which is NOT NULL without a default and is not a field', "
	"attname), "
	"format('ALTER TABLE %s ALTER COLUMN %I DROP NOT NULL;', there.oid::regclass, attname) "
	"FROM there JOIN pg_attribute ON attrelid = there.oid AND attnum > 0 AND NOT attisdropped "
	"JOIN pg_type AS y ON y.oid = atttypid WHERE attnotnull AND NOT atthasdef AND attidentity = '' "
	"AND typdefault IS NULL AND NOT filled ? attname AND NOT EXISTS (SELECT FROM pg_trigger t JOIN "
	"pg_proc p ON p.oid = tgfoid WHERE tgrelid = there.oid AND NOT tgisinternal AND tgenabled IN "
	"('O', 'A') AND tgtype & 7 = 7 AND proname <> 'plist_vector_of_foreign_row') UNION ALL "
	// A change takes a field from its column or from unknown_fields, whichever has
	// it, so their types must meet, which they do within a category. An INSERT would
	// succeed.
	"SELECT n, format('has the column %s of type %s, which does not fit its field', attname, "
	"format_type(atttypid, atttypmod)), "
	"format('ALTER TABLE %1$s ALTER COLUMN %2$I TYPE %3$s USING %2$I::%4$s::%3$s;', there.oid::regclass, "
	"attname, filled -> attname ->> 1, CASE WHEN filled -> attname ->> 0 <> 'N' THEN 'text' "
	"WHEN typcategory = 'B' THEN 'integer' WHEN atttypid = 'money'::regtype THEN 'numeric' ELSE 'text' "
	"END) FROM there JOIN pg_attribute ON attrelid = there.oid AND attnum > 0 AND NOT attisdropped "
	"JOIN pg_type AS y ON y.oid = atttypid WHERE (filled -> attname ->> 0 <> typcategory::text OR "
	"filled -> attname ->> 0 = 'N' AND atttypid IN ('money'::regtype, 'oid'::regtype)) UNION ALL "
	// PostgreSQL rounds without an error, and the regions would differ. A numeric's
	// scale is in the lower eleven bits of its modifier.
	"SELECT n, format('has the column %s of type %s, which rounds values', attname, "
	"format_type(atttypid, atttypmod)), "
	"format('ALTER TABLE %s ALTER COLUMN %I TYPE %s;', there.oid::regclass, attname, "
	"filled -> attname ->> 1) "
	"FROM there JOIN pg_attribute ON attrelid = there.oid AND attnum > 0 AND NOT attisdropped "
	"WHERE filled -> attname ->> 0 = 'N' AND CASE atttypid WHEN 'numeric'::regtype "
	"THEN atttypmod > 0 AND ((atttypmod - 4 & 2047) # 1024) - 1024 < (filled -> attname ->> 2)::int "
	"WHEN 'real'::regtype THEN true WHEN 'double precision'::regtype THEN false "
	"ELSE atttypid IN ('smallint'::regtype, 'integer'::regtype, 'bigint'::regtype) AND "
	"(filled -> attname ->> 2)::int > 0 END UNION ALL "
	// The columns that every resource has. PostgreSQL keeps a varchar's length
	// plus 4. A domain is judged by its type.
	"SELECT n, format('has the column %s of type %s, which %s', attname, "
	"format_type(atttypid, atttypmod), CASE WHEN base = ANY(types) AND wanted = 'timestamptz' "
	"THEN 'rounds values' ELSE 'does not fit the values that plist stores in it' END), "
	"format('ALTER TABLE %1$s ALTER COLUMN %2$I TYPE %3$s USING %2$I::text::%3$s;', there.oid::regclass, "
	"attname, wanted) "
	"FROM there JOIN pg_attribute ON attrelid = there.oid AND attnum > 0 AND NOT attisdropped "
	"JOIN own ON own.name = attname JOIN pg_type AS y ON y.oid = atttypid, "
	"LATERAL (SELECT CASE WHEN typtype = 'd' THEN typbasetype ELSE atttypid END AS base, "
	"CASE WHEN typtype = 'd' THEN typtypmod ELSE atttypmod END AS modifier) AS b "
	"WHERE base <> ALL(types) OR modifier BETWEEN 0 AND least - 1 UNION ALL "
	"SELECT n, format('has the column %s, whose values PostgreSQL generates', attname), "
	"format('ALTER TABLE %s ALTER COLUMN %I %s;', there.oid::regclass, attname, "
	"CASE WHEN attgenerated <> '' THEN 'DROP EXPRESSION' ELSE 'SET GENERATED BY DEFAULT' END) "
	"FROM there JOIN pg_attribute ON attrelid = there.oid AND attnum > 0 AND NOT attisdropped "
	"WHERE (attgenerated <> '' OR attidentity = 'a') AND (filled ? attname OR attname IN "
	"(SELECT name FROM own)) "
	"ORDER BY 1, 2";

// The field as a member: its column's category in pg_type, a type that fits, and the
// scale of a number.
static void add_field(struct pl_buf *param, const struct pl_field *field)
{
	static const struct {
		const char *category, *type;
	} columns[] = { [PL_FIELD_INTEGER] = { "N", "integer" },
		        [PL_FIELD_STRING] = { "S", "text" },
		        [PL_FIELD_BOOLEAN] = { "B", "boolean" } };

	pl_buf_addc(param, ',');
	pl_buf_add_json(param, field->name, strlen(field->name));
	if (field->type == PL_FIELD_DECIMAL)
		pl_buf_printf(param, ":[\"N\",\"numeric(%d,%d)\",%d]", field->precision, field->scale,
		              field->scale);
	else
		pl_buf_printf(param, ":[\"%s\",\"%s\",0]", columns[field->type].category,
		              columns[field->type].type);
}

void pl_table_lacks_columns(struct pl_buf *param, const struct pl_resource *resources, int n)
{
	static const char own[] =
		"\"id\":[],\"region_origin\":[],\"version\":[],\"updated_at\":[],\"vector\":[]";

	pl_buf_addc(param, '[');
	for (int i = 0; i < n; i++) {
		pl_buf_printf(param, "%s{%s", i ? "," : "", own);
		for (int j = 0; j < resources[i].nall; j++)
			add_field(param, &resources[i].fields[j]);
		pl_buf_addc(param, '}');
	}
	pl_buf_addc(param, ']');
}

struct pl_table_lack pl_table_lacks_scan(const PGresult *result, int row)
{
	return (struct pl_table_lack){
		.resource = atoi(PQgetvalue(result, row, RESOURCE)),
		.what = PQgetvalue(result, row, WHAT),
		.sql = PQgetvalue(result, row, SQL),
	};
}
