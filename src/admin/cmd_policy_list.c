// plist-admin policy list: the policies that this configuration has, and which resources they decide about.
//
// The other commands on policies stand beside it: cmd_policy_check.c.
#include "admin/commands.h"

#include <string.h>

#include "admin/table.h"
#include "admin/talk.h"
#include "base/buf.h"
#include "script/policy.h"

#define SHORT_HASH 12

enum { NAME, FILE_PATH, HASH, HASH_WHOLE, RESOURCES, RESOURCE_LIST, SHADOWED, SHADOW_LIST, DOC };

static const struct pl_column columns[] = {
	[NAME] = { "name", PL_CELL_TEXT },
	[FILE_PATH] = { "file", PL_CELL_TEXT },
	[HASH] = { "hash", PL_CELL_TEXT, PL_COLUMN_PEOPLE },
	[HASH_WHOLE] = { "sha256", PL_CELL_TEXT, PL_COLUMN_DETAIL },
	[RESOURCES] = { "decides_about", PL_CELL_TEXT, PL_COLUMN_PEOPLE },
	[RESOURCE_LIST] = { "resources", PL_CELL_JSON, PL_COLUMN_DETAIL },
	[SHADOWED] = { "shadow_of", PL_CELL_TEXT, PL_COLUMN_PEOPLE },
	[SHADOW_LIST] = { "shadows", PL_CELL_JSON, PL_COLUMN_DETAIL },
	[DOC] = { "doc", PL_CELL_TEXT, PL_COLUMN_CUT },
	{ NULL },
};

// The resources that name the file as their policy, or as their shadow.
static void set_resources(struct pl_table *table, const struct pl_config *config, const char *path, bool shadow)
{
	struct pl_buf words = { 0 }, json = { 0 };
	pl_buf_addc(&json, '[');
	for (int i = 0; i < config->nresources; i++) {
		const struct pl_resource *resource = &config->resources[i];
		const char *named = shadow ? resource->shadow : resource->policy;
		if (!named || strcmp(named, path) != 0)
			continue;
		pl_buf_printf(&words, "%s%s", words.len ? ", " : "", resource->name);
		pl_buf_printf(&json, "%s\"%s\"", json.len > 1 ? "," : "", resource->name);
	}
	pl_buf_addc(&json, ']');
	pl_table_text(table, shadow ? SHADOWED : RESOURCES, words.data);
	pl_table_json(table, shadow ? SHADOW_LIST : RESOURCE_LIST, json.data);
	pl_buf_fini(&words);
	pl_buf_fini(&json);
}

static void add_policy(struct pl_table *table, const struct pl_config *config, const struct pl_script_source *source, const struct pl_policy *policy)
{
	const char *hash = policy ? pl_policy_sha256(policy) : source->sha256;
	pl_table_row(table);
	pl_table_text(table, NAME, policy ? pl_policy_name(policy) : NULL);
	pl_table_text(table, FILE_PATH, source->path);
	pl_table_printf(table, HASH, "%.*s", SHORT_HASH, hash);
	pl_table_text(table, HASH_WHOLE, hash);
	set_resources(table, config, source->path, false);
	set_resources(table, config, source->path, true);
	pl_table_text(table, DOC, policy ? pl_policy_doc(policy) : "cannot be loaded");
	pl_table_tone(table, DOC, policy ? PL_TONE_PLAIN : PL_TONE_BAD);
}

static int policy_list(struct pl_call *call)
{
	struct pl_problems problems = { 0 };
	int rc = pl_call_config(call);
	struct pl_vm *vm = rc ? NULL : pl_vm_new(call->config, PL_WORLD_POLICY, &problems);
	if (!vm) {
		pl_say_problems(&problems, rc == 0);
		pl_problems_fini(&problems);
		return PL_EXIT_USAGE;
	}
	struct pl_table *table = pl_table_new("policies", columns);
	int broken = 0;
	for (int i = 0; i < call->config->nsources; i++) {
		const struct pl_script_source *source = &call->config->sources[i];
		if (strncmp(source->path, "policies/", strlen("policies/")) != 0)
			continue;
		struct pl_policy *policy = pl_policy_find(vm, source->path);
		if (!policy)
			policy = pl_policy_load(vm, source, &problems);
		broken += policy == NULL;
		add_policy(table, call->config, source, policy);
	}
	pl_table_print(call, table, "there are no policies");
	pl_say_problems(&problems, false);
	pl_table_free(&table);
	pl_vm_free(&vm);
	pl_problems_fini(&problems);
	return broken ? PL_EXIT_NO : PL_EXIT_YES;
}

const struct pl_command pl_cmd_policy_list = {
	.noun = "policy",
	.verb = "list",
	.summary = "the conflict policies, and which resources they decide about",
	.help = "Lists the files under policies/ beside the handlers: the name that each gives itself, its SHA-256 by which regions recognise it, "
	        "the resources that have it as their policy or as their shadow, and what it says of itself. Exit 1 when one cannot be loaded.",
	.prints_data = true,
	.run = policy_list,
};
