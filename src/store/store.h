// The store: a worker's access to its region's database. Writes go through the shared
// writer (store/shared_writer.h), reads over the store's own connections.
//
// Between the Lua bindings (script/bind/records.c, script/bind/db.c) and db/conn. All
// calls return at once. The callback is called in a later turn of the loop, exactly
// once, and also when the store is freed (PL_ESTOPPED).
// Threads: a store belongs to its worker's thread.
//
// Batching is hidden behind this interface: a caller sees one write and its outcome,
// never the other writes of its transaction.
#pragma once

#include "base/loop.h"
#include "base/sha256.h"
#include "config/config.h"
#include "record/record.h"

enum pl_write_op { PL_WRITE_CREATE, PL_WRITE_UPDATE, PL_WRITE_DELETE };

// In the order in which they are checked.
enum pl_outcome {
	PL_OUTCOME_DONE,       // `record` is the row as written (a tombstone for DELETE)
	PL_OUTCOME_REMEMBERED, // same id, same fingerprint: `remembered` is what was answered the first time
	PL_OUTCOME_REUSED,     // same id, another fingerprint
	PL_OUTCOME_RUNNING,    // same id, not yet answered
	PL_OUTCOME_NOT_FOUND,
	PL_OUTCOME_EXISTS,   // CREATE of an id that is there; `record` is it
	PL_OUTCOME_VERSION,  // the body's version differs; `record` is the current row
	PL_OUTCOME_ETAG,     // If-Match failed; `record` is the current row
	PL_OUTCOME_UNLOCKED, // a lock is required and none was given; `record` is the current row
	// the row cannot be written (record/edge.h): err says why; `record` is the
	// current row
	PL_OUTCOME_EDGE,
	// another record has the values of a unique set; `guard`: its fields, "room,day"
	PL_OUTCOME_TAKEN,
	// a field refers to a record that does not exist; `guard` is the field
	PL_OUTCOME_DANGLING,
	// a DELETE of a record that others refer to; `guard` is one such field:
	// "bookings.room"
	PL_OUTCOME_REFERENCED,
	PL_OUTCOME_REFUSED, // the database refused this row (a constraint): err says why
	// err: PL_EUNAVAIL, PL_ETIMEOUT, PL_EBUSY, PL_ECONFLICT (nothing was written),
	// PL_EUNKNOWN, PL_EINTERNAL
	PL_OUTCOME_FAILED,
};

struct pl_remembered {
	int status;
	const char *body;     // JSON text, NULL if there was none; members in the record's order
	const char *location; // or NULL
	struct pl_vector vector;
	bool deleted;
	const char *
		// a handler's own answer, as pl_remember_answer stored it: a JSON object;
		// `body` is NULL then. Or NULL
		whole;
	// The region that has the answer and its size, if it was too large for an event;
	// NULL: it is all here.
	const char *elsewhere;
	int64_t bytes;
};

struct pl_write {
	// Filled in by the caller; everything stays valid in `arena` until the callback
	// has returned.
	struct pl_arena *arena;
	const struct pl_resource *resource;
	enum pl_write_op op;
	int64_t id; // CREATE: 0 = take one of this region's range
	struct pl_changes changes;
	bool has_version;
	int32_t version; // the body's lock
	bool has_etag;
	struct pl_vector etag;
	bool etag_any;   // If-Match; `*` is any
	bool etag_never; // If-Match was given but can match nothing (a weak or foreign tag): 412
	enum pl_lock_rule lock;
	const char *request_id, *principal; // "" principal = none
	uint8_t fingerprint[PL_SHA256_SIZE];
	const char *traceparent;   // or NULL
	const char *region_prefix; // region of the path, for Location
	int64_t ttl_us;
	int64_t deadline_us; // pl_mono_us; not answered by then: FAILED with PL_ETIMEOUT or PL_EUNKNOWN

	// The answer.
	enum pl_outcome outcome;
	struct pl_record *record;
	struct pl_remembered remembered;
	const char *guard; // with TAKEN, DANGLING, REFERENCED
	// The row of the outbox up to which it is covered, and the generation of the
	// region's key; 0: it was done, but the place is not known.
	int64_t outbox_id, generation;
	bool written; // with FAILED: it was committed, and its row cannot be shown; err says why
	struct pl_error err;
	void (*done)(struct pl_write *write, void *arg);
	void *arg;

	// The store's own.
	struct pl_write_task *task;
	struct pl_writer_client *client; // of the worker that handed it in
	struct pl_write *next;
};

struct pl_store;
struct pl_shared_writer;

struct pl_store_options {
	struct pl_loop *loop;
	const struct pl_config *config; // the store refs it
	const struct pl_region *region;
	// All writes go through it, and it outlives the store (store/shared_writer.h);
	// NULL: the store makes one for itself.
	struct pl_shared_writer *writer;
	// Of its own writer: see pl_shared_writer_set_key; NULL: the region's name.
	const char *key;
	// Called for each committed batch with the number of its writes, and with 0 once
	// their events may be published; may be NULL.
	void (*committed)(int writes, void *arg);
	void *arg;
};

struct pl_store *pl_store_new(const struct pl_store_options *options, struct pl_error *err);
void pl_store_free(struct pl_store **store_p);
// After a reload. Statements of resources that changed are prepared again; writes in
// flight keep their configuration.
void pl_store_reconfigure(struct pl_store *store, const struct pl_config *config,
                          const struct pl_region *region);

// Queues a write. Does not call `done` before it returns.
void pl_store_write(struct pl_store *store, struct pl_write *write);
// Called once per turn of the loop, after all events: sends a batch on every idle
// connection. There is no timer.
void pl_store_turn(struct pl_store *store);

struct pl_read {
	struct pl_arena *arena;
	const struct pl_resource *resource;
	int64_t id;
	int64_t deadline_us;
	int code; // 0, PL_ENOTFOUND (also a tombstone), PL_EUNAVAIL, PL_ETIMEOUT, PL_EBUSY
	struct pl_record *record;
	struct pl_error err;
	void (*done)(struct pl_read *read, void *arg);
	void *arg;
	struct pl_read *prev, *next;
};
void pl_store_read(struct pl_store *store, struct pl_read *read);

// Whether a request is remembered. A handler of an idempotent route asks this before
// its first read, so that a retry is recognised before the handler can take another
// path. For a write the store asks by itself.
struct pl_remember_lookup {
	struct pl_arena *arena;
	const char *request_id, *principal;
	uint8_t fingerprint[PL_SHA256_SIZE];
	int64_t deadline_us;
	int code; // 0, PL_EUNAVAIL, PL_ETIMEOUT, PL_EBUSY, PL_ESTOPPED
	enum pl_outcome
		// with code 0: REMEMBERED, REUSED, RUNNING (in this daemon), or
		// NOT_FOUND: not remembered
		outcome;
	struct pl_remembered remembered;
	struct pl_error err;
	void (*done)(struct pl_remember_lookup *lookup, void *arg);
	void *arg;
	struct pl_remember_lookup *prev, *next;
};
void pl_store_remembered(struct pl_store *store, struct pl_remember_lookup *lookup);

// A handler answered its write with something other than the default (status by
// operation, the record as body, Location of a create): the answer is remembered before
// the client sees it. The write's event may already be on its way to the other regions,
// so another event follows that teaches them the answer (event/event_answer.h).
// PL_REMEMBERED_WHOLE is the only member of a stored body that is not a body but
// {headers, body}; no field can have this name.
#define PL_REMEMBERED_WHOLE "plist:answer"
struct pl_remember_answer {
	struct pl_arena *arena;
	const char *request_id, *principal;
	int status;
	const char *body; // JSON text
	// The write that was answered: its operation, the record's JSON and vector as
	// written.
	enum pl_write_op op;
	const char *value, *vector;
	int64_t deadline_us;
	// 0, PL_ENOTFOUND (no longer remembered), PL_EUNAVAIL, PL_ETIMEOUT,
	// PL_EUNKNOWN, PL_EBUSY, PL_ESTOPPED, PL_EINTERNAL
	int code;
	struct pl_error err;
	void (*done)(struct pl_remember_answer *answer, void *arg);
	void *arg;
	struct pl_writer_client *client; // as a write's
	struct pl_remember_answer *prev, *next;
};
void pl_store_remember_answer(struct pl_store *store, struct pl_remember_answer *answer);

// A filter of a list: field OP value.
enum pl_filter_op { PL_FILTER_EQ, PL_FILTER_MIN, PL_FILTER_MAX };
struct pl_filter {
	int field;
	enum pl_filter_op op;
	const char *value;
};

// Any other statement: lists, and the handlers' db.query, which runs as the role
// database.query_role. Read-only, with values as parameters only.
struct pl_query {
	struct pl_arena *arena;
	const char *sql;
	int nparams;
	const char **params;   // texts; NULL is null
	int max_rows;          // more is PL_EINVAL
	bool own;              // plist's own statement (pl_store_list_sql), not a handler's
	int losses;            // connections lost while it was in flight
	int64_t not_before_us; // pl_mono_us; it waits until then
	int64_t deadline_us;
	int code;
	struct pl_error err;
	int nrows, ncolumns;
	const char **columns; // names
	unsigned *types;      // PostgreSQL type OIDs
	const char **values;  // nrows * ncolumns texts
	void (*done)(struct pl_query *query, void *arg);
	void *arg;
	struct pl_query *prev, *next;
};
void pl_store_query(struct pl_store *store, struct pl_query *query);
// Fills in sql and params of a query that lists a resource's live records by id, after
// `after`. It returns up to limit + 1 rows, of large records fewer.
void pl_store_list_sql(struct pl_query *query, const struct pl_resource *resource, int64_t after, int limit,
                       const struct pl_filter *filters, int nfilters);
// How many rows of its answer are the page, up to limit; and whether there are more
// records.
int pl_store_list_page(const struct pl_query *query, bool *more_r);
// Row `i` of its answer as a record.
struct pl_record *pl_store_list_record(const struct pl_query *query, const struct pl_resource *resource,
                                       int i, struct pl_error *err);

bool pl_store_ready(const struct pl_store *store, struct pl_error *why); // a connection of each kind is up

struct pl_store_stats {
	uint64_t batches, writes, single, stacked, retried, deadlocks, unknown, settled, reads, read_batches,
		queries, reconnects;
	int write_queue, read_queue, in_flight;
	int queries_down; // connections for db.query that cannot be made: 0 or 1 for each worker
};
void pl_store_stats(const struct pl_store *store, struct pl_store_stats *stats_r);
