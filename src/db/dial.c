// Dialling: see dial.h. The thread of the attempt and the caller share a `struct
// pl_dial`, which the last of them frees.
//
// Sets what all connections of plist have in common: UTF-8, UTC, ISO dates, time limits
// on the server's side, generic plans, and keep-alives that detect a dead network
// within seconds.
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
#include "config/dsn.h"
#include "db/conn.h"
#include "db/hosts.h"
#include "db/server.h"

#define ADDRESSES_MAX 8       // per name
#define NO_LIMIT_US   5000000 // for a host that is not the last one, if connecting has no time limit
#define POOLER_US     1500000 // for a second connection through a pooler
#define OURS_US       300000  // for the first one meanwhile, which others may wait for
#define POOLER_LOOKS  3
#define GRACE_US      3000000 // network delay, added to the server's own limit
#define SERVER_MIN    140000  // the SQL uses features of PostgreSQL 14

struct pl_dial {
	atomic_int refs; // the caller, and the thread
	atomic_bool cancelled, done;
	struct pl_wake *rung; // rung when it is done
	int64_t deadline_us;  // 0: none
	char *dsn, *name;
	char *dsn_file;          // or NULL
	char *user;              // replaces the user of the string; or NULL
	bool silent;             // the server tried last did not respond
	char *session;           // settings common to all connections
	char **setup;            // NULL-ended
	struct pl_server server; // where it has connected
	PGconn *pg;              // the outcome: this
	struct pl_error err;     // or this
};

static void dial_unref(struct pl_dial *dial)
{
	if (atomic_fetch_sub(&dial->refs, 1) > 1)
		return;
	PQfinish(dial->pg);
	pl_wake_free(&dial->rung);
	pl_dial_texts_free(dial->setup);
	free(dial->session);
	explicit_bzero(dial->dsn, strlen(dial->dsn));
	free(dial->dsn);
	free(dial->name);
	free(dial->dsn_file);
	free(dial->user);
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

	pl_dial_message(message, text, sizeof(text));
	// libpq 15 does not say why.
	const char *why = strstr(text, "certificate verify failed")
	                          ? ": the server's certificate has expired, or is not signed by sslrootcert"
	                          : "";
	pl_error_set(&dial->err, code, "%s: %s%s", what, text, why);
	dial->err.retryable = code == PL_EUNAVAIL;
	return -1;
}

// Waits for a socket, in slices, so that a cancelled attempt ends soon. by_us 0: no
// limit.
static int await(struct pl_dial *dial, const PGconn *pg, short events, int64_t by_us)
{
	for (;;) {
		struct pollfd p = { .fd = PQsocket(pg), .events = events };
		int64_t left_us = by_us ? by_us - pl_mono_us() : INT64_MAX;
		int n;

		if (atomic_load(&dial->cancelled))
			return fail(dial, PL_ESTOPPED, "connecting", "given up");
		if (left_us <= 0) {
			dial->silent = true;
			return fail(dial, PL_EUNAVAIL, "connecting", "no answer within the time limit");
		}
		n = poll(&p, 1, left_us < 200000 ? (int)(left_us / 1000) + 1 : 200);
		if (n > 0)
			return 0;
		if (n < 0 && errno != EINTR)
			return fail(dial, PL_EUNAVAIL, "poll", strerror(errno));
	}
}

// ---- one server

// Which server, and the required target_session_attrs; NULL: those of the connection
// string.
struct target {
	const char *host, *address, *port, *session_attrs;
};

static PGconn *begin(const struct pl_dial *dial, const struct target *target)
{
	const char *keys[20] = { "dbname",          "fallback_application_name", "client_encoding",
		                 "keepalives_idle", "keepalives_interval",       "keepalives_count",
		                 "tcp_user_timeout" };
	const char *values[20] = { dial->dsn, dial->name, "UTF8", "5", "2", "3", "10000" };
	const char *more[][2] = { { "host", target->host },
		                  { "hostaddr", target->address },
		                  { "port", target->port },
		                  { "target_session_attrs", target->session_attrs },
		                  { "user", dial->user } };
	int n = 7;

	for (size_t i = 0; i < sizeof(more) / sizeof(more[0]); i++)
		if (more[i][1]) {
			keys[n] = more[i][0];
			values[n++] = more[i][1];
		}
	return PQconnectStartParams(keys, values, 1);
}

static int establish(struct pl_dial *dial, PGconn *pg, int64_t by_us)
{
	PostgresPollingStatusType state = PGRES_POLLING_WRITING;

	if (!pg)
		return fail(dial, PL_EUNAVAIL, "connecting", "out of memory");
	if (PQstatus(pg) == CONNECTION_BAD)
		return fail(dial, PL_EUNAVAIL, "connecting", PQerrorMessage(pg));
	while (state != PGRES_POLLING_OK) {
		if (state == PGRES_POLLING_FAILED)
			return fail(dial, PL_EUNAVAIL, "connecting", PQerrorMessage(pg));
		if (await(dial, pg, state == PGRES_POLLING_READING ? POLLIN : POLLOUT, by_us) < 0)
			return -1;
		state = PQconnectPoll(pg);
	}
	if (PQserverVersion(pg) < SERVER_MIN)
		return fail(dial, PL_EINVAL, "connecting",
		            "the server is too old, PostgreSQL 14 or newer is needed");
	return 0;
}

// Receives the answer to a statement; if wanted, returns the first cell of its first
// result as a number. A second cell names the server.
static int receive(struct pl_dial *dial, PGconn *pg, int64_t by_us, int *number_r)
{
	PGresult *result;
	int code = 0;

	for (;;) {
		while (PQisBusy(pg))
			if (await(dial, pg, POLLIN, by_us) < 0)
				return -1;
			else if (!PQconsumeInput(pg))
				return fail(dial, PL_EUNAVAIL, "setting up", PQerrorMessage(pg));
		if (!(result = PQgetResult(pg)))
			return code;
		if (code == 0 && PQresultStatus(result) != PGRES_COMMAND_OK &&
		    PQresultStatus(result) != PGRES_TUPLES_OK) {
			pl_db_error(&dial->err, result);
			code = pl_error_prefix(&dial->err, "setting up");
		} else if (code == 0 && number_r && PQntuples(result) == 1) {
			*number_r = atoi(PQgetvalue(result, 0, 0));
			if (PQnfields(result) > 1)
				snprintf(dial->server.name, sizeof(dial->server.name), "%s",
				         PQgetvalue(result, 0, 1));
		}
		PQclear(result);
	}
}

static int ask(struct pl_dial *dial, PGconn *pg, const char *sql, int64_t by_us, int *number_r)
{
	if (!PQsendQuery(pg, sql))
		return fail(dial, PL_EUNAVAIL, "setting up", PQerrorMessage(pg));
	return receive(dial, pg, by_us, number_r);
}

static int run(struct pl_dial *dial, const char *sql)
{
	return ask(dial, dial->pg, sql, dial->deadline_us, NULL);
}

// ---- poolers

#define PID "SELECT pg_backend_pid()"

// Without the right to know when the server was started, a session does without.
static int ask_who(struct pl_dial *dial, int *pid_r)
{
	if (ask(dial, dial->pg, PID ", " PL_SERVER_SQL, dial->deadline_us, pid_r) == 0)
		return 0;
	return strcmp(dial->err.sqlstate, "42501") == 0 ? ask(dial, dial->pg, PID, dial->deadline_us, pid_r)
	                                                : -1;
}

static int64_t soon(const struct pl_dial *dial, int64_t us)
{
	int64_t by_us = pl_mono_us() + us;

	return dial->deadline_us && dial->deadline_us < by_us ? dial->deadline_us : by_us;
}

// Whether this client, whose backend was `pid`, has another one now, or waits for the one
// that `*second_p` was given. -1: it does not answer.
static int look_at_ours(struct pl_dial *dial, PGconn **second_p, int pid, bool *shared_r)
{
	int ours = pid;

	if (ask(dial, dial->pg, PID, soon(dial, OURS_US), &ours) == 0) {
		*shared_r |= ours != pid;
		return 0;
	}
	if (!dial->silent)
		return -1;
	PQfinish(*second_p); // if it answers now, it had to wait for this one's backend
	*second_p = NULL;
	dial->silent = false;
	if (receive(dial, dial->pg, dial->deadline_us, &ours) < 0)
		return -1;
	*shared_r = true;
	return 0;
}

// Whether, while both are connected, a second client gets this client's backend, or
// this client another one. Neither happens with a pooler that assigns each client a
// backend for as long as it is connected; it may keep the second one waiting (*waits_r).
// -1: this client is not answered.
static int look_for_sharing(struct pl_dial *dial, const struct target *target, int pid, bool *shared_r,
                            bool *waits_r)
{
	int64_t by_us = soon(dial, POOLER_US);
	PGconn *second = begin(dial, target);
	int theirs = 0, code = 0;

	*shared_r = dial->silent = false;
	if (establish(dial, second, by_us) == 0) {
		if (ask(dial, second, "BEGIN", by_us, NULL) < 0)
			// not even transactions work: statement mode. Or the pooler waits
			// for a free backend
			*shared_r = !dial->silent;
		else if (ask(dial, second, PID, by_us, &theirs) == 0) {
			*shared_r = theirs == pid;
			code = look_at_ours(dial, &second, pid, shared_r);
		}
	}
	*waits_r = dial->silent && code == 0;
	PQfinish(second);
	return code;
}

// plist's sessions have settings, prepared statements and locks that outlive a
// transaction.
static int refuse_shared_sessions(struct pl_dial *dial, const struct target *target)
{
	bool shared = false, waits = false;
	int pid = 0;

	if (ask_who(dial, &pid) < 0)
		return -1;
	if (pid == PQbackendPID(dial->pg)) // not a pooler: a pooler makes up its own numbers
		return 0;
	for (int i = 0; i < POOLER_LOOKS && !shared && !waits; i++)
		if (look_for_sharing(dial, target, pid, &shared, &waits) < 0)
			return -1;
	if (shared)
		return fail(dial, PL_EINVAL, "connecting",
		            "a pooler in transaction or statement mode is in front of the database "
		            "(PgBouncer: pool_mode), and "
		            "plist needs dedicated sessions: set pool_mode = session for it, or connect to "
		            "PostgreSQL directly");
	memset(&dial->err, 0, sizeof(dial->err));
	dial->silent = false;
	return 0;
}

// ---- trying all servers

static int try(struct pl_dial *dial, const struct target *target, int64_t by_us)
{
	dial->silent = false;
	dial->pg = begin(dial, target);
	if (establish(dial, dial->pg, by_us) == 0 && refuse_shared_sessions(dial, target) == 0)
		return 0;
	PQfinish(dial->pg);
	dial->pg = NULL;
	return -1;
}

// The time limit for one of `n` servers that are left. The last one gets all remaining
// time; without a time limit, the others still have one.
static int64_t share(const struct pl_dial *dial, int64_t until_us, int n)
{
	int64_t now_us = pl_mono_us();

	if (n <= 1)
		return until_us;
	return now_us + (dial->deadline_us ? (until_us - now_us) / n : NO_LIMIT_US);
}

// A name may have several addresses, and the first one may be unreachable.
static int try_host(struct pl_dial *dial, const struct pl_host *host, const char *session_attrs,
                    int64_t by_us)
{
	char addresses[ADDRESSES_MAX][64];
	int n = pl_hosts_resolve(host, addresses, ADDRESSES_MAX, &dial->err), rc = -1;

	dial->silent = false;
	for (int i = 0; i < n && rc < 0 && !atomic_load(&dial->cancelled); i++) {
		struct target target = { host->host, addresses[i][0] ? addresses[i] : host->address,
			                 host->port, session_attrs };

		rc = try(dial, &target, share(dial, by_us, n - i));
	}
	pl_hosts_note(host, dial->silent);
	return rc;
}

// Joins "<error of the first server>; <error of the next one>".
static void add_reason(char reasons[PL_ERROR_TEXT_MAX], const char *text)
{
	size_t len = strlen(reasons);

	snprintf(reasons + len, PL_ERROR_TEXT_MAX - len, "%s%.*s", len ? "; " : "", PL_ERROR_TEXT_MAX / 2 - 4,
	         text);
}

static int connect_now(struct pl_dial *dial)
{
	char reasons[PL_ERROR_TEXT_MAX] = "";
	struct pl_hosts hosts;
	int rc = -1;

	pl_hosts_read(&hosts, dial->dsn);
	pl_hosts_order(&hosts);
	if (hosts.n == 0)
		return try(dial, &(struct target){ 0 }, dial->deadline_us);
	for (int pass = hosts.prefer_standby ? 0 : 1; pass < 2 && rc < 0; pass++)
		for (int i = 0; i < hosts.n && rc < 0 && !atomic_load(&dial->cancelled); i++) {
			int left = hosts.n - i + (pass == 0 ? hosts.n : 0);

			rc = try_host(dial, &hosts.each[i],
			              !hosts.prefer_standby ? NULL
			              : pass == 0           ? "standby"
			                                    : "any",
			              share(dial, dial->deadline_us, left));
			if (rc < 0)
				add_reason(reasons, dial->err.text);
		}
	if (rc < 0 && hosts.n > 1)
		memcpy(dial->err.text, reasons, sizeof(reasons));
	pl_hosts_free(&hosts);
	return rc;
}

static void silent(void *arg, const char *message)
{
	char text[PL_ERROR_TEXT_MAX];

	(void)arg;
	pl_dial_message(message, text, sizeof(text));
	pl_debug("database: %s", text);
}

static void ended(struct pl_dial *dial)
{
	atomic_store(&dial->done, true);
	pl_wake_ring(dial->rung);
	dial_unref(dial);
}

// The string as currently in its file, unless it names another database: that takes
// effect only after a restart.
static void read_again(struct pl_dial *dial)
{
	char *now = dial->dsn_file ? pl_dsn_read_file(dial->dsn_file) : NULL;

	if (now && pl_dsn_same_place(dial->dsn, now)) {
		char *before = dial->dsn;

		dial->dsn = now;
		now = before;
	}
	if (now)
		explicit_bzero(now, strlen(now));
	free(now);
}

static void *attempt(void *arg)
{
	struct pl_dial *dial = arg;
	bool ok;

	read_again(dial);
	ok = connect_now(dial) == 0;

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
		pl_server_note(&dial->server);
	}
	ended(dial);
	return NULL;
}

char **pl_dial_texts_copy(const char *const *texts)
{
	char **copy;
	int n = 0;

	while (texts && texts[n])
		n++;
	copy = pl_calloc((size_t)n + 1, sizeof(*copy));
	for (int i = 0; i < n; i++)
		copy[i] = pl_strdup(texts[i]);
	return copy;
}

void pl_dial_texts_free(char **texts)
{
	for (char **text = texts; *text; text++)
		free(*text);
	free(texts);
}

// Settings common to all connections. default_transaction_read_only is left to the
// operator.
static void each_setting(const struct pl_dial_options *options,
                         void (*fn)(struct pl_buf *sql, const char *name, const char *value),
                         struct pl_buf *sql)
{
	static const char *const fixed[][2] = {
		{ "TimeZone", "UTC" },
		{ "DateStyle", "ISO" },
		{ "IntervalStyle", "postgres" },
		{ "bytea_output", "hex" },
		{ "extra_float_digits", "1" },
		{ "plan_cache_mode", "force_generic_plan" },
		{ "jit", "off" },
		{ "default_transaction_isolation", "read committed" },
	};
	int64_t statement_ms = options->statement_timeout_us / 1000;
	const int64_t times[] = { statement_ms, options->lock_timeout_us / 1000,
		                  statement_ms > 0 ? statement_ms + 60000 : 0 };
	static const char *const timed[] = { "statement_timeout", "lock_timeout",
		                             "idle_in_transaction_session_timeout" };
	char ms[24];

	for (size_t i = 0; i < sizeof(fixed) / sizeof(fixed[0]); i++)
		fn(sql, fixed[i][0], fixed[i][1]);
	for (size_t i = 0; i < sizeof(timed) / sizeof(timed[0]); i++) {
		snprintf(ms, sizeof(ms), "%lld", (long long)times[i]);
		fn(sql, timed[i], ms);
	}
	if (options->read_only)
		fn(sql, "default_transaction_read_only", "on");
}

static void add_set(struct pl_buf *sql, const char *name, const char *value)
{
	pl_buf_printf(sql, "%sSET %s = '%s'", sql->len ? "; " : "", name, value);
}

static void add_set_config(struct pl_buf *sql, const char *name, const char *value)
{
	pl_buf_printf(sql, "%sset_config('%s', '%s', false)", sql->len ? ", " : "SELECT ", name, value);
}

char *pl_dial_settings(const struct pl_dial_options *options)
{
	struct pl_buf sql = { 0 };

	each_setting(options, add_set_config, &sql);
	return sql.data;
}

static char *session_settings(const struct pl_dial_options *options)
{
	struct pl_buf sql = { 0 };

	each_setting(options, add_set, &sql);
	return sql.data;
}

struct pl_dial *pl_dial_start(const struct pl_dial_options *options)
{
	struct pl_dial *dial = pl_calloc(1, sizeof(*dial));
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
	dial->dsn_file = options->dsn_file ? pl_strdup(options->dsn_file) : NULL;
	dial->user = options->user ? pl_strdup(options->user) : NULL;
	pl_server_init(&dial->server, options->dsn, options->dsn_file);
	dial->session = session_settings(options);
	dial->setup = pl_dial_texts_copy(options->setup);
	sigfillset(&all); // signals are handled by the main thread
	pthread_sigmask(SIG_SETMASK, &all, &before);
	failed = pthread_create(&thread, NULL, attempt, dial);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	if (failed) { // reported like any other failure, through the descriptor
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

void pl_dial_cancel(struct pl_dial **dial_p)
{
	if (!*dial_p)
		return;
	atomic_store(&(*dial_p)->cancelled, true);
	dial_unref(*dial_p);
	*dial_p = NULL;
}

PGconn *pl_dial_finish(struct pl_dial **dial_p, struct pl_server *server_r, struct pl_error *err)
{
	PGconn *pg;

	if (!atomic_load(&(*dial_p)->done)) { // called too early: a bug of the caller, and no reason to block
		pl_dial_cancel(dial_p);
		pl_error_set(err, PL_EINTERNAL, "the connection attempt has not ended");
		return NULL;
	}
	*server_r = (*dial_p)->server;
	pg = (*dial_p)->pg;
	(*dial_p)->pg = NULL;
	if (!pg && err)
		*err = (*dial_p)->err;
	dial_unref(*dial_p);
	*dial_p = NULL;
	return pg;
}
