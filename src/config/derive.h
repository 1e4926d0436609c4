// A configuration with one thing changed: what a policy is checked with before it goes live, and what it goes live with.
#pragma once

#include "config/config.h"

// `base` with `resource` as its only resource and the Lua file `file` as that resource's policy. `file` may lie anywhere; one under the Lua root keeps
// its path there. The result shares base's memory: base must live longer. NULL (PL_ENOTFOUND, PL_EINVAL) when the file cannot be read.
struct pl_config *pl_config_with_policy(const struct pl_config *base, const struct pl_resource *resource, const char *file, struct pl_error *err);
// The same with a file that base has already read, by its path under the Lua root: the very text that base holds. NULL if there is none.
struct pl_config *pl_config_with_source(const struct pl_config *base, const struct pl_resource *resource, const char *path);

// `base` whole, with `text` as the policy of `resource`, under the name `path` (copied, both). It keeps base alive. For putting a policy in force that
// the YAML does not name (yet).
struct pl_config *pl_config_replace_policy(const struct pl_config *base, const struct pl_resource *resource, const char *path, const char *text,
                                           size_t len);
// What the YAML said: the configuration that was loaded and that this one, after any number of replacements, comes from. Lives as long as `config`.
const struct pl_config *pl_config_as_loaded(const struct pl_config *config);
// Whether a reload would find the very policy that `config` has for `resource`: the YAML names it, and its file is as it is here.
bool pl_config_policy_lasts(const struct pl_config *config, const struct pl_resource *resource);
