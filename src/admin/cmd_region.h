// What the commands for one region share.
#pragma once

#include "admin/region_sessions.h"

// Opens sessions to all regions; *named_r is that of the first argument, and is up. 0
// or a pl_exit. pl_region_sessions_close in any case.
int pl_cmd_region_open(struct pl_invocation *invocation, struct pl_region_sessions *sessions,
                       struct pl_region_session **named_r);
// The number that a query without parameters returns; -1: it failed.
int64_t pl_cmd_region_number(struct pl_region_session *session, const char *sql);
