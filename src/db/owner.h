// Whose database it is: a daemon must neither publish for another region nor apply events
// in its name, when its configuration names the wrong database.
//
// Threads: the session's.
#pragma once

#include "db/session.h"

// 0: it is this region's, or no region has claimed it yet; else a code.
int pl_owner_check(struct pl_session *session, const char *region, struct pl_error *err);
