// The SQL for comparing a resource's rows: see digest.h.
#include "compare/digest.h"

#include <stdio.h>

#include "store/quote.h"
#include "store/statement.h"

#define SHOWN_TIME(column) "to_char(" column ", 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"')"

// Where the value of a field is: in an ordinary row, in its column.
enum where { ORDINARY, ANYWHERE };

static void add_fields(struct pl_buf *sql, const struct pl_resource *resource, enum where where)
{
	for (int i = 0; i < resource->nall; i++) {
		pl_buf_adds(sql, ", ");
		if (where == ANYWHERE) {
			pl_statement_field_value(sql, &resource->fields[i]);
			continue;
		}
		pl_buf_adds(sql, "p.");
		pl_quote_name(sql, resource->fields[i].name);
	}
}

// The contents of the row. While a record has siblings, the times of its fields are
// those of the siblings.
static void add_content(struct pl_buf *sql, const struct pl_resource *resource, enum where where)
{
	pl_buf_adds(sql, "p.id, p.region_origin, p.version, p.updated_at, p.deleted_at IS NOT NULL");
	if (resource->track_fields)
		pl_buf_adds(sql, ", CASE WHEN NOT p.has_siblings THEN p.field_times END");
	add_fields(sql, resource, where);
}

static void add_hash_of(struct pl_buf *sql, const struct pl_resource *resource, bool by_text,
                        enum where where)
{
	pl_buf_adds(sql, by_text ? "hashtextextended(ROW(" : "hash_record_extended(ROW(");
	pl_buf_adds(sql, "p.vector, p.has_siblings, ");
	add_content(sql, resource, where);
	pl_buf_adds(sql, by_text ? ")::text, 0)" : "), 0)");
}

// Looks at unknown_fields once, not once for each field.
static void add_row_hash(struct pl_buf *sql, const struct pl_resource *resource, bool by_text)
{
	pl_buf_adds(sql, "CASE WHEN p.unknown_fields IS NULL THEN ");
	add_hash_of(sql, resource, by_text, ORDINARY);
	pl_buf_adds(sql, " ELSE ");
	add_hash_of(sql, resource, by_text, ANYWHERE);
	pl_buf_adds(sql, " END");
}

static void add_sibling_hash(struct pl_buf *sql, const struct pl_resource *resource)
{
	pl_buf_printf(
		sql,
		"hashtextextended(ROW(s.record_id, s.origin, s.counter, s.vector, s.updated_at, s.deleted, "
		"jsonb_strip_nulls(s.fields)%s)::text, 1)",
		resource->track_fields ? ", s.field_times" : "");
}

// The resource's name may be used as a literal: it is an identifier, so it contains no
// quote.
static void add_digests(struct pl_buf *sql, const struct pl_resource *resource, const char *shift,
                        bool by_text)
{
	pl_buf_printf(sql, "SELECT p.id%s AS place, count(*) AS n, sum(", shift);
	add_row_hash(sql, resource, by_text);
	pl_buf_adds(sql, ") AS digest FROM ");
	pl_statement_table(sql, resource);
	pl_buf_printf(sql,
	              " AS p WHERE p.id >= $1 AND p.id < $2 GROUP BY 1 "
	              "UNION ALL SELECT s.record_id%s, 0, sum(",
	              shift);
	add_sibling_hash(sql, resource);
	pl_buf_printf(sql,
	              ") FROM plist.record_siblings AS s WHERE s.resource = '%s' AND s.record_id >= $1 "
	              "AND s.record_id < $2 GROUP BY 1",
	              resource->name);
}

void pl_digest_ranges_sql(struct pl_buf *sql, const struct pl_resource *resource, bool by_text)
{
	char shift[16];
	snprintf(shift, sizeof(shift), " >> %d", PL_DIGEST_RANGE_BITS);
	pl_buf_adds(sql, "SELECT place, sum(n)::bigint, sum(digest)::text FROM (");
	add_digests(sql, resource, shift, by_text);
	pl_buf_adds(sql, ") AS d GROUP BY place ORDER BY place");
}

void pl_digest_rows_sql(struct pl_buf *sql, const struct pl_resource *resource, bool by_text)
{
	pl_buf_adds(sql, "SELECT place, sum(n)::bigint, sum(digest)::text FROM (");
	add_digests(sql, resource, "", by_text);
	pl_buf_adds(sql, ") AS d GROUP BY place ORDER BY place");
}

void pl_digest_records_sql(struct pl_buf *sql, const struct pl_resource *resource, bool by_text)
{
	(void)by_text; // few rows: always by text
	pl_buf_adds(sql, "SELECT i.id, p.vector::text, p.region_origin, p.version, " SHOWN_TIME(
				 "p.updated_at") ", p.deleted_at IS NOT NULL, jsonb_build_object(");
	for (int i = 0; i < resource->nall; i++) {
		pl_buf_printf(sql, "%s'%s', ", i ? ", " : "", resource->fields[i].name);
		pl_statement_field_value(sql, &resource->fields[i]);
	}
	pl_buf_adds(sql, ")::text, s.list, hashtextextended(ROW(");
	add_content(sql, resource, ANYWHERE);
	pl_buf_adds(sql, ")::text, 0), hashtextextended(ROW(p.has_siblings, s.digest)::text, 0), "
	                 "p.has_siblings "
	                 "FROM unnest($1::bigint[]) AS i(id) LEFT JOIN ");
	pl_statement_table(sql, resource);
	pl_buf_adds(sql, " AS p ON p.id = i.id LEFT JOIN LATERAL (SELECT sum(");
	add_sibling_hash(sql, resource);
	pl_buf_printf(sql,
	              ") AS digest, json_agg(json_build_object('origin', s.origin, 'counter', s.counter, "
	              "'vector', s.vector, 'updated_at', " SHOWN_TIME(
			      "s.updated_at") ", 'deleted', s.deleted, "
	                                      "'fields', s.fields) ORDER BY s.origin, s.counter)::text AS "
	                                      "list FROM plist.record_siblings AS s "
	                                      "WHERE s.resource = '%s' AND s.record_id = i.id) AS s ON "
	                                      "true "
	                                      "ORDER BY i.id",
	              resource->name);
}
