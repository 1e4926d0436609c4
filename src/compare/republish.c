// Republishing: see republish.h.
#include "compare/republish.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/mem.h"
#include "store/quote.h"
#include "store/statement.h"

// How many rows that are left are waited for in one step, and for how long each.
#define WAITED_FOR 8
#define WAIT_MS    "50"

#define COLUMNS                                                                           \
	"INSERT INTO plist.outbox (resource, record_id, origin, value, deleted, vector, " \
	"field_times, request_id, "                                                       \
	"principal, fingerprint, status, expires_at, republished, answer) "

// The request that wrote it, if it is still remembered; `of` is p or s.
#define REQUEST_OF(of, id, dot)                                                                      \
	" LEFT JOIN LATERAL (SELECT q.* FROM plist.processed_requests AS q WHERE q.request_id = " of \
	".request_id AND q.record_id = " id " AND q.expires_at > now() AND q.dots @> " dot           \
	" LIMIT 1) AS r ON true"

// A handler's own answer may have a status that an outbox row cannot have.
#define REQUEST_STATUS "CASE WHEN r.status BETWEEN 200 AND 299 THEN r.status ELSE 200 END"

#define REQUEST_COLUMNS                                             \
	"coalesce(r.request_id, ''), coalesce(r.principal, ''), "   \
	"coalesce(r.fingerprint, sha256('')), " REQUEST_STATUS ", " \
	"coalesce(r.expires_at, now())"

// The answer, if it belongs to this execution: see plist_answer_owner.
#define ANSWER_OF(origin)                                               \
	"CASE WHEN plist.plist_answer_owner(r.dots) = " origin " THEN " \
	"plist.plist_answer(r.status, r.response_body, r.location, " origin ", r.resource, r.record_id) END"

// ---- SQL

// `since`: a condition on a time; $2 is that time.
static void add_selected(struct pl_buf *sql, const struct pl_republish *r, const char *id, const char *since)
{
	if (r->selection.ids)
		pl_buf_printf(sql, "%s = ANY($1::bigint[])", id);
	else
		pl_buf_printf(sql, "%s BETWEEN %lld AND %lld", id, (long long)r->selection.first,
		              (long long)r->selection.last);
	if (r->selection.since)
		pl_buf_printf(sql, " AND %s", since);
	else
		pl_buf_adds(sql, " AND $2::text IS NULL");
	if (!r->selection.ids)
		pl_buf_adds(sql, " AND $1::bigint[] IS NULL");
}

// A record was written when its latest sibling was; its row shows the time of the one
// that the policy has chosen.
static void add_records(struct pl_buf *sql, const struct pl_republish *r)
{
	char since[320];

	snprintf(since, sizeof(since),
	         "(updated_at >= $2::timestamptz OR has_siblings AND EXISTS (SELECT FROM "
	         "plist.record_siblings AS s WHERE s.resource = '%s' AND s.record_id = p.id AND "
	         "s.updated_at >= $2::timestamptz))",
	         r->resource->name);
	add_selected(sql, r, "id", since);
}

static void add_table(struct pl_buf *sql, const struct pl_resource *resource)
{
	pl_statement_table(sql, resource);
}

// The value of an event: the record's JSON, with the fields that this configuration does
// not know.
static void add_value(struct pl_buf *sql, const struct pl_resource *resource)
{
	struct pl_buf json = { 0 };

	pl_statement_record_json(&json, resource);
	pl_statement_with_unknown(sql, json.data, "p.plist_unknown");
	pl_buf_fini(&json);
}

// Rows without siblings; each is one write. So is one that says that it has siblings when
// it has none: the applier reads it like that, too.
static void add_rows(struct pl_buf *sql, const struct pl_resource *resource)
{
	pl_buf_printf(sql, "SELECT '%s', p.id, p.region_origin, ", resource->name);
	add_value(sql, resource);
	pl_buf_adds(sql,
	            ", p.deleted_at IS NOT NULL, p.vector, p.field_times, " REQUEST_COLUMNS
	            ", $2, " ANSWER_OF("p.region_origin") " FROM w AS p" REQUEST_OF(
			    "p", "p.id", "jsonb_build_object(p.region_origin, p.vector -> p.region_origin)"));
	pl_buf_printf(sql,
	              " WHERE NOT (p.has_siblings AND EXISTS (SELECT FROM plist.record_siblings AS s WHERE "
	              "s.resource = '%s' AND s.record_id = p.id))",
	              resource->name);
}

// Gives the sibling's fields the names of the record's columns, so that the same SQL
// produces the JSON of both.
static void add_sibling_columns(struct pl_buf *sql, const struct pl_resource *resource)
{
	static const char *const types[] = { [PL_FIELD_DECIMAL] = "numeric",
		                             [PL_FIELD_INTEGER] = "integer",
		                             [PL_FIELD_STRING] = "text",
		                             [PL_FIELD_BOOLEAN] = "boolean" };
	for (int i = 0; i < resource->nfields; i++) {
		pl_buf_printf(sql, ", (s.fields ->> '%s')::%s AS ", resource->fields[i].name,
		              types[resource->fields[i].type]);
		pl_quote_name(sql, resource->fields[i].name);
	}
	pl_buf_adds(sql, ", NULL::jsonb AS unknown_fields, nullif(jsonb_strip_nulls(s.fields - '{");
	for (int i = 0; i < resource->nfields; i++)
		pl_buf_printf(sql, "%s\"%s\"", i ? "," : "", resource->fields[i].name);
	pl_buf_adds(sql, "}'::text[]), '{}') AS plist_unknown");
}

static void add_siblings(struct pl_buf *sql, const struct pl_resource *resource)
{
	pl_buf_printf(sql, "SELECT '%s', p.id, p.region_origin, ", resource->name);
	add_value(sql, resource);
	pl_buf_adds(sql, ", p.deleted, p.vector, p.field_times, " REQUEST_COLUMNS
	                 ", $2, " ANSWER_OF("p.region_origin"));
	pl_buf_adds(sql, " FROM w JOIN LATERAL (SELECT s.record_id AS id, s.origin AS region_origin, "
	                 "s.vector, s.deleted, s.updated_at, s.field_times, s.request_id, (SELECT "
	                 "sum(value::int)::int FROM jsonb_each_text(s.vector)) AS version");
	add_sibling_columns(sql, resource);
	pl_buf_printf(
		sql,
		" FROM plist.record_siblings AS s WHERE s.resource = '%s' AND s.record_id = w.id "
		"AND w.has_siblings) AS p ON true" REQUEST_OF(
			"p", "p.id", "jsonb_build_object(p.region_origin, p.vector -> p.region_origin)"),
		resource->name);
}

// $1: ids, $2: this region. Returns the ids that could be locked, and the events.
static void records_sql(struct pl_buf *sql, const struct pl_resource *resource, bool skip)
{
	pl_buf_adds(sql, "WITH w AS MATERIALIZED (SELECT p.*, ");
	pl_statement_unknown(sql, resource);
	pl_buf_adds(sql, " AS plist_unknown FROM ");
	add_table(sql, resource);
	pl_buf_printf(sql,
	              " AS p WHERE p.id = ANY($1::bigint[]) ORDER BY p.id FOR SHARE%s), a AS "
	              "(" COLUMNS,
	              skip ? " SKIP LOCKED" : "");
	add_rows(sql, resource);
	pl_buf_adds(sql, " ORDER BY p.id RETURNING 1), b AS (" COLUMNS);
	add_siblings(sql, resource);
	pl_buf_adds(sql, " ORDER BY p.id RETURNING 1) SELECT (SELECT array_agg(id) FROM w)::text, "
	                 "(SELECT count(*) FROM a) + (SELECT count(*) FROM b)");
}

// The record as in the response to the request; if that is not known, the current
// record under the request's dot, which no region applies as a write. The response is
// not known for another request with the same id, or for another execution.
static void add_request_value(struct pl_buf *sql, const struct pl_resource *resource)
{
	pl_buf_adds(sql, "CASE WHEN NOT d.another AND r.vector -> d.key = d.value AND r.status <> 204 AND "
	                 "r.response_body ->> 'region_origin' = split_part(p.region_origin, '.', 1) "
	                 "AND r.response_body -> 'id' = to_jsonb(p.id) AND r.response_body ? 'version' "
	                 "AND r.response_body ? 'updated_at'");
	for (int i = 0; i < resource->nfields; i++)
		pl_buf_printf(sql, " AND r.response_body ? '%s'", resource->fields[i].name);
	pl_buf_adds(sql, " THEN r.response_body::text ELSE ");
	pl_statement_record_json(sql, resource);
	pl_buf_adds(sql, " END");
}

// One event for each execution of a request. Among the request's dots, a key with a
// space names the fingerprint of another request with the same id: "eu 9f…", see
// apply/statements.c.
//
// $1: ids or null, $2: time or null, $3 and $4: the last request, $5: this region.
// Returns the last request of the batch, the number of requests, and the events.
static void requests_sql(struct pl_buf *sql, const struct pl_republish *republish)
{
	const struct pl_resource *resource = republish->resource;
	pl_buf_printf(sql,
	              "WITH q AS MATERIALIZED (SELECT * FROM plist.processed_requests WHERE (request_id, "
	              "principal) > "
	              "($3, $4) AND resource = '%s' AND expires_at > now() AND ",
	              resource->name);
	add_selected(sql, republish, "record_id", "created_at >= $2::timestamptz");
	pl_buf_printf(sql,
	              " ORDER BY request_id, principal LIMIT %d), a AS (" COLUMNS
	              "SELECT '%s', p.id, p.region_origin, ",
	              PL_REPUBLISH_BATCH, resource->name);
	add_request_value(sql, resource);
	pl_buf_adds(sql, ", NOT d.another AND r.status = 204, p.vector, NULL, r.request_id, r.principal, "
	                 "CASE WHEN d.another THEN decode(split_part(d.name, ' ', 2), 'hex') ELSE "
	                 "r.fingerprint END, CASE WHEN d.another THEN 200 ELSE " REQUEST_STATUS
	                 " END, r.expires_at, $5 || '; request', " ANSWER_OF("d.name"));
	pl_buf_adds(sql, " FROM q AS r CROSS JOIN LATERAL (SELECT key AS name, split_part(key, ' ', 1) "
	                 "AS key, value, position(' ' IN key) > 0 AS another FROM jsonb_each(r.dots)) "
	                 "AS d JOIN ");
	add_table(sql, resource);
	pl_buf_adds(sql,
	            " AS t ON t.id = r.record_id CROSS JOIN LATERAL (SELECT t.id, d.key AS region_origin, "
	            "r.vector || jsonb_build_object(d.key, d.value) AS vector, t.updated_at, (SELECT "
	            "sum(value::int)::int "
	            "FROM jsonb_each_text(r.vector || jsonb_build_object(d.key, d.value))) AS version");
	for (int i = 0; i < resource->nfields; i++) {
		pl_buf_adds(sql, ", t.");
		pl_quote_name(sql, resource->fields[i].name);
	}
	pl_buf_adds(sql, ", t.unknown_fields) AS p RETURNING 1) SELECT l.request_id, l.principal, "
	                 "(SELECT count(*) FROM q), "
	                 "(SELECT count(*) FROM a) FROM (SELECT request_id, principal FROM q ORDER BY "
	                 "request_id "
	                 "DESC, "
	                 "principal DESC LIMIT 1) AS l");
}

// ---- the selection

static const char *print_ids(struct pl_buf *buf, const int64_t *ids, int n)
{
	pl_buf_reset(buf);
	pl_buf_addc(buf, '{');
	for (int i = 0; i < n; i++) {
		if (i)
			pl_buf_addc(buf, ',');
		pl_buf_add_i64(buf, ids[i]);
	}
	pl_buf_addc(buf, '}');
	return buf->data;
}

// Gets the next batch of ids, after the last one, in *ids_r. Returns their number, or a
// code.
static int next_ids(struct pl_republish *r, int64_t *ids_r, struct pl_error *err)
{
	struct pl_buf sql = { 0 };
	const char *params[] = { NULL, r->selection.since, NULL };
	char after[24];
	int n = 0;
	if (r->selection.ids) {
		for (int i = 0; i < r->selection.nids && n < PL_REPUBLISH_BATCH; i++)
			if (r->selection.ids[i] > r->after)
				ids_r[n++] = r->selection.ids[i];
		return n;
	}
	snprintf(after, sizeof(after), "%lld", (long long)r->after);
	params[2] = after;
	pl_buf_adds(&sql, "SELECT id FROM ");
	add_table(&sql, r->resource);
	pl_buf_adds(&sql, " AS p WHERE id > $3::bigint AND ");
	add_records(&sql, r);
	pl_buf_printf(&sql, " ORDER BY id LIMIT %d", PL_REPUBLISH_BATCH);
	PGresult *result = pl_session_exec(r->session, sql.data, 3, params, err);
	pl_buf_fini(&sql);
	for (; result && n < PQntuples(result); n++)
		ids_r[n] = strtoll(PQgetvalue(result, n, 0), NULL, 10);
	PQclear(result);
	return result ? n : err->code;
}

static int count_records(struct pl_republish *r, struct pl_error *err)
{
	struct pl_buf sql = { 0 };
	const char *params[] = { NULL, r->selection.since };
	r->total = r->selection.nids;
	if (r->selection.ids)
		return 0;
	pl_buf_adds(&sql, "SELECT count(*) FROM ");
	add_table(&sql, r->resource);
	pl_buf_adds(&sql, " AS p WHERE ");
	add_records(&sql, r);
	PGresult *result = pl_session_exec(r->session, sql.data, 2, params, err);
	pl_buf_fini(&sql);
	if (!result)
		return err->code;
	r->total = strtoll(PQgetvalue(result, 0, 0), NULL, 10);
	PQclear(result);
	return 0;
}

int pl_republish_begin(struct pl_republish *r, struct pl_error *err)
{
	const char *params[] = { r->resource->name, r->selection.name };
	PGresult *result = pl_session_exec(
		r->session,
		"INSERT INTO plist.republications AS r (resource, selection) VALUES ($1, $2) ON "
		"CONFLICT (resource, selection) "
		"WHERE ended_at IS NULL DO UPDATE SET resource = excluded.resource RETURNING id, "
		"rows_done, after_id, "
		"after_request_id, after_principal, records, requests, xmax <> 0",
		2, params, err);
	if (!result)
		return err->code;
	r->id = strtoll(PQgetvalue(result, 0, 0), NULL, 10);
	r->rows_done = PQgetvalue(result, 0, 1)[0] == 't';
	r->after = strtoll(PQgetvalue(result, 0, 2), NULL, 10);
	snprintf(r->request_id, sizeof(r->request_id), "%s", PQgetvalue(result, 0, 3));
	snprintf(r->principal, sizeof(r->principal), "%s", PQgetvalue(result, 0, 4));
	r->records = strtoll(PQgetvalue(result, 0, 5), NULL, 10);
	r->requests = strtoll(PQgetvalue(result, 0, 6), NULL, 10);
	r->resumed = PQgetvalue(result, 0, 7)[0] == 't';
	PQclear(result);
	return count_records(r, err);
}

// ---- one step

static int put_records(struct pl_republish *r, const int64_t *ids, int n, bool skip, struct pl_buf *locked,
                       struct pl_error *err)
{
	struct pl_buf sql = { 0 }, list = { 0 };
	const char *params[] = { print_ids(&list, ids, n), r->region->name };
	records_sql(&sql, r->resource, skip);
	PGresult *result = pl_session_exec(r->session, sql.data, 2, params, err);
	pl_buf_fini(&sql);
	pl_buf_fini(&list);
	if (!result)
		return err->code;
	pl_buf_reset(locked);
	pl_buf_adds(locked, PQgetisnull(result, 0, 0) ? "{}" : PQgetvalue(result, 0, 0));
	r->events += strtoll(PQgetvalue(result, 0, 1), NULL, 10);
	PQclear(result);
	return 0;
}

// Removes from `ids` those in `text`, an array in PostgreSQL's text format. Returns how
// many are left.
static int without(int64_t *ids, int n, const char *text)
{
	int left = 0;
	const char *at = text + 1;
	for (int i = 0; i < n; i++) { // both are ascending
		while (*at && *at != '}' && strtoll(at, NULL, 10) < ids[i])
			at = strchr(at, ',') ? strchr(at, ',') + 1 : "";
		if (!*at || *at == '}' || strtoll(at, NULL, 10) != ids[i])
			ids[left++] = ids[i];
	}
	return left;
}

// What was done. As long as rows are left, an interrupted run goes on before the first of
// them: putting the rows after it twice is harmless.
static int note(struct pl_republish *r, struct pl_error *err)
{
	char id[24], after[24], records[24], requests[24];
	const char *params[] = { id,
		                 after,
		                 r->request_id,
		                 r->principal,
		                 records,
		                 requests,
		                 r->rows_done && r->nleft == 0 ? "t" : "f" };
	snprintf(id, sizeof(id), "%lld", (long long)r->id);
	snprintf(after, sizeof(after), "%lld", (long long)(r->nleft > 0 ? r->left[0] - 1 : r->after));
	snprintf(records, sizeof(records), "%lld", (long long)r->records);
	snprintf(requests, sizeof(requests), "%lld", (long long)r->requests);
	PGresult *result = pl_session_exec(
		r->session,
		"UPDATE plist.republications SET after_id = $2::bigint, after_request_id = $3, "
		"after_principal = $4, "
		"records = $5::bigint, requests = $6::bigint, rows_done = $7::boolean WHERE id = "
		"$1::bigint",
		7, params, err);
	PQclear(result);
	return result ? 0 : err->code;
}

static int count_of(const char *array)
{
	int n = strcmp(array, "{}") != 0;
	for (; *array; array++)
		n += *array == ',';
	return n;
}

// Puts these in one transaction, except those that another session holds. Returns how
// many of them are left in `ids`, or a code.
static int put_free(struct pl_republish *r, int64_t *ids, int n, struct pl_error *err)
{
	struct pl_buf locked = { 0 };
	int code = put_records(r, ids, n, true, &locked, err);
	if (code == 0) {
		r->records += count_of(locked.data);
		code = without(ids, n, locked.data);
	}
	pl_buf_fini(&locked);
	return code;
}

static void leave(struct pl_republish *r, const int64_t *ids, int n)
{
	if (!r->left)
		r->left = pl_malloc(sizeof(r->left[0]) * PL_REPUBLISH_LEFT_MAX);
	memcpy(r->left + r->nleft, ids, sizeof(ids[0]) * (size_t)n);
	r->nleft += n;
}

static int step_records(struct pl_republish *r, struct pl_error *err)
{
	int64_t ids[PL_REPUBLISH_BATCH];
	int n = next_ids(r, ids, err), code;
	if (n < 0)
		return n;
	if (n == 0) {
		r->rows_done = true;
		return note(r, err);
	}
	int64_t last = ids[n - 1];
	if ((code = pl_session_do(r->session, "BEGIN", err)) < 0)
		return code;
	if ((n = put_free(r, ids, n, err)) < 0)
		return n;
	leave(r, ids, n);
	r->after = last;
	code = note(r, err);
	return code == 0 ? pl_session_do(r->session, "COMMIT", err) : code;
}

// ---- rows that were left

// A row that is written again and again is rarely free when it is looked at. So this one
// is waited for, alone: this session never holds two locks that a client's transaction
// might take in the opposite order. Returns whether it is done, since it was put or no
// longer exists; or a code.
static int put_waiting(struct pl_republish *r, int64_t id, struct pl_error *err)
{
	struct pl_buf locked = { 0 };
	int code = pl_session_do(r->session, "BEGIN; SET LOCAL lock_timeout = " WAIT_MS, err);
	if (code == 0 && (code = put_records(r, &id, 1, false, &locked, err)) == 0)
		code = pl_session_do(r->session, "COMMIT", err);
	if (code == 0)
		r->records += count_of(locked.data);
	pl_buf_fini(&locked);
	if (code == 0)
		return 1;
	if (strcmp(err->sqlstate, "55P03") != 0)
		return code;
	memset(err, 0, sizeof(*err));
	return pl_session_do(r->session, "ROLLBACK", err);
}

static int put_some_waiting(struct pl_republish *r, int64_t *ids, int n, struct pl_error *err)
{
	int left = 0;
	for (int i = 0; i < n; i++) {
		int code = i < WAITED_FOR ? put_waiting(r, ids[i], err) : 0;
		if (code < 0)
			return code;
		if (code == 0)
			ids[left++] = ids[i];
	}
	return left;
}

// Tries the next of those that are left; then notes from where an interrupted run would
// have to go on.
static int step_left(struct pl_republish *r, struct pl_error *err)
{
	int from = r->left_next < r->nleft ? r->left_next : 0, code;
	int n = r->nleft - from < PL_REPUBLISH_BATCH ? r->nleft - from : PL_REPUBLISH_BATCH, left;
	int64_t *ids = r->left + from, before = r->records;
	if ((code = pl_session_do(r->session, "BEGIN", err)) < 0 ||
	    (left = code = put_free(r, ids, n, err)) < 0 ||
	    (code = pl_session_do(r->session, "COMMIT", err)) < 0 ||
	    (left = code = put_some_waiting(r, ids, left, err)) < 0)
		return code;
	memmove(ids + left, ids + n, sizeof(ids[0]) * (size_t)(r->nleft - from - n));
	r->nleft -= n - left;
	r->left_next = from + left;
	r->waiting = left == n && r->records == before;
	return note(r, err);
}

static int step_requests(struct pl_republish *r, bool *done_r, struct pl_error *err)
{
	struct pl_buf sql = { 0 }, list = { 0 };
	const char *params[] = { r->selection.ids ? print_ids(&list, r->selection.ids, r->selection.nids)
		                                  : NULL,
		                 r->selection.since, r->request_id, r->principal, r->region->name };
	int code = pl_session_do(r->session, "BEGIN", err);
	PGresult *result = NULL;
	requests_sql(&sql, r);
	if (code == 0)
		result = pl_session_exec(r->session, sql.data, 5, params, err);
	if (code == 0 && !result)
		code = err->code;
	if (code == 0 && PQntuples(result) == 0) {
		*done_r = true;
	} else if (code == 0) {
		snprintf(r->request_id, sizeof(r->request_id), "%s", PQgetvalue(result, 0, 0));
		snprintf(r->principal, sizeof(r->principal), "%s", PQgetvalue(result, 0, 1));
		r->requests += strtoll(PQgetvalue(result, 0, 2), NULL, 10);
		r->events += strtoll(PQgetvalue(result, 0, 3), NULL, 10);
		code = note(r, err);
	}
	PQclear(result);
	pl_buf_fini(&sql);
	pl_buf_fini(&list);
	return code == 0 ? pl_session_do(r->session, "COMMIT", err) : code;
}

static int end(struct pl_republish *r, struct pl_error *err)
{
	char id[24];
	const char *params[] = { id };
	snprintf(id, sizeof(id), "%lld", (long long)r->id);
	PGresult *result = pl_session_exec(
		r->session,
		"UPDATE plist.republications SET ended_at = clock_timestamp() WHERE id = $1::bigint", 1,
		params, err);
	PQclear(result);
	return result ? 0 : err->code;
}

int pl_republish_step(struct pl_republish *r, bool *done_r, struct pl_error *err)
{
	struct pl_error ignored;
	int code;
	*done_r = r->waiting = false;
	if (r->rows_done && r->nleft == 0)
		code = step_requests(r, done_r, err);
	else if (r->rows_done || r->nleft > PL_REPUBLISH_LEFT_MAX - PL_REPUBLISH_BATCH)
		code = step_left(r, err);
	else
		code = step_records(r, err);
	if (code < 0 && pl_session_connected(r->session))
		pl_session_do(r->session, "ROLLBACK", &ignored);
	return code == 0 && *done_r ? end(r, err) : code;
}

void pl_republish_fini(struct pl_republish *r)
{
	free(r->left);
	r->left = NULL;
	r->nleft = r->left_next = 0;
}
