// Inside of a connection: what db/conn (its coming and going) and db/pipeline (what is sent and answered on it) share. Nobody else
// includes this.
//
// Threads: a connection belongs to its loop's thread.
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/backoff.h"
#include "base/log.h"
#include "db/conn.h"

enum pl_conn_state { PL_CONN_DOWN, PL_CONN_DIALLING, PL_CONN_GREETING, PL_CONN_UP };

struct pl_statement {
	char *name, *sql;
	bool prepared;          // on this connection
	struct pl_error failed; // the last attempt; code 0 if there was none
	struct pl_statement *next;
};

struct pl_command {
	pl_conn_result_fn *fn;
	void *arg;
	PGresult *result;        // held until the Sync is answered
	bool failed;             // `result` is an error
	bool answered;           // its own result has come
	bool more;               // its transaction goes on with the next command
	char *preparing;         // name of the statement that is prepared first in the same transaction, or NULL
	bool preparing_answered;
	struct pl_command *next;
};

struct pl_conn {
	struct pl_loop *loop;
	char *dsn, *name;
	char **setup;
	int64_t connect_timeout_us, statement_timeout_us, lock_timeout_us;
	bool read_only;
	void (*changed)(struct pl_conn *conn, bool up, void *arg);
	void *arg;

	enum pl_conn_state state;
	struct pl_dial *dial;
	PGconn *pg;
	struct pl_watch *watch;      // of the dial, then of the socket
	struct pl_timer *timer;      // DOWN: when to dial; else: patience with the first command
	struct pl_backoff backoff;
	struct pl_statement *statements;
	struct pl_command *head, **tail;
	struct pl_command *last;     // the newest of them; only looked at while `joined`
	bool joined;                 // what is sent now is one transaction
	int in_flight;
	int64_t down_since_us;       // 0 = up
	int backend_pid;
	char backend_start[40];
	struct pl_error last_error;
	struct pl_log_limit loss_limit;
	uint64_t connects;
	int depth;                   // of callbacks that are running
	bool freed;                  // by one of them
};

// Sends what libpq holds, and waits for room if there is none.
void pl_pipeline_want(struct pl_conn *conn);
// After libpq took a command (`ok` is what it returned): its Sync, and its place in the list. -1 with err when it took none.
int pl_pipeline_sent(struct pl_conn *conn, int ok, pl_conn_result_fn *fn, void *arg, const char *preparing, struct pl_error *err);
void pl_pipeline_prepare(struct pl_conn *conn, struct pl_statement *statement);
// A result of the first command has come; it is taken over.
void pl_pipeline_result(struct pl_conn *conn, PGresult *result);
// The first Sync has been answered: the commands before it are over, for better or worse, and are called back.
void pl_pipeline_end(struct pl_conn *conn);
void pl_command_free(struct pl_command *command);
