// The policies in force, by resource: names and hashes.
//
// The relay publishes them. The applier loads policies by itself, to call them.
// Threads: belongs to one thread.
#include "script/policy_ids.h"

#include <stdlib.h>
#include <string.h>

#include "script/policy.h"

struct pl_policy_ids {
	struct pl_arena *arena;
	int n;
	struct {
		const char *resource, *name, *sha256, *header;
	} of[];
};

// "policies/last_writer_wins.lua" -> "last_writer_wins"
static const char *base_name(struct pl_arena *arena, const char *path)
{
	const char *slash = strrchr(path, '/'), *name = slash ? slash + 1 : path, *dot = strrchr(name, '.');

	return pl_arena_strndup(arena, name, dot ? (size_t)(dot - name) : strlen(name));
}

struct pl_policy_ids *pl_policy_ids_new(const struct pl_config *config)
{
	struct pl_policy_ids *policies =
		pl_calloc(1, sizeof(*policies) + sizeof(policies->of[0]) * (size_t)config->nresources);

	struct pl_diagnostics diagnostics = { 0 };
	struct pl_vm *vm = pl_vm_new(config, PL_CONTEXT_POLICY, &diagnostics);

	policies->arena = pl_arena_new(0);
	policies->n = config->nresources;
	for (int i = 0; i < config->nresources; i++) {
		const struct pl_resource *resource = &config->resources[i];
		const struct pl_script_source *source = pl_config_source(config, resource->policy);

		const struct pl_policy *policy = vm ? pl_policy_find(vm, resource->policy) : NULL;

		policies->of[i].resource = pl_arena_strdup(policies->arena, resource->name);
		policies->of[i].sha256 = pl_arena_strdup(policies->arena, policy   ? pl_policy_sha256(policy)
		                                                          : source ? source->sha256
		                                                                   : "");
		policies->of[i].name = policy ? pl_arena_strdup(policies->arena, pl_policy_name(policy))
		                              : base_name(policies->arena, resource->policy);
		policies->of[i].header = pl_arena_printf(policies->arena, "%s sha256:%s",
		                                         policies->of[i].name, policies->of[i].sha256);
	}
	pl_vm_free(&vm);
	pl_diagnostics_fini(&diagnostics);
	return policies;
}

void pl_policy_ids_free(struct pl_policy_ids **ids_p)
{
	if (!*ids_p)
		return;
	pl_arena_free(&(*ids_p)->arena);
	free(*ids_p);
	*ids_p = NULL;
}

const char *pl_policy_ids_header(const struct pl_policy_ids *policies, int resource)
{
	return policies->of[resource].header;
}

void pl_policy_ids_print(struct pl_buf *buf, const struct pl_policy_ids *policies)
{
	pl_buf_addc(buf, '{');
	for (int i = 0; i < policies->n; i++) {
		if (i)
			pl_buf_addc(buf, ',');
		pl_buf_add_json(buf, policies->of[i].resource, strlen(policies->of[i].resource));
		pl_buf_adds(buf, ":{\"name\":");
		pl_buf_add_json(buf, policies->of[i].name, strlen(policies->of[i].name));
		pl_buf_adds(buf, ",\"sha256\":");
		pl_buf_add_json(buf, policies->of[i].sha256, strlen(policies->of[i].sha256));
		pl_buf_addc(buf, '}');
	}
	pl_buf_addc(buf, '}');
}
