// The inside of a connection, shared by db/conn (connecting and disconnecting) and
// db/conn_pipeline (commands and results).
//
// Threads: a connection belongs to its loop's thread.
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/backoff.h"
#include "base/log.h"
#include "db/conn.h"
#include "db/server.h"

enum pl_conn_state { PL_CONN_DOWN, PL_CONN_DIALLING, PL_CONN_GREETING, PL_CONN_UP };

struct pl_conn_statement {
	char *name, *sql;
	bool prepared;          // on this connection
	bool worked;            // it succeeded at least once in this session
	struct pl_error failed; // the last attempt to prepare it; code 0: it succeeded
	struct pl_conn_statement *next;
};

struct pl_conn_command {
	pl_conn_result_fn *fn;
	void *arg;
	PGresult *result; // held until the Sync is answered
	bool failed;      // `result` is an error
	bool answered;    // its own result has come
	bool more;        // the next command belongs to the same transaction
	char *preparing;  // name of the statement that is prepared first, in the same transaction, or NULL
	bool preparing_answered;
	struct pl_conn_statement
		*statement; // the statement that it executes; NULL: other SQL, or the statement was removed
	struct pl_conn_command *next;
};

struct pl_conn {
	struct pl_loop *loop;
	char *dsn, *dsn_file, *user, *name; // dsn_file, user: or NULL
	char **setup;
	int64_t connect_timeout_us, statement_timeout_us, lock_timeout_us;
	bool read_only;
	size_t result_bytes_max, received_bytes; // of the first command's result, so far
	void (*changed)(struct pl_conn *conn, bool up, void *arg);
	void *arg;

	enum pl_conn_state state;
	struct pl_dial *dial;
	PGconn *pg;
	struct pl_watch *watch; // of the dial, then of the socket
	struct pl_timer *timer; // DOWN: when to dial; otherwise the time limit of the first command
	struct pl_backoff backoff;
	struct pl_conn_statement *statements;
	struct pl_conn_command *head, **tail;
	struct pl_conn_command *last;   // the newest of them; only looked at while `joined`
	struct pl_conn_command *newest; // valid only directly after sending
	bool joined;                    // everything sent now belongs to one transaction
	int in_flight;
	int64_t down_since_us; // 0 = up
	bool refused;          // connecting has failed since then
	int backend_pid;
	char backend_start[40];
	bool standby, frozen; // when last checked
	char settings[33];    // fingerprint of the settings for new sessions, when last read
	bool unsure;          // the settings changed while this session began
	int64_t up_at_us;
	struct pl_server server; // which one it is on
	bool broken;             // libpq gave it up while sending; the timer, which is due at once, ends it
	bool renewing;           // nothing more is sent; once all results are in, the session is replaced
	bool looking;            // a check of the session is in progress
	bool tells_superuser;
	struct pl_timer *look;
	struct pl_backoff renew_backoff; // for sessions that cannot prepare a statement
	int64_t renew_at_us;
	struct pl_log_limit renew_limit, prepare_limit;
	struct pl_error last_error;
	struct pl_log_limit loss_limit;
	uint64_t connects;
	int depth;  // nesting of running callbacks
	bool freed; // by a callback
};

// Sends what libpq has buffered; if the socket is full, waits for it.
void pl_conn_pipeline_want(struct pl_conn *conn);
// Completes a command that libpq accepted (`ok` is what libpq returned): sends its Sync
// and appends it to the list. -1 with err if libpq refused it.
int pl_conn_pipeline_sent(struct pl_conn *conn, int ok, pl_conn_result_fn *fn, void *arg,
                          const char *preparing, struct pl_error *err);
void pl_conn_pipeline_prepare(struct pl_conn *conn, struct pl_conn_statement *statement);
// Handles a result of the first command; takes ownership of it.
void pl_conn_pipeline_result(struct pl_conn *conn, PGresult *result);
// Handles the first Sync: the commands before it are finished, whether they succeeded
// or not, and are called back.
void pl_conn_pipeline_end(struct pl_conn *conn);
void pl_conn_command_free(struct pl_conn_command *command);

// conn_renew.c: whether the command failed because its session is outdated; if so, the
// session will be replaced.
bool pl_conn_renew_for(struct pl_conn *conn, const struct pl_conn_command *failed,
                       const struct pl_error *err);
// Handles the answer to pl_conn_renew_who.
void pl_conn_renew_take_who(struct pl_conn *conn, const PGresult *result);
extern const char pl_conn_renew_who[];
#define PL_RENEW_SETTINGS "the settings of its role or database have changed"
void pl_conn_renew_look(void *conn); // called by the timer
// conn.c: replaces the session if that is requested and nothing is in flight.
void pl_conn_renew_now(struct pl_conn *conn);
