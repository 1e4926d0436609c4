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
// What is sent and answered on it is in db/pipeline; here is how it comes and goes.
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
#include "db/pipeline.h"

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
		struct pl_statement *statement = conn->statements;

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
	conn->state = PL_CONN_UP;
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
			pl_pipeline_end(conn);
			if (conn->freed)
				return false;
			continue;
		}
		fatal = fatal || pl_db_fatal(result) || PQstatus(pg) == CONNECTION_BAD;
		pl_pipeline_result(conn, result);
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
	if (alive && conn->state == PL_CONN_GREETING && !conn->head)
		come_up(conn);
	if (leave(conn) && alive && conn->pg)
		pl_pipeline_want(conn);
}

static void greet(struct pl_conn *conn)
{
	static const char who[] = "SELECT pid, backend_start FROM pg_stat_activity WHERE pid = pg_backend_pid()";
	struct pl_error err;

	conn->state = PL_CONN_GREETING;
	conn->backend_pid = 0;
	PQenterPipelineMode(conn->pg);
	conn->watch = pl_watch_new(conn->loop, PQsocket(conn->pg), EPOLLIN, on_socket, conn);
	if (pl_pipeline_sent(conn, PQsendQueryParams(conn->pg, who, 0, NULL, NULL, NULL, NULL, 0), greeted, conn, NULL, &err) < 0) {
		lose(conn, PL_EUNAVAIL, err.text);
		return;
	}
	for (struct pl_statement *statement = conn->statements; statement; statement = statement->next)
		pl_pipeline_prepare(conn, statement);
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

	conn->state = PL_CONN_DIALLING;
	conn->dial = pl_dial_start(&options);
	conn->watch = pl_watch_new(conn->loop, pl_dial_fd(conn->dial), EPOLLIN, on_dialled, conn);
}

static void on_timer(void *arg)
{
	struct pl_conn *conn = arg;

	enter(conn);
	if (conn->state == PL_CONN_DOWN)
		dial(conn);
	else
		lose(conn, PL_EUNAVAIL, "the server does not answer");
	leave(conn);
}

// ---- going down

// Takes the connection apart and tells everyone. `code` PL_ESTOPPED: for good.
static void lose(struct pl_conn *conn, int code, const char *why)
{
	struct pl_command *lost = conn->head;
	bool was_up = conn->state == PL_CONN_UP;
	struct pl_error err;

	conn->state = PL_CONN_DOWN;
	conn->head = NULL;
	conn->tail = &conn->head;
	conn->last = NULL;
	conn->in_flight = 0;
	if (!conn->down_since_us)
		conn->down_since_us = pl_mono_us();
	pl_watch_free(&conn->watch);
	pl_dial_cancel(&conn->dial);
	PQfinish(conn->pg);
	conn->pg = NULL;
	for (struct pl_statement *statement = conn->statements; statement; statement = statement->next)
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
		struct pl_command *next = lost->next;

		if (lost->fn)
			lost->fn(lost->arg, NULL, &err);
		pl_command_free(lost);
		lost = next;
	}
}

void pl_conn_drop(struct pl_conn *conn, const char *why)
{
	if (conn->state == PL_CONN_DOWN)
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
	conn->backoff = (struct pl_backoff){ .min_us = 50000, .max_us = 1000000 };
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
	return conn->state == PL_CONN_UP;
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
