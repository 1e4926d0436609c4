// A database session for a thread that may block. It never blocks inside libpq, always
// in poll(2), together with the stop signal.
//
// Used by relay/relay, apply/apply, housekeeping and plist-admin.
// Invariant: when a call returns, no command is outstanding on the connection, except
// one sent to be received later, and a COPY that the caller continues.
// Threads: belongs to one thread at a time.
#include "db/session.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/mem.h"
#include "db/conn.h"
#include "db/dial.h"
#include "db/server.h"

#define DIAL_GRACE_US 250000 // time for a dial to report why it failed

struct pl_session {
	char *dsn, *dsn_file, *user, *name; // dsn_file, user: or NULL
	char **setup;                       // NULL-ended
	int64_t connect_timeout_us, statement_timeout_us, lock_timeout_us;
	int stop_fd;
	PGconn *pg;              // NULL: not connected
	struct pl_server server; // which one it is on, since when
	int64_t connected_us;
	bool prepared;     // the last command was a prepared statement
	char settings[33]; // of the role and database, when last read; possibly before this session began
};

struct pl_session *pl_session_new(const struct pl_session_options *options)
{
	struct pl_session *session = pl_calloc(1, sizeof(*session));

	session->dsn = pl_strdup(options->dsn);
	session->dsn_file = options->dsn_file ? pl_strdup(options->dsn_file) : NULL;
	session->user = options->user ? pl_strdup(options->user) : NULL;
	session->name = pl_strdup(options->application_name ? options->application_name : "plist");
	session->setup = pl_dial_texts_copy(options->setup);
	session->connect_timeout_us = options->connect_timeout_us;
	session->statement_timeout_us = options->statement_timeout_us;
	session->lock_timeout_us = options->lock_timeout_us;
	session->stop_fd = options->stop_fd;
	return session;
}

void pl_session_free(struct pl_session **session_p)
{
	struct pl_session *session = *session_p;

	if (!session)
		return;
	pl_session_drop(session);
	pl_dial_texts_free(session->setup);
	explicit_bzero(session->dsn, strlen(session->dsn));
	free(session->dsn);
	free(session->dsn_file);
	free(session->user);
	free(session->name);
	free(session);
	*session_p = NULL;
}

// Waits until `fd` has one of `events`. Returns 0, PL_ESTOPPED or PL_ETIMEOUT.
// deadline_us 0: no deadline.
static int await(struct pl_session *session, int fd, short events, int64_t deadline_us)
{
	for (;;) {
		struct pollfd p[2] = { { .fd = fd, .events = events },
			               { .fd = session->stop_fd, .events = POLLIN } };
		int wait_ms = -1, n;

		if (deadline_us) {
			int64_t left_us = deadline_us - pl_mono_us();

			if (left_us <= 0)
				return PL_ETIMEOUT;
			wait_ms = left_us < 60000000 ? (int)((left_us + 999) / 1000) : 60000;
		}
		n = poll(p, 2, wait_ms); // poll ignores a negative descriptor
		if (n > 0)
			return p[1].revents ? PL_ESTOPPED : 0;
		if (n < 0 && errno != EINTR)
			return PL_EUNAVAIL;
	}
}

int pl_session_connect(struct pl_session *session, struct pl_error *err)
{
	struct pl_dial_options options = {
		.dsn = session->dsn,
		.dsn_file = session->dsn_file,
		.user = session->user,
		.application_name = session->name,
		.connect_timeout_us = session->connect_timeout_us,
		.statement_timeout_us = session->statement_timeout_us,
		.lock_timeout_us = session->lock_timeout_us,
		.setup = (const char *const *)session->setup,
	};
	struct pl_dial *dial;

	if (session->pg && PQstatus(session->pg) == CONNECTION_OK)
		return 0;
	pl_session_drop(session);
	dial = pl_dial_start(&options);
	switch (await(session, pl_dial_fd(dial), POLLIN,
	              session->connect_timeout_us ? pl_mono_us() + session->connect_timeout_us + DIAL_GRACE_US
	                                          : 0)) {
	case 0:
		session->pg = pl_dial_finish(&dial, &session->server, err);
		session->connected_us = pl_mono_us();
		return session->pg ? 0 : err ? err->code : PL_EUNAVAIL;
	case PL_ESTOPPED:
		pl_dial_cancel(&dial);
		return pl_error_set(err, PL_ESTOPPED, "stopped while connecting to the database");
	default:
		pl_dial_cancel(&dial);
		pl_error_set(err, PL_EUNAVAIL, "the database did not answer within %lld ms",
		             (long long)session->connect_timeout_us / 1000);
		if (err)
			err->retryable = true;
		return PL_EUNAVAIL;
	}
}

bool pl_session_connected(const struct pl_session *session)
{
	return session->pg != NULL;
}

bool pl_session_stands(struct pl_session *session)
{
	// Twice: the first call may only read the server's last message, and the second
	// one finds the end.
	if (session->pg && (!PQconsumeInput(session->pg) || !PQconsumeInput(session->pg)))
		pl_session_drop(session);
	if (session->pg && pl_server_is_former(&session->server, session->connected_us))
		pl_session_drop(session);
	return session->pg != NULL;
}

void pl_session_drop(struct pl_session *session)
{
	PQfinish(session->pg);
	session->pg = NULL;
}

void pl_session_set_dsn(struct pl_session *session, const char *dsn, const char *dsn_file)
{
	char *before = session->dsn;

	session->dsn = pl_strdup(dsn);
	explicit_bzero(before, strlen(before));
	free(before);
	free(session->dsn_file);
	session->dsn_file = dsn_file ? pl_strdup(dsn_file) : NULL;
}

PGconn *pl_session_pg(struct pl_session *session)
{
	return session->pg;
}

// Drops a connection that is no longer usable, and reports why. With `code` PL_OK, the
// reason is "the connection was lost".
static int lose(struct pl_session *session, int code, bool sent, struct pl_error *err)
{
	char text[PL_ERROR_TEXT_MAX];

	pl_dial_message(PQerrorMessage(session->pg), text, sizeof(text));
	switch (code) {
	case PL_ESTOPPED: pl_error_set(err, code, "stopped while waiting for the database"); break;
	case PL_ETIMEOUT: pl_error_set(err, code, "the database did not answer in time"); break;
	default:
		code = sent ? PL_EUNKNOWN : PL_EUNAVAIL;
		pl_error_set(err, code, "the database connection was lost: %s",
		             text[0] ? text : "no reason given");
	}
	if (err)
		err->retryable = code == PL_EUNAVAIL || code == PL_ETIMEOUT;
	pl_session_drop(session);
	return code;
}

static int64_t deadline(const struct pl_session *session)
{
	int64_t patience_us = pl_dial_patience_us(session->statement_timeout_us);

	return patience_us ? pl_mono_us() + patience_us : 0;
}

// Sends what is queued. Returns 0, or the code of a lost connection.
static int flush(struct pl_session *session, int64_t deadline_us, struct pl_error *err)
{
	int left, code;

	while ((left = PQflush(session->pg)) != 0) {
		if (left < 0)
			return lose(session, PL_OK, true, err);
		if ((code = await(session, PQsocket(session->pg), POLLIN | POLLOUT, deadline_us)) < 0)
			return lose(session, code, true, err);
		if (!PQconsumeInput(session->pg)) // the server may not read on before we have read its output
			return lose(session, PL_OK, true, err);
	}
	return 0;
}

// The next result, or NULL with code_r 0 when there are no more.
static PGresult *next_result(struct pl_session *session, int64_t deadline_us, int *code_r,
                             struct pl_error *err)
{
	*code_r = 0;
	while (PQisBusy(session->pg)) {
		int code = await(session, PQsocket(session->pg), POLLIN, deadline_us);

		if (code == 0 && !PQconsumeInput(session->pg))
			code = PL_EUNKNOWN;
		if (code < 0) {
			*code_r = lose(session, code == PL_EUNKNOWN ? PL_OK : code, true, err);
			return NULL;
		}
	}
	return PQgetResult(session->pg);
}

// A failure of a prepared statement that a new session may cure ends this session: the
// next connect prepares everything again. The error keeps its SQLSTATE.
static void give_up_if_stale(struct pl_session *session, const PGresult *result, struct pl_error *err)
{
	struct pl_error own;

	err = err ? err : &own;
	pl_db_error(err, result);
	if (!session->prepared || !pl_db_error_stale(err))
		return;
	err->retryable = true;
	pl_session_drop(session);
}

// Waits for the command that was sent and returns its last result, or its error.
static PGresult *collect(struct pl_session *session, struct pl_error *err)
{
	int64_t deadline_us = deadline(session);
	PGresult *last = NULL, *result;
	int code;

	if (flush(session, deadline_us, err) < 0)
		return NULL;
	while ((result = next_result(session, deadline_us, &code, err))) {
		ExecStatusType status = PQresultStatus(result);

		if (last && PQresultStatus(last) == PGRES_FATAL_ERROR) {
			PQclear(result); // the first error is the relevant one
			continue;
		}
		PQclear(last);
		last = result;
		if (status == PGRES_COPY_IN || status == PGRES_COPY_OUT)
			return last; // now owned by the caller
	}
	if (code < 0) {
		PQclear(last);
		return NULL;
	}
	if (!last) {
		lose(session, PL_OK, true, err);
		return NULL;
	}
	if (PQresultStatus(last) != PGRES_FATAL_ERROR && PQresultStatus(last) != PGRES_BAD_RESPONSE)
		return last;
	if (PQstatus(session->pg) != CONNECTION_OK || pl_db_error_is_fatal(last)) {
		lose(session, PL_OK, true, err);
	} else {
		give_up_if_stale(session, last, err);
	}
	PQclear(last);
	return NULL;
}

static PGresult *collect_if(struct pl_session *session, int sent, struct pl_error *err)
{
	if (sent)
		return collect(session, err);
	if (PQstatus(session->pg) == CONNECTION_OK) // libpq refused the call without sending anything
		pl_error_set(err, PL_EINTERNAL, "libpq: %s", PQerrorMessage(session->pg));
	else
		lose(session, PL_OK, false, err);
	return NULL;
}

static bool usable(const struct pl_session *session, struct pl_error *err)
{
	if (session->pg)
		return true;
	pl_error_set(err, PL_EUNAVAIL, "not connected to the database");
	if (err)
		err->retryable = true;
	return false;
}

PGresult *pl_session_exec(struct pl_session *session, const char *sql, int nparams, const char *const *params,
                          struct pl_error *err)
{
	if (!usable(session, err))
		return NULL;
	session->prepared = false;
	return collect_if(session, PQsendQueryParams(session->pg, sql, nparams, NULL, params, NULL, NULL, 0),
	                  err);
}

PGresult *pl_session_exec_prepared(struct pl_session *session, const char *statement, int nparams,
                                   const char *const *params, struct pl_error *err)
{
	struct pl_conn_params texts = { nparams, params, NULL, NULL };

	return pl_session_send(session, statement, &texts, err) < 0 ? NULL : pl_session_receive(session, err);
}

int pl_session_send(struct pl_session *session, const char *statement, const struct pl_conn_params *params,
                    struct pl_error *err)
{
	struct pl_error own;

	if (!err)
		err = &own;
	if (!usable(session, err))
		return PL_EUNAVAIL;
	session->prepared = true;
	if (!PQsendQueryPrepared(session->pg, statement, params->n, params->values, params->lengths,
	                         params->formats, 0)) {
		collect_if(session, 0, err);
		return err->code;
	}
	return flush(session, deadline(session), err);
}

PGresult *pl_session_receive(struct pl_session *session, struct pl_error *err)
{
	return usable(session, err) ? collect(session, err) : NULL;
}

int pl_session_do(struct pl_session *session, const char *sql, struct pl_error *err)
{
	struct pl_error own;
	PGresult *result;

	if (!err)
		err = &own;
	if (!usable(session, err))
		return PL_EUNAVAIL;
	session->prepared = false;
	result = collect_if(session, PQsendQuery(session->pg, sql), err);
	if (!result)
		return err->code;
	// COMMIT of a failed transaction returns ROLLBACK, which is not success.
	if (strcasecmp(sql, "COMMIT") == 0 && strcmp(PQcmdStatus(result), "ROLLBACK") == 0) {
		PQclear(result);
		return pl_error_set(err, PL_EINTERNAL,
		                    "the transaction had failed, the database rolled it back");
	}
	PQclear(result);
	return 0;
}

int pl_session_process(struct pl_session *session)
{
	struct pl_error ignored;
	PGresult *result = pl_session_exec(session, "SELECT pg_backend_pid()", 0, NULL, &ignored);
	int process = result ? (int)strtol(PQgetvalue(result, 0, 0), NULL, 10) : 0;

	PQclear(result);
	return process;
}

// ---- checking a session

// The name in "PREPARE name (types) AS …" or "PREPARE name AS …"; false for other
// statements.
static bool prepared_name(const char *sql, char name[64])
{
	size_t len;

	if (strncmp(sql, "PREPARE ", 8) != 0)
		return false;
	len = strcspn(sql + 8, " (");
	snprintf(name, 64, "%.*s", (int)len, sql + 8);
	return len > 0 && len < 64;
}

static int describe(struct pl_session *session, const char *name, struct pl_error *err)
{
	PGresult *result;

	session->prepared = true;
	result = collect_if(session, PQsendDescribePrepared(session->pg, name), err);
	PQclear(result);
	return result ? 0 : err->code;
}

// Reads the settings that new sessions would get. If they have changed, this session
// ends.
static int compare_settings(struct pl_session *session, struct pl_error *err)
{
	PGresult *result = pl_session_exec(session, "SELECT " PL_DB_SETTINGS, 0, NULL, err);

	if (!result)
		return err->code;
	if (session->settings[0] && strcmp(session->settings, PQgetvalue(result, 0, 0)) != 0) {
		pl_session_drop(session);
		pl_error_set(err, PL_EUNAVAIL,
		             "the settings of its role or database have changed; connecting again");
	}
	snprintf(session->settings, sizeof(session->settings), "%s", PQgetvalue(result, 0, 0));
	PQclear(result);
	return session->pg ? 0 : PL_EUNAVAIL;
}

static int look(struct pl_session *session, struct pl_error *err)
{
	int code = compare_settings(session, err);

	if (code == 0)
		code = pl_session_do(session, "BEGIN; SET LOCAL lock_timeout = 50",
		                     err); // milliseconds: the check waits for no lock
	for (char **sql = session->setup; code == 0 && *sql; sql++) {
		char name[64];

		if (prepared_name(*sql, name))
			code = describe(session, name, err);
	}
	return code;
}

int pl_session_look(struct pl_session *session, struct pl_error *err)
{
	struct pl_error ignored;
	int code;

	if (!usable(session, err))
		return PL_EUNAVAIL;
	if (pl_server_is_former(&session->server, session->connected_us)) {
		pl_session_drop(session);
		return pl_error_set(err, PL_EUNAVAIL, PL_SERVER_MOVED "; connecting again");
	}
	code = look(session, err);
	if (session->pg)
		pl_session_do(session, "ROLLBACK", &ignored);
	return code && strcmp(err->sqlstate, "55P03") == 0 ? 0 : code; // a table is locked at the moment
}

int pl_session_copy_get(struct pl_session *session, char **data_r, struct pl_error *err)
{
	int64_t deadline_us = deadline(session);
	int got, code;
	PGresult *result;

	if (!usable(session, err))
		return PL_EUNAVAIL;
	while ((got = PQgetCopyData(session->pg, data_r, 1)) == 0) { // nothing is there yet
		if ((code = await(session, PQsocket(session->pg), POLLIN, deadline_us)) < 0)
			return lose(session, code, true, err);
		if (!PQconsumeInput(session->pg))
			return lose(session, PL_OK, true, err);
	}
	if (got > 0)
		return got;
	if (got < -1)
		return lose(session, PL_OK, true, err);
	result = collect(session, err);
	PQclear(result);
	return result ? 0 : err->code;
}

int pl_session_copy_put(struct pl_session *session, const char *data, size_t len, struct pl_error *err)
{
	int64_t deadline_us = deadline(session);
	int put, code;

	if (!usable(session, err))
		return PL_EUNAVAIL;
	while ((put = PQputCopyData(session->pg, data, (int)len)) == 0) { // its buffer is full
		if ((code = await(session, PQsocket(session->pg), POLLIN | POLLOUT, deadline_us)) < 0)
			return lose(session, code, true, err);
		if (!PQconsumeInput(session->pg) || PQflush(session->pg) < 0)
			return lose(session, PL_OK, true, err);
	}
	if (put < 0)
		return lose(session, PL_OK, true, err);
	return flush(session, deadline_us, err); // so that memory stays bounded by the server's pace
}

int pl_session_copy_close(struct pl_session *session, const char *abandon, struct pl_error *err)
{
	int64_t deadline_us = deadline(session);
	int put, code;

	if (!usable(session, err))
		return PL_EUNAVAIL;
	while ((put = PQputCopyEnd(session->pg, abandon)) == 0)
		if ((code = await(session, PQsocket(session->pg), POLLIN | POLLOUT, deadline_us)) < 0)
			return lose(session, code, true, err);
	return put < 0 ? lose(session, PL_OK, true, err) : flush(session, deadline_us, err);
}

int pl_session_copy_end(struct pl_session *session, const char *abandon, struct pl_error *err)
{
	struct pl_error own;
	PGresult *result;
	int code;

	if (!err)
		err = &own;
	if ((code = pl_session_copy_close(session, abandon, err)) < 0)
		return code;
	result = collect(session, err);
	PQclear(result);
	return result ? 0 : err->code;
}

int pl_session_pause(struct pl_session *session, int64_t us)
{
	int code = await(session, -1, 0, pl_mono_us() + (us > 0 ? us : 0));

	return code == PL_ESTOPPED ? code : 0;
}
