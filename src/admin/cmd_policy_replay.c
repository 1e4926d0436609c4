// plist-admin policy replay: what another rule would have made of the conflicts that were recorded.
#include "admin/commands.h"

#include <inttypes.h>
#include <string.h>

#include "admin/reach.h"
#include "admin/table.h"
#include "admin/talk.h"
#include "base/clock.h"
#include "config/derive.h"
#include "replicate/probe.h"
#include "replicate/recorded.h"

#define SAMPLES 10
#define PAGE "500"

enum { REGION, ID, DETECTED, RECORD, WRITES, SHOWN, WOULD };

static const struct pl_column sample_columns[] = {
	[REGION] = { "region", PL_CELL_TEXT },
	[ID] = { "id", PL_CELL_NUMBER },
	[DETECTED] = { "detected_at", PL_CELL_TEXT, PL_COLUMN_DETAIL },
	[RECORD] = { "record_id", PL_CELL_NUMBER },
	[WRITES] = { "writes", PL_CELL_TEXT },
	[SHOWN] = { "was_shown", PL_CELL_TEXT },
	[WOULD] = { "would_be_shown", PL_CELL_TEXT },
	{ NULL },
};

enum { T_REGION, T_RESOURCE, T_CONFLICTS, T_SAME, T_DIFFERENT, T_FAILED, T_UNREADABLE };

static const struct pl_column total_columns[] = {
	[T_REGION] = { "region", PL_CELL_TEXT },
	[T_RESOURCE] = { "resource", PL_CELL_TEXT },
	[T_CONFLICTS] = { "conflicts", PL_CELL_NUMBER },
	[T_SAME] = { "same", PL_CELL_NUMBER },
	[T_DIFFERENT] = { "different", PL_CELL_NUMBER },
	[T_FAILED] = { "failed", PL_CELL_NUMBER },
	[T_UNREADABLE] = { "unreadable", PL_CELL_NUMBER },
	{ NULL },
};

struct totals { int64_t conflicts, same, different, failed, unreadable; };

struct replay {
	struct pl_call *call;
	const struct pl_resource *resource;
	struct pl_policy *policy;
	struct pl_table *samples;
	struct pl_arena *arena; // of one conflict
	int64_t nsamples;
};

// What is shown, in words: the fields, or that it is deleted.
static const char *words(struct replay *r, const char *const *values, bool deleted)
{
	struct pl_buf buf = { 0 };
	for (int f = 0; f < r->resource->nfields && !deleted; f++)
		pl_buf_printf(&buf, "%s%s %s", f ? ", " : "", r->resource->fields[f].name, values[f] ? values[f] : "null");
	const char *text = deleted ? "deleted" : pl_arena_strndup(r->arena, buf.data, buf.len);
	pl_buf_fini(&buf);
	return text;
}

static void add_sample(struct replay *r, const char *region, const PGresult *result, int row, const struct pl_recorded *recorded, const char *would)
{
	struct pl_probe_case c = { .n = recorded->n };
	if (pl_table_rows(r->samples) >= r->nsamples)
		return;
	for (int i = 0; i < recorded->n && i < PL_PROBE_ROWS_MAX; i++)
		c.rows[i] = recorded->rows[i];
	c.n = recorded->n < PL_PROBE_ROWS_MAX ? recorded->n : PL_PROBE_ROWS_MAX;
	pl_table_row(r->samples);
	pl_table_text(r->samples, REGION, region);
	pl_table_number(r->samples, ID, pl_cell_int(result, row, 0, 0));
	pl_table_time(r->samples, DETECTED, pl_cell_time(result, row, 1));
	pl_table_number(r->samples, RECORD, pl_cell_int(result, row, 2, 0));
	pl_table_text(r->samples, WRITES, pl_probe_writes(r->arena, r->resource, &c));
	pl_table_text(r->samples, SHOWN, words(r, recorded->visible, recorded->visible_deleted));
	pl_table_text(r->samples, WOULD, would);
}

static void replay_one(struct replay *r, const char *region, const PGresult *result, int row, struct totals *totals)
{
	struct pl_recorded recorded;
	struct pl_verdict verdict;
	struct pl_error err = { 0 };
	const char *const *values;
	bool deleted;
	pl_arena_reset(r->arena);
	totals->conflicts++;
	if (pl_recorded_read(r->arena, r->resource, pl_cell(result, row, 3), pl_cell(result, row, 4), &recorded, &err) < 0) {
		totals->unreadable++;
		return;
	}
	if (recorded.n == 1) { // there was nothing to ask
		totals->same++;
		return;
	}
	if (pl_policy_resolve(r->policy, r->resource, pl_cell_int(result, row, 2, 0), recorded.rows, recorded.n, r->arena, &verdict, &err) < 0) {
		totals->failed++;
		add_sample(r, region, result, row, &recorded, pl_arena_printf(r->arena, "it fails: %s", err.text));
		return;
	}
	pl_recorded_show(&recorded, &verdict, &values, &deleted);
	if (pl_recorded_same(r->resource, &recorded, values, deleted)) {
		totals->same++;
		return;
	}
	totals->different++;
	add_sample(r, region, result, row, &recorded, words(r, values, deleted));
}

// All conflicts of a region since then, page by page, the oldest first.
static void replay_region(struct replay *r, struct pl_reach *reach, const char *since, struct totals *totals)
{
	const char *after = "0";
	for (;;) {
		const char *params[] = { r->resource->name, since, after };
		PGresult *result = pl_reach_query(reach, "SELECT id, " PL_EPOCH("detected_at") ", record_id, siblings, visible FROM conflicts WHERE resource = $1 "
		                                         "AND ($2::timestamptz IS NULL OR detected_at >= $2) AND id > $3 ORDER BY id LIMIT " PAGE, 3, params);
		int n = result ? PQntuples(result) : 0;
		for (int row = 0; row < n; row++)
			replay_one(r, reach->region->name, result, row, totals);
		if (n > 0)
			after = pl_arena_strdup(r->call->arena, pl_cell(result, n - 1, 0));
		PQclear(result);
		if (n == 0)
			return;
	}
}

static void add_totals(struct pl_table *table, const char *region, const char *resource, const struct totals *totals)
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

static const struct pl_resource *chosen_resource(struct pl_call *call)
{
	const char *name = pl_call_text(call, "resource", NULL);
	if (name)
		return pl_config_resource(call->config, name);
	if (call->config->nresources == 1)
		return &call->config->resources[0];
	pl_fail("there are several resources; name the one that the policy is for: --resource NAME");
	return NULL;
}

static int run_replay(struct replay *r, const char *since)
{
	struct pl_reaches reaches;
	struct pl_table *tables[2] = { pl_table_new("regions", total_columns), r->samples };
	bool changes = false;
	pl_reaches_open(r->call, &reaches, pl_call_timeout_us(r->call));
	for (int i = 0; i < reaches.n; i++) {
		struct totals totals = { 0 };
		if (!reaches.each[i].up)
			continue;
		replay_region(r, &reaches.each[i], since, &totals);
		add_totals(tables[0], reaches.each[i].region->name, r->resource->name, &totals);
		changes |= totals.different || totals.failed;
	}
	int rc = pl_reaches_exit(&reaches, changes ? PL_EXIT_NO : PL_EXIT_YES);
	pl_tables_print(r->call, r->call->json || pl_table_rows(r->samples) ? 2 : 1, tables, NULL);
	pl_table_free(&tables[0]);
	pl_reaches_close(&reaches);
	return rc;
}

static int policy_replay(struct pl_call *call)
{
	struct pl_problems problems = { 0 };
	struct pl_error err = { 0 };
	char at[PL_TIME_TEXT_MAX];
	int rc = pl_call_regions(call);
	const struct pl_resource *resource = rc ? NULL : chosen_resource(call);
	if (!resource)
		return PL_EXIT_USAGE;
	struct pl_config *config = pl_config_with_policy(call->config, resource, call->args[0], &err);
	if (!config) {
		pl_fail("%s: %s", call->args[0], err.text);
		return PL_EXIT_USAGE;
	}
	struct pl_vm *vm = pl_vm_new(config, PL_WORLD_POLICY, &problems);
	struct replay r = { .call = call, .resource = &config->resources[0], .samples = pl_table_new("samples", sample_columns), .arena = pl_arena_new(0),
	                    .nsamples = pl_call_number(call, "samples", SAMPLES) };
	r.policy = vm ? pl_policy_find(vm, r.resource->policy) : NULL;
	if (r.policy) {
		rc = run_replay(&r, pl_call_has(call, "since") ? pl_time_format(pl_call_us(call, "since", 0), at) : NULL);
	} else {
		pl_say_problems(&problems, true);
		rc = PL_EXIT_USAGE;
	}
	pl_vm_free(&vm);
	pl_problems_fini(&problems);
	pl_table_free(&r.samples);
	pl_arena_free(&r.arena);
	pl_config_unref(&config);
	return rc;
}

const struct pl_command pl_cmd_policy_replay = {
	.noun = "policy", .verb = "replay", .arguments = "FILE", .min_args = 1, .max_args = 1,
	.summary = "what another policy would have made of the recorded conflicts",
	.help = "Runs the policy of the file over the conflicts that each region has recorded and compares what it would show with what was shown. Nothing is "
	        "changed.\n\nExit status 0: nothing would differ; 1: at least one decision would, or the policy failed for one.",
	.options = (const struct pl_option[]){
		{ "since", 0, PL_OPTION_TIME, "TIME", "detected then or later: 2026-02-21T10:00:00Z, 2026-02-21, or 7d ago" },
		{ "resource", 'R', PL_OPTION_RESOURCE, "NAME", "the resource that the policy is for; needed when there are several" },
		{ "samples", 'n', PL_OPTION_COUNT, "N", "show at most this many that differ (10)" },
		{ 0 },
	},
	.prints_data = true, .regions = true, .waits = true,
	.run = policy_replay,
};
