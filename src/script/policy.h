// Policies: calling a Lua file to choose among concurrent writes.
//
// Used by decide/ and plist-admin. A policy is a pure function: every call starts from
// the same state, and its limit is a count of instructions, which is the same on every
// machine.
#pragma once

#include "record/record.h"
#include "record/sibling.h"
#include "script/vm.h"

struct pl_policy;

// A policy of a VM of PL_CONTEXT_POLICY; NULL if the file is not loaded there.
struct pl_policy *pl_policy_find(struct pl_vm *vm, const char *path);
// Loads another file into such a VM: one that no resource names. NULL: *diagnostics has
// the problems. `source` must live as long as the VM.
struct pl_policy *pl_policy_load(struct pl_vm *vm, const struct pl_script_source *source,
                                 struct pl_diagnostics *diagnostics);
const char *pl_policy_name(const struct pl_policy *policy);
const char *pl_policy_doc(const struct pl_policy *policy);
const char *pl_policy_sha256(
	const struct pl_policy *policy); // of the file; and of the modules in Lua that it requires, if any

int64_t pl_policy_instructions(const struct pl_policy *policy); // of the last call

// Returns 0 with *verdict_r, checked against the resource; or PL_ESCRIPT, PL_EBUDGET or
// PL_EINVAL (an invalid verdict) with a sentence for operators. Texts are in `arena`.
// `times` is 1. The verifier calls `resolve` more than once in one environment and gets
// the last answer: if it differs from the first, the policy relies on state between
// calls, which it does not have.
int pl_policy_resolve(struct pl_policy *policy, const struct pl_policy_question *question, int times,
                      struct pl_arena *arena, struct pl_verdict *verdict_r, struct pl_error *err);
