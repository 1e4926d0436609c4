// A connection for an event loop.
//
// Stands under record/store, which sends one batch at a time on it, or a handful of reads.
//
//	DOWN ──timer──▶ DIALLING ──dial's thread is done──▶ GREETING ──all greeted──▶ UP
//	  ▲                 │                                   │                     │
//	  └──────backoff────┴───────────────lost────────────────┴─────────────────────┘
//
// GREETING: the connection is in pipeline mode; who the backend is and the statements to prepare have been sent.
//
// Each command is followed by a Sync, so it is a transaction of its own. PostgreSQL answers the command first and commits when it
// reaches the Sync: a result says nothing about the commit. So a result is held until its Sync has been answered, and an error that
// comes between the two replaces it.
//
// Invariants: `head` lists the commands sent and not called back, in order. When the connection is lost they are all called back, after
// the connection has been taken apart, so that a callback may send anew (and is told that it is not up), drop or free.
// Threads: belongs to its loop's thread.
#include "db/conn.h"

#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>

#include "base/backoff.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "db/dial.h"

enum state { DOWN, DIALLING, GREETING, UP };

struct statement {
	char *name, *sql;
	bool prepared;          // on this connection
	struct pl_error failed; // the last attempt; code 0 if there was none
	struct statement *next;
};

struct command {
	pl_conn_result_fn *fn;
	void *arg;
	PGresult *result;        // held until the Sync is answered
	bool failed;             // `result` is an error
	char *preparing;         // name of the statement that is prepared first in the same transaction, or NULL
	bool preparing_answered;
	struct command *next;
};

struct pl_conn {
	struct pl_loop *loop;
	char *dsn, *name;
	char **setup;
	int64_t connect_timeout_us, statement_timeout_us, lock_timeout_us;
	bool read_only;
	void (*changed)(struct pl_conn *conn, bool up, void *arg);
	void *arg;

	enum state state;
	struct pl_dial *dial;
	PGconn *pg;
	struct pl_watch *watch;      // of the dial, then of the socket
	struct pl_timer *timer;      // DOWN: when to dial; else: patience with the first command
	struct pl_backoff backoff;
	struct statement *statements;
	struct command *head, **tail;
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

static void lose(struct pl_conn *conn, int code, const char *why);
static void dial(struct pl_conn *conn);

// ---- what the callbacks may have done meanwhile

static void enter(struct pl_conn *conn)
{
	conn->depth++;
}

static void destroy(struct pl_conn *conn)
{
	while (conn->statements) {
		struct statement *statement = conn->statements;

		conn->statements = statement->next;
		free(statement->name);
		free(statement->sql);
		free(statement);
	}
	pl_texts_free(conn->setup);
	explicit_bzero(conn->dsn, strlen(conn->dsn));
	free(conn->dsn);
	free(conn->name);
	free(conn);
}

// False when a callback has freed the connection: nothing of it may be touched any more.
static bool leave(struct pl_conn *conn)
{
	if (--conn->depth > 0 || !conn->freed)
		return !conn->freed;
	destroy(conn);
	return false;
}

// ---- commands

static void want(struct pl_conn *conn)
{
	int left = PQflush(conn->pg);

	pl_watch_set(conn->watch, EPOLLIN | (left > 0 ? EPOLLOUT : 0)); // a failure (-1) shows when we read
}

static void patience(struct pl_conn *conn)
{
	int64_t us = pl_dial_patience_us(conn->statement_timeout_us);

	if (conn->head && us > 0)
		pl_timer_set(conn->timer, us);
	else
		pl_timer_stop(conn->timer);
}

static void command_add(struct pl_conn *conn, pl_conn_result_fn *fn, void *arg, const char *preparing)
{
	struct command *command = pl_calloc(1, sizeof *command);

	command->fn = fn;
	command->arg = arg;
	command->preparing = preparing ? pl_strdup(preparing) : NULL;
	*conn->tail = command;
	conn->tail = &command->next;
	conn->in_flight++;
	if (conn->head == command)
		patience(conn);
}

static struct command *command_take(struct pl_conn *conn)
{
	struct command *command = conn->head;

	conn->head = command->next;
	if (!conn->head)
		conn->tail = &conn->head;
	conn->in_flight--;
	return command;
}

static void command_free(struct command *command)
{
	PQclear(command->result);
	free(command->preparing);
	free(command);
}

static struct statement *statement_find(const struct pl_conn *conn, const char *name)
{
	struct statement *statement = conn->statements;

	while (statement && strcmp(statement->name, name) != 0)
		statement = statement->next;
	return statement;
}

// A command's Sync has been answered: it is over, for better or worse.
static void command_end(struct pl_conn *conn)
{
	struct command *command = command_take(conn);
	struct pl_error err = { 0 };

	patience(conn);
	if (command->failed)
		pl_db_error(&err, command->result);
	else if (!command->result)
		pl_error_set(&err, PL_EINTERNAL, "the database answered without a result");
	if (command->preparing) {
		struct statement *statement = statement_find(conn, command->preparing);

		if (statement && !command->preparing_answered) {
			statement->prepared = false;
			statement->failed = err;
			conn->last_error = err;
			pl_error_prefix(&conn->last_error, "preparing statements");
		}
	}
	if (command->fn)
		command->fn(command->arg, command->result, &err);
	command_free(command);
}

static void command_result(struct pl_conn *conn, PGresult *result)
{
	struct command *command = conn->head;
	bool failed = PQresultStatus(result) == PGRES_FATAL_ERROR || PQresultStatus(result) == PGRES_BAD_RESPONSE;

	if (PQresultStatus(result) == PGRES_PIPELINE_ABORTED || (command->failed && command->result)) {
		PQclear(result); // what follows an error tells nothing new
		return;
	}
	if (!failed && command->preparing && !command->preparing_answered) {
		command->preparing_answered = true;
		if (command->fn) { // the result of the statement itself is to come
			PQclear(result);
			return;
		}
	}
	PQclear(command->result);
	command->result = result;
	command->failed = failed;
}

static int sent(struct pl_conn *conn, int ok, pl_conn_result_fn *fn, void *arg, const char *preparing, struct pl_error *err)
{
	if (!ok) { // what was wrong with the call; nothing was put into the pipeline
		char text[PL_ERROR_TEXT_MAX];

		pl_dial_message(PQerrorMessage(conn->pg), text, sizeof text);
		pl_error_set(err, PL_EINTERNAL, "libpq: %s", text);
		return -1;
	}
	PQpipelineSync(conn->pg);
	command_add(conn, fn, arg, preparing);
	want(conn);
	return 0;
}

static int prepare(struct pl_conn *conn, struct statement *statement)
{
	statement->prepared = true; // until we hear otherwise
	memset(&statement->failed, 0, sizeof statement->failed);
	return PQsendPrepare(conn->pg, statement->name, statement->sql, 0, NULL);
}

static int not_up(const struct pl_conn *conn, struct pl_error *err)
{
	pl_error_set(err, PL_EUNAVAIL, "the database is away: %s",
	             conn->last_error.code ? conn->last_error.text : "connecting has not ended yet");
	if (err)
		err->retryable = true;
	return -1;
}

static const struct pl_conn_params no_params;

int pl_conn_send(struct pl_conn *conn, const char *name, const struct pl_conn_params *params, pl_conn_result_fn *fn, void *arg,
                 struct pl_error *err)
{
	struct statement *statement = statement_find(conn, name);
	bool first;

	if (conn->state != UP)
		return not_up(conn, err);
	if (!statement) {
		pl_error_set(err, PL_EINTERNAL, "there is no statement \"%s\"", name);
		return -1;
	}
	params = params ? params : &no_params;
	first = !statement->prepared;
	if (first && !prepare(conn, statement))
		return sent(conn, 0, fn, arg, NULL, err);
	return sent(conn, PQsendQueryPrepared(conn->pg, name, params->n, params->values, params->lengths, params->formats, 0), fn, arg,
	            first ? name : NULL, err);
}

int pl_conn_send_sql(struct pl_conn *conn, const char *sql, const struct pl_conn_params *params, pl_conn_result_fn *fn, void *arg,
                     struct pl_error *err)
{
	if (conn->state != UP)
		return not_up(conn, err);
	params = params ? params : &no_params;
	return sent(conn, PQsendQueryParams(conn->pg, sql, params->n, NULL, params->values, params->lengths, params->formats, 0), fn, arg,
	            NULL, err);
}

// ---- statements

void pl_conn_prepare(struct pl_conn *conn, const char *name, const char *sql)
{
	struct statement *statement = pl_calloc(1, sizeof *statement), **at = &conn->statements;

	statement->name = pl_strdup(name);
	statement->sql = pl_strdup(sql);
	while (*at)
		at = &(*at)->next;
	*at = statement;
	if (conn->state >= GREETING)
		sent(conn, prepare(conn, statement), NULL, NULL, name, &statement->failed);
}

void pl_conn_unprepare(struct pl_conn *conn, const char *name)
{
	struct statement *statement, **at = &conn->statements;

	while (*at && strcmp((*at)->name, name) != 0)
		at = &(*at)->next;
	statement = *at;
	if (!statement)
		return;
	*at = statement->next;
	if (conn->state >= GREETING && statement->prepared) {
		char sql[128];

		snprintf(sql, sizeof sql, "DEALLOCATE \"%s\"", name); // a name of ours: no quotes in it
		sent(conn, PQsendQueryParams(conn->pg, sql, 0, NULL, NULL, NULL, NULL, 0), NULL, NULL, NULL, NULL);
	}
	free(statement->name);
	free(statement->sql);
	free(statement);
}

bool pl_conn_prepared(const struct pl_conn *conn, struct pl_error *why)
{
	for (const struct statement *statement = conn->statements; statement; statement = statement->next)
		if (statement->failed.code) {
			if (why)
				*why = statement->failed;
			return false;
		}
	return true;
}

// ---- coming up

static void greeted(void *arg, PGresult *result, const struct pl_error *err)
{
	struct pl_conn *conn = arg;

	if (!result || err->code || PQntuples(result) != 1)
		return; // settled by come_up: there is no pid
	conn->backend_pid = atoi(PQgetvalue(result, 0, 0));
	snprintf(conn->backend_start, sizeof conn->backend_start, "%s", PQgetvalue(result, 0, 1));
}

// All that was sent in GREETING has been answered.
static void come_up(struct pl_conn *conn)
{
	struct pl_error why;

	if (conn->backend_pid == 0) {
		lose(conn, PL_EUNAVAIL, "the backend does not show in pg_stat_activity");
		return;
	}
	conn->state = UP;
	conn->down_since_us = 0;
	pl_backoff_reset(&conn->backoff);
	if (!pl_conn_prepared(conn, &why))
		pl_err("database: %s: %s", conn->name, why.text);
	else
		memset(&conn->last_error, 0, sizeof conn->last_error);
	if (conn->connects++ > 0)
		pl_notice("database: %s: connected again", conn->name);
	if (conn->changed)
		conn->changed(conn, true, conn->arg);
}

// Takes in what has arrived. Returns false when the connection was lost or freed meanwhile.
static bool take_in(struct pl_conn *conn)
{
	PGconn *pg = conn->pg;
	bool ok = PQconsumeInput(pg), fatal = false;
	int nothing = 0;

	while (conn->pg == pg && conn->head && !PQisBusy(pg)) {
		PGresult *result = PQgetResult(pg);

		if (!result) { // between two commands; twice in a row would be a fault of ours, and must not become a busy loop
			if (++nothing > 2)
				break;
			continue;
		}
		nothing = 0;
		if (PQresultStatus(result) == PGRES_PIPELINE_SYNC) {
			PQclear(result);
			command_end(conn);
			if (conn->freed)
				return false;
			continue;
		}
		fatal = fatal || pl_db_fatal(result) || PQstatus(pg) == CONNECTION_BAD;
		command_result(conn, result);
	}
	if (conn->pg != pg) // a callback dropped it
		return false;
	if (!ok || fatal || PQstatus(pg) == CONNECTION_BAD) {
		char text[PL_ERROR_TEXT_MAX];

		pl_dial_message(PQerrorMessage(pg), text, sizeof text);
		lose(conn, PL_EUNAVAIL, text[0] ? text : "closed by the server");
		return false;
	}
	return true;
}

static void on_socket(void *arg, uint32_t events)
{
	struct pl_conn *conn = arg;
	bool alive;

	(void)events;
	enter(conn);
	alive = take_in(conn);
	if (alive && conn->state == GREETING && !conn->head)
		come_up(conn);
	if (leave(conn) && alive && conn->pg)
		want(conn);
}

static void greet(struct pl_conn *conn)
{
	static const char who[] = "SELECT pid, backend_start FROM pg_stat_activity WHERE pid = pg_backend_pid()";
	struct pl_error err;

	conn->state = GREETING;
	conn->backend_pid = 0;
	PQenterPipelineMode(conn->pg);
	conn->watch = pl_watch_new(conn->loop, PQsocket(conn->pg), EPOLLIN, on_socket, conn);
	if (sent(conn, PQsendQueryParams(conn->pg, who, 0, NULL, NULL, NULL, NULL, 0), greeted, conn, NULL, &err) < 0) {
		lose(conn, PL_EUNAVAIL, err.text);
		return;
	}
	for (struct statement *statement = conn->statements; statement; statement = statement->next)
		sent(conn, prepare(conn, statement), NULL, NULL, statement->name, &statement->failed);
}

static void on_dialled(void *arg, uint32_t events)
{
	struct pl_conn *conn = arg;
	struct pl_error err;

	(void)events;
	pl_watch_free(&conn->watch);
	conn->pg = pl_dial_finish(&conn->dial, &err);
	enter(conn);
	if (conn->pg)
		greet(conn);
	else
		lose(conn, err.code, err.text);
	leave(conn);
}

static void dial(struct pl_conn *conn)
{
	struct pl_dial_options options = {
		.dsn = conn->dsn, .application_name = conn->name, .connect_timeout_us = conn->connect_timeout_us,
		.statement_timeout_us = conn->statement_timeout_us, .lock_timeout_us = conn->lock_timeout_us,
		.read_only = conn->read_only, .setup = (const char *const *)conn->setup,
	};

	conn->state = DIALLING;
	conn->dial = pl_dial_start(&options);
	conn->watch = pl_watch_new(conn->loop, pl_dial_fd(conn->dial), EPOLLIN, on_dialled, conn);
}

static void on_timer(void *arg)
{
	struct pl_conn *conn = arg;

	enter(conn);
	if (conn->state == DOWN)
		dial(conn);
	else
		lose(conn, PL_EUNAVAIL, "the server does not answer");
	leave(conn);
}

// ---- going down

// Takes the connection apart and tells everyone. `code` PL_ESTOPPED: for good.
static void lose(struct pl_conn *conn, int code, const char *why)
{
	struct command *lost = conn->head;
	bool was_up = conn->state == UP;
	struct pl_error err;

	conn->state = DOWN;
	conn->head = NULL;
	conn->tail = &conn->head;
	conn->in_flight = 0;
	if (!conn->down_since_us)
		conn->down_since_us = pl_mono_us();
	pl_watch_free(&conn->watch);
	pl_dial_cancel(&conn->dial);
	PQfinish(conn->pg);
	conn->pg = NULL;
	for (struct statement *statement = conn->statements; statement; statement = statement->next)
		statement->prepared = false;
	if (code == PL_ESTOPPED) {
		pl_timer_stop(conn->timer);
	} else {
		int64_t wait_us = pl_backoff_next(&conn->backoff);

		// `why` may point into last_error
		pl_error_set(&err, code, "%s", why);
		conn->last_error = err;
		conn->last_error.retryable = true;
		if (was_up || pl_log_limit_ok(&conn->loss_limit, 10000000))
			pl_warning("database: %s: %s; trying again", conn->name, err.text);
		pl_timer_set(conn->timer, wait_us);
	}
	if (was_up && code != PL_ESTOPPED && conn->changed)
		conn->changed(conn, false, conn->arg);
	pl_error_set(&err, code == PL_ESTOPPED ? PL_ESTOPPED : PL_EUNKNOWN, "%s",
	             code == PL_ESTOPPED ? "stopped before the database answered" : "the database connection was lost before it answered");
	while (lost) {
		struct command *next = lost->next;

		if (lost->fn)
			lost->fn(lost->arg, NULL, &err);
		command_free(lost);
		lost = next;
	}
}

void pl_conn_drop(struct pl_conn *conn, const char *why)
{
	if (conn->state == DOWN)
		return;
	enter(conn);
	lose(conn, PL_EUNAVAIL, why);
	leave(conn);
}

struct pl_conn *pl_conn_new(const struct pl_conn_options *options)
{
	struct pl_conn *conn = pl_calloc(1, sizeof *conn);

	conn->loop = options->loop;
	conn->dsn = pl_strdup(options->dsn);
	conn->name = pl_strdup(options->application_name ? options->application_name : "plist");
	conn->setup = pl_texts_copy(options->setup);
	conn->connect_timeout_us = options->connect_timeout_us;
	conn->statement_timeout_us = options->statement_timeout_us;
	conn->lock_timeout_us = options->lock_timeout_us;
	conn->read_only = options->read_only;
	conn->changed = options->changed;
	conn->arg = options->arg;
	conn->backoff = (struct pl_backoff){ .min_us = 50000, .max_us = 2000000 };
	conn->tail = &conn->head;
	conn->timer = pl_timer_new(conn->loop, on_timer, conn);
	conn->down_since_us = pl_mono_us();
	dial(conn);
	return conn;
}

void pl_conn_free(struct pl_conn **at)
{
	struct pl_conn *conn = *at;

	if (!conn)
		return;
	*at = NULL;
	if (conn->freed)
		return;
	enter(conn);
	conn->freed = true;
	lose(conn, PL_ESTOPPED, "");
	pl_timer_free(&conn->timer);
	leave(conn);
}

bool pl_conn_up(const struct pl_conn *conn)
{
	return conn->state == UP;
}

int64_t pl_conn_down_us(const struct pl_conn *conn)
{
	return conn->down_since_us ? pl_mono_us() - conn->down_since_us : 0;
}

int pl_conn_in_flight(const struct pl_conn *conn)
{
	return conn->in_flight;
}

int pl_conn_backend_pid(const struct pl_conn *conn)
{
	return conn->backend_pid;
}

const char *pl_conn_backend_start(const struct pl_conn *conn)
{
	return conn->backend_start;
}

const struct pl_error *pl_conn_last_error(const struct pl_conn *conn)
{
	return &conn->last_error;
}

uint64_t pl_conn_reconnects(const struct pl_conn *conn)
{
	return conn->connects > 0 ? conn->connects - 1 : 0;
}
