// plist-admin policy list: the policies of this configuration, and the resources that
// use them.
//
// The other policy commands have files of their own, such as cmd_policy_check.c.
#include "admin/commands.h"

#include <string.h>

#include "admin/messages.h"
#include "admin/table.h"
#include "base/buf.h"
#include "script/policy.h"

#define SHORT_HASH 12

enum { NAME, FILE_PATH, HASH, HASH_WHOLE, RESOURCES, RESOURCE_LIST, SHADOWED, SHADOW_LIST, DOC };

// clang-format off
static const struct pl_table_column columns[] = {
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
// clang-format on

// The resources that use the file as their policy or shadow policy.
static void set_resources(struct pl_table *table, const struct pl_config *config, const char *path,
                          bool shadow)
{
	struct pl_buf words = { 0 }, json = { 0 };
	pl_buf_addc(&json, '[');
	for (int i = 0; i < config->nresources; i++) {
		const struct pl_resource *resource = &config->resources[i];
		const char *named = shadow ? resource->shadow_policy : resource->policy;
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

static void add_policy(struct pl_table *table, const struct pl_config *config,
                       const struct pl_script_source *source, const struct pl_policy *policy)
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

static int policy_list(struct pl_invocation *invocation)
{
	struct pl_diagnostics diagnostics = { 0 };
	int rc = pl_invocation_config(invocation);
	struct pl_vm *vm = rc ? NULL : pl_vm_new(invocation->config, PL_CONTEXT_POLICY, &diagnostics);
	if (!vm) {
		pl_say_diagnostics(&diagnostics, rc == 0);
		pl_diagnostics_fini(&diagnostics);
		return PL_EXIT_USAGE;
	}
	struct pl_table *table = pl_table_new("policies", columns);
	int broken = 0;
	for (int i = 0; i < invocation->config->nsources; i++) {
		const struct pl_script_source *source = &invocation->config->sources[i];
		if (strncmp(source->path, "policies/", strlen("policies/")) != 0)
			continue;
		struct pl_policy *policy = pl_policy_find(vm, source->path);
		if (!policy)
			policy = pl_policy_load(vm, source, &diagnostics);
		broken += policy == NULL;
		add_policy(table, invocation->config, source, policy);
	}
	pl_table_print(invocation, table, "there are no policies");
	pl_say_diagnostics(&diagnostics, false);
	pl_table_free(&table);
	pl_vm_free(&vm);
	pl_diagnostics_fini(&diagnostics);
	return broken ? PL_EXIT_NO : PL_EXIT_YES;
}

const struct pl_command pl_cmd_policy_list = {
	.noun = "policy",
	.verb = "list",
	.summary = "list the conflict policies and the resources that use them",
	.help = "Lists the policies in the directory policies of the Lua root: the name of each, its "
		"SHA-256, by which regions compare policies, the resources that use it as policy or shadow "
		"policy, "
		"and its description. The exit status is 1 if one cannot be loaded.",
	.prints_data = true,
	.run = policy_list,
};
