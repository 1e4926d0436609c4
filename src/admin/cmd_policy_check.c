// plist-admin policy check: may this rule go live?
#include "admin/commands.h"

#include <inttypes.h>
#include <string.h>
#include <time.h>

#include "admin/table.h"
#include "admin/talk.h"
#include "config/derive.h"
#include "replicate/probe.h"

enum { FILE_, RESOURCE, VERDICT, NAME, WHY, DETAIL, FIRST, SECOND, INPUTS, HISTORIES, SEED, BOUNDS, SHA256 };

static const struct pl_column policy_columns[] = {
	[FILE_] = { "file", PL_CELL_TEXT },
	[RESOURCE] = { "resource", PL_CELL_TEXT },
	[VERDICT] = { "verdict", PL_CELL_TEXT },
	[NAME] = { "name", PL_CELL_TEXT, PL_COLUMN_DETAIL },
	[WHY] = { "why", PL_CELL_TEXT, PL_COLUMN_DETAIL },
	[DETAIL] = { "detail", PL_CELL_TEXT, PL_COLUMN_DETAIL },
	[FIRST] = { "first_answer", PL_CELL_TEXT, PL_COLUMN_DETAIL },
	[SECOND] = { "second_answer", PL_CELL_TEXT, PL_COLUMN_DETAIL },
	[INPUTS] = { "inputs", PL_CELL_NUMBER },
	[HISTORIES] = { "histories", PL_CELL_NUMBER },
	[SEED] = { "seed", PL_CELL_NUMBER },
	[BOUNDS] = { "bounds", PL_CELL_TEXT, PL_COLUMN_DETAIL },
	[SHA256] = { "sha256", PL_CELL_TEXT, PL_COLUMN_DETAIL },
	{ NULL },
};

enum { D_FILE, SITUATION, WRITES, ANSWER };

static const struct pl_column decision_columns[] = {
	[D_FILE] = { "file", PL_CELL_TEXT, PL_COLUMN_DETAIL },
	[SITUATION] = { "situation", PL_CELL_TEXT },
	[WRITES] = { "writes", PL_CELL_TEXT },
	[ANSWER] = { "answer", PL_CELL_TEXT },
	{ NULL },
};

enum { I_FILE, RECORD, WRITE, REGION, LATER, DELETED, FIELDS };

static const struct pl_column input_columns[] = {
	[I_FILE] = { "file", PL_CELL_TEXT, PL_COLUMN_DETAIL },
	[RECORD] = { "record_id", PL_CELL_NUMBER, PL_COLUMN_DETAIL },
	[WRITE] = { "write", PL_CELL_NUMBER },
	[REGION] = { "region", PL_CELL_TEXT },
	[LATER] = { "later_us", PL_CELL_NUMBER },
	[DELETED] = { "deleted", PL_CELL_BOOLEAN },
	[FIELDS] = { "fields", PL_CELL_JSON },
	{ NULL },
};

struct output { struct pl_call *call; struct pl_table *policies, *decisions, *inputs; uint64_t seed; int accepted, refused; };

static const char *fields_json(struct pl_call *call, const struct pl_resource *resource, const char *const *values)
{
	struct pl_buf buf = { 0 };
	for (int f = 0; f < resource->nfields; f++) {
		const char *text = values[f];
		pl_buf_adds(&buf, f ? ", " : "{");
		pl_buf_add_json(&buf, resource->fields[f].name, strlen(resource->fields[f].name));
		pl_buf_adds(&buf, ": ");
		if (text && resource->fields[f].type == PL_FIELD_STRING)
			pl_buf_add_json(&buf, text, strlen(text));
		else if (text && resource->fields[f].type == PL_FIELD_BOOLEAN)
			pl_buf_adds(&buf, text[0] == 't' ? "true" : "false");
		else
			pl_buf_adds(&buf, text ? text : "null");
	}
	pl_buf_addc(&buf, '}');
	const char *json = pl_arena_strndup(call->arena, buf.data, buf.len);
	pl_buf_fini(&buf);
	return json;
}

static void add_input(struct output *out, const char *file, const struct pl_resource *resource, const struct pl_probe_case *c)
{
	for (int r = 0; r < c->n; r++) {
		pl_table_row(out->inputs);
		pl_table_text(out->inputs, I_FILE, file);
		pl_table_number(out->inputs, RECORD, c->id);
		pl_table_number(out->inputs, WRITE, r + 1);
		pl_table_text(out->inputs, REGION, c->rows[r].dot.region);
		pl_table_number(out->inputs, LATER, c->rows[r].updated_at_us - c->rows[0].updated_at_us);
		pl_table_bool(out->inputs, DELETED, c->rows[r].deleted);
		pl_table_json(out->inputs, FIELDS, fields_json(out->call, resource, c->rows[r].values));
	}
}

static void add_report(struct output *out, const char *file, const struct pl_config *config, const struct pl_probe_report *report)
{
	const struct pl_resource *resource = &config->resources[0];
	struct pl_table *t = out->policies;
	bool accepted = report->fault == PL_PROBE_ACCEPTED;
	pl_table_row(t);
	pl_table_text(t, FILE_, file);
	pl_table_text(t, RESOURCE, resource->name);
	pl_table_text(t, VERDICT, pl_probe_fault_name(report->fault));
	pl_table_tone(t, VERDICT, accepted ? PL_TONE_GOOD : PL_TONE_BAD);
	pl_table_text(t, NAME, report->name);
	pl_table_text(t, WHY, report->sentence);
	pl_table_text(t, DETAIL, report->detail);
	pl_table_text(t, FIRST, report->first);
	pl_table_text(t, SECOND, report->second);
	pl_table_number(t, INPUTS, report->exhaustive + report->random);
	pl_table_number(t, HISTORIES, report->histories);
	pl_table_number(t, SEED, (int64_t)out->seed);
	pl_table_text(t, BOUNDS, report->bounds);
	pl_table_text(t, SHA256, pl_config_source(config, resource->policy)->sha256);
	for (int i = 0; i < report->ndecisions; i++) {
		pl_table_row(out->decisions);
		pl_table_text(out->decisions, D_FILE, file);
		pl_table_text(out->decisions, SITUATION, report->decisions[i].situation);
		pl_table_text(out->decisions, WRITES, report->decisions[i].writes);
		pl_table_text(out->decisions, ANSWER, report->decisions[i].answer);
	}
	if (report->smallest)
		add_input(out, file, resource, report->smallest);
	out->accepted += accepted;
	out->refused += !accepted;
}

// What the table of the smallest input does not say by itself.
static void talk_of_smallest(const struct pl_probe_case *c)
{
	bool former = false;
	for (int r = 0; r < c->n; r++)
		former |= strncmp(c->rows[r].dot.region, "former-", 7) == 0;
	if (c->id > 1)
		pl_say("  The smallest set of concurrent writes that shows it, all of record %" PRId64 ":", c->id);
	else
		pl_say("  The smallest set of concurrent writes that shows it:");
	if (former)
		pl_say("  (former-1, … stand for regions that the configuration no longer has: what they wrote may still meet other writes.)");
}

// What people are told beside the tables.
static void talk(const char *file, const struct pl_probe_report *report)
{
	if (report->fault == PL_PROBE_ACCEPTED) {
		pl_say("%s: accepted: %s. What it does:", file, report->name);
		pl_say("tried: %s. Nothing is claimed beyond that.", report->bounds);
		return;
	}
	pl_say("%s: refused (%s). %s", file, pl_probe_fault_name(report->fault), report->sentence);
	if (report->detail)
		pl_say("  %s", report->detail);
	if (report->first)
		pl_say("  one answer: %s; another: %s", report->first, report->second);
	if (report->smallest)
		talk_of_smallest(report->smallest);
}

static int check_file(struct output *out, const char *file, const struct pl_resource *resource)
{
	struct pl_call *call = out->call;
	struct pl_error err = { 0 };
	struct pl_probe_report report;
	struct pl_config *config = pl_config_with_policy(call->config, resource, file, &err);
	if (!config) {
		pl_fail("%s: %s", file, err.text);
		return PL_EXIT_USAGE;
	}
	struct pl_probe_options options = {
		.config = config, .resource = &config->resources[0], .seed = out->seed,
		.cases = (int)pl_call_number(call, "cases", 0), .histories = (int)pl_call_number(call, "histories", 0),
	};
	pl_probe_run(call->arena, &options, &report);
	add_report(out, file, config, &report);
	talk(file, &report);
	pl_config_unref(&config);
	return 0;
}

// The resources that a file is checked for: the one that was named, the only one, or those that use it.
static bool is_for(const struct pl_call *call, const struct pl_resource *resource, const char *file)
{
	const char *named = pl_call_text(call, "resource", NULL);
	size_t len = strlen(resource->policy), flen = strlen(file);
	if (named)
		return strcmp(named, resource->name) == 0;
	return call->config->nresources == 1 || (flen >= len && strcmp(file + flen - len, resource->policy) == 0);
}

static int check_for_each(struct output *out, const char *file)
{
	int rc = 0, checked = 0;
	for (int i = 0; i < out->call->config->nresources && rc == 0; i++) {
		if (!is_for(out->call, &out->call->config->resources[i], file))
			continue;
		rc = check_file(out, file, &out->call->config->resources[i]);
		checked++;
	}
	if (rc == 0 && checked == 0) {
		pl_fail("%s: which resource is it for? Name it: --resource NAME", file);
		rc = PL_EXIT_USAGE;
	}
	return rc;
}

static int policy_check(struct pl_call *call)
{
	int rc = pl_call_config(call);
	if (rc)
		return rc;
	struct output out = {
		.call = call, .policies = pl_table_new("policies", policy_columns), .decisions = pl_table_new("decisions", decision_columns),
		.inputs = pl_table_new("smallest_input", input_columns), .seed = (uint64_t)pl_call_number(call, "seed", 1),
	};
	for (int i = 0; i < call->nargs && rc == 0; i++)
		rc = check_for_each(&out, call->args[i]);
	if (rc == 0) {
		struct pl_table *tables[3] = { out.policies };
		int n = 1;
		if (call->json || pl_table_rows(out.inputs))
			tables[n++] = out.inputs;
		if (call->json || pl_table_rows(out.decisions))
			tables[n++] = out.decisions;
		pl_tables_print(call, n, tables, NULL);
		rc = out.refused ? PL_EXIT_NO : PL_EXIT_YES;
	}
	pl_table_free(&out.policies);
	pl_table_free(&out.decisions);
	pl_table_free(&out.inputs);
	return rc;
}

static const struct pl_option options[] = {
	{ "resource", 'R', PL_OPTION_RESOURCE, "NAME", "the resource that the policy is for; needed when there are several and none uses it" },
	{ "seed", 0, PL_OPTION_COUNT, "N", "where the random inputs begin (1); the same seed tries the same inputs" },
	{ "cases", 0, PL_OPTION_COUNT, "N", "how many random inputs (4000)" },
	{ "histories", 0, PL_OPTION_COUNT, "N", "how many histories of simulated regions (1500)" },
	{ 0 },
};

const struct pl_command pl_cmd_policy_check = {
	.noun = "policy", .verb = "check", .arguments = "FILE …", .min_args = 1, .max_args = -1,
	.summary = "whether a conflict policy may go live, and what it decides",
	.help = "Runs each policy in the production sandbox over sets of concurrent writes made from the resource's fields: small sets exhaustively, larger "
	        "ones at random. A policy is refused when it cannot be loaded, fails or answers nothing for some input, answers what no row could be, "
	        "exceeds its budget, or answers the same input differently; the smallest input that shows it is printed. Then simulated regions use it "
	        "and must end equal. An accepted policy's decisions are shown in words.\n\n"
	        "Exit status 0: all accepted; 1: at least one refused; 2: asked wrongly.",
	.options = options,
	.prints_data = true,
	.run = policy_check,
};
