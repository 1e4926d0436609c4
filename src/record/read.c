// Reads: records by id, many to a statement; and any other reading statement, for lists and the handlers' db.query.
//
// Stands beside record/batch on connections of its own, so that a GET never waits behind a write. Reads are cut into batches by
// themselves, as writes are: what arrives while a connection has two of them in flight is the next one.
//
// A handler's SQL runs inside a transaction that can only read and that is always rolled back, through a cursor, which takes nothing but a
// query and hands out no more rows than were asked for:  BEGIN READ ONLY; DECLARE … CURSOR FOR <sql>; FETCH n; ROLLBACK  in one round
// trip, on a connection that nothing else uses: a slow query holds up other queries only.
//
// A read whose connection was lost is sent again when it is back.
// Threads: belongs to the store's worker.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "record/parts.h"

#define IN_FLIGHT_MAX 2    // batches of reads on one connection
#define QUERIES_MAX 4      // queries in flight

// ---- reads by id

static void read_finish(struct pl_store *store, struct pl_read *read, int code, const char *why)
{
	read->code = code;
	if (code) {
		pl_error_set(&read->err, code, "%s", why);
		read->err.retryable = code != PL_ENOTFOUND && code != PL_EINTERNAL;
	}
	store->nreads--;
	DL_APPEND(store->reads_finished, read);
}

// A time as PostgreSQL prints it in UTC, "2026-02-21 10:00:00.12+00". -1: another one, such as infinity.
static int parse_time(const char *text, int64_t *us_r)
{
	size_t len = strlen(text);
	char rfc[PL_TIME_TEXT_MAX];

	if (len < 20 || len > sizeof rfc || text[10] != ' ' || strcmp(text + len - 3, "+00") != 0)
		return -1;
	memcpy(rfc, text, len - 3);
	rfc[10] = 'T';
	rfc[len - 3] = 'Z';
	return pl_time_parse(rfc, len - 2, us_r);
}

// The record of a row. cells: the columns of READ, NULL is null.
static int take_row(struct pl_arena *arena, const struct pl_resource *resource, const char *const *cells, struct pl_record **record_r,
                    struct pl_error *err)
{
	struct pl_record *record = pl_record_new(arena, resource);
	const char *origin = cells[PL_READ_REGION_ORIGIN], *vector = cells[PL_READ_VECTOR];

	record->id = strtoll(cells[PL_READ_ID], NULL, 10);
	if (strlen(origin) > PL_REGION_MAX)
		return pl_error_set(err, PL_EINTERNAL, "record %lld comes from a region whose name is too long: %.100s", (long long)record->id, origin);
	strcpy(record->region_origin, origin);
	record->version = (int32_t)strtol(cells[PL_READ_VERSION], NULL, 10);
	if (parse_time(cells[PL_READ_UPDATED_AT], &record->updated_at_us) < 0)
		return pl_error_set(err, PL_EINTERNAL, "record %lld has no time that can be shown: %.100s", (long long)record->id,
		                    cells[PL_READ_UPDATED_AT]);
	if (pl_vector_parse(&record->vector, vector, strlen(vector)) < 0)
		return pl_error_set(err, PL_EINTERNAL, "record %lld has no vector that can be read: %.100s", (long long)record->id, vector);
	record->siblings = cells[PL_READ_SIBLINGS][0] == 't';
	for (int i = 0; i < resource->nfields; i++) {
		if (cells[PL_READ_FIELDS + i])
			record->values[i] = pl_arena_strdup(arena, cells[PL_READ_FIELDS + i]);
	}
	*record_r = record;
	return 0;
}

static void row_taken(struct pl_store *store, struct pl_read *read, const PGresult *result, int row)
{
	const char *cells[PL_READ_FIELDS + PL_FIELDS_MAX];
	int n = PL_READ_FIELDS + read->resource->nfields;
	struct pl_error err;

	for (int i = 0; i < n; i++)
		cells[i] = PQgetisnull(result, row, i) ? NULL : PQgetvalue(result, row, i);
	if (take_row(read->arena, read->resource, cells, &read->record, &err) < 0)
		read_finish(store, read, PL_EINTERNAL, err.text);
	else
		read_finish(store, read, 0, NULL);
}

// The first read of that id or of a greater one; those that a deadline took out keep their place in `ids`.
static int place_of(const int64_t *ids, int n, int64_t id)
{
	int low = 0, high = n;

	while (low < high) {
		int middle = low + (high - low) / 2;

		if (ids[middle] < id)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

static void batch_end(struct pl_read_batch *batch)
{
	batch->shape->users--;
	DL_DELETE(batch->store->read_batches, batch);
	LL_PREPEND(batch->store->idle_read_batches, batch);
}

static void reads_answered(void *arg, PGresult *result, const struct pl_error *err)
{
	struct pl_read_batch *batch = arg;
	struct pl_store *store = batch->store;
	bool ok = result && err->code == 0;

	for (int row = 0; ok && row < PQntuples(result); row++) {
		int64_t id = strtoll(PQgetvalue(result, row, PL_READ_ID), NULL, 10);

		for (int i = place_of(batch->ids, batch->n, id); i < batch->n && batch->ids[i] == id; i++) {
			if (batch->reads[i])
				row_taken(store, batch->reads[i], result, row);
			batch->reads[i] = NULL;
		}
	}
	for (int i = batch->n - 1; i >= 0; i--) {
		struct pl_read *read = batch->reads[i];

		if (!read)
			continue;
		if (ok)
			read_finish(store, read, PL_ENOTFOUND, "there is no such record");
		else if (!result && !store->stopping)
			DL_PREPEND(store->reads, read);
		else
			read_finish(store, read, err->code == PL_ECONFLICT ? PL_EUNAVAIL : err->code, err->text);
	}
	batch_end(batch);
}

static int by_id(const void *a, const void *b)
{
	int64_t x = (*(struct pl_read *const *)a)->id, y = (*(struct pl_read *const *)b)->id;

	return (x > y) - (x < y);
}

static struct pl_read_batch *batch_cut(struct pl_store *store)
{
	struct pl_read_batch *batch = store->idle_read_batches;
	struct pl_read *read, *next;

	if (batch)
		LL_DELETE(store->idle_read_batches, batch);
	else
		batch = pl_malloc(sizeof *batch);
	batch->store = store;
	batch->n = 0;
	batch->shape = pl_shape_get(store, store->reads->resource);
	batch->shape->users++;
	DL_FOREACH_SAFE(store->reads, read, next) {
		if (batch->n == PL_READ_BATCH_MAX)
			break;
		if (pl_shape_get(store, read->resource) != batch->shape)
			continue;
		DL_DELETE(store->reads, read);
		batch->reads[batch->n++] = read;
	}
	qsort(batch->reads, (size_t)batch->n, sizeof batch->reads[0], by_id);
	for (int i = 0; i < batch->n; i++)
		batch->ids[i] = batch->reads[i]->id;
	DL_APPEND(store->read_batches, batch);
	return batch;
}

static void batch_send(struct pl_store *store, struct pl_conn *conn)
{
	struct pl_read_batch *batch = batch_cut(store);
	struct pl_buf ids = { 0 };
	struct pl_conn_params params = { .n = 1 };
	struct pl_error err;

	for (int i = 0; i < batch->n; i++)
		if (i == 0 || batch->ids[i] != batch->ids[i - 1]) {
			pl_buf_addc(&ids, i ? ',' : '{');
			pl_buf_add_i64(&ids, batch->ids[i]);
		}
	pl_buf_addc(&ids, '}');
	params.values = (const char *const *)&ids.data;
	store->stats.reads += (uint64_t)batch->n;
	store->stats.read_batches++;
	if (pl_conn_send(conn, batch->shape->names[PL_STATEMENT_READ], &params, reads_answered, batch, &err) < 0)
		reads_answered(batch, NULL, &err);
	pl_buf_fini(&ids);
}

void pl_store_read(struct pl_store *store, struct pl_read *read)
{
	read->record = NULL;
	memset(&read->err, 0, sizeof read->err);
	store->nreads++;
	if (store->stopping) {
		read_finish(store, read, PL_ESTOPPED, "the server is stopping");
	} else if (store->nreads > store->config->http.queue) {
		read_finish(store, read, PL_EBUSY, "too many reads are waiting");
	} else {
		DL_APPEND(store->reads, read);
		pl_store_wait(store, store->readers[0], read->deadline_us);
	}
}

// ---- queries

static void query_finish(struct pl_store *store, struct pl_query *query, int code, const struct pl_error *err)
{
	query->code = code;
	if (err)
		query->err = *err;
	query->err.code = code;
	store->nqueries--;
	DL_APPEND(store->queries_finished, query);
}

static void query_fail(struct pl_store *store, struct pl_query *query, int code, const char *why)
{
	struct pl_error err;

	memset(&err, 0, sizeof err);
	pl_error_set(&err, code, "%s", why);
	err.retryable = code == PL_EUNAVAIL || code == PL_ETIMEOUT || code == PL_EBUSY;
	query_finish(store, query, code, &err);
}

static void copy_rows(struct pl_query *query, const PGresult *result)
{
	size_t cells = (size_t)query->nrows * (size_t)query->ncolumns;

	query->columns = pl_arena_alloc(query->arena, sizeof query->columns[0] * (size_t)query->ncolumns);
	query->types = pl_arena_alloc(query->arena, sizeof query->types[0] * (size_t)query->ncolumns);
	query->values = pl_arena_alloc(query->arena, sizeof query->values[0] * cells);
	for (int i = 0; i < query->ncolumns; i++) {
		query->columns[i] = pl_arena_strdup(query->arena, PQfname(result, i));
		query->types[i] = PQftype(result, i);
	}
	for (int row = 0; row < query->nrows; row++)
		for (int i = 0; i < query->ncolumns; i++)
			if (!PQgetisnull(result, row, i))
				query->values[row * query->ncolumns + i] =
					pl_arena_strndup(query->arena, PQgetvalue(result, row, i), (size_t)PQgetlength(result, row, i));
}

static void declared(void *arg, PGresult *result, const struct pl_error *err)
{
	struct pl_single *single = arg;

	if (result && err->code)
		single->err = *err; // FETCH will fail, and say less
}

static void fetched(void *arg, PGresult *result, const struct pl_error *err)
{
	struct pl_single *single = arg;
	struct pl_store *store = single->store;
	struct pl_query *query = single->call;
	struct pl_error first = single->err;

	pl_single_free(&store->queries_sent, single);
	if (!query)
		return;
	if (first.code) {
		query_finish(store, query, first.code, &first);
	} else if (!result && !store->stopping) {
		DL_PREPEND(store->queries, query);
	} else if (!result || err->code) {
		query_finish(store, query, err->code, err);
	} else if (PQntuples(result) > query->max_rows) {
		struct pl_error many = { 0 };

		pl_error_set(&many, PL_EINVAL, "the query has more than %d rows", query->max_rows);
		query_finish(store, query, PL_EINVAL, &many);
	} else {
		query->nrows = PQntuples(result);
		query->ncolumns = PQnfields(result);
		copy_rows(query, result);
		query_finish(store, query, 0, NULL);
	}
}

static void query_send(struct pl_store *store, struct pl_query *query)
{
	struct pl_single *single = pl_single_new(store, &store->queries_sent, query);
	struct pl_conn_params params = { .n = query->nparams, .values = query->params };
	struct pl_conn *conn = store->query_conn;
	struct pl_buf declare = { 0 };
	struct pl_error err;
	char fetch[64];
	bool sent;

	pl_buf_printf(&declare, "DECLARE plist_query NO SCROLL CURSOR FOR %s", query->sql);
	snprintf(fetch, sizeof fetch, "FETCH FORWARD %d FROM plist_query", query->max_rows + 1);
	store->stats.queries++;
	sent = pl_conn_send_sql(conn, "BEGIN READ ONLY", NULL, NULL, NULL, &err) == 0 &&
	       pl_conn_send_sql(conn, declare.data, &params, declared, single, &err) == 0 &&
	       pl_conn_send_sql(conn, fetch, NULL, fetched, single, &err) == 0;
	if (sent) {
		pl_conn_send_sql(conn, "ROLLBACK", NULL, NULL, NULL, NULL);
	} else { // libpq refuses; what it took already must not stay open
		pl_conn_drop(conn, err.text);
		pl_single_free(&store->queries_sent, single);
		query_fail(store, query, PL_EINTERNAL, err.text);
	}
	pl_buf_fini(&declare);
}

static void queries_send(struct pl_store *store)
{
	static const char *const whole_result[] = { "SET cursor_tuple_fraction = 1", NULL };
	struct pl_query *query;

	if (store->queries && !store->query_conn)
		store->query_conn = pl_store_connect(store, "query", true, whole_result);
	while ((query = store->queries) && pl_conn_up(store->query_conn) && pl_conn_in_flight(store->query_conn) < 4 * QUERIES_MAX) {
		DL_DELETE(store->queries, query);
		query_send(store, query);
	}
}

void pl_store_query(struct pl_store *store, struct pl_query *query)
{
	query->nrows = query->ncolumns = 0;
	memset(&query->err, 0, sizeof query->err);
	store->nqueries++;
	if (store->stopping) {
		query_fail(store, query, PL_ESTOPPED, "the server is stopping");
	} else if (store->nqueries > store->config->http.queue) {
		query_fail(store, query, PL_EBUSY, "too many queries are waiting");
	} else {
		DL_APPEND(store->queries, query);
		pl_store_wait(store, store->query_conn, query->deadline_us);
	}
}

// ---- lists

static void filter_sql(struct pl_buf *sql, const struct pl_resource *resource, const struct pl_filter *filter, int param)
{
	static const char *const operators[] = { "=", ">=", "<=" };
	static const char *const types[] = { "numeric", "numeric", "text", "boolean" }; // an integer's bound may be beyond integers
	const struct pl_field *field = &resource->fields[filter->field];

	pl_buf_adds(sql, " AND p.");
	pl_statement_name(sql, field->name);
	pl_buf_printf(sql, " %s $%d::%s", operators[filter->op], param, types[field->type]);
}

void pl_store_list_sql(struct pl_query *query, const struct pl_resource *resource, int64_t after, int limit,
                       const struct pl_filter *filters, int nfilters)
{
	struct pl_buf sql = { 0 };

	query->nparams = 2 + nfilters;
	query->params = pl_arena_alloc(query->arena, sizeof query->params[0] * (size_t)query->nparams);
	query->params[0] = pl_arena_printf(query->arena, "%lld", (long long)after);
	query->params[1] = pl_arena_printf(query->arena, "%d", limit + 1);
	query->max_rows = limit + 1;
	pl_buf_adds(&sql, "SELECT ");
	pl_statement_read_columns(&sql, resource);
	pl_buf_adds(&sql, " FROM ");
	pl_statement_table(&sql, resource);
	pl_buf_adds(&sql, " p WHERE p.id > $1::bigint AND p.deleted_at IS NULL");
	for (int i = 0; i < nfilters; i++) {
		filter_sql(&sql, resource, &filters[i], 3 + i);
		query->params[2 + i] = filters[i].value;
	}
	pl_buf_adds(&sql, " ORDER BY p.id LIMIT $2::bigint");
	query->sql = pl_arena_strndup(query->arena, sql.data, sql.len);
	pl_buf_fini(&sql);
}

struct pl_record *pl_store_list_record(const struct pl_query *query, const struct pl_resource *resource, int i, struct pl_error *err)
{
	struct pl_record *record;

	return take_row(query->arena, resource, &query->values[i * query->ncolumns], &record, err) == 0 ? record : NULL;
}

// ---- sending, time, the end

static struct pl_conn *idlest(struct pl_store *store)
{
	struct pl_conn *best = NULL;

	for (int i = 0; i < store->nreaders; i++) {
		struct pl_conn *conn = store->readers[i];

		if (pl_conn_up(conn) && (!best || pl_conn_in_flight(conn) < pl_conn_in_flight(best)))
			best = conn;
	}
	return best && pl_conn_in_flight(best) < IN_FLIGHT_MAX ? best : NULL;
}

void pl_read_send(struct pl_store *store)
{
	struct pl_conn *conn;

	while (store->reads && (conn = idlest(store)))
		batch_send(store, conn);
	queries_send(store);
}

static void reads_due(struct pl_store *store, int64_t now_us)
{
	struct pl_read_batch *batch;
	struct pl_read *read, *next;
	struct pl_error err;

	DL_FOREACH_SAFE(store->reads, read, next) {
		int code = read->deadline_us <= now_us ? PL_ETIMEOUT : pl_store_away(store->readers[0], store, &err);

		if (code == 0) {
			pl_store_wake_at(store, read->deadline_us);
			continue;
		}
		DL_DELETE(store->reads, read);
		read_finish(store, read, code, code == PL_ETIMEOUT ? "the deadline passed" : err.text);
	}
	DL_FOREACH(store->read_batches, batch) {
		for (int i = 0; i < batch->n; i++) {
			read = batch->reads[i];
			if (read && read->deadline_us > now_us) {
				pl_store_wake_at(store, read->deadline_us);
			} else if (read) {
				batch->reads[i] = NULL;
				read_finish(store, read, PL_ETIMEOUT, "the deadline passed before the database answered");
			}
		}
	}
}

static void queries_due(struct pl_store *store, int64_t now_us)
{
	struct pl_query *query, *next;
	struct pl_single *single;
	struct pl_error err;

	DL_FOREACH_SAFE(store->queries, query, next) {
		int code = query->deadline_us <= now_us ? PL_ETIMEOUT : store->query_conn ? pl_store_away(store->query_conn, store, &err) : 0;

		if (code == 0) {
			pl_store_wake_at(store, query->deadline_us);
			continue;
		}
		DL_DELETE(store->queries, query);
		query_fail(store, query, code, code == PL_ETIMEOUT ? "the deadline passed" : err.text);
	}
	DL_FOREACH(store->queries_sent, single) {
		query = single->call;
		if (query && query->deadline_us <= now_us) {
			single->call = NULL;
			query_fail(store, query, PL_ETIMEOUT, "the deadline passed before the database answered");
		} else if (query) {
			pl_store_wake_at(store, query->deadline_us);
		}
	}
}

void pl_read_due(struct pl_store *store, int64_t now_us)
{
	reads_due(store, now_us);
	queries_due(store, now_us);
}

// The connections are gone: what was in flight has been answered.
void pl_read_stop(struct pl_store *store)
{
	struct pl_query *query, *next_query;
	struct pl_read *read, *next;

	DL_FOREACH_SAFE(store->reads, read, next) {
		DL_DELETE(store->reads, read);
		read_finish(store, read, PL_ESTOPPED, "the server is stopping");
	}
	DL_FOREACH_SAFE(store->queries, query, next_query) {
		DL_DELETE(store->queries, query);
		query_fail(store, query, PL_ESTOPPED, "the server is stopping");
	}
	while (store->idle_read_batches) {
		struct pl_read_batch *batch = store->idle_read_batches;

		LL_DELETE(store->idle_read_batches, batch);
		free(batch);
	}
}

bool pl_read_deliver(struct pl_store *store)
{
	struct pl_query *query;
	struct pl_read *read;
	bool any = store->reads_finished || store->queries_finished;

	while ((read = store->reads_finished)) {
		DL_DELETE(store->reads_finished, read);
		read->done(read, read->arg);
	}
	while ((query = store->queries_finished)) {
		DL_DELETE(store->queries_finished, query);
		query->done(query, query->arg);
	}
	return any;
}
