// See ask_policy.h: the step from deciding (decide/decide.c, pure C) to script/policy.
//
// Separate so that the code that decides can be linked, and simulated, without Lua.
// Threads: that of the policy's Lua state.
#include "decide/ask_policy.h"

int pl_ask_policy(void *policy, const struct pl_policy_question *question, struct pl_arena *arena,
                  struct pl_verdict *verdict_r, struct pl_error *err)
{
	if (!policy)
		return pl_error_set(err, PL_ESCRIPT, "%s is not loaded", question->resource->policy);
	return pl_policy_resolve(policy, question, 1, arena, verdict_r, err);
}
