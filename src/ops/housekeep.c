// Housekeeping: deletes expired rows in small batches, so that writers never wait for it.
//
// Every daemon of a region runs it; they do not interfere with each other (SKIP LOCKED, a
// row of plist_leaders).
//
// Conflicts are stored in monthly partitions. A partition is created before its month
// begins; rows that arrived in the default partition first are moved. Retention drops
// whole partitions and deletes the remaining rows one by one. A daemon whose role does
// not own the table, see plist-security(7), leaves the partitions as they are and deletes
// row by row.
// Invariant: a round that fails leaves nothing that the next round would not repair. What
// fails in it is tried again, and holds up nothing else.
// Threads: its own.
#include "ops/housekeep.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "db/background.h"
#include "ops/fold.h"
#include "ops/steady.h"

#define SECOND             INT64_C(1000000)
#define CONFLICTS_EVERY_US (3600 * SECOND)
#define MONTHS_AHEAD       1
#define LEFT_AGAIN_US      (10 * SECOND) // at the latest, when values are not in their columns
#define LEFT_LOG_EVERY     (60 * SECOND)
#define BEATS              3 // intervals of heartbeats in which every region is heard

struct pl_housekeep {
	struct pl_background *background;
	pthread_mutex_t lock; // guards the next one
	struct pl_housekeep_stats stats;

	// The thread's own.
	const struct pl_config *config;
	struct pl_session *session;
	int64_t conflicts_due_us;
	struct pl_steady steady; // the database's clock
	uint64_t left;           // rows whose values could not be moved, in this round
	struct pl_log_limit left_limit;
};

static void count(struct pl_housekeep *housekeep, uint64_t *counter, uint64_t n)
{
	pthread_mutex_lock(&housekeep->lock);
	*counter += n;
	pthread_mutex_unlock(&housekeep->lock);
}

// Runs a statement. Returns the number of rows that it changed, or a code.
static int64_t change(struct pl_housekeep *housekeep, const char *sql, int nparams, const char *const *params,
                      struct pl_error *err)
{
	PGresult *result = pl_session_exec(housekeep->session, sql, nparams, params, err);
	if (!result)
		return err->code;
	int64_t n = strtoll(PQcmdTuples(result), NULL, 10);
	PQclear(result);
	return n;
}

// ---- remembered requests

// The time by the clock that is slowest, of those of the regions that are heard: what one
// region forgets too early, a retry there would execute again. NULL: not to be trusted,
// since the database's clock was just set, or this daemon started. The caller frees it.
static int slowest_clock(struct pl_housekeep *housekeep, char **time_r, struct pl_error *err)
{
	PGresult *result = pl_session_exec(
		housekeep->session,
		"SELECT (extract(epoch FROM now()) * 1000000)::bigint, least(now(), min(h.sent_at + "
		"(now() - h.heard_at))) FROM plist.region_heartbeats AS h WHERE h.heard_at > now() - "
		"interval '1 minute'",
		0, NULL, err);
	if (!result)
		return pl_error_prefix(err, "comparing the regions' clocks");
	int64_t since_us = housekeep->steady.since_us;
	bool steady = pl_steady_look(&housekeep->steady, strtoll(PQgetvalue(result, 0, 0), NULL, 10),
	                             pl_mono_us(), BEATS * housekeep->config->kafka.heartbeat_us);
	if (since_us > 0 && housekeep->steady.since_us != since_us)
		pl_notice(
			"housekeeping: the database's clock was set; request ids are forgotten again when it "
			"has been compared with those of the other regions");
	*time_r = steady ? pl_strdup(PQgetvalue(result, 0, 1)) : NULL;
	PQclear(result);
	return 0;
}

// Request ids of a record with siblings are kept as long as the siblings: they show which
// of these are twins, and a region that had deleted them would show a different row from
// one that has not. The next write of the record replaces the siblings.
static int64_t expire_batch(struct pl_housekeep *housekeep, const char *time, struct pl_error *err)
{
	char batch[16];
	const char *params[] = { batch, time };

	snprintf(batch, sizeof(batch), "%d", housekeep->config->housekeeping.expire_batch);
	int64_t n = change(housekeep,
	                   "DELETE FROM plist.processed_requests WHERE ctid = ANY (ARRAY(SELECT p.ctid FROM "
	                   "plist.processed_requests p WHERE p.expires_at < $2::timestamptz AND NOT EXISTS "
	                   "(SELECT FROM plist.record_siblings s WHERE s.resource = p.resource AND "
	                   "s.record_id = p.record_id) LIMIT $1::int FOR UPDATE OF p SKIP LOCKED))",
	                   2, params, err);
	if (n < 0)
		return pl_error_prefix(err, "deleting expired request ids");
	count(housekeep, &housekeep->stats.requests_expired, (uint64_t)n);
	return n;
}

static int expire_requests(struct pl_housekeep *housekeep, struct pl_error *err)
{
	char *time = NULL;
	int64_t n = slowest_clock(housekeep, &time, err);

	while (time &&
	       (n = expire_batch(housekeep, time, err)) == housekeep->config->housekeeping.expire_batch)
		;
	free(time);
	return n < 0 ? (int)n : 0;
}

// ---- partitions of conflicts

struct month {
	int year, month; // 1..12
};

static struct month month_after(struct month m)
{
	return m.month == 12 ? (struct month){ m.year + 1, 1 } : (struct month){ m.year, m.month + 1 };
}

static struct month month_now(void)
{
	time_t now = (time_t)(pl_now_us() / 1000000);
	struct tm tm;
	gmtime_r(&now, &tm);
	return (struct month){ tm.tm_year + 1900, tm.tm_mon + 1 };
}

static int partition_exists(struct pl_housekeep *housekeep, const char *name, struct pl_error *err)
{
	const char *params[] = { name };
	PGresult *result =
		pl_session_exec(housekeep->session, "SELECT to_regclass($1) IS NOT NULL", 1, params, err);
	if (!result)
		return err->code;
	int there = PQntuples(result) == 1 && PQgetvalue(result, 0, 0)[0] == 't';
	PQclear(result);
	return there;
}

// The text contains only our own numbers: DDL statements cannot take parameters.
static int make_partition(struct pl_housekeep *housekeep, struct month m, struct pl_error *err)
{
	char name[40], sql[1024], from[48], to[48];
	struct month end = month_after(m);
	snprintf(name, sizeof(name), "plist.conflicts_%04d_%02d", m.year, m.month);
	int there = partition_exists(housekeep, name, err);
	if (there != 0)
		return there < 0 ? there : 0;
	snprintf(from, sizeof(from), "'%04d-%02d-01 00:00:00+00'", m.year, m.month);
	snprintf(to, sizeof(to), "'%04d-%02d-01 00:00:00+00'", end.year, end.month);
	// An INSERT chooses its partition before it waits for its lock, and would then
	// violate the new bounds of the default partition. So inserts are blocked at the
	// parent, before they choose.
	int code = pl_session_do(housekeep->session,
	                         "LOCK TABLE ONLY plist.conflicts IN SHARE ROW EXCLUSIVE MODE", err);
	snprintf(sql, sizeof(sql),
	         "CREATE TABLE %s (LIKE plist.conflicts INCLUDING DEFAULTS INCLUDING CONSTRAINTS)", name);
	if (code == 0)
		code = pl_session_do(housekeep->session, sql, err);
	snprintf(sql, sizeof(sql),
	         "WITH moved AS (DELETE FROM ONLY plist.conflicts_default WHERE detected_at >= %s AND "
	         "detected_at < %s RETURNING *) "
	         "INSERT INTO %s SELECT * FROM moved",
	         from, to, name);
	if (code == 0)
		code = pl_session_do(housekeep->session, sql, err);
	snprintf(sql, sizeof(sql),
	         "ALTER TABLE plist.conflicts ATTACH PARTITION %s FOR VALUES FROM (%s) TO (%s)", name, from,
	         to);
	if (code == 0)
		code = pl_session_do(housekeep->session, sql, err);
	if (code != 0)
		return pl_error_prefix(err, "creating partition %s", name);
	count(housekeep, &housekeep->stats.partitions_made, 1);
	pl_info("housekeeping: created partition %s", name);
	return 0;
}

static int drop_partitions(struct pl_housekeep *housekeep, const char *keep_us, struct pl_error *err)
{
	const char *params[] = { keep_us };
	// The pattern allows only digits and underscores, so the names are safe in a
	// statement.
	PGresult *result = pl_session_exec(
		housekeep->session,
		"SELECT c.oid::regclass FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid "
		"WHERE i.inhparent = 'plist.conflicts'::regclass AND c.relname ~ "
		"'^conflicts_[0-9]{4}_[0-9]{2}$' "
		"AND to_date(right(c.relname, 7), 'YYYY_MM') + interval '1 month' "
		"<= (now() AT TIME ZONE 'UTC') - $1::bigint * interval '1 microsecond'",
		1, params, err);
	if (!result)
		return pl_error_prefix(err, "looking for old partitions");
	int code = 0;
	for (int i = 0; i < PQntuples(result) && code == 0; i++) {
		char sql[128];
		snprintf(sql, sizeof(sql), "DROP TABLE %s", PQgetvalue(result, i, 0));
		code = pl_session_do(housekeep->session, sql, err);
		if (code != 0) {
			pl_error_prefix(err, "dropping partition %s", PQgetvalue(result, i, 0));
			break;
		}
		count(housekeep, &housekeep->stats.partitions_dropped, 1);
		pl_info("housekeeping: dropped partition %s, older than conflicts.retention",
		        PQgetvalue(result, i, 0));
	}
	PQclear(result);
	return code;
}

static int delete_conflicts(struct pl_housekeep *housekeep, const char *keep_us, struct pl_error *err)
{
	const char *params[] = { keep_us };
	for (int64_t n = 1; n > 0;) {
		n = change(
			housekeep,
			"DELETE FROM plist.conflicts WHERE (id, detected_at) IN (SELECT id, detected_at FROM "
			"plist.conflicts "
			"WHERE detected_at < now() - $1::bigint * interval '1 microsecond' LIMIT 5000)",
			1, params, err);
		if (n < 0)
			return pl_error_prefix(err, "deleting old conflicts");
		count(housekeep, &housekeep->stats.conflicts_deleted, (uint64_t)n);
	}
	return 0;
}

// Runs in a transaction that locks a row that only the role of plist can lock. A second
// daemon skips the work.
static int locked(struct pl_housekeep *housekeep,
                  int (*work)(struct pl_housekeep *housekeep, struct pl_error *err), struct pl_error *err)
{
	int code = pl_session_do(housekeep->session, "BEGIN", err);
	if (code != 0)
		return code;
	PGresult *result = pl_session_exec(
		housekeep->session,
		"SELECT FROM plist.plist_leaders WHERE name = 'housekeeping' FOR UPDATE SKIP LOCKED", 0, NULL,
		err);
	if (result) {
		if (PQntuples(result) == 1)
			code = work(housekeep, err);
		PQclear(result);
	} else
		code = err->code;
	if (code == 0)
		return pl_session_do(housekeep->session, "COMMIT", err);
	struct pl_error ignored;
	if (pl_session_connected(housekeep->session))
		pl_session_do(housekeep->session, "ROLLBACK", &ignored);
	return code;
}

static int make_partitions(struct pl_housekeep *housekeep, struct pl_error *err)
{
	struct month m = month_now();
	int code = 0;
	for (int i = 0; i <= MONTHS_AHEAD && code == 0; i++, m = month_after(m))
		code = make_partition(housekeep, m, err);
	return code;
}

// Only the owner of a table may add partitions to it and drop them.
static int owns_conflicts(struct pl_housekeep *housekeep, struct pl_error *err)
{
	PGresult *result = pl_session_exec(
		housekeep->session,
		"SELECT pg_has_role(relowner, 'USAGE') AND has_schema_privilege('plist', 'CREATE') "
		"FROM pg_class WHERE oid = 'plist.conflicts'::regclass",
		0, NULL, err);
	if (!result)
		return pl_error_prefix(err, "looking who owns plist.conflicts");
	int owns = PQntuples(result) == 1 && PQgetvalue(result, 0, 0)[0] == 't';
	PQclear(result);
	return owns;
}

static int keep_conflicts(struct pl_housekeep *housekeep, struct pl_error *err)
{
	char keep_us[24];
	snprintf(keep_us, sizeof(keep_us), "%lld", (long long)housekeep->config->conflicts.retention_us);
	int code = owns_conflicts(housekeep, err);
	if (code > 0 && (code = locked(housekeep, make_partitions, err)) == 0)
		code = drop_partitions(housekeep, keep_us, err);
	if (code == 0)
		code = delete_conflicts(housekeep, keep_us, err);
	return code;
}

// ---- fields that are not in their columns

static int fold_resource(struct pl_housekeep *housekeep, const struct pl_resource *resource,
                         struct pl_error *err)
{
	struct pl_fold fold;
	int code = pl_fold_resource(housekeep->session, resource, &fold, err);

	count(housekeep, &housekeep->stats.fields_folded, (uint64_t)fold.moved);
	if (fold.moved > 0)
		pl_info("housekeeping: moved values of %lld rows of %s from unknown_fields to their columns",
		        (long long)fold.moved, resource->table);
	if (fold.forgotten > 0)
		pl_notice("housekeeping: removed values from unknown_fields in %lld rows of %s: their fields "
		          "were retired, and the columns dropped",
		          (long long)fold.forgotten, resource->table);
	if (code < 0)
		return pl_error_prefix(err, "moving values of %s from unknown_fields to their columns",
		                       resource->table);
	if (fold.left > 0 && pl_log_limit_ok(&housekeep->left_limit, LEFT_LOG_EVERY))
		pl_warning("housekeeping: values of %lld rows of %s stay in unknown_fields, for example of "
		           "the record %lld: %s; trying again",
		           (long long)fold.left, resource->table, (long long)fold.first, fold.reason);
	housekeep->left += (uint64_t)fold.left;
	return 0;
}

static int fold(struct pl_housekeep *housekeep, struct pl_error *err)
{
	int failed = 0;
	housekeep->left = 0;
	for (int i = 0; i < housekeep->config->nresources; i++) {
		struct pl_error one = { 0 };
		int code = fold_resource(housekeep, &housekeep->config->resources[i], &one);
		if (code < 0 && failed == 0) {
			failed = code;
			*err = one;
		}
		if (code < 0 && !pl_session_connected(housekeep->session))
			break;
	}
	if (housekeep->left == 0)
		housekeep->left_limit = (struct pl_log_limit){ 0 }; // the next one is news
	if (failed == 0) {
		pthread_mutex_lock(&housekeep->lock);
		housekeep->stats.fields_left = housekeep->left;
		pthread_mutex_unlock(&housekeep->lock);
	}
	return failed;
}

// ---- dead letters

static int delete_dead_letters(struct pl_housekeep *housekeep, struct pl_error *err)
{
	char keep_us[24];
	const char *params[] = { keep_us };
	snprintf(keep_us, sizeof(keep_us), "%lld", (long long)housekeep->config->dead_letters.retention_us);
	for (int64_t n = 1; n > 0;) {
		n = change(housekeep,
		           "DELETE FROM plist.dead_letters WHERE ctid = ANY (ARRAY(SELECT ctid FROM "
		           "plist.dead_letters "
		           "WHERE received_at < now() - $1::bigint * interval '1 microsecond' LIMIT 5000 FOR "
		           "UPDATE SKIP LOCKED))",
		           1, params, err);
		if (n < 0)
			return pl_error_prefix(err, "deleting old dead letters");
		count(housekeep, &housekeep->stats.dead_letters_deleted, (uint64_t)n);
		if (n > 0)
			pl_notice("housekeeping: deleted %lld dead letters older than dead_letters.retention",
			          (long long)n);
	}
	return 0;
}

// ---- records that were created twice

// Pairs whose request is forgotten, so that no further record of it is recognised, and
// that were closed so long ago that their conflicts are deleted, too.
static int forget_pairs(struct pl_housekeep *housekeep, struct pl_error *err)
{
	char keep_us[24];
	const char *params[] = { keep_us };
	snprintf(keep_us, sizeof(keep_us), "%lld", (long long)housekeep->config->conflicts.retention_us);
	for (int64_t n = 1; n > 0;) {
		n = change(
			housekeep,
			"DELETE FROM plist.created_twice_closed WHERE ctid = ANY (ARRAY(SELECT c.ctid FROM "
			"plist.created_twice_closed AS c WHERE c.closed_at < now() - $1::bigint * interval "
			"'1 microsecond' AND NOT EXISTS (SELECT FROM plist.processed_requests AS p WHERE "
			"p.request_id = c.request_id AND p.principal = c.principal) LIMIT 5000 FOR UPDATE "
			"OF c SKIP LOCKED))",
			1, params, err);
		if (n < 0)
			return pl_error_prefix(err, "deleting old pairs of records that were created twice");
	}
	return 0;
}

// ---- the thread

typedef int chore(struct pl_housekeep *housekeep, struct pl_error *err);

// One that fails, for example because another session has locked its table, does not hold
// up the others. Returns the first failure.
static int do_each(struct pl_housekeep *housekeep, chore *const *chores, int n, struct pl_error *err)
{
	int failed = 0;
	for (int i = 0; i < n; i++) {
		struct pl_error one = { 0 };
		int code = chores[i](housekeep, &one);
		if (code >= 0)
			continue;
		if (failed == 0) {
			failed = code;
			*err = one;
		}
		if (!pl_session_connected(housekeep->session))
			break;
	}
	return failed;
}

static int clean(struct pl_housekeep *housekeep, struct pl_error *err)
{
	static chore *const always[] = { fold, expire_requests }, *const rarely[] = { keep_conflicts,
		                                                                      delete_dead_letters,
		                                                                      forget_pairs };
	bool fresh;
	int code = pl_background_connect(housekeep->background, &fresh, err), others;

	if (code == 0 && pl_session_look(housekeep->session, err) < 0 &&
	    !pl_session_connected(housekeep->session))
		code = pl_background_connect(housekeep->background, &fresh, err); // with the current settings
	if (code < 0)
		return code;
	code = do_each(housekeep, always, 2, err);
	if (!pl_session_connected(housekeep->session) || pl_mono_us() < housekeep->conflicts_due_us)
		return code;
	struct pl_error later = { 0 };
	others = do_each(housekeep, rarely, 3, &later);
	if (others < 0 && code == 0)
		*err = later;
	if (others == 0)
		housekeep->conflicts_due_us = pl_mono_us() + CONFLICTS_EVERY_US;
	return code < 0 ? code : others;
}

static int turn(void *arg, int64_t *wait_us_r, struct pl_error *err)
{
	struct pl_housekeep *housekeep = arg;
	int code = clean(housekeep, err);

	if (code < 0)
		return code;
	pthread_mutex_lock(&housekeep->lock);
	housekeep->stats.last_run_us = pl_now_us();
	pthread_mutex_unlock(&housekeep->lock);
	*wait_us_r = housekeep->config->housekeeping.expire_every_us;
	if (housekeep->left > 0 && *wait_us_r > LEFT_AGAIN_US)
		*wait_us_r = LEFT_AGAIN_US;
	return 0;
}

static void configure(void *arg, struct pl_session *session, const struct pl_config *config,
                      const struct pl_region *region)
{
	struct pl_housekeep *housekeep = arg;

	(void)region;
	housekeep->session = session;
	housekeep->config = config;
	housekeep->conflicts_due_us = 0;
}

// ---- for the daemon

struct pl_housekeep *pl_housekeep_start(const struct pl_config *config, const struct pl_region *region,
                                        struct pl_error *err)
{
	struct pl_housekeep *housekeep = pl_calloc(1, sizeof(*housekeep));

	pthread_mutex_init(&housekeep->lock, NULL);
	housekeep->background = pl_background_new(&(struct pl_background_options){
		.name = "housekeeping",
		.config = config,
		.region = region,
		.least_us = SECOND / 2,
		.most_us = 30 * SECOND,
		.configure = configure,
		.turn = turn,
		.arg = housekeep,
	});
	if (pl_background_start(housekeep->background, err) < 0)
		pl_housekeep_stop(&housekeep);
	return housekeep;
}

void pl_housekeep_reconfigure(struct pl_housekeep *housekeep, const struct pl_config *config,
                              const struct pl_region *region)
{
	pl_background_reconfigure(housekeep->background, config, region);
}

void pl_housekeep_stop(struct pl_housekeep **housekeep_p)
{
	struct pl_housekeep *housekeep = *housekeep_p;

	if (!housekeep)
		return;
	*housekeep_p = NULL;
	pl_background_free(&housekeep->background);
	pthread_mutex_destroy(&housekeep->lock);
	free(housekeep);
}

void pl_housekeep_stats(struct pl_housekeep *housekeep, struct pl_housekeep_stats *stats_r)
{
	pthread_mutex_lock(&housekeep->lock);
	*stats_r = housekeep->stats;
	pthread_mutex_unlock(&housekeep->lock);
	stats_r->failures = pl_background_failures(housekeep->background);
	stats_r->failing_us = pl_background_failing_us(housekeep->background);
}
