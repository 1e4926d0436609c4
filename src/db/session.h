// A database session for a thread that may wait: the relay, the applier, housekeeping, and plist-admin.
//
// Waits with poll(2) on the socket and on a stop signal, never in libpq, so a dead network or a stopping program does not hold it.
// Threads: belongs to one thread at a time.
#pragma once

#include <libpq-fe.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "db/conn.h"

struct pl_session;

struct pl_session_options {
	const char *dsn;
	const char *application_name;
	int64_t connect_timeout_us, statement_timeout_us, lock_timeout_us; // 0 = none
	int stop_fd;                       // readable = give up with PL_ESTOPPED; -1 for none
	const char *const *setup;          // NULL-ended: SQL without parameters, run after each connect; prepares go here too
};

// Does not connect yet.
struct pl_session *pl_session_new(const struct pl_session_options *options);
void pl_session_free(struct pl_session **session);

// Connects if not connected. 0, PL_EUNAVAIL, PL_ESTOPPED.
int pl_session_connect(struct pl_session *session, struct pl_error *err);
bool pl_session_connected(const struct pl_session *session);
// The same, after a look at what has arrived: an end that the server has announced is noticed without asking it anything. Drops a connection that has ended.
bool pl_session_stands(struct pl_session *session);
void pl_session_drop(struct pl_session *session);
PGconn *pl_session_pg(struct pl_session *session); // non-blocking; for what is not offered here

// The result, to be PQclear-ed; NULL with err: an SQL error (err->sqlstate says which, connection still good), PL_EUNAVAIL, PL_EUNKNOWN
// (lost after sending), PL_ETIMEOUT, PL_ESTOPPED; in the last four, without an sqlstate, the connection has been dropped.
// (err->retryable for 40001, 40P01, 55P03 and for a server that is starting or stopping.)
PGresult *pl_session_exec(struct pl_session *session, const char *sql, int nparams, const char *const *params, struct pl_error *err);
PGresult *pl_session_exec_prepared(struct pl_session *session, const char *statement, int nparams, const char *const *params,
                                   struct pl_error *err);
// The same in two steps, for who has something to do while the server works: sent (0 or a code), and waited for. Nothing else may be asked between
// them, and what was sent must be received.
int pl_session_send(struct pl_session *session, const char *statement, const struct pl_conn_params *params, struct pl_error *err);
PGresult *pl_session_receive(struct pl_session *session, struct pl_error *err);
// "BEGIN", "COMMIT", "SET …": 0 or a code. A COMMIT that is lost is PL_EUNKNOWN.
int pl_session_do(struct pl_session *session, const char *sql, struct pl_error *err);
// After an exec of "COPY … FROM STDIN" that gave PGRES_COPY_IN: its data, then the end. `abandon` (may be NULL) makes the server undo it. The end
// in two steps is copy_close and receive.
int pl_session_copy_put(struct pl_session *session, const char *data, size_t len, struct pl_error *err);
int pl_session_copy_close(struct pl_session *session, const char *abandon, struct pl_error *err);
int pl_session_copy_end(struct pl_session *session, const char *abandon, struct pl_error *err);
// Waits for up to `us`, or until stop_fd is readable: PL_ESTOPPED then, else 0. Backoff without a bare sleep.
int pl_session_pause(struct pl_session *session, int64_t us);
