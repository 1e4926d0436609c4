// The SQL that finds violations: for the thread's looks and notes, and for seed.
//
// Threads: any; nothing is shared.
#include <string.h>

#include "integrity/integrity_private.h"
#include "store/quote.h"
#include "store/statement.h"

#define SUBJECT_MAX   "1000"    // bytes
#define RECORDS_MAX   "1000"    // of a violation, and
#define RECORDS_BYTES "4194304" // of them, but at least two
#define COLUMNS       "SELECT g.subject, m.records, m.vectors, m.first, c.n FROM "

static void quoted(struct pl_buf *sql, const char *alias, const struct pl_resource *resource, int field)
{
	pl_buf_printf(sql, "%s.", alias);
	pl_quote_name(sql, resource->fields[field].name);
}

// The record with the alias q, with its id, in the form of conflicts.siblings.
static void record_json(struct pl_buf *sql, const struct pl_resource *resource)
{
	pl_buf_adds(sql, "jsonb_build_object('id', q.id, 'origin', q.region_origin, 'counter', q.vector -> "
	                 "q.region_origin, 'vector', q.vector, 'updated_at', to_char(q.updated_at, "
	                 "'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"'), 'version', q.version, 'deleted', "
	                 "q.deleted_at IS NOT NULL, 'request_id', q.request_id, 'fields', "
	                 "jsonb_build_object(");
	for (int i = 0; i < resource->nfields; i++) {
		pl_buf_adds(sql, i ? ", " : "");
		pl_quote_literal(sql, resource->fields[i].name);
		pl_buf_adds(sql, ", ");
		quoted(sql, "q", resource, i);
	}
	pl_buf_adds(sql, "))");
}

// ---- unique values

static const char *cast_of(const struct pl_field *field)
{
	static const char *const casts[] = { [PL_FIELD_DECIMAL] = "::numeric",
		                             [PL_FIELD_INTEGER] = "::integer",
		                             [PL_FIELD_STRING] = "",
		                             [PL_FIELD_BOOLEAN] = "::boolean" };

	return casts[field->type];
}

// Roughly, of a record with the alias l, without fetching its long values.
static void record_bytes(struct pl_buf *sql, const struct pl_resource *resource)
{
	pl_buf_adds(sql, "300 + pg_column_size(l.vector)");
	for (int i = 0; i < resource->nfields; i++)
		if (resource->fields[i].type == PL_FIELD_STRING) {
			pl_buf_adds(sql, " + coalesce(octet_length(");
			quoted(sql, "l", resource, i);
			pl_buf_adds(sql, "), 0)");
		}
}

static void from_sharing(struct pl_buf *sql, const struct pl_integrity_check *check, const char *condition)
{
	pl_buf_adds(sql, " FROM ");
	pl_statement_table(sql, check->resource);
	pl_buf_printf(sql, " AS q WHERE q.deleted_at IS NULL%s", condition);
}

// The records that meet `condition`: the first of them (m), and how many there are (c).
// Any number of records may share a value, and an aggregate of all of them would be as
// large. A rule may be asked about the first ones, and they about the next ones when
// these have changed: see plist-policies(7). OFFSET 0: the records are found by the index
// for the values, not by reading all in the order of their ids.
static void first_sharing(struct pl_buf *sql, const struct pl_integrity_check *check, const char *condition)
{
	pl_buf_adds(sql, ", LATERAL (SELECT count(*) AS fetched, jsonb_agg(");
	record_json(sql, check->resource);
	pl_buf_adds(sql, " ORDER BY q.id) FILTER (WHERE q.plist_fits) AS records, jsonb_object_agg(q.id, "
	                 "q.vector) FILTER (WHERE q.plist_fits) AS vectors, min(q.id) AS first FROM (SELECT "
	                 "l.*, row_number() OVER w <= 2 OR sum(");
	record_bytes(sql, check->resource);
	pl_buf_adds(sql, ") OVER w <= " RECORDS_BYTES " AS plist_fits FROM (SELECT s.* FROM (SELECT q.*");
	from_sharing(sql, check, condition);
	pl_buf_adds(sql,
	            " OFFSET 0) AS s ORDER BY s.id LIMIT " RECORDS_MAX ") AS l WINDOW w AS (ORDER BY l.id "
	            "ROWS UNBOUNDED PRECEDING)) AS q) AS m, LATERAL (SELECT CASE WHEN m.fetched "
	            "< " RECORDS_MAX " THEN m.fetched ELSE (SELECT count(*)");
	from_sharing(sql, check, condition);
	pl_buf_adds(sql, ") END AS n) AS c WHERE m.fetched > 1");
}

// The records that have the values k0, k1, … of g, or those of g.subject.
static void sharing(struct pl_buf *sql, const struct pl_integrity_check *check, bool of_subject)
{
	const struct pl_resource *resource = check->resource;
	struct pl_buf condition = { 0 };

	for (int i = 0; i < check->unique->n; i++) {
		int field = check->unique->fields[i];

		pl_buf_adds(&condition, " AND ");
		quoted(&condition, "q", resource, field);
		if (of_subject)
			pl_buf_printf(&condition, " = (g.subject::jsonb ->> %d)%s", i,
			              cast_of(&resource->fields[field]));
		else
			pl_buf_printf(&condition, " = g.k%d", i);
	}
	first_sharing(sql, check, condition.data);
	pl_buf_fini(&condition);
}

// The values of a row as a text, which is the same for equal values: an array; or, if
// that were too long for the table's key, an object with its hash.
static void subject(struct pl_buf *sql, const struct pl_integrity_check *check, const char *alias)
{
	const struct pl_resource *resource = check->resource;

	pl_buf_adds(sql, "(SELECT CASE WHEN octet_length(j) <= " SUBJECT_MAX
	                 " THEN j ELSE jsonb_build_object('begins', left(j, 100), 'sha256', "
	                 "encode(sha256(convert_to(j, 'UTF8')), 'hex'))::text END FROM (SELECT "
	                 "jsonb_build_array(");
	for (int i = 0; i < check->unique->n; i++) {
		const struct pl_field *field = &resource->fields[check->unique->fields[i]];

		pl_buf_adds(sql, i ? ", " : "");
		pl_buf_adds(sql, field->type == PL_FIELD_DECIMAL ? "trim_scale(" : "(");
		quoted(sql, alias, resource, check->unique->fields[i]);
		pl_buf_adds(sql, ")");
	}
	pl_buf_adds(sql, ")::text AS j) AS s)");
}

static void values_as_k(struct pl_buf *sql, const struct pl_integrity_check *check)
{
	for (int i = 0; i < check->unique->n; i++) {
		pl_buf_adds(sql, ", ");
		quoted(sql, "p", check->resource, check->unique->fields[i]);
		pl_buf_printf(sql, " AS k%d", i);
	}
}

// As `sharing` of a subject that has only the hash of the values: one of the records that
// the violation was noted with has the values.
static void sharing_hash(struct pl_buf *sql, const struct pl_integrity_check *check)
{
	pl_buf_adds(sql, COLUMNS "(SELECT DISTINCT ON (u.subject) u.subject");
	values_as_k(sql, check);
	pl_buf_adds(sql, " FROM unnest($1::text[]) AS u(subject), plist.violations AS v, "
	                 "jsonb_object_keys(v.records) AS key, ");
	pl_statement_table(sql, check->resource);
	pl_buf_adds(sql, " AS p WHERE u.subject LIKE '{%' AND v.resource = ");
	pl_quote_literal(sql, check->resource->name);
	pl_buf_adds(sql, " AND v.type = ");
	pl_quote_literal(sql, check->type);
	pl_buf_adds(sql, " AND v.fields = ");
	pl_quote_literal(sql, check->fields);
	pl_buf_adds(sql, " AND v.subject = u.subject AND p.id = key::bigint AND p.deleted_at IS NULL AND "
	                 "u.subject = ");
	subject(sql, check, "p");
	pl_buf_adds(sql, ") AS g");
	sharing(sql, check, false);
}

static void not_null(struct pl_buf *sql, const struct pl_integrity_check *check)
{
	for (int i = 0; i < check->unique->n; i++) {
		pl_buf_adds(sql, " AND ");
		quoted(sql, "p", check->resource, check->unique->fields[i]);
		pl_buf_adds(sql, " IS NOT NULL");
	}
}

static void unique_of_ids(struct pl_buf *sql, const struct pl_integrity_check *check)
{
	pl_buf_adds(sql, COLUMNS "(SELECT DISTINCT ");
	subject(sql, check, "p");
	pl_buf_adds(sql, " AS subject");
	values_as_k(sql, check);
	pl_buf_adds(sql, " FROM ");
	pl_statement_table(sql, check->resource);
	pl_buf_adds(sql, " AS p WHERE p.id = ANY ($1::bigint[]) AND p.deleted_at IS NULL");
	not_null(sql, check);
	pl_buf_adds(sql, ") AS g");
	sharing(sql, check, false);
}

static void unique_full(struct pl_buf *sql, const struct pl_integrity_check *check)
{
	pl_buf_adds(sql, "INSERT INTO plist.integrity_checks (resource, record_id) SELECT ");
	pl_quote_literal(sql, check->resource->name);
	pl_buf_adds(sql, ", min(p.id) FROM ");
	pl_statement_table(sql, check->resource);
	pl_buf_adds(sql, " AS p WHERE p.deleted_at IS NULL");
	not_null(sql, check);
	pl_buf_adds(sql, " GROUP BY ");
	for (int i = 0; i < check->unique->n; i++) {
		pl_buf_adds(sql, i ? ", " : "");
		quoted(sql, "p", check->resource, check->unique->fields[i]);
	}
	pl_buf_adds(sql, " HAVING count(*) > 1");
}

// ---- references

// A condition: the record that `alias` refers to does not exist.
static void missing(struct pl_buf *sql, const struct pl_integrity_check *check, const char *alias)
{
	pl_buf_printf(sql, "%s.deleted_at IS NULL AND ", alias);
	quoted(sql, alias, check->resource, check->field);
	pl_buf_adds(sql, " IS NOT NULL AND NOT EXISTS (SELECT FROM ");
	pl_statement_table(sql, check->to);
	pl_buf_adds(sql, " AS t WHERE t.deleted_at IS NULL AND t.id = CASE WHEN ");
	quoted(sql, alias, check->resource, check->field);
	pl_buf_printf(sql, " BETWEEN 1 AND %lld THEN ", (long long)PL_ID_MAX);
	quoted(sql, alias, check->resource, check->field);
	pl_buf_adds(sql, "::bigint END)");
}

static void references_of(struct pl_buf *sql, const struct pl_integrity_check *check, const char *ids)
{
	pl_buf_adds(sql, "SELECT q.id::text, jsonb_build_array(");
	record_json(sql, check->resource);
	pl_buf_adds(sql, "), jsonb_build_object(q.id, q.vector), q.id, 1::bigint FROM ");
	pl_statement_table(sql, check->resource);
	pl_buf_printf(sql, " AS q WHERE q.id = ANY (%s) AND ", ids);
	missing(sql, check, "q");
}

static void references_full(struct pl_buf *sql, const struct pl_integrity_check *check)
{
	pl_buf_adds(sql, "INSERT INTO plist.integrity_checks (resource, record_id) SELECT ");
	pl_quote_literal(sql, check->resource->name);
	pl_buf_adds(sql, ", q.id FROM ");
	pl_statement_table(sql, check->resource);
	pl_buf_adds(sql, " AS q WHERE ");
	missing(sql, check, "q");
}

void pl_integrity_sql_defer(struct pl_buf *sql, const struct pl_integrity_check *check)
{
	pl_buf_adds(sql, "UPDATE plist.integrity_checks AS c SET due_at = c.noted_at + $2::float8 * interval "
	                 "'1 second' FROM ");
	pl_statement_table(sql, check->resource);
	pl_buf_adds(sql, " AS q WHERE c.id = ANY ($1::bigint[]) AND c.resource = ");
	pl_quote_literal(sql, check->resource->name);
	pl_buf_adds(sql, " AND q.id = c.record_id AND c.noted_at > now() - $2::float8 * interval '1 second' "
	                 "AND ");
	missing(sql, check, "q");
}

void pl_integrity_sql_referring(struct pl_buf *sql, const struct pl_integrity_check *check)
{
	bool decimal = check->resource->fields[check->field].type == PL_FIELD_DECIMAL;

	pl_buf_adds(sql, "INSERT INTO plist.integrity_checks (resource, record_id) SELECT ");
	pl_quote_literal(sql, check->resource->name);
	pl_buf_adds(sql, ", q.id FROM ");
	pl_statement_table(sql, check->resource);
	pl_buf_adds(sql, " AS q WHERE ");
	quoted(sql, "q", check->resource, check->field);
	pl_buf_printf(sql, " = ANY ($1::%s[]) AND ", decimal ? "numeric" : "bigint");
	missing(sql, check, "q");
}

// ---- either

void pl_integrity_sql_of_ids(struct pl_buf *sql, const struct pl_integrity_check *check)
{
	if (check->unique)
		unique_of_ids(sql, check);
	else
		references_of(sql, check, "$1::bigint[]");
}

void pl_integrity_sql_of_subjects(struct pl_buf *sql, const struct pl_integrity_check *check)
{
	if (!check->unique) {
		references_of(sql, check, "$1::text[]::bigint[]");
		return;
	}
	pl_buf_adds(sql,
	            COLUMNS "(SELECT u.subject FROM unnest($1::text[]) AS u(subject) WHERE u.subject LIKE "
	                    "'[%') AS g");
	sharing(sql, check, true);
	pl_buf_adds(sql, " UNION ALL ");
	sharing_hash(sql, check);
}

void pl_integrity_sql_full(struct pl_buf *sql, const struct pl_integrity_check *check)
{
	if (check->unique)
		unique_full(sql, check);
	else
		references_full(sql, check);
}
