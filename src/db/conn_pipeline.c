// Commands and their results on a connection, each command with its Sync, and prepared
// statements.
//
// Between db/conn, which establishes the connection and reads its socket, and the
// callers that send.
//
// Each command is followed by a Sync, so it is a separate transaction; between
// pl_conn_begin and pl_conn_commit only the last command is followed by one. PostgreSQL
// answers a command first and commits when it reaches the Sync, so a result says
// nothing about the commit. Therefore a result is held until its Sync has been
// answered, and an error between the two replaces it. After an error, PostgreSQL skips
// all commands up to the Sync.
//
// Threads: belongs to its connection's thread.
#include "db/conn_private.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>

#include "base/mem.h"
#include "db/dial.h"

// A send that fails makes libpq read what is left and close the socket, so no event will
// ever report the loss. It is handled in the loop's next turn: the callbacks of what was
// lost must not run inside a call of their owner. The watch goes now, because a new
// socket may get the same descriptor.
static void note_loss(struct pl_conn *conn)
{
	if (conn->broken || PQstatus(conn->pg) != CONNECTION_BAD)
		return;
	conn->broken = true;
	pl_loop_watch_free(&conn->watch);
	pl_loop_timer_set(conn->timer, 0);
}

void pl_conn_pipeline_want(struct pl_conn *conn)
{
	int left = PQflush(conn->pg); // -1: noticed here if libpq gave up, otherwise when reading

	note_loss(conn);
	if (!conn->broken)
		pl_loop_watch_set(conn->watch, EPOLLIN | (left > 0 ? EPOLLOUT : 0));
}

static void patience(struct pl_conn *conn)
{
	int64_t us = pl_dial_patience_us(conn->statement_timeout_us);

	if (conn->broken)
		return;
	if (conn->head && us > 0)
		pl_loop_timer_set(conn->timer, us);
	else
		pl_loop_timer_stop(conn->timer);
}

static void command_add(struct pl_conn *conn, pl_conn_result_fn *fn, void *arg, const char *preparing)
{
	struct pl_conn_command *command = pl_calloc(1, sizeof(*command));

	command->fn = fn;
	command->arg = arg;
	command->preparing = preparing ? pl_strdup(preparing) : NULL;
	*conn->tail = command;
	conn->tail = &command->next;
	conn->last = conn->newest = command;
	command->more = conn->joined;
	conn->in_flight++;
	if (conn->head == command)
		patience(conn);
}

static struct pl_conn_command *command_take(struct pl_conn *conn)
{
	struct pl_conn_command *command = conn->head;

	conn->head = command->next;
	if (!conn->head)
		conn->tail = &conn->head;
	conn->in_flight--;
	return command;
}

void pl_conn_command_free(struct pl_conn_command *command)
{
	PQclear(command->result);
	free(command->preparing);
	free(command);
}

static struct pl_conn_statement *statement_find(const struct pl_conn *conn, const char *name)
{
	struct pl_conn_statement *statement = conn->statements;

	while (statement && strcmp(statement->name, name) != 0)
		statement = statement->next;
	return statement;
}

// `failed`: the command that made its transaction fail, or NULL.
static void call_back(struct pl_conn *conn, struct pl_conn_command *command,
                      const struct pl_conn_command *failed, bool renewed)
{
	PGresult *result = failed ? failed->result : command->result;
	struct pl_error err = { 0 };

	if (!failed && command->statement)
		command->statement->worked = true;
	if (failed && (failed != command || renewed)) {
		pl_error_set(&err, PL_ECONFLICT,
		             renewed ? "not done: its session is being replaced"
		                     : "undone with another statement of its transaction");
		err.retryable = true;
		strcpy(err.sqlstate, "40000");
	} else if (failed) {
		pl_db_error(&err, result);
	} else if (!result) {
		pl_error_set(&err, PL_EINTERNAL, "the database answered without a result");
	}
	if (command->preparing) {
		struct pl_conn_statement *statement = statement_find(conn, command->preparing);

		if (statement && !command->preparing_answered) {
			statement->prepared = false;
			statement->failed = err;
			conn->last_error = err;
			pl_error_prefix(&conn->last_error, "preparing statements");
		}
	}
	if (command->fn)
		command->fn(command->arg, result, &err);
}

void pl_conn_pipeline_end(struct pl_conn *conn)
{
	struct pl_conn_command *first = NULL, **end = &first;
	const struct pl_conn_command *failed = NULL;
	bool more, renewed = false;

	do { // remove it first: a callback may drop the connection
		struct pl_conn_command *command = command_take(conn);

		more = command->more && conn->head;
		command->next = NULL;
		*end = command;
		end = &command->next;
		if (command->failed)
			failed = command;
	} while (more);
	patience(conn);
	if (failed) {
		struct pl_error err;

		pl_db_error(&err, failed->result);
		renewed = pl_conn_renew_for(conn, failed, &err);
	}
	for (struct pl_conn_command *command = first; command; command = command->next)
		call_back(conn, command, failed, renewed);
	while (first) {
		struct pl_conn_command *command = first;

		first = command->next;
		pl_conn_command_free(command);
	}
}

// The command that the next result belongs to: before the first Sync, the first command
// that has no result or that failed, otherwise the last one.
static struct pl_conn_command *current(const struct pl_conn *conn)
{
	struct pl_conn_command *command = conn->head;

	while (command->more && command->answered && !command->failed && command->next)
		command = command->next;
	return command;
}

void pl_conn_pipeline_result(struct pl_conn *conn, PGresult *result)
{
	struct pl_conn_command *command = current(conn);
	bool failed =
		PQresultStatus(result) == PGRES_FATAL_ERROR || PQresultStatus(result) == PGRES_BAD_RESPONSE;

	if (PQresultStatus(result) == PGRES_PIPELINE_ABORTED || (command->failed && command->result)) {
		PQclear(result); // results after an error contain no further information
		return;
	}
	if (!failed && command->preparing && !command->preparing_answered) {
		command->preparing_answered = true;
		if (command->fn) { // the result of the statement itself follows
			PQclear(result);
			return;
		}
	}
	PQclear(command->result);
	command->result = result;
	command->answered = true;
	command->failed = failed;
}

int pl_conn_pipeline_sent(struct pl_conn *conn, int ok, pl_conn_result_fn *fn, void *arg,
                          const char *preparing, struct pl_error *err)
{
	if (!ok) { // nothing was queued: the connection is lost, or the call was invalid
		char text[PL_ERROR_TEXT_MAX];

		pl_dial_message(PQerrorMessage(conn->pg), text, sizeof(text));
		note_loss(conn);
		pl_error_set(err, conn->broken ? PL_EUNAVAIL : PL_EINTERNAL, "libpq: %s", text);
		if (err)
			err->retryable = conn->broken;
		return -1;
	}
	command_add(conn, fn, arg, preparing);
	if (!conn->joined) {
		PQpipelineSync(conn->pg);
		pl_conn_pipeline_want(conn);
	}
	return 0;
}

void pl_conn_begin(struct pl_conn *conn)
{
	conn->joined = true;
	conn->last = NULL;
}

void pl_conn_commit(struct pl_conn *conn)
{
	conn->joined = false;
	if (!conn->last || !conn->last->more) // nothing was sent
		return;
	conn->last->more = false;
	PQpipelineSync(conn->pg);
	pl_conn_pipeline_want(conn);
}

static int prepare(struct pl_conn *conn, struct pl_conn_statement *statement)
{
	statement->prepared = true; // assumed until an error says otherwise
	memset(&statement->failed, 0, sizeof(statement->failed));
	return PQsendPrepare(conn->pg, statement->name, statement->sql, 0, NULL);
}

static int not_up(const struct pl_conn *conn, struct pl_error *err)
{
	pl_error_set(err, PL_EUNAVAIL, "the database is unavailable: %s",
	             conn->last_error.code ? conn->last_error.text : "still connecting");
	if (err)
		err->retryable = true;
	return -1;
}

static const struct pl_conn_params no_params;

int pl_conn_send(struct pl_conn *conn, const char *name, const struct pl_conn_params *params,
                 pl_conn_result_fn *fn, void *arg, struct pl_error *err)
{
	struct pl_conn_statement *statement = statement_find(conn, name);
	bool first;

	if (!pl_conn_up(conn))
		return not_up(conn, err);
	if (!statement) {
		pl_error_set(err, PL_EINTERNAL, "there is no statement \"%s\"", name);
		return -1;
	}
	params = params ? params : &no_params;
	first = !statement->prepared;
	if (first && !prepare(conn, statement))
		return pl_conn_pipeline_sent(conn, 0, fn, arg, NULL, err);
	int ok = PQsendQueryPrepared(conn->pg, name, params->n, params->values, params->lengths,
	                             params->formats, 0);
	if (pl_conn_pipeline_sent(conn, ok, fn, arg, first ? name : NULL, err) < 0)
		return -1;
	conn->newest->statement = statement;
	return 0;
}

int pl_conn_send_sql(struct pl_conn *conn, const char *sql, const struct pl_conn_params *params,
                     pl_conn_result_fn *fn, void *arg, struct pl_error *err)
{
	if (!pl_conn_up(conn))
		return not_up(conn, err);
	params = params ? params : &no_params;
	int ok = PQsendQueryParams(conn->pg, sql, params->n, NULL, params->values, params->lengths,
	                           params->formats, 0);
	return pl_conn_pipeline_sent(conn, ok, fn, arg, NULL, err);
}

// ---- statements

void pl_conn_pipeline_prepare(struct pl_conn *conn, struct pl_conn_statement *statement)
{
	pl_conn_pipeline_sent(conn, prepare(conn, statement), NULL, NULL, statement->name,
	                      &statement->failed);
}

void pl_conn_prepare(struct pl_conn *conn, const char *name, const char *sql)
{
	struct pl_conn_statement *statement = pl_calloc(1, sizeof(*statement)), **at = &conn->statements;

	statement->name = pl_strdup(name);
	statement->sql = pl_strdup(sql);
	while (*at)
		at = &(*at)->next;
	*at = statement;
	if (conn->state >= PL_CONN_GREETING)
		pl_conn_pipeline_prepare(conn, statement);
}

void pl_conn_unprepare(struct pl_conn *conn, const char *name)
{
	struct pl_conn_statement *statement, **at = &conn->statements;

	while (*at && strcmp((*at)->name, name) != 0)
		at = &(*at)->next;
	statement = *at;
	if (!statement)
		return;
	*at = statement->next;
	for (struct pl_conn_command *command = conn->head; command; command = command->next)
		if (command->statement == statement)
			command->statement = NULL;
	if (conn->state >= PL_CONN_GREETING && statement->prepared) {
		char sql[128];

		snprintf(sql, sizeof(sql), "DEALLOCATE \"%s\"", name); // a name of ours, without quotes
		pl_conn_pipeline_sent(conn, PQsendQueryParams(conn->pg, sql, 0, NULL, NULL, NULL, NULL, 0),
		                      NULL, NULL, NULL, NULL);
	}
	free(statement->name);
	free(statement->sql);
	free(statement);
}

bool pl_conn_prepared(const struct pl_conn *conn, struct pl_error *why)
{
	for (const struct pl_conn_statement *statement = conn->statements; statement;
	     statement = statement->next)
		if (statement->failed.code) {
			if (why)
				*why = statement->failed;
			return false;
		}
	return true;
}
