// A region's database as seen from one event loop: the connections to it, the statements
// that are prepared on them, how long a call waits for a connection that is down, and the
// timer for everything that has a deadline.
//
// Internal to store/: a store has one for reads, the shared writer has one for writes.
// Threads: belongs to the thread that turns its loop; the shared writer's is used under
// the writer's lock.
#pragma once

#include "db/conn.h"
#include "store/statement.h"

// A resource's statements under one definition of the resource. A reload that changes the
// definition adds another set.
struct pl_statement_set {
	struct pl_resource resource; // a copy, for the layout of parameters; strings are in `arena`
	struct pl_arena *arena;
	const char *texts[PL_STATEMENT_KINDS];
	char names[PL_STATEMENT_KINDS][48];
	int users;     // tasks and reads that use it
	int not_plain; // this many single writes do without the statement for the plain case
	bool look;     // before the next one, the session looks whether others know more fields
	bool current;  // belongs to the current configuration
	struct pl_statement_set *next;
};

struct pl_database_conn {
	struct pl_conn *conn;
	const char *required_for; // as in the options below
	bool read_only;
	enum pl_statement_kind first;
	int nkinds;
};

struct pl_database {
	struct pl_loop *loop;
	struct pl_config *config;
	const struct pl_region *region;
	char key[PL_REGION_MAX + 1]; // of this region's writes: see record/vector.h
	bool stopping;               // every call is answered with PL_ESTOPPED
	int64_t grace_us;            // a connection may be down this long before callers get PL_EUNAVAIL
	struct pl_timer *timer;
	int64_t wake_us; // when the timer fires; INT64_MAX: not set
	void (*due)(void *owner, int64_t now_us);
	void *owner;
	struct pl_database_conn *conns;
	int nconns;
	struct pl_statement_set *statement_sets;
	struct pl_statement_set **set_of_resource; // by index in the configuration
	int nsets;                                 // made so far; numbers the statements' names
};

// `due(owner)` is called at the time that was asked for with pl_database_wake_at;
// whatever is still pending then has to ask again.
void pl_database_init(struct pl_database *db, struct pl_loop *loop, const struct pl_config *config,
                      const struct pl_region *region, void (*due)(void *owner, int64_t now_us), void *owner);
// Connections take the new connection string when they next connect.
void pl_database_reconfigure(struct pl_database *db, const struct pl_config *config,
                             const struct pl_region *region);
void pl_database_close(struct pl_database *db); // commands in flight get PL_ESTOPPED
void pl_database_fini(struct pl_database *db);  // after close

struct pl_database_conn_options {
	const char *purpose;      // part of application_name: "plist us write"
	const char *required_for; // "writes": no connection, not ready; NULL: not required
	const char *user;         // instead of the connection string's; may be NULL
	bool read_only;
	size_t result_bytes_max;      // as in pl_conn_options
	const char *const *setup;     // as in pl_conn_options
	enum pl_statement_kind first; // kinds of statements to prepare: `nkinds` from `first` on
	int nkinds;
	int64_t lock_timeout_us; // 0: the configuration's
};
// The connection lives until pl_database_close.
struct pl_conn *pl_database_connect(struct pl_database *db, const struct pl_database_conn_options *options);

void pl_database_wake_at(struct pl_database *db, int64_t at_us);
// For a call that waits for `conn`, which may be NULL if it is not made yet.
void pl_database_wait(struct pl_database *db, const struct pl_conn *conn, int64_t deadline_us);
// PL_EUNAVAIL if `conn` has been down for too long; 0 while waiting is worthwhile.
int pl_database_unavailable(struct pl_database *db, struct pl_conn *conn, struct pl_error *err);

bool pl_database_ready(const struct pl_database *db, struct pl_error *why); // all required connections
uint64_t pl_database_reconnects(const struct pl_database *db);

// ---- statement_set.c

struct pl_statement_set *pl_statement_set_get(struct pl_database *db, const struct pl_resource *resource);
void pl_statement_set_prepare_all(struct pl_database *db, const struct pl_database_conn *on);
void pl_statement_set_reconfigure(struct pl_database *db);
void pl_statement_set_free_all(struct pl_database *db);
