// plist-admin policy activate: puts a policy in force in the running daemons, and
// re-resolves open conflicts with it.
//
// The verifier runs here first, so that a refusal comes immediately and in full. The
// verified text is sent over the control socket, and the daemon runs its verifier again.
// Then the command watches the applier of each daemon re-resolve open conflicts.
#include "admin/commands.h"

#include <inttypes.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "admin/messages.h"
#include "admin/progress.h"
#include "admin/table.h"
#include "base/clock.h"
#include "base/file.h"
#include "base/json.h"
#include "config/derive.h"
#include "config/yaml.h"
#include "ops/control.h"
#include "verify/verify.h"

#define PROBING_US INT64_C(60000000) // a daemon on a busy machine runs the verifier as well before it answers
#define LOOK_NS    100000000         // interval between looks at the progress of the applier
#define SHORT_HASH 12

enum { REGION, RESOURCE, POLICY, HASH, HASH_WHOLE, WAS, WAS_HASH, OPEN, CHANGED, FINISHED, LASTS };

// clang-format off
static const struct pl_table_column columns[] = {
	[REGION] = { "region", PL_CELL_TEXT },
	[RESOURCE] = { "resource", PL_CELL_TEXT },
	[POLICY] = { "policy", PL_CELL_TEXT },
	[HASH] = { "hash", PL_CELL_TEXT, PL_COLUMN_PEOPLE },
	[HASH_WHOLE] = { "sha256", PL_CELL_TEXT, PL_COLUMN_DETAIL },
	[WAS] = { "was", PL_CELL_TEXT },
	[WAS_HASH] = { "was_sha256", PL_CELL_TEXT, PL_COLUMN_DETAIL },
	[OPEN] = { "open_conflicts", PL_CELL_NUMBER },
	[CHANGED] = { "changed", PL_CELL_NUMBER },
	[FINISHED] = { "finished", PL_CELL_BOOLEAN },
	[LASTS] = { "lasts", PL_CELL_BOOLEAN },
	{ NULL },
};
// clang-format on

struct activation {
	struct pl_invocation *invocation;
	const struct pl_resource *resource; // of the call's configuration
	const struct pl_script_source *source;
	const char *path; // its path, as the daemons name it
	struct pl_table *table;
	int reached, refused, unfinished;
	bool passing; // some daemon will lose it at its next reload
};

// ---- checking it locally

static bool is_accepted(struct pl_invocation *invocation, const struct pl_config *alone, const char *file)
{
	struct pl_verify_options options = { .config = alone, .resource = &alone->resources[0], .seed = 1 };
	struct pl_verify_report report;
	pl_verify_run(invocation->arena, &options, &report);
	if (report.fault == PL_VERIFY_ACCEPTED)
		return true;
	pl_fail("%s: refused (%s). %s", file, pl_verify_fault_name(report.fault), report.sentence);
	if (report.detail)
		pl_say("  %s", report.detail);
	if (report.smallest)
		pl_say("  For example: %s.",
		       pl_verify_writes(invocation->arena, options.resource, report.smallest));
	pl_say("Nothing was changed. See 'plist-admin policy check %s' for details.", file);
	return false;
}

// Its path under the Lua root, as the YAML would name it, if it is there; otherwise its
// location.
static const char *path_of(struct pl_invocation *invocation, const struct pl_script_source *source,
                           const char *file)
{
	char real[PATH_MAX];
	if (source->path[0] != '/' && pl_config_source(invocation->config, source->path))
		return source->path;
	return realpath(file, real) ? pl_arena_strdup(invocation->arena, real) : source->path;
}

// ---- sending it to a daemon

static const char *request_of(const struct activation *a)
{
	struct pl_buf buf = { 0 };
	pl_buf_adds(&buf, "{\"command\":\"activate\",\"resource\":");
	pl_buf_add_json(&buf, a->resource->name, strlen(a->resource->name));
	pl_buf_adds(&buf, ",\"path\":");
	pl_buf_add_json(&buf, a->path, strlen(a->path));
	pl_buf_adds(&buf, ",\"text\":");
	pl_buf_add_json(&buf, a->source->text, a->source->len);
	pl_buf_addc(&buf, '}');
	const char *request = pl_arena_strndup(a->invocation->arena, buf.data, buf.len);
	pl_buf_fini(&buf);
	return request;
}

static int64_t number(const cJSON *object, const char *name)
{
	int64_t value = 0;
	pl_json_int64(pl_json_get(object, name), &value);
	return value;
}

struct reresolve {
	bool pending;
	int64_t total, seen, changed;
};

static int look(const struct pl_region *region, int64_t timeout_us, struct reresolve *reresolve_r,
                struct pl_error *err)
{
	cJSON *answer;
	int rc = pl_control_ask(region->control_socket, "{\"command\":\"status\"}", timeout_us, &answer, err);
	if (rc < 0)
		return rc;
	const cJSON *progress = pl_json_get(pl_json_get(answer, "apply"), "reresolve");
	*reresolve_r = (struct reresolve){ !cJSON_IsFalse(pl_json_get(progress, "pending")),
		                           number(progress, "total"), number(progress, "seen"),
		                           number(progress, "changed") };
	cJSON_Delete(answer);
	return 0;
}

// Watches the applier until all open conflicts have been re-resolved, or nothing has
// progressed for the timeout. Returns whether all have been.
static bool watch(const struct activation *a, const struct pl_region *region, struct reresolve *reresolve_r)
{
	int64_t timeout_us = pl_invocation_timeout_us(a->invocation), moved_us = pl_mono_us();
	struct pl_progress progress;
	struct pl_error err;
	struct reresolve before = { 0 };
	bool begun = false;
	while (look(region, timeout_us, reresolve_r, &err) == 0) {
		if (!begun && reresolve_r->total > 0)
			pl_progress_begin(&progress, region->name, reresolve_r->total, 0);
		begun |= reresolve_r->total > 0;
		if (begun) {
			progress.total = reresolve_r->total;
			pl_progress_set(&progress, reresolve_r->seen);
		}
		if (reresolve_r->seen != before.seen)
			moved_us = pl_mono_us();
		before = *reresolve_r;
		if (!reresolve_r->pending || pl_mono_us() - moved_us > timeout_us)
			break;
		nanosleep(&(struct timespec){ 0, LOOK_NS }, NULL);
	}
	if (begun)
		pl_progress_end(&progress);
	return !reresolve_r->pending;
}

static void add_row(struct activation *a, const struct pl_region *region, const cJSON *answer,
                    const struct reresolve *progress)
{
	const char *hash = pl_json_string(answer, "sha256");
	const cJSON *was = pl_json_get(answer, "was");
	bool lasts = cJSON_IsTrue(pl_json_get(answer, "lasts"));
	pl_table_row(a->table);
	pl_table_text(a->table, REGION, region->name);
	pl_table_text(a->table, RESOURCE, a->resource->name);
	pl_table_text(a->table, POLICY, pl_json_string(answer, "name"));
	pl_table_printf(a->table, HASH, "%.*s", SHORT_HASH, hash ? hash : "");
	pl_table_text(a->table, HASH_WHOLE, hash);
	pl_table_text(a->table, WAS, pl_json_string(was, "name"));
	pl_table_text(a->table, WAS_HASH, pl_json_string(was, "sha256"));
	pl_table_number(a->table, OPEN, progress->seen);
	pl_table_number(a->table, CHANGED, progress->changed);
	pl_table_bool(a->table, FINISHED, !progress->pending);
	pl_table_bool(a->table, LASTS, lasts);
	a->passing |= !lasts;
}

static void tell_refusal(const struct pl_region *region, const cJSON *answer)
{
	const cJSON *diagnostics = pl_json_get(answer, "problems"), *problem;
	const char *error = pl_json_string(answer, "error");
	pl_fail("%s: the daemon refused: %s", region->name, error ? error : "no reason given");
	cJSON_ArrayForEach (problem, diagnostics)
		if (cJSON_IsString(problem) && problem != diagnostics->child)
			pl_say("  %s", problem->valuestring);
}

static void activate_in(struct activation *a, const struct pl_region *region, const char *request)
{
	struct pl_error err;
	struct reresolve progress = { true, 0, 0, 0 };
	cJSON *answer;
	if (!region->control_socket) {
		pl_fail("%s: the configuration has no control socket for it (regions.%s.control_socket)",
		        region->name, region->name);
		return;
	}
	if (pl_control_ask(region->control_socket, request, PROBING_US, &answer, &err) < 0) {
		pl_fail("%s: no daemon can be reached: %s", region->name, err.text);
		return;
	}
	a->reached++;
	if (!cJSON_IsTrue(pl_json_get(answer, "ok"))) {
		tell_refusal(region, answer);
		a->refused++;
	} else {
		const char *name = pl_json_string(answer, "name"), *hash = pl_json_string(answer, "sha256");
		pl_say("%s: conflicts of %s are now decided by %s (%.*s)", region->name, a->resource->name,
		       name ? name : "it", SHORT_HASH, hash ? hash : "");
		if (!watch(a, region, &progress)) {
			a->unfinished++;
			pl_warn("%s: the policy is in force, but not all open conflicts have been "
			        "re-resolved (%" PRId64 " of %" PRId64
			        " are done); the daemon continues as soon as it can",
			        region->name, progress.seen, progress.total);
		}
		add_row(a, region, answer, &progress);
	}
	cJSON_Delete(answer);
}

// ---- making it permanent

// The line of the YAML that names the policy of the resource; 0 if it is not found.
static int line_of(const struct activation *a)
{
	struct pl_diagnostics diagnostics = { 0 };
	struct pl_buf text = { 0 };
	struct pl_error err;
	int line = 0;
	if (pl_file_read(a->invocation->config->file, PL_YAML_BYTES_MAX, &text, &err) == 0) {
		const struct pl_yaml_node *root =
			pl_yaml_parse(a->invocation->arena, a->invocation->config->file,
		                      text.data ? text.data : "", text.len, &diagnostics);
		const struct pl_yaml_node *resources = root ? pl_yaml_member(root, "resources") : NULL;
		const struct pl_yaml_node *resource =
			resources ? pl_yaml_member(resources, a->resource->name) : NULL;
		const struct pl_yaml_node *policy = resource ? pl_yaml_member(resource, "policy") : NULL;
		line = policy ? policy->line : 0;
	}
	pl_diagnostics_fini(&diagnostics);
	pl_buf_fini(&text);
	return line;
}

static void tell_how_to_keep(const struct activation *a)
{
	const struct pl_config *config = a->invocation->config;
	const char *name = strrchr(a->path, '/');
	bool inside = a->path[0] != '/';
	const char *named =
		inside ? a->path
		       : pl_arena_printf(a->invocation->arena, "policies/%s", name ? name + 1 : a->path);
	pl_say("The policy is in force until the next reload or restart. To make it permanent, on every "
	       "machine:");
	if (!inside)
		pl_say("  copy %s to %s/%s", a->path, config->lua_root, named);
	if (strcmp(a->resource->policy, named) != 0)
		pl_say("  %s:%d: resources.%s.policy: %s (now: %s)", config->file, line_of(a),
		       a->resource->name, named, a->resource->policy);
	pl_say("  and reload, which does not change what is in force.");
}

// ---- the command

static const struct pl_resource *chosen_resource(struct pl_invocation *invocation)
{
	const char *name = pl_invocation_text(invocation, "resource", NULL);
	const struct pl_resource *resource = name ? pl_config_resource(invocation->config, name) : NULL;
	if (name && !resource)
		pl_fail("there is no resource '%s'", name);
	else if (!name && invocation->config->nresources > 1)
		pl_fail("there are several resources; name the one that the policy is for with --resource "
		        "NAME");
	else
		resource = resource ? resource : &invocation->config->resources[0];
	return resource;
}

static int exit_of(const struct activation *a)
{
	if (a->reached < a->invocation->nregions)
		return a->reached ? PL_EXIT_PARTIAL : PL_EXIT_UNREACHABLE;
	return a->refused ? PL_EXIT_NO : a->unfinished ? PL_EXIT_PARTIAL : PL_EXIT_YES;
}

static int run_activation(struct activation *a)
{
	const char *request = request_of(a);
	a->table = pl_table_new("activated", columns);
	for (int i = 0; i < a->invocation->nregions; i++)
		activate_in(a, a->invocation->regions[i], request);
	pl_table_print(a->invocation, a->table, NULL);
	if (a->passing)
		tell_how_to_keep(a);
	pl_table_free(&a->table);
	return exit_of(a);
}

static int policy_activate(struct pl_invocation *invocation)
{
	struct pl_error err = { 0 };
	int rc = pl_invocation_regions(invocation);
	const char *file = invocation->args[0];
	const struct pl_resource *resource = rc ? NULL : chosen_resource(invocation);
	if (!resource)
		return PL_EXIT_USAGE;
	struct pl_config *alone = pl_config_derive_with_policy(invocation->config, resource, file, &err);
	if (!alone) {
		pl_fail("%s: %s", file, err.text);
		return PL_EXIT_USAGE;
	}
	struct activation a = { .invocation = invocation,
		                .resource = resource,
		                .source = pl_config_source(alone, alone->resources[0].policy) };
	a.path = path_of(invocation, a.source, file);
	rc = is_accepted(invocation, alone, file) ? run_activation(&a) : PL_EXIT_NO;
	pl_config_unref(&alone);
	return rc;
}

static const struct pl_option policy_activate_options[] = {
	{ "resource", 'R', PL_OPTION_RESOURCE, "NAME",
	  "resource that the policy is for; required if there are several" },
	{ 0 },
};

const struct pl_command pl_cmd_policy_activate = {
	.noun = "policy",
	.verb = "activate",
	.arguments = "FILE",
	.min_args = 1,
	.max_args = 1,
	.summary = "put a policy in force without a restart",
	.help = "Checks the policy as `policy check` does, then puts it in force in the daemon of each "
		"region through its control socket; it must run on the same machine as the daemon, which "
		"checks the "
		"policy again. Open conflicts are then re-resolved in batches, with progress shown. Nothing "
		"else in "
		"the configuration changes. Until all regions have the policy, they may show different "
		"rows.\n\nThe "
		"policy is in force until the next reload or restart, unless the YAML file names the same "
		"file. The "
		"command prints what to do to make it permanent.\n\nExit status 0: in force, and all open "
		"conflicts "
		"are re-resolved; 1: refused, and nothing was changed; 3: no daemon can be reached; 4: some "
		"daemons "
		"cannot be reached, or some conflicts are still to be re-resolved.",
	.options = policy_activate_options,
	.prints_data = true,
	.regions = true,
	.waits = true,
	.run = policy_activate,
};
