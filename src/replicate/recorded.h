// A recorded conflict, read back: the siblings as a policy was asked about them, and what was shown.
//
// The other half of replicate/conflict.h, which says what the columns hold. Used by plist-admin policy replay and conflicts restore.
#pragma once

#include "script/policy.h"

struct pl_recorded {
	int n;
	struct pl_sibling *rows;  // in canonical order
	const char **visible;     // resource->nfields texts of what was shown
	bool visible_deleted;
};

// From the texts of conflicts.siblings and conflicts.visible; everything lives in `arena`. Fields that the resource no longer has are left out, new
// ones are null. PL_EINVAL when the texts are not of the form that replicate/conflict writes.
int pl_recorded_read(struct pl_arena *arena, const struct pl_resource *resource, const char *siblings, const char *visible,
                     struct pl_recorded *recorded_r, struct pl_error *err);

// What a verdict makes of the rows: the values (resource->nfields texts) and whether it is deleted.
void pl_recorded_show(const struct pl_recorded *recorded, const struct pl_verdict *verdict, const char *const **values_r, bool *deleted_r);
// Is that what was shown? Numbers are compared by value, and the values of a deleted record do not count.
bool pl_recorded_same(const struct pl_resource *resource, const struct pl_recorded *recorded, const char *const *values, bool deleted);
