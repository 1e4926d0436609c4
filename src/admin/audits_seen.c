// See audits_seen.h. Threads: the tool has one.
#include "admin/audits_seen.h"

#include <inttypes.h>

#include "admin/cell.h"

#define LATE_US INT64_C(1800000000) // beyond three times audit.every
#define SHOWN   3

// The other regions, "{us,ap}", as far as they are configured.
static const char *others_of(struct pl_invocation *invocation, const struct pl_region *own)
{
	const char *list = "{";

	for (int i = 0; i < invocation->config->nregions; i++)
		if (&invocation->config->regions[i] != own)
			list = pl_arena_printf(invocation->arena, "%s%s%s", list, list[1] ? "," : "",
			                       invocation->config->regions[i].name);
	return pl_arena_printf(invocation->arena, "%s}", list);
}

static void warn_of_late(struct pl_invocation *invocation, const char *name, const PGresult *result, int row,
                         void (*warn)(void *arg, const char *sentence), void *arg)
{
	const char *why = pl_cell(result, row, 4), *with = pl_cell(result, row, 0);
	double hours = (double)pl_cell_int(result, row, 3, 0) / 3.6e9;

	warn(arg, pl_arena_printf(invocation->arena,
	                          "%s: not all records have been compared with those of region %s for %.1f "
	                          "hours%s%s; see 'plist-admin audit'",
	                          name, with, hours, why ? ": " : "", why ? why : ""));
}

// What differs in one row of the result.
static void warn_of_differing(struct pl_invocation *invocation, const char *name, const PGresult *result,
                              int row, void (*warn)(void *arg, const char *sentence), void *arg)
{
	int64_t n = pl_cell_int(result, row, 1, 0);
	const char *names = pl_cell(result, row, 2);

	warn(arg, pl_arena_printf(invocation->arena,
	                          "%s: %" PRId64 " record%s from region %s: %s%s; see 'plist-admin audit', "
	                          "'plist-admin compare' and 'plist-admin repair'",
	                          name, n, n == 1 ? " differs" : "s differ", pl_cell(result, row, 0),
	                          names ? names : "", n > SHOWN ? ", …" : ""));
}

int64_t pl_audits_seen(struct pl_invocation *invocation, struct pl_region_session *region_session,
                       void (*warn)(void *arg, const char *sentence), void *arg)
{
	const char *name = region_session->region->name;
	int64_t every_us = invocation->config->audit.every_us, n = 0;
	const char *params[] = { others_of(invocation, region_session->region) };
	PGresult *result = pl_region_sessions_query(
		region_session,
		"SELECT a.region, d.records, (SELECT string_agg(format('%s/%s (%s)', resource, record_id, "
		"difference), ', ') FROM (SELECT * FROM plist.audit_differences AS e "
		"WHERE e.region = a.region "
		"ORDER BY resource, record_id LIMIT 3) AS f), (extract(epoch FROM clock_timestamp() - "
		"coalesce(a.compared_at, a.made_at)) * 1000000)::bigint, a.why FROM plist.audits AS a JOIN "
		"plist.plist_audit_differing() AS d USING (region) WHERE a.region = "
		"ANY ($1::text[]) ORDER BY "
		"a.region",
		1, params);

	for (int row = 0; result && row < PQntuples(result); row++) {
		n += pl_cell_int(result, row, 1, 0);
		if (pl_cell_int(result, row, 1, 0) > 0)
			warn_of_differing(invocation, name, result, row, warn, arg);
		if (every_us > 0 && pl_cell_int(result, row, 3, 0) > 3 * every_us + LATE_US)
			warn_of_late(invocation, name, result, row, warn, arg);
	}
	n = result ? n : -1;
	PQclear(result);
	return n;
}
