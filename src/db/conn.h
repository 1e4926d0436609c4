// A database connection for an event loop: libpq, not blocking, in pipeline mode, coming back by itself.
//
// Used by record/store. Threads: belongs to its loop's thread.
#pragma once

#include <libpq-fe.h>
#include <stdbool.h>

#include "base/error.h"
#include "base/loop.h"

struct pl_conn;

// Called once for each command sent. `result` NULL: the connection was lost; err->code is PL_EUNAVAIL when the command was never sent, PL_EUNKNOWN
// when it was. A result of an SQL error comes with err filled in (SQLSTATE, retryable). The result is cleared after the call.
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

struct pl_conn *pl_conn_new(const struct pl_conn_options *options);
void pl_conn_free(struct pl_conn **conn); // outstanding commands get their callback with PL_ESTOPPED

bool pl_conn_up(const struct pl_conn *conn);
int pl_conn_in_flight(const struct pl_conn *conn);
int pl_conn_backend_pid(const struct pl_conn *conn); // of the current or last connection; 0 if there was none
const struct pl_error *pl_conn_last_error(const struct pl_conn *conn);

// Prepares `name` on this and every later connection, before anything else is sent there.
void pl_conn_prepare(struct pl_conn *conn, const char *name, const char *sql);

// Sends a prepared statement as a transaction of its own. -1 (err) when the connection is not up: fn is then not called.
int pl_conn_send(struct pl_conn *conn, const char *statement, int nparams, const char *const *params, pl_conn_result_fn *fn, void *arg,
                 struct pl_error *err);
// The same for SQL that is not prepared.
int pl_conn_send_sql(struct pl_conn *conn, const char *sql, int nparams, const char *const *params, pl_conn_result_fn *fn, void *arg,
                     struct pl_error *err);

// Gives the connection up (a deadline passed): outstanding commands are called back as lost, and it connects anew.
void pl_conn_drop(struct pl_conn *conn, const char *why);

// Classifies a failed result. Shared with db/session.
void pl_db_error(struct pl_error *err, const PGresult *result);
// The server ended the connection with this result.
bool pl_db_fatal(const PGresult *result);
