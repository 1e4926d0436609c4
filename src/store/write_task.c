// A write in the shared writer: from pl_write_task_begin to the post that takes it back
// to its worker.
//
// What happens to a write is decided in store/write_batch.c and its neighbours; this file
// only does the bookkeeping: which list a write is in, and which record it holds.
// Invariants: every task that has begun is in `all` until it ends; a task's request id is
// among the running ones from pl_write_task_new until it ends; a slot lives as long as a
// task uses it.
// Threads: used under the shared writer's lock; pl_write_task_new and _is_running by any
// worker without it.
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/random.h"
#include "store/store_private.h"
#include "store/table_gate.h"

static struct pl_write_task **list_of(const struct pl_write_task *task)
{
	struct pl_shared_writer *writer = task->writer;

	switch (task->stage) {
	case PL_WRITE_STAGE_WAITING: return &writer->waiting;
	case PL_WRITE_STAGE_LATER: return &writer->later;
	case PL_WRITE_STAGE_SERIAL: return &writer->serial_waiting;
	case PL_WRITE_STAGE_ASKING: return &writer->asking;
	case PL_WRITE_STAGE_LOST: return &task->loss->tasks;
	case PL_WRITE_STAGE_SENT: break;
	}
	return NULL;
}

// Takes it out of its list, or out of the statement that it is in.
static void detach(struct pl_write_task *task)
{
	if (task->in_flight) {
		if (task->slot && task->slot->in_flight == task->in_flight)
			task->slot->in_flight = NULL;
		task->in_flight->tasks[task->place] = NULL;
		task->in_flight = NULL;
	} else {
		struct pl_write_task **list = list_of(task);

		DL_DELETE(*list, task);
	}
}

// `first`: before all that came later than it.
static void attach(struct pl_write_task *task, enum pl_write_stage stage, bool first)
{
	struct pl_write_task **list;

	task->stage = stage;
	list = list_of(task);
	if (!first) {
		DL_APPEND(*list, task);
	} else { // usually at the head
		struct pl_write_task *at = *list;

		while (at && at->number < task->number)
			at = at->next;
		DL_PREPEND_ELEM(*list, at, task);
	}
}

static void hold(struct pl_write_task *task, bool held)
{
	if (task->slot && task->holds != held) {
		task->holds = held;
		task->slot->busy += held ? 1 : -1;
	}
}

void pl_write_task_move(struct pl_write_task *task, enum pl_write_stage stage, bool first)
{
	detach(task);
	if (stage == PL_WRITE_STAGE_WAITING)
		hold(task, false);
	attach(task, stage, first);
}

void pl_write_task_send(struct pl_write_task *task, struct pl_in_flight_statement *in_flight)
{
	detach(task);
	hold(task, true);
	if (task->slot)
		task->slot->in_flight = in_flight;
	task->stage = PL_WRITE_STAGE_SENT;
	pl_in_flight_statement_add(in_flight, task);
}

void pl_write_task_ask(struct pl_write_task *task, struct pl_in_flight_statement *in_flight)
{
	detach(task);
	pl_in_flight_statement_add(in_flight, task); // still ASKING: the question writes nothing
}

void pl_write_task_lose(struct pl_write_task *task, struct pl_loss *loss)
{
	detach(task);
	task->loss = loss;
	task->lost = true;
	attach(task, PL_WRITE_STAGE_LOST, false);
}

// ---- slots and requests

static void slot_take(struct pl_write_task *task)
{
	struct pl_shared_writer *writer = task->writer;
	struct pl_slot_key key;

	memset(&key, 0, sizeof(key)); // its bytes are hashed, padding included
	key.statement_set = task->statement_set;
	key.id = task->write->id;
	HASH_FIND(hh, writer->slots, &key, sizeof(key), task->slot);
	if (!task->slot) {
		task->slot = pl_calloc(1, sizeof(*task->slot));
		memcpy(&task->slot->key, &key, sizeof(key));
		HASH_ADD(hh, writer->slots, key, sizeof(key), task->slot);
	}
	task->slot->users++;
}

static void slot_leave(struct pl_write_task *task)
{
	struct pl_slot *slot = task->slot;

	hold(task, false);
	task->slot = NULL;
	if (!slot || --slot->users > 0)
		return;
	HASH_DEL(task->writer->slots, slot);
	free(slot);
}

static const char *request_key(struct pl_arena *arena, const char *principal, const char *request_id,
                               unsigned *len_r)
{
	size_t a = principal ? strlen(principal) : 0, b = strlen(request_id);
	char *key = pl_arena_alloc(arena, a + 1 + b + 1);

	memcpy(key, principal ? principal : "", a);
	memcpy(key + a + 1, request_id, b);
	*len_r = (unsigned)(a + 1 + b);
	return key;
}

bool pl_write_task_is_running(struct pl_shared_writer *writer, struct pl_arena *arena, const char *principal,
                              const char *request_id)
{
	unsigned len;
	const char *key = request_key(arena, principal, request_id, &len);

	return pl_running_ids_has(writer->running, key, len);
}

// False: another execution of the request is running.
static bool request_take(struct pl_write_task *task)
{
	struct pl_write *write = task->write;

	if (!write->request_id || !write->request_id[0])
		return true;
	task->request.key =
		request_key(write->arena, write->principal, write->request_id, &task->request.len);
	if (pl_running_ids_enter(task->writer->running, &task->request))
		return true;
	task->request.key = NULL;
	return false;
}

// ---- beginning

bool pl_write_task_new(struct pl_shared_writer *writer, struct pl_write *write)
{
	struct pl_write_task *task = pl_arena_alloc(write->arena, sizeof(*task));

	task->writer = writer;
	task->write = write;
	write->task = task;
	return request_take(task);
}

static void begin(struct pl_write_task *task)
{
	struct pl_shared_writer *writer = task->writer;
	struct pl_write *write = task->write;

	task->number = ++writer->came;
	task->statement_set = pl_statement_set_get(&writer->db, write->resource);
	task->statement_set->users++;
	if (write->id != 0 || write->op != PL_WRITE_CREATE)
		slot_take(task);
	pl_guard_of_write(&task->guard, write->arena, write);
	// The random part distinguishes executions of one request in the same
	// microsecond.
	task->expires_us = pl_now_us() + write->ttl_us + (int64_t)pl_random_below(1000);
	task->limit = INT32_MAX;
	DL_APPEND2(writer->all, task, prev_all, next_all);
	writer->ntasks++;
	// A request that was answered before is answered as it was then, so the refusal
	// comes after the question.
	task->refused = pl_table_gate_is_closed(writer->tables, write->resource->name, NULL);
	attach(task, task->refused ? PL_WRITE_STAGE_ASKING : PL_WRITE_STAGE_WAITING, false);
	pl_database_wait(&writer->db, writer->batch_conns[0].conn, write->deadline_us);
}

// Back to the worker that it came from.
static void give_back(struct pl_write_task *task, enum pl_outcome outcome)
{
	if (task->request.key)
		pl_running_ids_leave(task->writer->running, &task->request);
	task->write->outcome = outcome;
	pl_post_write(&task->write->client->back, task->write);
}

void pl_write_task_begin(struct pl_shared_writer *writer, struct pl_write *write)
{
	if (writer->ntasks < pl_shared_writer_queue_max(writer)) {
		begin(write->task);
		return;
	}
	pl_error_set(&write->err, PL_EBUSY, "too many writes are waiting; nothing was written");
	write->err.retryable = true;
	give_back(write->task, PL_OUTCOME_FAILED);
}

// ---- ending

void pl_write_task_outcome(struct pl_write_task *task, enum pl_outcome outcome)
{
	struct pl_shared_writer *writer = task->writer;

	detach(task);
	slot_leave(task);
	task->statement_set->users--;
	DL_DELETE2(writer->all, task, prev_all, next_all);
	writer->ntasks--;
	give_back(task, outcome);
}

void pl_write_task_done(struct pl_write_task *task, struct pl_record *record)
{
	record->deleted = task->write->op == PL_WRITE_DELETE;
	task->write->record = record;
	pl_write_task_outcome(task, PL_OUTCOME_DONE);
}

void pl_write_task_fail(struct pl_write_task *task, int code, const char *fmt, ...)
{
	va_list ap;
	char text[PL_ERROR_TEXT_MAX];

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	pl_error_set(&task->write->err, code, "%s", text);
	task->write->err.retryable = code == PL_EUNAVAIL || code == PL_ETIMEOUT || code == PL_EBUSY ||
	                             code == PL_ESTOPPED || code == PL_ECONFLICT;
	if (code == PL_EUNKNOWN)
		task->writer->stats.unknown++;
	pl_write_task_outcome(task, PL_OUTCOME_FAILED);
}

void pl_write_task_refuse(struct pl_write_task *task, const struct pl_error *err)
{
	task->write->err = *err;
	switch (err->code) {
	case PL_EINVAL: pl_write_task_outcome(task, PL_OUTCOME_REFUSED); break;
	case PL_ETIMEOUT:
	case PL_EUNAVAIL: pl_write_task_outcome(task, PL_OUTCOME_FAILED); break;
	default: task->write->err.code = PL_EINTERNAL; pl_write_task_outcome(task, PL_OUTCOME_FAILED);
	}
}

void pl_write_task_unshown(struct pl_write_task *task, const struct pl_error *why)
{
	task->write->written = true;
	pl_write_task_fail(task, PL_EINTERNAL, "%s", why->text);
}

// The worker that took the result counts the writes. The relay is woken when the results
// have been delivered: see pl_writer_client_deliver.
void pl_write_task_committed(struct pl_shared_writer *writer, int writes)
{
	const struct pl_writer_client *inside = writer->inside;

	if (inside && inside->committed)
		inside->committed(writes, inside->arg);
}

static void stop(struct pl_write_task *task)
{
	if (task->lost || task->stage == PL_WRITE_STAGE_SENT)
		pl_write_task_fail(task, PL_EUNKNOWN, PL_STOPPED_TEXT);
	else
		pl_write_task_fail(task, PL_ESTOPPED, "the server is stopping; nothing was written");
}

void pl_write_task_leave(struct pl_shared_writer *writer, const struct pl_writer_client *client)
{
	struct pl_write_task *task, *next;

	DL_FOREACH_SAFE2 (writer->all, task, next, next_all)
		if (task->write->client == client)
			stop(task);
}
