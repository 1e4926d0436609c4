// The SQL of a resource.
//
// Stands between record/batch, which says what a statement must do, and PostgreSQL. All texts are put together from the same few pieces,
// so that a row's JSON, its vector or the check of a lock is written down once.
//
// A write's statement, in words:
//
//	d   what was done: UPDATE … RETURNING, or INSERT … RETURNING, or both; with it what the next two need
//	o   the outbox's rows, from d
//	r   the remembered requests, from d
//	    and the answer, from d
//
// What is measured, on 64 updates at a time: 24 µs a row, of which the two inserts and their indexes are 10, the commit 4, the
// JSON 1. Reading the row first FOR UPDATE cost 3.5 µs a row more, a materialised list of what came in another 1, arrays as text 3.
//
// Threads: any; nothing is shared.
#include "record/statement.h"

#include <string.h>

#include "record/store.h"

// Every statement of ours finds its rows by their keys in an index, however few rows the planner believes there to be: a plan that reads
// the whole table, or the whole index, would be right for the few rows of the first minute, and is kept until somebody runs ANALYZE.
const char *const pl_statement_pinned_plans[] = {
	"SET enable_seqscan = off; SET enable_bitmapscan = off; SET enable_hashjoin = off; SET enable_mergejoin = off; "
	"SET enable_material = off; SET enable_memoize = off; SET cpu_index_tuple_cost = 10", NULL,
};

// The time of a write: the same wherever it stands in a statement, and never before the row's own.
#define WRITE_TIME "greatest(now(), p.updated_at + interval '1 microsecond')"

struct text {
	struct pl_buf *buf;
	const struct pl_resource *resource;
	const struct pl_region *region;
};

// Where a piece takes the incoming writes from: straight from the parameters, or from a list x that stands before it.
enum source { FROM_ARRAYS, FROM_VALUES, FROM_X };

#define add(t, ...) pl_buf_printf((t)->buf, __VA_ARGS__)

static void adds(struct text *t, const char *s)
{
	pl_buf_adds(t->buf, s);
}

static void quoted(struct pl_buf *buf, const char *s, size_t len, char quote)
{
	pl_buf_addc(buf, quote);
	for (size_t i = 0; i < len; i++) {
		if (s[i] == quote)
			pl_buf_addc(buf, quote);
		pl_buf_addc(buf, s[i]);
	}
	pl_buf_addc(buf, quote);
}

void pl_statement_name(struct pl_buf *buf, const char *identifier)
{
	quoted(buf, identifier, strlen(identifier), '"');
}

static void literal(struct pl_buf *buf, const char *s)
{
	quoted(buf, s, strlen(s), '\'');
}

static void region(struct text *t)
{
	literal(t->buf, t->region->name);
}

// "listings.homes" is a table of a schema.
static void table(struct pl_buf *buf, const struct pl_resource *resource, const char *suffix)
{
	const char *dot = strchr(resource->table, '.'), *name = dot ? dot + 1 : resource->table;
	struct pl_buf whole = { 0 };

	if (dot) {
		quoted(buf, resource->table, (size_t)(dot - resource->table), '"');
		pl_buf_addc(buf, '.');
	}
	pl_buf_printf(&whole, "%s%s", name, suffix);
	pl_statement_name(buf, whole.data);
	pl_buf_fini(&whole);
}

void pl_statement_table(struct pl_buf *buf, const struct pl_resource *resource)
{
	table(buf, resource, "");
}

// ---- pieces

// The record's JSON, byte for byte what pl_record_print makes of it.
static void record_json(struct pl_buf *buf, const struct pl_resource *resource)
{
	pl_buf_adds(buf, "'{\"id\":' || p.id || '");
	for (int i = 0; i < resource->nfields; i++) {
		const struct pl_field *field = &resource->fields[i];
		struct pl_buf column = { 0 };

		pl_statement_name(&column, field->name);
		pl_buf_printf(buf, ",\"%s\":' || ", field->name); // an identifier: no quotes in it
		switch (field->type) {
		case PL_FIELD_DECIMAL:
		case PL_FIELD_INTEGER:
			pl_buf_printf(buf, field->required ? "p.%s" : "coalesce(p.%s::text, 'null')", column.data);
			break;
		case PL_FIELD_BOOLEAN:
			pl_buf_printf(buf, "CASE WHEN p.%s THEN 'true' WHEN NOT p.%s THEN 'false' ELSE 'null' END", column.data, column.data);
			break;
		case PL_FIELD_STRING:
			pl_buf_printf(buf, "coalesce(to_json(p.%s)::text, 'null')", column.data);
			break;
		}
		pl_buf_adds(buf, " || '");
		pl_buf_fini(&column);
	}
	pl_buf_adds(buf, ",\"region_origin\":\"' || p.region_origin || '\",\"version\":' || p.version || ',\"updated_at\":\"' || "
	                 "to_char(p.updated_at, 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"') || '\"}'");
}

static void param_name(struct text *t, int place)
{
	static const char *const names[] = { "id", "flags", "ver", "etag", "rid", "principal", "fp", "expires", "prefix", "trace" };

	if (place < PL_PARAM_FIELD)
		adds(t, names[place]);
	else
		add(t, "f%d", place - PL_PARAM_FIELD);
}

static const char *param_type(const struct pl_resource *resource, int place)
{
	static const char *const types[] = { "bigint", "bigint", "integer", "text", "text", "text", "bytea", "timestamptz", "text", "text" };

	if (place < PL_PARAM_FIELD)
		return types[place];
	switch (resource->fields[place - PL_PARAM_FIELD].type) {
	case PL_FIELD_INTEGER:
		return "integer";
	case PL_FIELD_BOOLEAN:
		return "boolean";
	default:
		return "text";
	}
}

// What came in, as a table x: rows of arrays, or one row of values. x.n counts from 1.
static void input(struct text *t, enum source source)
{
	int n = PL_PARAM_FIELD + t->resource->nfields;

	if (source == FROM_X) {
		adds(t, "x");
		return;
	}
	adds(t, source == FROM_ARRAYS ? "unnest(" : "(SELECT ");
	for (int i = 0; i < n; i++) {
		add(t, "%s$%d::%s%s", i ? ", " : "", i + 1, param_type(t->resource, i), source == FROM_ARRAYS ? "[]" : "");
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

// As a scalar subquery, which PostgreSQL runs for each row with the row's own key. NOT EXISTS it would turn into a join, and on a table
// that was analyzed while it was empty, into one that reads the whole index for each row; and keep that plan while the table grows.
static const char not_remembered[] =
	"(SELECT true FROM processed_requests r WHERE r.request_id = x.rid AND r.principal = coalesce(x.principal, '')) IS NULL";

// Nobody is at this row version: see "Rows that someone else is at" in batch.c. The last part is looked at only where the first two say no.
static const char nobody_at_it[] =
	"(p.xmax = '0' OR p.xmax = p.xmin OR age(p.xmax) > age(pg_snapshot_xmin(pg_current_snapshot())::xid))";

// The lock that a write asks for, on a live row.
static const char lock_holds[] =
	"p.deleted_at IS NULL AND x.flags & 12 = 0 AND (x.ver IS NULL OR x.ver = p.version) AND (x.etag IS NULL OR x.etag::jsonb = p.vector)";

// {"price": {"at": µs, "origin": "us"}} for the fields that this write changes, over what was there.
static void field_times(struct text *t)
{
	adds(t, ", field_times = coalesce(p.field_times, '{}') || jsonb_strip_nulls(jsonb_build_object(");
	for (int i = 0; i < t->resource->nfields; i++) {
		adds(t, i ? ", " : "");
		literal(t->buf, t->resource->fields[i].name);
		add(t, ", CASE WHEN x.flags & %lld <> 0 AND p.", (long long)PL_FLAG_FIELD(i));
		pl_statement_name(t->buf, t->resource->fields[i].name);
		adds(t, " IS DISTINCT FROM ");
		field_value(t, i, "x");
		adds(t, " THEN jsonb_build_object('at', (extract(epoch FROM " WRITE_TIME ") * 1000000)::bigint, 'origin', ");
		region(t);
		adds(t, ") END");
	}
	adds(t, "))");
}

// What d keeps of a write,
static void kept(struct text *t, const char *from, const char *id)
{
	add(t, "%s.n, %s.id, %s.flags, %s.rid, coalesce(%s.principal, '') AS principal, %s.fp, %s.expires, %s.prefix, %s.trace, ",
	    from, id, from, from, from, from, from, from, from);
}

// and of the row that it made. A dot is the write's own entry of the vector.
static void made(struct text *t)
{
	adds(t, "p.vector, jsonb_build_object(");
	region(t);
	adds(t, ", p.vector -> ");
	region(t);
	adds(t, ") AS dot, ");
	if (t->resource->track_fields)
		adds(t, "p.field_times, ");
	record_json(t->buf, t->resource);
	adds(t, " AS value");
}

// ---- writes

static void update(struct text *t)
{
	adds(t, "UPDATE ");
	pl_statement_table(t->buf, t->resource);
	adds(t, " p SET ");
	for (int i = 0; i < t->resource->nfields; i++) {
		pl_statement_name(t->buf, t->resource->fields[i].name);
		add(t, " = CASE WHEN x.flags & %lld <> 0 THEN ", (long long)PL_FLAG_FIELD(i));
		field_value(t, i, "x");
		adds(t, " ELSE p.");
		pl_statement_name(t->buf, t->resource->fields[i].name);
		adds(t, " END, ");
	}
	adds(t, "region_origin = ");
	region(t);
	adds(t, ", version = p.version + 1, updated_at = " WRITE_TIME ", vector = p.vector || jsonb_build_object(");
	region(t);
	adds(t, ", coalesce((p.vector ->> ");
	region(t);
	adds(t, ")::integer, 0) + 1), deleted_at = CASE WHEN x.flags & 3 = 2 THEN " WRITE_TIME " END, request_id = nullif(x.rid, '')");
	if (t->resource->track_fields)
		field_times(t);
}

// Updates and deletes of ordinary rows that nobody else is at.
static void change(struct text *t, enum source source)
{
	update(t);
	adds(t, "\n FROM ");
	input(t, source);
	add(t, "\n WHERE p.id = x.id AND %s AND NOT p.siblings%s AND ", nobody_at_it, source == FROM_X ? " AND x.flags & 3 <> 0" : "");
	adds(t, lock_holds);
	add(t, "\n  AND %s\n RETURNING ", not_remembered);
	kept(t, "x", "p");
	made(t);
}

// A single write of any kind on a row that is there, once its lock is held.
static void change_carefully(struct text *t)
{
	adds(t, "l AS MATERIALIZED (SELECT p.siblings FROM ");
	pl_statement_table(t->buf, t->resource);
	add(t, " p, x\n WHERE p.id = $%d::bigint AND %s FOR NO KEY UPDATE OF p),\nu AS (", PL_PARAM_ID + 1, not_remembered);
	update(t);
	add(t, ", siblings = false\n FROM x, l\n WHERE p.id = $%d::bigint AND CASE WHEN x.flags & 3 = 0 THEN p.deleted_at IS NOT NULL ELSE ",
	    PL_PARAM_ID + 1);
	adds(t, lock_holds);
	adds(t, " END\n RETURNING ");
	kept(t, "x", "p");
	made(t);
	adds(t, ", l.siblings)");
}

static void created_field_times(struct text *t)
{
	adds(t, ", jsonb_strip_nulls(jsonb_build_object(");
	for (int i = 0; i < t->resource->nfields; i++) {
		adds(t, i ? ", " : "");
		literal(t->buf, t->resource->fields[i].name);
		add(t, ", CASE WHEN i.f%d IS NOT NULL THEN jsonb_build_object('at', (extract(epoch FROM now()) * 1000000)::bigint, 'origin', ", i);
		region(t);
		adds(t, ") END");
	}
	adds(t, "))");
}

// Creates, i, get their ids; those whose id is free are inserted, c. An id that is given out may be one that another create of the batch asks
// for by name; both would find the one row of c and be taken for done. So what was given out is not used then: it is drawn again.
static void create(struct text *t, enum source source, bool several)
{
	add(t, "i AS MATERIALIZED (%sSELECT x.*, CASE WHEN x.id = 0 THEN %lld + nextval('", several ? "SELECT * FROM (" : "",
	    (long long)t->region->id_base);
	table(t->buf, t->resource, "_ids");
	adds(t, "') ELSE x.id END AS new_id FROM ");
	input(t, source);
	add(t, "\n WHERE %s%s", source == FROM_X ? "x.flags & 3 = 0 AND " : "", not_remembered);
	if (several)
		add(t, ") x WHERE x.id <> 0 OR x.new_id <> ALL ($%d::bigint[])", PL_PARAM_ID + 1);
	adds(t, "),\nc AS (INSERT INTO ");
	pl_statement_table(t->buf, t->resource);
	adds(t, " AS p (id, ");
	for (int i = 0; i < t->resource->nfields; i++) {
		pl_statement_name(t->buf, t->resource->fields[i].name);
		adds(t, ", ");
	}
	add(t, "region_origin, version, updated_at, vector, request_id%s)\n SELECT i.new_id, ", t->resource->track_fields ? ", field_times" : "");
	for (int i = 0; i < t->resource->nfields; i++) {
		field_value(t, i, "i");
		adds(t, ", ");
	}
	region(t);
	adds(t, ", 1, now(), jsonb_build_object(");
	region(t);
	adds(t, ", 1), nullif(i.rid, '')");
	if (t->resource->track_fields)
		created_field_times(t);
	adds(t, " FROM i ON CONFLICT (id) DO NOTHING\n RETURNING p.id, ");
	made(t);
	adds(t, ")");
}

// What was inserted, with the columns of d.
static void created(struct text *t)
{
	adds(t, "SELECT ");
	kept(t, "i", "c");
	add(t, "c.vector, c.dot, %sc.value", t->resource->track_fields ? "c.field_times, " : "");
}

// The outbox, the remembered requests, the answer.
static void rest(struct text *t, bool careful)
{
	static const char status[] = "CASE d.flags & 3 WHEN 0 THEN 201 WHEN 1 THEN 200 ELSE 204 END";
	bool times = t->resource->track_fields;

	add(t, ",\no AS (INSERT INTO outbox (resource, record_id, origin, value, deleted, vector, %srequest_id, principal, fingerprint, status, "
	    "expires_at, traceparent)\n SELECT ", times ? "field_times, " : "");
	literal(t->buf, t->resource->name);
	adds(t, ", d.id, ");
	region(t);
	add(t, ", d.value, d.flags & 3 = 2, d.vector, %sd.rid, d.principal, d.fp, %s, d.expires, d.trace FROM d)", times ? "d.field_times, " : "",
	    status);
	adds(t, ",\nr AS (INSERT INTO processed_requests (request_id, principal, fingerprint, resource, record_id, status, "
	        "response_body, vector, location, dots, expires_at)\n SELECT d.rid, d.principal, d.fp, ");
	literal(t->buf, t->resource->name);
	add(t, ", d.id, %s, CASE WHEN d.flags & 3 <> 2 THEN d.value::jsonb END, d.vector,\n"
	    "  CASE WHEN d.flags & 3 = 0 THEN '/' || d.prefix || '/%s/' || d.id END, d.dot, d.expires FROM d WHERE d.rid <> '')",
	    status, t->resource->name);
	adds(t, "\nSELECT d.n, d.value, d.vector::text");
	if (careful) {
		adds(t, ", CASE WHEN d.siblings THEN plist_siblings_replaced(");
		literal(t->buf, t->resource->name);
		adds(t, ", d.id) END");
	}
	adds(t, " FROM d");
}

static void change_text(struct text *t, enum source source)
{
	adds(t, "WITH d AS (\n ");
	change(t, source);
	adds(t, ")");
	rest(t, false);
}

static void create_text(struct text *t, enum source source)
{
	adds(t, "WITH ");
	create(t, source, source == FROM_ARRAYS);
	adds(t, ",\nd AS (");
	created(t);
	adds(t, " FROM c JOIN i ON i.new_id = c.id)");
	rest(t, false);
}

static void mixed_text(struct text *t, enum source source, bool careful)
{
	adds(t, "WITH x AS MATERIALIZED (SELECT * FROM ");
	input(t, source);
	adds(t, "),\n");
	if (careful) {
		change_carefully(t);
	} else {
		adds(t, "u AS (");
		change(t, FROM_X);
		adds(t, ")");
	}
	adds(t, ",\n");
	create(t, FROM_X, !careful);
	adds(t, ",\nd AS (SELECT * FROM u UNION ALL ");
	created(t);
	add(t, "%s FROM c JOIN i ON i.new_id = c.id)", careful ? ", false" : "");
	rest(t, careful);
}

// ---- reads

// Why a write has no row in the answer of its statement, or, after a lost connection, whether it was done: all from one snapshot, in the
// order in which a client is told.
static void ask_text(struct text *t)
{
	adds(t, "SELECT x.n, CASE");
	add(t, "\n WHEN r.fingerprint = x.fp THEN %d WHEN r.fingerprint IS NOT NULL THEN %d", PL_OUTCOME_REMEMBERED, PL_OUTCOME_REUSED);
	add(t, "\n WHEN x.flags & 3 = 0 AND p.id IS NOT NULL AND p.deleted_at IS NULL THEN %d WHEN x.flags & 3 = 0 THEN %d", PL_OUTCOME_EXISTS,
	    PL_ASKED_AGAIN);
	add(t, "\n WHEN p.id IS NULL OR p.deleted_at IS NOT NULL THEN %d", PL_OUTCOME_NOT_FOUND);
	add(t, "\n WHEN x.ver <> p.version THEN %d", PL_OUTCOME_VERSION);
	add(t, "\n WHEN x.flags & %d <> 0 OR x.etag::jsonb <> p.vector THEN %d", (int)PL_FLAG_ETAG_NEVER, PL_OUTCOME_ETAG);
	add(t, "\n WHEN x.flags & %d <> 0 THEN %d ELSE %d END,", (int)PL_FLAG_UNLOCKED, PL_OUTCOME_UNLOCKED, PL_ASKED_AGAIN);
	adds(t, "\n coalesce(r.expires_at = x.expires, false), r.status, r.response_body::text, r.location, r.vector::text,\n ");
	record_json(t->buf, t->resource);
	adds(t, ", p.vector::text, p.deleted_at IS NOT NULL, p.siblings\nFROM ");
	input(t, FROM_ARRAYS);
	adds(t, "\nLEFT JOIN LATERAL (SELECT * FROM processed_requests r WHERE r.request_id = x.rid AND r.principal = coalesce(x.principal, '') OFFSET 0) r"
	        " ON true\nLEFT JOIN LATERAL (SELECT * FROM ");
	pl_statement_table(t->buf, t->resource);
	adds(t, " p WHERE p.id = x.id OFFSET 0) p ON true");
}

// As columns: PostgreSQL takes a quarter more for the JSON of a row, and we would only take it apart again.
void pl_statement_read_columns(struct pl_buf *buf, const struct pl_resource *resource)
{
	pl_buf_adds(buf, "p.id, p.region_origin, p.version, p.updated_at, p.vector, p.siblings");
	for (int i = 0; i < resource->nfields; i++) {
		pl_buf_adds(buf, ", p.");
		pl_statement_name(buf, resource->fields[i].name);
	}
}

static void read_text(struct text *t)
{
	adds(t, "SELECT ");
	pl_statement_read_columns(t->buf, t->resource);
	adds(t, " FROM ");
	pl_statement_table(t->buf, t->resource);
	adds(t, " p WHERE p.id = ANY ($1::bigint[]) AND p.deleted_at IS NULL");
}

void pl_statement_text(struct pl_buf *buf, enum pl_statement_kind kind, const struct pl_resource *resource, const struct pl_region *own)
{
	struct text t = { buf, resource, own };

	switch (kind) {
	case PL_STATEMENT_CHANGE_BATCH:
		change_text(&t, FROM_ARRAYS);
		break;
	case PL_STATEMENT_CHANGE_ONE:
		change_text(&t, FROM_VALUES);
		break;
	case PL_STATEMENT_CREATE_BATCH:
		create_text(&t, FROM_ARRAYS);
		break;
	case PL_STATEMENT_CREATE_ONE:
		create_text(&t, FROM_VALUES);
		break;
	case PL_STATEMENT_MIXED_BATCH:
		mixed_text(&t, FROM_ARRAYS, false);
		break;
	case PL_STATEMENT_CAREFUL:
		mixed_text(&t, FROM_VALUES, true);
		break;
	case PL_STATEMENT_ASK:
		ask_text(&t);
		break;
	case PL_STATEMENT_READ:
		read_text(&t);
		break;
	case PL_STATEMENT_KINDS:
		break;
	}
}

const char *pl_statement_kind_name(enum pl_statement_kind kind)
{
	static const char *const names[] = { "change_batch", "change_one", "create_batch", "create_one", "mixed_batch", "careful", "ask", "read" };

	return names[kind];
}
