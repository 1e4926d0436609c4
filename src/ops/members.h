// Members of a JSON object, appended to a buffer: `,"name":value`.
//
// An answer of the control socket is built of them. Threads: a buffer belongs to its
// caller.
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "config/diagnostics.h"

void pl_members_add_text(struct pl_buf *members, const char *name, const char *value);
// An ISO time; null for 0.
void pl_members_add_time(struct pl_buf *members, const char *name, int64_t at_us);
// ,"name":["a","b"]. Nothing if `members` is NULL.
void pl_members_add_list(struct pl_buf *members, const char *name, const char *const *texts, int n);
// A list of the warnings, or of all other diagnostics.
void pl_members_add_diagnostics(struct pl_buf *members, const char *name,
                                const struct pl_diagnostics *diagnostics, bool warnings);
