// The fields of a write as JSON, for record_siblings and for the conflicts that people read: {"price":500000.00,"bedrooms":null,…}
#pragma once

#include "base/buf.h"
#include "base/mem.h"
#include "config/config.h"

void pl_fields_print(struct pl_buf *buf, const struct pl_resource *resource, const char *const *values);
// Back into PostgreSQL's texts. Lenient: what is not there, or of a type that the field no longer has, is null; bounds are not asked about,
// since the configuration may have changed since it was written.
const char **pl_fields_parse(struct pl_arena *arena, const struct pl_resource *resource, const char *text);
