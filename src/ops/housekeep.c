// The housekeeper: forgets what has expired, in small pieces, so that nobody who writes waits for it.
//
// Stands beside the way of the data. Every daemon of a region has one; they do not get in each other's way (SKIP LOCKED, an advisory lock).
//
// Conflicts are kept in a partition a month. One is made before its month begins; rows that came into the default partition first are moved.
// Retention drops whole partitions and deletes the rest row by row.
// Invariant: a round that fails changes nothing that the next one would not do again. Threads: its own.
#include "ops/housekeep.h"

#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/backoff.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/wake.h"
#include "db/session.h"

#define CONFLICTS_EVERY_US (3600LL * 1000000)
#define MONTHS_AHEAD 1

struct pl_housekeep {
	char *region;
	struct pl_wake *stop, *changed;
	pthread_t thread;
	bool running;
	pthread_mutex_t lock; // of what follows
	struct pl_config *config;
	struct pl_housekeep_stats stats;
};

// What a round works with; of the thread alone.
struct round {
	struct pl_housekeep *housekeep;
	struct pl_session *session;
	const struct pl_config *config;
	int64_t conflicts_due_us;
};

static void count(struct pl_housekeep *housekeep, uint64_t *counter, uint64_t n)
{
	pthread_mutex_lock(&housekeep->lock);
	*counter += n;
	pthread_mutex_unlock(&housekeep->lock);
}

// Runs a statement; how many rows it changed, or a code.
static int64_t change(struct round *round, const char *sql, int nparams, const char *const *params, struct pl_error *err)
{
	PGresult *result = pl_session_exec(round->session, sql, nparams, params, err);
	if (!result)
		return err->code;
	int64_t n = strtoll(PQcmdTuples(result), NULL, 10);
	PQclear(result);
	return n;
}

// ---- remembered requests

// Those of a record whose siblings stand are kept with them: they say which of these are twins, and a region that had forgotten it would show another
// row than one that has not. The next write of the record replaces the siblings.
static int expire_requests(struct round *round, struct pl_error *err)
{
	char batch[16];
	snprintf(batch, sizeof(batch), "%d", round->config->housekeeping.expire_batch);
	const char *params[] = {batch};
	for (;;) {
		int64_t n = change(round,
		                   "DELETE FROM processed_requests WHERE ctid = ANY (ARRAY("
		                   "SELECT p.ctid FROM processed_requests p WHERE p.expires_at < now() AND NOT EXISTS (SELECT FROM record_siblings s "
		                   "WHERE s.resource = p.resource AND s.record_id = p.record_id) LIMIT $1::int FOR UPDATE OF p SKIP LOCKED))",
		                   1, params, err);
		if (n < 0)
			return pl_error_prefix(err, "forgetting expired requests");
		count(round->housekeep, &round->housekeep->stats.requests_expired, (uint64_t)n);
		if (n < round->config->housekeeping.expire_batch)
			return 0;
	}
}

// ---- partitions of conflicts

struct month {
	int year, month; // 1..12
};

static struct month month_after(struct month m)
{
	return m.month == 12 ? (struct month){m.year + 1, 1} : (struct month){m.year, m.month + 1};
}

static struct month month_now(void)
{
	time_t now = (time_t)(pl_now_us() / 1000000);
	struct tm tm;
	gmtime_r(&now, &tm);
	return (struct month){tm.tm_year + 1900, tm.tm_mon + 1};
}

static int partition_exists(struct round *round, const char *name, struct pl_error *err)
{
	const char *params[] = {name};
	PGresult *result = pl_session_exec(round->session, "SELECT to_regclass($1) IS NOT NULL", 1, params, err);
	if (!result)
		return err->code;
	int there = PQntuples(result) == 1 && PQgetvalue(result, 0, 0)[0] == 't';
	PQclear(result);
	return there;
}

// Only numbers of ours are put into the text: there are no parameters in statements that make tables.
static int make_partition(struct round *round, struct month m, struct pl_error *err)
{
	char name[32], sql[1024], from[48], to[48];
	struct month end = month_after(m);
	snprintf(name, sizeof(name), "conflicts_%04d_%02d", m.year, m.month);
	int there = partition_exists(round, name, err);
	if (there != 0)
		return there < 0 ? there : 0;
	snprintf(from, sizeof(from), "'%04d-%02d-01 00:00:00+00'", m.year, m.month);
	snprintf(to, sizeof(to), "'%04d-%02d-01 00:00:00+00'", end.year, end.month);
	// Who inserts has chosen a partition before it waits for that one's lock, and would then be refused by the default partition's new
	// bounds. So inserts are held at the parent, before they choose.
	int code = pl_session_do(round->session, "LOCK TABLE ONLY conflicts IN SHARE ROW EXCLUSIVE MODE", err);
	snprintf(sql, sizeof(sql), "CREATE TABLE %s (LIKE conflicts INCLUDING DEFAULTS INCLUDING CONSTRAINTS)", name);
	if (code == 0)
		code = pl_session_do(round->session, sql, err);
	snprintf(sql, sizeof(sql),
	         "WITH moved AS (DELETE FROM ONLY conflicts_default WHERE detected_at >= %s AND detected_at < %s RETURNING *) "
	         "INSERT INTO %s SELECT * FROM moved", from, to, name);
	if (code == 0)
		code = pl_session_do(round->session, sql, err);
	snprintf(sql, sizeof(sql), "ALTER TABLE conflicts ATTACH PARTITION %s FOR VALUES FROM (%s) TO (%s)", name, from, to);
	if (code == 0)
		code = pl_session_do(round->session, sql, err);
	if (code != 0)
		return pl_error_prefix(err, "making partition %s", name);
	count(round->housekeep, &round->housekeep->stats.partitions_made, 1);
	pl_info("housekeeping: made partition %s", name);
	return 0;
}

static int drop_partitions(struct round *round, const char *keep_us, struct pl_error *err)
{
	const char *params[] = {keep_us};
	// The names are digits and underscores by the pattern, so they may stand in the statement.
	PGresult *result = pl_session_exec(round->session,
	                                   "SELECT c.relname FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid "
	                                   "WHERE i.inhparent = 'conflicts'::regclass AND c.relname ~ '^conflicts_[0-9]{4}_[0-9]{2}$' "
	                                   "AND to_date(right(c.relname, 7), 'YYYY_MM') + interval '1 month' "
	                                   "<= (now() AT TIME ZONE 'UTC') - $1::bigint * interval '1 microsecond'",
	                                   1, params, err);
	if (!result)
		return pl_error_prefix(err, "looking for old partitions");
	int code = 0;
	for (int i = 0; i < PQntuples(result) && code == 0; i++) {
		char sql[128];
		snprintf(sql, sizeof(sql), "DROP TABLE %s", PQgetvalue(result, i, 0));
		code = pl_session_do(round->session, sql, err);
		if (code != 0) {
			pl_error_prefix(err, "dropping partition %s", PQgetvalue(result, i, 0));
			break;
		}
		count(round->housekeep, &round->housekeep->stats.partitions_dropped, 1);
		pl_info("housekeeping: dropped partition %s, older than conflicts.retention", PQgetvalue(result, i, 0));
	}
	PQclear(result);
	return code;
}

static int delete_conflicts(struct round *round, const char *keep_us, struct pl_error *err)
{
	const char *params[] = {keep_us};
	for (int64_t n = 1; n > 0;) {
		n = change(round,
		           "DELETE FROM conflicts WHERE (id, detected_at) IN (SELECT id, detected_at FROM conflicts "
		           "WHERE detected_at < now() - $1::bigint * interval '1 microsecond' LIMIT 5000)",
		           1, params, err);
		if (n < 0)
			return pl_error_prefix(err, "deleting old conflicts");
		count(round->housekeep, &round->housekeep->stats.conflicts_deleted, (uint64_t)n);
	}
	return 0;
}

// In a transaction under an advisory lock: a daemon that comes second leaves it to the first.
static int locked(struct round *round, int (*work)(struct round *round, struct pl_error *err), struct pl_error *err)
{
	int code = pl_session_do(round->session, "BEGIN", err);
	if (code != 0)
		return code;
	PGresult *result =
		pl_session_exec(round->session, "SELECT pg_try_advisory_xact_lock(hashtext('plist-housekeeping'))", 0, NULL, err);
	if (result) {
		if (PQgetvalue(result, 0, 0)[0] == 't')
			code = work(round, err);
		PQclear(result);
	} else
		code = err->code;
	if (code == 0)
		return pl_session_do(round->session, "COMMIT", err);
	struct pl_error ignored;
	if (pl_session_connected(round->session))
		pl_session_do(round->session, "ROLLBACK", &ignored);
	return code;
}

static int make_partitions(struct round *round, struct pl_error *err)
{
	struct month m = month_now();
	int code = 0;
	for (int i = 0; i <= MONTHS_AHEAD && code == 0; i++, m = month_after(m))
		code = make_partition(round, m, err);
	return code;
}

static int keep_conflicts(struct round *round, struct pl_error *err)
{
	char keep_us[24];
	snprintf(keep_us, sizeof(keep_us), "%lld", (long long)round->config->conflicts.retention_us);
	int code = locked(round, make_partitions, err);
	if (code == 0)
		code = drop_partitions(round, keep_us, err);
	if (code == 0)
		code = delete_conflicts(round, keep_us, err);
	return code;
}

// ---- rounds

static int do_round(struct round *round, struct pl_error *err)
{
	int code = pl_session_connect(round->session, err);
	if (code == 0)
		code = expire_requests(round, err);
	if (code == 0 && pl_mono_us() >= round->conflicts_due_us) {
		code = keep_conflicts(round, err);
		if (code == 0)
			round->conflicts_due_us = pl_mono_us() + CONFLICTS_EVERY_US;
	}
	return code;
}

// Takes the newest configuration; a session belongs to the one that it was made with.
static void take_config(struct round *round)
{
	struct pl_housekeep *housekeep = round->housekeep;
	pthread_mutex_lock(&housekeep->lock);
	bool same = round->config == housekeep->config;
	struct pl_config *config = same ? NULL : pl_config_ref(housekeep->config);
	pthread_mutex_unlock(&housekeep->lock);
	if (same)
		return;
	struct pl_config *old = (struct pl_config *)round->config;
	pl_config_unref(&old);
	round->config = config;
	const struct pl_region *region = pl_config_region(config, housekeep->region, strlen(housekeep->region));
	char name[64];
	snprintf(name, sizeof(name), "plistd %s housekeeping", housekeep->region);
	pl_session_free(&round->session);
	round->session = pl_session_new(&(struct pl_session_options){
		.dsn = region->database,
		.application_name = name,
		.connect_timeout_us = config->database.connect_timeout_us,
		.statement_timeout_us = 60000000, // a batch is small, but a table may have grown while we were away
		.lock_timeout_us = config->database.lock_timeout_us,
		.stop_fd = pl_wake_fd(housekeep->stop),
	});
	round->conflicts_due_us = 0;
}

// Whether it is time to end.
static bool wait(struct pl_housekeep *housekeep, int64_t us)
{
	struct pollfd pfds[] = {
		{.fd = pl_wake_fd(housekeep->stop), .events = POLLIN},
		{.fd = pl_wake_fd(housekeep->changed), .events = POLLIN},
	};
	poll(pfds, 2, (int)((us < 3600000000LL ? us : 3600000000LL) / 1000) + 1);
	if (pfds[1].revents)
		pl_wake_drain(housekeep->changed);
	return pfds[0].revents != 0;
}

static void *run(void *arg)
{
	struct round round = {.housekeep = arg};
	struct pl_backoff backoff = {.min_us = 500000, .max_us = 30000000};
	struct pl_log_limit limit = {0};
	pl_log_set_thread("housekeeping");
	for (int64_t wait_us = 0; !wait(round.housekeep, wait_us);) {
		struct pl_error err = {0};
		take_config(&round);
		int code = do_round(&round, &err);
		if (code == PL_ESTOPPED)
			break;
		if (code == 0) {
			pl_backoff_reset(&backoff);
			pthread_mutex_lock(&round.housekeep->lock);
			round.housekeep->stats.last_run_us = pl_now_us();
			pthread_mutex_unlock(&round.housekeep->lock);
			wait_us = round.config->housekeeping.expire_every_us;
			continue;
		}
		count(round.housekeep, &round.housekeep->stats.failures, 1);
		wait_us = pl_backoff_next(&backoff);
		if (pl_log_limit_ok(&limit, 30000000))
			pl_warning("housekeeping: %s; trying again", err.text);
	}
	pl_session_free(&round.session);
	struct pl_config *config = (struct pl_config *)round.config;
	pl_config_unref(&config);
	return NULL;
}

struct pl_housekeep *pl_housekeep_start(const struct pl_config *config, const char *region, struct pl_error *err)
{
	struct pl_housekeep *housekeep = pl_calloc(1, sizeof(*housekeep));
	housekeep->region = pl_strdup(region);
	housekeep->config = pl_config_ref(config);
	housekeep->stop = pl_wake_new();
	housekeep->changed = pl_wake_new();
	pthread_mutex_init(&housekeep->lock, NULL);
	int failed = pthread_create(&housekeep->thread, NULL, run, housekeep);
	housekeep->running = failed == 0;
	if (failed) {
		pl_error_set(err, PL_EINTERNAL, "pthread_create: %s", strerror(failed));
		pl_housekeep_stop(&housekeep);
	}
	return housekeep;
}

void pl_housekeep_reconfigure(struct pl_housekeep *housekeep, const struct pl_config *config)
{
	pthread_mutex_lock(&housekeep->lock);
	struct pl_config *old = housekeep->config;
	housekeep->config = pl_config_ref(config);
	pthread_mutex_unlock(&housekeep->lock);
	pl_config_unref(&old);
	pl_wake_ring(housekeep->changed);
}

void pl_housekeep_stop(struct pl_housekeep **housekeep_r)
{
	struct pl_housekeep *housekeep = *housekeep_r;
	if (!housekeep)
		return;
	if (housekeep->running) {
		pl_wake_ring(housekeep->stop);
		pthread_join(housekeep->thread, NULL);
	}
	pl_wake_free(&housekeep->stop);
	pl_wake_free(&housekeep->changed);
	pthread_mutex_destroy(&housekeep->lock);
	pl_config_unref(&housekeep->config);
	free(housekeep->region);
	free(housekeep);
	*housekeep_r = NULL;
}

void pl_housekeep_stats(struct pl_housekeep *housekeep, struct pl_housekeep_stats *stats_r)
{
	pthread_mutex_lock(&housekeep->lock);
	*stats_r = housekeep->stats;
	pthread_mutex_unlock(&housekeep->lock);
}
