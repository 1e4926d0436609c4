// The SQL of a resource.
//
// store/write_batch says what a statement must do. All texts are assembled from the
// same few pieces, so that a row's JSON, its vector and the check of a lock are each
// written once.
//
// A write's statement, in words:
//
//	d   the writes that were done: UPDATE … RETURNING, INSERT … RETURNING, or both
//	o   the outbox rows, from d
//	r   the remembered requests, from d
//	    and the result, from d
//
// Measured with 64 updates at a time: 24 µs per row, of which the two inserts and their
// indexes take 10, the commit 4, the JSON 1. Reading the row with FOR UPDATE first cost
// 3.5 µs per row more, a materialised list of the incoming writes another 1, arrays as
// text 3.
//
// Threads: any; nothing is shared.
#include "store/statement.h"
#include "store/quote.h"

#include "store/edge_sql.h"
#include "store/statement_private.h"
#include "store/store.h"

// All statements find their rows by key in an index, however few rows the planner
// assumes. A plan that reads the whole table or the whole index would be right for the
// few rows of the first minute, but it would be kept until somebody runs ANALYZE.
const char *const pl_statement_pinned_plans[] = {
	"SET enable_seqscan = off; SET enable_bitmapscan = off; "
	"SET enable_hashjoin = off; SET enable_mergejoin = off; "
	"SET enable_material = off; SET enable_memoize = off; SET cpu_index_tuple_cost = 10",
	NULL,
};

// The time of a write: the same everywhere in a statement, and never before the row's
// own.
#define WRITE_TIME "greatest(now(), p.updated_at + interval '1 microsecond')"

struct text {
	struct pl_buf *buf;
	const struct pl_config *config;
	const struct pl_resource *resource;
	const struct pl_region *region;
	const char *key;
};

// Where a piece reads the incoming writes: directly from the parameters, or from a list
// x that precedes it.
enum source { FROM_ARRAYS, FROM_VALUES, FROM_X };

// The writes that a statement is for.
enum ops { CHANGES, CREATES, ANY };

#define add(t, ...) pl_buf_printf((t)->buf, __VA_ARGS__)

static void adds(struct text *t, const char *s)
{
	pl_buf_adds(t->buf, s);
}

// The key of this region's writes, and its name, which people and clients see.
static void key(struct text *t)
{
	pl_quote_literal(t->buf, t->key);
}

static void region(struct text *t)
{
	pl_quote_literal(t->buf, t->region->name);
}

// ---- pieces

static void param_name(struct text *t, int place)
{
	static const char *const names[] = { "id",        "flags", "ver",     "etag",   "rid",
		                             "principal", "fp",    "expires", "prefix", "trace" };

	if (place < PL_PARAM_FIELD)
		adds(t, names[place]);
	else
		add(t, "f%d", place - PL_PARAM_FIELD);
}

static const char *param_type(const struct pl_resource *resource, int place)
{
	static const char *const types[] = { "bigint", "bigint", "integer",     "text", "text",
		                             "text",   "bytea",  "timestamptz", "text", "text" };

	if (place < PL_PARAM_FIELD)
		return types[place];
	switch (resource->fields[place - PL_PARAM_FIELD].type) {
	case PL_FIELD_INTEGER: return "integer";
	case PL_FIELD_BOOLEAN: return "boolean";
	default: return "text";
	}
}

// The incoming writes as a table x: rows of arrays, or one row of values. x.n counts
// from 1.
static void input(struct text *t, enum source source)
{
	int n = PL_PARAM_FIELD + t->resource->nfields;

	if (source == FROM_X) {
		adds(t, "x");
		return;
	}
	adds(t, source == FROM_ARRAYS ? "unnest(" : "(SELECT ");
	for (int i = 0; i < n; i++) {
		add(t, "%s$%d::%s%s", i ? ", " : "", i + 1, param_type(t->resource, i),
		    source == FROM_ARRAYS ? "[]" : "");
		if (source == FROM_VALUES) {
			adds(t, " AS ");
			param_name(t, i);
		}
	}
	if (source == FROM_VALUES) {
		adds(t, ", 1 AS n) AS x");
		return;
	}
	adds(t, ") WITH ORDINALITY AS x(");
	for (int i = 0; i < n; i++) {
		param_name(t, i);
		adds(t, ", ");
	}
	adds(t, "n)");
}

static void field_value(struct text *t, int i, const char *alias)
{
	add(t, t->resource->fields[i].type == PL_FIELD_DECIMAL ? "%s.f%d::numeric" : "%s.f%d", alias, i);
}

// A scalar subquery, which PostgreSQL executes for each row with that row's key. It
// would turn NOT EXISTS into a join; and on a table that was analyzed while it was
// empty, into one that reads the whole index for each row, a plan that is kept while
// the table grows.
static const char not_remembered[] =
	"(SELECT true FROM plist.processed_requests r WHERE r.request_id = x.rid AND r.principal = "
	"coalesce(x.principal, '')) IS NULL";

// No other transaction has locked this row version: see "What happens to each row" in
// write_batch.c. The last part is evaluated only where the first two are false.
static const char not_locked[] = "(p.xmax = '0' OR p.xmax = p.xmin OR age(p.xmax) > "
				 "age(pg_snapshot_xmin(pg_current_snapshot())::xid))";

// The check of a write's lock, on a live row.
static const char lock_holds[] =
	"p.deleted_at IS NULL AND x.flags & 12 = 0 AND (x.ver IS NULL OR x.ver = p.version) AND "
	"(x.etag IS NULL OR x.etag::jsonb = p.vector)";

// Whether the lock names a state that further executions of its own requests have made
// an older one. The serial statement and the question only: such a record has siblings.
static void lock_of_twins(struct text *t, const char *has_siblings, const char *version, const char *etag)
{
	add(t, "(%s AND plist.plist_lock_of_twins(", has_siblings);
	pl_quote_literal(t->buf, t->resource->name);
	add(t, ", p.id, p.vector, %s, %s))", version, etag);
}

// The same check where the record may have siblings.
static void lock_holds_serially(struct text *t)
{
	add(t, "CASE WHEN %s THEN true ELSE p.deleted_at IS NULL AND x.flags & 12 = 0 AND ", lock_holds);
	lock_of_twins(t, "l.has_siblings", "x.ver", "x.etag::jsonb");
	adds(t, " END");
}

// {"price": {"at": µs, "origin": "us"}} for the fields that this write changes, merged
// into what was there.
static void field_times(struct text *t)
{
	adds(t, ", field_times = coalesce(p.field_times, '{}') || jsonb_strip_nulls(jsonb_build_object(");
	for (int i = 0; i < t->resource->nfields; i++) {
		adds(t, i ? ", " : "");
		pl_quote_literal(t->buf, t->resource->fields[i].name);
		add(t, ", CASE WHEN x.flags & %lld <> 0 AND p.", (long long)PL_FLAG_FIELD(i));
		pl_quote_name(t->buf, t->resource->fields[i].name);
		adds(t, " IS DISTINCT FROM ");
		field_value(t, i, "x");
		adds(t, " THEN jsonb_build_object('at', (extract(epoch FROM " WRITE_TIME
		        ") * 1000000)::bigint, 'origin', ");
		region(t);
		adds(t, ") END");
	}
	adds(t, "))");
}

// The columns of d that come from the write,
static void kept(struct text *t, const char *from, const char *id)
{
	add(t,
	    "%s.n, %s.id, %s.flags, %s.rid, coalesce(%s.principal, '') AS principal, %s.fp, "
	    "%s.expires, %s.prefix, %s.trace, ",
	    from, id, from, from, from, from, from, from, from);
}

// The columns that plist manages are what the statement set them to, in the row as the
// triggers of the table left it. Otherwise the regions would differ for good.
static void as_meant(struct text *t, bool create, bool serial)
{
	adds(t, "p.region_origin = ");
	key(t);
	if (create)
		adds(t, " AND p.version = 1 AND p.deleted_at IS NULL");
	else
		add(t,
		    " AND p.id = x.id AND p.version = coalesce(%s, p.version - 1) + 1 AND "
		    "(p.deleted_at IS NOT NULL) = (x.flags & 3 = 2)",
		    serial ? "CASE WHEN NOT l.has_siblings THEN x.ver END" : "x.ver");
	add(t, " AND p.updated_at BETWEEN '0001-01-01 00:00:00+00' AND now() + interval '%lld seconds' AND ",
	    (long long)(PL_AHEAD_US / 1000000 + 1));
	pl_edge_sql_sum(t->buf, t->config, t->key);
}

// and from the row that it made. A dot is the write's own entry in the vector. The
// outbox does not take a NULL value.
static void made(struct text *t, bool create, bool serial)
{
	adds(t, "p.vector, jsonb_build_object(");
	key(t);
	adds(t, ", p.vector -> ");
	key(t);
	adds(t, ") AS dot, ");
	if (t->resource->track_fields)
		adds(t, "p.field_times, ");
	pl_statement_unknown(t->buf, t->resource);
	adds(t, " AS unknown, CASE WHEN ");
	as_meant(t, create, serial);
	adds(t, " THEN ");
	pl_statement_json(t->buf, t->resource, t->region->name);
	adds(t, " END AS value");
}

// See record/edge.h. The row that this write makes is within the limits.
static void can_be_written(struct text *t)
{
	pl_edge_sql(t->buf, t->config, t->resource, t->key);
}

// ---- writes

// What remains in unknown_fields. A create over a tombstone starts without; what another
// write sets replaces a value there, also one that does not fit its field's type yet.
static void rest_of_unknown(struct text *t, bool serial)
{
	adds(t, ", unknown_fields = CASE ");
	if (serial) {
		adds(t, "WHEN x.flags & 3 = 0 THEN ");
		pl_statement_written_unknown(t->buf, t->resource, NULL);
		adds(t, " ");
	}
	adds(t, "WHEN p.unknown_fields IS NOT NULL THEN plist.plist_unknown_rest("
	        "plist.plist_unknown_unset(p.unknown_fields, ");
	pl_statement_known_names(t->buf, t->resource);
	adds(t, ", x.flags), ");
	pl_statement_field_types(t->buf, t->resource, t->resource->nfields);
	adds(t, ") END");
}

static void update(struct text *t, bool serial)
{
	adds(t, "UPDATE ");
	pl_statement_table(t->buf, t->resource);
	adds(t, " p SET ");
	for (int i = 0; i < t->resource->nfields; i++) {
		pl_quote_name(t->buf, t->resource->fields[i].name);
		add(t, " = CASE WHEN x.flags & %lld <> 0 THEN ", (long long)PL_FLAG_FIELD(i));
		field_value(t, i, "x");
		adds(t, " ELSE ");
		pl_statement_field_value(t->buf, &t->resource->fields[i]);
		adds(t, " END, ");
	}
	adds(t, "region_origin = ");
	key(t);
	adds(t, ", version = p.version + 1, updated_at = " WRITE_TIME
	        ", vector = p.vector || jsonb_build_object(");
	key(t);
	adds(t, ", coalesce((p.vector -> ");
	key(t);
	adds(t, ")::integer, 0) + 1), deleted_at = CASE WHEN x.flags & 3 = 2 THEN " WRITE_TIME
	        " END, request_id = nullif(x.rid, '')");
	rest_of_unknown(t, serial);
	if (t->resource->track_fields)
		field_times(t);
}

// Updates and deletes of ordinary rows that are not locked.
static void change(struct text *t, enum source source)
{
	update(t, false);
	adds(t, "\n FROM ");
	input(t, source);
	add(t, "\n WHERE p.id = x.id AND %s AND NOT p.has_siblings%s AND ", not_locked,
	    source == FROM_X ? " AND x.flags & 3 <> 0" : "");
	adds(t, lock_holds);
	adds(t, "\n  AND ");
	can_be_written(t);
	pl_statement_guard(t->buf, t->config, t->resource, true);
	add(t, "\n  AND %s\n RETURNING ", not_remembered);
	kept(t, "x", "p");
	made(t, false, false);
}

// A single write of any kind on an existing row, once its lock is held.
static void change_serially(struct text *t)
{
	adds(t, "l AS MATERIALIZED (SELECT p.has_siblings FROM ");
	pl_statement_table(t->buf, t->resource);
	add(t, " p, x\n WHERE p.id = $%d::bigint AND %s FOR NO KEY UPDATE OF p),\nu AS (", PL_PARAM_ID + 1,
	    not_remembered);
	update(t, true);
	add(t,
	    ", has_siblings = false\n FROM x, l\n WHERE p.id = $%d::bigint AND CASE WHEN x.flags & 3 = "
	    "0 THEN p.deleted_at IS NOT NULL ELSE ",
	    PL_PARAM_ID + 1);
	lock_holds_serially(t);
	adds(t, " END AND ");
	can_be_written(t);
	pl_statement_guard(t->buf, t->config, t->resource, true);
	adds(t, "\n RETURNING ");
	kept(t, "x", "p");
	made(t, false, true);
	adds(t, ", l.has_siblings)");
}

static void created_field_times(struct text *t)
{
	adds(t, ", jsonb_strip_nulls(jsonb_build_object(");
	for (int i = 0; i < t->resource->nfields; i++) {
		adds(t, i ? ", " : "");
		pl_quote_literal(t->buf, t->resource->fields[i].name);
		add(t,
		    ", CASE WHEN i.f%d IS NOT NULL THEN jsonb_build_object('at', (extract(epoch FROM "
		    "now()) * 1000000)::bigint, 'origin', ",
		    i);
		region(t);
		adds(t, ") END");
	}
	adds(t, "))");
}

// The creates, i, get their ids; those whose id is free are inserted, c. An id from the
// sequence may be one that another create of the batch asks for explicitly; both would
// find the one row of c and count as done. In that case the id from the sequence is not
// used, and another one is drawn.
static void create(struct text *t, enum source source, bool several)
{
	add(t,
	    "i AS MATERIALIZED (%sSELECT x.*, CASE WHEN x.id = 0 THEN (SELECT id_base FROM "
	    "plist.id_ranges WHERE region = ",
	    several ? "SELECT * FROM (" : "");
	region(t);
	adds(t, ") + nextval('");
	pl_statement_table_named(t->buf, t->resource, "_ids");
	adds(t, "') ELSE x.id END AS new_id FROM ");
	input(t, source);
	add(t, "\n WHERE %s%s", source == FROM_X ? "x.flags & 3 = 0 AND " : "", not_remembered);
	pl_statement_guard(t->buf, t->config, t->resource, false);
	if (several)
		add(t, ") x WHERE x.id <> 0 OR x.new_id <> ALL ($%d::bigint[])", PL_PARAM_ID + 1);
	adds(t, "),\nc AS (INSERT INTO ");
	pl_statement_table(t->buf, t->resource);
	adds(t, " AS p (id, ");
	for (int i = 0; i < t->resource->nfields; i++) {
		pl_quote_name(t->buf, t->resource->fields[i].name);
		adds(t, ", ");
	}
	add(t,
	    "region_origin, version, updated_at, vector, request_id, unknown_fields%s)\n SELECT i.new_id, ",
	    t->resource->track_fields ? ", field_times" : "");
	for (int i = 0; i < t->resource->nfields; i++) {
		field_value(t, i, "i");
		adds(t, ", ");
	}
	key(t);
	adds(t, ", 1, now(), jsonb_build_object(");
	key(t);
	adds(t, ", 1), nullif(i.rid, ''), ");
	pl_statement_written_unknown(t->buf, t->resource, NULL);
	if (t->resource->track_fields)
		created_field_times(t);
	adds(t, " FROM i ON CONFLICT (id) DO NOTHING\n RETURNING p.id, ");
	made(t, true, false);
	adds(t, ")");
}

// The inserted rows, with the columns of d. One without its write, because a trigger
// changed its id, has no request, which the outbox does not take.
static void created(struct text *t)
{
	adds(t, "SELECT ");
	kept(t, "i", "c");
	add(t, "c.vector, c.dot, %sc.unknown, c.value", t->resource->track_fields ? "c.field_times, " : "");
}

// The Location of a create: the path of the request may have no region's prefix.
static void location(struct text *t)
{
	add(t, "CASE d.prefix WHEN '' THEN '' ELSE '/' || d.prefix END || '/%s/' || d.id", t->resource->name);
}

// The status of a write's answer.
static const char *status_of(enum ops ops)
{
	switch (ops) {
	case CHANGES: return "CASE d.flags & 3 WHEN 1 THEN 200 ELSE 204 END";
	case CREATES: return "201";
	case ANY: break;
	}
	return "CASE d.flags & 3 WHEN 0 THEN 201 WHEN 1 THEN 200 ELSE 204 END";
}

// What other regions cannot derive of the answer: the Location of a create that was sent
// under another region's prefix, or under none.
static void answer(struct text *t)
{
	adds(t, ", CASE WHEN d.flags & 3 = 0 AND d.prefix <> ");
	region(t);
	adds(t, " THEN jsonb_build_object('location', ");
	location(t);
	adds(t, ")::text END");
}

static void outbox(struct text *t, enum ops ops)
{
	bool times = t->resource->track_fields;

	add(t,
	    ",\no AS (INSERT INTO plist.outbox (resource, record_id, origin, value, deleted, vector, "
	    "%srequest_id, principal, fingerprint, status, expires_at, traceparent%s)\n SELECT ",
	    times ? "field_times, " : "", ops == CHANGES ? "" : ", answer");
	pl_quote_literal(t->buf, t->resource->name);
	adds(t, ", d.id, ");
	key(t);
	adds(t, ", ");
	pl_statement_with_unknown(t->buf, "d.value", "d.unknown");
	add(t, ", d.flags & 3 = 2, d.vector, %sd.rid, d.principal, d.fp, %s, d.expires, d.trace",
	    times ? "d.field_times, " : "", status_of(ops));
	if (ops != CHANGES)
		answer(t);
	adds(t, " FROM d RETURNING id)");
}

static void remembered(struct text *t, enum ops ops)
{
	add(t,
	    ",\nr AS (INSERT INTO plist.processed_requests (request_id, principal, fingerprint, resource, "
	    "record_id, status, response_body, vector, dots, expires_at%s)\n SELECT d.rid, d.principal, "
	    "d.fp, ",
	    ops == CHANGES ? "" : ", location");
	pl_quote_literal(t->buf, t->resource->name);
	add(t, ", d.id, %s, %s, d.vector, d.dot, d.expires", status_of(ops),
	    ops == CREATES ? "d.value::jsonb" : "CASE WHEN d.flags & 3 <> 2 THEN d.value::jsonb END");
	if (ops != CHANGES) {
		adds(t, ", CASE WHEN d.flags & 3 = 0 THEN ");
		location(t);
		adds(t, " END");
	}
	adds(t, " FROM d WHERE d.rid <> '')");
}

// The outbox, the remembered requests, the answer.
static void rest(struct text *t, enum ops ops, bool serial)
{
	outbox(t, ops);
	remembered(t, ops);
	adds(t, "\nSELECT d.n, d.value, d.vector::text, (SELECT max(id) FROM o)");
	if (serial) {
		adds(t, ", CASE WHEN d.has_siblings THEN plist.plist_replace_siblings(");
		pl_quote_literal(t->buf, t->resource->name);
		adds(t, ", d.id) END");
	}
	adds(t, " FROM d");
}

static void change_text(struct text *t, enum source source)
{
	adds(t, "WITH d AS (\n ");
	change(t, source);
	adds(t, ")");
	rest(t, CHANGES, false);
}

static void create_text(struct text *t, enum source source)
{
	adds(t, "WITH ");
	create(t, source, source == FROM_ARRAYS);
	adds(t, ",\nd AS (");
	created(t);
	adds(t, " FROM c LEFT JOIN i ON i.new_id = c.id)");
	rest(t, CREATES, false);
}

static void mixed_text(struct text *t, enum source source, bool serial)
{
	adds(t, "WITH x AS MATERIALIZED (SELECT * FROM ");
	input(t, source);
	adds(t, "),\n");
	if (serial) {
		change_serially(t);
	} else {
		adds(t, "u AS (");
		change(t, FROM_X);
		adds(t, ")");
	}
	adds(t, ",\n");
	create(t, FROM_X, !serial);
	adds(t, ",\nd AS (SELECT * FROM u UNION ALL ");
	created(t);
	add(t, "%s FROM c LEFT JOIN i ON i.new_id = c.id)", serial ? ", false" : "");
	rest(t, ANY, serial);
}

// ---- reads

// Why a write has no row in the result of its statement, or, after a lost connection,
// whether it was done: all from one snapshot, in the order in which the client is to
// see it.
static void ask_text(struct text *t)
{
	adds(t, "SELECT x.n, CASE");
	add(t, "\n WHEN r.fingerprint = x.fp THEN %d WHEN r.fingerprint IS NOT NULL THEN %d",
	    PL_OUTCOME_REMEMBERED, PL_OUTCOME_REUSED);
	add(t, "\n WHEN x.flags & 3 = 0 AND p.id IS NOT NULL AND p.deleted_at IS NULL THEN %d",
	    PL_OUTCOME_EXISTS);
	pl_statement_guard_reasons(t->buf, t->config, t->resource, true);
	adds(t, " WHEN x.flags & 3 = 0 AND (p.id IS NULL OR ");
	can_be_written(t);
	add(t, ") THEN %d WHEN x.flags & 3 = 0 THEN %d", PL_ASKED_AGAIN, PL_OUTCOME_EDGE);
	add(t, "\n WHEN p.id IS NULL OR p.deleted_at IS NOT NULL THEN %d", PL_OUTCOME_NOT_FOUND);
	adds(t, "\n WHEN x.ver <> p.version AND NOT ");
	lock_of_twins(t, "p.has_siblings", "x.ver", "NULL");
	add(t, " THEN %d\n WHEN x.flags & %d <> 0 OR x.etag::jsonb <> p.vector AND NOT ", PL_OUTCOME_VERSION,
	    (int)PL_FLAG_ETAG_NEVER);
	lock_of_twins(t, "p.has_siblings", "NULL", "x.etag::jsonb");
	add(t, " THEN %d", PL_OUTCOME_ETAG);
	add(t, "\n WHEN x.flags & %d <> 0 THEN %d", (int)PL_FLAG_UNLOCKED, PL_OUTCOME_UNLOCKED);
	pl_statement_guard_reasons(t->buf, t->config, t->resource, false);
	adds(t, " WHEN ");
	can_be_written(t);
	add(t, " THEN %d ELSE %d END,", PL_ASKED_AGAIN, PL_OUTCOME_EDGE);
	adds(t, "\n coalesce(r.expires_at = x.expires, false), r.status, r.response_body::text, "
	        "r.location, r.vector::text,\n ");
	pl_statement_json(t->buf, t->resource, NULL);
	adds(t, ", p.vector::text, p.deleted_at IS NOT NULL, p.has_siblings, ");
	pl_statement_guard_names(t->buf, t->config, t->resource);
	adds(t, "\nFROM ");
	input(t, FROM_ARRAYS);
	adds(t, "\nLEFT JOIN LATERAL (SELECT * FROM plist.processed_requests r WHERE r.request_id = x.rid "
	        "AND r.principal = coalesce(x.principal, '') OFFSET 0) r"
	        " ON true\nLEFT JOIN LATERAL (SELECT * FROM ");
	pl_statement_table(t->buf, t->resource);
	adds(t, " p WHERE p.id = x.id OFFSET 0) p ON true");
}

static void read_text(struct text *t)
{
	adds(t, "SELECT ");
	pl_statement_read_columns(t->buf, t->resource);
	adds(t, " FROM ");
	pl_statement_table(t->buf, t->resource);
	adds(t, " p WHERE p.id = ANY ($1::bigint[]) AND p.deleted_at IS NULL");
}

void pl_statement_text(struct pl_buf *buf, enum pl_statement_kind kind, const struct pl_config *config,
                       const struct pl_resource *resource, const struct pl_region *own, const char *key)
{
	struct text t = { buf, config, resource, own, key };

	switch (kind) {
	case PL_STATEMENT_CHANGE_BATCH: change_text(&t, FROM_ARRAYS); break;
	case PL_STATEMENT_CHANGE_ONE: change_text(&t, FROM_VALUES); break;
	case PL_STATEMENT_CHANGE_PLAIN: pl_statement_plain(buf, config, resource, own, key); break;
	case PL_STATEMENT_CREATE_BATCH: create_text(&t, FROM_ARRAYS); break;
	case PL_STATEMENT_CREATE_ONE: create_text(&t, FROM_VALUES); break;
	case PL_STATEMENT_MIXED_BATCH: mixed_text(&t, FROM_ARRAYS, false); break;
	case PL_STATEMENT_SERIAL: mixed_text(&t, FROM_VALUES, true); break;
	case PL_STATEMENT_ASK: ask_text(&t); break;
	case PL_STATEMENT_READ: read_text(&t); break;
	case PL_STATEMENT_KINDS: break;
	}
}

const char *pl_statement_kind_name(enum pl_statement_kind kind)
{
	static const char *const names[] = { "change_batch", "change_one", "change_plain",
		                             "create_batch", "create_one", "mixed_batch",
		                             "serial",       "ask",        "read" };

	return names[kind];
}
