// Policies: asking a Lua file which of several concurrent writes is shown.
//
// Called by replicate/decide and by plist-admin. A policy is a pure function: each call sees the same world, and the limit
// that decides is the count of instructions, which is the same on every machine.
#pragma once

#include "record/record.h"
#include "script/vm.h"

// One of the concurrent rows, in canonical order.
struct pl_sibling {
	struct pl_dot dot;
	struct pl_vector vector;        // what this write had seen, itself included
	int64_t updated_at_us;
	bool deleted;
	const char **values;            // resource->nfields texts
	const char *field_times;        // JSON {field: {"at": µs, "origin": region}}, or NULL
	const char *request_id;         // or NULL
	const char *principal;          // "" = none
	const uint8_t *fingerprint;     // PL_SHA256_SIZE bytes, or NULL
};

struct pl_verdict {
	int take;                       // index into rows, or -1: merge
	const char **merged;            // take == -1: resource->nfields texts
};

struct pl_policy;

// From a VM of PL_WORLD_POLICY; NULL if the file is not loaded there.
struct pl_policy *pl_policy_find(struct pl_vm *vm, const char *path);
// Loads one more file into such a VM: one that no resource names (yet). NULL with problems. `source` must live as long as the VM.
struct pl_policy *pl_policy_load(struct pl_vm *vm, const struct pl_script_source *source, struct pl_problems *problems);
const char *pl_policy_name(const struct pl_policy *policy);
const char *pl_policy_doc(const struct pl_policy *policy);
const char *pl_policy_sha256(const struct pl_policy *policy); // of the file; and of the modules in Lua that it requires, if any

int64_t pl_policy_instructions(const struct pl_policy *policy); // what its last call took

// 0 with *verdict_r valid for the resource; PL_ESCRIPT, PL_EBUDGET or PL_EINVAL (nonsense) with a sentence for operators.
// Texts of the verdict live in `arena`.
int pl_policy_resolve(struct pl_policy *policy, const struct pl_resource *resource, int64_t id,
                      const struct pl_sibling *rows, int n, struct pl_arena *arena, struct pl_verdict *verdict_r,
                      struct pl_error *err);

// The same, asked `times` times within one world, and the last answer given: what the policy would say if it could remember.
// For the probe alone; an answer that differs from pl_policy_resolve's shows that the policy counts on a memory that it does
// not have.
int pl_policy_resolve_again(struct pl_policy *policy, const struct pl_resource *resource, int64_t id,
                            const struct pl_sibling *rows, int n, int times, struct pl_arena *arena,
                            struct pl_verdict *verdict_r, struct pl_error *err);
