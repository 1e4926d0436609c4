// plist-admin policy check: runs the verifier on a policy.
#include "admin/commands.h"

#include <inttypes.h>
#include <string.h>
#include <time.h>

#include "admin/messages.h"
#include "admin/table.h"
#include "admin/watch.h"
#include "config/derive.h"
#include "verify/verify.h"

enum { FILE_, RESOURCE, VERDICT, NAME, WHY, DETAIL, FIRST, SECOND, INPUTS, SEED, BOUNDS, SHA256 };

// clang-format off
static const struct pl_table_column policy_columns[] = {
	[FILE_] = { "file", PL_CELL_TEXT },
	[RESOURCE] = { "resource", PL_CELL_TEXT },
	[VERDICT] = { "verdict", PL_CELL_TEXT },
	[NAME] = { "name", PL_CELL_TEXT, PL_COLUMN_DETAIL },
	[WHY] = { "why", PL_CELL_TEXT, PL_COLUMN_DETAIL },
	[DETAIL] = { "detail", PL_CELL_TEXT, PL_COLUMN_DETAIL },
	[FIRST] = { "first_answer", PL_CELL_TEXT, PL_COLUMN_DETAIL },
	[SECOND] = { "second_answer", PL_CELL_TEXT, PL_COLUMN_DETAIL },
	[INPUTS] = { "inputs", PL_CELL_NUMBER },
	[SEED] = { "seed", PL_CELL_NUMBER },
	[BOUNDS] = { "bounds", PL_CELL_TEXT, PL_COLUMN_DETAIL },
	[SHA256] = { "sha256", PL_CELL_TEXT, PL_COLUMN_DETAIL },
	{ NULL },
};
// clang-format on

enum { D_FILE, SITUATION, WRITES, ANSWER };

// clang-format off
static const struct pl_table_column decision_columns[] = {
	[D_FILE] = { "file", PL_CELL_TEXT, PL_COLUMN_DETAIL },
	[SITUATION] = { "situation", PL_CELL_TEXT },
	[WRITES] = { "writes", PL_CELL_TEXT },
	[ANSWER] = { "answer", PL_CELL_TEXT },
	{ NULL },
};
// clang-format on

enum { I_FILE, RECORD, WRITE, REGION, LATER, DELETED, FIELDS };

// clang-format off
static const struct pl_table_column input_columns[] = {
	[I_FILE] = { "file", PL_CELL_TEXT, PL_COLUMN_DETAIL },
	[RECORD] = { "record_id", PL_CELL_NUMBER, PL_COLUMN_DETAIL },
	[WRITE] = { "write", PL_CELL_NUMBER },
	[REGION] = { "region", PL_CELL_TEXT },
	[LATER] = { "later_us", PL_CELL_NUMBER },
	[DELETED] = { "deleted", PL_CELL_BOOLEAN },
	[FIELDS] = { "fields", PL_CELL_JSON },
	{ NULL },
};
// clang-format on

struct output {
	struct pl_invocation *invocation;
	struct pl_table *policies, *decisions, *inputs;
	uint64_t seed;
	int accepted, refused;
	const char *file; // what is being checked
	const struct pl_config *config;
};

static const char *fields_json(struct pl_invocation *invocation, const struct pl_resource *resource,
                               const char *const *values)
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
	const char *json = pl_arena_strndup(invocation->arena, buf.data, buf.len);
	pl_buf_fini(&buf);
	return json;
}

static void add_input(struct output *out, const char *file, const struct pl_resource *resource,
                      const struct pl_verify_case *c)
{
	for (int r = 0; r < c->n; r++) {
		pl_table_row(out->inputs);
		pl_table_text(out->inputs, I_FILE, file);
		pl_table_number(out->inputs, RECORD, c->id);
		pl_table_number(out->inputs, WRITE, r + 1);
		pl_table_text(out->inputs, REGION, c->rows[r].dot.region);
		pl_table_number(out->inputs, LATER, c->rows[r].updated_at_us - c->rows[0].updated_at_us);
		pl_table_bool(out->inputs, DELETED, c->rows[r].deleted);
		pl_table_json(out->inputs, FIELDS, fields_json(out->invocation, resource, c->rows[r].values));
	}
}

static void add_report(struct output *out, const char *file, const struct pl_config *config,
                       const struct pl_verify_report *report)
{
	const struct pl_resource *resource = &config->resources[0];
	struct pl_table *t = out->policies;
	bool accepted = report->fault == PL_VERIFY_ACCEPTED;
	pl_table_row(t);
	pl_table_text(t, FILE_, file);
	pl_table_text(t, RESOURCE, resource->name);
	pl_table_text(t, VERDICT, pl_verify_fault_name(report->fault));
	pl_table_tone(t, VERDICT, accepted ? PL_TONE_GOOD : PL_TONE_BAD);
	pl_table_text(t, NAME, report->name);
	pl_table_text(t, WHY, report->sentence);
	pl_table_text(t, DETAIL, report->detail);
	pl_table_text(t, FIRST, report->first);
	pl_table_text(t, SECOND, report->second);
	pl_table_number(t, INPUTS, report->exhaustive + report->random);
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

// Explains what the table of the smallest failing input does not show.
static void talk_of_smallest(const struct pl_verify_case *c, bool rule)
{
	bool former = false;
	for (int r = 0; r < c->n; r++)
		former |= strncmp(c->rows[r].dot.region, "former-", 7) == 0;
	if (rule)
		pl_say("  The smallest violation that shows it has these records:");
	else if (c->id > 1)
		pl_say("  The smallest set of concurrent writes that shows it, all of record %" PRId64 ":",
		       c->id);
	else
		pl_say("  The smallest set of concurrent writes that shows it:");
	if (former)
		pl_say("  (former-1, … stand for regions that the configuration no longer has: what they "
		       "wrote may still meet other writes.)");
}

// Messages printed in addition to the tables.
static void talk(const char *file, const struct pl_verify_report *report, bool rule)
{
	if (report->fault == PL_VERIFY_ACCEPTED) {
		pl_say("%s: accepted: %s. Its decisions:", file, report->name);
		pl_say("tested: %s. No other inputs were tested.", report->bounds);
		return;
	}
	pl_say("%s: refused (%s). %s", file, pl_verify_fault_name(report->fault), report->sentence);
	if (report->detail)
		pl_say("  %s", report->detail);
	if (report->first)
		pl_say("  one answer: %s; another: %s", report->first, report->second);
	if (report->smallest)
		talk_of_smallest(report->smallest, rule);
}

static bool names(const char *file, const char *path)
{
	size_t len = path ? strlen(path) : 0, flen = strlen(file);
	return path && flen >= len && strcmp(file + flen - len, path) == 0;
}

// A rule for violations is in violations/, or is the one that the resource names.
static bool is_rule(const struct pl_resource *resource, const char *file)
{
	return names(file, resource->violations) || strstr(file, "violations/") != NULL;
}

static int check_file(struct output *out, const char *file, const struct pl_resource *resource)
{
	struct pl_invocation *invocation = out->invocation;
	struct pl_error err = { 0 };
	struct pl_verify_report report;
	struct pl_config *config = pl_config_derive_with_policy(invocation->config, resource, file, &err);
	if (!config) {
		pl_fail("%s: %s", file, err.text);
		return PL_EXIT_USAGE;
	}
	struct pl_verify_options options = {
		.config = config,
		.resource = &config->resources[0],
		.seed = out->seed,
		.cases = (int)pl_invocation_number(invocation, "cases", 0),
	};
	out->file = file;
	out->config = config;
	if (is_rule(resource, file)) { // in the policy's place
		config->resources[0].violations = config->resources[0].policy;
		pl_verify_run_rule(invocation->arena, &options, &report);
	} else {
		pl_verify_run(invocation->arena, &options, &report);
	}
	add_report(out, file, config, &report);
	talk(file, &report, is_rule(resource, file));
	pl_config_unref(&config);
	return 0;
}

// The resources for which a file is checked: the one given by an option, the only one
// configured, or those that use the file.
static bool is_for(const struct pl_invocation *invocation, const struct pl_resource *resource,
                   const char *file)
{
	const char *named = pl_invocation_text(invocation, "resource", NULL);
	if (named)
		return strcmp(named, resource->name) == 0;
	return invocation->config->nresources == 1 || names(file, resource->policy) ||
	       names(file, resource->violations);
}

static int check_for_each(struct output *out, const char *file)
{
	int rc = 0, checked = 0;
	for (int i = 0; i < out->invocation->config->nresources && rc == 0; i++) {
		if (!is_for(out->invocation, &out->invocation->config->resources[i], file))
			continue;
		rc = check_file(out, file, &out->invocation->config->resources[i]);
		checked++;
	}
	if (rc == 0 && checked == 0) {
		pl_fail("%s: which resource is it for? Use --resource NAME", file);
		rc = PL_EXIT_USAGE;
	}
	return rc;
}

static void print(struct output *out)
{
	struct pl_table *tables[3] = { out->policies };
	int n = 1;
	if (out->invocation->json || pl_table_rows(out->inputs))
		tables[n++] = out->inputs;
	if (out->invocation->json || pl_table_rows(out->decisions))
		tables[n++] = out->decisions;
	pl_tables_print(out->invocation, n, tables, NULL);
}

// Runs in the watching thread while the policy hangs. What is known by now is all there
// will be.
static void overran(const char *text, void *arg)
{
	struct output *out = arg;
	struct pl_verify_report report = {
		.fault = PL_VERIFY_OVER_BUDGET,
		.sentence = text,
		.bounds = "the check stops here",
		.detail = "The applier would hang in it, and the daemon would abort.",
	};
	add_report(out, out->file, out->config, &report);
	talk(out->file, &report, false); // it has no smallest input
	print(out);
}

static int policy_check(struct pl_invocation *invocation)
{
	int rc = pl_invocation_config(invocation);
	if (rc)
		return rc;
	struct output out = {
		.invocation = invocation,
		.policies = pl_table_new("policies", policy_columns),
		.decisions = pl_table_new("decisions", decision_columns),
		.inputs = pl_table_new("smallest_input", input_columns),
		.seed = (uint64_t)pl_invocation_number(invocation, "seed", 1),
	};
	pl_admin_watch_say(overran, &out);
	for (int i = 0; i < invocation->nargs && rc == 0; i++)
		rc = check_for_each(&out, invocation->args[i]);
	pl_admin_watch_say(NULL, NULL);
	if (rc == 0) {
		print(&out);
		rc = out.refused ? PL_EXIT_NO : PL_EXIT_YES;
	}
	pl_table_free(&out.policies);
	pl_table_free(&out.decisions);
	pl_table_free(&out.inputs);
	return rc;
}

static const struct pl_option options[] = {
	{ "resource", 'R', PL_OPTION_RESOURCE, "NAME",
	  "resource that the policy is for; required if there are several and none uses it" },
	{ "seed", 0, PL_OPTION_COUNT, "N",
	  "seed of the random inputs (1); the same seed gives the same inputs" },
	{ "cases", 0, PL_OPTION_COUNT, "N", "number of random inputs (4000)", .max = 1000000, .min = 1 },
	{ 0 },
};

const struct pl_command pl_cmd_policy_check = {
	.noun = "policy",
	.verb = "check",
	.arguments = "FILE …",
	.min_args = 1,
	.max_args = -1,
	.summary = "verify a conflict policy before it is used",
	.help = "Runs each policy in the production sandbox on sets of concurrent writes that are generated "
		"from the fields of the resource: all small sets, and random larger ones. A policy is "
		"refused if it cannot be loaded, raises an error, returns nothing, returns a row that is "
		"not valid, exceeds its budget, or gives different answers for the same input; the smallest "
		"such input is printed. The decisions of an accepted policy are shown in words.\n\n"
		"A file in violations/, or one that resources.X.violations names, is a rule for violations. "
		"It is asked about records that violate unique values or references, and is also refused if "
		"records still violate them after its changes, or if it decides differently about two "
		"records when it sees others as well.\n\n"
		"Exit status 0: all accepted; 1: at least one refused; 2: wrong usage.",
	.options = options,
	.prints_data = true,
	.run = policy_check,
};
