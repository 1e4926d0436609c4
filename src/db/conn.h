// A database connection for an event loop: libpq, non-blocking, in pipeline mode. It
// reconnects by itself.
//
// Used by store/. Threads: belongs to its loop's thread.
#pragma once

#include <libpq-fe.h>
#include <stdbool.h>

#include "base/error.h"
#include "base/loop.h"

struct pl_conn;

// Called once for each command sent. `result` NULL: the connection was lost before the
// command's transaction was known to have ended; err->code is PL_EUNKNOWN, or PL_ESTOPPED
// when the connection is being freed. A result of an SQL error comes with err filled in
// (SQLSTATE, retryable): nothing was written. err->code 0: the transaction is committed.
// The result is cleared after the call.
typedef void pl_conn_result_fn(void *arg, PGresult *result, const struct pl_error *err);

struct pl_conn_options {
	struct pl_loop *loop;
	const char *dsn;
	const char *dsn_file;         // read again for each connection; may be NULL
	const char *user;             // instead of the string's; may be NULL
	const char *application_name; // e.g. "plistd us worker-1 write"
	int64_t connect_timeout_us, statement_timeout_us, lock_timeout_us;
	bool read_only;
	size_t result_bytes_max;  // a larger result fails its command (PL_EINVAL); 0: no limit
	const char *const *setup; // NULL-ended: SQL without parameters, run on each new connection
	// After connecting and setup, and after a loss.
	void (*changed)(struct pl_conn *conn, bool up, void *arg);
	void *arg;
	bool tells_superuser; // warn once per process if its role is a superuser
};

// Begins to connect at once. Everything in `options` is copied.
struct pl_conn *pl_conn_new(const struct pl_conn_options *options);
// Takes effect with the next connection: another password, for example.
void pl_conn_set_dsn(struct pl_conn *conn, const char *dsn, const char *dsn_file);
void pl_conn_set_setup(struct pl_conn *conn, const char *const *setup); // likewise
// Outstanding commands are called back with PL_ESTOPPED. Safe in a callback.
void pl_conn_free(struct pl_conn **conn_p);

bool pl_conn_up(const struct pl_conn *conn);
// Its session works and is being replaced by a new one, which takes a few milliseconds.
// See db/conn_renew.c.
bool pl_conn_renewing(const struct pl_conn *conn);
void pl_conn_renew(struct pl_conn *conn, const char *why);
void pl_conn_renew_old(struct pl_conn *conn, const char *why); // unless it is at most a second old
// False with the reason if the server accepts no writes: an operator froze the
// database, or it is a standby.
bool pl_conn_writable(const struct pl_conn *conn, struct pl_error *why);
// How long it has been down, counted from pl_conn_new if it never was up; 0 if it is
// up.
int64_t pl_conn_down_us(const struct pl_conn *conn);
int pl_conn_in_flight(const struct pl_conn *conn); // commands that were sent and not called back
// Of the current or last connection; 0 if there was none. The start of the process, as
// PostgreSQL prints it, distinguishes it from a later one with the same pid.
int pl_conn_backend_pid(const struct pl_conn *conn);
const char *pl_conn_backend_start(const struct pl_conn *conn);
bool pl_conn_refused(const struct pl_conn *conn); // connecting has failed since the connection was lost
// Why it is not up, or why a statement cannot be prepared.
const struct pl_error *pl_conn_last_error(const struct pl_conn *conn);
uint64_t pl_conn_reconnects(const struct pl_conn *conn);

// Prepares `name` on this and every later connection, before anything else is sent there.
// A statement that cannot be prepared (a table is missing) does not keep the connection
// down: it is tried again with each use, which fails until then.
void pl_conn_prepare(struct pl_conn *conn, const char *name, const char *sql);
void pl_conn_unprepare(struct pl_conn *conn, const char *name);
bool pl_conn_prepared(const struct pl_conn *conn, struct pl_error *why); // all of them

// A statement's parameters: texts, or where formats[i] is 1 lengths[i] bytes in
// PostgreSQL's binary form.
struct pl_conn_params {
	int n;
	const char *const *values;
	const int *lengths, *formats; // may be NULL: all texts
};

// Sends a prepared statement as a separate transaction. -1 with err if the connection
// is not up; then fn is not called.
int pl_conn_send(struct pl_conn *conn, const char *statement, const struct pl_conn_params *params,
                 pl_conn_result_fn *fn, void *arg, struct pl_error *err);
// The same for SQL that is not prepared.
int pl_conn_send_sql(struct pl_conn *conn, const char *sql, const struct pl_conn_params *params,
                     pl_conn_result_fn *fn, void *arg, struct pl_error *err);

// Discards everything that earlier commands left in the session (locks, prepared
// statements, settings, notifications, temporary tables), and sets the session up
// again. For a connection without prepared statements that runs foreign SQL. If the
// session cannot be cleaned, the connection is dropped.
void pl_conn_discard(struct pl_conn *conn);

// What is sent between these two is one transaction. Nothing is committed before
// pl_conn_commit, which must be called before the loop continues. When a command fails,
// the callbacks of the others also get its result, with PL_ECONFLICT and SQLSTATE
// 40000: they were rolled back or not executed, through no fault of their own. A
// failure of the commit is reported for the last command. A command whose session was
// too old for its statement and is being replaced also gets 40000: nothing was done,
// and it may be sent again.
void pl_conn_begin(struct pl_conn *conn);
void pl_conn_commit(struct pl_conn *conn);

// Drops the connection, for instance because a deadline passed: outstanding commands
// are called back as lost, and it reconnects.
void pl_conn_drop(struct pl_conn *conn, const char *why);

// An error that may disappear in a new session or when the statement is prepared again:
// another session has changed the columns of a table, replaced or moved it, or the
// prepared statement no longer exists.
bool pl_db_error_stale(const struct pl_error *err);
bool pl_db_error_read_only(const struct pl_error *err); // 25006: a frozen database, or a standby
bool pl_db_error_again(const struct pl_error *err);     // 40000: nothing was done; send it again

// SQL: a fingerprint of the settings that the current role and database give to new
// sessions.
#define PL_DB_SETTINGS                                                                                      \
	"coalesce((SELECT md5(string_agg(concat_ws(' ', setdatabase, setrole, setconfig::text), ' ' ORDER " \
	"BY setdatabase, setrole)) "                                                                        \
	"FROM pg_db_role_setting WHERE setdatabase IN (0, (SELECT oid FROM pg_database WHERE datname = "    \
	"current_database())) "                                                                             \
	"AND setrole IN (0, (SELECT oid FROM pg_roles WHERE rolname = session_user))), 'none')"

// Classifies a failed result. Shared with db/session.
void pl_db_error(struct pl_error *err, const PGresult *result);
// Whether the connection has ended with this result, according to the server or libpq.
bool pl_db_error_is_fatal(const PGresult *result);
