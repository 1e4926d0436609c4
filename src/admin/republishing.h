// Republishes a selection from one region, with progress and a limited rate.
// Threads: the tool has one.
#pragma once

#include "admin/region_sessions.h"
#include "compare/republish.h"

// Returns 0, or a pl_exit after a message; PL_EXIT_NO: only what other sessions hold
// locked is missing. `rate`: records per second; 0: no limit.
int pl_republishing_run(struct pl_invocation *invocation, struct pl_region_session *from,
                        const struct pl_resource *resource, const struct pl_republish_selection *selection,
                        int64_t rate);
// The name under which a list of ids is resumed.
const char *pl_republishing_name_ids(struct pl_invocation *invocation, const int64_t *ids, int n);
