// The policy in use in each region. Regions with different policies may show different
// rows, which is worth a warning.
//
// Threads: the tool has one.
#include "admin/policies_seen.h"

#include <stdlib.h>
#include <string.h>

#include "admin/cell.h"
#include "admin/metrics_text.h"

#define SHORT_HASH 12 // digits of a hash shown to people; JSON has all of them

enum { RESOURCE, REGION, POLICY, HASH, HASH_WHOLE, AGREES, SOURCE };

// clang-format off
static const struct pl_table_column columns[] = {
	[RESOURCE] = { "resource", PL_CELL_TEXT },
	[REGION] = { "region", PL_CELL_TEXT },
	[POLICY] = { "policy", PL_CELL_TEXT },
	[HASH] = { "sha256", PL_CELL_TEXT, PL_COLUMN_PEOPLE },
	[HASH_WHOLE] = { "policy_sha256", PL_CELL_TEXT, PL_COLUMN_DETAIL },
	[AGREES] = { "agrees", PL_CELL_BOOLEAN },
	[SOURCE] = { "told_by", PL_CELL_TEXT },
	{ NULL },
};
// clang-format on

static void note(struct pl_policies_seen *seen, const struct pl_policy_seen *one)
{
	for (int i = 0; i < seen->n; i++) {
		struct pl_policy_seen *known = &seen->each[i];
		if (strcmp(known->resource, one->resource) != 0 || strcmp(known->region, one->region) != 0)
			continue;
		if (known->at_us == INT64_MAX && one->at_us == INT64_MAX &&
		    strcmp(known->sha256, one->sha256) != 0)
			continue; // two daemons of one region may differ: both are listed
		if (one->at_us > known->at_us)
			*known = *one;
		return;
	}
	seen->each = pl_realloc(seen->each, (size_t)(seen->n + 1) * sizeof(*seen->each));
	seen->each[seen->n++] = *one;
}

void pl_policies_seen_in_metrics(struct pl_policies_seen *seen, const struct pl_region *region,
                                 const char *text)
{
	char resource[256], name[256], hash[80], shadow[8];
	const char *line;
	for (const char *next = text; (line = pl_metrics_text_find(next, "plist_policy_info", &next));) {
		if (pl_metrics_text_label(line, "shadow", shadow, sizeof(shadow)) &&
		    strcmp(shadow, "true") == 0)
			continue;
		if (pl_metrics_text_label(line, "resource", resource, sizeof(resource)) &&
		    pl_metrics_text_label(line, "policy", name, sizeof(name)) &&
		    pl_metrics_text_label(line, "sha256", hash, sizeof(hash)))
			note(seen, &(struct pl_policy_seen){ pl_arena_strdup(seen->arena, resource),
			                                     region->name, pl_arena_strdup(seen->arena, name),
			                                     pl_arena_strdup(seen->arena, hash), "daemon",
			                                     INT64_MAX });
	}
}

void pl_policies_seen_in_heartbeats(struct pl_policies_seen *seen, struct pl_region_session *region_session)
{
	PGresult *result = pl_region_sessions_query(
		region_session,
		"SELECT region, resource, policy ->> 'name', policy ->> 'sha256', " PL_EPOCH(
			"sent_at") " FROM plist.region_heartbeats, jsonb_each(policies) AS p (resource, "
				   "policy) WHERE heard_at > now() - interval '1 minute'"
				   " AND policy ? 'name' AND policy ? 'sha256'",
		0, NULL);
	for (int i = 0; result && i < PQntuples(result); i++) {
		const char *cells[4];
		for (int c = 0; c < 4; c++)
			cells[c] = pl_arena_strdup(seen->arena, PQgetvalue(result, i, c));
		note(seen, &(struct pl_policy_seen){ cells[1], cells[0], cells[2], cells[3], "heartbeat",
		                                     pl_cell_time(result, i, 4) });
	}
	PQclear(result);
}

static bool agrees(const struct pl_policies_seen *seen, const struct pl_policy_seen *one)
{
	for (int i = 0; i < seen->n; i++)
		if (strcmp(seen->each[i].resource, one->resource) == 0 &&
		    strcmp(seen->each[i].sha256, one->sha256) != 0)
			return false;
	return true;
}

struct pl_table *pl_policies_seen_table(const struct pl_policies_seen *seen)
{
	struct pl_table *table = pl_table_new("policies", columns);
	for (int i = 0; i < seen->n; i++) {
		const struct pl_policy_seen *one = &seen->each[i];
		bool same = agrees(seen, one);
		pl_table_row(table);
		pl_table_text(table, RESOURCE, one->resource);
		pl_table_text(table, REGION, one->region);
		pl_table_text(table, POLICY, one->name);
		pl_table_printf(table, HASH, "%.*s", SHORT_HASH, one->sha256);
		pl_table_text(table, HASH_WHOLE, one->sha256);
		pl_table_bool(table, AGREES, same);
		pl_table_tone(table, AGREES, same ? PL_TONE_GOOD : PL_TONE_BAD);
		pl_table_text(table, SOURCE, one->told_by);
	}
	return table;
}

void pl_policies_seen_compare(const struct pl_policies_seen *seen,
                              void (*warn)(void *arg, const char *sentence), void *arg)
{
	for (int i = 0; i < seen->n; i++)
		for (int j = 0; j < i; j++) {
			const struct pl_policy_seen *a = &seen->each[j], *b = &seen->each[i];
			if (strcmp(a->resource, b->resource) == 0 && strcmp(a->sha256, b->sha256) != 0)
				warn(arg,
				     pl_arena_printf(
					     seen->arena,
					     "%s: %s uses policy %s %.*s, but %s uses %s %.*s; until they "
					     "agree, they may show different rows",
					     a->resource, a->region, a->name, SHORT_HASH, a->sha256,
					     b->region, b->name, SHORT_HASH, b->sha256));
		}
}

void pl_policies_seen_fini(struct pl_policies_seen *seen)
{
	free(seen->each);
	seen->each = NULL;
	seen->n = 0;
}
