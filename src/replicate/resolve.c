// Asking the policy in Lua: the one step from deciding (replicate/decide.c, pure C) to script/policy.
//
// Stands apart so that what decides can be linked, and simulated, without Lua.
// Threads: those of the policy's VM, that is one.
#include "replicate/decide.h"

static int ask_policy(void *arg, const struct pl_resource *resource, int64_t id, const struct pl_sibling *rows, int n,
                      struct pl_arena *arena, struct pl_verdict *verdict_r, struct pl_error *err)
{
	struct pl_policy *policy = arg;

	if (!policy)
		return pl_error_set(err, PL_ESCRIPT, "%s is not loaded", resource->policy);
	return pl_policy_resolve(policy, resource, id, rows, n, arena, verdict_r, err);
}

int pl_decide_show(struct pl_arena *arena, const struct pl_resource *resource, int64_t id, const struct pl_state *state,
                   const struct pl_twins *twins, int ntwins, struct pl_policy *policy, struct pl_shown *shown_r)
{
	return pl_decide_show_by(arena, resource, id, state, twins, ntwins, ask_policy, policy, shown_r);
}
