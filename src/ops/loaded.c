// Loading: a configuration is checked completely here, before any thread uses it.
//
// The file is read and checked, every handler and policy is loaded in a virtual machine
// like the one that will run it, and the verifier is run on every policy. Called at the
// start, by `plistd --check-config`, by ops/reload and by ops/activate.
// Threads: any.
#include "ops/loaded.h"

#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "script/policy.h"
#include "script/vm.h"
#include "verify/admission.h"

#define HELD_MAX 64

static void add_facts(struct pl_loaded *loaded, struct pl_vm *vm, const struct pl_resource *resource,
                      const char *path, bool shadow)
{
	struct pl_policy *policy = path ? pl_policy_find(vm, path) : NULL;
	if (!policy)
		return;
	loaded->policies[loaded->npolicies++] = (struct pl_policy_facts){
		.resource = resource->name,
		.path = path,
		.name = pl_arena_strdup(loaded->arena, pl_policy_name(policy)),
		.doc = pl_arena_strdup(loaded->arena, pl_policy_doc(policy)),
		.sha256 = pl_arena_strdup(loaded->arena, pl_policy_sha256(policy)),
		.shadow = shadow,
	};
}

// Loads the policies as the applier will, and learns their names from them.
static bool load_policies(struct pl_loaded *loaded, struct pl_diagnostics *diagnostics)
{
	const struct pl_config *config = loaded->config;
	struct pl_vm *vm = pl_vm_new(config, PL_CONTEXT_POLICY, diagnostics);
	loaded->policies = pl_arena_alloc(loaded->arena,
	                                  (size_t)(2 * config->nresources + 1) * sizeof(loaded->policies[0]));
	for (int i = 0; vm && i < config->nresources; i++) {
		add_facts(loaded, vm, &config->resources[i], config->resources[i].policy, false);
		add_facts(loaded, vm, &config->resources[i], config->resources[i].shadow_policy, true);
	}
	bool good = vm != NULL;
	pl_vm_free(&vm);
	return good;
}

static bool load_handlers(const struct pl_config *config, struct pl_diagnostics *diagnostics)
{
	struct pl_vm *vm = pl_vm_new(config, PL_CONTEXT_HANDLER, diagnostics);
	bool good = vm != NULL;
	pl_vm_free(&vm);
	return good;
}

static struct pl_loaded *loaded_of(struct pl_config *config)
{
	struct pl_loaded *loaded = pl_calloc(1, sizeof(*loaded));
	loaded->config = config;
	loaded->arena = pl_arena_new(0);
	return loaded;
}

struct pl_loaded *pl_loaded_derived(const struct pl_loaded *base, struct pl_config *config,
                                    struct pl_diagnostics *diagnostics)
{
	struct pl_loaded *loaded = loaded_of(config);
	loaded->credentials = pl_credentials_ref(base->credentials);
	if (!load_policies(loaded, diagnostics))
		pl_loaded_free(&loaded);
	return loaded;
}

// A resource that was removed from the file stays in force until the restart, so its
// policy must still be there.
static bool has_policies(const struct pl_config *config, struct pl_diagnostics *diagnostics)
{
	bool good = true;
	for (int i = 0; i < config->nresources; i++) {
		const struct pl_resource *resource = &config->resources[i];
		if (pl_config_source(config, resource->policy) &&
		    (!resource->shadow_policy || pl_config_source(config, resource->shadow_policy)))
			continue;
		pl_diagnostics_add(
			diagnostics, false, config->file, 0, 0,
			"resources.%s stays in force until a restart and needs its policy: restore %s, or "
			"restart",
			resource->name, resource->policy);
		good = false;
	}
	return good;
}

static bool hold(struct pl_loaded *loaded, const struct pl_config *running,
                 struct pl_diagnostics *diagnostics)
{
	if (!running)
		return true;
	loaded->held = pl_arena_alloc(loaded->arena, sizeof(loaded->held[0]) * HELD_MAX);
	loaded->nheld = pl_config_hold(running, loaded->config, loaded->held, HELD_MAX);
	return has_policies(loaded->config, diagnostics);
}

struct pl_loaded *pl_loaded_new(const char *file, const char *region, const struct pl_config *running,
                                struct pl_diagnostics *diagnostics)
{
	struct pl_config *config = pl_config_load(file, region, diagnostics);
	if (!config)
		return NULL;
	struct pl_loaded *loaded = loaded_of(config);
	if (!running)
		pl_log_init(config->log.level, config->log.format); // the verifier logs
	if (!hold(loaded, running, diagnostics)) {
		pl_loaded_free(&loaded);
		return NULL;
	}
	loaded->credentials = pl_credentials_load(config, diagnostics);
	bool handlers = load_handlers(config, diagnostics), policies = load_policies(loaded, diagnostics);
	// The verifier runs only if every file loads: errors of loading are reported
	// first.
	if (!loaded->credentials || !handlers || !policies ||
	    pl_verify_admission_check_all(config, diagnostics) > 0)
		pl_loaded_free(&loaded);
	return loaded;
}

void pl_loaded_free(struct pl_loaded **loaded_p)
{
	struct pl_loaded *loaded = *loaded_p;
	if (!loaded)
		return;
	pl_config_unref(&loaded->config);
	pl_credentials_unref(&loaded->credentials);
	pl_arena_free(&loaded->arena);
	free(loaded);
	*loaded_p = NULL;
}

const struct pl_policy_facts *pl_loaded_policy(const struct pl_loaded *loaded, const char *resource)
{
	for (int i = 0; i < loaded->npolicies; i++)
		if (!loaded->policies[i].shadow && strcmp(loaded->policies[i].resource, resource) == 0)
			return &loaded->policies[i];
	return NULL;
}
