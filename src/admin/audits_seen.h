// What the audit of a region has found, for plist-admin status.
//
// Threads: the tool has one.
#pragma once

#include "admin/region_sessions.h"

// The number of records in which the region differs from others, or -1 if it is not
// known. Calls `warn` with a sentence if there are any, and if not all records have been
// compared for much longer than audit.every.
int64_t pl_audits_seen(struct pl_invocation *invocation, struct pl_region_session *region_session,
                       void (*warn)(void *arg, const char *sentence), void *arg);
