// The gate: no policy goes live that the probe refuses.
//
// Called by plistd at start and before a reload, and by plist-admin config check, after script/check has loaded every file. What the probe found is
// remembered in the directory lua.checked, under a hash of all that it depends on: the Lua files, the resource, the regions, the limits, plist's own version. A start
// with known files costs nothing.
#pragma once

#include "config/config.h"

// Checks the policy of each resource. A refused one is a problem, with its reason and the smallest input; a refused shadow is a warning. Returns
// the number of refused policies.
int pl_gate_policies(const struct pl_config *config, struct pl_problems *problems);
// The same for the policy of one resource. 0 or 1.
int pl_gate_policy(const struct pl_config *config, const struct pl_resource *resource, struct pl_problems *problems);
