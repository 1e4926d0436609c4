// The store's inside, shared by its files:
//
//	store.c        making and ending a store, its connections, deadlines, the turn
//	shape.c        the prepared statements of a resource
//	task.c         a write's book-keeping: lists, records in use
//	running.c      request ids in use, of all workers
//	batch.c        what a batch is, when it is cut, and what happens to each of its rows
//	idempotency.c  why a write was not done, whether a lost one was; remembered requests
//	read.c         reads by id, queries, lists
//	writes.c       the store through which all workers of a daemon write
//
// Nothing here is for others. Threads: all of it belongs to the store's worker; of the store that all workers write through, to who has its lock.
#pragma once

#include <uthash.h>
#include <utlist.h>

#include "base/clock.h"
#include "db/conn.h"
#include "record/params.h"
#include "record/running.h"
#include "record/statement.h"
#include "record/store.h"
#include "record/writes.h"

// A resource's statements under one definition of it. A reload that changes the definition makes another shape.
struct pl_shape {
	struct pl_resource resource;   // a copy for the layout of parameters; its strings live in `arena`
	struct pl_arena *arena;
	const char *texts[PL_STATEMENT_KINDS];
	char names[PL_STATEMENT_KINDS][48];
	int users;                     // tasks and reads that name it
	bool current;                  // of the store's configuration
	struct pl_shape *next;
};

// A record that writes are waiting for. Two writes of one record never run at the same time: the second one waits, or is in a later layer.
struct pl_slot {
	struct pl_slot_key { struct pl_shape *shape; int64_t id; } key;
	int busy;                      // of them run
	struct pl_lane *lane;          // of the last one that was sent; NULL: nothing may be stacked on it
	int users;
	UT_hash_handle hh;
};

enum pl_stage {
	PL_STAGE_WAITING,  // for a batch
	PL_STAGE_LATER,    // for a moment, after a deadlock
	PL_STAGE_CAREFUL,  // for the careful connection
	PL_STAGE_SENT,     // with a batch, or alone on the careful connection: the outcome is the database's
	PL_STAGE_LOST,     // it was sent, the connection was lost, its backend may still be at it
	PL_STAGE_ASKING,   // not done; why is being asked
	PL_STAGE_FINISHED, // `done` is to be called
};

// A write on its way.
struct pl_task {
	struct pl_store *store;
	struct pl_write *write;
	struct pl_shape *shape;
	struct pl_slot *slot;          // NULL: a create that is to be given an id
	struct pl_running_entry request; // principal and id; its key is NULL if the write has none
	uint64_t number;               // in the order in which they came
	int64_t expires_us;            // of the remembered request; and the mark by which this execution knows its own row again
	enum pl_stage stage;
	bool holds;                    // the slot is busy with it
	struct pl_loss *loss;          // LOST
	struct pl_lane *lane;          // SENT, ASKING: the lane it is in flight on, or NULL
	int place;                     // in that lane
	int limit;                     // the largest batch it may be in; halved by a batch that failed
	bool alone;                    // its transaction has failed once: it is in no further layer, and has none above it
	int tries;                     // deadlocks and the like
	int rounds;                    // of being told that nothing stands in the way, and yet not being done
	int losses;                    // of connections under it
	bool lost;                     // it may have been done: ask before saying anything
	int64_t not_before_us;         // LATER
	struct pl_task *prev, *next;   // the stage's list
	struct pl_task *prev_all, *next_all;
};

// A statement that is in flight on a connection, or will be.
struct pl_lane {
	struct pl_store *store;
	struct pl_conn *conn;
	struct pl_params params;
	struct pl_task **tasks;        // NULL where a deadline took one out
	int n, room;                   // n is 0: idle
	bool stacked;                  // a layer that has one below
};

// A connection for writes and its batch: layers that are one transaction, mostly a single one.
#define PL_LAYERS_MAX 16
struct pl_writer {
	struct pl_conn *conn;
	struct pl_lane layers[PL_LAYERS_MAX];
};

// Writes whose connection was lost while they were on it, and the backend that may still be at them.
struct pl_loss {
	struct pl_store *store;
	char pid[12], start[40];
	bool asked;                    // whether it is still there; the answer is to come
	int looks;
	int64_t since_us, next_look_us;
	struct pl_task *tasks;
	struct pl_loss *prev, *next;
};

#define PL_READ_BATCH_MAX 128

struct pl_read_batch {
	struct pl_store *store;
	struct pl_shape *shape;
	int n;
	struct pl_read *reads[PL_READ_BATCH_MAX]; // by id; NULL where a deadline took one out
	int64_t ids[PL_READ_BATCH_MAX]; // of all of them
	struct pl_read_batch *prev, *next;
};

// A lookup, an answer or a query that is at the database: what the `arg` of its result points to.
struct pl_single {
	struct pl_store *store;
	void *call;                    // NULL once its deadline has passed
	struct pl_error err;           // of a statement before the one that answers
	struct pl_single *prev, *next;
};

struct pl_store {
	struct pl_loop *loop;
	struct pl_config *config;
	const struct pl_region *region;
	struct pl_running *running;    // of all workers; `own_running` if the store was given none
	struct pl_running *own_running;
	void (*committed)(int writes, void *arg);
	void *arg;
	bool stopping;                 // every call is answered with PL_ESTOPPED
	int64_t grace_us;              // a connection may be away so long before what waits for it is told
	struct pl_timer *timer;
	int64_t wake_us;               // when it is set to; INT64_MAX: not set
	struct pl_door *door;          // where its writes go; NULL: it has writers
	int doors;                     // how many lead here; 0: it is a worker's own
	uint64_t came;                 // tasks, ever
	uint64_t sent;                 // statements of batches, ever

	struct pl_shape *shapes;
	struct pl_shape **shape_of_resource; // by index in the configuration
	int nshapes;                   // ever made
	int nwriters, nreaders;
	struct pl_writer *writers;
	struct pl_lane careful;        // connected when first needed
	struct pl_lane asker;          // on the first reader's connection
	struct pl_conn **readers;
	struct pl_conn *query_conn;    // connected when first needed

	struct pl_task *waiting, *later, *careful_waiting, *asking, *finished;
	struct pl_task *all;
	int ntasks;
	struct pl_slot *slots;
	struct pl_loss *losses;

	struct pl_read *reads, *reads_finished;
	struct pl_read_batch *read_batches, *idle_read_batches; // under way; to be used again
	struct pl_query *queries, *queries_finished;
	struct pl_remember_lookup *lookups, *lookups_finished;
	struct pl_remember_answer *answers_finished;
	struct pl_single *queries_sent, *lookups_sent, *answers_sent;
	int nreads, nqueries, nlookups, nanswers; // not yet finished

	struct pl_store_stats stats;
};

// store.c
int pl_store_queue_max(const struct pl_store *store); // http.queue, for each worker that hands in here
void pl_store_wake_at(struct pl_store *store, int64_t at_us);
// For what now waits for `conn` (NULL: it is still to be made).
void pl_store_wait(struct pl_store *store, const struct pl_conn *conn, int64_t deadline_us);
// `what` it is for, in the connection's name: "plist us write".
struct pl_conn *pl_store_connect(struct pl_store *store, const char *what, bool read_only, const char *const *setup);
// What a call is told that waits for a connection which does not come: PL_EUNAVAIL; 0 while there is hope.
int pl_store_away(struct pl_conn *conn, struct pl_store *store, struct pl_error *err);

// shape.c
struct pl_shape *pl_shape_get(struct pl_store *store, const struct pl_resource *resource);
void pl_shapes_reconfigure(struct pl_store *store);
void pl_shapes_free(struct pl_store *store);
void pl_shape_prepare(const struct pl_shape *shape, struct pl_conn *conn, enum pl_statement_kind first, enum pl_statement_kind last);
void pl_shapes_prepare(struct pl_store *store, struct pl_conn *conn, enum pl_statement_kind first, enum pl_statement_kind last);

// task.c
bool pl_task_running(struct pl_store *store, struct pl_arena *arena, const char *principal, const char *request_id);
void pl_task_move(struct pl_task *task, enum pl_stage stage, bool first);
void pl_task_send(struct pl_task *task, struct pl_lane *lane);
void pl_task_ask(struct pl_task *task, struct pl_lane *lane);
void pl_task_lose(struct pl_task *task, struct pl_loss *loss);
void pl_task_outcome(struct pl_task *task, enum pl_outcome outcome);
void pl_task_done(struct pl_task *task, struct pl_record *record);
void pl_task_fail(struct pl_task *task, int code, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
void pl_task_stop(struct pl_store *store);
void pl_task_leave(struct pl_store *store, const struct pl_door *door); // what came through the door is answered now
bool pl_task_deliver(struct pl_store *store); // whether there were any

// batch.c
void pl_lane_init(struct pl_lane *lane, struct pl_store *store, struct pl_conn *conn, bool stacked);
struct pl_task **pl_lane_room(struct pl_lane *lane);
void pl_lane_fini(struct pl_lane *lane);
void pl_task_params(struct pl_params *params, const struct pl_task *task);
void pl_batch_cut(struct pl_store *store);
void pl_batch_due(struct pl_store *store, int64_t now_us);

// idempotency.c
void pl_ask_send(struct pl_store *store);
void pl_loss_add(struct pl_store *store, struct pl_conn *conn, struct pl_task **tasks, int n);
void pl_loss_look(struct pl_store *store, int64_t now_us);
void pl_losses_free(struct pl_store *store); // the tasks have been taken out
struct pl_single *pl_single_new(struct pl_store *store, struct pl_single **list, void *call);
void pl_single_free(struct pl_single **list, struct pl_single *single);
void pl_remember_prepare(struct pl_conn *reader, struct pl_conn *writer); // either may be NULL
void pl_remember_send(struct pl_store *store);
void pl_remember_due(struct pl_store *store, int64_t now_us);
void pl_remember_stop(struct pl_store *store);
void pl_remember_leave(struct pl_store *store, const struct pl_door *door);
bool pl_remember_deliver(struct pl_store *store);

// read.c
void pl_read_send(struct pl_store *store);
void pl_read_due(struct pl_store *store, int64_t now_us);
void pl_read_stop(struct pl_store *store);
bool pl_read_deliver(struct pl_store *store);
