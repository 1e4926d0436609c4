// Remembered requests: what was answered the first time, for a request that comes again.
//
// A handler of an idempotent route asks here (pl_store_remembered), over a reader's
// connection; a write finds its own row through store/write_outcome.c.
// Threads: belongs to the store's worker.
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "store/store_private.h"

const struct pl_json_limits pl_remembered_limits = { .bytes = 1 << 30, .depth = 64, .nodes = 1 << 24 };

static const char statement_name[] = "plist_remembered";

void pl_remembered_prepare(struct pl_conn *reader)
{
	pl_conn_prepare(reader, statement_name,
	                "SELECT fingerprint = $3::bytea, status, response_body::text, location, "
	                "vector::text, resource FROM plist.processed_requests "
	                "WHERE request_id = $1::text AND principal = $2::text");
}

// ---- a row

// A record's members in their order, or a handler's own answer as a whole.
static void scan_body(struct pl_remembered *r, struct pl_arena *arena, const struct pl_resource *resource,
                      const char *body)
{
	cJSON *json = pl_json_parse(body, strlen(body), &pl_remembered_limits, NULL);
	const cJSON *whole = json ? pl_json_get(json, PL_REMEMBERED_WHOLE) : NULL;
	struct pl_buf text = { 0 };

	if (whole && pl_json_int64(pl_json_get(whole, "bytes"), &r->bytes) == 0)
		r->elsewhere = pl_arena_strdup(arena, pl_json_string(whole, "region"));
	if (whole)
		pl_json_print(&text, whole);
	else if (json && resource)
		pl_record_print_members(&text, resource, json);
	if (whole)
		r->whole = pl_arena_strdup(arena, text.data);
	else
		r->body = pl_arena_strdup(arena, text.data ? text.data : body);
	pl_buf_fini(&text);
	cJSON_Delete(json);
}

void pl_remembered_scan(struct pl_remembered *r, struct pl_arena *arena, const struct pl_resource *resource,
                        const struct pl_remembered_row *row)
{
	memset(r, 0, sizeof(*r));
	r->status = atoi(row->status);
	r->deleted = r->status == 204;
	r->location = row->location ? pl_arena_strdup(arena, row->location) : NULL;
	pl_vector_parse(&r->vector, row->vector, strlen(row->vector));
	if (row->body)
		scan_body(r, arena, resource, row->body);
}

// ---- looking up

static const char *value(const PGresult *result, int column)
{
	return PQgetisnull(result, 0, column) ? NULL : PQgetvalue(result, 0, column);
}

static void finish(struct pl_store *store, struct pl_remember_lookup *lookup, int code,
                   enum pl_outcome outcome, const char *why)
{
	lookup->code = code;
	lookup->outcome = outcome;
	if (code) {
		pl_error_set(&lookup->err, code, "%s", why);
		lookup->err.retryable = true;
	}
	store->nlookups--;
	DL_APPEND(store->lookups_finished, lookup);
}

static void looked_up(void *arg, PGresult *result, const struct pl_error *err)
{
	struct pl_pending_call *pending = arg;
	struct pl_store *store = pending->owner;
	struct pl_remember_lookup *lookup = pending->call;

	pl_pending_call_free(&store->lookups_sent, pending);
	if (!lookup)
		return;
	if ((!result || pl_db_error_again(err)) &&
	    !store->db.stopping) { // sent again once the connection is back
		DL_PREPEND(store->lookups, lookup);
	} else if (!result) {
		finish(store, lookup, PL_ESTOPPED, PL_OUTCOME_FAILED, err->text);
	} else if (err->code) {
		finish(store, lookup, err->code == PL_ETIMEOUT ? PL_ETIMEOUT : PL_EUNAVAIL, PL_OUTCOME_FAILED,
		       err->text);
	} else if (PQntuples(result) == 0) {
		finish(store, lookup, 0, PL_OUTCOME_NOT_FOUND, NULL);
	} else if (PQgetvalue(result, 0, 0)[0] != 't') {
		finish(store, lookup, 0, PL_OUTCOME_REUSED, NULL);
	} else {
		pl_remembered_scan(&lookup->remembered, lookup->arena,
		                   pl_config_resource(store->db.config, PQgetvalue(result, 0, 5)),
		                   &(struct pl_remembered_row){ PQgetvalue(result, 0, 1), value(result, 2),
		                                                value(result, 3), PQgetvalue(result, 0, 4) });
		finish(store, lookup, 0, PL_OUTCOME_REMEMBERED, NULL);
	}
}

void pl_store_remembered(struct pl_store *store, struct pl_remember_lookup *lookup)
{
	memset(&lookup->err, 0, sizeof(lookup->err));
	store->nlookups++;
	if (store->db.stopping) {
		finish(store, lookup, PL_ESTOPPED, PL_OUTCOME_FAILED, "the server is stopping");
	} else if (pl_write_task_is_running(store->writer, lookup->arena, lookup->principal,
	                                    lookup->request_id)) {
		finish(store, lookup, 0, PL_OUTCOME_RUNNING, NULL);
	} else if (store->nlookups > store->db.config->http.max_queued) {
		finish(store, lookup, PL_EBUSY, PL_OUTCOME_FAILED, "too many lookups are waiting");
	} else {
		DL_APPEND(store->lookups, lookup);
		pl_database_wait(&store->db, store->readers[store->nreaders - 1], lookup->deadline_us);
	}
}

void pl_remembered_send(struct pl_store *store)
{
	struct pl_conn *conn = store->readers[store->nreaders - 1];

	while (store->lookups && pl_conn_up(conn)) {
		struct pl_remember_lookup *lookup = store->lookups;
		struct pl_pending_call *pending = pl_pending_call_new(store, &store->lookups_sent, lookup);
		char fingerprint[2 + PL_SHA256_HEX] = "\\x";
		const char *values[] = { lookup->request_id, lookup->principal ? lookup->principal : "",
			                 (pl_sha256_hex(lookup->fingerprint, fingerprint + 2), fingerprint) };
		struct pl_conn_params params = { .n = 3, .values = values };

		if (pl_conn_send(conn, statement_name, &params, looked_up, pending, NULL) < 0) {
			pl_pending_call_free(&store->lookups_sent, pending);
			return;
		}
		DL_DELETE(store->lookups, lookup);
	}
}

// ---- time and the end

void pl_remembered_due(struct pl_store *store, int64_t now_us)
{
	struct pl_remember_lookup *lookup, *next;
	struct pl_pending_call *pending;
	struct pl_error err;

	DL_FOREACH_SAFE (store->lookups, lookup, next) {
		int code = lookup->deadline_us <= now_us
		                   ? PL_ETIMEOUT
		                   : pl_database_unavailable(&store->db, store->readers[store->nreaders - 1],
		                                             &err);

		if (code == 0) {
			pl_database_wake_at(&store->db, lookup->deadline_us);
			continue;
		}
		DL_DELETE(store->lookups, lookup);
		finish(store, lookup, code, PL_OUTCOME_FAILED,
		       code == PL_ETIMEOUT ? "the deadline passed" : err.text);
	}
	DL_FOREACH (store->lookups_sent, pending) {
		lookup = pending->call;
		if (lookup && lookup->deadline_us <= now_us) {
			pending->call = NULL;
			finish(store, lookup, PL_ETIMEOUT, PL_OUTCOME_FAILED,
			       "the deadline passed before the database answered");
		} else if (lookup) {
			pl_database_wake_at(&store->db, lookup->deadline_us);
		}
	}
}

// After the connections were closed: what was in flight has been answered.
void pl_remembered_stop(struct pl_store *store)
{
	struct pl_remember_lookup *lookup, *next;

	DL_FOREACH_SAFE (store->lookups, lookup, next) {
		DL_DELETE(store->lookups, lookup);
		finish(store, lookup, PL_ESTOPPED, PL_OUTCOME_FAILED, "the server is stopping");
	}
}

bool pl_remembered_deliver(struct pl_store *store)
{
	struct pl_remember_lookup *lookup;
	bool any = store->lookups_finished != NULL;

	while ((lookup = store->lookups_finished)) {
		DL_DELETE(store->lookups_finished, lookup);
		lookup->done(lookup, lookup->arg);
	}
	return any;
}
