// The applier's SQL besides that for records: parked events, their number, what may have
// refused them, and events in this region's own name.
//
// apply/rows_write parks them. Threads: an object belongs to one.
#include <stdlib.h>
#include <string.h>

#include "apply/batch.h"
#include "apply/rows_private.h"
#include "base/clock.h"
#include "kafka/message_headers.h"
#include "store/table_guards.h"

#define COUNTED_MAX "100000"
#define HURRIED_MAX "2000" // at once: one statement must not take long

// Tables with their partitions and children; $1: their names. Unlike pg_partition_tree(),
// this waits for no lock.
#define PARTS                                                                                        \
	"WITH RECURSIVE part (oid) AS (SELECT to_regclass(name)::oid FROM "                          \
	"jsonb_array_elements_text($1::jsonb) AS n(name) WHERE to_regclass(name) IS NOT NULL UNION " \
	"SELECT i.inhrelid FROM part JOIN pg_inherits AS i ON i.inhparent = part.oid) "

static const char *cell(const PGresult *result, int row, int column)
{
	return PQgetisnull(result, row, column) ? NULL : PQgetvalue(result, row, column);
}

static void read_message(struct pl_arena *arena, const PGresult *result, int i, struct pl_message *m)
{
	const char *at = cell(result, i, 3);

	*m = (struct pl_message){ .topic = pl_arena_strdup(arena, cell(result, i, 0)),
		                  .partition = (int32_t)strtol(cell(result, i, 1), NULL, 10),
		                  .offset = strtoll(cell(result, i, 2), NULL, 10),
		                  .unsure = true };
	if (at && pl_clock_parse_time(at, strlen(at), &m->broker_time_us) < 0)
		m->broker_time_us = 0;
	m->key = pl_message_bytes(arena, cell(result, i, 4), &m->key_len);
	m->value = pl_message_bytes(arena, cell(result, i, 5), &m->value_len);
	pl_message_headers_parse(arena, cell(result, i, 6), m);
}

int pl_apply_rows_due(enum pl_kept kept, struct pl_session *session, struct pl_arena *arena,
                      const char *except, struct pl_messages *due_r, struct pl_error *err)
{
	char most[12];
	const char *params[] = { most, except };
	bool parked = kept == PL_KEPT_PARKED;
	PGresult *result;

	snprintf(most, sizeof(most), "%d", PL_RETRY_MAX);
	result = pl_session_exec_prepared(session, parked ? "apply_parked_due" : "apply_letters_due",
	                                  parked ? 2 : 1, params, err);
	if (!result)
		return err->code;
	due_r->n = PQntuples(result);
	due_r->items = pl_arena_alloc(arena, sizeof(due_r->items[0]) * (size_t)due_r->n + 1);
	due_r->slow = pl_arena_array(arena, (size_t)due_r->n + 1, sizeof(due_r->slow[0]));
	for (int i = 0; i < due_r->n; i++) {
		read_message(arena, result, i, &due_r->items[i]);
		due_r->slow[i] = parked ? atoi(cell(result, i, 7)) : 0;
	}
	PQclear(result);
	return 0;
}

int pl_apply_rows_done(enum pl_kept kept, struct pl_session *session, const struct pl_message *messages,
                       int n, struct pl_error *err)
{
	static const enum pl_wire_type types[] = { PL_WIRE_TEXT, PL_WIRE_INT4, PL_WIRE_INT8 };
	struct pl_columns *places;
	int code;

	if (n == 0)
		return 0;
	places = pl_columns_new(3, types);
	for (int i = 0; i < n; i++) {
		pl_columns_text(places, 0, messages[i].topic);
		pl_columns_i64(places, 1, messages[i].partition);
		pl_columns_i64(places, 2, messages[i].offset);
	}
	code = pl_apply_rows_exec(
		session, kept == PL_KEPT_PARKED ? "apply_parked_done" : "apply_letters_done", places, err);
	pl_columns_free(&places);
	return code;
}

int pl_apply_rows_parked_hurry(struct pl_session *session, int64_t *id, struct pl_error *err)
{
	char after[24];
	const char *params[] = { after };
	PGresult *result;

	snprintf(after, sizeof(after), "%lld", (long long)*id);
	result = pl_session_exec(
		session,
		"WITH next AS MATERIALIZED (SELECT id FROM plist.parked_events WHERE id > $1::bigint "
		"ORDER BY id LIMIT " HURRIED_MAX "), hurried AS (UPDATE plist.parked_events AS p SET "
		"retry_at = now() FROM next WHERE p.id = next.id AND p.retry_at > now()) SELECT max(id) "
		"FROM next HAVING "
		"count(*) = " HURRIED_MAX,
		1, params, err);
	if (!result)
		return err->code;
	*id = PQntuples(result) > 0 ? strtoll(cell(result, 0, 0), NULL, 10) : INT64_MAX;
	PQclear(result);
	return 0;
}

// The first value of a query about the tables of some resources.
static PGresult *ask_of_tables(struct pl_session *session, const char *text,
                               const struct pl_resource *resources, int n, struct pl_error *err)
{
	struct pl_buf tables = { 0 };
	PGresult *result;

	pl_table_guards_tables(&tables, resources, n);
	result = pl_session_exec(session, text, 1, (const char *const[]){ tables.data }, err);
	pl_buf_fini(&tables);
	return result;
}

// Each of these rows of the catalog is written again when it changes, and so has another
// xmin. Functions that a trigger's function calls are not found. Daemons of the region
// may differ in what they can apply, as while a new configuration is rolled out.
int pl_apply_rows_definitions(struct pl_apply_rows *sql, struct pl_session *session,
                              char digest_r[PL_DEFINITIONS_MAX], struct pl_error *err)
{
	PGresult *result = ask_of_tables(
		session,
		PARTS
		"SELECT hashtextextended(string_agg(concat_ws(' ', kind, oid, n, xmin), ',' ORDER BY "
		"kind, oid, n, xmin), 0) FROM (SELECT 'table' AS kind, c.oid, 0 AS n, c.xmin::text FROM "
		"pg_class AS c JOIN part USING (oid) UNION ALL SELECT 'column', attrelid, attnum, "
		"a.xmin::text FROM pg_attribute AS a JOIN part ON attrelid = part.oid UNION ALL SELECT "
		"'default', adrelid, adnum, d.xmin::text FROM pg_attrdef AS d JOIN part ON adrelid = "
		"part.oid UNION ALL SELECT 'constraint', k.oid, 0, k.xmin::text FROM pg_constraint AS k "
		"WHERE conrelid IN (SELECT oid FROM part) OR confrelid IN (SELECT oid FROM part) OR "
		"contypid IN (SELECT atttypid FROM pg_attribute JOIN part ON attrelid = part.oid WHERE "
		"atttypid <> 0) UNION ALL SELECT 'index', indexrelid, 0, i.xmin::text FROM pg_index AS i "
		"JOIN part ON indrelid = part.oid UNION ALL SELECT 'trigger', g.oid, 0, g.xmin::text || ' "
		"' || f.xmin::text FROM pg_trigger AS g JOIN part ON tgrelid = part.oid JOIN pg_proc AS f "
		"ON f.oid = tgfoid UNION ALL SELECT 'policy', l.oid, 0, l.xmin::text FROM pg_policy AS l "
		"JOIN part ON polrelid = part.oid UNION ALL SELECT 'rule', r.oid, 0, r.xmin::text FROM "
		"pg_rewrite AS r JOIN part ON ev_class = part.oid UNION ALL SELECT 'daemon', 0, 0, member "
		"FROM plist.apply_members) AS d",
		sql->config->resources, sql->config->nresources, err);

	if (!result)
		return err->code;
	snprintf(digest_r, PL_DEFINITIONS_MAX, "%s", PQgetvalue(result, 0, 0));
	PQclear(result);
	return 0;
}

// Of plist's tables those that a batch writes to, and one that it reads.
// A foreign key's check locks rows of the other table, which conflicts with fewer locks.
// A session that waits for such a lock keeps us waiting, too, unless it waits for one
// that we hold.
int pl_apply_rows_table_lock(struct pl_session *session, const struct pl_resource *resource,
                             enum pl_table_lock *lock_r, struct pl_error *err)
{
	PGresult *result = ask_of_tables(
		session,
		PARTS
		", fk AS (SELECT conrelid, confrelid, confupdtype FROM pg_constraint WHERE contype = 'f' AND "
		"(conrelid IN (SELECT oid FROM part) OR confrelid IN (SELECT oid FROM part))), need (oid, "
		"lock, writes) AS (SELECT oid, 3, relname <> 'resource_fields' FROM pg_class WHERE "
		"relnamespace = to_regnamespace('plist')::oid AND relname IN ('applied_positions', "
		"'applied_sequences', 'processed_requests', 'record_siblings', 'conflicts', "
		"'parked_events', 'dead_letters', 'created_twice', 'created_twice_closed', "
		"'integrity_checks', 'resource_fields') "
		"UNION ALL SELECT oid, 2, true FROM part UNION ALL SELECT confrelid, 1, false FROM fk "
		"UNION ALL SELECT conrelid, 1, confupdtype NOT IN ('a', 'r') FROM fk), l AS MATERIALIZED "
		"(SELECT relation, mode, granted, pid IS NOT DISTINCT FROM pg_backend_pid() AS ours FROM "
		"pg_locks WHERE locktype = 'relation' AND database = (SELECT oid FROM pg_database WHERE "
		"datname = current_database())) SELECT coalesce(max(lock), 0) FROM need JOIN l ON "
		"l.relation = need.oid WHERE NOT l.ours AND "
		"(l.mode IN ('ExclusiveLock', 'AccessExclusiveLock') OR (writes AND l.mode IN ('ShareLock', "
		"'ShareRowExclusiveLock'))) AND (l.granted OR NOT EXISTS (SELECT FROM l AS o WHERE o.ours "
		"AND o.relation = l.relation AND (o.mode = 'RowExclusiveLock' OR (NOT writes AND o.mode = "
		"'RowShareLock'))))",
		resource, 1, err);

	if (!result)
		return err->code;
	*lock_r = (enum pl_table_lock)atoi(PQgetvalue(result, 0, 0));
	PQclear(result);
	return 0;
}

int pl_apply_rows_count_kept(struct pl_session *session, int64_t *parked_r, int64_t *dead_r, bool *due_r,
                             struct pl_error *err)
{
	PGresult *result = pl_session_exec(
		session,
		"SELECT (SELECT count(*) FROM (SELECT FROM plist.parked_events LIMIT " COUNTED_MAX ") AS p), "
		"(SELECT count(*) FROM (SELECT FROM plist.dead_letters LIMIT " COUNTED_MAX ") AS d), "
		"EXISTS (SELECT FROM plist.dead_letters WHERE retry_at IS NOT NULL)",
		0, NULL, err);

	if (!result)
		return err->code;
	*parked_r = strtoll(cell(result, 0, 0), NULL, 10);
	*dead_r = strtoll(cell(result, 0, 1), NULL, 10);
	*due_r = cell(result, 0, 2)[0] == 't';
	PQclear(result);
	return 0;
}

int pl_apply_rows_check_own(struct pl_apply_rows *sql, struct pl_session *session,
                            const struct pl_resource *resource, struct pl_own_event *events, int n,
                            struct pl_error *err)
{
	char statement[32];
	PGresult *result;

	pl_columns_reset(sql->own);
	for (int i = 0; i < n; i++) {
		pl_columns_i64(sql->own, 0, events[i].id);
		pl_columns_i64(sql->own, 1, events[i].dot.counter);
		pl_columns_text(sql->own, 2, events[i].dot.region);
	}
	snprintf(statement, sizeof(statement), "apply_own_%d", resource->index);
	result = pl_apply_rows_query(session, statement, sql->own, err);
	if (!result)
		return err->code;
	for (int i = 0; i < PQntuples(result); i++) {
		long place = strtol(cell(result, i, 0), NULL, 10);

		if (place >= 1 && place <= n)
			events[place - 1].lost = true;
	}
	PQclear(result);
	return 0;
}
