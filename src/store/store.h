// The store: a worker's way to its region's database. Writes go through record/batch, reads over connections of their own.
//
// Stands between the Lua bindings (script/bind_records.c, bind_db.c) and db/conn. All calls return at once; the answer comes to the
// callback in a later turn of the loop, always exactly once, also when the store is freed (PL_ESTOPPED).
// Threads: a store belongs to its worker's thread.
//
// This is the place behind which batching works: a caller sees one write and its outcome, never the others of its transaction.
#pragma once

#include "base/loop.h"
#include "base/sha256.h"
#include "config/config.h"
#include "record/record.h"
#include "record/running.h"

enum pl_write_op { PL_WRITE_CREATE, PL_WRITE_UPDATE, PL_WRITE_DELETE };

// In the order in which they are checked.
enum pl_outcome {
	PL_OUTCOME_DONE,        // `record` is the row as written (a tombstone for DELETE)
	PL_OUTCOME_REMEMBERED,  // same id, same fingerprint: `remembered` is what was answered the first time
	PL_OUTCOME_REUSED,      // same id, another fingerprint
	PL_OUTCOME_RUNNING,     // same id, not yet answered
	PL_OUTCOME_NOT_FOUND,
	PL_OUTCOME_EXISTS,      // CREATE of an id that is there; `record` is it
	PL_OUTCOME_VERSION,     // the body's version differs; `record` is the current row
	PL_OUTCOME_ETAG,        // If-Match failed; `record` is the current row
	PL_OUTCOME_UNLOCKED,    // a lock is required and none was given; `record` is the current row
	PL_OUTCOME_REFUSED,     // the database refused this row (a constraint): err says why
	PL_OUTCOME_FAILED,      // err: PL_EUNAVAIL, PL_ETIMEOUT, PL_EBUSY (nothing was written), PL_EUNKNOWN, PL_EINTERNAL
};

struct pl_remembered {
	int status;
	const char *body;      // JSON text, NULL if there was none; members in the record's order
	const char *location;  // or NULL
	struct pl_vector vector;
	bool deleted;
};

struct pl_write {
	// Filled in by the caller; everything lives in `arena` until the callback has returned.
	struct pl_arena *arena;
	const struct pl_resource *resource;
	enum pl_write_op op;
	int64_t id;                  // CREATE: 0 = take one of this region's range
	struct pl_changes changes;
	bool has_version; int32_t version;   // the body's lock
	bool has_etag;  struct pl_vector etag; bool etag_any; // If-Match; `*` is any
	bool etag_never;             // If-Match was given but can match nothing (a weak or foreign tag): 412
	enum pl_lock_rule lock;
	const char *request_id, *principal;  // "" principal = none
	uint8_t fingerprint[PL_SHA256_SIZE];
	const char *traceparent;     // or NULL
	const char *region_prefix;   // region of the path, for Location
	int64_t ttl_us;
	int64_t deadline_us;         // pl_mono_us; not answered by then: FAILED with PL_ETIMEOUT or PL_EUNKNOWN

	// The answer.
	enum pl_outcome outcome;
	struct pl_record *record;
	struct pl_remembered remembered;
	struct pl_error err;
	void (*done)(struct pl_write *write, void *arg);
	void *arg;

	// The store's own.
	struct pl_task *task;
	struct pl_door *door;        // of the worker that handed it in; NULL: `done` is called by the store itself
	struct pl_write *next;
};

struct pl_store;
struct pl_writes;

struct pl_store_options {
	struct pl_loop *loop;
	const struct pl_config *config;  // the store refs it
	const struct pl_region *region;
	struct pl_running *running;      // shared with the stores of other workers, and outlives them all; NULL: the store has its own
	struct pl_writes *writes;        // all writes go there, and it outlives the store (record/writes.h); NULL: the store writes itself
	void (*committed)(int writes, void *arg); // called after each transaction that put something in the outbox; may be NULL
	void *arg;
};

struct pl_store *pl_store_new(const struct pl_store_options *options, struct pl_error *err);
void pl_store_free(struct pl_store **store);
// After a reload. Statements are prepared again where a resource changed; writes in flight keep their configuration.
void pl_store_reconfigure(struct pl_store *store, const struct pl_config *config, const struct pl_region *region);

// Queues a write. Never calls done from within.
void pl_store_write(struct pl_store *store, struct pl_write *write);
// To be called once a loop turn, after all events: cuts a batch for every free connection. No timer is involved.
void pl_store_turn(struct pl_store *store);

struct pl_read {
	struct pl_arena *arena;
	const struct pl_resource *resource;
	int64_t id;
	int64_t deadline_us;
	int code;                    // 0, PL_ENOTFOUND (also a tombstone), PL_EUNAVAIL, PL_ETIMEOUT, PL_EBUSY
	struct pl_record *record;
	struct pl_error err;
	void (*done)(struct pl_read *read, void *arg);
	void *arg;
	struct pl_read *prev, *next;
};
void pl_store_read(struct pl_store *store, struct pl_read *read);

// Whether a request is remembered: what a handler of an idempotent route asks before its first read, so that a retry is recognised
// before the handler can take another way. A write asks by itself.
struct pl_remember_lookup {
	struct pl_arena *arena;
	const char *request_id, *principal;
	uint8_t fingerprint[PL_SHA256_SIZE];
	int64_t deadline_us;
	int code;                    // 0, PL_EUNAVAIL, PL_ETIMEOUT, PL_EBUSY, PL_ESTOPPED
	enum pl_outcome outcome;     // with code 0: REMEMBERED, REUSED, RUNNING (in this daemon), or NOT_FOUND: never heard of it
	struct pl_remembered remembered;
	struct pl_error err;
	void (*done)(struct pl_remember_lookup *lookup, void *arg);
	void *arg;
	struct pl_remember_lookup *prev, *next;
};
void pl_store_remembered(struct pl_store *store, struct pl_remember_lookup *lookup);

// A handler answered its write with something else than the default (status by operation, body = the record, Location of a create):
// remembered before the client sees it. In this region only: the event that tells the others may be on its way.
struct pl_remember_answer {
	struct pl_arena *arena;
	const char *request_id, *principal;
	int status;                  // 2xx
	const char *body;            // JSON text, or NULL for none
	const char *location;        // or NULL
	int64_t deadline_us;
	int code;                    // 0, PL_ENOTFOUND (not remembered any more), PL_EUNAVAIL, PL_ETIMEOUT, PL_EUNKNOWN, PL_EBUSY, PL_ESTOPPED, PL_EINTERNAL
	struct pl_error err;
	void (*done)(struct pl_remember_answer *answer, void *arg);
	void *arg;
	struct pl_door *door;        // as a write's
	struct pl_remember_answer *prev, *next;
};
void pl_store_remember_answer(struct pl_store *store, struct pl_remember_answer *answer);

// A filter of a list: field OP value.
enum pl_filter_op { PL_FILTER_EQ, PL_FILTER_MIN, PL_FILTER_MAX };
struct pl_filter { int field; enum pl_filter_op op; const char *value; };

// Any other statement: lists, and the handlers' db.query. Read only, parameters only.
struct pl_query {
	struct pl_arena *arena;
	const char *sql;
	int nparams;
	const char **params;         // texts; NULL is null
	int max_rows;                // more is PL_EINVAL
	int64_t deadline_us;
	int code;
	struct pl_error err;
	int nrows, ncolumns;
	const char **columns;        // names
	unsigned *types;             // PostgreSQL type OIDs
	const char **values;         // nrows * ncolumns texts
	void (*done)(struct pl_query *query, void *arg);
	void *arg;
	struct pl_query *prev, *next;
};
void pl_store_query(struct pl_store *store, struct pl_query *query);
// Fills in sql and params of a query that lists a resource's live records by id, after `after`; limit + 1 rows tell whether there are more.
void pl_store_list_sql(struct pl_query *query, const struct pl_resource *resource, int64_t after, int limit,
                       const struct pl_filter *filters, int nfilters);
// Row `i` of its answer as a record; NULL with err for one that cannot be read.
struct pl_record *pl_store_list_record(const struct pl_query *query, const struct pl_resource *resource, int i, struct pl_error *err);

bool pl_store_ready(const struct pl_store *store, struct pl_error *why); // a connection of each kind is up

struct pl_store_stats {
	uint64_t batches, writes, single, stacked, retried, deadlocks, unknown, settled, reads, read_batches, queries, reconnects;
	int write_queue, read_queue, in_flight;
};
void pl_store_stats(const struct pl_store *store, struct pl_store_stats *stats_r);
