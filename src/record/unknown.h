// Fields of a record that this daemon's configuration does not know: those of a newer
// configuration, or retired ones.
//
// They travel and are stored beside the known ones, as the text of a JSON object. Null is
// the same as absent: a field that a write does not name is null.
// Threads: any; nothing is shared.
#pragma once

#include "base/json.h"
#include "base/mem.h"
#include "config/config.h"

// The members of a record that are not configured fields: sorted by name, without nulls
// and without those that every record has. In `arena`, or NULL.
const char *pl_unknown_collect(struct pl_arena *arena, const struct pl_resource *resource, const cJSON *json);
// The same of an object that the database holds, a sibling's fields or a row's
// unknown_fields. A value that fits the type of a configured field replaces values[i];
// one that does not is among the others. `unknown_r` may be NULL.
void pl_unknown_split(struct pl_arena *arena, const struct pl_resource *resource, const char *text,
                      const char **values, const char **unknown_r);

// The unknown fields of a row that is merged of `n` others, given in canonical order:
// each is that of the latest row that has it. `all[i]` may be NULL.
const char *pl_unknown_merge(struct pl_arena *arena, const char *const *all, int n);

// Whether the text has a member of this name.
bool pl_unknown_has(const char *unknown, const char *name);

// Appends the members to an object that is printed up to its last member.
void pl_unknown_print_members(struct pl_buf *buf, const char *unknown);
