// Resolves violations: asks the rule, and writes this region's part of its answer.
//
// A violation waits until its records have not changed for two heartbeats: by then the
// other regions have received them. The rule is asked once for each state of the
// records, and again when its file has changed. It is not asked about records that one
// request created in two regions: one of them is about to be deleted
// (apply/created_twice.c), and a change would keep it.
// Threads: the integrity thread.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "config/principals.h"
#include "integrity/integrity_private.h"
#include "record/fields.h"
#include "store/guard.h"
#include "store/statement.h"

#define AT_ONCE "50"
// A locked record is not waited for.
// statement_timeout does not hold for the triggers that COMMIT itself executes.
#define BEGIN_WRITE                                                             \
	"BEGIN ISOLATION LEVEL READ COMMITTED; SET CONSTRAINTS ALL IMMEDIATE; " \
	"SET LOCAL lock_timeout = 100"
#define TRIES_MAX     5
#define RECORDS_BYTES (16 << 20)       // of a violation's records, as JSON
#define REMEMBERED_US (86400 * SECOND) // how long the request id of a change is remembered

enum { RESOURCE, TYPE, FIELDS, SUBJECT, CONFLICT, TRIES, RULE }; // columns of a violation that is due

struct due {
	struct pl_integrity *integrity;
	struct pl_arena *arena;
	const char *key[4], *conflict, *rule; // the rule's hash
	int tries;
	struct pl_integrity_check check;
	struct pl_violation violation;
	const char *vectors; // vectors of its records, by id
	bool too_large;      // its records have more than RECORDS_BYTES, or too many members
	int written;         // how many changes were written here
	struct pl_buf dots;  // and which writes they are, as an array without its end
	int mine;            // how many changes this region has to write
};

// ---- the records

static int64_t number(const cJSON *object, const char *name)
{
	const cJSON *item = pl_json_get(object, name);
	int64_t value = 0;

	if (item)
		pl_json_int64(item, &value);
	return value;
}

static const char *text_of(struct pl_arena *arena, const cJSON *item)
{
	struct pl_buf buf = { 0 };
	const char *text;

	pl_json_print(&buf, item);
	text = pl_arena_strdup(arena, buf.data);
	pl_buf_fini(&buf);
	return text;
}

static void read_record(struct due *due, const cJSON *json, struct pl_violation_record *record)
{
	const char *origin = pl_json_string(json, "origin"), *at = pl_json_string(json, "updated_at");
	const char *vector = text_of(due->arena, pl_json_get(json, "vector"));

	record->id = number(json, "id");
	record->origin = pl_arena_strdup(due->arena, origin ? origin : "");
	if (at)
		pl_clock_parse_time(at, strlen(at), &record->updated_at_us);
	pl_vector_parse(&record->vector, vector, strlen(vector));
	record->values = pl_fields_parse(due->arena, due->check.resource,
	                                 text_of(due->arena, pl_json_get(json, "fields")), NULL);
}

static int read_records(struct due *due, const char *text, struct pl_error *err)
{
	static const struct pl_json_limits limits = { RECORDS_BYTES, 16, 1000000 };
	cJSON *json = pl_json_parse(text, strlen(text), &limits, err);
	struct pl_violation_record *records;
	const cJSON *item;
	int n = 0;

	if (!json)
		return err->code;
	records = pl_arena_alloc(due->arena, sizeof(*records) * (size_t)cJSON_GetArraySize(json));
	cJSON_ArrayForEach (item, json)
		read_record(due, item, &records[n++]);
	cJSON_Delete(json);
	due->violation =
		(struct pl_violation){ due->check.resource, due->key[TYPE], due->key[FIELDS], n, records };
	return 0;
}

// Loads the violation as it is now. Returns whether it still exists, or a code.
static int load(struct due *due, struct pl_error *err)
{
	struct pl_buf sql = { 0 }, array = { 0 };
	PGresult *rows;
	int code;

	pl_buf_adds(&array, "{");
	pl_buf_add_json(&array, due->key[SUBJECT], strlen(due->key[SUBJECT])); // quoted as in an array
	pl_buf_adds(&array, "}");
	pl_buf_printf(&sql,
	              "SELECT vectors, CASE WHEN octet_length(records::text) <= %d THEN records END FROM (",
	              RECORDS_BYTES);
	pl_integrity_sql_of_subjects(&sql, &due->check);
	pl_buf_adds(&sql, ") AS found (subject, records, vectors, first, n)");
	rows = pl_session_exec(due->integrity->session, sql.data, 1, (const char *const[]){ array.data },
	                       err);
	pl_buf_fini(&sql);
	pl_buf_fini(&array);
	if (!rows)
		return err->code;
	code = PQntuples(rows) > 0;
	if (code > 0) {
		due->vectors = pl_arena_strdup(due->arena, PQgetvalue(rows, 0, 0));
		due->too_large =
			PQgetisnull(rows, 0, 1) || read_records(due, PQgetvalue(rows, 0, 1), err) < 0;
	}
	PQclear(rows);
	return code;
}

// ---- a write

// Returns the key under which this region counts its writes, or NULL while it may not
// write (heal/heal).
static const char *key_of(struct due *due, struct pl_error *err)
{
	const char *params[] = { due->integrity->region->name };
	PGresult *result = pl_session_exec(
		due->integrity->session,
		"SELECT plist.plist_key(region, generation) FROM plist.identity WHERE region = $1 AND "
		"generation > 0 AND state = 'settled' AND NOT drained AND place = plist.plist_place() "
		"AND run = plist.plist_run()",
		1, params, err);
	const char *key = result && PQntuples(result) == 1
	                          ? pl_arena_strdup(due->arena, PQgetvalue(result, 0, 0))
	                          : NULL;

	PQclear(result);
	return key;
}

static int take_locks(struct due *due, const struct pl_resolution_write *write, struct pl_error *err)
{
	struct pl_write plain = { .resource = due->check.resource,
		                  .op = write->change->deleted ? PL_WRITE_DELETE : PL_WRITE_UPDATE,
		                  .id = write->record->id,
		                  .changes = write->change->changes };
	struct pl_buf exclusive = { 0 }, shared = { 0 };
	struct pl_guard guard;
	int code;

	pl_guard_of_write(&guard, due->arena, &plain);
	pl_guard_params(&guard, &exclusive, &shared);
	code = pl_integrity_do(due->integrity, pl_statement_guard_locks, 2,
	                       (const char *const[]){ exclusive.data, shared.data }, err);
	pl_buf_fini(&exclusive);
	pl_buf_fini(&shared);
	return code;
}

static const char *print_int(struct due *due, int64_t n)
{
	return pl_arena_printf(due->arena, "%lld", (long long)n);
}

static int64_t set_fields(const struct due *due, const struct pl_rule_change *change, const char **params)
{
	int64_t flags = change->deleted ? PL_WRITE_DELETE : PL_WRITE_UPDATE;

	for (int i = 0; !change->deleted && i < due->check.resource->nfields; i++)
		if (change->changes.set[i]) {
			flags |= PL_FLAG_FIELD(i);
			params[PL_PARAM_FIELD + i] = change->changes.values[i];
		}
	return flags;
}

// Notes which write it was: "300 eu 2", as integrity_look finds it again. Not its request
// id, which a client may give to a write of its own.
static void note_dot(struct due *due, const struct pl_resolution_write *write, const char *key,
                     const char *vector)
{
	struct pl_vector written;

	pl_vector_parse(&written, vector, strlen(vector));
	pl_buf_printf(&due->dots, "%c%lld %s %d", due->dots.len ? ',' : '{', (long long)write->record->id,
	              key, (int)pl_vector_get(&written, key));
}

// Executes the store's own statement, with a lock on the vector that the rule has seen.
// Returns whether it wrote, or a code.
static int execute(struct due *due, const struct pl_resolution_write *write, const char *key,
                   struct pl_error *err)
{
	char fingerprint[2 + PL_SHA256_HEX] = "\\x", expires[PL_TIME_TEXT_MAX];
	const char *params[PL_PARAMS_MAX] = { 0 };
	struct pl_buf sql = { 0 }, vector = { 0 };
	PGresult *result;
	int done;

	pl_sha256_hex(write->fingerprint, fingerprint + 2);
	pl_vector_print(&vector, &write->record->vector);
	params[PL_PARAM_ID] = print_int(due, write->record->id);
	params[PL_PARAM_FLAGS] = print_int(due, set_fields(due, write->change, params));
	params[PL_PARAM_ETAG] = vector.data;
	params[PL_PARAM_REQUEST_ID] = write->request_id;
	params[PL_PARAM_PRINCIPAL] = PL_PRINCIPAL_OF_VIOLATION;
	params[PL_PARAM_FINGERPRINT] = fingerprint;
	params[PL_PARAM_EXPIRES] = pl_clock_format_time(pl_now_us() + REMEMBERED_US, expires);
	pl_statement_text(&sql, PL_STATEMENT_SERIAL, due->integrity->config, due->check.resource,
	                  due->integrity->region, key);
	result = pl_session_exec(due->integrity->session, sql.data,
	                         PL_PARAM_FIELD + due->check.resource->nfields, params, err);
	pl_buf_fini(&sql);
	pl_buf_fini(&vector);
	if (!result)
		return err->code;
	done = PQntuples(result) > 0;
	if (done)
		note_dot(due, write, key, PQgetvalue(result, 0, PL_DONE_VECTOR));
	PQclear(result);
	return done;
}

static int write_one(struct due *due, const struct pl_resolution_write *write, struct pl_error *err)
{
	struct pl_session *session = due->integrity->session;
	const char *key;
	int code, done;

	if ((code = pl_session_do(session, BEGIN_WRITE, err)) < 0)
		return code;
	key = key_of(due, err);
	if (!key)
		return err->code ? err->code : pl_session_do(session, "ROLLBACK", err);
	due->mine++;
	if ((code = take_locks(due, write, err)) < 0 || (code = done = execute(due, write, key, err)) < 0 ||
	    (code = pl_session_do(session, "COMMIT", err)) < 0)
		return code;
	due->written += done;
	if (done)
		pl_notice("integrity: %s %lld was %s, since %s of %s was violated (conflict %s, request %s)",
		          due->key[RESOURCE], (long long)write->record->id,
		          write->change->deleted ? "deleted" : "changed",
		          due->check.unique ? "unique" : "a reference", due->key[FIELDS], due->conflict,
		          write->request_id);
	return 0;
}

// ---- the rule

// Notes that the rule was asked. `error`: a message for operators, or NULL.
static int note_try(struct due *due, const char *error, const char *name, struct pl_error *err)
{
	const char *params[] = { due->key[0],
		                 due->key[1],
		                 due->key[2],
		                 due->key[3],
		                 due->vectors,
		                 error,
		                 due->mine > 0 ? "1" : "0",
		                 due->conflict,
		                 name,
		                 due->written ? "t" : "f",
		                 due->rule,
		                 NULL };

	pl_buf_adds(&due->dots, due->dots.len ? "}" : "{}");
	params[11] = due->dots.data;
	if (error)
		pl_warning("integrity: conflict %s of %s: %s", due->conflict, due->key[RESOURCE], error);
	return pl_integrity_do(
		due->integrity,
		"WITH v AS (UPDATE plist.violations SET tried = $5::jsonb, tries = CASE WHEN rule <> $11 "
		"THEN 0 ELSE tries END + $7::integer, rule = $11, written = written || $12::text[] WHERE "
		"resource = $1 AND type = $2 AND fields = $3 AND subject = $4) UPDATE plist.conflicts SET "
		"policy_error = $6, policy_name = coalesce($9, policy_name), verdict = CASE WHEN "
		"$10::boolean THEN verdict || '{\"written\": true}' ELSE verdict END WHERE id = $8::bigint "
		"AND closed_at IS NULL",
		12, params, err);
}

static int write_all(struct due *due, const struct pl_rule_answer *answer, struct pl_error *err)
{
	struct pl_resolution_write *writes =
		pl_arena_alloc(due->arena, sizeof(*writes) * (size_t)(answer->n > 0 ? answer->n : 1));
	int mine = pl_resolution_writes(&due->violation, answer, due->integrity->region->name, writes);
	int code = 0;

	for (int i = 0; i < mine && code == 0; i++)
		code = write_one(due, &writes[i], err);
	return code == 0 && mine > due->mine ? 1 : code; // 1: the region may not write now
}

static int ask(struct due *due, struct pl_error *err)
{
	struct pl_integrity *integrity = due->integrity;
	struct pl_rule *rule = pl_rule_find(integrity->vm, due->arena, due->check.resource->violations);
	struct pl_rule_answer answer;
	struct pl_error fault = { 0 };
	const char *error = NULL;
	int code;

	if (!rule)
		return 0;
	if (due->tries >= TRIES_MAX)
		return note_try(due, "the rule's changes keep causing new violations; change the records",
		                pl_rule_name(rule), err);
	if (due->too_large)
		return note_try(due, "its records are too large together for the rule; change some of them",
		                pl_rule_name(rule), err);
	if (pl_rule_resolve(rule, &due->violation, 1, due->arena, &answer, &fault) < 0)
		return fault.retryable ? 0 : note_try(due, fault.text, pl_rule_name(rule), err);
	if ((code = write_all(due, &answer, err)) != 0)
		return code < 0 ? code : 0;
	if (answer.n == 0)
		error = "the rule changes none of the records; change one of them";
	else if (due->written < due->mine)
		error = "a change of the rule was not written: the record had changed, or the change "
			"itself would violate something";
	pthread_mutex_lock(&integrity->lock);
	integrity->stats.resolved += (uint64_t)due->written;
	pthread_mutex_unlock(&integrity->lock);
	return note_try(due, error, pl_rule_name(rule), err);
}

static bool finds(struct due *due)
{
	for (int i = 0; pl_integrity_check_at(due->integrity->config, i, &due->check); i++)
		if (strcmp(due->check.resource->name, due->key[RESOURCE]) == 0 &&
		    strcmp(due->check.type, due->key[TYPE]) == 0 &&
		    strcmp(due->check.fields, due->key[FIELDS]) == 0)
			return due->check.resource->violations != NULL;
	return false;
}

static int resolve_one(struct pl_integrity *integrity, const PGresult *rows, int i, struct pl_error *err)
{
	struct due due = { .integrity = integrity,
		           .arena = pl_arena_new(0),
		           .conflict = PQgetvalue(rows, i, CONFLICT),
		           .tries = atoi(PQgetvalue(rows, i, TRIES)),
		           .rule = PQgetvalue(rows, i, RULE) };
	int code = 0;

	for (int k = RESOURCE; k <= SUBJECT; k++)
		due.key[k] = PQgetvalue(rows, i, k);
	if (finds(&due) && (code = load(&due, err)) > 0)
		code = ask(&due, err);
	pl_buf_fini(&due.dots);
	pl_arena_free(&due.arena);
	return code;
}

// Prints as arrays the resources that have a rule, and the rules' hashes.
static void list_rules(struct pl_integrity *integrity, struct pl_buf *resources, struct pl_buf *hashes)
{
	struct pl_arena *arena = pl_arena_new(0);

	for (int i = 0; i < integrity->config->nresources; i++) {
		const struct pl_resource *resource = &integrity->config->resources[i];
		const struct pl_rule *rule = pl_rule_find(integrity->vm, arena, resource->violations);

		if (!rule)
			continue;
		pl_buf_printf(resources, "%c%s", resources->len ? ',' : '{', resource->name);
		pl_buf_printf(hashes, "%c%s", hashes->len ? ',' : '{', pl_rule_sha256(rule));
	}
	pl_buf_adds(resources, resources->len ? "}" : "{}");
	pl_buf_adds(hashes, hashes->len ? "}" : "{}");
	pl_arena_free(&arena);
}

// A change that could not be written is tried again with the next turn. The conflict says
// why, if the table refuses the row.
static void say_refused(struct pl_integrity *integrity, const char *conflict, const struct pl_error *err)
{
	static struct pl_log_burst burst;
	const char *params[] = { conflict, err->text };
	struct pl_error ignored = { 0 };

	pl_session_do(integrity->session, "ROLLBACK", &ignored);
	pl_log_limited(&burst, PL_LOG_WARNING,
	               "integrity: conflict %s could not be resolved: %s; trying again", conflict, err->text);
	if (!err->retryable)
		pl_integrity_do(integrity,
		                "UPDATE plist.conflicts SET policy_error = $2 WHERE id = $1::bigint AND "
		                "closed_at IS NULL AND policy_error IS DISTINCT FROM $2",
		                2, params, &ignored);
}

// One whose record is locked or refused holds up only itself.
static int resolve_each(struct pl_integrity *integrity, const PGresult *rows, struct pl_error *err)
{
	for (int i = 0; i < PQntuples(rows); i++) {
		int code = resolve_one(integrity, rows, i, err);

		if (code >= 0)
			continue;
		if (!pl_session_connected(integrity->session) || pl_db_error_stale(err) || !err->sqlstate[0])
			return code;
		say_refused(integrity, PQgetvalue(rows, i, CONFLICT), err);
	}
	return 0;
}

// In any order, so that those that cannot be written are not always the first ones.
int pl_integrity_resolve(struct pl_integrity *integrity, struct pl_error *err)
{
	struct pl_buf resources = { 0 }, hashes = { 0 };
	char seconds[32];
	PGresult *rows;
	int code;

	if (!integrity->vm)
		return 0;
	list_rules(integrity, &resources, &hashes);
	snprintf(seconds, sizeof(seconds), "%.6f", 2e-6 * (double)integrity->config->kafka.heartbeat_us);
	rows = pl_session_exec(
		integrity->session,
		"SELECT resource, type, fields, subject, conflict, CASE WHEN rule <> sha256 THEN 0 ELSE "
		"tries END, sha256 FROM plist.violations AS v JOIN unnest($2::text[], $3::text[]) AS "
		"u(name, sha256) ON name = resource WHERE gone_at IS NULL AND changed_at <= now() - "
		"$1::float8 * interval '1 second' AND (tried IS DISTINCT FROM records OR rule <> sha256) AND "
		"NOT EXISTS (SELECT FROM plist.created_twice AS t WHERE t.resource "
		"= v.resource AND (v.records ? t.record_id::text OR v.records ? t.kept_id::text)) ORDER BY "
		"random() LIMIT " AT_ONCE,
		3, (const char *const[]){ seconds, resources.data, hashes.data }, err);
	pl_buf_fini(&resources);
	pl_buf_fini(&hashes);
	code = rows ? resolve_each(integrity, rows, err) : err->code;
	PQclear(rows);
	return code;
}
