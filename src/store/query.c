// Queries: lists, and the handlers' own SQL (db.query).
//
// A handler's SQL runs inside a transaction that can only read and that is always rolled
// back, through a cursor, which accepts nothing but a query and returns no more rows than
// were asked for:
//
//	BEGIN READ ONLY; DECLARE … CURSOR FOR <sql>; FETCH n; ROLLBACK; DISCARD ALL
//
// and then the connection's settings again, all in one round trip. The connection is
// used for nothing else, so a slow query delays other queries only. It logs in as a
// separate role (database.query_role), which owns nothing and may not terminate the
// daemon's sessions. Functions can do much in a read-only transaction: take locks,
// terminate sessions, change settings, even the role. What is bound to the transaction
// ends with it, what is bound to the session ends with DISCARD ALL, and what needs
// privileges is refused.
//
// Lists are plist's own statements and have a connection of the daemon's role. They need
// no cursor, since they bound their rows themselves: in number, and in bytes, so that a
// page of large records ends early.
// Threads: belongs to the store's worker.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "db/query_role.h"
#include "store/quote.h"
#include "store/store_private.h"

#define QUERIES_MAX    4       // in flight
#define QUERY_COMMANDS 8       // of each
#define RESULT_PART    4       // of lua.handlers.memory, like a single string
#define LOSSES_MAX     1       // a query that ends its session would end the next one, too
#define PAGE_BYTES     2097152 // of a list, and one record more

static void finish(struct pl_store *store, struct pl_query *query, int code, const struct pl_error *err)
{
	query->code = code;
	if (err)
		query->err = *err;
	query->err.code = code;
	store->nqueries--;
	DL_APPEND(store->queries_finished, query);
}

static void fail(struct pl_store *store, struct pl_query *query, int code, const char *why)
{
	struct pl_error err;

	memset(&err, 0, sizeof(err));
	pl_error_set(&err, code, "%s", why);
	err.retryable = code == PL_EUNAVAIL || code == PL_ETIMEOUT || code == PL_EBUSY;
	finish(store, query, code, &err);
}

static void copy_rows(struct pl_query *query, const PGresult *result)
{
	size_t cells = (size_t)query->nrows * (size_t)query->ncolumns;

	query->columns = pl_arena_alloc(query->arena, sizeof(query->columns[0]) * (size_t)query->ncolumns);
	query->types = pl_arena_alloc(query->arena, sizeof(query->types[0]) * (size_t)query->ncolumns);
	query->values = pl_arena_alloc(query->arena, sizeof(query->values[0]) * cells);
	for (int i = 0; i < query->ncolumns; i++) {
		query->columns[i] = pl_arena_strdup(query->arena, PQfname(result, i));
		query->types[i] = PQftype(result, i);
	}
	for (int row = 0; row < query->nrows; row++)
		for (int i = 0; i < query->ncolumns; i++)
			if (!PQgetisnull(result, row, i))
				query->values[row * query->ncolumns + i] =
					pl_arena_strndup(query->arena, PQgetvalue(result, row, i),
				                         (size_t)PQgetlength(result, row, i));
}

static void declared(void *arg, PGresult *result, const struct pl_error *err)
{
	struct pl_pending_call *pending = arg;

	if (result && err->code)
		pending->err = *err; // FETCH will fail with a less specific error
}

// A list whose session may be older than a change of its table is sent again, once, in
// a new session.
static bool is_old(struct pl_store *store, struct pl_query *query, const struct pl_error *err)
{
	if (!query->own || store->db.stopping || !pl_db_error_stale(err) || query->losses++ > 0)
		return false;
	pl_conn_renew(store->list_conn, err->text);
	return true;
}

// A handler's statement that tried to write, or that was given the wrong number of
// parameters, is a fault of the handler; it says nothing about the database.
static void query_failed(struct pl_store *store, struct pl_query *query, const struct pl_error *err)
{
	struct pl_error fault = *err;

	if (!query->own && pl_db_error_read_only(err)) {
		pl_error_set(&fault, PL_EINTERNAL, "a query may only read");
		fault.retryable = false;
		strcpy(fault.sqlstate, err->sqlstate);
	} else if (!query->own && strcmp(err->sqlstate, "08P01") == 0) {
		fault.code = PL_EINTERNAL;
		fault.retryable = false;
	}
	finish(store, query, fault.code, &fault);
}

static void fetched(void *arg, PGresult *result, const struct pl_error *err)
{
	struct pl_pending_call *pending = arg;
	struct pl_store *store = pending->owner;
	struct pl_query *query = pending->call;
	struct pl_error first = pending->err;

	pl_pending_call_free(&store->queries_sent, pending);
	if (!query)
		return;
	if (query->own && result && err->code)
		first = *err;
	if (first.code && is_old(store, query, &first)) {
		DL_PREPEND(store->lists, query);
	} else if (first.code) {
		query_failed(store, query, &first);
	} else if (!result && err->code == PL_EINVAL) { // larger than RESULT_PART of the handlers' memory
		query_failed(store, query, err);
	} else if (!result && !store->db.stopping && query->losses++ < LOSSES_MAX) {
		DL_PREPEND(*(query->own ? &store->lists : &store->queries), query);
	} else if (!result && !store->db.stopping) {
		fail(store, query, PL_EUNAVAIL, "the database connection was lost twice during this query");
	} else if (!result || err->code) {
		query_failed(store, query, err);
	} else if (PQntuples(result) > query->max_rows) {
		struct pl_error many = { 0 };

		pl_error_set(&many, PL_EINVAL, "the query has more than %d rows", query->max_rows);
		finish(store, query, PL_EINVAL, &many);
	} else {
		query->nrows = PQntuples(result);
		query->ncolumns = PQnfields(result);
		copy_rows(query, result);
		finish(store, query, 0, NULL);
	}
}

static bool send_cursor(struct pl_conn *conn, const struct pl_query *query, struct pl_pending_call *pending,
                        struct pl_error *err)
{
	struct pl_conn_params params = { .n = query->nparams, .values = query->params };
	struct pl_buf declare = { 0 };
	char fetch[64];
	bool sent;

	pl_buf_printf(&declare, "DECLARE plist_query NO SCROLL CURSOR FOR %s", query->sql);
	snprintf(fetch, sizeof(fetch), "FETCH FORWARD %d FROM plist_query", query->max_rows + 1);
	sent = pl_conn_send_sql(conn, "BEGIN READ ONLY", NULL, NULL, NULL, err) == 0 &&
	       pl_conn_send_sql(conn, declare.data, &params, declared, pending, err) == 0 &&
	       pl_conn_send_sql(conn, fetch, NULL, fetched, pending, err) == 0;
	pl_buf_fini(&declare);
	if (!sent)
		return false;
	pl_conn_send_sql(conn, "ROLLBACK", NULL, NULL, NULL, NULL);
	pl_conn_discard(conn);
	return true;
}

static void send(struct pl_store *store, struct pl_query *query)
{
	struct pl_pending_call *pending = pl_pending_call_new(store, &store->queries_sent, query);
	struct pl_conn_params params = { .n = query->nparams, .values = query->params };
	struct pl_conn *conn = query->own ? store->list_conn : store->query_conn;
	struct pl_error err;
	bool sent;

	store->stats.queries++;
	sent = query->own ? pl_conn_send_sql(conn, query->sql, &params, fetched, pending, &err) == 0
	                  : send_cursor(conn, query, pending, &err);
	if (!sent) { // libpq refused; a transaction that it has begun must not stay open
		pl_conn_drop(conn, err.text);
		pl_pending_call_free(&store->queries_sent, pending);
		fail(store, query, PL_EINTERNAL, err.text);
	}
}

static void send_all(struct pl_store *store, struct pl_query **list, struct pl_conn *conn)
{
	struct pl_query *query, *next;

	DL_FOREACH_SAFE (*list, query, next) {
		if (!pl_conn_up(conn) || pl_conn_in_flight(conn) >= QUERY_COMMANDS * QUERIES_MAX)
			return;
		if (query->not_before_us > 0 && query->not_before_us > pl_mono_us())
			continue;
		DL_DELETE(*list, query);
		send(store, query);
	}
}

void pl_query_send(struct pl_store *store)
{
	static const char whole_result[] = "SET cursor_tuple_fraction = 1";
	static const char *const own[] = { whole_result, NULL }, *const handlers[] = { whole_result,
		                                                                       pl_query_role_check,
		                                                                       NULL };

	if (store->lists && !store->list_conn)
		store->list_conn = pl_database_connect(
			&store->db, &(struct pl_database_conn_options){
					    .purpose = "list", .read_only = true, .setup = own });
	if (store->queries && !store->query_conn)
		store->query_conn = pl_database_connect(
			&store->db,
			&(struct pl_database_conn_options){
				.purpose = "query",
				.user = store->db.config->database.query_role,
				.read_only = true,
				.result_bytes_max =
					(size_t)store->db.config->handler_limits.memory / RESULT_PART,
				.setup = store->db.config->database.query_role ? handlers : own });
	send_all(store, &store->lists, store->list_conn);
	send_all(store, &store->queries, store->query_conn);
}

void pl_store_query(struct pl_store *store, struct pl_query *query)
{
	query->nrows = query->ncolumns = query->losses = 0;
	memset(&query->err, 0, sizeof(query->err));
	store->nqueries++;
	if (store->db.stopping) {
		fail(store, query, PL_ESTOPPED, "the server is stopping");
	} else if (store->nqueries > store->db.config->http.max_queued) {
		fail(store, query, PL_EBUSY, "too many queries are waiting");
	} else {
		DL_APPEND(*(query->own ? &store->lists : &store->queries), query);
		pl_database_wait(&store->db, query->own ? store->list_conn : store->query_conn,
		                 query->deadline_us);
		if (query->not_before_us > 0)
			pl_database_wake_at(&store->db, query->not_before_us);
	}
}

// ---- lists

static void filter_sql(struct pl_buf *sql, const struct pl_resource *resource, const struct pl_filter *filter,
                       int param)
{
	static const char *const operators[] = { "=", ">=", "<=" };
	static const char *const types[] = { "numeric", "numeric", "text",
		                             "boolean" }; // a bound may be out of an integer's range
	const struct pl_field *field = &resource->fields[filter->field];

	pl_buf_adds(sql, " AND p.");
	pl_quote_name(sql, field->name);
	pl_buf_printf(sql, " %s $%d::%s", operators[filter->op], param, types[field->type]);
}

static void size_sql(struct pl_buf *sql, const struct pl_resource *resource)
{
	pl_buf_adds(sql, "coalesce(octet_length(p.unknown_fields::text), 0)");
	pl_statement_plus_texts(sql, resource);
}

// The records of the page, with their sizes; then the running sum of these, and the next
// id. PostgreSQL does not fetch from the TOAST table what the sum leaves out. ROWS: the
// default frame looks for peers.
void pl_store_list_sql(struct pl_query *query, const struct pl_resource *resource, int64_t after, int limit,
                       const struct pl_filter *filters, int nfilters)
{
	struct pl_buf sql = { 0 };

	query->nparams = 2 + nfilters;
	query->params = pl_arena_alloc(query->arena, sizeof(query->params[0]) * (size_t)query->nparams);
	query->params[0] = pl_arena_printf(query->arena, "%lld", (long long)after);
	query->params[1] = pl_arena_printf(query->arena, "%d", limit + 1);
	query->max_rows = limit + 1;
	query->own = true;
	pl_buf_adds(&sql, "SELECT ");
	pl_statement_read_columns(&sql, resource);
	pl_buf_adds(&sql, ", plist_next FROM (SELECT *, sum(plist_size) OVER w - plist_size AS plist_before, "
	                  "lead(id) OVER w AS plist_next FROM (SELECT p.*, ");
	size_sql(&sql, resource);
	pl_buf_adds(&sql, " AS plist_size FROM ");
	pl_statement_table(&sql, resource);
	pl_buf_adds(&sql, " p WHERE p.id > $1::bigint AND p.deleted_at IS NULL");
	for (int i = 0; i < nfilters; i++) {
		filter_sql(&sql, resource, &filters[i], 3 + i);
		query->params[2 + i] = filters[i].value;
	}
	pl_buf_printf(&sql,
	              " ORDER BY p.id LIMIT $2::bigint) AS p WINDOW w AS (ORDER BY id ROWS UNBOUNDED "
	              "PRECEDING)) AS p WHERE plist_before < %d ORDER BY id",
	              PAGE_BYTES);
	query->sql = pl_arena_strndup(query->arena, sql.data, sql.len);
	pl_buf_fini(&sql);
}

int pl_store_list_page(const struct pl_query *query, bool *more_r)
{
	int n = query->nrows < query->max_rows ? query->nrows : query->max_rows - 1;

	*more_r = n > 0 && query->values[n * query->ncolumns - 1];
	return n;
}

struct pl_record *pl_store_list_record(const struct pl_query *query, const struct pl_resource *resource,
                                       int i, struct pl_error *err)
{
	(void)err; // every row can be shown
	return pl_read_row(query->arena, resource, &query->values[i * query->ncolumns]);
}

// ---- time and the end

// The daemon's own connections may be up while the role for handlers' SQL cannot log
// in. Clients cannot do anything about it, so it is logged.
static void log_role(struct pl_store *store, const struct pl_error *err)
{
	if (store->db.config->database.query_role && pl_log_limit_ok(&store->role_limit, 10000000))
		pl_err("db.query: the role %s (database.query_role) cannot log in: %s; "
		       "plist-admin migrate creates it and reports what is missing",
		       store->db.config->database.query_role, err->text);
}

static void waiting_due(struct pl_store *store, struct pl_query **list, struct pl_conn *conn, int64_t now_us)
{
	struct pl_query *query, *next;
	struct pl_error err;

	DL_FOREACH_SAFE (*list, query, next) {
		int code = query->deadline_us <= now_us ? PL_ETIMEOUT
		           : conn                       ? pl_database_unavailable(&store->db, conn, &err)
		                                        : 0;

		if (code == 0) {
			pl_database_wake_at(&store->db, query->not_before_us > now_us ? query->not_before_us
			                                                              : query->deadline_us);
			continue;
		}
		if (code == PL_EUNAVAIL && !query->own && pl_conn_up(store->readers[0]))
			log_role(store, &err);
		DL_DELETE(*list, query);
		fail(store, query, code, code == PL_ETIMEOUT ? "the deadline passed" : err.text);
	}
}

void pl_query_due(struct pl_store *store, int64_t now_us)
{
	struct pl_query *query;
	struct pl_pending_call *pending;

	waiting_due(store, &store->lists, store->list_conn, now_us);
	waiting_due(store, &store->queries, store->query_conn, now_us);
	DL_FOREACH (store->queries_sent, pending) {
		query = pending->call;
		if (query && query->deadline_us <= now_us) {
			pending->call = NULL;
			fail(store, query, PL_ETIMEOUT, "the deadline passed before the database answered");
		} else if (query) {
			pl_database_wake_at(&store->db, query->deadline_us);
		}
	}
}

// After the connections were closed: what was in flight has been answered.
void pl_query_stop(struct pl_store *store)
{
	struct pl_query *query, *next;

	DL_CONCAT(store->queries, store->lists);
	store->lists = NULL;
	DL_FOREACH_SAFE (store->queries, query, next) {
		DL_DELETE(store->queries, query);
		fail(store, query, PL_ESTOPPED, "the server is stopping");
	}
}

bool pl_query_deliver(struct pl_store *store)
{
	struct pl_query *query;
	bool any = store->queries_finished != NULL;

	while ((query = store->queries_finished)) {
		DL_DELETE(store->queries_finished, query);
		query->done(query, query->arg);
	}
	return any;
}
