// Dialling: see dial.h. The attempt and the one who asked share a `struct pl_dial` that the last of them frees.
//
// What every connection of plist has in common is set here: UTF-8, UTC, ISO dates, time limits on the server's side, generic plans,
// keep-alives that notice a dead network within seconds.
#include "db/dial.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/wake.h"
#include "db/conn.h"

#define GRACE_US 3000000      // for the network, on top of the server's own limit
#define SERVER_MIN 140000     // the SQL uses what PostgreSQL 14 has

struct pl_dial {
	atomic_int refs;      // the one who asked, and the thread
	atomic_bool cancelled, done;
	struct pl_wake *rung; // when it is done
	int64_t deadline_us;  // 0 = none
	char *dsn, *name;
	char *session;        // settings that all connections have
	char **setup;         // NULL-ended
	PGconn *pg;           // outcome: either this
	struct pl_error err;  // or this
};

static void dial_unref(struct pl_dial *dial)
{
	if (atomic_fetch_sub(&dial->refs, 1) > 1)
		return;
	PQfinish(dial->pg);
	pl_wake_free(&dial->rung);
	pl_texts_free(dial->setup);
	free(dial->session);
	explicit_bzero(dial->dsn, strlen(dial->dsn));
	free(dial->dsn);
	free(dial->name);
	free(dial);
}

void pl_dial_message(const char *message, char *text, int size)
{
	int n = 0;

	for (; *message && n < size - 1; message++) {
		char c = *message == '\n' || *message == '\t' ? ' ' : *message;

		if (c != ' ' || (n > 0 && text[n - 1] != ' '))
			text[n++] = c;
	}
	while (n > 0 && text[n - 1] == ' ')
		n--;
	text[n] = '\0';
}

int64_t pl_dial_patience_us(int64_t statement_timeout_us)
{
	return statement_timeout_us > 0 ? statement_timeout_us + GRACE_US : 0;
}

static int fail(struct pl_dial *dial, int code, const char *what, const char *message)
{
	char text[PL_ERROR_TEXT_MAX];

	pl_dial_message(message, text, sizeof text);
	pl_error_set(&dial->err, code, "%s: %s", what, text);
	dial->err.retryable = code == PL_EUNAVAIL;
	return -1;
}

// Waits for the socket, in slices, so that a cancelled attempt ends soon.
static int await(struct pl_dial *dial, short events)
{
	for (;;) {
		struct pollfd p = { .fd = PQsocket(dial->pg), .events = events };
		int64_t left_us = dial->deadline_us ? dial->deadline_us - pl_mono_us() : INT64_MAX;
		int n;

		if (atomic_load(&dial->cancelled))
			return fail(dial, PL_ESTOPPED, "connecting", "given up");
		if (left_us <= 0)
			return fail(dial, PL_EUNAVAIL, "connecting", "no answer within the time limit");
		n = poll(&p, 1, left_us < 200000 ? (int)(left_us / 1000) + 1 : 200);
		if (n > 0)
			return 0;
		if (n < 0 && errno != EINTR)
			return fail(dial, PL_EUNAVAIL, "poll", strerror(errno));
	}
}

static int connect_now(struct pl_dial *dial)
{
	const char *keys[] = { "dbname", "fallback_application_name", "client_encoding", "keepalives_idle", "keepalives_interval",
	                       "keepalives_count", "tcp_user_timeout", NULL };
	const char *values[] = { dial->dsn, dial->name, "UTF8", "5", "2", "3", "10000", NULL };
	PostgresPollingStatusType state = PGRES_POLLING_WRITING;

	dial->pg = PQconnectStartParams(keys, values, 1);
	if (!dial->pg)
		return fail(dial, PL_EUNAVAIL, "connecting", "out of memory");
	if (PQstatus(dial->pg) == CONNECTION_BAD)
		return fail(dial, PL_EUNAVAIL, "connecting", PQerrorMessage(dial->pg));
	while (state != PGRES_POLLING_OK) {
		if (state == PGRES_POLLING_FAILED)
			return fail(dial, PL_EUNAVAIL, "connecting", PQerrorMessage(dial->pg));
		if (await(dial, state == PGRES_POLLING_READING ? POLLIN : POLLOUT) < 0)
			return -1;
		state = PQconnectPoll(dial->pg);
	}
	if (PQserverVersion(dial->pg) < SERVER_MIN)
		return fail(dial, PL_EINVAL, "connecting", "the server is too old, PostgreSQL 14 or newer is needed");
	return 0;
}

// One statement, with the attempt's deadline.
static int run(struct pl_dial *dial, const char *sql)
{
	PGresult *result;
	int code = 0;

	if (!PQsendQuery(dial->pg, sql))
		return fail(dial, PL_EUNAVAIL, "setting up", PQerrorMessage(dial->pg));
	for (;;) {
		while (PQisBusy(dial->pg))
			if (await(dial, POLLIN) < 0)
				return -1;
			else if (!PQconsumeInput(dial->pg))
				return fail(dial, PL_EUNAVAIL, "setting up", PQerrorMessage(dial->pg));
		if (!(result = PQgetResult(dial->pg)))
			return code;
		if (code == 0 && PQresultStatus(result) != PGRES_COMMAND_OK && PQresultStatus(result) != PGRES_TUPLES_OK) {
			pl_db_error(&dial->err, result);
			code = pl_error_prefix(&dial->err, "setting up");
		}
		PQclear(result);
	}
}

static void silent(void *arg, const char *message)
{
	char text[PL_ERROR_TEXT_MAX];

	(void)arg;
	pl_dial_message(message, text, sizeof text);
	pl_debug("database: %s", text);
}

static void ended(struct pl_dial *dial)
{
	atomic_store(&dial->done, true);
	pl_wake_ring(dial->rung);
	dial_unref(dial);
}

static void *attempt(void *arg)
{
	struct pl_dial *dial = arg;
	bool ok = connect_now(dial) == 0;

	if (ok)
		PQsetNoticeProcessor(dial->pg, silent, NULL);
	ok = ok && run(dial, dial->session) == 0;
	for (char **sql = dial->setup; ok && *sql; sql++)
		ok = run(dial, *sql) == 0;
	if (!ok) {
		PQfinish(dial->pg);
		dial->pg = NULL;
	} else {
		PQsetnonblocking(dial->pg, 1);
	}
	ended(dial);
	return NULL;
}

char **pl_texts_copy(const char *const *texts)
{
	char **copy;
	int n = 0;

	while (texts && texts[n])
		n++;
	copy = pl_calloc((size_t)n + 1, sizeof *copy);
	for (int i = 0; i < n; i++)
		copy[i] = pl_strdup(texts[i]);
	return copy;
}

void pl_texts_free(char **texts)
{
	for (char **text = texts; *text; text++)
		free(*text);
	free(texts);
}

// What every connection of plist has in common.
static char *session_settings(const struct pl_dial_options *options)
{
	struct pl_buf sql = { 0 };

	pl_buf_printf(&sql,
	              "SET TimeZone = 'UTC'; SET DateStyle = 'ISO'; SET IntervalStyle = 'postgres'; SET bytea_output = 'hex'; "
	              "SET extra_float_digits = 1; SET plan_cache_mode = force_generic_plan; SET jit = off; "
	              "SET statement_timeout = %lld; SET lock_timeout = %lld; SET idle_in_transaction_session_timeout = %lld; "
	              "SET default_transaction_isolation = 'read committed'; SET default_transaction_read_only = %s",
	              (long long)options->statement_timeout_us / 1000, (long long)options->lock_timeout_us / 1000,
	              (long long)(options->statement_timeout_us > 0 ? options->statement_timeout_us / 1000 + 60000 : 0),
	              options->read_only ? "on" : "off");
	return sql.data;
}

struct pl_dial *pl_dial_start(const struct pl_dial_options *options)
{
	struct pl_dial *dial = pl_calloc(1, sizeof *dial);
	sigset_t all, before;
	pthread_t thread;
	int failed;

	atomic_init(&dial->refs, 2);
	atomic_init(&dial->cancelled, false);
	atomic_init(&dial->done, false);
	dial->rung = pl_wake_new();
	dial->deadline_us = options->connect_timeout_us > 0 ? pl_mono_us() + options->connect_timeout_us : 0;
	dial->dsn = pl_strdup(options->dsn);
	dial->name = pl_strdup(options->application_name ? options->application_name : "plist");
	dial->session = session_settings(options);
	dial->setup = pl_texts_copy(options->setup);
	sigfillset(&all); // signals are the main thread's
	pthread_sigmask(SIG_SETMASK, &all, &before);
	failed = pthread_create(&thread, NULL, attempt, dial);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	if (failed) { // answered like any other failure: by the descriptor
		fail(dial, PL_EUNAVAIL, "starting a thread", strerror(failed));
		ended(dial);
	} else {
		pthread_detach(thread);
	}
	return dial;
}

int pl_dial_fd(const struct pl_dial *dial)
{
	return pl_wake_fd(dial->rung);
}

void pl_dial_cancel(struct pl_dial **dial)
{
	if (!*dial)
		return;
	atomic_store(&(*dial)->cancelled, true);
	dial_unref(*dial);
	*dial = NULL;
}

PGconn *pl_dial_finish(struct pl_dial **dial, struct pl_error *err)
{
	PGconn *pg;

	if (!atomic_load(&(*dial)->done)) { // asked too early: a fault of the caller, not a reason to wait
		pl_dial_cancel(dial);
		pl_error_set(err, PL_EINTERNAL, "the connection attempt has not ended");
		return NULL;
	}
	pg = (*dial)->pg;
	(*dial)->pg = NULL;
	if (!pg && err)
		*err = (*dial)->err;
	dial_unref(*dial);
	*dial = NULL;
	return pg;
}
