// Migrations: the numbered files of sql/, applied once, in order, each in a transaction of its own.
//
// Each file ends by entering itself into plist_migrations without a hash, so a database that was made by the files alone (the containers'
// /docker-entrypoint-initdb.d) is recognised; the hash is filled in at the next run. A file that was changed after it was applied is an error.
#pragma once

#include "base/mem.h"
#include "db/session.h"

enum pl_migration_state {
	PL_MIGRATION_APPLIED,
	PL_MIGRATION_PENDING,
	PL_MIGRATION_CHANGED, // applied, and the file has another hash now
	PL_MIGRATION_UNKNOWN, // applied, and there is no such file: the database is newer than this program
};

struct pl_migration {
	int number;
	const char *name;       // "001_plist.sql"
	const char *text;       // of the file; NULL when there is none
	char sha256[65];        // of the file
	enum pl_migration_state state;
	const char *applied_at; // RFC 3339, or NULL
};

// The folder's files held against the database, in order; all in `arena`. PL_EINVAL for a folder that cannot be read, names that are not
// NNN_name.sql, a gap or a number twice; the session's codes.
int pl_migrate_list(struct pl_session *session, const char *folder, struct pl_arena *arena, struct pl_migration **list_r, int *n_r, struct pl_error *err);

// Applies what is pending, under an advisory lock that keeps others out; calls applied(arg, migration) after each. PL_ECONFLICT when a file was changed
// or the database is newer: nothing is done then.
int pl_migrate(struct pl_session *session, const char *folder, struct pl_arena *arena, void (*applied)(void *arg, const struct pl_migration *migration),
               void *arg, struct pl_error *err);
