// A database connection for an event loop: libpq, not blocking, in pipeline mode, coming back by itself.
//
// Used by record/store. Threads: belongs to its loop's thread.
#pragma once

#include <libpq-fe.h>
#include <stdbool.h>

#include "base/error.h"
#include "base/loop.h"

struct pl_conn;

// Called once for each command sent. `result` NULL: the connection was lost before the command's transaction was known to have ended;
// err->code is PL_EUNKNOWN, or PL_ESTOPPED when the connection is being freed. A result of an SQL error comes with err filled in
// (SQLSTATE, retryable): nothing was written. err->code 0: the transaction is committed. The result is cleared after the call.
typedef void pl_conn_result_fn(void *arg, PGresult *result, const struct pl_error *err);

struct pl_conn_options {
	struct pl_loop *loop;
	const char *dsn;
	const char *application_name;      // "plistd us worker-1 write"
	int64_t connect_timeout_us, statement_timeout_us, lock_timeout_us;
	bool read_only;
	const char *const *setup;          // NULL-ended: SQL without parameters, run on each new connection
	void (*changed)(struct pl_conn *conn, bool up, void *arg); // after connecting and setup; and after a loss
	void *arg;
};

// Begins to connect at once. What `options` points to need not live on.
struct pl_conn *pl_conn_new(const struct pl_conn_options *options);
void pl_conn_free(struct pl_conn **conn); // outstanding commands get their callback with PL_ESTOPPED; safe in a callback

bool pl_conn_up(const struct pl_conn *conn);
// How long it has not been up, or 0. Since its making, if it never was.
int64_t pl_conn_down_us(const struct pl_conn *conn);
int pl_conn_in_flight(const struct pl_conn *conn); // commands sent and not called back
int pl_conn_backend_pid(const struct pl_conn *conn); // of the current or last connection; 0 if there was none
const char *pl_conn_backend_start(const struct pl_conn *conn); // and when that process began, as PostgreSQL prints it; tells it from a later one
const struct pl_error *pl_conn_last_error(const struct pl_conn *conn); // why it is not up; or of a statement that cannot be prepared
uint64_t pl_conn_reconnects(const struct pl_conn *conn);

// Prepares `name` on this and every later connection, before anything else is sent there. A statement that cannot be prepared (a table
// is missing) does not keep the connection down: it is tried again with each use, which fails until then.
void pl_conn_prepare(struct pl_conn *conn, const char *name, const char *sql);
void pl_conn_unprepare(struct pl_conn *conn, const char *name);
bool pl_conn_prepared(const struct pl_conn *conn, struct pl_error *why); // all of them

// A statement's parameters: texts, or where formats[i] is 1 lengths[i] bytes in PostgreSQL's binary form.
struct pl_conn_params {
	int n;
	const char *const *values;
	const int *lengths, *formats; // may be NULL: all texts
};

// Sends a prepared statement as a transaction of its own. -1 (err) when the connection is not up: fn is then not called.
int pl_conn_send(struct pl_conn *conn, const char *statement, const struct pl_conn_params *params, pl_conn_result_fn *fn, void *arg,
                 struct pl_error *err);
// The same for SQL that is not prepared.
int pl_conn_send_sql(struct pl_conn *conn, const char *sql, const struct pl_conn_params *params, pl_conn_result_fn *fn, void *arg,
                     struct pl_error *err);

// What is sent between these two is one transaction: done together or undone together. Nothing is committed before
// pl_conn_commit, so it is to be called before the loop goes on. When one of them fails, the others are called back with its result, too, and with
// PL_ECONFLICT, SQLSTATE 40000: they were undone, or not run, for no fault of their own. A fault of the commit is the last one's.
void pl_conn_begin(struct pl_conn *conn);
void pl_conn_commit(struct pl_conn *conn);

// Gives the connection up (a deadline passed): outstanding commands are called back as lost, and it connects anew.
void pl_conn_drop(struct pl_conn *conn, const char *why);

// Classifies a failed result. Shared with db/session.
void pl_db_error(struct pl_error *err, const PGresult *result);
// The connection has ended with this result: the server said so, or libpq.
bool pl_db_fatal(const PGresult *result);
