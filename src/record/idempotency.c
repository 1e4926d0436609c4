// Remembered requests: why a write was not done, whether one was that got lost, and what was answered the first time.
//
// Stands beside record/batch: what its statement did not do is asked about here, over a reader's connection. Nothing in this file writes,
// but for pl_store_remember_answer.
//
// A lost write (its connection went away while it was there) goes through two steps that must not be one: first that the
// old backend is gone, then, with a later snapshot, whether the request is remembered. Asked the other way round, or in one
// statement, the backend could commit in between.
//
// That the remembered row is of this very execution, and not of an earlier one with the same id, shows in its expires_at: the execution
// chose it to the microsecond.
//
// Invariant: a task in flight on the asker's lane is in stage ASKING still; whatever becomes of the question, nothing was written by it.
// Threads: belongs to the store's worker.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "record/parts.h"

#define ROUNDS_MAX 8           // "nothing stands in the way", and still not done
#define ROUNDS_IN_BATCHES 2    // of them; whoever was at the row is mostly gone by the time that we are told so
#define LOSSES_MAX 1           // a write runs again after this many lost connections
#define BACKEND_PATIENCE_US 1000000 // then an orphaned backend is told to end

static const struct pl_json_limits let_in_once = { .bytes = 1 << 30, .depth = 64, .nodes = 1 << 24 }; // what is remembered

// ---- what the database says of a task

static void remembered(struct pl_arena *arena, const struct pl_resource *resource, const char *status, const char *body, const char *location,
                       const char *vector, struct pl_remembered *r)
{
	memset(r, 0, sizeof *r);
	r->status = atoi(status);
	r->deleted = r->status == 204;
	r->location = location ? pl_arena_strdup(arena, location) : NULL;
	pl_vector_parse(&r->vector, vector, strlen(vector));
	if (body) {
		cJSON *json = pl_json_parse(body, strlen(body), &let_in_once, NULL);
		struct pl_buf text = { 0 };

		if (json && resource)
			pl_record_print_members(&text, resource, json);
		r->body = pl_arena_strdup(arena, text.data ? text.data : body);
		pl_buf_fini(&text);
		cJSON_Delete(json);
	}
}

static const char *value(const PGresult *result, int row, int column)
{
	return PQgetisnull(result, row, column) ? NULL : PQgetvalue(result, row, column);
}

// The row as it stands now.
static struct pl_record *current(const struct pl_task *task, const PGresult *result, int row, struct pl_error *err)
{
	struct pl_record *record = NULL;

	if (pl_record_scan(task->write->arena, task->write->resource, PQgetvalue(result, row, PL_ASKED_VALUE),
	                   PQgetvalue(result, row, PL_ASKED_VECTOR), &record, err) < 0)
		return NULL;
	record->siblings = PQgetvalue(result, row, PL_ASKED_SIBLINGS)[0] == 't';
	record->deleted = PQgetvalue(result, row, PL_ASKED_DELETED)[0] == 't';
	return record;
}

// It was done, and its answer got lost: the record as it was written then. A delete's answer has none; if the tombstone is no longer as this
// write left it, the id and the vector are all that is known.
static void done_after_all(struct pl_task *task, const PGresult *result, int row)
{
	struct pl_write *write = task->write;
	const char *body = value(result, row, PL_ASKED_BODY), *vector = PQgetvalue(result, row, PL_ASKED_REMEMBERED_VECTOR);
	const char *now = value(result, row, PL_ASKED_VECTOR);
	struct pl_record *record = NULL;
	struct pl_error err;

	if (now && strcmp(now, vector) == 0) {
		record = current(task, result, row, &err);
	} else if (body) {
		cJSON *json = pl_json_parse(body, strlen(body), &let_in_once, &err);

		if (json && pl_record_parse(write->arena, write->resource, json, &record, &err) == 0)
			pl_vector_parse(&record->vector, vector, strlen(vector));
		cJSON_Delete(json);
	} else {
		record = pl_record_new(write->arena, write->resource);
		record->id = write->id;
		pl_vector_parse(&record->vector, vector, strlen(vector));
		record->version = (int32_t)pl_vector_sum(&record->vector);
		snprintf(record->region_origin, sizeof record->region_origin, "%s", task->store->region->name);
	}
	if (task->store->committed)
		task->store->committed(1, task->store->arg);
	if (record)
		pl_task_done(task, record);
	else
		pl_task_fail(task, PL_EUNKNOWN, "it was written, but %s", err.text);
}

// A row that a batch takes when nobody is at it.
static bool is_ordinary(const struct pl_task *task, const PGresult *result, int row)
{
	bool live = PQgetvalue(result, row, PL_ASKED_DELETED)[0] == 'f';

	return task->write->op != PL_WRITE_CREATE && live && PQgetvalue(result, row, PL_ASKED_SIBLINGS)[0] == 'f';
}

// Nothing stands in the way of the write.
static void again(struct pl_task *task, const PGresult *result, int row)
{
	if (task->lost) { // so it was not written
		task->lost = false;
		if (++task->losses > LOSSES_MAX)
			pl_task_fail(task, PL_EUNAVAIL, "the database connection was lost %d times over this write; nothing was written", task->losses);
		else
			pl_task_move(task, PL_STAGE_WAITING, true);
		return;
	}
	if (++task->rounds > ROUNDS_MAX)
		pl_task_fail(task, PL_EBUSY, "the record changed %d times while it was to be written; nothing was written", ROUNDS_MAX);
	else if (!task->holds) // its id was taken: another will be drawn; or it has not been tried yet
		pl_task_move(task, PL_STAGE_WAITING, true);
	else if (task->rounds <= ROUNDS_IN_BATCHES && is_ordinary(task, result, row))
		pl_task_move(task, PL_STAGE_WAITING, true);
	else
		pl_task_move(task, PL_STAGE_CAREFUL, false);
}

static void take_answer(struct pl_task *task, const PGresult *result, int row)
{
	int outcome = atoi(PQgetvalue(result, row, PL_ASKED_OUTCOME));
	bool own = PQgetvalue(result, row, PL_ASKED_OWN)[0] == 't';
	struct pl_write *write = task->write;

	switch (outcome) {
	case PL_ASKED_AGAIN:
		again(task, result, row);
		return;
	case PL_OUTCOME_REMEMBERED:
		if (own) {
			done_after_all(task, result, row);
			return;
		}
		remembered(write->arena, write->resource, PQgetvalue(result, row, PL_ASKED_STATUS), value(result, row, PL_ASKED_BODY),
		           value(result, row, PL_ASKED_LOCATION), PQgetvalue(result, row, PL_ASKED_REMEMBERED_VECTOR), &write->remembered);
		break;
	case PL_OUTCOME_EXISTS:
	case PL_OUTCOME_VERSION:
	case PL_OUTCOME_ETAG:
	case PL_OUTCOME_UNLOCKED:
		write->record = current(task, result, row, &write->err);
		if (!write->record) {
			pl_task_fail(task, PL_EINTERNAL, "%s", pl_arena_strdup(write->arena, write->err.text));
			return;
		}
		break;
	default:
		break;
	}
	pl_task_outcome(task, (enum pl_outcome)outcome);
}

// ---- asking

static void asked(void *arg, PGresult *result, const struct pl_error *err)
{
	struct pl_lane *lane = arg;
	bool ok = result && err->code == 0;
	int n = lane->n;

	for (int row = 0; ok && row < PQntuples(result); row++) {
		int place = atoi(PQgetvalue(result, row, PL_ASKED_N)) - 1;

		if (place >= 0 && place < n && lane->tasks[place])
			take_answer(lane->tasks[place], result, row);
	}
	for (int i = n - 1; i >= 0; i--) {
		struct pl_task *task = lane->tasks[i];

		if (!task)
			continue;
		if (!result) // asked again once the connection is back
			pl_task_move(task, PL_STAGE_ASKING, true);
		else
			pl_task_fail(task, task->lost ? PL_EUNKNOWN : err->code == PL_ETIMEOUT || err->code == PL_EUNAVAIL ? err->code : PL_EINTERNAL,
			             "asking why it was not written: %s", ok ? "no answer" : err->text);
	}
	lane->n = 0;
}

void pl_ask_send(struct pl_store *store)
{
	struct pl_lane *lane = &store->asker;
	struct pl_task *task, *next;
	const struct pl_shape *shape;
	struct pl_conn_params params;
	struct pl_error err;

	if (!store->asking || lane->n > 0 || !pl_conn_up(lane->conn))
		return;
	shape = store->asking->shape;
	pl_params_begin(&lane->params, &shape->resource);
	DL_FOREACH_SAFE(store->asking, task, next) {
		if (task->shape != shape || lane->n == store->config->database.batch)
			continue;
		pl_task_params(&lane->params, task);
		pl_task_ask(task, lane);
	}
	params = pl_params_batch(&lane->params);
	if (pl_conn_send(lane->conn, shape->names[PL_STATEMENT_ASK], &params, asked, lane, &err) < 0)
		asked(lane, NULL, &err);
}

// ---- lost connections

static const char is_there[] = // $3: and end it
	"SELECT CASE WHEN $3::boolean THEN pg_terminate_backend(pid) END FROM pg_stat_activity WHERE pid = $1::integer AND "
	"backend_start = $2::timestamptz";

static void loss_free(struct pl_loss *loss)
{
	DL_DELETE(loss->store->losses, loss);
	free(loss);
}

static void seen(void *arg, PGresult *result, const struct pl_error *err)
{
	struct pl_loss *loss = arg;
	struct pl_store *store = loss->store;

	loss->asked = false;
	if (store->stopping)
		return;
	if (result && err->code == 0 && PQntuples(result) == 0) { // gone: what it did not commit by now, it never will
		while (loss->tasks) {
			store->stats.settled++;
			pl_task_move(loss->tasks, PL_STAGE_ASKING, false);
		}
		loss_free(loss);
		return;
	}
	loss->next_look_us = pl_mono_us() + (INT64_C(5000) << (loss->looks < 5 ? loss->looks++ : 5));
	pl_store_wake_at(store, loss->next_look_us);
}

void pl_loss_look(struct pl_store *store, int64_t now_us)
{
	struct pl_loss *loss, *next;

	DL_FOREACH_SAFE(store->losses, loss, next) {
		const char *values[] = { loss->pid, loss->start, now_us - loss->since_us > BACKEND_PATIENCE_US ? "t" : "f" };
		struct pl_conn_params params = { .n = 3, .values = values };

		if (loss->asked)
			continue;
		if (!loss->tasks) // the deadlines were first
			loss_free(loss);
		else if (now_us < loss->next_look_us)
			pl_store_wake_at(store, loss->next_look_us);
		else if (pl_conn_send_sql(store->readers[0], is_there, &params, seen, loss, NULL) == 0)
			loss->asked = true;
		else
			pl_store_wake_at(store, now_us + 20000);
	}
}

void pl_loss_add(struct pl_store *store, struct pl_conn *conn, struct pl_task **tasks, int n)
{
	struct pl_loss *loss = pl_calloc(1, sizeof *loss);

	loss->store = store;
	loss->since_us = pl_mono_us();
	snprintf(loss->pid, sizeof loss->pid, "%d", pl_conn_backend_pid(conn));
	snprintf(loss->start, sizeof loss->start, "%s", pl_conn_backend_start(conn));
	DL_APPEND(store->losses, loss);
	for (int i = 0; i < n; i++) {
		if (tasks[i] && tasks[i]->request.key)
			pl_task_lose(tasks[i], loss);
		else if (tasks[i]) // nobody remembers it, so nobody can be asked
			pl_task_fail(tasks[i], PL_EUNKNOWN, "the database connection was lost before it answered");
	}
	pl_store_wake_at(store, 0);
}

void pl_losses_free(struct pl_store *store)
{
	struct pl_loss *loss, *next;

	DL_FOREACH_SAFE(store->losses, loss, next)
		loss_free(loss);
}

// ---- calls that are one statement

struct pl_single *pl_single_new(struct pl_store *store, struct pl_single **list, void *call)
{
	struct pl_single *single = pl_calloc(1, sizeof *single);

	single->store = store;
	single->call = call;
	DL_APPEND(*list, single);
	return single;
}

void pl_single_free(struct pl_single **list, struct pl_single *single)
{
	DL_DELETE(*list, single);
	free(single);
}

static const char remembered_name[] = "plist_remembered", answer_name[] = "plist_remember_answer";

void pl_remember_prepare(struct pl_conn *reader, struct pl_conn *writer)
{
	if (reader)
		pl_conn_prepare(reader, remembered_name,
		                "SELECT fingerprint = $3::bytea, status, response_body::text, location, vector::text, resource "
		                "FROM processed_requests WHERE request_id = $1::text AND principal = $2::text");
	if (writer)
		pl_conn_prepare(writer, answer_name,
		                "UPDATE processed_requests SET status = $3::smallint, response_body = $4::jsonb, location = $5::text "
		                "WHERE request_id = $1::text AND principal = $2::text");
}

// ---- looking up

static void lookup_finish(struct pl_store *store, struct pl_remember_lookup *lookup, int code, enum pl_outcome outcome, const char *why)
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
	struct pl_single *single = arg;
	struct pl_store *store = single->store;
	struct pl_remember_lookup *lookup = single->call;

	pl_single_free(&store->lookups_sent, single);
	if (!lookup)
		return;
	if (!result && !store->stopping) { // a read: again, once the connection is back
		DL_PREPEND(store->lookups, lookup);
	} else if (!result) {
		lookup_finish(store, lookup, PL_ESTOPPED, PL_OUTCOME_FAILED, err->text);
	} else if (err->code) {
		lookup_finish(store, lookup, err->code == PL_ETIMEOUT ? PL_ETIMEOUT : PL_EUNAVAIL, PL_OUTCOME_FAILED, err->text);
	} else if (PQntuples(result) == 0) {
		lookup_finish(store, lookup, 0, PL_OUTCOME_NOT_FOUND, NULL);
	} else if (PQgetvalue(result, 0, 0)[0] != 't') {
		lookup_finish(store, lookup, 0, PL_OUTCOME_REUSED, NULL);
	} else {
		remembered(lookup->arena, pl_config_resource(store->config, PQgetvalue(result, 0, 5)), PQgetvalue(result, 0, 1),
		           value(result, 0, 2), value(result, 0, 3), PQgetvalue(result, 0, 4), &lookup->remembered);
		lookup_finish(store, lookup, 0, PL_OUTCOME_REMEMBERED, NULL);
	}
}

void pl_store_remembered(struct pl_store *store, struct pl_remember_lookup *lookup)
{
	memset(&lookup->err, 0, sizeof lookup->err);
	store->nlookups++;
	if (store->stopping) {
		lookup_finish(store, lookup, PL_ESTOPPED, PL_OUTCOME_FAILED, "the server is stopping");
	} else if (pl_task_running(store, lookup->arena, lookup->principal, lookup->request_id)) {
		lookup_finish(store, lookup, 0, PL_OUTCOME_RUNNING, NULL);
	} else if (store->nlookups > store->config->http.queue) {
		lookup_finish(store, lookup, PL_EBUSY, PL_OUTCOME_FAILED, "too many lookups are waiting");
	} else {
		DL_APPEND(store->lookups, lookup);
		pl_store_wait(store, store->readers[store->nreaders - 1], lookup->deadline_us);
	}
}

void pl_remember_send(struct pl_store *store)
{
	struct pl_conn *conn = store->readers[store->nreaders - 1];

	while (store->lookups && pl_conn_up(conn)) {
		struct pl_remember_lookup *lookup = store->lookups;
		struct pl_single *single = pl_single_new(store, &store->lookups_sent, lookup);
		char fingerprint[2 + PL_SHA256_HEX] = "\\x";
		const char *values[] = { lookup->request_id, lookup->principal ? lookup->principal : "",
		                         (pl_sha256_hex(lookup->fingerprint, fingerprint + 2), fingerprint) };
		struct pl_conn_params params = { .n = 3, .values = values };

		if (pl_conn_send(conn, remembered_name, &params, looked_up, single, NULL) < 0) {
			pl_single_free(&store->lookups_sent, single);
			return;
		}
		DL_DELETE(store->lookups, lookup);
	}
}

// ---- a handler's own answer

static void answer_finish(struct pl_store *store, struct pl_remember_answer *answer, int code, const char *why)
{
	answer->code = code;
	if (code) {
		pl_error_set(&answer->err, code, "%s", why);
		answer->err.retryable = code != PL_EUNKNOWN && code != PL_ENOTFOUND;
	}
	store->nanswers--;
	DL_APPEND(store->answers_finished, answer);
}

static void answer_stored(void *arg, PGresult *result, const struct pl_error *err)
{
	struct pl_single *single = arg;
	struct pl_store *store = single->store;
	struct pl_remember_answer *answer = single->call;

	pl_single_free(&store->answers_sent, single);
	if (!answer)
		return;
	if (!result)
		answer_finish(store, answer, PL_EUNKNOWN, err->text);
	else if (err->code)
		answer_finish(store, answer, err->code == PL_ETIMEOUT || err->code == PL_EUNAVAIL ? err->code : PL_EINTERNAL, err->text);
	else if (strcmp(PQcmdTuples(result), "1") != 0)
		answer_finish(store, answer, PL_ENOTFOUND, "the request is not remembered any more");
	else
		answer_finish(store, answer, 0, NULL);
}

void pl_store_remember_answer(struct pl_store *store, struct pl_remember_answer *answer)
{
	char status[12];
	const char *values[] = { answer->request_id, answer->principal ? answer->principal : "", status, answer->body, answer->location };
	struct pl_conn_params params = { .n = 5, .values = values };
	struct pl_single *single;

	if (store->door && !store->stopping) {
		pl_door_remember_answer(store->door, answer);
		return;
	}
	snprintf(status, sizeof status, "%d", answer->status);
	memset(&answer->err, 0, sizeof answer->err);
	store->nanswers++;
	if (store->stopping) {
		answer_finish(store, answer, PL_ESTOPPED, "the server is stopping");
		return;
	}
	if (store->nanswers > pl_store_queue_max(store)) {
		answer_finish(store, answer, PL_EBUSY, "too many answers are waiting");
		return;
	}
	single = pl_single_new(store, &store->answers_sent, answer);
	if (pl_conn_send(store->writers[0].conn, answer_name, &params, answer_stored, single, &answer->err) < 0) {
		pl_single_free(&store->answers_sent, single);
		answer_finish(store, answer, PL_EUNAVAIL, pl_arena_strdup(answer->arena, answer->err.text));
		return;
	}
	pl_store_wake_at(store, answer->deadline_us);
}

// ---- time

void pl_remember_due(struct pl_store *store, int64_t now_us)
{
	struct pl_remember_lookup *lookup, *next;
	struct pl_single *single;
	struct pl_error err;

	DL_FOREACH_SAFE(store->lookups, lookup, next) {
		int code = lookup->deadline_us <= now_us ? PL_ETIMEOUT : pl_store_away(store->readers[store->nreaders - 1], store, &err);

		if (code == 0) {
			pl_store_wake_at(store, lookup->deadline_us);
			continue;
		}
		DL_DELETE(store->lookups, lookup);
		lookup_finish(store, lookup, code, PL_OUTCOME_FAILED, code == PL_ETIMEOUT ? "the deadline passed" : err.text);
	}
	DL_FOREACH(store->lookups_sent, single) {
		lookup = single->call;
		if (lookup && lookup->deadline_us <= now_us) {
			single->call = NULL;
			lookup_finish(store, lookup, PL_ETIMEOUT, PL_OUTCOME_FAILED, "the deadline passed before the database answered");
		} else if (lookup) {
			pl_store_wake_at(store, lookup->deadline_us);
		}
	}
	DL_FOREACH(store->answers_sent, single) {
		struct pl_remember_answer *answer = single->call;

		if (answer && answer->deadline_us <= now_us) {
			single->call = NULL;
			answer_finish(store, answer, PL_EUNKNOWN, "the deadline passed before the database answered");
		} else if (answer) {
			pl_store_wake_at(store, answer->deadline_us);
		}
	}
}

// The connections are gone: what was in flight has been answered.
void pl_remember_stop(struct pl_store *store)
{
	struct pl_remember_lookup *lookup, *next;

	DL_FOREACH_SAFE(store->lookups, lookup, next) {
		DL_DELETE(store->lookups, lookup);
		lookup_finish(store, lookup, PL_ESTOPPED, PL_OUTCOME_FAILED, "the server is stopping");
	}
}

void pl_remember_leave(struct pl_store *store, const struct pl_door *door)
{
	struct pl_single *single;

	DL_FOREACH(store->answers_sent, single) {
		struct pl_remember_answer *answer = single->call;

		if (!answer || answer->door != door)
			continue;
		single->call = NULL;
		answer_finish(store, answer, PL_EUNKNOWN, "stopped before the database answered");
	}
}

bool pl_remember_deliver(struct pl_store *store)
{
	struct pl_remember_lookup *lookup;
	struct pl_remember_answer *answer;
	bool any = store->lookups_finished || store->answers_finished;

	while ((lookup = store->lookups_finished)) {
		DL_DELETE(store->lookups_finished, lookup);
		lookup->done(lookup, lookup->arg);
	}
	while ((answer = store->answers_finished)) {
		DL_DELETE(store->answers_finished, answer);
		if (answer->door)
			pl_door_give_answer(answer);
		else
			answer->done(answer, answer->arg);
	}
	return any;
}
