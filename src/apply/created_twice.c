// One request, two regions, two records.
//
// A client that gets no answer to a POST sends it again, perhaps to another region. If
// both regions execute it before they hear of each other, each creates a record under an
// id of its own. When the second region's event arrives, the request is remembered with
// another record (statements.c, apply_created_twice). All regions find the same pairs and
// remember the answer of the region that comes first by name, so a retry names the record
// that stays.
//
// The region that made a record deletes it, with the store's own statement for a delete
// and a request id derived from the record, so the delete happens once, travels like any
// other, and meets concurrent writes like any other. The delete's lock is the vector of
// the create. A record that somebody has written since is not deleted: then people
// decide, by deleting one of the two. Until then the conflict stays open, says so, and
// shows both records as they are.
//
// A pair is closed when its record is deleted, or alone. Closed pairs are kept in
// created_twice_closed: a third region's record may arrive later, and a deleted record
// may come back. Then those whose record is there are looked at again.
//
// Another session's lock holds up its record or table only: a locked record is not
// waited for, and a locked table's pairs are put off together.
// Threads: see created_twice.h.
#include "apply/created_twice.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/sha256.h"
#include "config/principals.h"
#include "store/quote.h"
#include "store/statement.h"
#include "store/store.h"

#define INTERVAL_US   INT64_C(500000)
#define AT_ONCE       32                         // pairs in one run
#define FAILED_US     INT64_C(100000)            // how long pairs may fail in one run
#define REMEMBERED_US (INT64_C(86400) * 1000000) // the request of a delete

#define WRITTEN_SINCE "it was written after it was created; delete one of the two records"

// A pair of records, as the table has it.
struct pair {
	const char *resource_name, *record_id, *origin, *kept_id, *kept_origin, *request_id, *principal;
	const struct pl_resource *resource;
	char other_id[24]; // the record that it meets now; "": none is left
};

static PGresult *ask(const struct pl_apply_tools *tools, const char *sql, int n, const char *const *params,
                     struct pl_error *err)
{
	return pl_session_exec(tools->session, sql, n, params, err);
}

static int tell(const struct pl_apply_tools *tools, const char *sql, int n, const char *const *params,
                struct pl_error *err)
{
	PGresult *result = ask(tools, sql, n, params, err);

	PQclear(result);
	return result ? 0 : err->code;
}

// ---- the conflict

// A record as conflicts.siblings has it, with its id.
static void add_record(struct pl_buf *sql, const struct pl_resource *resource, const char *param)
{
	pl_buf_adds(sql,
	            "(SELECT jsonb_build_object('id', p.id, 'origin', p.region_origin, 'counter', "
	            "p.vector -> p.region_origin, 'vector', p.vector, 'updated_at', to_char(p.updated_at, "
	            "'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"'), 'version', p.version, 'deleted', "
	            "p.deleted_at IS NOT NULL, 'request_id', p.request_id, 'fields', jsonb_build_object(");
	for (int i = 0; i < resource->nfields; i++) {
		pl_buf_adds(sql, i ? ", " : "");
		pl_quote_literal(sql, resource->fields[i].name);
		pl_buf_adds(sql, ", p.");
		pl_quote_name(sql, resource->fields[i].name);
	}
	pl_buf_adds(sql, ")) FROM ");
	pl_statement_table(sql, resource);
	pl_buf_printf(sql, " AS p WHERE p.id = %s::bigint)", param);
}

// A subquery: the records kept, $3, and gone, $2.
static void add_pair(struct pl_buf *sql, const struct pl_resource *resource)
{
	pl_buf_adds(sql, "(SELECT ");
	add_record(sql, resource, "$3");
	pl_buf_adds(sql, " AS kept, ");
	add_record(sql, resource, "$2");
	pl_buf_adds(sql, " AS gone) AS pair");
}

// The pair as a conflict of the record that goes, once.
static int record_conflict(const struct pl_apply_tools *tools, const struct pair *pair, struct pl_error *err)
{
	const char *params[] = { pair->resource_name, pair->record_id, pair->kept_id };
	struct pl_buf sql = { 0 };
	int code;

	if (!tools->config->conflicts.record)
		return 0;
	pl_buf_adds(&sql,
	            "INSERT INTO plist.conflicts (resource, record_id, type, policy_name, policy_sha256, "
	            "siblings, verdict, visible, vector) SELECT $1, $2::bigint, 'created_twice', "
	            "'first_region', '', jsonb_build_array(kept, gone), '{\"take\": 1}', kept, "
	            "gone -> 'vector' FROM ");
	add_pair(&sql, pair->resource);
	pl_buf_adds(&sql, " WHERE kept IS NOT NULL AND gone IS NOT NULL AND NOT EXISTS "
	                  "(SELECT FROM plist.conflicts WHERE resource = $1 AND record_id = $2::bigint AND "
	                  "type = 'created_twice')");
	code = tell(tools, sql.data, 3, params, err);
	pl_buf_fini(&sql);
	return code;
}

// Closes the pair and its conflict. The pair moves to created_twice_closed.
static int close_pair(const struct pl_apply_tools *tools, const struct pair *pair, struct pl_error *err)
{
	const char *params[] = { pair->resource_name, pair->record_id };

	return tell(
		tools,
		"WITH c AS (UPDATE plist.conflicts SET closed_at = now() WHERE "
		"closed_at IS NULL AND type = 'created_twice' AND resource = $1 AND record_id = "
		"$2::bigint), d AS (DELETE FROM plist.created_twice WHERE resource = $1 AND record_id = "
		"$2::bigint RETURNING *) INSERT INTO plist.created_twice_closed (resource, record_id, "
		"origin, kept_id, kept_origin, request_id, principal) SELECT resource, record_id, origin, "
		"kept_id, kept_origin, request_id, principal FROM d ON CONFLICT (resource, record_id) DO "
		"UPDATE SET kept_id = excluded.kept_id, kept_origin = excluded.kept_origin, closed_at = "
		"now()",
		2, params, err);
}

// The conflict is open and shows both records as they are. `why`: what people should do,
// or NULL. Returns 1 if it has not said so before, or a code.
static int show(const struct pl_apply_tools *tools, const struct pair *pair, const char *why,
                char conflict_r[24], struct pl_error *err)
{
	const char *params[] = { pair->resource_name, pair->record_id,
		                 pair->other_id[0] ? pair->other_id : pair->kept_id, why };
	struct pl_buf sql = { 0 };
	PGresult *result;
	int code;

	pl_buf_adds(&sql,
	            "WITH old AS (SELECT id, detected_at, closed_at, policy_error FROM plist.conflicts "
	            "WHERE resource = $1 AND record_id = $2::bigint AND type = 'created_twice' ORDER "
	            "BY id DESC LIMIT 1) UPDATE plist.conflicts AS c SET closed_at = NULL, "
	            "policy_error = coalesce($4, c.policy_error), siblings = "
	            "jsonb_build_array(kept, gone), visible = kept, vector = gone -> 'vector' FROM old, ");
	add_pair(&sql, pair->resource);
	pl_buf_adds(&sql, " WHERE c.id = old.id AND c.detected_at = old.detected_at AND kept IS NOT NULL AND "
	                  "gone IS NOT NULL AND (old.closed_at IS NOT NULL OR old.policy_error IS DISTINCT "
	                  "FROM coalesce($4, old.policy_error) OR c.siblings <> jsonb_build_array(kept, "
	                  "gone)) RETURNING c.id, old.closed_at IS NOT NULL OR old.policy_error IS NULL");
	result = ask(tools, sql.data, 4, params, err);
	pl_buf_fini(&sql);
	if (!result)
		return err->code;
	code = PQntuples(result) > 0 && PQgetvalue(result, 0, 1)[0] == 't';
	if (code)
		snprintf(conflict_r, 24, "%s", PQgetvalue(result, 0, 0));
	PQclear(result);
	return code;
}

// For people: the record was written since. The first time it is logged.
static int leave_to_people(const struct pl_apply_tools *tools, const struct pair *pair, struct pl_error *err)
{
	char conflict[24];
	int code = show(tools, pair, WRITTEN_SINCE, conflict, err);

	if (code > 0)
		pl_warning("one request created %s %s and %s in two regions, and %s was written since: "
		           "delete one of the two records (conflict %s)",
		           pair->resource_name, pair->other_id[0] ? pair->other_id : pair->kept_id,
		           pair->record_id, pair->record_id, conflict);
	return code < 0 ? code : 0;
}

#define LATER                                                                             \
	"UPDATE plist.created_twice SET retry_at = now() + least(interval '10 seconds', " \
	"interval '500 milliseconds' + (now() - found_at) / 10) WHERE resource = $1 AND "

static int look_again_later(const struct pl_apply_tools *tools, const struct pair *pair, struct pl_error *err)
{
	const char *params[] = { pair->resource_name, pair->record_id };

	return tell(tools, LATER "record_id = $2::bigint", 2, params, err);
}

// Its table is locked, and so it is for the other pairs that are due.
static int put_off_resource(const struct pl_apply_tools *tools, const struct pair *pair, struct pl_error *err)
{
	const char *params[] = { pair->resource_name };

	return tell(tools, LATER "retry_at <= now()", 1, params, err);
}

// ---- the delete

// "created-twice-" and 40 hexadecimal digits, which name the record and its request.
static void derive_request(const struct pair *pair, char request_r[64], char fingerprint_r[2 + PL_SHA256_HEX])
{
	uint8_t hash[PL_SHA256_SIZE];
	struct pl_buf text = { 0 };

	pl_buf_printf(&text, "created twice %s %s %s/%s", pair->principal, pair->request_id,
	              pair->resource_name, pair->record_id);
	pl_sha256(text.data, text.len, hash);
	strcpy(fingerprint_r, "\\x");
	pl_sha256_hex(hash, fingerprint_r + 2);
	snprintf(request_r, 64, "created-twice-%.40s", fingerprint_r + 2);
	pl_buf_fini(&text);
}

// The key under which this region counts its writes, while it may write; else NULL
// (heal/heal).
static const char *key_of(const struct pl_apply_tools *tools, char key_r[PL_REGION_MAX + 1],
                          struct pl_error *err)
{
	const char *params[] = { tools->region->name };
	PGresult *result =
		ask(tools,
	            "SELECT plist.plist_key(region, generation) FROM plist.identity WHERE region = $1 "
	            "AND generation > 0 AND state = 'settled' AND place = plist.plist_place() AND "
	            "run = plist.plist_run()",
	            1, params, err);
	bool found = result && PQntuples(result) == 1;

	if (found)
		snprintf(key_r, PL_REGION_MAX + 1, "%s", PQgetvalue(result, 0, 0));
	PQclear(result);
	return found ? key_r : NULL;
}

// Deletes the record if nobody has written it. Returns whether it did, or a code.
static int delete_record(const struct pl_apply_tools *tools, const struct pair *pair, struct pl_error *err)
{
	char request[64], fingerprint[2 + PL_SHA256_HEX], vector[PL_REGION_MAX + 16], flags[8];
	char expires[PL_TIME_TEXT_MAX], own[PL_REGION_MAX + 1];
	const char *params[PL_PARAMS_MAX] = { 0 }, *key = key_of(tools, own, err);
	struct pl_buf sql = { 0 };
	PGresult *result;
	int deleted;

	if (!key)
		return err->code; // 0: not now
	derive_request(pair, request, fingerprint);
	snprintf(vector, sizeof(vector), "{\"%s\": 1}", pair->origin);
	snprintf(flags, sizeof(flags), "%d", (int)PL_WRITE_DELETE);
	params[PL_PARAM_ID] = pair->record_id;
	params[PL_PARAM_FLAGS] = flags;
	params[PL_PARAM_ETAG] = vector;
	params[PL_PARAM_REQUEST_ID] = request;
	params[PL_PARAM_PRINCIPAL] = PL_PRINCIPAL_OF_CREATED_TWICE;
	params[PL_PARAM_FINGERPRINT] = fingerprint;
	params[PL_PARAM_EXPIRES] = pl_clock_format_time(pl_now_us() + REMEMBERED_US, expires);
	pl_statement_text(&sql, PL_STATEMENT_CHANGE_ONE, tools->config, pair->resource, tools->region, key);
	result = ask(tools, sql.data, PL_PARAM_FIELD + pair->resource->nfields, params, err);
	pl_buf_fini(&sql);
	if (!result)
		return err->code;
	deleted = PQntuples(result) > 0;
	PQclear(result);
	if (deleted)
		pl_notice("one request created %s %s in region %s and %s here; %s was deleted, %s stays",
		          pair->resource_name, pair->kept_id, pair->kept_origin, pair->record_id,
		          pair->record_id, pair->kept_id);
	return deleted;
}

// ---- one pair after the other

enum state { UNTOUCHED, WRITTEN, DELETED, UNKNOWN };

#define MEMBERS "SELECT record_id, origin, kept_id, kept_origin, request_id, principal, resource FROM plist."

// Of the records that the request created and that are still there, besides p, the one
// whose region comes first.
static void add_other(struct pl_buf *sql, const struct pair *pair)
{
	pl_buf_adds(sql, "(SELECT o.id FROM (" MEMBERS "created_twice UNION ALL " MEMBERS
	                 "created_twice_closed) AS c, LATERAL (VALUES (c.record_id, c.origin), (c.kept_id, "
	                 "c.kept_origin)) AS m(id, origin) JOIN ");
	pl_statement_table(sql, pair->resource);
	pl_buf_adds(sql, " AS o USING (id) WHERE c.request_id = $4 AND c.principal = $5 AND c.resource = $6 "
	                 "AND o.id <> p.id AND o.deleted_at IS NULL ORDER BY m.origin COLLATE \"C\" LIMIT "
	                 "1)");
}

// How this database has the record that goes. If it was written, and all others were
// deleted, it stays.
static int state_of(const struct pl_apply_tools *tools, struct pair *pair, struct pl_error *err)
{
	const char *params[] = { pair->record_id,  pair->kept_id,   pair->origin,
		                 pair->request_id, pair->principal, pair->resource_name };
	struct pl_buf sql = { 0 };
	PGresult *result;
	int state = UNKNOWN;

	pl_buf_adds(&sql, "SELECT CASE WHEN p.deleted_at IS NOT NULL THEN 'd' WHEN NOT p.has_siblings AND "
	                  "p.vector = jsonb_build_object($3::text, 1) THEN 'u' WHEN other IS NULL AND "
	                  "k.deleted_at IS NOT NULL THEN 'd' ELSE 'w' END, other FROM ");
	pl_statement_table(&sql, pair->resource);
	pl_buf_adds(&sql, " AS p LEFT JOIN ");
	pl_statement_table(&sql, pair->resource);
	pl_buf_adds(&sql, " AS k ON k.id = $2::bigint, LATERAL (SELECT ");
	add_other(&sql, pair);
	pl_buf_adds(&sql, " AS other) AS o WHERE p.id = $1::bigint");
	result = ask(tools, sql.data, 6, params, err);
	pl_buf_fini(&sql);
	if (!result)
		return err->code;
	if (PQntuples(result) > 0) {
		state = PQgetvalue(result, 0, 0)[0] == 'd'   ? DELETED
		        : PQgetvalue(result, 0, 0)[0] == 'u' ? UNTOUCHED
		                                             : WRITTEN;
		snprintf(pair->other_id, sizeof(pair->other_id), "%s", PQgetvalue(result, 0, 1));
	}
	PQclear(result);
	return state;
}

static bool is_ours(const struct pl_apply_tools *tools, const struct pair *pair)
{
	size_t len = pl_vector_region_len(pair->origin, strlen(pair->origin));

	return len == strlen(tools->region->name) && strncmp(pair->origin, tools->region->name, len) == 0;
}

// Closed pairs of the request whose record is there meet this one.
static int open_again(const struct pl_apply_tools *tools, const struct pair *pair, struct pl_error *err)
{
	const char *params[] = { pair->request_id, pair->principal, pair->resource_name };
	struct pl_buf sql = { 0 };
	int code;

	pl_buf_adds(&sql, "WITH again AS (DELETE FROM plist.created_twice_closed AS c USING ");
	pl_statement_table(&sql, pair->resource);
	pl_buf_adds(&sql, " AS p WHERE c.request_id = $1 AND c.principal = $2 AND c.resource = $3 AND p.id = "
	                  "c.record_id AND p.deleted_at IS NULL RETURNING c.*) INSERT INTO "
	                  "plist.created_twice (resource, record_id, origin, kept_id, kept_origin, "
	                  "request_id, principal) SELECT resource, record_id, origin, kept_id, kept_origin, "
	                  "request_id, principal FROM again ON CONFLICT (resource, record_id) DO NOTHING");
	code = tell(tools, sql.data, 3, params, err);
	pl_buf_fini(&sql);
	return code;
}

// Deletes the record if this region made it. Returns its state after that, or a code.
static int delete_own(const struct pl_apply_tools *tools, const struct pair *pair, int *deleted,
                      struct pl_error *err)
{
	int code;

	if (!is_ours(tools, pair))
		return UNTOUCHED;
	if ((code = delete_record(tools, pair, err)) < 0)
		return code;
	*deleted += code;
	return code ? DELETED : UNTOUCHED;
}

static int settle(const struct pl_apply_tools *tools, struct pair *pair, int *deleted, struct pl_error *err)
{
	char conflict[24];
	int code, state;

	if ((code = record_conflict(tools, pair, err)) < 0 || (code = open_again(tools, pair, err)) < 0 ||
	    (state = code = state_of(tools, pair, err)) < 0 ||
	    (state == UNTOUCHED && (state = code = delete_own(tools, pair, deleted, err)) < 0))
		return code;
	if (state == DELETED)
		return close_pair(tools, pair, err);
	if (state == WRITTEN)
		code = leave_to_people(tools, pair, err);
	else if (state == UNTOUCHED)
		code = show(tools, pair, NULL, conflict, err);
	return code < 0 ? code : look_again_later(tools, pair, err);
}

static struct pair read_pair(const struct pl_apply_tools *tools, const PGresult *result)
{
	struct pair pair = { PQgetvalue(result, 0, 0),
		             PQgetvalue(result, 0, 1),
		             PQgetvalue(result, 0, 2),
		             PQgetvalue(result, 0, 3),
		             PQgetvalue(result, 0, 4),
		             PQgetvalue(result, 0, 5),
		             PQgetvalue(result, 0, 6),
		             NULL,
		             "" };

	pair.resource = pl_config_resource(tools->config, pair.resource_name);
	return pair;
}

static bool is_table_locked(const struct pl_apply_tools *tools, const struct pair *pair,
                            const struct pl_error *err)
{
	struct pl_error ignored = { 0 };
	enum pl_table_lock lock;

	return strcmp(err->sqlstate, "55P03") == 0 &&
	       pl_apply_rows_table_lock(tools->session, pair->resource, &lock, &ignored) == 0 &&
	       lock >= PL_TABLE_LOCKED;
}

// A pair that fails is put off; if its table is locked, with all others of the resource.
static int settle_or_put_off(const struct pl_apply_tools *tools, struct pair *pair, int *deleted,
                             struct pl_error *err)
{
	struct pl_error ignored = { 0 };
	int code;

	if (!pair->resource)
		return look_again_later(tools, pair, err);
	if ((code = pl_session_do(tools->session, "SAVEPOINT pair", err)) < 0 ||
	    (code = settle(tools, pair, deleted, err)) >= 0)
		return code;
	if (!pl_session_connected(tools->session) ||
	    pl_session_do(tools->session, "ROLLBACK TO pair", &ignored) < 0)
		return code;
	if (is_table_locked(tools, pair, err))
		put_off_resource(tools, pair, &ignored);
	else
		look_again_later(tools, pair, &ignored);
	return code;
}

// The next pair that is due, in its own transaction. Returns whether there was one.
static int settle_next(const struct pl_apply_tools *tools, int *deleted, struct pl_error *err)
{
	PGresult *result =
		ask(tools,
	            "SELECT resource, record_id, origin, kept_id, kept_origin, request_id, principal "
	            "FROM plist.created_twice WHERE retry_at <= now() ORDER BY retry_at LIMIT 1 FOR "
	            "UPDATE SKIP LOCKED",
	            0, NULL, err);
	int n, code = 0;
	struct pair pair;

	if (!result)
		return err->code;
	n = PQntuples(result);
	if (n > 0) {
		pair = read_pair(tools, result);
		code = settle_or_put_off(tools, &pair, deleted, err);
	}
	PQclear(result);
	return code < 0 ? code : n;
}

// One transaction each. A failed pair does not keep the others from being tried, but the
// applier waits for each failure, so only for a limited time. Returns the last failure's
// code.
static int settle_all(const struct pl_apply_tools *tools, int *deleted, struct pl_error *err)
{
	int64_t until_us = pl_mono_us() + FAILED_US;
	int code = 1, failed = 0;

	for (int i = 0; i < AT_ONCE && code != 0 && (failed == 0 || pl_mono_us() < until_us); i++) {
		struct pl_error one = { 0 };

		if ((code = pl_session_do(tools->session,
		                          "BEGIN ISOLATION LEVEL READ COMMITTED; SET CONSTRAINTS ALL "
		                          "IMMEDIATE; SET LOCAL lock_timeout = 50",
		                          err)) < 0)
			return code;
		code = settle_next(tools, deleted, &one);
		if (pl_session_connected(tools->session) &&
		    pl_session_do(tools->session, "COMMIT", code < 0 ? NULL : &one) < 0 && code >= 0)
			code = one.code;
		if (code >= 0)
			continue;
		failed = code;
		*err = one;
		if (!pl_session_connected(tools->session))
			return code;
	}
	return failed;
}

int pl_created_twice_run(struct pl_created_twice *c, const struct pl_apply_tools *tools)
{
	struct pl_error err = { 0 };
	int deleted = 0;

	if (pl_mono_us() < c->next_us || !pl_session_connected(tools->session))
		return 0;
	if (settle_all(tools, &deleted, &err) < 0 && err.code != PL_ESTOPPED &&
	    pl_log_limit_ok(&c->limit, 10000000))
		pl_warning("records that were created twice could not be deleted: %s", err.text);
	c->next_us = pl_mono_us() + INTERVAL_US;
	return deleted;
}

int pl_created_twice_count(const struct pl_apply_tools *tools, int64_t *n_r, struct pl_error *err)
{
	PGresult *result = ask(tools,
	                       "SELECT count(*) FROM plist.created_twice WHERE found_at < now() - "
	                       "interval '1 minute'",
	                       0, NULL, err);

	if (!result)
		return err->code;
	*n_r = strtoll(PQgetvalue(result, 0, 0), NULL, 10);
	PQclear(result);
	return 0;
}
