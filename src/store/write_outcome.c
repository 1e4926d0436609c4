// Why a write was not done, or whether it was done, if its connection was lost.
//
// Writes that a batch's statement did not do are asked about here, over the writer's
// reading connection. Nothing in this file writes to the database.
//
// A remembered request may have been made by an earlier execution with the same id. Its
// expires_at tells: each execution chose its own, to the microsecond.
//
// Invariant: a task that is being asked about is still in stage ASKING; whatever
// happens to the question, nothing was written by it.
// Threads: used under the shared writer's lock.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "record/edge.h"
#include "store/store_private.h"
#include "store/table_gate.h"

#define ROUNDS_MAX        8  // "nothing prevents it", and still not done
#define ROUNDS_IN_BATCHES 2  // of them; by then the row's lock has usually been released
#define NOT_PLAIN         64 // single writes of a table that has rows of another kind
#define LOSSES_MAX        1  // a write runs again after this many lost connections

static struct pl_log_limit edge_limit;

// ---- the answer about a task

static const char *value(const PGresult *result, int row, int column)
{
	return PQgetisnull(result, row, column) ? NULL : PQgetvalue(result, row, column);
}

// The row as it is now.
static struct pl_record *current(const struct pl_write_task *task, const PGresult *result, int row,
                                 struct pl_error *err)
{
	struct pl_record *record = NULL;

	if (pl_record_scan(task->write->arena, task->write->resource, PQgetvalue(result, row, PL_ASKED_VALUE),
	                   PQgetvalue(result, row, PL_ASKED_VECTOR), &record, err) < 0)
		return NULL;
	record->has_siblings = PQgetvalue(result, row, PL_ASKED_SIBLINGS)[0] == 't';
	record->deleted = PQgetvalue(result, row, PL_ASKED_DELETED)[0] == 't';
	return record;
}

// The write was done and its result was lost: restores the record as it was written. A
// remembered delete has no body; if the tombstone has changed since, only the id and the
// vector are known.
static void done_after_all(struct pl_write_task *task, const PGresult *result, int row)
{
	struct pl_write *write = task->write;
	const char *body = value(result, row, PL_ASKED_BODY),
		   *vector = PQgetvalue(result, row, PL_ASKED_REMEMBERED_VECTOR);
	const char *now = value(result, row, PL_ASKED_VECTOR);
	struct pl_record *record = NULL;
	struct pl_error err;

	if (now && strcmp(now, vector) == 0) {
		record = current(task, result, row, &err);
	} else if (body) {
		cJSON *json = pl_json_parse(body, strlen(body), &pl_remembered_limits, &err);

		if (json && pl_record_parse(write->arena, write->resource, json, &record, &err) == 0)
			pl_vector_parse(&record->vector, vector, strlen(vector));
		cJSON_Delete(json);
	} else {
		record = pl_record_new(write->arena, write->resource);
		record->id = write->id;
		pl_vector_parse(&record->vector, vector, strlen(vector));
		record->version = (int32_t)pl_vector_sum(&record->vector);
		snprintf(record->region_origin, sizeof(record->region_origin), "%s",
		         task->writer->db.region->name);
	}
	pl_write_task_committed(task->writer, 1);
	if (record)
		pl_write_task_done(task, record);
	else
		pl_write_task_unshown(task, &err);
}

// A row that a batch takes unless it is locked.
static bool is_ordinary(const struct pl_write_task *task, const PGresult *result, int row)
{
	bool live = PQgetvalue(result, row, PL_ASKED_DELETED)[0] == 'f';

	return task->write->op != PL_WRITE_CREATE && live &&
	       PQgetvalue(result, row, PL_ASKED_SIBLINGS)[0] == 'f';
}

// PostgreSQL executed the statement without an error and stored nothing.
static void discarded(struct pl_write_task *task)
{
	pl_error_set(
		&task->write->err, PL_EINVAL,
		"a trigger, rule or row security policy of table %s discarded the write; nothing was written",
		task->write->resource->table);
	pl_warning("store: %s (record %lld, request %s)", task->write->err.text, (long long)task->write->id,
	           task->write->request_id ? task->write->request_id : "");
	pl_write_task_outcome(task, PL_OUTCOME_REFUSED);
}

// The serial statement holds the row's lock while it writes. If the row was the same
// before and after, the write itself was discarded.
static bool is_discarded(struct pl_write_task *task, const PGresult *result, int row)
{
	const char *vector = value(result, row, PL_ASKED_VECTOR), *seen = task->seen_vector;
	bool same = vector && seen ? strcmp(vector, seen) == 0 : !vector && !seen;
	bool serial = task->tried_serial;

	task->tried_serial = false;
	task->seen_vector = vector ? pl_arena_strdup(task->write->arena, vector) : NULL;
	return serial && same && task->rounds > 0;
}

// After ROUNDS_MAX attempts. Before each but the first, the sequence was moved above all
// existing ids, so a create without an id has not collided with another record.
static void give_up(struct pl_write_task *task)
{
	if (task->id_taken)
		discarded(task);
	else
		pl_write_task_fail(
			task, PL_ECONFLICT,
			"other writes changed the record during each of %d attempts; nothing was written",
			ROUNDS_MAX);
}

// The table has what is not tolerated, so it is not written to, and what it shows may not
// be all that it has. The write goes on if that has been corrected by now.
static bool is_refused(struct pl_write_task *task)
{
	struct pl_write *write = task->write;

	if (!task->refused)
		return false;
	task->refused = pl_table_gate_is_closed(task->writer->tables, write->resource->name, &write->err);
	if (task->refused)
		pl_write_task_outcome(task, PL_OUTCOME_FAILED);
	else
		pl_write_task_move(task, PL_WRITE_STAGE_WAITING, true);
	return true;
}

// Nothing prevents the write.
static void again(struct pl_write_task *task, const PGresult *result, int row)
{
	if (task->lost) { // so it was not written
		task->lost = false;
		if (++task->losses > LOSSES_MAX)
			pl_write_task_fail(task, PL_EUNAVAIL,
			                   "the database connection was lost %d times during this write; "
			                   "nothing was written",
			                   task->losses);
		else
			pl_write_task_move(task, PL_WRITE_STAGE_WAITING, true);
		return;
	}
	if (is_discarded(task, result, row)) {
		discarded(task);
		return;
	}
	if (!task->slot)
		task->id_taken = true;
	if (task->not_plain) {
		task->statement_set->not_plain = NOT_PLAIN;
		task->statement_set->look = true;
	}
	if (++task->rounds > ROUNDS_MAX)
		give_up(task);
	else if (!task->holds) // another id will be drawn; or it was not tried yet
		pl_write_task_move(task, PL_WRITE_STAGE_WAITING, true);
	else if (task->rounds <= ROUNDS_IN_BATCHES && is_ordinary(task, result, row))
		pl_write_task_move(task, PL_WRITE_STAGE_WAITING, true);
	else
		pl_write_task_move(task, PL_WRITE_STAGE_SERIAL, false);
}

// The row is at a limit of what it can hold.
static void say_edge(struct pl_write_task *task)
{
	struct pl_write *write = task->write;
	const char *fault = pl_edge_fault(write->arena, task->writer->db.config, write->record,
	                                  task->writer->db.region->name, pl_now_us());

	pl_error_set(&write->err, PL_ECONFLICT, "%s",
	             fault ? fault : "it has a number that is NaN or infinite, which an event cannot carry");
	if (pl_log_limit_ok(&edge_limit, 10000000))
		pl_warning("store: %s %lld cannot be written: %s; it can be read, but not written %s",
		           write->resource->name, (long long)write->record->id, write->err.text,
		           pl_edge_until(write->arena, write->resource, write->record, pl_now_us()));
}

static void take_answer(struct pl_write_task *task, const PGresult *result, int row)
{
	int outcome = atoi(PQgetvalue(result, row, PL_ASKED_OUTCOME));
	bool known = outcome == PL_OUTCOME_REMEMBERED || outcome == PL_OUTCOME_REUSED ||
	             outcome == PL_OUTCOME_RUNNING;
	bool own = PQgetvalue(result, row, PL_ASKED_OWN)[0] == 't';
	struct pl_write *write = task->write;

	if (!known && is_refused(task))
		return;
	switch (outcome) {
	case PL_ASKED_AGAIN: again(task, result, row); return;
	case PL_OUTCOME_REMEMBERED:
		if (own) {
			done_after_all(task, result, row);
			return;
		}
		pl_remembered_scan(
			&write->remembered, write->arena, write->resource,
			&(struct pl_remembered_row){ PQgetvalue(result, row, PL_ASKED_STATUS),
		                                     value(result, row, PL_ASKED_BODY),
		                                     value(result, row, PL_ASKED_LOCATION),
		                                     PQgetvalue(result, row, PL_ASKED_REMEMBERED_VECTOR) });
		break;
	case PL_OUTCOME_EXISTS:
	case PL_OUTCOME_VERSION:
	case PL_OUTCOME_ETAG:
	case PL_OUTCOME_UNLOCKED:
	case PL_OUTCOME_EDGE:
		write->record = current(task, result, row, &write->err);
		if (!write->record) {
			pl_write_task_fail(task, PL_EINTERNAL, "%s",
			                   pl_arena_strdup(write->arena, write->err.text));
			return;
		}
		if (outcome == PL_OUTCOME_EDGE)
			say_edge(task);
		break;
	case PL_OUTCOME_TAKEN:
	case PL_OUTCOME_DANGLING:
	case PL_OUTCOME_REFERENCED:
		write->guard = pl_arena_strdup(write->arena, PQgetvalue(result, row, PL_ASKED_GUARD));
		break;
	default: break;
	}
	pl_write_task_outcome(task, (enum pl_outcome)outcome);
}

// ---- asking

// The question itself failed, so it remains unknown whether a lost write was committed.
// Any other write has changed nothing; the SQLSTATE says whether another region could
// execute it.
static void fail_asked(struct pl_write_task *task, const struct pl_error *err)
{
	struct pl_error failed = *err;

	if (task->lost) {
		pl_warning("store: finding out whether a lost write was committed: %s", err->text);
		pl_write_task_fail(task, PL_EUNKNOWN, PL_LOST_TEXT);
		return;
	}
	if (failed.code != PL_ETIMEOUT && failed.code != PL_EUNAVAIL)
		failed.code = PL_EINTERNAL; // not the client's fault
	pl_error_prefix(&failed, "finding out why nothing was written");
	pl_write_task_refuse(task, &failed);
}

static void asked(void *arg, PGresult *result, const struct pl_error *err)
{
	struct pl_in_flight_statement *in_flight = arg;
	bool ok = result && err->code == 0;
	struct pl_error no_row;
	int n = in_flight->n;

	memset(&no_row, 0, sizeof(no_row));
	pl_error_set(&no_row, PL_EINTERNAL, "the answer has no row for it");
	for (int row = 0; ok && row < PQntuples(result); row++) {
		int place = atoi(PQgetvalue(result, row, PL_ASKED_N)) - 1;

		if (place >= 0 && place < n && in_flight->tasks[place])
			take_answer(in_flight->tasks[place], result, row);
	}
	for (int i = n - 1; i >= 0; i--) {
		struct pl_write_task *task = in_flight->tasks[i];

		if (!task)
			continue;
		if (!result || pl_db_error_again(err)) // ask again once the connection is back
			pl_write_task_move(task, PL_WRITE_STAGE_ASKING, true);
		else
			fail_asked(task, ok ? &no_row : err);
	}
	in_flight->n = 0;
}

void pl_write_outcome_ask(struct pl_shared_writer *writer)
{
	struct pl_in_flight_statement *in_flight = &writer->asker;
	struct pl_write_task *task, *next;
	const struct pl_statement_set *statement_set;
	struct pl_conn_params params;
	struct pl_error err;

	if (!writer->asking || in_flight->n > 0 || !pl_conn_up(in_flight->conn))
		return;
	statement_set = writer->asking->statement_set;
	pl_params_begin(&in_flight->params, &statement_set->resource);
	DL_FOREACH_SAFE (writer->asking, task, next) {
		if (task->statement_set != statement_set || in_flight->n == writer->db.config->database.batch)
			continue;
		pl_params_write(&in_flight->params, task->write, task->expires_us, writer->db.region);
		pl_write_task_ask(task, in_flight);
	}
	params = pl_params_batch(&in_flight->params);
	if (pl_conn_send(in_flight->conn, statement_set->names[PL_STATEMENT_ASK], &params, asked, in_flight,
	                 &err) < 0)
		asked(in_flight, NULL, &err);
}
