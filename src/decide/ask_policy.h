// The Lua policy as an answer to decide/decide, which itself only knows a function.
#pragma once

#include "decide/decide.h"
#include "script/policy.h"

// A pl_decide_ask_fn; `policy` is a struct pl_policy, or NULL: it is not loaded.
int pl_ask_policy(void *policy, const struct pl_policy_question *question, struct pl_arena *arena,
                  struct pl_verdict *verdict_r, struct pl_error *err);
