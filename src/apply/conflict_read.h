// A recorded conflict, read back: the siblings as the policy was asked about them, and
// the row that was visible.
//
// apply/conflict.h describes the columns. Used by plist-admin policy replay and conflicts
// restore.
#pragma once

#include "base/error.h"
#include "base/mem.h"
#include "config/config.h"
#include "record/sibling.h"

struct pl_recorded_conflict {
	int n;
	struct pl_sibling *rows; // in canonical order
	const char **visible;    // resource->nfields texts of the visible row
	bool visible_deleted;
};

// Parses conflicts.siblings and conflicts.visible into `arena`. Fields that the
// resource no longer has are left out, new ones are null. PL_EINVAL: not the form that
// apply/conflict writes.
int pl_conflict_read(struct pl_arena *arena, const struct pl_resource *resource, const char *siblings,
                     const char *visible, struct pl_recorded_conflict *recorded_r, struct pl_error *err);

// The row that a verdict makes visible: its values (resource->nfields texts) and
// whether it is deleted.
void pl_conflict_read_show(const struct pl_recorded_conflict *recorded, const struct pl_verdict *verdict,
                           const char *const **values_r, bool *deleted_r);
// Whether that row is the recorded one. Numbers are compared by value, and the values
// of a deleted record are ignored.
bool pl_conflict_read_same(const struct pl_resource *resource, const struct pl_recorded_conflict *recorded,
                           const char *const *values, bool deleted);
