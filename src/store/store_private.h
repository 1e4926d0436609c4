// The inside of store/, shared by its files. A daemon has one shared writer and, for each
// worker, a store.
//
// The store (struct pl_store) reads, and is a client of the writer:
//
//	store.c          making and freeing a store, the turn
//	read.c           reads by id
//	query.c          lists and the handlers' SQL
//	remembered.c     looking up remembered requests
//
// The writer (struct pl_shared_writer) writes:
//
//	writer_client.c  a worker's access to the writer: the lock and the wake-ups
//	shared_writer.c  making and freeing the writer, its turn
//	write_batch.c    what a batch is and when it is sent; the file to read first
//	write_result.c   what a batch's result means for each of its writes
//	write_outcome.c  why a write was not done, or whether it was before a loss
//	write_answer.c   a handler's own answer, stored with the remembered request
//	losses.c         lost connections with writes in flight
//	write_task.c     a write's bookkeeping: its stage and its record's slot
//
// Both stand on:
//
//	database.c       connections, deadlines
//	statement_set.c  prepared statements; their texts are in statement.c, edge_sql.c
//	guard.c          locks for writes that concern other records
//	params.c         a write as parameters of its statement
//	running_ids.c    ids of the requests that are running
//
// Threads: a store belongs to its worker; the writer to the thread that holds its lock.
#pragma once

#include <pthread.h>
#include <uthash.h>
#include <utlist.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/wake.h"
#include "db/conn.h"
#include "store/database.h"
#include "store/guard.h"
#include "store/params.h"
#include "store/running_ids.h"
#include "store/shared_writer.h"
#include "store/statement.h"
#include "store/store.h"

// A call that is one statement and is at the database: the `arg` of its result.
struct pl_pending_call {
	void *owner;         // the store or the writer
	void *call;          // NULL once its deadline has passed
	struct pl_error err; // of a statement before the one that answers
	struct pl_pending_call *prev, *next;
};
struct pl_pending_call *pl_pending_call_new(void *owner, struct pl_pending_call **list, void *call);
void pl_pending_call_free(struct pl_pending_call **list_p, struct pl_pending_call *pending);

// ---- the store

#define PL_READ_BATCH_MAX 128

struct pl_read_batch {
	struct pl_store *store;
	struct pl_statement_set *statement_set;
	int n;
	struct pl_read *reads[PL_READ_BATCH_MAX]; // by id; NULL once a read's deadline has passed
	int64_t ids[PL_READ_BATCH_MAX];           // of all of them
	struct pl_read_batch *prev, *next;
};

struct pl_store {
	struct pl_database db;
	struct pl_shared_writer *writer;
	struct pl_shared_writer *own_writer; // if it was given none
	struct pl_writer_client *client;
	int nreaders;
	struct pl_conn **readers;
	// Connected when first needed; the second one with the role for handlers' SQL.
	struct pl_conn *list_conn, *query_conn;

	struct pl_read *reads, *reads_finished;
	struct pl_read_batch *read_batches, *idle_read_batches; // in flight; free for reuse
	struct pl_query *lists, *queries, *queries_finished;
	struct pl_log_limit role_limit;
	struct pl_remember_lookup *lookups, *lookups_finished;
	struct pl_pending_call *queries_sent, *lookups_sent;
	int nreads, nqueries, nlookups; // not yet finished

	struct pl_store_stats stats;
};

// read.c, query.c, remembered.c: each sends what waits, keeps deadlines, fails what
// waits when the store is freed, and calls `done` of what is finished (true: there was
// something).
void pl_read_send(struct pl_store *store);
void pl_read_due(struct pl_store *store, int64_t now_us);
void pl_read_stop(struct pl_store *store);
bool pl_read_deliver(struct pl_store *store);
struct pl_record *pl_read_row(struct pl_arena *arena, const struct pl_resource *resource,
                              const char *const *cells); // the columns of READ; NULL is null

void pl_query_send(struct pl_store *store);
void pl_query_due(struct pl_store *store, int64_t now_us);
void pl_query_stop(struct pl_store *store);
bool pl_query_deliver(struct pl_store *store);

void pl_remembered_prepare(struct pl_conn *reader);
void pl_remembered_send(struct pl_store *store);
void pl_remembered_due(struct pl_store *store, int64_t now_us);
void pl_remembered_stop(struct pl_store *store);
bool pl_remembered_deliver(struct pl_store *store);

// A row of processed_requests, as texts; NULL is null.
struct pl_remembered_row {
	const char *status, *body, *location, *vector;
};
void pl_remembered_scan(struct pl_remembered *r, struct pl_arena *arena, const struct pl_resource *resource,
                        const struct pl_remembered_row *row);
extern const struct pl_json_limits pl_remembered_limits; // plist wrote it, so they are wide

// ---- writes between a worker and the writer

// Writes, and answers to be remembered, in the order in which they came.
struct pl_post {
	struct pl_write *writes, **writes_end;
	struct pl_remember_answer *answers;
};

static inline void pl_post_write(struct pl_post *post, struct pl_write *write)
{
	write->next = NULL;
	*post->writes_end = write;
	post->writes_end = &write->next;
}

static inline void pl_post_answer(struct pl_post *post, struct pl_remember_answer *answer)
{
	DL_APPEND(post->answers, answer);
}

// Writes that a worker hands in without waiting for the end of its turn, so that a worker
// with many requests does not keep the database waiting until it has read them all.
#define PL_HAND_IN_AT 8

struct pl_writer_client {
	struct pl_shared_writer *writer;
	void (*committed)(int writes, void *arg);
	void *arg;
	struct pl_watch *watch, *bell;
	struct pl_wake *wake;
	struct pl_timer *timer;
	int64_t timer_us; // when it fires; INT64_MAX: not set
	bool called;      // by the writer's loop, a timer or another worker
	bool hosting;     // as of its last visit; the watch is on
	bool left;        // every call is answered with PL_ESTOPPED
	int ngoing, hand_in_at;
	uint64_t answered; // own answers of handlers, handed in so far
	struct pl_post going, back, home;
	bool rung; // since `back` was last emptied
	struct pl_writer_client *prev, *next;
};

// `committed` (may be NULL) is called for each transaction whose result this worker
// received, whichever workers wrote in it, and with 0 once results that this worker
// delivered may be published.
struct pl_writer_client *pl_writer_client_new(struct pl_shared_writer *writer, struct pl_loop *loop,
                                              void (*committed)(int writes, void *arg), void *arg);
// Answers what is still in the writer: PL_ESTOPPED, or PL_EUNKNOWN where it was sent.
void pl_writer_client_leave(struct pl_writer_client *client);
void pl_writer_client_free(struct pl_writer_client **client_p); // after it has left and delivered
// Hands in with the next turn at the latest. `done` is called from
// pl_writer_client_deliver.
void pl_writer_client_write(struct pl_writer_client *client, struct pl_write *write);
void pl_writer_client_answer(struct pl_writer_client *client, struct pl_remember_answer *answer);
void pl_writer_client_turn(struct pl_writer_client *client);
bool pl_writer_client_deliver(struct pl_writer_client *client); // whether there was anything

// ---- the writer

// A record that writes are waiting for. Two writes of one record never run at the same
// time: the second one waits, or is in a later layer.
struct pl_slot {
	struct pl_slot_key {
		struct pl_statement_set *statement_set;
		int64_t id;
	} key;
	int busy; // writes of it that are running
	// Where the last of them was sent; NULL: nothing may be stacked on it.
	struct pl_in_flight_statement *in_flight;
	int users;
	UT_hash_handle hh;
};

enum pl_write_stage {
	PL_WRITE_STAGE_WAITING, // for a batch
	PL_WRITE_STAGE_LATER,   // for a moment, after a deadlock
	PL_WRITE_STAGE_SERIAL,  // for the serial connection
	PL_WRITE_STAGE_SENT,    // in a batch or on the serial connection: the database decides
	PL_WRITE_STAGE_LOST,    // its connection was lost; the backend may still be executing it
	PL_WRITE_STAGE_ASKING,  // not done; the reason is being asked for
};

// How long a serial statement waits for a lock at a time: other writes may be waiting for
// its connection.
#define PL_SERIAL_WAIT_US INT64_C(100000)

// A write in the writer.
struct pl_write_task {
	struct pl_shared_writer *writer;
	struct pl_write *write;
	struct pl_statement_set *statement_set;
	struct pl_slot *slot;         // NULL: a create that has no id yet
	struct pl_guard guard;        // the locks that it needs; usually none
	struct pl_running_id request; // principal and id; its key is NULL if the write has none
	uint64_t number;              // in the order in which they came
	// Of the remembered request; also the mark by which this execution recognises
	// its row.
	int64_t expires_us;
	enum pl_write_stage stage;
	bool holds;                               // counts in its slot's `busy`
	struct pl_loss *loss;                     // LOST
	struct pl_in_flight_statement *in_flight; // SENT, ASKING: the statement that it is in, or NULL
	int place;                                // in that statement
	int limit;                                // the largest batch it may be in; halved by a failure
	bool alone;                        // its transaction has failed once: it is never stacked again
	int tries;                         // after deadlocks and serialization failures
	int rounds;                        // answers "nothing prevents it" although it was not done
	bool id_taken;                     // a create whose id from the sequence exists already
	bool tried_serial;                 // since the last question
	int64_t lock_until_us;             // how long it waits for a lock; 0: it has met none
	bool refused;                      // its table is not as it should be: it is only asked about
	const char *seen_vector;           // of the row at the last question; NULL: no row, or not asked yet
	int losses;                        // connections lost while it was on them
	bool lost;                         // it may have been done: ask before answering
	bool not_plain;                    // the statement for the plain case has not done it
	int64_t not_before_us;             // LATER
	struct pl_write_task *prev, *next; // the stage's list
	struct pl_write_task *prev_all, *next_all;
};

// A statement that is in flight on a connection, or is being filled.
struct pl_in_flight_statement {
	struct pl_shared_writer *writer;
	struct pl_conn *conn;
	struct pl_params params;
	struct pl_write_task **tasks; // NULL once a task's deadline has passed
	struct pl_guard_union guard;  // of all tasks
	int n, room;                  // n is 0: idle
	bool stacked;                 // a layer above another one
	bool plain;                   // the statement for the plain case
};
void pl_in_flight_statement_init(struct pl_in_flight_statement *in_flight, struct pl_shared_writer *writer,
                                 struct pl_conn *conn, bool stacked);
void pl_in_flight_statement_add(struct pl_in_flight_statement *in_flight, struct pl_write_task *task);
void pl_in_flight_statement_fini(struct pl_in_flight_statement *in_flight);

// A connection for writes and the layers of its batch, which are one transaction; usually
// there is only one.
#define PL_LAYERS_MAX 16
struct pl_batch_conn {
	struct pl_conn *conn;
	struct pl_in_flight_statement layers[PL_LAYERS_MAX];
};

// Writes that were in flight on a lost connection, and the backend that may still be
// executing them.
struct pl_loss {
	struct pl_shared_writer *writer;
	char pid[12], start[40];
	bool asked; // whether the backend still exists; the answer is pending
	int looks;
	int64_t since_us, next_look_us;
	struct pl_write_task *tasks;
	struct pl_loss *prev, *next;
};

// Why the outcome of a write is unknown: its connection broke, or this server stopped.
#define PL_LOST_TEXT \
	"the database connection was lost before the answer came; the write may or may not have happened"
#define PL_STOPPED_TEXT \
	"this server stopped before the database answered; the write may or may not have happened"

struct pl_shared_writer {
	pthread_mutex_t lock;
	struct pl_writer_client *clients;
	int nclients;
	struct pl_writer_client *inside; // whose worker holds the lock
	struct pl_writer_client *host;   // NULL: the next one that enters

	struct pl_database db;
	char next_key[PL_REGION_MAX + 1]; // taken at the next turn
	struct pl_running_ids *running;   // has its own locks
	struct pl_table_gate *tables;     // likewise; NULL: open
	int nbatch_conns;
	struct pl_batch_conn *batch_conns;
	struct pl_in_flight_statement serial; // connected when first needed
	struct pl_in_flight_statement asker;
	struct pl_conn *reader; // for questions about writes

	uint64_t came; // tasks, ever
	uint64_t sent; // statements of batches, ever
	struct pl_write_task *waiting, *later, *serial_waiting, *asking;
	struct pl_write_task *all;
	int ntasks;
	struct pl_slot *slots;
	struct pl_loss *losses;
	struct pl_pending_call *answers_sent;
	int nanswers;

	struct pl_store_stats stats;
};

// How many writes, and how many answers, may be in the writer: max_queued times workers.
static inline int pl_shared_writer_queue_max(const struct pl_shared_writer *writer)
{
	return writer->db.config->http.max_queued * (writer->nclients > 1 ? writer->nclients : 1);
}

// shared_writer.c
// Takes results, sends what waits. True: there may be more to take.
bool pl_shared_writer_turn(struct pl_shared_writer *writer);

// writer_conns.c
#define PL_GUARD_STATEMENT "plist_guard" // on each connection that writes
struct pl_conn *pl_writer_conns_batch(struct pl_shared_writer *writer);
void pl_writer_conns_connect_serial(struct pl_shared_writer *writer);
// After the key has changed: all of them connect and claim again.
void pl_writer_conns_set_up_anew(struct pl_shared_writer *writer);

// write_task.c
// In any thread, without the lock. False: another execution of the request is running.
bool pl_write_task_new(struct pl_shared_writer *writer, struct pl_write *write);
void pl_write_task_begin(struct pl_shared_writer *writer, struct pl_write *write);
bool pl_write_task_is_running(struct pl_shared_writer *writer, struct pl_arena *arena, const char *principal,
                              const char *request_id); // in any thread
void pl_write_task_move(struct pl_write_task *task, enum pl_write_stage stage, bool first);
void pl_write_task_send(struct pl_write_task *task, struct pl_in_flight_statement *in_flight);
void pl_write_task_ask(struct pl_write_task *task, struct pl_in_flight_statement *in_flight);
void pl_write_task_lose(struct pl_write_task *task, struct pl_loss *loss);
void pl_write_task_committed(struct pl_shared_writer *writer, int writes);
// Each ends the task: the write is on its way back to its worker.
void pl_write_task_outcome(struct pl_write_task *task, enum pl_outcome outcome);
void pl_write_task_done(struct pl_write_task *task, struct pl_record *record);
void pl_write_task_fail(struct pl_write_task *task, int code, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));
void pl_write_task_refuse(struct pl_write_task *task, const struct pl_error *err); // by the database
// Committed, and its row cannot be read.
void pl_write_task_unshown(struct pl_write_task *task, const struct pl_error *why);
void pl_write_task_leave(struct pl_shared_writer *writer, const struct pl_writer_client *client);

// write_batch.c
void pl_write_batch_send(struct pl_shared_writer *writer); // one for each idle connection
void pl_write_batch_due(struct pl_shared_writer *writer, int64_t now_us);

// write_result.c
void pl_write_result_take(void *in_flight, PGresult *result, const struct pl_error *err);
void pl_write_result_take_locks(void *in_flight, PGresult *result, const struct pl_error *err);

// write_outcome.c
void pl_write_outcome_ask(struct pl_shared_writer *writer);

// write_answer.c
void pl_write_answer_prepare(struct pl_conn *conn);
void pl_write_answer_send(struct pl_shared_writer *writer, struct pl_remember_answer *answer);
void pl_write_answer_due(struct pl_shared_writer *writer, int64_t now_us);
void pl_write_answer_leave(struct pl_shared_writer *writer, const struct pl_writer_client *client);

// losses.c
void pl_losses_add(struct pl_shared_writer *writer, const struct pl_in_flight_statement *in_flight);
void pl_losses_look(struct pl_shared_writer *writer, int64_t now_us);
void pl_losses_free(struct pl_shared_writer *writer); // the tasks have been taken out
