// plist-admin policy replay: how another policy would have resolved the recorded
// conflicts.
#include "admin/commands.h"

#include <inttypes.h>
#include <string.h>

#include "admin/cell.h"
#include "admin/messages.h"
#include "admin/numbered.h"
#include "admin/pages.h"
#include "admin/region_sessions.h"
#include "admin/table.h"
#include "apply/conflict_read.h"
#include "base/clock.h"
#include "config/derive.h"
#include "verify/verify.h"

#define SAMPLES 10
#define PAGE    "500"

enum { REGION, ID, DETECTED, RECORD, WRITES, SHOWN, WOULD };

// clang-format off
static const struct pl_table_column sample_columns[] = {
	[REGION] = { "region", PL_CELL_TEXT },
	[ID] = { "id", PL_CELL_NUMBER },
	[DETECTED] = { "detected_at", PL_CELL_TEXT, PL_COLUMN_DETAIL },
	[RECORD] = { "record_id", PL_CELL_NUMBER },
	[WRITES] = { "writes", PL_CELL_TEXT },
	[SHOWN] = { "was_shown", PL_CELL_TEXT },
	[WOULD] = { "would_be_shown", PL_CELL_TEXT },
	{ NULL },
};
// clang-format on

enum { T_REGION, T_RESOURCE, T_CONFLICTS, T_SAME, T_DIFFERENT, T_FAILED, T_UNREADABLE };

// clang-format off
static const struct pl_table_column total_columns[] = {
	[T_REGION] = { "region", PL_CELL_TEXT },
	[T_RESOURCE] = { "resource", PL_CELL_TEXT },
	[T_CONFLICTS] = { "conflicts", PL_CELL_NUMBER },
	[T_SAME] = { "same", PL_CELL_NUMBER },
	[T_DIFFERENT] = { "different", PL_CELL_NUMBER },
	[T_FAILED] = { "failed", PL_CELL_NUMBER },
	[T_UNREADABLE] = { "unreadable", PL_CELL_NUMBER },
	{ NULL },
};
// clang-format on

struct totals {
	int64_t conflicts, same, different, failed, unreadable;
};

struct replay {
	struct pl_invocation *invocation;
	const struct pl_resource *resource;
	struct pl_policy *policy;
	struct pl_table *samples;
	struct pl_arena *arena; // of one conflict
	int64_t nsamples;
};

// The visible row in words: its fields, or that it is deleted.
static const char *words(struct replay *r, const char *const *values, bool deleted)
{
	struct pl_buf buf = { 0 };
	for (int f = 0; f < r->resource->nfields && !deleted; f++)
		pl_buf_printf(&buf, "%s%s %s", f ? ", " : "", r->resource->fields[f].name,
		              values[f] ? values[f] : "null");
	const char *text = deleted ? "deleted" : pl_arena_strndup(r->arena, buf.data, buf.len);
	pl_buf_fini(&buf);
	return text;
}

static void add_sample(struct replay *r, const char *region, const PGresult *result, int row,
                       const struct pl_recorded_conflict *recorded, const char *would)
{
	struct pl_verify_case c = { .n = recorded->n };
	if (pl_table_rows(r->samples) >= r->nsamples)
		return;
	for (int i = 0; i < recorded->n && i < PL_VERIFY_ROWS_MAX; i++)
		c.rows[i] = recorded->rows[i];
	c.n = recorded->n < PL_VERIFY_ROWS_MAX ? recorded->n : PL_VERIFY_ROWS_MAX;
	pl_table_row(r->samples);
	pl_table_text(r->samples, REGION, region);
	pl_table_number(r->samples, ID, pl_cell_int(result, row, 0, 0));
	pl_table_time(r->samples, DETECTED, pl_cell_time(result, row, 1));
	pl_table_number(r->samples, RECORD, pl_cell_int(result, row, 2, 0));
	pl_table_text(r->samples, WRITES, pl_verify_writes(r->arena, r->resource, &c));
	pl_table_text(r->samples, SHOWN, words(r, recorded->visible, recorded->visible_deleted));
	pl_table_text(r->samples, WOULD, would);
}

static void replay_one(struct replay *r, const char *region, const PGresult *result, int row,
                       struct totals *totals)
{
	struct pl_recorded_conflict recorded;
	struct pl_policy_question question;
	struct pl_verdict verdict;
	struct pl_error err = { 0 };
	const char *const *values;
	bool deleted;
	pl_arena_reset(r->arena);
	totals->conflicts++;
	if (pl_conflict_read(r->arena, r->resource, pl_cell(result, row, 3), pl_cell(result, row, 4),
	                     &recorded, &err) < 0) {
		totals->unreadable++;
		return;
	}
	if (recorded.n == 1) { // twins only: no policy was needed
		totals->same++;
		return;
	}
	question = (struct pl_policy_question){ r->resource, pl_cell_int(result, row, 2, 0), recorded.rows,
		                                recorded.n };
	if (pl_policy_resolve(r->policy, &question, 1, r->arena, &verdict, &err) < 0) {
		totals->failed++;
		add_sample(r, region, result, row, &recorded,
		           pl_arena_printf(r->arena, "it fails: %s", err.text));
		return;
	}
	pl_conflict_read_show(&recorded, &verdict, &values, &deleted);
	if (pl_conflict_read_same(r->resource, &recorded, values, deleted)) {
		totals->same++;
		return;
	}
	totals->different++;
	add_sample(r, region, result, row, &recorded, words(r, values, deleted));
}

struct replayed {
	struct replay *replay;
	const char *region;
	struct totals *totals;
};

static void replay_page(void *arg, const PGresult *page)
{
	struct replayed *replayed = arg;
	for (int row = 0; row < PQntuples(page); row++)
		replay_one(replayed->replay, replayed->region, page, row, replayed->totals);
}

// All conflicts of a region since the given time, in pages, oldest first.
static void replay_region(struct replay *r, struct pl_region_session *region_session, const char *since,
                          struct totals *totals)
{
	struct replayed replayed = { r, region_session->region->name, totals };
	int64_t after = 0;
	do {
		char text[24];
		const char *params[] = { r->resource->name, since, pl_numbered_text(text, after) };
		after = pl_pages_read(
			region_session,
			&(struct pl_pages){
				.order =
					"SELECT id, octet_length(siblings::text) + "
					"coalesce(octet_length(visible::text), 0) FROM plist.conflicts WHERE "
					"resource = $1 AND type NOT IN ('created_twice', "
					"'multiple_unique_conflicts', 'reference_missing') AND "
					"($2::timestamptz IS NULL OR detected_at >= $2) AND id > $3 ORDER BY "
					"id LIMIT " PAGE,
				.nparams = 3,
				.params = params,
				.rows = "SELECT id, " PL_EPOCH(
					"detected_at") ", record_id, siblings, visible "
						       "FROM plist.conflicts" PL_PAGES_IN_ORDER,
				.add = replay_page,
				.arg = &replayed,
			});
	} while (after > 0);
}

static void add_totals(struct pl_table *table, const char *region, const char *resource,
                       const struct totals *totals)
{
	pl_table_row(table);
	pl_table_text(table, T_REGION, region);
	pl_table_text(table, T_RESOURCE, resource);
	pl_table_number(table, T_CONFLICTS, totals->conflicts);
	pl_table_number(table, T_SAME, totals->same);
	pl_table_number(table, T_DIFFERENT, totals->different);
	pl_table_number(table, T_FAILED, totals->failed);
	pl_table_number(table, T_UNREADABLE, totals->unreadable);
}

static const struct pl_resource *chosen_resource(struct pl_invocation *invocation)
{
	const char *name = pl_invocation_text(invocation, "resource", NULL);
	if (name)
		return pl_config_resource(invocation->config, name);
	if (invocation->config->nresources == 1)
		return &invocation->config->resources[0];
	pl_fail("there are several resources; name the one that the policy is for with --resource NAME");
	return NULL;
}

static int run_replay(struct replay *r, const char *since)
{
	struct pl_region_sessions sessions;
	struct pl_table *tables[2] = { pl_table_new("regions", total_columns), r->samples };
	bool changes = false;
	pl_region_sessions_open(r->invocation, &sessions, pl_invocation_timeout_us(r->invocation));
	for (int i = 0; i < sessions.n; i++) {
		struct totals totals = { 0 };
		if (!sessions.each[i].up)
			continue;
		replay_region(r, &sessions.each[i], since, &totals);
		add_totals(tables[0], sessions.each[i].region->name, r->resource->name, &totals);
		changes |= totals.different || totals.failed;
	}
	int rc = pl_region_sessions_exit(&sessions, changes ? PL_EXIT_NO : PL_EXIT_YES);
	pl_tables_print(r->invocation, r->invocation->json || pl_table_rows(r->samples) ? 2 : 1, tables,
	                NULL);
	pl_table_free(&tables[0]);
	pl_region_sessions_close(&sessions);
	return rc;
}

static int policy_replay(struct pl_invocation *invocation)
{
	struct pl_diagnostics diagnostics = { 0 };
	struct pl_error err = { 0 };
	char at[PL_TIME_TEXT_MAX];
	int rc = pl_invocation_regions(invocation);
	const struct pl_resource *resource = rc ? NULL : chosen_resource(invocation);
	if (!resource)
		return PL_EXIT_USAGE;
	struct pl_config *config =
		pl_config_derive_with_policy(invocation->config, resource, invocation->args[0], &err);
	if (!config) {
		pl_fail("%s: %s", invocation->args[0], err.text);
		return PL_EXIT_USAGE;
	}
	struct pl_vm *vm = pl_vm_new(config, PL_CONTEXT_POLICY, &diagnostics);
	struct replay r = { .invocation = invocation,
		            .resource = &config->resources[0],
		            .samples = pl_table_new("samples", sample_columns),
		            .arena = pl_arena_new(0),
		            .nsamples = pl_invocation_number(invocation, "samples", SAMPLES) };
	r.policy = vm ? pl_policy_find(vm, r.resource->policy) : NULL;
	if (r.policy) {
		rc = run_replay(&r,
		                pl_invocation_has(invocation, "since")
		                        ? pl_clock_format_time(pl_invocation_us(invocation, "since", 0), at)
		                        : NULL);
	} else {
		pl_say_diagnostics(&diagnostics, true);
		rc = PL_EXIT_USAGE;
	}
	pl_vm_free(&vm);
	pl_diagnostics_fini(&diagnostics);
	pl_table_free(&r.samples);
	pl_arena_free(&r.arena);
	pl_config_unref(&config);
	return rc;
}

static const struct pl_option policy_replay_options[] = {
	{ "since", 0, PL_OPTION_TIME, "TIME",
	  "only those detected at or after this time: 2026-02-21T10:00:00Z, 2026-02-21, or 7d for seven days "
	  "ago" },
	{ "resource", 'R', PL_OPTION_RESOURCE, "NAME",
	  "resource that the policy is for; required if there are several" },
	{ "samples", 'n', PL_OPTION_COUNT, "N", "maximum number of differences shown (10)", .max = 1000000 },
	{ 0 },
};

const struct pl_command pl_cmd_policy_replay = {
	.noun = "policy",
	.verb = "replay",
	.arguments = "FILE",
	.min_args = 1,
	.max_args = 1,
	.summary = "run a policy on the recorded conflicts",
	.help = "Runs the policy on the conflicts that each region has recorded, and compares its decisions "
		"with those that were made. Nothing is changed.\n\nExit status 0: all decisions are the "
		"same; 1: at "
		"least one differs, or the policy failed.",
	.options = policy_replay_options,
	.prints_data = true,
	.regions = true,
	.waits = true,
	.run = policy_replay,
};
