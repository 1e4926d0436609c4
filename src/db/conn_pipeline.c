// What is sent on a connection and what comes back: commands, each with its Sync, and prepared statements.
//
// Stands between db/conn, which brings a connection up and reads its socket, and those who send.
//
// Each command is followed by a Sync, so it is a transaction of its own; between pl_conn_begin and pl_conn_commit only the last one is. PostgreSQL
// answers the command first and commits when it reaches the Sync: a result says nothing about the commit. So a result is held until its Sync
// has been answered, and an error that comes between the two replaces it. After an error PostgreSQL skips what comes before the Sync.
//
// Threads: belongs to its connection's thread.
#include "db/pipeline.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>

#include "base/mem.h"
#include "db/dial.h"

void pl_pipeline_want(struct pl_conn *conn)
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
	struct pl_command *command = pl_calloc(1, sizeof *command);

	command->fn = fn;
	command->arg = arg;
	command->preparing = preparing ? pl_strdup(preparing) : NULL;
	*conn->tail = command;
	conn->tail = &command->next;
	conn->last = command;
	command->more = conn->joined;
	conn->in_flight++;
	if (conn->head == command)
		patience(conn);
}

static struct pl_command *command_take(struct pl_conn *conn)
{
	struct pl_command *command = conn->head;

	conn->head = command->next;
	if (!conn->head)
		conn->tail = &conn->head;
	conn->in_flight--;
	return command;
}

void pl_command_free(struct pl_command *command)
{
	PQclear(command->result);
	free(command->preparing);
	free(command);
}

static struct pl_statement *statement_find(const struct pl_conn *conn, const char *name)
{
	struct pl_statement *statement = conn->statements;

	while (statement && strcmp(statement->name, name) != 0)
		statement = statement->next;
	return statement;
}

// `failed`: the command of its transaction that did, or NULL.
static void call_back(struct pl_conn *conn, struct pl_command *command, const struct pl_command *failed)
{
	PGresult *result = failed ? failed->result : command->result;
	struct pl_error err = { 0 };

	if (failed && failed != command) {
		pl_error_set(&err, PL_ECONFLICT, "undone with another statement of its transaction");
		err.retryable = true;
		strcpy(err.sqlstate, "40000");
	} else if (failed) {
		pl_db_error(&err, result);
	} else if (!result) {
		pl_error_set(&err, PL_EINTERNAL, "the database answered without a result");
	}
	if (command->preparing) {
		struct pl_statement *statement = statement_find(conn, command->preparing);

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

void pl_pipeline_end(struct pl_conn *conn)
{
	struct pl_command *first = NULL, **end = &first;
	const struct pl_command *failed = NULL;
	bool more;

	do { // off the list first: a callback may drop the connection
		struct pl_command *command = command_take(conn);

		more = command->more && conn->head;
		command->next = NULL;
		*end = command;
		end = &command->next;
		if (command->failed)
			failed = command;
	} while (more);
	patience(conn);
	for (struct pl_command *command = first; command; command = command->next)
		call_back(conn, command, failed);
	while (first) {
		struct pl_command *command = first;

		first = command->next;
		pl_command_free(command);
	}
}

// Whose result is the next one: of the commands before the first Sync the first that has none, or that failed, or the last.
static struct pl_command *current(const struct pl_conn *conn)
{
	struct pl_command *command = conn->head;

	while (command->more && command->answered && !command->failed && command->next)
		command = command->next;
	return command;
}

void pl_pipeline_result(struct pl_conn *conn, PGresult *result)
{
	struct pl_command *command = current(conn);
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
	command->answered = true;
	command->failed = failed;
}

int pl_pipeline_sent(struct pl_conn *conn, int ok, pl_conn_result_fn *fn, void *arg, const char *preparing,
                     struct pl_error *err)
{
	if (!ok) { // what was wrong with the call; nothing was put into the pipeline
		char text[PL_ERROR_TEXT_MAX];

		pl_dial_message(PQerrorMessage(conn->pg), text, sizeof text);
		pl_error_set(err, PL_EINTERNAL, "libpq: %s", text);
		return -1;
	}
	command_add(conn, fn, arg, preparing);
	if (!conn->joined) {
		PQpipelineSync(conn->pg);
		pl_pipeline_want(conn);
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
	pl_pipeline_want(conn);
}

static int prepare(struct pl_conn *conn, struct pl_statement *statement)
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
	struct pl_statement *statement = statement_find(conn, name);
	bool first;

	if (conn->state != PL_CONN_UP)
		return not_up(conn, err);
	if (!statement) {
		pl_error_set(err, PL_EINTERNAL, "there is no statement \"%s\"", name);
		return -1;
	}
	params = params ? params : &no_params;
	first = !statement->prepared;
	if (first && !prepare(conn, statement))
		return pl_pipeline_sent(conn, 0, fn, arg, NULL, err);
	int ok = PQsendQueryPrepared(conn->pg, name, params->n, params->values, params->lengths, params->formats, 0);
	return pl_pipeline_sent(conn, ok, fn, arg, first ? name : NULL, err);
}

int pl_conn_send_sql(struct pl_conn *conn, const char *sql, const struct pl_conn_params *params, pl_conn_result_fn *fn, void *arg,
                     struct pl_error *err)
{
	if (conn->state != PL_CONN_UP)
		return not_up(conn, err);
	params = params ? params : &no_params;
	int ok = PQsendQueryParams(conn->pg, sql, params->n, NULL, params->values, params->lengths, params->formats, 0);
	return pl_pipeline_sent(conn, ok, fn, arg, NULL, err);
}

// ---- statements

void pl_pipeline_prepare(struct pl_conn *conn, struct pl_statement *statement)
{
	pl_pipeline_sent(conn, prepare(conn, statement), NULL, NULL, statement->name, &statement->failed);
}

void pl_conn_prepare(struct pl_conn *conn, const char *name, const char *sql)
{
	struct pl_statement *statement = pl_calloc(1, sizeof *statement), **at = &conn->statements;

	statement->name = pl_strdup(name);
	statement->sql = pl_strdup(sql);
	while (*at)
		at = &(*at)->next;
	*at = statement;
	if (conn->state >= PL_CONN_GREETING)
		pl_pipeline_prepare(conn, statement);
}

void pl_conn_unprepare(struct pl_conn *conn, const char *name)
{
	struct pl_statement *statement, **at = &conn->statements;

	while (*at && strcmp((*at)->name, name) != 0)
		at = &(*at)->next;
	statement = *at;
	if (!statement)
		return;
	*at = statement->next;
	if (conn->state >= PL_CONN_GREETING && statement->prepared) {
		char sql[128];

		snprintf(sql, sizeof sql, "DEALLOCATE \"%s\"", name); // a name of ours: no quotes in it
		pl_pipeline_sent(conn, PQsendQueryParams(conn->pg, sql, 0, NULL, NULL, NULL, NULL, 0), NULL, NULL, NULL, NULL);
	}
	free(statement->name);
	free(statement->sql);
	free(statement);
}

bool pl_conn_prepared(const struct pl_conn *conn, struct pl_error *why)
{
	for (const struct pl_statement *statement = conn->statements; statement; statement = statement->next)
		if (statement->failed.code) {
			if (why)
				*why = statement->failed;
			return false;
		}
	return true;
}
