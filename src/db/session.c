// A database session for threads that may wait; never inside libpq, always in poll(2) beside the stop signal.
//
// Stands under replicate/relay, replicate/apply, housekeeping and plist-admin.
// Invariant: when a call returns, no command is outstanding on the connection, except one that was sent to be received later, and a COPY that the
// caller goes on with.
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

struct pl_session {
	char *dsn, *name;
	char **setup; // NULL-ended
	int64_t connect_timeout_us, statement_timeout_us, lock_timeout_us;
	int stop_fd;
	PGconn *pg; // NULL: not connected
};

struct pl_session *pl_session_new(const struct pl_session_options *options)
{
	struct pl_session *session = pl_calloc(1, sizeof *session);

	session->dsn = pl_strdup(options->dsn);
	session->name = pl_strdup(options->application_name ? options->application_name : "plist");
	session->setup = pl_texts_copy(options->setup);
	session->connect_timeout_us = options->connect_timeout_us;
	session->statement_timeout_us = options->statement_timeout_us;
	session->lock_timeout_us = options->lock_timeout_us;
	session->stop_fd = options->stop_fd;
	return session;
}

void pl_session_free(struct pl_session **at)
{
	struct pl_session *session = *at;

	if (!session)
		return;
	pl_session_drop(session);
	pl_texts_free(session->setup);
	explicit_bzero(session->dsn, strlen(session->dsn));
	free(session->dsn);
	free(session->name);
	free(session);
	*at = NULL;
}

// Waits until `fd` has one of `events`. 0, PL_ESTOPPED, PL_ETIMEOUT. deadline_us 0 = for ever.
static int await(struct pl_session *session, int fd, short events, int64_t deadline_us)
{
	for (;;) {
		struct pollfd p[2] = { { .fd = fd, .events = events }, { .fd = session->stop_fd, .events = POLLIN } };
		int wait_ms = -1, n;

		if (deadline_us) {
			int64_t left_us = deadline_us - pl_mono_us();

			if (left_us <= 0)
				return PL_ETIMEOUT;
			wait_ms = left_us < 60000000 ? (int)((left_us + 999) / 1000) : 60000;
		}
		n = poll(p, 2, wait_ms); // a negative descriptor is left out
		if (n > 0)
			return p[1].revents ? PL_ESTOPPED : 0;
		if (n < 0 && errno != EINTR)
			return PL_EUNAVAIL;
	}
}

int pl_session_connect(struct pl_session *session, struct pl_error *err)
{
	struct pl_dial_options options = {
		.dsn = session->dsn, .application_name = session->name, .connect_timeout_us = session->connect_timeout_us,
		.statement_timeout_us = session->statement_timeout_us, .lock_timeout_us = session->lock_timeout_us,
		.setup = (const char *const *)session->setup,
	};
	struct pl_dial *dial;

	if (session->pg && PQstatus(session->pg) == CONNECTION_OK)
		return 0;
	pl_session_drop(session);
	dial = pl_dial_start(&options);
	switch (await(session, pl_dial_fd(dial), POLLIN, session->connect_timeout_us ? pl_mono_us() + session->connect_timeout_us : 0)) {
	case 0:
		session->pg = pl_dial_finish(&dial, err);
		return session->pg ? 0 : err ? err->code : PL_EUNAVAIL;
	case PL_ESTOPPED:
		pl_dial_cancel(&dial);
		return pl_error_set(err, PL_ESTOPPED, "stopped while connecting to the database");
	default:
		pl_dial_cancel(&dial);
		pl_error_set(err, PL_EUNAVAIL, "the database does not answer within %lld ms", (long long)session->connect_timeout_us / 1000);
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
	// Twice: the first may take in the server's last words, and only the next one comes upon the end.
	if (session->pg && (!PQconsumeInput(session->pg) || !PQconsumeInput(session->pg)))
		pl_session_drop(session);
	return session->pg != NULL;
}

void pl_session_drop(struct pl_session *session)
{
	PQfinish(session->pg);
	session->pg = NULL;
}

PGconn *pl_session_pg(struct pl_session *session)
{
	return session->pg;
}

// The connection is of no use any more: says why, and drops it. `code` PL_OK stands for "the connection was lost".
static int lose(struct pl_session *session, int code, bool sent, struct pl_error *err)
{
	char text[PL_ERROR_TEXT_MAX];

	pl_dial_message(PQerrorMessage(session->pg), text, sizeof text);
	switch (code) {
	case PL_ESTOPPED:
		pl_error_set(err, code, "stopped while waiting for the database");
		break;
	case PL_ETIMEOUT:
		pl_error_set(err, code, "the database did not answer in time");
		break;
	default:
		code = sent ? PL_EUNKNOWN : PL_EUNAVAIL;
		pl_error_set(err, code, "the database connection was lost: %s", text[0] ? text : "no reason given");
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

// Hands what is queued to the network. 0 or the code of a connection that is gone.
static int flush(struct pl_session *session, int64_t deadline_us, struct pl_error *err)
{
	int left, code;

	while ((left = PQflush(session->pg)) != 0) {
		if (left < 0)
			return lose(session, PL_OK, true, err);
		if ((code = await(session, PQsocket(session->pg), POLLIN | POLLOUT, deadline_us)) < 0)
			return lose(session, code, true, err);
		if (!PQconsumeInput(session->pg)) // the server may be waiting for us to read before it reads on
			return lose(session, PL_OK, true, err);
	}
	return 0;
}

// The next result, or NULL with code_r 0 when there are no more.
static PGresult *next_result(struct pl_session *session, int64_t deadline_us, int *code_r, struct pl_error *err)
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

// Waits for the command that was sent: its last result, or its error.
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
			PQclear(result); // the first error is the one that tells
			continue;
		}
		PQclear(last);
		last = result;
		if (status == PGRES_COPY_IN || status == PGRES_COPY_OUT)
			return last; // the caller's now
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
	if (PQstatus(session->pg) != CONNECTION_OK || pl_db_fatal(last)) {
		lose(session, PL_OK, true, err);
	} else {
		pl_db_error(err, last);
	}
	PQclear(last);
	return NULL;
}

static PGresult *collect_if(struct pl_session *session, int sent, struct pl_error *err)
{
	if (sent)
		return collect(session, err);
	if (PQstatus(session->pg) == CONNECTION_OK) // libpq refuses the call itself
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

PGresult *pl_session_exec(struct pl_session *session, const char *sql, int nparams, const char *const *params, struct pl_error *err)
{
	if (!usable(session, err))
		return NULL;
	return collect_if(session, PQsendQueryParams(session->pg, sql, nparams, NULL, params, NULL, NULL, 0), err);
}

PGresult *pl_session_exec_prepared(struct pl_session *session, const char *statement, int nparams, const char *const *params,
                                   struct pl_error *err)
{
	struct pl_conn_params texts = { nparams, params, NULL, NULL };

	return pl_session_send(session, statement, &texts, err) < 0 ? NULL : pl_session_receive(session, err);
}

int pl_session_send(struct pl_session *session, const char *statement, const struct pl_conn_params *params, struct pl_error *err)
{
	struct pl_error own;

	if (!err)
		err = &own;
	if (!usable(session, err))
		return PL_EUNAVAIL;
	if (!PQsendQueryPrepared(session->pg, statement, params->n, params->values, params->lengths, params->formats, 0)) {
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
	result = collect_if(session, PQsendQuery(session->pg, sql), err);
	if (!result)
		return err->code;
	// COMMIT of a transaction that had failed says ROLLBACK, and is no success.
	if (strcasecmp(sql, "COMMIT") == 0 && strcmp(PQcmdStatus(result), "ROLLBACK") == 0) {
		PQclear(result);
		return pl_error_set(err, PL_EINTERNAL, "the transaction had failed, the database rolled it back");
	}
	PQclear(result);
	return 0;
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
