// A configuration with one thing changed: what a policy is checked with before it goes live.
#pragma once

#include "config/config.h"

// `base` with `resource` as its only resource and the Lua file `file` as that resource's policy. `file` may lie anywhere; one under the Lua root keeps
// its path there. The result shares base's memory: base must live longer. NULL (PL_ENOTFOUND, PL_EINVAL) when the file cannot be read.
struct pl_config *pl_config_with_policy(const struct pl_config *base, const struct pl_resource *resource, const char *file, struct pl_error *err);
// The same with a file that base has already read, by its path under the Lua root: the very text that base holds. NULL if there is none.
struct pl_config *pl_config_with_source(const struct pl_config *base, const struct pl_resource *resource, const char *path);
