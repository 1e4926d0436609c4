// Reads by id, many to a statement.
//
// Beside the writes, on connections of their own, so that a GET never waits behind a
// write. Batches of reads form without a timer, as those of writes do: what arrives
// while a connection has two batches in flight is the next one. A read whose connection
// was lost is sent again when the connection is back.
// Threads: belongs to the store's worker.
#include <stdlib.h>
#include <string.h>

#include "record/edge.h"
#include "record/unknown.h"
#include "store/store_private.h"

#define IN_FLIGHT_MAX 2 // batches of reads on one connection

static void finish(struct pl_store *store, struct pl_read *read, int code, const char *why)
{
	read->code = code;
	if (code) {
		pl_error_set(&read->err, code, "%s", why);
		read->err.retryable = code != PL_ENOTFOUND && code != PL_EINTERNAL;
	}
	store->nreads--;
	DL_APPEND(store->reads_finished, read);
}

// A time as PostgreSQL prints it in UTC, "2026-02-21 10:00:00.12+00". Any other text,
// such as "infinity", was not written by plist; it is shown as the first or last moment
// of RFC 3339, which has the years 1 to 9999.
static int64_t parse_time(const char *text)
{
	size_t len = strlen(text);
	char rfc[PL_TIME_TEXT_MAX];
	int64_t us;

	if (len >= 20 && len <= sizeof(rfc) && text[10] == ' ' && strcmp(text + len - 3, "+00") == 0) {
		memcpy(rfc, text, len - 3);
		rfc[10] = 'T';
		rfc[len - 3] = 'Z';
		if (pl_clock_parse_time(rfc, len - 2, &us) == 0)
			return us;
	}
	return text[0] == '-' || strstr(text, "BC") ? PL_TIME_MIN_US : PL_TIME_MAX_US;
}

// A region's name. Text that is too long for one is cut at a character boundary.
static void take_origin(struct pl_record *record, const char *text)
{
	size_t len = strlen(text);

	if (len > PL_REGION_MAX)
		for (len = PL_REGION_MAX; len > 0 && ((unsigned char)text[len] & 0xC0) == 0x80;)
			len--;
	memcpy(record->region_origin, text, len);
	record->region_origin[len] = '\0';
}

struct pl_record *pl_read_row(struct pl_arena *arena, const struct pl_resource *resource,
                              const char *const *cells)
{
	struct pl_record *record = pl_record_new(arena, resource);

	record->id = strtoll(cells[PL_READ_ID], NULL, 10);
	take_origin(record, cells[PL_READ_REGION_ORIGIN]);
	record->version = (int32_t)strtol(cells[PL_READ_VERSION], NULL, 10);
	record->updated_at_us = parse_time(cells[PL_READ_UPDATED_AT]);
	pl_record_take_vector(record, cells[PL_READ_VECTOR], strlen(cells[PL_READ_VECTOR]));
	record->has_siblings = cells[PL_READ_SIBLINGS][0] == 't';
	for (int i = 0; i < resource->nfields; i++) {
		if (cells[PL_READ_FIELDS + i])
			record->values[i] = pl_arena_strdup(arena, cells[PL_READ_FIELDS + i]);
	}
	if (cells[PL_READ_UNKNOWN])
		pl_unknown_split(arena, resource, cells[PL_READ_UNKNOWN], record->values, NULL);
	return record;
}

static void row_taken(struct pl_store *store, struct pl_read *read, const PGresult *result, int row)
{
	const char *cells[PL_READ_FIELDS + PL_FIELDS_MAX];
	int n = PL_READ_FIELDS + read->resource->nfields;

	for (int i = 0; i < n; i++)
		cells[i] = PQgetisnull(result, row, i) ? NULL : PQgetvalue(result, row, i);
	read->record = pl_read_row(read->arena, read->resource, cells);
	finish(store, read, 0, NULL);
}

// The first place with this id or a greater one. A read whose deadline has passed keeps
// its place in `ids`.
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
	batch->statement_set->users--;
	DL_DELETE(batch->store->read_batches, batch);
	LL_PREPEND(batch->store->idle_read_batches, batch);
}

static void answered(void *arg, PGresult *result, const struct pl_error *err)
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
			finish(store, read, PL_ENOTFOUND, "there is no such record");
		else if ((!result || pl_db_error_again(err)) && !store->db.stopping)
			DL_PREPEND(store->reads, read);
		else {
			finish(store, read, err->code == PL_ECONFLICT ? PL_EUNAVAIL : err->code, err->text);
			memcpy(read->err.sqlstate, err->sqlstate, sizeof(read->err.sqlstate));
		}
	}
	batch_end(batch);
}

static int by_id(const void *a, const void *b)
{
	int64_t x = (*(struct pl_read *const *)a)->id, y = (*(struct pl_read *const *)b)->id;

	return (x > y) - (x < y);
}

static struct pl_read_batch *take_batch(struct pl_store *store)
{
	struct pl_read_batch *batch = store->idle_read_batches;
	struct pl_read *read, *next;

	if (batch)
		LL_DELETE(store->idle_read_batches, batch);
	else
		batch = pl_malloc(sizeof(*batch));
	batch->store = store;
	batch->n = 0;
	batch->statement_set = pl_statement_set_get(&store->db, store->reads->resource);
	batch->statement_set->users++;
	DL_FOREACH_SAFE (store->reads, read, next) {
		if (batch->n == PL_READ_BATCH_MAX)
			break;
		if (pl_statement_set_get(&store->db, read->resource) != batch->statement_set)
			continue;
		DL_DELETE(store->reads, read);
		batch->reads[batch->n++] = read;
	}
	qsort(batch->reads, (size_t)batch->n, sizeof(batch->reads[0]), by_id);
	for (int i = 0; i < batch->n; i++)
		batch->ids[i] = batch->reads[i]->id;
	DL_APPEND(store->read_batches, batch);
	return batch;
}

static void send_batch(struct pl_store *store, struct pl_conn *conn)
{
	struct pl_read_batch *batch = take_batch(store);
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
	if (pl_conn_send(conn, batch->statement_set->names[PL_STATEMENT_READ], &params, answered, batch,
	                 &err) < 0)
		answered(batch, NULL, &err);
	pl_buf_fini(&ids);
}

void pl_store_read(struct pl_store *store, struct pl_read *read)
{
	read->record = NULL;
	memset(&read->err, 0, sizeof(read->err));
	store->nreads++;
	if (store->db.stopping) {
		finish(store, read, PL_ESTOPPED, "the server is stopping");
	} else if (store->nreads > store->db.config->http.max_queued) {
		finish(store, read, PL_EBUSY, "too many reads are waiting");
	} else {
		DL_APPEND(store->reads, read);
		pl_database_wait(&store->db, store->readers[0], read->deadline_us);
	}
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
		send_batch(store, conn);
}

void pl_read_due(struct pl_store *store, int64_t now_us)
{
	struct pl_read_batch *batch;
	struct pl_read *read, *next;
	struct pl_error err;

	DL_FOREACH_SAFE (store->reads, read, next) {
		int code = read->deadline_us <= now_us
		                   ? PL_ETIMEOUT
		                   : pl_database_unavailable(&store->db, store->readers[0], &err);

		if (code == 0) {
			pl_database_wake_at(&store->db, read->deadline_us);
			continue;
		}
		DL_DELETE(store->reads, read);
		finish(store, read, code, code == PL_ETIMEOUT ? "the deadline passed" : err.text);
	}
	DL_FOREACH (store->read_batches, batch) {
		for (int i = 0; i < batch->n; i++) {
			read = batch->reads[i];
			if (read && read->deadline_us > now_us) {
				pl_database_wake_at(&store->db, read->deadline_us);
			} else if (read) {
				batch->reads[i] = NULL;
				finish(store, read, PL_ETIMEOUT,
				       "the deadline passed before the database answered");
			}
		}
	}
}

// After the connections were closed: what was in flight has been answered.
void pl_read_stop(struct pl_store *store)
{
	struct pl_read *read, *next;

	DL_FOREACH_SAFE (store->reads, read, next) {
		DL_DELETE(store->reads, read);
		finish(store, read, PL_ESTOPPED, "the server is stopping");
	}
	while (store->idle_read_batches) {
		struct pl_read_batch *batch = store->idle_read_batches;

		LL_DELETE(store->idle_read_batches, batch);
		free(batch);
	}
}

bool pl_read_deliver(struct pl_store *store)
{
	struct pl_read *read;
	bool any = store->reads_finished != NULL;

	while ((read = store->reads_finished)) {
		DL_DELETE(store->reads_finished, read);
		read->done(read, read->arg);
	}
	return any;
}
