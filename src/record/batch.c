// Batches: how many writes become one statement, one transaction, one round trip; and how each keeps its own outcome.
//
// Stands between the handlers' records.create/update/delete (pl_store_write, in task.c) and a database connection. Of the store's files this is
// the one to read. The SQL is in statement.c, the questions asked afterwards in idempotency.c.
//
// What a batch is
// ---------------
// Up to `database.batch` waiting writes of one resource: creates, updates and deletes alike. One statement looks each of them up among
// the remembered requests, checks its lock, writes the record, the outbox's row and the remembered request, and answers with the records
// it wrote. Nobody says BEGIN or COMMIT: the statement is the transaction. A batch of one takes a statement made for one.
//
// Two writes of one record are never in one statement, nor two requests with one id: the second write waits (pl_slot), the second
// request is told that the first is running. So within a statement the order of rows means nothing, and they are sorted by id.
//
// Layers
// ------
// A hot record, one for which four or more writes are there, would get one write for each transaction, and all its writers would wait for as many
// commits. So the next writes of the hot records of a batch follow it as statements of their own, layer upon layer, in the same transaction: each
// sees the rows as the layer below has left them, and has its own outcome; the commit is one. Layers take no lock that the first one has not
// taken: they hold writes of its records alone. Writes that lock a version are not stacked, nor is anything on top of them: of several all but one
// would be in vain, and who is refused is told of the record as it was when it was his turn. The writes of a record keep their order.
//
// When a layer fails, PostgreSQL undoes them all, and they go back to their places in the queue, never to be stacked again.
//
// When it is cut
// --------------
// By itself: whenever a connection for writes is idle and something waits, at the end of a turn of the loop. While a batch is at the
// database, what arrives waits and is the next batch. No timer, nothing to tune: one writer alone is never held up to wait for others,
// and under load the batches grow until the database is fast enough.
//
// What happens to each row
// ------------------------
// The statement's answer has a row for each write that was done: PL_OUTCOME_DONE, and it is committed when we hear of it (db/conn holds
// the answer back until then). A write without a row was not done, and nothing of it was written. Why, is not the statement's business:
// a reading statement (PL_STATEMENT_ASK) tells it from one snapshot, in the order in which a client is to be told: remembered, reused,
// not found, exists, version, entity tag, unlocked. It runs beside the next batch. So what is refused costs the others nothing, and a
// refusal never mixes an old look at the remembered requests with a new look at the row.
//
// A write that waits for a record while another is done to it, and whose lock names an older version or tag, goes straight to that question, with
// all others of its kind: on a hot record these are nearly all, and each alone would cost a statement to be refused.
//
// When ASK finds that nothing stands in the way, whoever was at the row is mostly gone: a write of an ordinary row goes with another batch,
// at its head, twice at most. Then, and all others at once, it is done "carefully" (PL_STATEMENT_CAREFUL): alone, on a connection of its own,
// waiting for the row's lock. There they queue for each other, so what needs no more than another try is kept away: a write that met another
// connection's waited thirteen times as long as the rest. Careful is for
//
// - Rows that someone else is at, and stays. The batch takes only rows whose xmax says that no other transaction has locked or changed them: it is
//   0; or left by the very transaction that made the row version, which locked it first; or of a transaction that is over, being older
//   than all that run (it was undone, or only locked; had it changed the row, we would see another version). So a batch never waits for
//   a row's lock, except for the microseconds between its look at a row and its hand on it; a record that some session holds for a minute
//   holds up nothing but the writes of that record. Two batches cannot deadlock over more than that window, and in it both go by
//   ascending id.
// - Records with siblings (the write replaces them all and closes their conflict) and creates over a tombstone (the write continues its
//   vector). Ordinary rows pay for neither more than a look at two columns of a row in hand.
// - A row that changed between the batch and the question. A write that is told so eight times is given up: PL_EBUSY.
//
// READ COMMITTED, and what it could spoil
// ---------------------------------------
// A statement sees the rows of its snapshot; when it comes to change one that was changed since, PostgreSQL takes the newest version
// and tests the WHERE clause again with it (EvalPlanQual). All that decides about a row therefore stands in the UPDATE's WHERE
// and SET and speaks of the row itself (p.version, p.vector), never of a copy read before.
//
// The look at processed_requests is of the snapshot, also then. Another worker may have done the same request since, or may
// be about to. Then either the write is not done, the row being another one, and ASK, with a later snapshot, says "remembered"; or it is
// done a second time and the insert into processed_requests meets the first one's row: a unique violation, the whole transaction is
// undone, the batch runs again with a later snapshot, and ASK says "remembered".
//
// Two creates of one id, here and elsewhere: ON CONFLICT DO NOTHING waits for the other's commit, does nothing, and ASK finds the record.
// An id that the sequence gave and that someone has taken: the create goes back to the queue and draws the next.
//
// Siblings are counted by a flag on the row but stand in a table of their own. The careful statement deletes them in a
// volatile function, whose snapshot is made after the row's lock was granted; with the statement's own, a sibling that the applier added
// while we waited for the lock would survive the write that replaced it.
//
// The outbox's row is inserted after the record's row was changed, that is, with its lock held until the commit. So the outbox ids of one
// record are in the order of its versions, which is what the relay publishes by.
//
// When something fails
// --------------------
//	a layer                           the others run again, each in a batch of its own; it as below
//	one row breaks a constraint,      the whole statement is undone. The batch runs again in halves, each half that fails in
//	a type, a time limit              halves again, until the row is alone: PL_OUTCOME_REFUSED for it (PL_ETIMEOUT for a limit);
//	                                  the others are done. 2 log n statements instead of n.
//	deadlock, serialization           nothing was written; again, after a moment of random length; five times, then PL_EUNAVAIL
//	same request done elsewhere       (unique violation on processed_requests) again at once; ASK will find it
//	statement is wrong (class 42)     PL_EINTERNAL for all: a table is missing, not a row wrong
//	shutting down, disk full, …       PL_EUNAVAIL for all; nothing was written
//	connection lost                   nobody knows. The old backend may still be at it: first we ask, over another connection, whether that
//	                                  process (pid and start time) is gone, and end it when it is not soon; then ASK whether the request is
//	                                  remembered with our mark (expires_at). It is: DONE after all. It is not: nothing was written,
//	                                  and the write runs again, once. Until then it is PL_EUNKNOWN if the deadline passes.
//	no connection                     writes wait for `connect_timeout`, then PL_EUNAVAIL
//	the deadline passes               before sending: PL_ETIMEOUT, nothing was written. Sent: PL_EUNKNOWN; the batch goes on without it
//	too many waiting (http.queue)     PL_EBUSY
//	the store is freed                PL_ESTOPPED before sending, PL_EUNKNOWN after
//
// Each write is answered exactly once, from pl_store_turn or pl_store_free, never from within another call.
//
// Invariants: a task is in exactly one stage's list, or in flight on one lane; its slot is busy from being sent until it is finished or
// waits again.
// Threads: belongs to the store's worker.
#include <stdlib.h>
#include <string.h>

#include "base/backoff.h"
#include "base/log.h"
#include "record/parts.h"

#define TRIES_MAX 5 // deadlocks
#define HOT_AT 4    // writes of one record. Two or three meet by chance, and a statement for one of them would cost more than its waiting

// ---- cutting

void pl_lane_init(struct pl_lane *lane, struct pl_store *store, struct pl_conn *conn, bool stacked)
{
	lane->store = store;
	lane->conn = conn;
	lane->stacked = stacked;
}

// Room for one more than before, so that a larger database.batch may come with a reload.
struct pl_task **pl_lane_room(struct pl_lane *lane)
{
	if (lane->n == lane->room) {
		lane->room = lane->room ? 2 * lane->room : 64;
		lane->tasks = pl_realloc(lane->tasks, (size_t)lane->room * sizeof lane->tasks[0]);
	}
	return &lane->tasks[lane->n++];
}

void pl_lane_fini(struct pl_lane *lane)
{
	pl_params_fini(&lane->params);
	free(lane->tasks);
	lane->tasks = NULL;
}

static int64_t flags_of(const struct pl_write *write)
{
	bool create = write->op == PL_WRITE_CREATE;
	bool locked = write->has_version || write->has_etag || write->etag_never;
	int64_t flags = (int64_t)write->op;

	for (int i = 0; i < write->resource->nfields; i++)
		if (create || (write->op == PL_WRITE_UPDATE && write->changes.set[i]))
			flags |= PL_FLAG_FIELD(i);
	if (!create && write->etag_never)
		flags |= PL_FLAG_ETAG_NEVER;
	if (!create && !locked && write->lock == PL_LOCK_REQUIRED)
		flags |= PL_FLAG_UNLOCKED;
	return flags;
}

static void lock_params(struct pl_params *params, const struct pl_write *write)
{
	bool create = write->op == PL_WRITE_CREATE;
	struct pl_buf text = { 0 };

	if (!create && write->has_version)
		pl_params_int32(params, PL_PARAM_VERSION, write->version);
	else
		pl_params_null(params, PL_PARAM_VERSION);
	if (!create && write->has_etag && !write->etag_any && !write->etag_never)
		pl_vector_print(&text, &write->etag);
	pl_params_text(params, PL_PARAM_ETAG, text.data);
	pl_buf_fini(&text);
}

// One row of the statement's parameters.
void pl_task_params(struct pl_params *params, const struct pl_task *task)
{
	const struct pl_write *write = task->write;
	bool create = write->op == PL_WRITE_CREATE;

	pl_params_int64(params, PL_PARAM_ID, write->id);
	pl_params_int64(params, PL_PARAM_FLAGS, flags_of(write));
	lock_params(params, write);
	pl_params_text(params, PL_PARAM_REQUEST_ID, write->request_id ? write->request_id : "");
	pl_params_text(params, PL_PARAM_PRINCIPAL, write->principal && write->principal[0] ? write->principal : NULL);
	pl_params_bytes(params, PL_PARAM_FINGERPRINT, write->fingerprint, PL_SHA256_SIZE);
	pl_params_time(params, PL_PARAM_EXPIRES, task->expires_us);
	pl_params_text(params, PL_PARAM_PREFIX, create ? (write->region_prefix ? write->region_prefix : task->store->region->name) : NULL);
	pl_params_text(params, PL_PARAM_TRACEPARENT, write->traceparent);
	for (int i = 0; i < write->resource->nfields; i++)
		pl_params_field(params, i, write->op != PL_WRITE_DELETE && write->changes.set[i] ? write->changes.values[i] : NULL);
	pl_params_row(params);
}

static int by_id(const void *a, const void *b)
{
	int64_t x = (*(struct pl_task *const *)a)->write->id, y = (*(struct pl_task *const *)b)->write->id;

	return (x > y) - (x < y);
}

// Whether it is done whatever was done to the record before it.
static bool locks_nothing(const struct pl_write *write)
{
	if (write->op == PL_WRITE_CREATE || write->has_version || write->etag_never)
		return false;
	return write->has_etag ? write->etag_any : write->lock != PL_LOCK_REQUIRED;
}

// Whether it may stand in a layer that has another one above or below.
static bool may_be_stacked(const struct pl_task *task)
{
	return task->slot && task->slot->users >= HOT_AT && !task->alone && locks_nothing(task->write);
}

// Whether the task, the first of those that wait for its record, may be in a layer above `below`; NULL: in the first one.
static bool may_be_above(struct pl_task *task, const struct pl_lane *below)
{
	if (!below)
		return !task->slot || task->slot->busy == 0;
	if (!task->slot || task->slot->lane != below)
		return false;
	if (may_be_stacked(task))
		return true;
	task->slot->lane = NULL; // and those behind it keep their places
	return false;
}

// Takes what may run together off the queue: of one resource, no record twice, no more than any of them may be in.
static void take(struct pl_store *store, struct pl_lane *lane, const struct pl_lane *below)
{
	int room = store->config->database.batch;
	struct pl_task *task, *next;
	struct pl_shape *shape = NULL;

	DL_FOREACH_SAFE(store->waiting, task, next) {
		if (!may_be_above(task, below) || (shape && task->shape != shape))
			continue;
		shape = task->shape;
		if (task->limit < room)
			room = task->limit > lane->n ? task->limit : lane->n;
		if (lane->n >= room)
			break;
		pl_task_send(task, lane);
	}
	if (lane->n > 1)
		qsort(lane->tasks, (size_t)lane->n, sizeof lane->tasks[0], by_id);
	for (int i = 0; i < lane->n; i++)
		lane->tasks[i]->place = i;
}

static enum pl_statement_kind kind_of(const struct pl_lane *lane)
{
	int creates = 0;

	for (int i = 0; i < lane->n; i++)
		creates += lane->tasks[i]->write->op == PL_WRITE_CREATE;
	if (creates == 0)
		return lane->n > 1 ? PL_STATEMENT_CHANGE_BATCH : PL_STATEMENT_CHANGE_ONE;
	if (creates == lane->n)
		return lane->n > 1 ? PL_STATEMENT_CREATE_BATCH : PL_STATEMENT_CREATE_ONE;
	return PL_STATEMENT_MIXED_BATCH;
}

static void answered(void *arg, PGresult *result, const struct pl_error *err);

static void send(struct pl_lane *lane, enum pl_statement_kind kind)
{
	const struct pl_shape *shape = lane->tasks[0]->shape;
	struct pl_conn_params params;
	struct pl_error err;

	pl_params_begin(&lane->params, &shape->resource);
	for (int i = 0; i < lane->n; i++)
		pl_task_params(&lane->params, lane->tasks[i]);
	params = kind == PL_STATEMENT_CHANGE_BATCH || kind == PL_STATEMENT_CREATE_BATCH || kind == PL_STATEMENT_MIXED_BATCH ?
	         pl_params_batch(&lane->params) : pl_params_one(&lane->params);
	lane->store->sent++;
	if (pl_conn_send(lane->conn, shape->names[kind], &params, answered, lane, &err) == 0)
		return;
	while (lane->n > 0) { // nothing was sent
		struct pl_task *task = lane->tasks[lane->n - 1];

		pl_task_move(task, kind == PL_STATEMENT_CAREFUL ? PL_STAGE_CAREFUL : PL_STAGE_WAITING, true);
		if (err.code != PL_EUNAVAIL)
			pl_task_fail(task, PL_EINTERNAL, "%s", err.text);
		lane->n--;
	}
}

static void cut_careful(struct pl_store *store)
{
	struct pl_lane *lane = &store->careful;

	if (!store->careful_waiting || lane->n > 0)
		return;
	if (!lane->conn) {
		lane->conn = pl_store_connect(store, "careful", false, pl_statement_pinned_plans);
		pl_shapes_prepare(store, lane->conn, PL_STATEMENT_CAREFUL, PL_STATEMENT_CAREFUL);
	}
	if (!pl_conn_up(lane->conn))
		return;
	pl_task_send(store->careful_waiting, lane);
	send(lane, PL_STATEMENT_CAREFUL);
}

static bool is_idle(const struct pl_writer *writer)
{
	for (int k = 0; k < PL_LAYERS_MAX; k++)
		if (writer->layers[k].n > 0)
			return false;
	return true;
}

// Whether there may be a layer above; of which records.
static bool mark_hot(const struct pl_lane *lane)
{
	bool any = false;

	for (int i = 0; i < lane->n; i++) {
		struct pl_task *task = lane->tasks[i];

		if (may_be_stacked(task))
			any = true;
		else if (task->slot)
			task->slot->lane = NULL;
	}
	return any;
}

// Returns how many layers there are.
static int take_layers(struct pl_store *store, struct pl_writer *writer)
{
	int n = 0;

	do {
		take(store, &writer->layers[n], n > 0 ? &writer->layers[n - 1] : NULL);
	} while (writer->layers[n].n > 0 && ++n < PL_LAYERS_MAX && store->waiting && mark_hot(&writer->layers[n - 1]));
	return n;
}

void pl_batch_cut(struct pl_store *store)
{
	for (int i = 0; i < store->nwriters && store->waiting; i++) {
		struct pl_writer *writer = &store->writers[i];
		int n;

		if (!is_idle(writer) || !pl_conn_up(writer->conn))
			continue;
		n = take_layers(store, writer);
		if (n > 1)
			pl_conn_begin(writer->conn);
		for (int k = 0; k < n; k++)
			send(&writer->layers[k], kind_of(&writer->layers[k]));
		if (n > 1)
			pl_conn_commit(writer->conn);
	}
	cut_careful(store);
}

// ---- the answer

// Whether the lock that the write asks for cannot hold on the record any more. One on a version to come may yet: who waits before it may make it.
static bool overtaken(const struct pl_write *write, const struct pl_record *record)
{
	if (write->op == PL_WRITE_CREATE)
		return false;
	return (write->has_version && write->version < record->version) ||
	       (write->has_etag && !write->etag_any && pl_vector_le(&write->etag, &record->vector) && !pl_vector_equal(&write->etag, &record->vector));
}

static void ask_the_overtaken(const struct pl_task *done, const struct pl_record *record)
{
	struct pl_store *store = done->store;
	struct pl_task *task, *next;

	if (!done->slot || done->slot->users == 1)
		return;
	DL_FOREACH_SAFE(store->waiting, task, next) {
		if (task->slot == done->slot && !task->lost && overtaken(task->write, record))
			pl_task_move(task, PL_STAGE_ASKING, false);
	}
}

// The rows are the writes that were done.
static void take_rows(struct pl_lane *lane, const PGresult *result)
{
	for (int i = 0; i < PQntuples(result); i++) {
		int place = atoi(PQgetvalue(result, i, PL_DONE_N)) - 1;
		struct pl_task *task = place >= 0 && place < lane->n ? lane->tasks[place] : NULL;
		struct pl_record *record;
		struct pl_error err;

		if (!task)
			continue; // its deadline has passed
		if (pl_record_scan(task->write->arena, task->write->resource, PQgetvalue(result, i, PL_DONE_VALUE),
		                   PQgetvalue(result, i, PL_DONE_VECTOR), &record, &err) == 0) {
			ask_the_overtaken(task, record);
			pl_task_done(task, record);
		} else {
			pl_task_fail(task, PL_EUNKNOWN, "it was written, but %s", err.text);
		}
	}
}

static void succeeded(struct pl_lane *lane, const PGresult *result)
{
	struct pl_store *store = lane->store;

	store->stats.batches++;
	store->stats.single += lane->n == 1;
	store->stats.writes += (uint64_t)PQntuples(result);
	store->stats.stacked += lane->stacked ? (uint64_t)PQntuples(result) : 0;
	take_rows(lane, result);
	for (int i = 0; i < lane->n; i++)
		if (lane->tasks[i])
			pl_task_move(lane->tasks[i], PL_STAGE_ASKING, false);
	if (PQntuples(result) > 0 && store->committed)
		store->committed(PQntuples(result), store->arg);
}

// What an error means for the batch it came from.
enum verdict { AGAIN, AGAIN_SOON, HALVES, ALL_FAIL };

static enum verdict judge(const PGresult *result, const struct pl_error *err)
{
	const char *table = PQresultErrorField(result, PG_DIAG_TABLE_NAME);

	if (strcmp(err->sqlstate, "40000") == 0)
		return AGAIN; // another layer failed
	if (strcmp(err->sqlstate, "40001") == 0 || strcmp(err->sqlstate, "40P01") == 0)
		return AGAIN_SOON;
	if (strcmp(err->sqlstate, "23505") == 0 && table && strcmp(table, "processed_requests") == 0)
		return AGAIN;
	if (err->code == PL_EUNAVAIL || strncmp(err->sqlstate, "42", 2) == 0)
		return ALL_FAIL;
	return HALVES;
}

// The write is alone to blame.
static void refuse(struct pl_task *task, const struct pl_error *err)
{
	task->write->err = *err;
	switch (err->code) {
	case PL_EINVAL:
		pl_task_outcome(task, PL_OUTCOME_REFUSED);
		break;
	case PL_ETIMEOUT:
	case PL_EUNAVAIL:
		pl_task_outcome(task, PL_OUTCOME_FAILED);
		break;
	default:
		task->write->err.code = PL_EINTERNAL;
		pl_task_outcome(task, PL_OUTCOME_FAILED);
	}
}

static void again_soon(struct pl_task *task, const struct pl_error *err)
{
	task->store->stats.deadlocks++;
	if (++task->tries > TRIES_MAX) {
		pl_task_fail(task, PL_EUNAVAIL, "given up after %d attempts: %s", TRIES_MAX, err->text);
		return;
	}
	task->not_before_us = pl_mono_us() + 1000 + (int64_t)pl_rand_below(5000u << task->tries);
	pl_store_wake_at(task->store, task->not_before_us);
	pl_task_move(task, PL_STAGE_LATER, false);
}

static void failed(struct pl_lane *lane, const PGresult *result, const struct pl_error *err)
{
	enum verdict verdict = judge(result, err);
	enum pl_stage queue = lane == &lane->store->careful ? PL_STAGE_CAREFUL : PL_STAGE_WAITING;
	int n = lane->n;

	if (verdict == ALL_FAIL || n > 1)
		pl_debug("store: a batch of %d writes failed: %s", n, err->text);
	lane->store->stats.retried += verdict != ALL_FAIL && (verdict != HALVES || n > 1) ? (uint64_t)n : 0;
	for (int i = n - 1; i >= 0; i--) { // from the last, so that they stand in order at the head of their queue
		struct pl_task *task = lane->tasks[i];

		if (!task)
			continue;
		task->alone = true;
		if (verdict == ALL_FAIL || (verdict == HALVES && n == 1)) {
			refuse(task, err);
		} else if (verdict == AGAIN_SOON) {
			again_soon(task, err);
		} else {
			if (verdict == HALVES)
				task->limit = (n + 1) / 2;
			pl_task_move(task, queue, true);
		}
	}
	if (strcmp(err->sqlstate, "25006") == 0) // the server became a standby: look for the one that writes
		pl_conn_drop(lane->conn, err->text);
}

static void answered(void *arg, PGresult *result, const struct pl_error *err)
{
	struct pl_lane *lane = arg;
	int n = lane->n;

	if (result && err->code == 0)
		succeeded(lane, result);
	else if (result)
		failed(lane, result, err);
	else if (err->code == PL_ESTOPPED)
		for (int i = 0; i < n; i++) {
			if (lane->tasks[i])
				pl_task_fail(lane->tasks[i], PL_EUNKNOWN, "stopped before the database answered");
		}
	else
		pl_loss_add(lane->store, lane->conn, lane->tasks, n);
	lane->n = 0;
}

// ---- time

// What waits for a connection that does not come is told so.
static void tell_away(struct pl_store *store, struct pl_task **list, struct pl_conn *conn)
{
	struct pl_error err;

	while (*list && pl_store_away(conn, store, &err) < 0)
		pl_task_fail(*list, (*list)->lost ? PL_EUNKNOWN : PL_EUNAVAIL, "%s", err.text);
}

static void past_deadline(struct pl_task *task)
{
	if (task->stage == PL_STAGE_SENT || task->stage == PL_STAGE_LOST || task->lost)
		pl_task_fail(task, PL_EUNKNOWN, "the deadline passed before the database answered");
	else
		pl_task_fail(task, PL_ETIMEOUT, "the deadline passed before it was this write's turn; nothing was written");
}

void pl_batch_due(struct pl_store *store, int64_t now_us)
{
	struct pl_task *task, *next;

	DL_FOREACH_SAFE2(store->all, task, next, next_all) {
		if (task->write->deadline_us <= now_us)
			past_deadline(task);
		else if (task->stage == PL_STAGE_LATER && task->not_before_us <= now_us)
			pl_task_move(task, PL_STAGE_WAITING, true);
		else
			pl_store_wake_at(store, task->stage == PL_STAGE_LATER ? task->not_before_us : task->write->deadline_us);
	}
	if (store->waiting) { // any of the writers will do
		int best = 0;

		for (int i = 1; i < store->nwriters; i++)
			if (pl_conn_down_us(store->writers[i].conn) < pl_conn_down_us(store->writers[best].conn))
				best = i;
		tell_away(store, &store->waiting, store->writers[best].conn);
	}
	if (store->careful.conn)
		tell_away(store, &store->careful_waiting, store->careful.conn);
	tell_away(store, &store->asking, store->readers[0]);
}
