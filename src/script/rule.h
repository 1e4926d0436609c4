// Rules for violations: calling a Lua file to say how records change that violate what
// holds between them.
//
// Used by integrity/ and plist-admin. Like a policy, a rule is a pure function: it runs
// in the policies' sandbox, each call starts from the same state, and its limit is a
// count of instructions.
#pragma once

#include "record/record.h"
#include "script/vm.h"

// A record that is concerned. All texts belong to the caller.
struct pl_violation_record {
	int64_t id;
	const char *const *values; // of the resource's fields; NULL is null
	const char *origin;        // the region that made its last write
	int64_t updated_at_us;
	struct pl_vector vector;
};

struct pl_violation {
	const struct pl_resource *resource;
	const char *type;                          // "multiple_unique_conflicts", "reference_missing"
	const char *fields;                        // "room,day"
	int n;                                     // 1 for a missing reference
	const struct pl_violation_record *records; // ascending by id
};

// What a rule says about one of the records.
struct pl_rule_change {
	int record; // its index
	bool deleted;
	struct pl_changes changes; // unless it is deleted
};

struct pl_rule_answer {
	struct pl_rule_change *changes;
	int n;
};

struct pl_rule;

// The rule of a VM of PL_CONTEXT_POLICY; NULL if the file is not loaded there.
struct pl_rule *pl_rule_find(struct pl_vm *vm, struct pl_arena *arena, const char *path);
const char *pl_rule_name(const struct pl_rule *rule);
const char *pl_rule_sha256(const struct pl_rule *rule); // of its file, in hexadecimal
const char *pl_rule_doc(const struct pl_rule *rule);

// Returns 0 with the changes, checked against the resource; or PL_ESCRIPT, PL_EBUDGET or
// PL_EINVAL with a sentence for operators. Memory is in `arena`. `times`: as for
// pl_policy_resolve.
int pl_rule_resolve(struct pl_rule *rule, const struct pl_violation *violation, int times,
                    struct pl_arena *arena, struct pl_rule_answer *answer_r, struct pl_error *err);
