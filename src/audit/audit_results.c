// Results in the database, which status and plist-admin audit show: see
// sql/020_audit.sql. Threads: the audit's.
#include "audit/audit_private.h"

#include <stdio.h>

#define RETRY_US (300 * SECOND) // after a round that could not compare all records
#define FIRST_US (60 * SECOND)  // before the first round
#define SHOWN    5              // records that a log line names

static int run(struct pl_audit *audit, const char *sql, int n, const char *const *params,
               struct pl_error *err)
{
	PGresult *result = pl_session_exec(audit->session, sql, n, params, err);

	PQclear(result);
	return result ? 0 : err->code;
}

static const char *digits(char text[24], int64_t number)
{
	snprintf(text, 24, "%lld", (long long)number);
	return text;
}

// The names of the other regions, "{us,ap}".
static void print_others(const struct pl_audit *audit, struct pl_buf *list)
{
	pl_buf_addc(list, '{');
	for (int i = 0; i < audit->config->nregions; i++)
		if (strcmp(audit->config->regions[i].name, audit->region->name) != 0)
			pl_buf_printf(list, "%s%s", list->len > 1 ? "," : "", audit->config->regions[i].name);
	pl_buf_addc(list, '}');
}

int pl_audit_results_keep(struct pl_audit *audit, struct pl_error *err)
{
	struct pl_buf others = { 0 };
	const char *params[1];
	int code;

	print_others(audit, &others);
	params[0] = others.data;
	code = run(audit,
	           "WITH gone AS (DELETE FROM plist.audits WHERE region <> ALL ($1::text[])) INSERT INTO "
	           "plist.audits (region) SELECT r FROM unnest($1::text[]) AS r WHERE NOT EXISTS (SELECT "
	           "FROM plist.audits WHERE region = r) ON CONFLICT DO NOTHING",
	           1, params, err);
	pl_buf_fini(&others);
	return code;
}

int pl_audit_results_load(struct pl_audit *audit, struct pl_error *err)
{
	struct pl_buf others = { 0 };
	const char *params[1];
	PGresult *result;

	print_others(audit, &others);
	params[0] = others.data;
	result = pl_session_exec(
		audit->session,
		"SELECT coalesce(sum(d.records), 0)::bigint, CASE WHEN count(d.compared_at) = count(*) THEN "
		"coalesce((extract(epoch FROM min(d.compared_at)) * 1000000)::bigint, 0) ELSE 0 END FROM "
		"unnest($1::text[]) AS r LEFT JOIN plist.plist_audit_differing() AS d ON d.region = r",
		1, params, err);
	pl_buf_fini(&others);
	if (!result)
		return err->code;
	pthread_mutex_lock(&audit->lock);
	audit->stats.differing = strtoll(PQgetvalue(result, 0, 0), NULL, 10);
	audit->stats.last_success_us = strtoll(PQgetvalue(result, 0, 1), NULL, 10);
	pthread_mutex_unlock(&audit->lock);
	PQclear(result);
	return 0;
}

// ---- what is due

PGresult *pl_audit_results_due(struct pl_audit *audit, struct pl_error *err)
{
	int64_t every_us = audit->config->audit.every_us;
	char every[24], retry[24], first[24];
	const char *params[] = { digits(every, every_us),
		                 digits(retry, every_us < RETRY_US ? every_us : RETRY_US),
		                 digits(first, every_us < FIRST_US ? every_us : FIRST_US) };

	return pl_session_exec(
		audit->session,
		"SELECT region FROM plist.audits WHERE wished_at IS NOT NULL OR $1::bigint > 0 AND "
		"clock_timestamp() >= coalesce(finished_at + (CASE WHEN why IS NULL THEN $1::bigint ELSE "
		"$2::bigint END) * interval '1 microsecond', made_at + $3::bigint * interval '1 "
		"microsecond') ORDER BY finished_at NULLS FIRST, region",
		3, params, err);
}

PGresult *pl_audit_results_differing(struct pl_audit *audit, struct pl_error *err)
{
	return pl_session_exec(audit->session,
	                       "SELECT DISTINCT region FROM plist.audit_differences ORDER BY region", 0, NULL,
	                       err);
}

PGresult *pl_audit_results_open(struct pl_audit *audit, const char *with, struct pl_error *err)
{
	return pl_session_exec(
		audit->session,
		"SELECT resource, string_agg(record_id::text, ',' ORDER BY record_id) FROM (SELECT resource, "
		"record_id FROM plist.audit_differences WHERE region = $1 ORDER BY seen_at LIMIT 1000) AS d "
		"GROUP BY resource ORDER BY resource",
		1, &with, err);
}

// ---- a round

int pl_audit_results_begin(struct pl_audit_round *round, struct pl_error *err)
{
	PGresult *result = pl_session_exec(
		round->audit->session,
		"UPDATE plist.audits SET round = round + 1, begun_at = clock_timestamp() WHERE region = $1 "
		"RETURNING round",
		1, &round->with, err);

	if (!result)
		return err->code;
	round->number = PQntuples(result) > 0 ? strtoll(PQgetvalue(result, 0, 0), NULL, 10) : 0;
	PQclear(result);
	return 0;
}

static void say(const struct pl_audit_round *round, const struct pl_audit_found *found)
{
	struct pl_buf names = { 0 };

	if (!pl_log_limit_ok(&round->audit->found_limit, 10 * SECOND))
		return;
	for (int i = 0; i < found->n && i < SHOWN; i++)
		pl_buf_printf(&names, "%s%s/%lld (%s)", i ? ", " : "", found->resource->name,
		              (long long)found->ids[i], pl_classify_name(found->is[i]));
	pl_err("audit: %d record%s differ%s here from region %s: %s%s; plist-admin compare shows the copies "
	       "side by side, and plist-admin repair makes the regions equal",
	       found->n, found->n == 1 ? "" : "s", found->n == 1 ? "s" : "", round->with, names.data,
	       found->n > SHOWN ? ", …" : "");
	pl_buf_fini(&names);
}

// Prints the first `n` records as two PostgreSQL arrays.
static void print_found(const struct pl_audit_found *found, int n, struct pl_buf *ids, struct pl_buf *kinds)
{
	pl_buf_addc(ids, '{');
	pl_buf_addc(kinds, '{');
	for (int i = 0; i < n; i++) {
		pl_buf_printf(ids, "%s%lld", i ? "," : "", (long long)found->ids[i]);
		pl_buf_printf(kinds, "%s%s", i ? "," : "", pl_classify_name(found->is[i]));
	}
	pl_buf_addc(ids, '}');
	pl_buf_addc(kinds, '}');
}

static int list(struct pl_audit_round *round, const struct pl_audit_found *found, int n, struct pl_error *err)
{
	struct pl_buf ids = { 0 }, kinds = { 0 };
	char number[24];
	const char *params[] = { round->with, found->resource->name, NULL, NULL,
		                 digits(number, round->number) };
	int code;

	print_found(found, n, &ids, &kinds);
	params[2] = ids.data;
	params[3] = kinds.data;
	code = run(
		round->audit,
		"INSERT INTO plist.audit_differences AS d (region, resource, record_id, difference, round) "
		"SELECT $1, $2, f.id, f.kind, $5::bigint FROM unnest($3::bigint[], $4::text[]) AS "
		"f(id, kind) ON CONFLICT (region, resource, record_id) DO UPDATE SET difference = "
		"excluded.difference, round = excluded.round, seen_at = clock_timestamp()",
		5, params, err);
	pl_buf_fini(&ids);
	pl_buf_fini(&kinds);
	return code;
}

int pl_audit_results_found(struct pl_audit_round *round, const struct pl_audit_found *found,
                           struct pl_error *err)
{
	int64_t room = LISTED_MAX - round->listed;
	int n = found->n < room ? found->n : (int)room;
	int code = n > 0 ? list(round, found, n, err) : 0;

	if (code < 0)
		return code;
	round->listed += n;
	round->unlisted += found->n - n;
	say(round, found);
	return pl_audit_results_load(round->audit, err);
}

// A wish is granted only when the round ends, since the daemon may not live that long.
// A round that has compared all records knows all that differ; any other round only
// adds to the list.
int pl_audit_results_end(struct pl_audit_round *round, struct pl_error *err)
{
	char number[24], records[24], unlisted[24];
	const char *params[] = { round->with, digits(number, round->number), digits(records, round->records),
		                 digits(unlisted, round->unlisted), round->why[0] ? round->why : NULL };
	int code = run(round->audit,
	               "WITH gone AS (DELETE FROM plist.audit_differences WHERE region = $1 "
	               "AND round < $2::bigint AND "
	               "$5::text IS NULL) UPDATE plist.audits SET finished_at = "
	               "clock_timestamp(), wished_at = CASE WHEN wished_at > begun_at THEN wished_at END, "
	               "why = $5, records = "
	               "$3::bigint, compared_at = CASE WHEN $5::text IS NULL THEN "
	               "clock_timestamp() ELSE compared_at "
	               "END, unlisted = CASE WHEN $5::text IS NULL THEN $4::bigint ELSE greatest(unlisted, "
	               "$4::bigint) END WHERE region = $1",
	               5, params, err);

	return code < 0 ? code : pl_audit_results_load(round->audit, err);
}

// When the last listed record is gone, only a round can tell whether the unlisted ones
// are gone, too.
int pl_audit_results_gone(struct pl_audit_round *round, const char *resource,
                          const struct pl_audit_found *still, const char *ids, struct pl_error *err)
{
	struct pl_buf all = { 0 }, left = { 0 }, kinds = { 0 };
	const char *params[] = { round->with, resource, NULL, NULL };
	int code;

	pl_buf_printf(&all, "{%s}", ids);
	print_found(still, still->n, &left, &kinds);
	params[2] = all.data;
	params[3] = left.data;
	code = run(
		round->audit,
		"WITH gone AS (DELETE FROM plist.audit_differences WHERE region = $1 AND resource = $2 AND "
		"record_id = ANY ($3::bigint[]) AND record_id <> ALL ($4::bigint[]) RETURNING 1) UPDATE "
		"plist.audits SET wished_at = clock_timestamp() WHERE region = $1 AND unlisted > 0 AND "
		"(SELECT count(*) FROM gone) = (SELECT count(*) FROM plist.audit_differences WHERE region "
		"= $1)",
		4, params, err);
	if (code == 0)
		code = run(round->audit,
		           "UPDATE plist.audit_differences SET seen_at = clock_timestamp() WHERE "
		           "region = $1 AND "
		           "resource = $2 AND record_id = ANY ($3::bigint[])",
		           3, params, err);
	pl_buf_fini(&all);
	pl_buf_fini(&left);
	pl_buf_fini(&kinds);
	return code < 0 ? code : pl_audit_results_load(round->audit, err);
}
