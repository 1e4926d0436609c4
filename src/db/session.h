// A database session for a thread that may block: the relay, the applier, housekeeping,
// and plist-admin.
//
// Waits with poll(2) on the socket and on a stop signal, never in libpq, so that
// neither a dead network nor a shutdown has to wait for it.
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
	const char *dsn_file; // read again for each connection; may be NULL
	const char *user;     // replaces the user of the string; may be NULL
	const char *application_name;
	int64_t connect_timeout_us, statement_timeout_us, lock_timeout_us; // 0 = none
	int stop_fd; // when readable, waiting ends with PL_ESTOPPED; -1: none
	const char *const
		*setup; // NULL-ended: SQL without parameters, run after each connect, such as PREPARE
};

// Does not connect yet.
struct pl_session *pl_session_new(const struct pl_session_options *options);
void pl_session_free(struct pl_session **session_p);

// Connects if not connected. Returns 0, PL_EUNAVAIL or PL_ESTOPPED.
int pl_session_connect(struct pl_session *session, struct pl_error *err);
bool pl_session_connected(const struct pl_session *session);
// The same, but first reads what has arrived, so that an end announced by the server is
// noticed without a query. Drops a connection that has ended, and one that is not on the
// server of the newest session of the process: see server.h.
bool pl_session_stands(struct pl_session *session);
void pl_session_drop(struct pl_session *session);
// Takes effect at the next connect: another password, for example.
void pl_session_set_dsn(struct pl_session *session, const char *dsn, const char *dsn_file);
// Checks the session: its prepared statements are valid, the settings of its role and
// database are those with which it began, and new sessions reach the same server.
// Returns 0, or a code with err; a session that should be replaced has been dropped.
// Waits for no lock. See db/conn_renew.c.
int pl_session_look(struct pl_session *session, struct pl_error *err);
// The number of the process that serves it, asked of the server, since a pooler tells its
// clients other numbers. 0: the session has failed.
int pl_session_process(struct pl_session *session);
PGconn *pl_session_pg(struct pl_session *session); // non-blocking; for functions that are not offered here

// Returns the result, to be freed with PQclear, or NULL with err: an SQL error (with
// err->sqlstate; the connection remains usable), PL_EUNAVAIL, PL_EUNKNOWN (lost after
// sending), PL_ETIMEOUT or PL_ESTOPPED. In these four cases, which have no sqlstate,
// the connection has been dropped. A prepared statement that failed because its session
// is outdated (pl_db_error_stale) is an SQL error and also drops the connection.
// err->retryable is set for 40001, 40P01, 55P03 and for a server that is starting or
// stopping.
PGresult *pl_session_exec(struct pl_session *session, const char *sql, int nparams, const char *const *params,
                          struct pl_error *err);
PGresult *pl_session_exec_prepared(struct pl_session *session, const char *statement, int nparams,
                                   const char *const *params, struct pl_error *err);
// The same in two steps, for callers that can work while the server does: send (returns
// 0 or a code), then receive. Nothing else may be sent in between, and a command that
// was sent must be received.
int pl_session_send(struct pl_session *session, const char *statement, const struct pl_conn_params *params,
                    struct pl_error *err);
PGresult *pl_session_receive(struct pl_session *session, struct pl_error *err);
// "BEGIN", "COMMIT", "SET …": returns 0 or a code. A lost COMMIT is PL_EUNKNOWN.
int pl_session_do(struct pl_session *session, const char *sql, struct pl_error *err);
// After an exec of "COPY … FROM STDIN" that returned PGRES_COPY_IN: its data, then the
// end. `abandon` (may be NULL) makes the server discard it. The end in two steps is
// copy_close and receive.
// After an exec of "COPY … TO STDOUT": the next row, to be PQfreemem-ed: its length, 0 at
// the end, or a code.
int pl_session_copy_get(struct pl_session *session, char **data_r, struct pl_error *err);
int pl_session_copy_put(struct pl_session *session, const char *data, size_t len, struct pl_error *err);
int pl_session_copy_close(struct pl_session *session, const char *abandon, struct pl_error *err);
int pl_session_copy_end(struct pl_session *session, const char *abandon, struct pl_error *err);
// Waits for up to `us`. Returns PL_ESTOPPED if stop_fd becomes readable, else 0. Used
// for backoff.
int pl_session_pause(struct pl_session *session, int64_t us);
