// The statement for the plain case: one update of an ordinary row, locked by its version,
// that concerns no other record.
//
// PostgreSQL prepares every expression of a statement each time it executes it, and a
// single write's statement spends most of its time with that. So this one leaves out all
// that such a write hardly ever needs. It does what PL_STATEMENT_CHANGE_ONE does, or
// nothing at all; then that statement is used (store/write_batch.c, "The plain case").
//
// What it leaves out, and why it may:
//
//	remembered requests  a request that was executed has moved the row beyond the
//	                     version that it names. If it finds that version again, the
//	                     insert meets the remembered one: a unique violation
//	the row as it was    the row that was made is checked instead, which comes to the
//	                     same: its vector is the old one with one more write of this
//	                     region. What does not fit makes the outbox refuse its row
//	unknown fields, retired and other names in a vector, locks that were left behind
//	                     the row is not written
//
// Threads: any; nothing is shared.
#include "store/edge_sql.h"
#include "store/quote.h"
#include "store/statement_private.h"
#include "store/store.h"

struct plain {
	struct pl_buf *buf;
	const struct pl_config *config;
	const struct pl_resource *resource;
	const struct pl_region *region;
	const char *key;
};

#define add(t, ...) pl_buf_printf((t)->buf, __VA_ARGS__)
#define P(place)    (PL_PARAM_##place + 1) // $n

static void key(struct plain *t)
{
	pl_quote_literal(t->buf, t->key);
}

static void set_field(struct plain *t, int i)
{
	static const char *const casts[] = { [PL_FIELD_DECIMAL] = "text::numeric",
		                             [PL_FIELD_INTEGER] = "integer",
		                             [PL_FIELD_STRING] = "text",
		                             [PL_FIELD_BOOLEAN] = "boolean" };

	pl_quote_name(t->buf, t->resource->fields[i].name);
	add(t, " = CASE WHEN $%d::bigint & %lld <> 0 THEN $%d::%s ELSE p.", P(FLAGS),
	    (long long)PL_FLAG_FIELD(i), P(FIELD) + i, casts[t->resource->fields[i].type]);
	pl_quote_name(t->buf, t->resource->fields[i].name);
	add(t, " END, ");
}

// numeric, so that a count that is not a whole number stays as it is.
static void set(struct plain *t)
{
	for (int i = 0; i < t->resource->nfields; i++)
		set_field(t, i);
	add(t, "region_origin = ");
	key(t);
	add(t, ", version = p.version + 1, updated_at = greatest(now(), p.updated_at + interval '1 "
	       "microsecond'), vector = p.vector || jsonb_build_object(");
	key(t);
	add(t, ", coalesce((p.vector -> ");
	key(t);
	add(t, ")::numeric, 0) + 1), request_id = $%d::text", P(REQUEST_ID));
}

static void where(struct plain *t)
{
	add(t,
	    "p.id = $%d::bigint AND p.version = $%d::integer AND (p.xmax = '0' OR p.xmax = p.xmin) AND NOT "
	    "p.has_siblings AND p.deleted_at IS NULL AND p.unknown_fields IS NULL AND ",
	    P(ID), P(VERSION));
	pl_edge_sql_ordinary_names(t->buf, t->config, t->key);
	add(t, " AND ");
	pl_statement_nobody_knows_more(t->buf, t->resource);
}

// As in store/statement.c: the row is as the statement set it, not as a trigger did.
static void as_meant(struct plain *t)
{
	add(t, "p.id = $%d::bigint AND p.region_origin = ", P(ID));
	key(t);
	add(t,
	    " AND p.version = $%d::integer + 1 AND p.deleted_at IS NULL AND p.updated_at BETWEEN "
	    "'0001-01-01 00:00:00+00' AND now() + interval '%lld seconds' AND ",
	    P(VERSION), (long long)(PL_AHEAD_US / 1000000));
	pl_edge_sql_written(t->buf, t->config, t->resource, t->key);
}

static void made(struct plain *t)
{
	add(t, "p.id, p.vector, jsonb_build_object(");
	key(t);
	add(t, ", p.vector -> ");
	key(t);
	add(t, ") AS dot, CASE WHEN ");
	as_meant(t);
	add(t, " THEN ");
	pl_statement_json(t->buf, t->resource, t->region->name);
	add(t, " END AS value");
}

// The parameters that are not needed have to be named, too: PostgreSQL takes their types
// from where they are used. It does not execute `unused`.
void pl_statement_plain(struct pl_buf *buf, const struct pl_config *config,
                        const struct pl_resource *resource, const struct pl_region *own, const char *own_key)
{
	struct plain t = { buf, config, resource, own, own_key };

	add(&t, "WITH unused AS (SELECT $%d::text, $%d::text),\nd AS (\n UPDATE ", P(ETAG), P(PREFIX));
	pl_statement_table(buf, resource);
	add(&t, " AS p SET ");
	set(&t);
	add(&t, "\n WHERE ");
	where(&t);
	add(&t, "\n RETURNING ");
	made(&t);
	add(&t,
	    "),\nr AS (INSERT INTO plist.processed_requests (request_id, principal, fingerprint, resource, "
	    "record_id, status, response_body, vector, dots, expires_at)\n SELECT $%d::text, "
	    "coalesce($%d::text, ''), $%d::bytea, ",
	    P(REQUEST_ID), P(PRINCIPAL), P(FINGERPRINT));
	pl_quote_literal(buf, resource->name);
	add(&t,
	    ", d.id, 200, d.value::jsonb, d.vector, d.dot, $%d::timestamptz FROM d)\nINSERT INTO "
	    "plist.outbox (resource, record_id, origin, value, vector, request_id, principal, fingerprint, "
	    "status, expires_at, traceparent)\n SELECT ",
	    P(EXPIRES));
	pl_quote_literal(buf, resource->name);
	add(&t, ", d.id, ");
	key(&t);
	add(&t,
	    ", d.value, d.vector, $%d::text, coalesce($%d::text, ''), $%d::bytea, 200, $%d::timestamptz, "
	    "$%d::text FROM d\n RETURNING 1, value, vector, id",
	    P(REQUEST_ID), P(PRINCIPAL), P(FINGERPRINT), P(EXPIRES), P(TRACEPARENT));
}
