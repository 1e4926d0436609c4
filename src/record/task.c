// A write on its way through the store: from pl_store_write to its `done`.
//
// Stands around record/batch, which says what happens to it; here is only the book-keeping: which list it is in, which record it
// holds.
// Invariants: every task but a finished one is in `all`; its request id is among the running ones exactly as long; a slot lives as long as a task
// names it. What is finished is answered by pl_task_deliver and by nothing else.
// Threads: belongs to the store's worker.
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/backoff.h"
#include "record/parts.h"

static struct pl_task **list_of(const struct pl_task *task)
{
	struct pl_store *store = task->store;

	switch (task->stage) {
	case PL_STAGE_WAITING:
		return &store->waiting;
	case PL_STAGE_LATER:
		return &store->later;
	case PL_STAGE_CAREFUL:
		return &store->careful_waiting;
	case PL_STAGE_ASKING:
		return &store->asking;
	case PL_STAGE_LOST:
		return &task->loss->tasks;
	case PL_STAGE_FINISHED:
		return &store->finished;
	case PL_STAGE_SENT:
		break;
	}
	return NULL;
}

// Out of the list it is in, or of the lane it is in flight on.
static void detach(struct pl_task *task)
{
	if (task->lane) {
		if (task->slot && task->slot->lane == task->lane)
			task->slot->lane = NULL;
		task->lane->tasks[task->place] = NULL;
		task->lane = NULL;
	} else {
		struct pl_task **list = list_of(task);

		DL_DELETE(*list, task);
	}
}

// `first`: where it has been, before those that came later.
static void attach(struct pl_task *task, enum pl_stage stage, bool first)
{
	struct pl_task **list;

	task->stage = stage;
	list = list_of(task);
	if (!first) {
		DL_APPEND(*list, task);
	} else { // mostly at the head
		struct pl_task *at = *list;

		while (at && at->number < task->number)
			at = at->next;
		DL_PREPEND_ELEM(*list, at, task);
	}
}

static void hold(struct pl_task *task, bool held)
{
	if (task->slot && task->holds != held) {
		task->holds = held;
		task->slot->busy += held ? 1 : -1;
	}
}

void pl_task_move(struct pl_task *task, enum pl_stage stage, bool first)
{
	detach(task);
	if (stage == PL_STAGE_WAITING)
		hold(task, false);
	attach(task, stage, first);
}

void pl_task_send(struct pl_task *task, struct pl_lane *lane)
{
	detach(task);
	hold(task, true);
	if (task->slot)
		task->slot->lane = lane;
	task->stage = PL_STAGE_SENT;
	task->lane = lane;
	task->place = lane->n;
	*pl_lane_room(lane) = task;
}

void pl_task_ask(struct pl_task *task, struct pl_lane *lane)
{
	detach(task);
	task->lane = lane; // and still ASKING: it is in no doubt because of this
	task->place = lane->n;
	*pl_lane_room(lane) = task;
}

void pl_task_lose(struct pl_task *task, struct pl_loss *loss)
{
	detach(task);
	task->loss = loss;
	task->lost = true;
	attach(task, PL_STAGE_LOST, false);
}

// ---- slots and requests

static void slot_take(struct pl_task *task)
{
	struct pl_store *store = task->store;
	struct pl_slot_key key;

	memset(&key, 0, sizeof key); // the hash is of its bytes
	key.shape = task->shape;
	key.id = task->write->id;
	HASH_FIND(hh, store->slots, &key, sizeof key, task->slot);
	if (!task->slot) {
		task->slot = pl_calloc(1, sizeof *task->slot);
		memcpy(&task->slot->key, &key, sizeof key);
		HASH_ADD(hh, store->slots, key, sizeof key, task->slot);
	}
	task->slot->users++;
}

static void slot_leave(struct pl_task *task)
{
	struct pl_slot *slot = task->slot;

	hold(task, false);
	task->slot = NULL;
	if (!slot || --slot->users > 0)
		return;
	HASH_DEL(task->store->slots, slot);
	free(slot);
}

static const char *request_key(struct pl_arena *arena, const char *principal, const char *request_id, unsigned *len_r)
{
	size_t a = principal ? strlen(principal) : 0, b = strlen(request_id);
	char *key = pl_arena_alloc(arena, a + 1 + b + 1);

	memcpy(key, principal ? principal : "", a);
	memcpy(key + a + 1, request_id, b);
	*len_r = (unsigned)(a + 1 + b);
	return key;
}

bool pl_task_running(struct pl_store *store, struct pl_arena *arena, const char *principal, const char *request_id)
{
	unsigned len;
	const char *key = request_key(arena, principal, request_id, &len);

	return pl_running_has(store->running, key, len);
}

// False: another execution of it is running.
static bool request_take(struct pl_task *task)
{
	struct pl_write *write = task->write;

	if (!write->request_id || !write->request_id[0])
		return true;
	task->request.key = request_key(write->arena, write->principal, write->request_id, &task->request.len);
	if (pl_running_enter(task->store->running, &task->request))
		return true;
	task->request.key = NULL;
	return false;
}

// ---- beginning

static void begin(struct pl_task *task)
{
	struct pl_store *store = task->store;
	struct pl_write *write = task->write;

	task->number = ++store->came;
	task->shape = pl_shape_get(store, write->resource);
	task->shape->users++;
	if (write->id != 0 || write->op != PL_WRITE_CREATE)
		slot_take(task);
	// The random part tells executions of one request in the same microsecond apart.
	task->expires_us = pl_now_us() + write->ttl_us + (int64_t)pl_rand_below(1000);
	task->limit = INT32_MAX;
	DL_APPEND2(store->all, task, prev_all, next_all);
	store->ntasks++;
	attach(task, PL_STAGE_WAITING, false);
	pl_store_wait(store, store->writers[0].conn, write->deadline_us);
}

// Answered before it began.
static void turn_away(struct pl_task *task, enum pl_outcome outcome, int code, const char *why)
{
	task->write->outcome = outcome;
	if (code) {
		pl_error_set(&task->write->err, code, "%s", why);
		task->write->err.retryable = true;
	}
	attach(task, PL_STAGE_FINISHED, false);
}

void pl_store_write(struct pl_store *store, struct pl_write *write)
{
	struct pl_task *task;

	if (store->door && !store->stopping) {
		pl_door_write(store->door, write);
		return;
	}
	task = pl_arena_alloc(write->arena, sizeof *task);
	task->store = store;
	task->write = write;
	write->task = task;
	write->record = NULL;
	memset(&write->err, 0, sizeof write->err);
	if (store->stopping)
		turn_away(task, PL_OUTCOME_FAILED, PL_ESTOPPED, "the server is stopping; nothing was written");
	else if (store->ntasks >= pl_store_queue_max(store))
		turn_away(task, PL_OUTCOME_FAILED, PL_EBUSY, "too many writes are waiting; nothing was written");
	else if (!request_take(task))
		turn_away(task, PL_OUTCOME_RUNNING, 0, NULL);
	else
		begin(task);
}

// ---- ending

void pl_task_outcome(struct pl_task *task, enum pl_outcome outcome)
{
	struct pl_store *store = task->store;

	detach(task);
	task->write->outcome = outcome;
	if (task->request.key)
		pl_running_leave(store->running, &task->request);
	slot_leave(task);
	task->shape->users--;
	DL_DELETE2(store->all, task, prev_all, next_all);
	store->ntasks--;
	attach(task, PL_STAGE_FINISHED, false);
}

void pl_task_done(struct pl_task *task, struct pl_record *record)
{
	record->deleted = task->write->op == PL_WRITE_DELETE;
	task->write->record = record;
	pl_task_outcome(task, PL_OUTCOME_DONE);
}

void pl_task_fail(struct pl_task *task, int code, const char *fmt, ...)
{
	va_list ap;
	char text[PL_ERROR_TEXT_MAX];

	va_start(ap, fmt);
	vsnprintf(text, sizeof text, fmt, ap);
	va_end(ap);
	pl_error_set(&task->write->err, code, "%s", text);
	task->write->err.retryable = code == PL_EUNAVAIL || code == PL_ETIMEOUT || code == PL_EBUSY || code == PL_ESTOPPED;
	if (code == PL_EUNKNOWN)
		task->store->stats.unknown++;
	pl_task_outcome(task, PL_OUTCOME_FAILED);
}

bool pl_task_deliver(struct pl_store *store)
{
	struct pl_task *task;
	bool any = store->finished != NULL;

	while ((task = store->finished)) {
		struct pl_write *write = task->write;

		DL_DELETE(store->finished, task);
		if (write->door)
			pl_door_give_write(write);
		else
			write->done(write, write->arg); // the task is gone with the write's arena
	}
	return any;
}

static void stop(struct pl_task *task)
{
	bool unknown = task->lost || task->stage == PL_STAGE_SENT;

	pl_task_fail(task, unknown ? PL_EUNKNOWN : PL_ESTOPPED, unknown ? "stopped before it was known whether it had been written"
	                                                                : "the server is stopping; nothing was written");
}

// What was sent has been answered by the end of its connection.
void pl_task_stop(struct pl_store *store)
{
	while (store->all)
		stop(store->all);
}

void pl_task_leave(struct pl_store *store, const struct pl_door *door)
{
	struct pl_task *task, *next;

	DL_FOREACH_SAFE2(store->all, task, next, next_all)
		if (task->write->door == door)
			stop(task);
}
