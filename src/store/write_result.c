// The result of a batch: what it means for each of its writes, and for the whole batch
// when it failed (store/write_batch.c, "When something fails").
//
// Called by db/conn with the result of a statement that store/write_batch.c sent. A write
// that was not done goes to store/write_outcome.c, which asks why.
// Threads: used under the shared writer's lock.
#include <stdlib.h>
#include <string.h>

#include "base/random.h"
#include "store/store_private.h"

#define TRIES_MAX 5 // after deadlocks and serialization failures

// Whether the write's lock can no longer match the record. A lock on a later version
// still can: a write that waits before it may make that version.
static bool overtaken(const struct pl_write *write, const struct pl_record *record)
{
	if (write->op == PL_WRITE_CREATE)
		return false;
	return (write->has_version && write->version < record->version) ||
	       (write->has_etag && !write->etag_any && pl_vector_le(&write->etag, &record->vector) &&
	        !pl_vector_equal(&write->etag, &record->vector));
}

// The place in the outbox that covers all writes of the statement.
static void note_place(struct pl_write *write, const struct pl_shared_writer *writer, const char *id)
{
	const char *key = writer->db.key, *generation = key + pl_vector_region_len(key, strlen(key));

	write->outbox_id = strtoll(id, NULL, 10);
	write->generation = *generation == '.' ? strtoll(generation + 1, NULL, 10) : 1;
}

static void ask_the_overtaken(const struct pl_write_task *done, const struct pl_record *record)
{
	struct pl_shared_writer *writer = done->writer;
	struct pl_write_task *task, *next;

	if (!done->slot || done->slot->users == 1)
		return;
	DL_FOREACH_SAFE (writer->waiting, task, next) {
		if (task->slot == done->slot && !task->lost && overtaken(task->write, record))
			pl_write_task_move(task, PL_WRITE_STAGE_ASKING, false);
	}
}

// Writes that wait for a value that another write has taken: most of them are refused.
static void ask_the_beaten(const struct pl_write_task *done)
{
	struct pl_shared_writer *writer = done->writer;
	struct pl_write_task *task, *next;

	if (done->guard.n == 0)
		return;
	DL_FOREACH_SAFE (writer->waiting, task, next) {
		if (task->guard.n > 0 && !task->lost && pl_guard_same_value(&task->guard, &done->guard))
			pl_write_task_move(task, PL_WRITE_STAGE_ASKING, false);
	}
}

// Each row is a write that was done.
static void take_rows(struct pl_in_flight_statement *in_flight, const PGresult *result)
{
	for (int i = 0; i < PQntuples(result); i++) {
		int place = atoi(PQgetvalue(result, i, PL_DONE_N)) - 1;
		struct pl_write_task *task =
			place >= 0 && place < in_flight->n ? in_flight->tasks[place] : NULL;
		struct pl_record *record;
		struct pl_error err;

		if (!task) { // its deadline has passed: nobody will deliver it
			pl_write_task_committed(in_flight->writer, 0);
			continue;
		}
		if (pl_record_scan(task->write->arena, task->write->resource,
		                   PQgetvalue(result, i, PL_DONE_VALUE),
		                   PQgetvalue(result, i, PL_DONE_VECTOR), &record, &err) == 0) {
			note_place(task->write, task->writer, PQgetvalue(result, i, PL_DONE_OUTBOX_ID));
			ask_the_overtaken(task, record);
			ask_the_beaten(task);
			pl_write_task_done(task, record);
		} else {
			pl_write_task_unshown(task, &err);
		}
	}
}

static void succeeded(struct pl_in_flight_statement *in_flight, const PGresult *result)
{
	struct pl_shared_writer *writer = in_flight->writer;

	writer->stats.batches++;
	writer->stats.single += in_flight->n == 1;
	writer->stats.writes += (uint64_t)PQntuples(result);
	writer->stats.stacked += in_flight->stacked ? (uint64_t)PQntuples(result) : 0;
	take_rows(in_flight, result);
	for (int i = 0; i < in_flight->n; i++)
		if (in_flight->tasks[i]) {
			in_flight->tasks[i]->not_plain |= in_flight->plain;
			pl_write_task_move(in_flight->tasks[i], PL_WRITE_STAGE_ASKING, false);
		}
	if (PQntuples(result) > 0)
		pl_write_task_committed(writer, PQntuples(result));
}

// What an error means for the batch in which it happened.
enum consequence { AGAIN, AGAIN_SOON, HALVES, ALL_FAIL };

// The outbox takes the row of every write, unless a trigger has made something else of it
// than the write (store/statement.c).
static bool is_altered(const PGresult *result, const struct pl_error *err)
{
	const char *table = PQresultErrorField(result, PG_DIAG_TABLE_NAME);

	return strcmp(err->sqlstate, "23502") == 0 && table && strcmp(table, "outbox") == 0;
}

static enum consequence consequence_of(const struct pl_in_flight_statement *in_flight, const PGresult *result,
                                       const struct pl_error *err)
{
	const char *table = PQresultErrorField(result, PG_DIAG_TABLE_NAME);

	// The plain statement looks at the row only when it has written it.
	if (in_flight->plain && (is_altered(result, err) || strncmp(err->sqlstate, "22", 2) == 0))
		return AGAIN;
	if (pl_db_error_again(err))
		return AGAIN; // another layer failed, or the session was too old
	if (strcmp(err->sqlstate, "40001") == 0 || strcmp(err->sqlstate, "40P01") == 0)
		return AGAIN_SOON;
	if (strcmp(err->sqlstate, "23505") == 0 && table && strcmp(table, "processed_requests") == 0)
		return AGAIN;
	if (err->code == PL_EUNAVAIL || strncmp(err->sqlstate, "42", 2) == 0)
		return ALL_FAIL;
	return HALVES;
}

// Says why the database accepts no writes, instead of PostgreSQL's "cannot execute WITH
// in a read-only transaction".
static void name_read_only(const struct pl_in_flight_statement *in_flight, struct pl_error *err)
{
	if (pl_conn_writable(in_flight->conn, err)) // not known when the session was last checked
		pl_error_set(err, PL_EUNAVAIL, "the database accepts no writes: it is read-only");
	err->retryable = true;
	strcpy(err->sqlstate, "25006");
}

static void refuse_altered(struct pl_write_task *task)
{
	struct pl_error err;

	pl_error_set(&err, PL_EINVAL,
	             "a trigger of table %s changed a column that plist manages (id, region_origin, version, "
	             "updated_at, vector or deleted_at); nothing was written",
	             task->write->resource->table);
	pl_warning("store: %s (record %lld, request %s)", err.text, (long long)task->write->id,
	           task->write->request_id ? task->write->request_id : "");
	pl_write_task_refuse(task, &err);
}

static void again_soon(struct pl_write_task *task, const struct pl_error *err)
{
	task->writer->stats.deadlocks++;
	if (++task->tries > TRIES_MAX) {
		pl_write_task_fail(task, PL_ECONFLICT,
		                   "PostgreSQL rolled back each of %d attempts (%s); nothing was written",
		                   TRIES_MAX + 1, err->text);
		return;
	}
	task->not_before_us = pl_mono_us() + 1000 + (int64_t)pl_random_below(5000u << task->tries);
	pl_database_wake_at(&task->writer->db, task->not_before_us);
	pl_write_task_move(task, PL_WRITE_STAGE_LATER, false);
}

// Whether the write waits for its lock once more, behind those that have queued for the
// serial connection meanwhile.
static bool waits_on(struct pl_write_task *task, const struct pl_error *err)
{
	int64_t timeout_us = task->writer->db.config->database.lock_timeout_us, now_us = pl_mono_us();

	if (strcmp(err->sqlstate, "55P03") != 0)
		return false;
	if (task->lock_until_us == 0)
		task->lock_until_us = timeout_us > 0 ? now_us + timeout_us - PL_SERIAL_WAIT_US : INT64_MAX;
	return now_us < task->lock_until_us;
}

static void failed(struct pl_in_flight_statement *in_flight, const PGresult *result,
                   const struct pl_error *cause)
{
	enum consequence consequence = consequence_of(in_flight, result, cause);
	struct pl_error named = *cause, *err = &named;
	enum pl_write_stage queue =
		in_flight == &in_flight->writer->serial ? PL_WRITE_STAGE_SERIAL : PL_WRITE_STAGE_WAITING;
	int n = in_flight->n;

	if (pl_db_error_read_only(err))
		name_read_only(in_flight, err);
	if (consequence == ALL_FAIL || n > 1)
		pl_debug("store: a batch of %d writes failed: %s", n, err->text);
	in_flight->writer->stats.retried +=
		consequence != ALL_FAIL && (consequence != HALVES || n > 1) ? (uint64_t)n : 0;
	// From the last one, so that they are in order at the head of their queue.
	for (int i = n - 1; i >= 0; i--) {
		struct pl_write_task *task = in_flight->tasks[i];

		if (!task)
			continue;
		task->alone = true;
		task->not_plain |= in_flight->plain;
		if (consequence == HALVES && n == 1 && is_altered(result, err)) {
			refuse_altered(task);
		} else if (queue == PL_WRITE_STAGE_SERIAL && waits_on(task, err)) {
			pl_write_task_move(task, queue, false);
		} else if (consequence == ALL_FAIL || (consequence == HALVES && n == 1)) {
			pl_write_task_refuse(task, err);
		} else if (consequence == AGAIN_SOON) {
			again_soon(task, err);
		} else {
			if (consequence == HALVES)
				task->limit = (n + 1) / 2;
			pl_write_task_move(task, queue, true);
		}
	}
	if (pl_db_error_read_only(err)) // perhaps another server is the primary now
		pl_conn_renew_old(in_flight->conn, err->text);
}

// The locks were not taken, so the statement behind them was not executed; its own
// result comes next, when nothing is left in flight.
void pl_write_result_take_locks(void *arg, PGresult *result, const struct pl_error *err)
{
	struct pl_in_flight_statement *in_flight = arg;

	if (!result || err->code == 0 || pl_db_error_again(err))
		return;
	failed(in_flight, result, err);
	in_flight->n = 0;
}

void pl_write_result_take(void *arg, PGresult *result, const struct pl_error *err)
{
	struct pl_in_flight_statement *in_flight = arg;
	int n = in_flight->n;

	if (result && err->code == 0)
		succeeded(in_flight, result);
	else if (result)
		failed(in_flight, result, err);
	else if (err->code == PL_ESTOPPED)
		for (int i = 0; i < n; i++) {
			if (in_flight->tasks[i])
				pl_write_task_fail(in_flight->tasks[i], PL_EUNKNOWN, PL_STOPPED_TEXT);
		}
	else
		pl_losses_add(in_flight->writer, in_flight);
	in_flight->n = 0;
}
