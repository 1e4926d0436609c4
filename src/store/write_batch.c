// Batches: how many writes become one statement, one transaction and one round trip, and
// how each keeps its own outcome.
//
// Between the handlers' records.create/update/delete, which arrive as tasks
// (store/write_task.c), and a database connection. Of all files of store/ this is the one
// to read first. The SQL is in statement.c, results are in write_result.c, and the
// questions asked afterwards in write_outcome.c.
//
// What a batch is
// ---------------
// Up to `database.batch` waiting writes of one resource: creates, updates and deletes
// alike. One statement looks up each of them among the remembered requests, checks its
// lock, writes the record, the outbox row and the remembered request, and returns the
// records that it wrote. There is no BEGIN and no COMMIT: the statement is the
// transaction. A batch of one has a statement for single writes.
//
// Two writes of one record are never in one statement, nor are two requests with one id:
// the second write waits (pl_slot); the second request is answered that the first one is
// running. So the order of rows within a statement does not matter, and they are sorted
// by id.
//
// Layers
// ------
// A hot record is one with at least four writes pending. With one write of it per
// transaction, all its writers would wait for as many commits. So the next writes of a
// batch's hot records follow the batch as further statements, layer upon layer, in the
// same transaction: each layer sees the rows as the layer below left them, each has its
// own outcomes, and there is one commit. Layers contain only writes of records that are
// in the first one, so they take no further locks. Writes that lock a version are not
// stacked, nor is anything stacked on top of them: at most one of them can succeed; each
// refusal reports the record as it was at that write's turn. The writes of a record keep
// their order.
//
// When a layer fails, PostgreSQL rolls all of them back; they return to their places in
// the queue and are never stacked again.
//
// Writes that concern other records
// ---------------------------------
// A write that sets unique values, or a reference to another record, takes advisory locks
// (store/guard.h). A statement that takes the locks of all its writes precedes the batch
// in its transaction. Writes that exclude each other are never in one batch; those whose
// value a write has just taken go straight to the question. Such writes are not stacked.
//
// The plain case
// --------------
// Most single writes update an ordinary row under a version that is still the row's.
// PL_STATEMENT_CHANGE_PLAIN does only these, and takes PostgreSQL half the time. Where it
// finds something else (another version, a lock, names in the vector that are not
// configured), it does nothing, and the question is asked as for any other statement. If
// nothing prevents the write, the other statement does it; so that this does not happen
// to every write of a table, the next NOT_PLAIN single writes do not try. Nor does it
// write while other daemons know more fields of the resource: the session has looked at
// its beginning, and does so again before such an attempt. Where the plain statement
// fails (a remembered request, a damaged row), the other one is used at once.
//
// When it is sent
// ---------------
// At the end of a turn of the loop, whenever a connection for writes is idle and writes
// are waiting. What arrives while a batch is at the database is the next batch. There is
// no timer and nothing to tune: a single writer is never delayed to wait for others, and
// under load the batches grow until the database keeps up.
//
// What happens to each row
// ------------------------
// The result has a row for each write that was done: PL_OUTCOME_DONE, and it is already
// committed (db/conn holds the result back until then). A write without a row was not
// done, and nothing of it was written. The reason is found by a second, reading statement
// (PL_STATEMENT_ASK), from one snapshot and in the order in which a client is to see the
// reasons: remembered, reused, not found, exists, version, entity tag, unlocked. It runs
// concurrently with the next batch. So a refused write costs the others nothing, and a
// refusal never combines an old view of the remembered requests with a new view of the
// row.
//
// If a write waits for a record while another write of it is done, and its lock names an
// older version or tag, it goes straight to that question, together with all others like
// it: on a hot record this is nearly all of them, and each would otherwise cost a
// statement only to be refused.
//
// When ASK finds no reason, the session that had locked the row has usually released it:
// a write of an ordinary row joins another batch, at the head of the queue, at most
// twice. After that, and for all other rows immediately, the write is done by the serial
// statement (PL_STATEMENT_SERIAL): alone, on a separate connection, waiting for the row's
// lock. Writes queue for that connection, so those that only need another attempt are
// kept out of it: a write that had met another connection's used to wait thirteen times
// as long as the rest. The serial statement is for
//
// - Rows that another transaction holds for longer. A batch takes only rows whose xmax
//   shows that no other transaction has locked or changed them: xmax is 0; or was left by
//   the transaction that made this row version, which locked it first; or belongs to a
//   transaction that is over, being older than all that are running (it was rolled back,
//   or only took a lock; had it changed the row, we would see another version). So a
//   batch never waits for a row's lock, except in the microseconds between reading the
//   row and locking it; and a record that some session locks for a minute delays only the
//   writes of that record: the serial statement waits for a lock for a moment at a time,
//   and others have their turn in between. Two batches can deadlock only within that
//   window, and in it both proceed in ascending order of ids.
// - Records with siblings (the write replaces them all and closes their conflict) and
//   creates over a tombstone (the write continues its vector). For this, ordinary rows
//   pay no more than a look at two columns of a row that has been read anyway.
// - Rows that changed between the batch and the question. After eight such rounds the
//   write fails with PL_ECONFLICT. If the row was the same before and after the serial
//   statement, a trigger or rule discarded the write: PL_OUTCOME_REFUSED.
//
// READ COMMITTED, and what it could spoil
// ---------------------------------------
// A statement sees the rows of its snapshot; when it is about to change one that was
// changed since, PostgreSQL takes the newest version and evaluates the WHERE clause again
// with it (EvalPlanQual). So everything that decides about a row is in the UPDATE's WHERE
// and SET and refers to the row itself (p.version, p.vector), never to a copy that was
// read before.
//
// processed_requests is read from the snapshot even then. Another daemon may have
// executed the same request since, or may be about to. Either the write is not done,
// because the row is another one by now, and ASK, with a later snapshot, answers
// "remembered"; or it is done a second time, and the insert into processed_requests
// meets the first one's row: a unique violation, the whole transaction is rolled back,
// the batch runs again with a later snapshot, and ASK answers "remembered".
//
// Two creates of one id, in this daemon or another: ON CONFLICT DO NOTHING waits for the
// other's commit, does nothing, and ASK finds the record. If an id from the sequence
// exists already, the create goes back to the queue, and the sequence is moved beyond all
// existing ids before the next one is drawn.
//
// A record with siblings has a flag on its row; the siblings are in another table. The
// serial statement deletes them in a volatile function, whose snapshot is taken after the
// row's lock was granted. With the statement's own snapshot, a sibling that the applier
// added while the statement waited for the lock would survive the write that replaced it.
//
// The outbox row is inserted after the record's row was changed, which means with its
// lock held until the commit. So the outbox ids of one record are in the order of its
// versions, and the relay publishes in the order of outbox ids.
//
// When something fails
// --------------------
//   a layer                     the other layers run again, each as a batch of its
//                               own; the failed one is treated as below
//   a row breaks a constraint,  the whole statement is rolled back. The batch runs
//   a type or a time limit      again in halves, and each half that fails in halves
//                               again, until the row is alone: PL_OUTCOME_REFUSED for
//                               it (PL_ETIMEOUT for a limit), and the others are done
//                               in 2 log n statements instead of n
//   deadlock, serialization     nothing was written; again after a short random delay;
//                               after five attempts PL_ECONFLICT
//   same request done elsewhere (unique violation on processed_requests) again at once;
//                               ASK will find it
//   the statement is wrong      (class 42: a table is missing) PL_EINTERNAL for all
//   shutting down, disk full, … PL_EUNAVAIL for all; nothing was written
//   connection lost             the outcome is unknown, and the old backend may still
//                               be executing the statement. First, over another
//                               connection: is that process (pid and start time) gone?
//                               If it is not soon, it is terminated. Then ASK: is the
//                               request remembered with this execution's mark
//                               (expires_at)? Yes: DONE after all. No: nothing was
//                               written, and the write runs again, once. If the
//                               deadline passes before that: PL_EUNKNOWN
//   no connection               writes wait for `connect_timeout`, or for NGINX's where
//                               connecting is refused, then PL_EUNAVAIL; those that may
//                               have happened wait for `connect_timeout` in any case,
//                               then PL_EUNKNOWN
//   the deadline passes         not sent: PL_ETIMEOUT, nothing was written; sent:
//                               PL_EUNKNOWN, and the batch goes on without the write
//   too many are waiting        (http.max_queued) PL_EBUSY
//   the store is freed          not sent: PL_ESTOPPED; sent: PL_EUNKNOWN
//
// Each write is answered exactly once, from pl_store_turn or pl_store_free, never from
// within another call.
//
// Invariants: a task is in exactly one stage's list, or in one statement that is in
// flight; its slot is busy from when it is sent until it ends or waits again.
// Threads: used under the shared writer's lock.
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "store/edge_sql.h"
#include "store/store_private.h"

// Pending writes that make a record hot. Two or three meet by chance; a separate
// statement for one of them would cost more than letting it wait.
#define HOT_AT 4

// ---- what goes together

static int by_id(const void *a, const void *b)
{
	int64_t x = (*(struct pl_write_task *const *)a)->write->id,
		y = (*(struct pl_write_task *const *)b)->write->id;

	return (x > y) - (x < y);
}

// Whether it is done regardless of what was done to the record before.
static bool locks_nothing(const struct pl_write *write)
{
	if (write->op == PL_WRITE_CREATE || write->has_version || write->etag_never)
		return false;
	return write->has_etag ? write->etag_any : write->lock != PL_LOCK_REQUIRED;
}

// Whether it may be in a layer with another layer above or below it.
static bool may_be_stacked(const struct pl_write_task *task)
{
	return task->slot && task->slot->users >= HOT_AT && !task->alone && task->guard.n == 0 &&
	       locks_nothing(task->write);
}

// Whether the task, the first of those that wait for its record, may be in the layer
// above `below`; NULL: in the first layer.
static bool may_be_above(struct pl_write_task *task, const struct pl_in_flight_statement *below)
{
	if (!below)
		return !task->slot || task->slot->busy == 0;
	if (!task->slot || task->slot->in_flight != below)
		return false;
	if (may_be_stacked(task))
		return true;
	task->slot->in_flight = NULL; // and those behind it keep their places
	return false;
}

// Takes the writes that may run together off the queue: of one resource, no record twice,
// no more than the limit of any of them.
static void take(struct pl_shared_writer *writer, struct pl_in_flight_statement *in_flight,
                 const struct pl_in_flight_statement *below)
{
	int room = writer->db.config->database.batch;
	struct pl_write_task *task, *next;
	struct pl_statement_set *statement_set = NULL;

	in_flight->guard.guard.n = 0;
	DL_FOREACH_SAFE (writer->waiting, task, next) {
		if (!may_be_above(task, below) || (statement_set && task->statement_set != statement_set))
			continue;
		statement_set = task->statement_set;
		if (task->limit < room)
			room = task->limit > in_flight->n ? task->limit : in_flight->n;
		if (in_flight->n >= room)
			break;
		if (task->guard.n > 0 && !pl_guard_union_add(&in_flight->guard, &task->guard))
			continue;
		pl_write_task_send(task, in_flight);
	}
	if (in_flight->n > 1)
		qsort(in_flight->tasks, (size_t)in_flight->n, sizeof(in_flight->tasks[0]), by_id);
	for (int i = 0; i < in_flight->n; i++)
		in_flight->tasks[i]->place = i;
}

// See "The plain case".
static bool is_plain(const struct pl_write_task *task)
{
	const struct pl_write *write = task->write;

	return write->op == PL_WRITE_UPDATE && write->has_version && write->version > 0 &&
	       write->version < PL_EDGE_PLAIN_MAX - 1 && !write->has_etag && !write->etag_never &&
	       write->request_id && write->request_id[0] && task->guard.n == 0 &&
	       !write->resource->track_fields && !task->not_plain && task->losses == 0;
}

static bool try_plain(struct pl_in_flight_statement *in_flight)
{
	struct pl_statement_set *statement_set = in_flight->tasks[0]->statement_set;

	if (in_flight->n > 1 || !is_plain(in_flight->tasks[0]))
		return false;
	if (statement_set->not_plain == 0)
		return true;
	statement_set->not_plain--;
	return false;
}

// `alone`: the statement is its whole transaction.
static enum pl_statement_kind kind_of(struct pl_in_flight_statement *in_flight, bool alone)
{
	int creates = 0;

	if (alone && try_plain(in_flight))
		return PL_STATEMENT_CHANGE_PLAIN;
	for (int i = 0; i < in_flight->n; i++)
		creates += in_flight->tasks[i]->write->op == PL_WRITE_CREATE;
	if (creates == 0)
		return in_flight->n > 1 ? PL_STATEMENT_CHANGE_BATCH : PL_STATEMENT_CHANGE_ONE;
	if (creates == in_flight->n)
		return in_flight->n > 1 ? PL_STATEMENT_CREATE_BATCH : PL_STATEMENT_CREATE_ONE;
	return PL_STATEMENT_MIXED_BATCH;
}

static void passed(void *arg, PGresult *result, const struct pl_error *err)
{
	static struct pl_log_limit limit;

	(void)arg;
	if (result && err->code == 0 && !PQgetisnull(result, 0, 0) && pl_log_limit_ok(&limit, 1000000))
		pl_notice(
			"store: ids intended for new records exist already; new records now get ids above %s",
			PQgetvalue(result, 0, 0));
}

// A create in the statement met an id that exists: before the next attempt the sequence
// is moved beyond all ids that are taken.
static void pass_taken_ids(const struct pl_in_flight_statement *in_flight)
{
	struct pl_buf sql = { 0 };
	bool any = false;

	for (int i = 0; i < in_flight->n; i++)
		any |= in_flight->tasks[i]->id_taken;
	if (!any)
		return;
	pl_statement_pass_taken_ids(&sql, &in_flight->tasks[0]->statement_set->resource,
	                            in_flight->writer->db.region);
	pl_conn_send_sql(in_flight->conn, sql.data, NULL, passed, NULL, NULL);
	pl_buf_fini(&sql);
}

static void looked(void *arg, PGresult *result, const struct pl_error *err)
{
	(void)arg, (void)result, (void)err; // where it failed, the statement does nothing
}

static void look_at_fields(struct pl_in_flight_statement *in_flight, enum pl_statement_kind kind)
{
	struct pl_statement_set *statement_set = in_flight->tasks[0]->statement_set;
	struct pl_buf sql = { 0 };

	if (kind != PL_STATEMENT_CHANGE_PLAIN || !statement_set->look)
		return;
	statement_set->look = false;
	pl_statement_look_at_fields(&sql, &statement_set->resource, 1);
	pl_conn_send_sql(in_flight->conn, sql.data, NULL, looked, NULL, NULL);
	pl_buf_fini(&sql);
}

// Nothing was sent: the writes wait again, or fail if the statement itself is invalid.
static void take_back(struct pl_in_flight_statement *in_flight, bool serial, const struct pl_error *err)
{
	while (in_flight->n > 0) {
		struct pl_write_task *task = in_flight->tasks[in_flight->n - 1];

		pl_write_task_move(task, serial ? PL_WRITE_STAGE_SERIAL : PL_WRITE_STAGE_WAITING, true);
		if (err->code != PL_EUNAVAIL)
			pl_write_task_fail(task, PL_EINTERNAL, "%s", err->text);
		in_flight->n--;
	}
	if (err->code != PL_EUNAVAIL) // the connection is idle again, and others may be waiting
		pl_database_wake_at(&in_flight->writer->db, 0);
}

// Sends the statement that takes the locks of the writes, which is in their transaction.
// False: it was not sent, and the writes are not to be sent either.
static bool send_locks(struct pl_in_flight_statement *in_flight, bool serial)
{
	struct pl_buf exclusive = { 0 }, shared = { 0 };
	struct pl_error err;
	int code;

	if (in_flight->guard.guard.n == 0)
		return true;
	pl_guard_params(&in_flight->guard.guard, &exclusive, &shared);
	code = pl_conn_send(
		in_flight->conn, PL_GUARD_STATEMENT,
		&(struct pl_conn_params){ .n = 2, .values = (const char *[]){ exclusive.data, shared.data } },
		pl_write_result_take_locks, in_flight, &err);
	pl_buf_fini(&exclusive);
	pl_buf_fini(&shared);
	if (code < 0)
		take_back(in_flight, serial, &err);
	return code == 0;
}

static void send(struct pl_in_flight_statement *in_flight, enum pl_statement_kind kind)
{
	const struct pl_statement_set *statement_set = in_flight->tasks[0]->statement_set;
	struct pl_conn_params params;
	struct pl_error err;

	pl_params_begin(&in_flight->params, &statement_set->resource);
	for (int i = 0; i < in_flight->n; i++)
		pl_params_write(&in_flight->params, in_flight->tasks[i]->write,
		                in_flight->tasks[i]->expires_us, in_flight->writer->db.region);
	params = kind == PL_STATEMENT_CHANGE_BATCH || kind == PL_STATEMENT_CREATE_BATCH ||
	                         kind == PL_STATEMENT_MIXED_BATCH
	                 ? pl_params_batch(&in_flight->params)
	                 : pl_params_one(&in_flight->params);
	in_flight->plain = kind == PL_STATEMENT_CHANGE_PLAIN;
	in_flight->writer->sent++;
	pass_taken_ids(in_flight);
	look_at_fields(in_flight, kind);
	if (pl_conn_send(in_flight->conn, statement_set->names[kind], &params, pl_write_result_take,
	                 in_flight, &err) == 0)
		return;
	take_back(in_flight, kind == PL_STATEMENT_SERIAL, &err);
}

static void send_serial(struct pl_shared_writer *writer)
{
	struct pl_in_flight_statement *in_flight = &writer->serial;

	if (!writer->serial_waiting || in_flight->n > 0)
		return;
	if (!in_flight->conn)
		pl_writer_conns_connect_serial(writer);
	if (!pl_conn_up(in_flight->conn))
		return;
	writer->serial_waiting->tried_serial = true;
	in_flight->guard.guard.n = 0;
	pl_guard_union_add(&in_flight->guard, &writer->serial_waiting->guard);
	pl_write_task_send(writer->serial_waiting, in_flight);
	pl_conn_begin(in_flight->conn);
	if (send_locks(in_flight, true))
		send(in_flight, PL_STATEMENT_SERIAL);
	pl_conn_commit(in_flight->conn);
}

static bool is_idle(const struct pl_batch_conn *batch_conn)
{
	for (int k = 0; k < PL_LAYERS_MAX; k++)
		if (batch_conn->layers[k].n > 0)
			return false;
	return true;
}

// Whether another layer may follow. Marks the records that it may hold.
static bool mark_hot(const struct pl_in_flight_statement *in_flight)
{
	bool any = false;

	for (int i = 0; i < in_flight->n; i++) {
		struct pl_write_task *task = in_flight->tasks[i];

		if (may_be_stacked(task))
			any = true;
		else if (task->slot)
			task->slot->in_flight = NULL;
	}
	return any;
}

// Returns how many layers there are.
static int take_layers(struct pl_shared_writer *writer, struct pl_in_flight_statement *layers)
{
	int n = 0;

	do {
		take(writer, &layers[n], n > 0 ? &layers[n - 1] : NULL);
	} while (layers[n].n > 0 && ++n < PL_LAYERS_MAX && writer->waiting && mark_hot(&layers[n - 1]));
	return n;
}

static void send_layers(struct pl_batch_conn *batch_conn, int n)
{
	struct pl_in_flight_statement *first = &batch_conn->layers[0];
	bool joined = n > 1 || (n > 0 && first->guard.guard.n > 0); // only the first layer has locks

	if (joined)
		pl_conn_begin(batch_conn->conn);
	for (int k = 0; k < n; k++)
		if (k > 0 || send_locks(first, false))
			send(&batch_conn->layers[k], kind_of(&batch_conn->layers[k], !joined));
	if (joined)
		pl_conn_commit(batch_conn->conn);
}

void pl_write_batch_send(struct pl_shared_writer *writer)
{
	for (int i = 0; i < writer->nbatch_conns && writer->waiting; i++) {
		struct pl_batch_conn *batch_conn = &writer->batch_conns[i];

		if (is_idle(batch_conn) && pl_conn_up(batch_conn->conn))
			send_layers(batch_conn, take_layers(writer, batch_conn->layers));
	}
	send_serial(writer);
}

// ---- time

// Fails what waits for a connection that stays down. A write that may have happened waits
// longer: only the database can say whether it has.
static void fail_waiting(struct pl_shared_writer *writer, struct pl_write_task *list, struct pl_conn *conn)
{
	bool gone = pl_conn_down_us(conn) >= writer->db.grace_us;
	struct pl_write_task *task, *next;
	struct pl_error err;

	if (!list || pl_database_unavailable(&writer->db, conn, &err) == 0)
		return;
	DL_FOREACH_SAFE (list, task, next) {
		if (!task->lost || gone)
			pl_write_task_fail(task, task->lost ? PL_EUNKNOWN : PL_EUNAVAIL, "%s",
			                   task->lost ? PL_LOST_TEXT : err.text);
		else
			pl_database_wait(&writer->db, conn, task->write->deadline_us);
	}
}

static void fail_late(struct pl_write_task *task)
{
	if (task->stage == PL_WRITE_STAGE_SENT || task->stage == PL_WRITE_STAGE_LOST || task->lost)
		pl_write_task_fail(
			task, PL_EUNKNOWN,
			"the deadline passed before the database answered; the write may or may not "
			"have happened");
	else
		pl_write_task_fail(task, PL_ETIMEOUT,
		                   "the deadline passed before the write was sent; nothing was written");
}

// The connection that has been down for the shortest time.
static struct pl_conn *best_conn(const struct pl_shared_writer *writer)
{
	struct pl_conn *best = writer->batch_conns[0].conn;

	for (int i = 1; i < writer->nbatch_conns; i++)
		if (pl_conn_down_us(writer->batch_conns[i].conn) < pl_conn_down_us(best))
			best = writer->batch_conns[i].conn;
	return best;
}

void pl_write_batch_due(struct pl_shared_writer *writer, int64_t now_us)
{
	struct pl_write_task *task, *next;

	DL_FOREACH_SAFE2 (writer->all, task, next, next_all) {
		if (task->write->deadline_us <= now_us)
			fail_late(task);
		else if (task->stage == PL_WRITE_STAGE_LATER && task->not_before_us <= now_us)
			pl_write_task_move(task, PL_WRITE_STAGE_WAITING, true);
		else
			pl_database_wake_at(&writer->db, task->stage == PL_WRITE_STAGE_LATER
			                                         ? task->not_before_us
			                                         : task->write->deadline_us);
	}
	if (writer->waiting)
		fail_waiting(writer, writer->waiting, best_conn(writer));
	if (writer->serial.conn)
		fail_waiting(writer, writer->serial_waiting, writer->serial.conn);
	fail_waiting(writer, writer->asking, writer->reader);
}
