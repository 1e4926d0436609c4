// A plain store: one transaction per write, in one round trip. Stands behind record/store.h until record/batch takes its place; delete it then.
//
// Threads: a store belongs to its worker's thread.
#include "record/store.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <utlist.h>

#include "base/clock.h"
#include "db/conn.h"

enum { ITEM_WRITE, ITEM_READ, ITEM_QUERY, ITEM_LOOKUP, ITEM_ANSWER };

struct item { int kind; void *what; int64_t deadline_us; struct pl_store *store; bool sent, abandoned; struct item *prev, *next; };

struct pl_store {
	struct pl_store_options options;
	struct pl_config *config;
	struct pl_conn *write, *read;
	struct item *waiting, *all;
	struct pl_timer *timer;
	struct pl_store_stats stats;
	bool freeing;
};

static const char *array_cast(const struct pl_field *field)
{
	return field->type == PL_FIELD_DECIMAL ? "numeric" : field->type == PL_FIELD_INTEGER ? "integer" : field->type == PL_FIELD_BOOLEAN ? "boolean" : "text";
}

#define FIXED 12

static void write_sql(struct pl_buf *b, const struct pl_store *s, const struct pl_resource *r)
{
	const char *region = s->options.region->name;

	pl_buf_printf(b,
		"WITH seen AS MATERIALIZED (SELECT fingerprint = $8::bytea AS same, status, response_body::text AS body, location, vector::text AS vt FROM processed_requests "
		"WHERE request_id = $6 AND principal = $7), "
		"cur AS MATERIALIZED (SELECT * FROM %s WHERE id = $1::bigint AND NOT EXISTS (SELECT FROM seen) FOR UPDATE), "
		"d AS MATERIALIZED (SELECT CASE WHEN seen.same THEN 1 WHEN NOT seen.same THEN 2 "
		"WHEN $2::int = 0 THEN CASE WHEN cur.id IS NOT NULL AND cur.deleted_at IS NULL THEN 5 ELSE 0 END "
		"WHEN cur.id IS NULL OR cur.deleted_at IS NOT NULL THEN 4 WHEN $3::int <> cur.version THEN 6 "
		"WHEN $5::int & 1 <> 0 OR $4::jsonb <> cur.vector THEN 7 WHEN $5::int & 2 <> 0 THEN 8 ELSE 0 END AS outcome, "
		"coalesce(cur.vector, '{}') || jsonb_build_object('%s', coalesce((cur.vector ->> '%s')::int, 0) + 1) AS nv, "
		"greatest(clock_timestamp(), cur.updated_at + interval '1 microsecond') AS at, coalesce(cur.version, 0) + 1 AS nver, cur.* "
		"FROM (SELECT 1) AS one LEFT JOIN cur ON true LEFT JOIN seen ON true), "
		"u AS (INSERT INTO %s AS p (id", r->table, region, region, r->table);
	for (int f = 0; f < r->nfields; f++)
		pl_buf_printf(b, ", \"%s\"", r->fields[f].name);
	pl_buf_printf(b, ", region_origin, version, updated_at, vector, deleted_at, siblings) SELECT $1::bigint");
	for (int f = 0; f < r->nfields; f++)
		pl_buf_printf(b, ", CASE WHEN $%d::boolean THEN $%d::%s ELSE d.\"%s\" END", FIXED + 2 * f + 1, FIXED + 2 * f + 2, array_cast(&r->fields[f]), r->fields[f].name);
	pl_buf_printf(b, ", '%s', nver, at, nv, CASE WHEN $2::int = 2 THEN at END, false FROM d WHERE outcome = 0 ON CONFLICT (id) DO UPDATE SET ", region);
	for (int f = 0; f < r->nfields; f++)
		pl_buf_printf(b, "\"%s\" = excluded.\"%s\", ", r->fields[f].name, r->fields[f].name);
	pl_buf_printf(b, "region_origin = excluded.region_origin, version = excluded.version, updated_at = excluded.updated_at, vector = excluded.vector, "
		"deleted_at = excluded.deleted_at, siblings = false WHERE excluded.version > p.version RETURNING p.*), "
		"j AS MATERIALIZED (SELECT u.*, '{\"id\":' || id");
	for (int f = 0; f < r->nfields; f++) {
		const struct pl_field *field = &r->fields[f];
		pl_buf_printf(b, " || ',\"%s\":' || coalesce(%s%s%s, 'null')", field->name, field->type == PL_FIELD_STRING ? "to_json(" : "\"", field->name,
		              field->type == PL_FIELD_STRING ? ")::text" : "\"::text");
	}
	pl_buf_printf(b, " || ',\"region_origin\":\"%s\",\"version\":' || version || ',\"updated_at\":\"' || to_char(updated_at AT TIME ZONE 'UTC', "
		"'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"') || '\"}' AS body, CASE $2::int WHEN 0 THEN 201 WHEN 1 THEN 200 ELSE 204 END AS status FROM u), "
		"sd AS (DELETE FROM record_siblings USING d WHERE d.siblings AND d.outcome = 0 AND resource = '%s' AND record_id = d.id), "
		"cc AS (UPDATE conflicts SET closed_at = now() FROM d WHERE d.siblings AND d.outcome = 0 AND resource = '%s' AND record_id = d.id AND closed_at IS NULL), "
		"o AS (INSERT INTO outbox (resource, record_id, origin, value, deleted, vector, request_id, principal, fingerprint, status, expires_at, traceparent) "
		"SELECT '%s', id, '%s', body, deleted_at IS NOT NULL, vector, $6, $7, $8::bytea, status, now() + $9::bigint * interval '1 microsecond', $10 FROM j), "
		"pr AS (INSERT INTO processed_requests (request_id, principal, fingerprint, resource, record_id, status, response_body, vector, location, dots, expires_at) "
		"SELECT $6, $7, $8::bytea, '%s', id, status, CASE WHEN status <> 204 THEN body::jsonb END, vector, CASE WHEN status = 201 THEN '/' || $11 || '/%s/' || id END, "
		"jsonb_build_object('%s', vector -> '%s'), now() + $9::bigint * interval '1 microsecond' FROM j) "
		"SELECT CASE WHEN d.outcome = 0 AND j.id IS NULL THEN 5 ELSE d.outcome END, seen.status, seen.body, seen.location, seen.vt, $12::text, "
		"coalesce(j.id, d.id), coalesce(j.region_origin, d.region_origin), coalesce(j.version, d.version), "
		"(extract(epoch FROM coalesce(j.updated_at, d.updated_at)) * 1000000)::bigint, coalesce(j.vector, d.vector)::text, coalesce(j.deleted_at, d.deleted_at) IS NOT NULL",
		region, r->name, r->name, r->name, region, r->name, r->name, region, region);
	for (int f = 0; f < r->nfields; f++)
		pl_buf_printf(b, ", CASE WHEN j.id IS NOT NULL THEN j.\"%s\" ELSE d.\"%s\" END", r->fields[f].name, r->fields[f].name);
	pl_buf_adds(b, " FROM d LEFT JOIN j ON true LEFT JOIN seen ON true");
}

static void read_columns(struct pl_buf *b, const struct pl_resource *r)
{
	pl_buf_adds(b, "SELECT id, region_origin, version, (extract(epoch FROM updated_at) * 1000000)::bigint, vector::text, deleted_at IS NOT NULL, siblings");
	for (int f = 0; f < r->nfields; f++)
		pl_buf_printf(b, ", \"%s\"", r->fields[f].name);
	pl_buf_printf(b, " FROM %s", r->table);
}

static const char *text_of(struct pl_arena *arena, const PGresult *res, int row, int col)
{
	return PQgetisnull(res, row, col) ? NULL : pl_arena_strdup(arena, PQgetvalue(res, row, col));
}

static struct pl_record *make_record(struct pl_arena *arena, const struct pl_resource *r, const char *const *v)
{
	struct pl_record *record = pl_record_new(arena, r);

	record->id = strtoll(v[0], NULL, 10);
	snprintf(record->region_origin, sizeof record->region_origin, "%s", v[1]);
	record->version = atoi(v[2]);
	record->updated_at_us = strtoll(v[3], NULL, 10);
	pl_vector_parse(&record->vector, v[4], strlen(v[4]));
	record->deleted = v[5][0] == 't';
	record->siblings = v[6] && v[6][0] == 't';
	for (int f = 0; f < r->nfields; f++)
		record->values[f] = v[7 + f];
	return record;
}

static void finish(struct item *item, const PGresult *result, const struct pl_error *err);

static void answered(void *arg, PGresult *result, const struct pl_error *err)
{
	finish(arg, result, err);
}

static const char *name_of(char name[80], const struct pl_resource *r)
{
	snprintf(name, 80, "write_%s", r->name);
	return name;
}

static int send_write(struct item *item, struct pl_error *err)
{
	struct pl_store *s = item->store;
	struct pl_write *w = item->what;
	const struct pl_resource *r = w->resource;
	struct pl_arena *a = w->arena;
	int n = FIXED + 2 * r->nfields;
	const char **v = pl_arena_alloc(a, sizeof *v * (size_t)n);
	struct pl_buf b = {0};
	char hex[PL_SHA256_HEX], name[80];
	bool given = w->has_version || w->has_etag || w->etag_any || w->etag_never;

	v[0] = pl_arena_printf(a, "%lld", (long long)w->id);
	v[1] = pl_arena_printf(a, "%d", w->op);
	v[2] = w->has_version ? pl_arena_printf(a, "%d", w->version) : NULL;
	if (w->has_etag && !w->etag_any) {
		pl_vector_print(&b, &w->etag);
		v[3] = pl_arena_strdup(a, b.data);
	}
	v[4] = pl_arena_printf(a, "%d", (w->etag_never ? 1 : 0) | (w->lock == PL_LOCK_REQUIRED && !given ? 2 : 0));
	v[5] = w->request_id;
	v[6] = w->principal ? w->principal : "";
	v[7] = pl_arena_printf(a, "\\x%s", pl_sha256_hex(w->fingerprint, hex));
	v[8] = pl_arena_printf(a, "%lld", (long long)w->ttl_us);
	v[9] = w->traceparent;
	v[10] = w->region_prefix ? w->region_prefix : s->options.region->name;
	v[11] = NULL;
	for (int f = 0; f < r->nfields; f++) {
		v[FIXED + 2 * f] = w->changes.set && w->changes.set[f] ? "t" : "f";
		v[FIXED + 2 * f + 1] = w->changes.values ? w->changes.values[f] : NULL;
	}
	pl_buf_fini(&b);
	struct pl_conn_params params = {.n = n, .values = v};
	return pl_conn_send(s->write, name_of(name, r), &params, answered, item, err);
}

static int send_item(struct item *item, struct pl_error *err)
{
	struct pl_store *s = item->store;
	struct pl_buf b = {0};
	int rc;

	if (item->kind == ITEM_WRITE)
		return send_write(item, err);
	if (item->kind == ITEM_READ) {
		struct pl_read *r = item->what;
		const char *v[1] = {pl_arena_printf(r->arena, "%lld", (long long)r->id)};
		struct pl_conn_params params = {.n = 1, .values = v};

		read_columns(&b, r->resource);
		pl_buf_adds(&b, " WHERE id = $1::bigint");
		rc = pl_conn_send_sql(s->read, b.data, &params, answered, item, err);
	} else if (item->kind == ITEM_QUERY) {
		struct pl_query *q = item->what;
		struct pl_conn_params params = {.n = q->nparams, .values = q->params};

		rc = pl_conn_send_sql(s->read, q->sql, &params, answered, item, err);
	} else if (item->kind == ITEM_LOOKUP) {
		struct pl_remember_lookup *l = item->what;
		char hex[PL_SHA256_HEX];
		const char *v[3] = {l->request_id, l->principal, pl_arena_printf(l->arena, "\\x%s", pl_sha256_hex(l->fingerprint, hex))};
		struct pl_conn_params params = {.n = 3, .values = v};

		rc = pl_conn_send_sql(s->read, "SELECT fingerprint = $3::bytea, status, response_body::text, location, vector::text FROM processed_requests "
		                      "WHERE request_id = $1 AND principal = $2", &params, answered, item, err);
	} else {
		struct pl_remember_answer *l = item->what;
		const char *v[5] = {l->request_id, l->principal, pl_arena_printf(l->arena, "%d", l->status), l->body, l->location};
		struct pl_conn_params params = {.n = 5, .values = v};

		rc = pl_conn_send_sql(s->write, "UPDATE processed_requests SET status = $3::smallint, response_body = $4::jsonb, location = $5 "
		                      "WHERE request_id = $1 AND principal = $2 RETURNING 1", &params, answered, item, err);
	}
	pl_buf_fini(&b);
	return rc;
}

static void set_remembered(struct pl_arena *arena, struct pl_remembered *m, const PGresult *r, int from)
{
	const char *vt = text_of(arena, r, 0, from + 3);

	m->status = atoi(PQgetvalue(r, 0, from));
	m->body = text_of(arena, r, 0, from + 1);
	m->location = text_of(arena, r, 0, from + 2);
	m->deleted = m->status == 204;
	if (vt)
		pl_vector_parse(&m->vector, vt, strlen(vt));
}

static void finish_write(struct pl_write *w, const PGresult *r, const struct pl_error *err)
{
	if (err->code) {
		w->err = *err;
		w->outcome = strncmp(err->sqlstate, "23", 2) == 0 ? PL_OUTCOME_REFUSED : PL_OUTCOME_FAILED;
		return;
	}
	w->outcome = atoi(PQgetvalue(r, 0, 0));
	if (w->outcome == PL_OUTCOME_REMEMBERED || w->outcome == PL_OUTCOME_REUSED) {
		set_remembered(w->arena, &w->remembered, r, 1);
		return;
	}
	if (w->outcome == PL_OUTCOME_NOT_FOUND)
		return;
	const char **v = pl_arena_alloc(w->arena, sizeof *v * (size_t)(7 + w->resource->nfields));
	for (int c = 0; c < 6; c++)
		v[c] = text_of(w->arena, r, 0, 6 + c);
	v[6] = "f";
	for (int f = 0; f < w->resource->nfields; f++)
		v[7 + f] = text_of(w->arena, r, 0, 12 + f);
	if (v[0] && v[1])
		w->record = make_record(w->arena, w->resource, v);
}

static void finish_query(struct pl_query *q, const PGresult *r, const struct pl_error *err)
{
	q->err = *err;
	q->code = err->code;
	if (q->code)
		return;
	q->nrows = PQntuples(r);
	q->ncolumns = PQnfields(r);
	if (q->nrows > q->max_rows) {
		q->code = pl_error_set(&q->err, PL_EINVAL, "more than %d rows", q->max_rows);
		return;
	}
	q->columns = pl_arena_alloc(q->arena, sizeof *q->columns * (size_t)(q->ncolumns + 1));
	q->types = pl_arena_alloc(q->arena, sizeof *q->types * (size_t)(q->ncolumns + 1));
	q->values = pl_arena_alloc(q->arena, sizeof *q->values * ((size_t)q->ncolumns * (size_t)q->nrows + 1));
	for (int c = 0; c < q->ncolumns; c++) {
		q->columns[c] = pl_arena_strdup(q->arena, PQfname(r, c));
		q->types[c] = PQftype(r, c);
		for (int i = 0; i < q->nrows; i++)
			q->values[i * q->ncolumns + c] = text_of(q->arena, r, i, c);
	}
}

static void finish(struct item *item, const PGresult *r, const struct pl_error *err)
{
	struct pl_store *s = item->store;

	DL_DELETE(s->all, item);
	s->stats.in_flight--;
	if (item->abandoned) {
		free(item);
		return;
	}
	if (item->kind == ITEM_WRITE) {
		struct pl_write *w = item->what;
		finish_write(w, r, err);
		if (w->outcome == PL_OUTCOME_DONE && s->options.committed && !s->freeing)
			s->options.committed(1, s->options.arg);
		s->stats.writes++;
		w->done(w, w->arg);
	} else if (item->kind == ITEM_READ) {
		struct pl_read *q = item->what;
		q->err = *err;
		q->code = err->code;
		if (!q->code && PQntuples(r) == 0)
			q->code = PL_ENOTFOUND;
		if (!q->code) {
			const char **v = pl_arena_alloc(q->arena, sizeof *v * (size_t)(7 + q->resource->nfields));
			for (int c = 0; c < 7 + q->resource->nfields; c++)
				v[c] = text_of(q->arena, r, 0, c);
			q->record = make_record(q->arena, q->resource, v);
			if (q->record->deleted)
				q->code = PL_ENOTFOUND;
		}
		s->stats.reads++;
		q->done(q, q->arg);
	} else if (item->kind == ITEM_QUERY) {
		struct pl_query *q = item->what;
		finish_query(q, r, err);
		q->done(q, q->arg);
	} else if (item->kind == ITEM_LOOKUP) {
		struct pl_remember_lookup *l = item->what;
		l->err = *err;
		l->code = err->code;
		l->outcome = PL_OUTCOME_NOT_FOUND;
		if (!l->code && PQntuples(r) > 0) {
			l->outcome = PQgetvalue(r, 0, 0)[0] == 't' ? PL_OUTCOME_REMEMBERED : PL_OUTCOME_REUSED;
			set_remembered(l->arena, &l->remembered, r, 1);
		}
		l->done(l, l->arg);
	} else {
		struct pl_remember_answer *l = item->what;
		l->err = *err;
		l->code = err->code ? err->code : PQntuples(r) == 0 ? PL_ENOTFOUND : 0;
		l->done(l, l->arg);
	}
	free(item);
}

static void queue(struct pl_store *s, int kind, void *what, int64_t deadline_us)
{
	struct item *item = pl_calloc(1, sizeof *item);

	item->kind = kind;
	item->what = what;
	item->store = s;
	item->deadline_us = deadline_us;
	s->stats.in_flight++;
	DL_APPEND(s->waiting, item);
}

void pl_store_turn(struct pl_store *s)
{
	struct item *item, *next;

	DL_FOREACH_SAFE(s->waiting, item, next) {
		struct pl_error err = {0};
		struct pl_conn *conn = item->kind == ITEM_WRITE || item->kind == ITEM_ANSWER ? s->write : s->read;

		if (!pl_conn_up(conn) && pl_mono_us() < item->deadline_us && pl_conn_down_us(conn) < 1000000)
			continue;
		DL_DELETE(s->waiting, item);
		DL_APPEND(s->all, item);
		if (!pl_conn_up(conn))
			pl_error_set(&err, PL_EUNAVAIL, "the database is away");
		else if (send_item(item, &err) == 0)
			continue;
		finish(item, NULL, &err);
	}
}

static void tick(void *arg)
{
	struct pl_store *s = arg;

	pl_store_turn(s);
	pl_timer_set(s->timer, 100000);
}

static void prepare(struct pl_store *s)
{
	for (int i = 0; i < s->config->nresources; i++) {
		struct pl_buf b = {0};
		char name[80];

		write_sql(&b, s, &s->config->resources[i]);
		pl_conn_unprepare(s->write, name_of(name, &s->config->resources[i])); // after a reload it is there already
		pl_conn_prepare(s->write, name_of(name, &s->config->resources[i]), b.data);
		pl_buf_fini(&b);
	}
}

struct pl_store *pl_store_new(const struct pl_store_options *options, struct pl_error *err)
{
	struct pl_store *s = pl_calloc(1, sizeof *s);
	struct pl_conn_options c = {.loop = options->loop, .dsn = options->region->database, .application_name = "plistd write",
		.connect_timeout_us = options->config->database.connect_timeout_us, .statement_timeout_us = options->config->database.statement_timeout_us,
		.lock_timeout_us = options->config->database.lock_timeout_us};

	s->options = *options;
	s->config = pl_config_ref(options->config);
	s->write = pl_conn_new(&c);
	c.application_name = "plistd read";
	c.read_only = true;
	s->read = pl_conn_new(&c);
	prepare(s);
	s->timer = pl_timer_new(options->loop, tick, s);
	pl_timer_set(s->timer, 100000);
	return s;
}

void pl_store_free(struct pl_store **store)
{
	struct pl_store *s = *store;
	struct item *item, *next;
	struct pl_error err = {.code = PL_ESTOPPED};

	if (!s)
		return;
	*store = NULL;
	s->freeing = true;
	DL_FOREACH_SAFE(s->waiting, item, next) {
		DL_DELETE(s->waiting, item);
		DL_APPEND(s->all, item);
		finish(item, NULL, &err);
	}
	pl_conn_free(&s->write);
	pl_conn_free(&s->read);
	pl_timer_free(&s->timer);
	pl_config_unref(&s->config);
	free(s);
}

void pl_store_reconfigure(struct pl_store *s, const struct pl_config *config, const struct pl_region *region)
{
	struct pl_config *old = s->config;

	s->config = pl_config_ref(config);
	s->options.region = region;
	prepare(s);
	pl_config_unref(&old);
}

void pl_store_write(struct pl_store *s, struct pl_write *w) { queue(s, ITEM_WRITE, w, w->deadline_us); }
void pl_store_read(struct pl_store *s, struct pl_read *r) { queue(s, ITEM_READ, r, r->deadline_us); }
void pl_store_query(struct pl_store *s, struct pl_query *q) { queue(s, ITEM_QUERY, q, q->deadline_us); }
void pl_store_remembered(struct pl_store *s, struct pl_remember_lookup *l) { queue(s, ITEM_LOOKUP, l, l->deadline_us); }
void pl_store_remember_answer(struct pl_store *s, struct pl_remember_answer *l) { queue(s, ITEM_ANSWER, l, l->deadline_us); }

void pl_store_list_sql(struct pl_query *q, const struct pl_resource *r, int64_t after, int limit, const struct pl_filter *filters, int nfilters)
{
	static const char *const ops[] = {"=", ">=", "<="};
	struct pl_buf b = {0};

	read_columns(&b, r);
	q->params = pl_arena_alloc(q->arena, sizeof *q->params * (size_t)(nfilters + 2));
	q->params[0] = pl_arena_printf(q->arena, "%lld", (long long)after);
	q->params[1] = pl_arena_printf(q->arena, "%d", limit + 1);
	pl_buf_adds(&b, " WHERE deleted_at IS NULL AND id > $1::bigint");
	for (int i = 0; i < nfilters; i++) {
		const struct pl_field *field = &r->fields[filters[i].field];
		pl_buf_printf(&b, " AND \"%s\" %s $%d::%s", field->name, ops[filters[i].op], i + 3, array_cast(field));
		q->params[i + 2] = filters[i].value;
	}
	pl_buf_adds(&b, " ORDER BY id LIMIT $2::int");
	q->nparams = nfilters + 2;
	q->sql = pl_arena_strdup(q->arena, b.data);
	q->max_rows = limit + 1;
	pl_buf_fini(&b);
}

struct pl_record *pl_store_list_record(const struct pl_query *q, const struct pl_resource *r, int i)
{
	return make_record(q->arena, r, q->values + (size_t)i * (size_t)q->ncolumns);
}

bool pl_store_ready(const struct pl_store *s, struct pl_error *why)
{
	if (pl_conn_up(s->write) && pl_conn_up(s->read) && pl_conn_prepared(s->write, why))
		return true;
	if (!pl_conn_up(s->write) || !pl_conn_up(s->read))
		pl_error_set(why, PL_EUNAVAIL, "the database is away");
	return false;
}

void pl_store_stats(const struct pl_store *s, struct pl_store_stats *stats_r)
{
	*stats_r = s->stats;
}
