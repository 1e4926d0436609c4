// Reads the outbox in order without missing a row, and deletes from it by ranges.
//
// Between PostgreSQL and relay/relay.
// Threads: those of the session.
//
// Order and completeness
//
// A row gets its id while its transaction holds the record's row lock. So among the
// rows of one record, the order of ids is the order of commits, and every snapshot
// contains a prefix of them: one statement that reads by id returns each record's rows
// in order. Across records, the order of ids is *not* the order of commits: id 9 may
// become visible after id 12 was read. So no statement here says "id > last". Ids that
// were read are remembered as ranges, and the next read covers all gaps between the
// ranges, and everything above them.
//
// The floor
//
// Rows stay after they have been published, so ranges and gaps would grow without
// bound, and a read would search every gap. Both are bounded by a floor, below which no
// row can appear any more. We note the highest id read so far and the next transaction
// number; when every transaction older than that number has ended, nothing can become
// visible at or below that id. (A writer gets its transaction number before its outbox
// id, because it changes the record first.) The next read is the last one that searches
// there. Nothing is remembered about rows below the floor. If no id is missing above
// the floor, it advances without a query. A transaction that stays open for hours stops
// the floor; what is read meanwhile is one range, and a gap for each id that never
// appeared.
//
// Large rows
//
// An event may have any size, and a thousand of 100 KB must not be read at once. So the
// texts of a row come only if every row of the read may be as large; the rows before the
// first larger one are taken. If that one is the first, another statement sums up the
// sizes in the order of ids, and leaves out the rows behind PL_OUTBOX_READ_BYTES. Neither
// fetches from the TOAST table what it leaves out. Summing up always would be simpler,
// but takes a microsecond for each ordinary row. Adapting the number of rows to the sizes
// read last would bound nothing, since the next ones may be larger. As long as rows are
// large, the other statement is used at once.
#include "relay/outbox.h"

#include <stdlib.h>
#include <string.h>

#include "base/clock.h"

#define COLUMNS_WITH(value, answer)                                                              \
	"id, resource, record_id, origin, " value ", deleted, vector, field_times, request_id, " \
	"principal, fingerprint, status, expires_at, traceparent, created_at, reset, republished, " answer
#define COLUMNS      COLUMNS_WITH("value", "answer")
#define BYTES_COLUMN 18 // behind them, in FIRST_BYTES

#define EXACT_COUNT  "10000"

// What else a row has is small.
#define SIZE         "octet_length(value) + coalesce(octet_length(answer), 0)"
// The rows behind $1, the first $2 of them.
#define ABOVE(columns) \
	"SELECT " columns " FROM plist.outbox WHERE id > $1 AND refused_at IS NULL ORDER BY id LIMIT $2"
// The same, and those in the gaps $4 to $5. Searches the index for each gap.
#define WITH_GAPS(columns)                                                                         \
	"(SELECT o.* FROM unnest($4, $5) AS g(first, last), LATERAL (SELECT " columns              \
	" FROM plist.outbox WHERE id >= g.first AND id <= g.last AND refused_at IS NULL ORDER BY " \
	"id LIMIT $2) AS o ORDER BY o.id LIMIT $2) UNION ALL (" ABOVE(columns) ") ORDER BY id LIMIT $2"
// Without the texts of rows that are larger than $3.
#define SMALL                                                            \
	COLUMNS_WITH("CASE WHEN " SIZE " <= $3 THEN value END AS value", \
	             "CASE WHEN " SIZE " <= $3 THEN answer END AS answer")
// The first of these rows that have $3 bytes. ROWS: the default frame looks for peers.
#define FIRST_BYTES(rows)                                                                     \
	"SELECT " COLUMNS ", before + size FROM (SELECT *, sum(size) OVER (ORDER BY id ROWS " \
	"UNBOUNDED PRECEDING) - size AS before FROM (SELECT *, " SIZE " AS size FROM (" rows  \
	") AS r) AS sized) AS s WHERE before < $3 ORDER BY id"

const char *const pl_outbox_setup[] = {
	"SET TIME ZONE 'UTC'",
	"SET datestyle = 'ISO'",
	"SET bytea_output = 'hex'",
	"SET client_encoding = 'UTF8'",
	// A mark that is lost in a crash causes a second delivery, which is harmless, and
	// a deletion is repeated; waiting for the disk each time is expensive.
	"SET synchronous_commit = off",
	// Statistics are useless for a table that is empty now and has a million rows
	// in an hour.
	"SET plan_cache_mode = force_generic_plan",
	"SET enable_seqscan = off",
	"SET enable_bitmapscan = off",
	"PREPARE outbox_read (bigint, int, int) AS " ABOVE(SMALL),
	"PREPARE outbox_read_gaps (bigint, int, int, bigint[], bigint[]) AS " WITH_GAPS(SMALL),
	"PREPARE outbox_read_large (bigint, int, int) AS " FIRST_BYTES(ABOVE(COLUMNS)),
	"PREPARE outbox_read_gaps_large (bigint, int, int, bigint[], bigint[]) AS " FIRST_BYTES(
		WITH_GAPS(COLUMNS)),
	"PREPARE outbox_read_refused AS SELECT " COLUMNS
	" FROM plist.outbox WHERE refused_at IS NOT NULL AND retry_at <= now() ORDER BY retry_at, id LIMIT 1",
	"PREPARE outbox_refuse (bigint, text) AS UPDATE plist.outbox SET refused_at = coalesce(refused_at, "
	"now()), refused_because = $2, "
	"refusals = coalesce(refusals, 0) + 1, retry_at = now() + least(interval '1 minute' * 2 ^ "
	"least(coalesce(refusals, 0), 10), interval '1 hour') "
	"WHERE id = $1 RETURNING refusals",
	"PREPARE outbox_retry AS UPDATE plist.outbox SET retry_at = now() WHERE refused_at IS NOT NULL AND "
	"retry_at > now()",
	"PREPARE outbox_retry_known (text, text[]) AS UPDATE plist.outbox SET retry_at = now() WHERE "
	"refused_at IS NOT NULL AND retry_at > now() AND refused_because = $1 AND resource = ANY ($2)",
	"PREPARE outbox_settle AS SELECT pg_snapshot_xmin(s)::text, pg_snapshot_xmax(s)::text FROM "
	"pg_current_snapshot() AS s",
	"PREPARE outbox_delete (bigint, bigint, int) AS WITH upto(id) AS (SELECT coalesce((SELECT id FROM "
	"plist.outbox WHERE id > $1 AND id <= $2 "
	"ORDER BY id OFFSET $3 - 1 LIMIT 1), $2)), gone AS (DELETE FROM plist.outbox WHERE id > $1 AND id "
	"<= (SELECT id FROM upto) "
	"AND refused_at IS NULL RETURNING 1) SELECT (SELECT id FROM upto), (SELECT count(*) FROM gone)",
	"PREPARE outbox_count (bigint) AS SELECT count(*) FROM plist.outbox WHERE id <= $1 AND refused_at "
	"IS NULL",
	"PREPARE outbox_renumber (bigint) AS UPDATE plist.outbox SET id = DEFAULT, refused_at = NULL, "
	"refused_because = NULL, refusals = NULL, "
	"retry_at = NULL WHERE id = $1 RETURNING id",
	"PREPARE outbox_look (bigint, bigint) AS SELECT CASE WHEN n < " EXACT_COUNT
	" THEN n ELSE greatest(n, high - low + 1) END, "
	"coalesce((extract(epoch FROM clock_timestamp() - (SELECT created_at FROM plist.outbox WHERE id > "
	"greatest(f, $2) AND refused_at IS NULL "
	"ORDER BY id LIMIT 1)) * 1000000)::bigint, -1), refused "
	"FROM (SELECT CASE WHEN $1 >= 0 THEN $1 ELSE coalesce((SELECT max(floor_id) FROM "
	"plist.outbox_marks), 0) END) AS floors(f), "
	"LATERAL (SELECT count(*) FROM (SELECT FROM plist.outbox WHERE id > f AND refused_at IS NULL ORDER "
	"BY id LIMIT " EXACT_COUNT ") AS first) AS c(n), "
	"LATERAL (SELECT (SELECT id FROM plist.outbox WHERE id > f ORDER BY id LIMIT 1), (SELECT max(id) "
	"FROM plist.outbox)) AS ends(low, high), "
	"(SELECT count(*) FROM plist.outbox WHERE refused_at IS NOT NULL) AS r(refused)",
	NULL,
};

// Whether another session is the relay: the row names a live server process. For
// processes of other roles, PostgreSQL does not show when they started. A daemon older
// than migration 004 uses an advisory lock, which is respected and also taken, but
// decides nothing between newer daemons.
#define LEADER_LIVES                                                                                         \
	"SELECT EXISTS (SELECT FROM pg_stat_activity AS a, plist.plist_leaders AS l WHERE l.name = "         \
	"'relay' AND a.pid = l.pid "                                                                         \
	"AND (a.backend_start IS NULL OR a.backend_start = l.backend_start) AND a.pid <> pg_backend_pid()) " \
	"OR EXISTS (SELECT FROM pg_locks AS k JOIN pg_stat_activity AS a USING (pid) WHERE k.locktype = "    \
	"'advisory' AND k.granted AND k.objsubid = 1 "                                                       \
	"AND k.database = (SELECT oid FROM pg_database WHERE datname = current_database()) "                 \
	"AND k.objid = (hashtext('plist-relay')::bigint & 4294967295)::oid AND a.usename = current_user "    \
	"AND a.application_name LIKE 'plistd % relay' "                                                      \
	"AND a.pid <> pg_backend_pid())"

static int leader_lives(struct pl_session *session, struct pl_error *err)
{
	PGresult *result = pl_session_exec(session, LEADER_LIVES, 0, NULL, err);
	int lives;

	if (!result)
		return err->code;
	lives = PQgetvalue(result, 0, 0)[0] == 't';
	PQclear(result);
	return lives;
}

// Run when the session has become the relay: the session ends if it is silent for
// `silent_us`. Returns a code, or whether it has the advisory lock and its server is no
// standby.
static int bound_silence(struct pl_session *session, int64_t silent_us, struct pl_error *err)
{
	int alone;

	char silent_ms[24];
	const char *params[1] = { silent_ms };
	PGresult *result;

	snprintf(silent_ms, sizeof(silent_ms), "%lld", (long long)silent_us / 1000);
	result = pl_session_exec(session,
	                         "SELECT set_config('idle_session_timeout', $1, false), "
	                         "NOT pg_is_in_recovery() AND pg_try_advisory_lock(hashtext('plist-relay'))",
	                         1, params, err);
	if (!result)
		return err->code;
	alone = PQgetvalue(result, 0, 1)[0] == 't';
	PQclear(result);
	return alone;
}

// The row's lock is held: which processes live is checked after it was granted, and
// nobody else can take the row meanwhile.
static int take_row(struct pl_session *session, struct pl_error *err)
{
	PGresult *result = pl_session_exec(
		session, "SELECT FROM plist.plist_leaders WHERE name = 'relay' FOR UPDATE", 0, NULL, err);
	int lives;

	if (!result)
		return err->code;
	PQclear(result);
	if ((lives = leader_lives(session, err)) != 0)
		return lives < 0 ? lives : PL_EBUSY;
	return pl_session_do(
		session,
		"UPDATE plist.plist_leaders SET (pid, backend_start, since) = (SELECT pid, backend_start, "
		"clock_timestamp() "
		"FROM pg_stat_activity WHERE pid = pg_backend_pid()) WHERE name = 'relay'",
		err);
}

static int take(struct pl_session *session, struct pl_error *err)
{
	struct pl_error ignored;
	int code = pl_session_do(session, "BEGIN", err);

	if (code < 0)
		return code;
	code = take_row(session, err);
	if (code == 0)
		return pl_session_do(session, "COMMIT", err);
	if (pl_session_connected(session))
		pl_session_do(session, "ROLLBACK", &ignored);
	return code;
}

int pl_outbox_lock(struct pl_session *session, int64_t silent_us, struct pl_error *err)
{
	int lives = leader_lives(session, err), code, alone;

	if (lives != 0)
		return lives < 0 ? lives : 0;
	code = take(session, err);
	if (code == PL_EBUSY)
		return 0;
	// A database that an operator has frozen cannot record heartbeats. Nothing is
	// deleted from its outbox either, and the region should not appear silent.
	if (code < 0 && !(pl_db_error_read_only(err) && pl_session_connected(session)))
		return code;
	alone = bound_silence(session, silent_us, err);
	return alone < 0 ? alone : code == 0 || alone;
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
	row->reset = text(result, i, 15);
	row->republished = text(result, i, 16);
	row->answer = text(result, i, 17);
	if (pl_clock_parse_time(created_at, strlen(created_at), &row->created_at_us) < 0)
		row->created_at_us = 0;
}

static void take_rows(struct pl_outbox_batch *batch)
{
	batch->n = PQntuples(batch->result);
	batch->rows = pl_calloc((size_t)batch->n + 1, sizeof(batch->rows[0]));
	for (int i = 0; i < batch->n; i++)
		read_row(batch->result, i, &batch->rows[i]);
}

// Of a batch that was read by FIRST_BYTES.
static int64_t bytes_of(const struct pl_outbox_batch *batch)
{
	return batch->n > 0 ? strtoll(PQgetvalue(batch->result, batch->n - 1, BYTES_COLUMN), NULL, 10) : 0;
}

void pl_outbox_begin(struct pl_outbox_cursor *cursor, int64_t floor)
{
	pl_outbox_cursor_fini(cursor);
	cursor->floor = cursor->high = cursor->next_floor = floor;
}

void pl_outbox_cursor_fini(struct pl_outbox_cursor *cursor)
{
	pl_id_ranges_fini(&cursor->read);
	memset(cursor, 0, sizeof(*cursor));
}

bool pl_outbox_advance(struct pl_outbox_cursor *cursor, int64_t first_in_flight)
{
	const struct pl_id_run *first = cursor->read.ranges;
	int64_t floor;

	if (cursor->read.n == 0 || first->first > cursor->floor + 1)
		return false;
	floor = first->last < first_in_flight ? first->last : first_in_flight - 1;
	if (floor <= cursor->floor)
		return false;
	cursor->floor = floor;
	pl_id_ranges_drop(&cursor->read, floor);
	return true;
}

bool pl_outbox_has_gap(const struct pl_outbox_cursor *cursor)
{
	return cursor->read.n > 0 && cursor->read.ranges[0].first > cursor->floor + 1;
}

static void move_on(struct pl_outbox_cursor *cursor, const struct pl_outbox_batch *batch,
                    int64_t first_in_flight)
{
	int64_t last = batch->n > 0 ? batch->rows[batch->n - 1].id : 0, floor = cursor->next_floor;

	if (last > cursor->high)
		cursor->high = last;
	if (batch->more && last <= floor)
		return;
	// Events that have just arrived may still be in flight, too.
	if (batch->n > 0 && batch->rows[0].id <= floor)
		floor = batch->rows[0].id - 1;
	if (first_in_flight <= floor)
		floor = first_in_flight - 1;
	if (floor > cursor->floor) {
		cursor->floor = floor;
		pl_id_ranges_drop(&cursor->read, floor);
	}
	// Rows above the gap may have been acknowledged while it was still open.
	pl_outbox_advance(cursor, first_in_flight);
}

static void add_gap_ends(struct pl_buf *buf, const struct pl_id_run *gaps, int n, bool last)
{
	pl_buf_addc(buf, '{');
	for (int i = 0; i < n; i++) {
		pl_buf_adds(buf, i ? "," : "");
		pl_buf_add_i64(buf, last ? gaps[i].last : gaps[i].first);
	}
	pl_buf_addc(buf, '}');
}

// How large each row of a read may be.
static int64_t share_of(int limit)
{
	return PL_OUTBOX_READ_BYTES / limit;
}

// Rows of any size, or only the texts of small ones.
static PGresult *read_rows(struct pl_session *session, const struct pl_outbox_cursor *cursor, int limit,
                           bool large, struct pl_error *err)
{
	char high[24], most[12], bytes[12];
	struct pl_buf firsts = { 0 }, lasts = { 0 };
	struct pl_id_run *gaps = pl_calloc((size_t)cursor->read.n + 1, sizeof(gaps[0]));
	int n = pl_id_ranges_gaps(&cursor->read, cursor->floor, cursor->high, gaps);
	PGresult *result;

	snprintf(high, sizeof(high), "%lld", (long long)cursor->high);
	snprintf(most, sizeof(most), "%d", limit);
	snprintf(bytes, sizeof(bytes), "%lld", (long long)(large ? PL_OUTBOX_READ_BYTES : share_of(limit)));
	add_gap_ends(&firsts, gaps, n, false);
	add_gap_ends(&lasts, gaps, n, true);
	result = pl_session_exec_prepared(
		session,
		n > 0 ? (large ? "outbox_read_gaps_large" : "outbox_read_gaps")
		      : (large ? "outbox_read_large" : "outbox_read"),
		n > 0 ? 5 : 3, (const char *[]){ high, most, bytes, firsts.data, lasts.data }, err);
	pl_buf_fini(&firsts);
	pl_buf_fini(&lasts);
	free(gaps);
	return result;
}

static void drop_large(struct pl_outbox_batch *batch)
{
	int n = 0;

	while (n < batch->n && batch->rows[n].value)
		n++;
	batch->more |= n < batch->n;
	batch->n = n;
}

int pl_outbox_read(struct pl_session *session, struct pl_outbox_cursor *cursor, int64_t first_in_flight,
                   int limit, struct pl_outbox_batch *batch_r, struct pl_error *err)
{
	bool large = cursor->large, again;

	do {
		memset(batch_r, 0, sizeof(*batch_r));
		batch_r->result = read_rows(session, cursor, limit, large, err);
		if (!batch_r->result)
			return err->code;
		take_rows(batch_r);
		batch_r->more = batch_r->n >= limit || (large && bytes_of(batch_r) >= PL_OUTBOX_READ_BYTES);
		drop_large(batch_r);
		again = batch_r->n == 0 && batch_r->more; // the first one is large
		cursor->large = large ? bytes_of(batch_r) > batch_r->n * share_of(limit) : again;
		large = true;
		if (again)
			pl_outbox_batch_fini(batch_r);
	} while (again);
	move_on(cursor, batch_r, first_in_flight);
	return 0;
}

void pl_outbox_batch_fini(struct pl_outbox_batch *batch)
{
	PQclear(batch->result);
	free(batch->rows);
	memset(batch, 0, sizeof(*batch));
}

int pl_outbox_settle(struct pl_session *session, struct pl_outbox_cursor *cursor, struct pl_error *err)
{
	PGresult *result = pl_session_exec_prepared(session, "outbox_settle", 0, NULL, err);
	uint64_t xmin;

	if (!result)
		return err->code;
	xmin = strtoull(PQgetvalue(result, 0, 0), NULL, 10);
	if (cursor->mark_xmax == 0 || xmin >= cursor->mark_xmax) {
		if (cursor->mark_high > cursor->next_floor)
			cursor->next_floor = cursor->mark_high;
		cursor->mark_xmax = strtoull(PQgetvalue(result, 0, 1), NULL, 10);
		cursor->mark_high = cursor->high;
	}
	PQclear(result);
	return 0;
}

int pl_outbox_delete(struct pl_session *session, int64_t *from, int64_t to, int limit, int *deleted_r,
                     struct pl_error *err)
{
	char low[24], high[24], most[12];
	const char *params[3] = { low, high, most };
	PGresult *result;

	snprintf(low, sizeof(low), "%lld", (long long)*from);
	snprintf(high, sizeof(high), "%lld", (long long)to);
	snprintf(most, sizeof(most), "%d", limit);
	result = pl_session_exec_prepared(session, "outbox_delete", 3, params, err);
	if (!result)
		return err->code;
	*from = strtoll(PQgetvalue(result, 0, 0), NULL, 10);
	*deleted_r = atoi(PQgetvalue(result, 0, 1));
	PQclear(result);
	return 0;
}

// The single number that a statement returns for a row id; 0 if it returns no row.
static int number_for(struct pl_session *session, const char *statement, int64_t id, int64_t *number_r,
                      struct pl_error *err)
{
	char text[24];
	const char *params[1] = { text };
	PGresult *result;

	snprintf(text, sizeof(text), "%lld", (long long)id);
	result = pl_session_exec_prepared(session, statement, 1, params, err);
	if (!result)
		return err->code;
	*number_r = PQntuples(result) ? strtoll(PQgetvalue(result, 0, 0), NULL, 10) : 0;
	PQclear(result);
	return 0;
}

int pl_outbox_count(struct pl_session *session, int64_t floor, int64_t *rows_r, struct pl_error *err)
{
	return number_for(session, "outbox_count", floor, rows_r, err);
}

int pl_outbox_renumber(struct pl_session *session, int64_t id, int64_t *id_r, struct pl_error *err)
{
	return number_for(session, "outbox_renumber", id, id_r, err);
}

int pl_outbox_look(struct pl_session *session, int64_t floor, int64_t first, struct pl_outbox_look *look_r,
                   struct pl_error *err)
{
	char above[24], from[24];
	const char *params[2] = { above, from };
	PGresult *result;

	snprintf(above, sizeof(above), "%lld", (long long)floor);
	snprintf(from, sizeof(from), "%lld", (long long)first);
	result = pl_session_exec_prepared(session, "outbox_look", 2, params, err);
	if (!result)
		return err->code;
	look_r->events = strtoll(PQgetvalue(result, 0, 0), NULL, 10);
	look_r->oldest_age_us = strtoll(PQgetvalue(result, 0, 1), NULL, 10);
	look_r->refused = strtoll(PQgetvalue(result, 0, 2), NULL, 10);
	if (look_r->events > 0 && look_r->oldest_age_us < 0)
		look_r->oldest_age_us = 0;
	PQclear(result);
	return 0;
}

int pl_outbox_read_refused(struct pl_session *session, struct pl_outbox_batch *batch_r, struct pl_error *err)
{
	memset(batch_r, 0, sizeof(*batch_r));
	batch_r->result = pl_session_exec_prepared(session, "outbox_read_refused", 0, NULL, err);
	if (!batch_r->result)
		return err->code;
	take_rows(batch_r);
	return 0;
}

int pl_outbox_refuse(struct pl_session *session, int64_t id, const char *why, int *refusals_r,
                     struct pl_error *err)
{
	char text[24];
	const char *params[2] = { text, why };
	PGresult *result;

	snprintf(text, sizeof(text), "%lld", (long long)id);
	result = pl_session_exec_prepared(session, "outbox_refuse", 2, params, err);
	if (!result)
		return err->code;
	*refusals_r = PQntuples(result) ? atoi(PQgetvalue(result, 0, 0)) : 0;
	PQclear(result);
	return 0;
}

int pl_outbox_first_refused(struct pl_session *session, int64_t *id_r, struct pl_error *err)
{
	PGresult *result = pl_session_exec(
		session, "SELECT min(id) FROM plist.outbox WHERE refused_at IS NOT NULL", 0, NULL, err);

	if (!result)
		return err->code;
	*id_r = PQgetisnull(result, 0, 0) ? INT64_MAX : strtoll(PQgetvalue(result, 0, 0), NULL, 10);
	PQclear(result);
	return 0;
}

static int retry(struct pl_session *session, const char *statement, int n, const char *const *params,
                 struct pl_error *err)
{
	PGresult *result = pl_session_exec_prepared(session, statement, n, params, err);

	if (!result)
		return err->code;
	PQclear(result);
	return 0;
}

int pl_outbox_retry(struct pl_session *session, struct pl_error *err)
{
	return retry(session, "outbox_retry", 0, NULL, err);
}

int pl_outbox_retry_known(struct pl_session *session, const struct pl_config *config, struct pl_error *err)
{
	struct pl_buf names = { 0 };
	int code;

	for (int i = 0; i < config->nresources; i++) // a name needs no quotes
		pl_buf_printf(&names, "%s%s", i ? "," : "{", config->resources[i].name);
	pl_buf_adds(&names, config->nresources ? "}" : "{}");
	code = retry(session, "outbox_retry_known", 2,
	             (const char *const[]){ PL_OUTBOX_UNKNOWN_RESOURCE, names.data }, err);
	pl_buf_fini(&names);
	return code;
}
