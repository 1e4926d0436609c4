// plist-admin policy activate: a policy put in force in the running daemons, and open conflicts decided by it.
//
// The policy is probed here first, so that a refusal comes at once and in full. What was probed is what is sent, over the operators' socket; the daemon's own
// gate is asked there again. Then each daemon's applier is watched while it shows anew what is open.
#include "admin/commands.h"

#include <inttypes.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "admin/file.h"
#include "admin/table.h"
#include "admin/talk.h"
#include "base/clock.h"
#include "base/json.h"
#include "config/derive.h"
#include "config/yaml.h"
#include "ops/control.h"
#include "replicate/probe.h"

#define PROBING_US INT64_C(60000000) // a daemon on a busy machine probes the policy, too, before it answers
#define LOOK_NS 100000000            // how often the applier's progress is looked at
#define SHORT_HASH 12

enum { REGION, RESOURCE, POLICY, HASH, HASH_WHOLE, WAS, WAS_HASH, OPEN, CHANGED, FINISHED, LASTS };

static const struct pl_column columns[] = {
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

struct activation {
	struct pl_call *call;
	const struct pl_resource *resource;  // of the call's configuration
	const struct pl_script_source *source;
	const char *path;                    // as the daemons are to name it
	struct pl_table *table;
	int reached, refused, unfinished;
	bool passing;                        // somewhere it only holds until the next reload
};

// ---- checking it here

static bool is_accepted(struct pl_call *call, const struct pl_config *alone, const char *file)
{
	struct pl_probe_options options = { .config = alone, .resource = &alone->resources[0], .seed = 1 };
	struct pl_probe_report report;
	pl_probe_run(call->arena, &options, &report);
	if (report.fault == PL_PROBE_ACCEPTED)
		return true;
	pl_fail("%s: refused (%s). %s", file, pl_probe_fault_name(report.fault), report.sentence);
	if (report.detail)
		pl_say("  %s", report.detail);
	if (report.smallest)
		pl_say("  For example: %s.", pl_probe_writes(call->arena, options.resource, report.smallest));
	pl_say("Nothing was changed. 'plist-admin policy check %s' tells more.", file);
	return false;
}

// Its path under the Lua root, if it lies there, as the YAML would name it; else where it is.
static const char *path_of(struct pl_call *call, const struct pl_script_source *source, const char *file)
{
	char real[PATH_MAX];
	if (source->path[0] != '/' && pl_config_source(call->config, source->path))
		return source->path;
	return realpath(file, real) ? pl_arena_strdup(call->arena, real) : source->path;
}

// ---- asking a daemon

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
	const char *request = pl_arena_strndup(a->call->arena, buf.data, buf.len);
	pl_buf_fini(&buf);
	return request;
}

static int64_t number(const cJSON *object, const char *name)
{
	int64_t value = 0;
	pl_json_int64(pl_json_get(object, name), &value);
	return value;
}

struct anew { bool pending; int64_t total, seen, changed; };

static int look(const struct pl_region *region, int64_t timeout_us, struct anew *anew_r, struct pl_error *err)
{
	cJSON *answer;
	int rc = pl_control_ask(region->control, "{\"command\":\"status\"}", timeout_us, &answer, err);
	if (rc < 0)
		return rc;
	const cJSON *anew = pl_json_get(pl_json_get(answer, "apply"), "anew");
	*anew_r = (struct anew){ !cJSON_IsFalse(pl_json_get(anew, "pending")), number(anew, "total"), number(anew, "seen"), number(anew, "changed") };
	cJSON_Delete(answer);
	return 0;
}

// Watches the applier until all that is open has been shown anew, or nothing has moved for the timeout. Whether it has been.
static bool watch(const struct activation *a, const struct pl_region *region, struct anew *anew_r)
{
	int64_t timeout_us = pl_call_timeout_us(a->call), moved_us = pl_mono_us();
	struct pl_progress progress;
	struct pl_error err;
	struct anew before = { 0 };
	bool begun = false;
	while (look(region, timeout_us, anew_r, &err) == 0) {
		if (!begun && anew_r->total > 0)
			pl_progress_begin(&progress, region->name, anew_r->total, 0);
		begun |= anew_r->total > 0;
		if (begun) {
			progress.total = anew_r->total;
			pl_progress_set(&progress, anew_r->seen);
		}
		if (anew_r->seen != before.seen)
			moved_us = pl_mono_us();
		before = *anew_r;
		if (!anew_r->pending || pl_mono_us() - moved_us > timeout_us)
			break;
		nanosleep(&(struct timespec){ 0, LOOK_NS }, NULL);
	}
	if (begun)
		pl_progress_end(&progress);
	return !anew_r->pending;
}

static void add_row(struct activation *a, const struct pl_region *region, const cJSON *answer, const struct anew *anew)
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
	pl_table_number(a->table, OPEN, anew->seen);
	pl_table_number(a->table, CHANGED, anew->changed);
	pl_table_bool(a->table, FINISHED, !anew->pending);
	pl_table_bool(a->table, LASTS, lasts);
	a->passing |= !lasts;
}

static void tell_refusal(const struct pl_region *region, const cJSON *answer)
{
	const cJSON *problems = pl_json_get(answer, "problems"), *problem;
	const char *error = pl_json_string(answer, "error");
	pl_fail("%s: the daemon refused: %s", region->name, error ? error : "it gives no reason");
	cJSON_ArrayForEach(problem, problems)
		if (cJSON_IsString(problem) && problem != problems->child)
			pl_say("  %s", problem->valuestring);
}

static void activate_in(struct activation *a, const struct pl_region *region, const char *request)
{
	struct pl_error err;
	struct anew anew = { true, 0, 0, 0 };
	cJSON *answer;
	if (!region->control) {
		pl_fail("%s: the configuration names no operators' socket for it (regions.%s.control)", region->name, region->name);
		return;
	}
	if (pl_control_ask(region->control, request, PROBING_US, &answer, &err) < 0) {
		pl_fail("%s: no daemon can be asked: %s", region->name, err.text);
		return;
	}
	a->reached++;
	if (!cJSON_IsTrue(pl_json_get(answer, "ok"))) {
		tell_refusal(region, answer);
		a->refused++;
	} else {
		const char *name = pl_json_string(answer, "name"), *hash = pl_json_string(answer, "sha256");
		pl_say("%s: %s is decided by %s (%.*s) from now on", region->name, a->resource->name, name ? name : "it", SHORT_HASH, hash ? hash : "");
		if (!watch(a, region, &anew)) {
			a->unfinished++;
			pl_warn("%s: it is in force, but not all open conflicts have been decided anew (%" PRId64 " of %" PRId64
			        " have); the daemon goes on with it as soon as it can", region->name, anew.seen, anew.total);
		}
		add_row(a, region, answer, &anew);
	}
	cJSON_Delete(answer);
}

// ---- making it last

// The line of the YAML that names the resource's policy; 0 when it is not to be found.
static int line_of(const struct activation *a)
{
	struct pl_problems problems = { 0 };
	struct pl_buf text = { 0 };
	struct pl_error err;
	int line = 0;
	if (pl_file_read(a->call->config->file, PL_YAML_BYTES_MAX, &text, &err) == 0) {
		const struct pl_node *root = pl_yaml_parse(a->call->arena, a->call->config->file, text.data ? text.data : "", text.len, &problems);
		const struct pl_node *resources = root ? pl_node_member(root, "resources") : NULL;
		const struct pl_node *resource = resources ? pl_node_member(resources, a->resource->name) : NULL;
		const struct pl_node *policy = resource ? pl_node_member(resource, "policy") : NULL;
		line = policy ? policy->line : 0;
	}
	pl_problems_fini(&problems);
	pl_buf_fini(&text);
	return line;
}

static void tell_how_to_keep(const struct activation *a)
{
	const struct pl_config *config = a->call->config;
	const char *name = strrchr(a->path, '/');
	bool inside = a->path[0] != '/';
	const char *named = inside ? a->path : pl_arena_printf(a->call->arena, "policies/%s", name ? name + 1 : a->path);
	pl_say("It holds until the daemon's next reload or restart. To make it last, on every machine:");
	if (!inside)
		pl_say("  copy %s to %s/%s", a->path, config->lua_root, named);
	if (strcmp(a->resource->policy, named) != 0)
		pl_say("  %s:%d: resources.%s.policy: %s (it says %s now)", config->file, line_of(a), a->resource->name, named, a->resource->policy);
	pl_say("  and reload: what is in force does not change by that.");
}

// ---- the command

static const struct pl_resource *chosen_resource(struct pl_call *call)
{
	const char *name = pl_call_text(call, "resource", NULL);
	const struct pl_resource *resource = name ? pl_config_resource(call->config, name) : NULL;
	if (name && !resource)
		pl_fail("there is no resource '%s'", name);
	else if (!name && call->config->nresources > 1)
		pl_fail("there are several resources; name the one that the policy is for: --resource NAME");
	else
		resource = resource ? resource : &call->config->resources[0];
	return resource;
}

static int exit_of(const struct activation *a)
{
	if (a->reached < a->call->nregions)
		return a->reached ? PL_EXIT_PARTIAL : PL_EXIT_UNREACHABLE;
	return a->refused ? PL_EXIT_NO : a->unfinished ? PL_EXIT_PARTIAL : PL_EXIT_YES;
}

static int run_activation(struct activation *a)
{
	const char *request = request_of(a);
	a->table = pl_table_new("activated", columns);
	for (int i = 0; i < a->call->nregions; i++)
		activate_in(a, a->call->regions[i], request);
	pl_table_print(a->call, a->table, NULL);
	if (a->passing)
		tell_how_to_keep(a);
	pl_table_free(&a->table);
	return exit_of(a);
}

static int policy_activate(struct pl_call *call)
{
	struct pl_error err = { 0 };
	int rc = pl_call_regions(call);
	const char *file = call->args[0];
	const struct pl_resource *resource = rc ? NULL : chosen_resource(call);
	if (!resource)
		return PL_EXIT_USAGE;
	struct pl_config *alone = pl_config_with_policy(call->config, resource, file, &err);
	if (!alone) {
		pl_fail("%s: %s", file, err.text);
		return PL_EXIT_USAGE;
	}
	struct activation a = { .call = call, .resource = resource, .source = pl_config_source(alone, alone->resources[0].policy) };
	a.path = path_of(call, a.source, file);
	rc = is_accepted(call, alone, file) ? run_activation(&a) : PL_EXIT_NO;
	pl_config_unref(&alone);
	return rc;
}

const struct pl_command pl_cmd_policy_activate = {
	.noun = "policy", .verb = "activate", .arguments = "FILE", .min_args = 1, .max_args = 1,
	.summary = "put a policy in force in the running daemons, without a stop",
	.help = "Checks the policy as `policy check` does, and puts it in force in the daemon of each region through the operators' socket, so it runs on the "
	        "machine of the daemon; the daemon checks it again. Conflicts that are open are then decided anew, in batches, which is shown as it goes. "
	        "Nothing else of the configuration changes. Until every region has the policy they may show different rows; then they are equal again.\n\n"
	        "The policy holds until the next reload or restart, unless the YAML names this very file. What makes it last is told at the end.\n\n"
	        "Exit status 0: in force, and all that was open is decided; 1: refused, and nothing changed where it was; 3: no daemon can be asked; 4: not all "
	        "can, or some conflicts are still to be decided.",
	.options = (const struct pl_option[]){
		{ "resource", 'R', PL_OPTION_RESOURCE, "NAME", "the resource that the policy is for; needed when there are several" },
		{ 0 },
	},
	.prints_data = true, .regions = true, .waits = true,
	.run = policy_activate,
};
