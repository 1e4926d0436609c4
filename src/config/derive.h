// A configuration with one thing changed: to check a policy before it is used, and to put
// it in force.
#pragma once

#include "config/config.h"

// `base` with `resource` as its only resource and the Lua file `file` as the policy of
// that resource. `file` may be anywhere; one under the Lua root keeps its path there. The
// result shares the memory of `base`, which must outlive it. Returns NULL (PL_ENOTFOUND,
// PL_EINVAL) if the file cannot be read.
struct pl_config *pl_config_derive_with_policy(const struct pl_config *base,
                                               const struct pl_resource *resource, const char *file,
                                               struct pl_error *err);
// The same with a file that `base` has already read, given by its path under the Lua
// root: uses the text that `base` holds. NULL if there is none.
struct pl_config *pl_config_derive_with_source(const struct pl_config *base,
                                               const struct pl_resource *resource, const char *path);

// All of `base`, with `text` as the policy of `resource` under the name `path` (both are
// copied). Keeps a reference to `base`. For putting a policy in force that the YAML does
// not name.
struct pl_config *pl_config_derive_replace_policy(const struct pl_config *base,
                                                  const struct pl_resource *resource, const char *path,
                                                  const char *text, size_t len);
// The configuration that was loaded from the YAML file and from which this one was
// derived, after any number of replacements. Lives as long as `config`.
const struct pl_config *pl_config_as_loaded(const struct pl_config *config);
// Whether a reload would result in the policy that `config` has for `resource`: the YAML
// names it, and its file is unchanged.
bool pl_config_derive_policy_lasts(const struct pl_config *config, const struct pl_resource *resource);
