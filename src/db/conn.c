// A connection for an event loop.
//
// Used by store/, which sends one batch at a time on it, or a few reads.
//
//	DOWN ──timer──▶ DIALLING ──dial's thread is done──▶ GREETING ──all greeted──▶ UP
//	  ▲                 │                                   │                     │
//	  └──────backoff────┴───────────────lost────────────────┴─────────────────────┘
//
// GREETING: the connection is in pipeline mode; the question which backend it has and
// the statements to prepare have been sent.
//
// db/conn_pipeline has the commands and results; this file connects and disconnects.
//
// Invariants: `head` lists the commands that were sent and not called back, in order.
// When the connection is lost, they are all called back after the connection has been
// taken apart, so that a callback may send again (and gets the error that it is not
// up), drop it or free it.
// Threads: belongs to its loop's thread.
#include "db/conn.h"

#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>

#include "base/backoff.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "db/conn_private.h"
#include "db/dial.h"

#define LOOK_US    1000000 // between two checks of a session that is up
#define READ_MIN   8192    // libpq reads at least this much at a time
#define RENEWAL_US 500000  // a new session takes less time, or does not come up

static void lose(struct pl_conn *conn, int code, const char *why);
static void dial(struct pl_conn *conn);

// ---- what a callback may have done

static void enter(struct pl_conn *conn)
{
	conn->depth++;
}

static void destroy(struct pl_conn *conn)
{
	while (conn->statements) {
		struct pl_conn_statement *statement = conn->statements;

		conn->statements = statement->next;
		free(statement->name);
		free(statement->sql);
		free(statement);
	}
	pl_dial_texts_free(conn->setup);
	explicit_bzero(conn->dsn, strlen(conn->dsn));
	free(conn->dsn);
	free(conn->dsn_file);
	free(conn->user);
	free(conn->name);
	free(conn);
}

// False if a callback has freed the connection, which must no longer be used.
static bool leave(struct pl_conn *conn)
{
	if (--conn->depth > 0 || !conn->freed)
		return !conn->freed;
	destroy(conn);
	return false;
}

// ---- connecting

static void greeted(void *arg, PGresult *result, const struct pl_error *err)
{
	struct pl_conn *conn = arg;

	if (!result || err->code || PQntuples(result) != 1)
		return; // come_up handles it: there is no pid
	pl_conn_renew_take_who(conn, result);
}

// Called when everything sent in GREETING has been answered.
static void come_up(struct pl_conn *conn)
{
	struct pl_error why;

	if (conn->backend_pid == 0) {
		lose(conn, PL_EUNAVAIL, "the backend is not listed in pg_stat_activity");
		return;
	}
	conn->state = PL_CONN_UP;
	conn->down_since_us = 0;
	conn->refused = false;
	conn->up_at_us = pl_mono_us();
	pl_backoff_reset(&conn->backoff);
	if (!pl_conn_prepared(conn, &why)) {
		conn->renew_at_us = conn->up_at_us + pl_backoff_next(&conn->renew_backoff);
		if (pl_log_limit_ok(&conn->prepare_limit, 10000000))
			pl_err("database: %s: %s; trying again", conn->name, why.text);
	} else {
		memset(&conn->last_error, 0, sizeof(conn->last_error));
		pl_backoff_reset(&conn->renew_backoff);
	}
	if (conn->connects++ > 0 && !conn->renewing)
		pl_notice("database: %s: connected again", conn->name);
	conn->renewing = false;
	pl_loop_timer_set(conn->look, LOOK_US);
	if (conn->changed)
		conn->changed(conn, true, conn->arg);
	if (conn->unsure && !conn->freed)
		pl_conn_renew(conn, PL_RENEW_SETTINGS);
}

// Reads what has arrived and estimates its size. libpq does not report how much it
// reads: at least 8 KiB if available, and usually everything.
static bool receive(struct pl_conn *conn)
{
	int fd = PQsocket(conn->pg), before = 0, after = 0;
	bool ok;

	if (conn->result_bytes_max == 0)
		return PQconsumeInput(conn->pg);
	ioctl(fd, FIONREAD, &before);
	ok = PQconsumeInput(conn->pg);
	ioctl(fd, FIONREAD, &after);
	conn->received_bytes += (size_t)(before - after > READ_MIN || before < READ_MIN ? before : READ_MIN);
	return ok;
}

// libpq keeps a result in memory until it is complete. Receiving one that is too large
// can only be stopped by ending the connection.
static void refuse_result(struct pl_conn *conn)
{
	pl_conn_result_fn *fn = conn->head->fn;
	void *arg = conn->head->arg;
	struct pl_error err = { 0 };

	pl_error_set(&err, PL_EINVAL, "the result is larger than %zu bytes", conn->result_bytes_max);
	conn->head->fn = NULL;
	lose(conn, PL_EUNAVAIL, err.text);
	if (fn)
		fn(arg, NULL, &err);
}

// What receive could not tell in time: libpq may read a whole result at once. Its buffer
// keeps that size for as long as the connection exists, so this ends it, too.
static bool is_too_large(const struct pl_conn *conn, const PGresult *result)
{
	size_t bytes = 0;

	if (conn->result_bytes_max == 0 || PQresultMemorySize(result) <= conn->result_bytes_max)
		return false;
	for (int row = 0; row < PQntuples(result); row++)
		for (int column = 0; column < PQnfields(result); column++)
			bytes += (size_t)PQgetlength(result, row, column);
	return bytes > conn->result_bytes_max;
}

// Processes what has arrived. False if the connection was lost or freed meanwhile.
static bool take_in(struct pl_conn *conn)
{
	PGconn *pg = conn->pg;
	bool ok = receive(conn), fatal = false;
	int nothing = 0;

	while (conn->pg == pg && conn->head && !PQisBusy(pg)) {
		PGresult *result = PQgetResult(pg);

		// between two commands; twice in a row would be a bug, which must not
		// become a busy loop
		if (!result) {
			if (++nothing > 2)
				break;
			continue;
		}
		nothing = 0;
		if (PQresultStatus(result) == PGRES_PIPELINE_SYNC) {
			PQclear(result);
			conn->received_bytes = 0;
			pl_conn_pipeline_end(conn);
			if (conn->freed)
				return false;
			continue;
		}
		if (is_too_large(conn, result)) {
			PQclear(result);
			refuse_result(conn);
			return false;
		}
		fatal = fatal || pl_db_error_is_fatal(result) || PQstatus(pg) == CONNECTION_BAD;
		pl_conn_pipeline_result(conn, result);
	}
	if (conn->pg != pg) // a callback dropped the connection
		return false;
	if (conn->head && conn->result_bytes_max && conn->received_bytes > conn->result_bytes_max) {
		refuse_result(conn);
		return false;
	}
	if (!ok || fatal || PQstatus(pg) == CONNECTION_BAD) {
		char text[PL_ERROR_TEXT_MAX];

		pl_dial_message(PQerrorMessage(pg), text, sizeof(text));
		lose(conn, PL_EUNAVAIL, text[0] ? text : "the server closed the connection");
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
	if (alive && conn->state == PL_CONN_UP && conn->renewing)
		pl_conn_renew_now(conn);
	if (leave(conn) && alive && conn->pg)
		pl_conn_pipeline_want(conn);
}

static void greet(struct pl_conn *conn)
{
	struct pl_error err;

	conn->state = PL_CONN_GREETING;
	conn->received_bytes = 0;
	conn->backend_pid = 0;
	PQenterPipelineMode(conn->pg);
	conn->watch = pl_loop_watch_new(conn->loop, PQsocket(conn->pg), EPOLLIN, on_socket, conn);
	if (pl_conn_pipeline_sent(
		    conn, PQsendQueryParams(conn->pg, pl_conn_renew_who, 0, NULL, NULL, NULL, NULL, 0),
		    greeted, conn, NULL, &err) < 0) {
		lose(conn, PL_EUNAVAIL, err.text);
		return;
	}
	for (struct pl_conn_statement *statement = conn->statements; statement; statement = statement->next)
		pl_conn_pipeline_prepare(conn, statement);
}

static void on_dialled(void *arg, uint32_t events)
{
	struct pl_conn *conn = arg;
	struct pl_error err;

	(void)events;
	pl_loop_watch_free(&conn->watch);
	conn->pg = pl_dial_finish(&conn->dial, &conn->server, &err);
	enter(conn);
	if (conn->pg)
		greet(conn);
	else {
		conn->refused = true;
		lose(conn, err.code, err.text);
	}
	leave(conn);
}

static void dial(struct pl_conn *conn)
{
	struct pl_dial_options options = {
		.dsn = conn->dsn,
		.dsn_file = conn->dsn_file,
		.user = conn->user,
		.application_name = conn->name,
		.connect_timeout_us = conn->connect_timeout_us,
		.statement_timeout_us = conn->statement_timeout_us,
		.lock_timeout_us = conn->lock_timeout_us,
		.read_only = conn->read_only,
		.setup = (const char *const *)conn->setup,
	};

	conn->state = PL_CONN_DIALLING;
	conn->dial = pl_dial_start(&options);
	conn->watch = pl_loop_watch_new(conn->loop, pl_dial_fd(conn->dial), EPOLLIN, on_dialled, conn);
}

static void on_timer(void *arg)
{
	struct pl_conn *conn = arg;
	char text[PL_ERROR_TEXT_MAX];

	enter(conn);
	if (conn->state == PL_CONN_DOWN) {
		dial(conn);
	} else if (conn->broken) {
		pl_dial_message(PQerrorMessage(conn->pg), text, sizeof(text));
		lose(conn, PL_EUNAVAIL, text[0] ? text : "the server closed the connection");
	} else {
		lose(conn, PL_EUNAVAIL, "the server does not respond");
	}
	leave(conn);
}

// ---- disconnecting

// Takes the connection apart; returns the commands that will get no result.
static struct pl_conn_command *take_apart(struct pl_conn *conn)
{
	struct pl_conn_command *lost = conn->head;

	conn->state = PL_CONN_DOWN;
	conn->head = NULL;
	conn->tail = &conn->head;
	conn->last = NULL;
	conn->in_flight = 0;
	if (!conn->down_since_us)
		conn->down_since_us = pl_mono_us();
	pl_loop_watch_free(&conn->watch);
	pl_dial_cancel(&conn->dial);
	PQfinish(conn->pg);
	conn->pg = NULL;
	conn->looking = conn->broken = false;
	pl_loop_timer_stop(conn->look);
	for (struct pl_conn_statement *statement = conn->statements; statement; statement = statement->next)
		statement->prepared = statement->worked = false;
	return lost;
}

void pl_conn_renew_now(struct pl_conn *conn)
{
	if (conn->head || conn->freed)
		return;
	enter(conn);
	take_apart(conn);
	pl_loop_timer_stop(conn->timer);
	if (!conn->down_since_us)
		conn->down_since_us = pl_mono_us();
	if (conn->changed)
		conn->changed(conn, false, conn->arg);
	if (!conn->freed && conn->state == PL_CONN_DOWN)
		dial(conn);
	leave(conn);
}

// Takes it apart and calls back all commands. `code` PL_ESTOPPED: it does not
// reconnect.
static void lose(struct pl_conn *conn, int code, const char *why)
{
	bool was_up = conn->state == PL_CONN_UP;
	struct pl_conn_command *lost = take_apart(conn);
	struct pl_error err;

	conn->renewing = false;
	if (code == PL_ESTOPPED) {
		pl_loop_timer_stop(conn->timer);
	} else {
		int64_t wait_us = pl_backoff_next(&conn->backoff);

		// `why` may point into last_error
		pl_error_set(&err, code, "%s", why);
		conn->last_error = err;
		conn->last_error.retryable = true;
		if (was_up || pl_log_limit_ok(&conn->loss_limit, 10000000))
			pl_warning("database: %s: %s; trying again", conn->name, err.text);
		pl_loop_timer_set(conn->timer, wait_us);
	}
	if (was_up && code != PL_ESTOPPED && conn->changed)
		conn->changed(conn, false, conn->arg);
	pl_error_set(&err, code == PL_ESTOPPED ? PL_ESTOPPED : PL_EUNKNOWN, "%s",
	             code == PL_ESTOPPED ? "stopped before the database answered"
	                                 : "the database connection was lost before it answered");
	while (lost) {
		struct pl_conn_command *next = lost->next;

		if (lost->fn)
			lost->fn(lost->arg, NULL, &err);
		pl_conn_command_free(lost);
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
	struct pl_conn *conn = pl_calloc(1, sizeof(*conn));

	conn->loop = options->loop;
	conn->dsn = pl_strdup(options->dsn);
	conn->dsn_file = options->dsn_file ? pl_strdup(options->dsn_file) : NULL;
	conn->user = options->user ? pl_strdup(options->user) : NULL;
	conn->name = pl_strdup(options->application_name ? options->application_name : "plist");
	conn->setup = pl_dial_texts_copy(options->setup);
	conn->connect_timeout_us = options->connect_timeout_us;
	conn->statement_timeout_us = options->statement_timeout_us;
	conn->lock_timeout_us = options->lock_timeout_us;
	conn->read_only = options->read_only;
	conn->result_bytes_max = options->result_bytes_max;
	conn->tells_superuser = options->tells_superuser;
	conn->changed = options->changed;
	conn->arg = options->arg;
	conn->backoff = (struct pl_backoff){ .min_us = 50000, .max_us = 1000000 };
	conn->tail = &conn->head;
	conn->renew_backoff = (struct pl_backoff){ .min_us = 500000, .max_us = 4000000 };
	conn->timer = pl_loop_timer_new(conn->loop, on_timer, conn);
	conn->look = pl_loop_timer_new(conn->loop, pl_conn_renew_look, conn);
	conn->down_since_us = pl_mono_us();
	dial(conn);
	return conn;
}

void pl_conn_set_dsn(struct pl_conn *conn, const char *dsn, const char *dsn_file)
{
	char *before = conn->dsn;

	conn->dsn = pl_strdup(dsn);
	explicit_bzero(before, strlen(before));
	free(before);
	free(conn->dsn_file);
	conn->dsn_file = dsn_file ? pl_strdup(dsn_file) : NULL;
}

void pl_conn_set_setup(struct pl_conn *conn, const char *const *setup)
{
	pl_dial_texts_free(conn->setup);
	conn->setup = pl_dial_texts_copy(setup);
}

void pl_conn_free(struct pl_conn **conn_p)
{
	struct pl_conn *conn = *conn_p;

	if (!conn)
		return;
	*conn_p = NULL;
	if (conn->freed)
		return;
	enter(conn);
	conn->freed = true;
	lose(conn, PL_ESTOPPED, "");
	pl_loop_timer_free(&conn->timer);
	pl_loop_timer_free(&conn->look);
	leave(conn);
}

bool pl_conn_up(const struct pl_conn *conn)
{
	return conn->state == PL_CONN_UP && !conn->renewing && !conn->broken;
}

bool pl_conn_renewing(const struct pl_conn *conn)
{
	return conn->renewing && pl_conn_down_us(conn) < RENEWAL_US;
}

int64_t pl_conn_down_us(const struct pl_conn *conn)
{
	return conn->down_since_us ? pl_mono_us() - conn->down_since_us : 0;
}

bool pl_conn_refused(const struct pl_conn *conn)
{
	return conn->refused;
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
