// Reading the outbox in order without losing a row, and deleting from it without paying for what was deleted.
//
// Stands between PostgreSQL and replicate/relay.
// Threads: those of the session.
//
// Order and completeness
//
// A row gets its id while its transaction holds the record's row lock, so among rows of one record the order of ids is the order of
// commits, and every snapshot shows a prefix of them: reading by id, in one statement, publishes each record in order. Across records the
// order of ids is *not* that of commits: id 9 may become visible after id 12 was read. So nothing here says "id > last". What was read and
// is not yet acknowledged is left out by its id, and everything else that is visible is read, below the highest id as well as above.
//
// What deleted rows cost
//
// PostgreSQL keeps deleted rows, and their index entries, until a vacuum. A relay that starts each read at the beginning of the index
// wades through all that it has deleted, more each time. So a read starts at a floor, below which no row can appear any more: after each
// deletion we note the highest id read so far and the next transaction number; when every transaction older than that number has ended,
// nothing can become visible at or below that id. (A writer has its transaction number before its outbox id: it changes the record
// first.) The read after that is the last that looks there. A row that other hands put below the floor is found by a read of the whole,
// once in a while.
#include "replicate/outbox.h"

#include <stdlib.h>
#include <string.h>

#include "base/clock.h"

#define COLUMNS "id, resource, record_id, origin, value, deleted, vector, field_times, request_id, principal, fingerprint, status, " \
	"expires_at, traceparent, created_at"

#define EXACT_COUNT "10000"

const char *const pl_outbox_setup[] = {
	"SET TIME ZONE 'UTC'",
	"SET datestyle = 'ISO'",
	"SET bytea_output = 'hex'",
	"SET client_encoding = 'UTF8'",
	// A deletion that a crash undoes costs a second delivery, which is harmless; waiting for each costs the disk's patience.
	"SET synchronous_commit = off",
	// A table that is empty now and has a million rows in an hour has no useful statistics.
	// Nested loops compare each row that is read with each one in flight: a full outbox was emptied at a quarter of the speed.
	"SET plan_cache_mode = force_generic_plan", "SET enable_seqscan = off", "SET enable_bitmapscan = off", "SET enable_nestloop = off",
	// Merge the two ordered parts; both come from the index.
	"PREPARE outbox_read (bigint, bigint, bigint[], int) AS "
	"(SELECT " COLUMNS " FROM outbox o WHERE id > $1 AND id <= $2 "
	"AND NOT EXISTS (SELECT FROM unnest($3) AS f(id) WHERE f.id = o.id) ORDER BY id LIMIT $4) "
	"UNION ALL (SELECT " COLUMNS " FROM outbox WHERE id > $2 ORDER BY id LIMIT $4) ORDER BY id LIMIT $4",
	"PREPARE outbox_delete (bigint[]) AS "
	"WITH gone AS (DELETE FROM outbox WHERE id = ANY($1)) "
	"SELECT pg_snapshot_xmin(s)::text, pg_snapshot_xmax(s)::text FROM pg_current_snapshot() AS s",
	"PREPARE outbox_look AS SELECT CASE WHEN n < " EXACT_COUNT " THEN n ELSE greatest(n, high - low + 1) END, "
	"coalesce((extract(epoch FROM clock_timestamp() - (SELECT created_at FROM outbox ORDER BY id LIMIT 1)) * 1000000)::bigint, -1) "
	"FROM (SELECT count(*) FROM (SELECT FROM outbox ORDER BY id LIMIT " EXACT_COUNT ") AS first) AS c(n), "
	"(SELECT min(id), max(id) FROM outbox) AS ends(low, high)",
	NULL,
};

int pl_outbox_lock(struct pl_session *session, int64_t lease_us, struct pl_error *err)
{
	char lease_ms[24];
	const char *params[1] = { lease_ms };
	PGresult *result;
	int ours;

	snprintf(lease_ms, sizeof lease_ms, "%lld", (long long)lease_us / 1000);
	result = pl_session_exec(session, "SELECT pg_try_advisory_lock(hashtext('plist-relay')), set_config('idle_session_timeout', $1, false)",
	                         1, params, err);

	if (!result)
		return err->code;
	ours = strcmp(PQgetvalue(result, 0, 0), "t") == 0;
	PQclear(result);
	return ours;
}

static void add_ids(struct pl_buf *buf, const int64_t *ids, int n)
{
	pl_buf_addc(buf, '{');
	for (int i = 0; i < n; i++) {
		if (i)
			pl_buf_addc(buf, ',');
		pl_buf_add_i64(buf, ids[i]);
	}
	pl_buf_addc(buf, '}');
}

static const char *text(const PGresult *result, int row, int column)
{
	return PQgetisnull(result, row, column) ? NULL : PQgetvalue(result, row, column);
}

static void read_row(const PGresult *result, int i, struct pl_outbox_row *row)
{
	const char *created_at = text(result, i, 14);

	row->id = strtoll(text(result, i, 0), NULL, 10);
	row->resource = text(result, i, 1);
	row->record_id = text(result, i, 2);
	row->origin = text(result, i, 3);
	row->value = text(result, i, 4);
	row->deleted = text(result, i, 5)[0] == 't';
	row->vector = text(result, i, 6);
	row->field_times = text(result, i, 7);
	row->request_id = text(result, i, 8);
	row->principal = text(result, i, 9);
	row->fingerprint = text(result, i, 10);
	row->status = text(result, i, 11);
	row->expires_at = text(result, i, 12);
	row->traceparent = text(result, i, 13);
	if (pl_time_parse(created_at, strlen(created_at), &row->created_at_us) < 0)
		row->created_at_us = 0;
}

static void move_on(struct pl_outbox_cursor *cursor, const struct pl_outbox_batch *batch, int limit)
{
	int64_t last = batch->n > 0 ? batch->rows[batch->n - 1].id : 0;

	if (last > cursor->high)
		cursor->high = last;
	if (cursor->next_floor > cursor->floor && (batch->n < limit || last > cursor->next_floor))
		cursor->floor = cursor->next_floor;
}

int pl_outbox_read(struct pl_session *session, struct pl_outbox_cursor *cursor, const int64_t *excluded, int nexcluded, int limit, bool whole,
                   struct pl_outbox_batch *batch_r, struct pl_error *err)
{
	char floor[24], high[24], most[12];
	struct pl_buf ids = { 0 };
	const char *params[4] = { floor, high, NULL, most };

	snprintf(floor, sizeof floor, "%lld", (long long)(whole ? INT64_MIN : cursor->floor));
	snprintf(high, sizeof high, "%lld", (long long)cursor->high);
	snprintf(most, sizeof most, "%d", limit);
	add_ids(&ids, excluded, nexcluded);
	params[2] = ids.data;
	memset(batch_r, 0, sizeof *batch_r);
	batch_r->result = pl_session_exec_prepared(session, "outbox_read", 4, params, err);
	pl_buf_fini(&ids);
	if (!batch_r->result)
		return err->code;
	batch_r->n = PQntuples(batch_r->result);
	batch_r->rows = pl_calloc((size_t)batch_r->n + 1, sizeof batch_r->rows[0]);
	for (int i = 0; i < batch_r->n; i++)
		read_row(batch_r->result, i, &batch_r->rows[i]);
	move_on(cursor, batch_r, limit);
	return 0;
}

void pl_outbox_batch_fini(struct pl_outbox_batch *batch)
{
	PQclear(batch->result);
	free(batch->rows);
	memset(batch, 0, sizeof *batch);
}

int pl_outbox_delete(struct pl_session *session, struct pl_outbox_cursor *cursor, const int64_t *ids, int n, struct pl_error *err)
{
	struct pl_buf buf = { 0 };
	const char *params[1];
	PGresult *result;
	uint64_t xmin;

	add_ids(&buf, ids, n);
	params[0] = buf.data;
	result = pl_session_exec_prepared(session, "outbox_delete", 1, params, err);
	pl_buf_fini(&buf);
	if (!result)
		return err->code;
	xmin = strtoull(PQgetvalue(result, 0, 0), NULL, 10);
	if (cursor->mark_xmax == 0 || xmin >= cursor->mark_xmax) {
		cursor->next_floor = cursor->mark_high;
		cursor->mark_xmax = strtoull(PQgetvalue(result, 0, 1), NULL, 10);
		cursor->mark_high = cursor->high;
	}
	PQclear(result);
	return 0;
}

int pl_outbox_look(struct pl_session *session, struct pl_outbox_look *look_r, struct pl_error *err)
{
	PGresult *result = pl_session_exec_prepared(session, "outbox_look", 0, NULL, err);

	if (!result)
		return err->code;
	look_r->events = strtoll(PQgetvalue(result, 0, 0), NULL, 10);
	look_r->oldest_age_us = strtoll(PQgetvalue(result, 0, 1), NULL, 10);
	if (look_r->events > 0 && look_r->oldest_age_us < 0)
		look_r->oldest_age_us = 0;
	PQclear(result);
	return 0;
}
