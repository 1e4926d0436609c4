// The role that runs the handlers' SQL (database.query_role): creates it, grants what
// it may read, and tests it.
//
// It has its own login. SET ROLE would not be enough: a statement can undo it with
// RESET ROLE or set_config('role', …), and then has the daemon's role.
// Threads: the session's.
#pragma once

#include "db/session.h"

struct pl_query_role {
	const char *name;
	const char *dsn, *dsn_file; // of the region's own role; this role has the same password
	bool made;                  // whether this call created the role
};

// To be run in a session of the role that owns plist's tables, after the migrations.
// Returns 0; PL_EINVAL with what an administrator has to do; or the session's codes.
int pl_query_role_make(struct pl_session *session, struct pl_query_role *role, struct pl_error *err);

// SQL that fails in a session whose role could do more than read.
extern const char pl_query_role_check[];
