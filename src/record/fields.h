// The fields of a write as JSON, for record_siblings and for the conflicts that people
// read: {"price":500000.00,"bedrooms":null,…}
#pragma once

#include "base/buf.h"
#include "base/mem.h"
#include "config/config.h"

// `unknown` (or NULL): members of fields that are not configured, as record/unknown has
// them.
void pl_fields_print(struct pl_buf *buf, const struct pl_resource *resource, const char *const *values,
                     const char *unknown);
// Back into PostgreSQL's texts. A missing member becomes null, and bounds are not
// checked. A member that the configuration does not know, or whose value no longer fits
// the field, is in *unknown_r (which may be NULL): the configuration may have changed
// since the JSON was written.
const char **pl_fields_parse(struct pl_arena *arena, const struct pl_resource *resource, const char *text,
                             const char **unknown_r);
