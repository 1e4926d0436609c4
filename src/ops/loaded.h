// A loaded configuration: the YAML, its Lua files, and the findings of the checks.
//
// Immutable once made. Threads: made in any thread; its configuration is counted.
#pragma once

#include <stdbool.h>

#include "auth/credentials.h"
#include "base/mem.h"
#include "config/config.h"

// A policy that the configuration names, as the policy describes itself.
struct pl_policy_facts {
	const char *resource, *path, *name, *doc, *sha256;
	bool shadow;
};

struct pl_loaded {
	struct pl_config *config;
	struct pl_credentials *credentials;
	struct pl_arena *arena;
	int nheld;
	const char **held; // keys whose new value in the file takes effect only after a restart
	int npolicies;
	struct pl_policy_facts *policies;
};

// Reads the file, loads every Lua file that it names, and runs the verifier on its
// policies. `running` is the configuration in force, or NULL at the start: keys that only
// a restart can change keep the values that they have there. Returns NULL and fills
// `diagnostics` if the configuration is refused.
struct pl_loaded *pl_loaded_new(const char *file, const char *region, const struct pl_config *running,
                                struct pl_diagnostics *diagnostics);

// The same for a configuration that was derived from that of `base`. Only its policies
// are loaded, and the verifier is not run; the credentials are those of `base`. Takes
// over the reference to `config`.
struct pl_loaded *pl_loaded_derived(const struct pl_loaded *base, struct pl_config *config,
                                    struct pl_diagnostics *diagnostics);

void pl_loaded_free(struct pl_loaded **loaded_p);

// The policy that decides conflicts of a resource, or NULL; never a shadow policy.
const struct pl_policy_facts *pl_loaded_policy(const struct pl_loaded *loaded, const char *resource);
