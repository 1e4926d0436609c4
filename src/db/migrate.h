// Migrations: the numbered files of sql/, applied once, in order, each in its own
// transaction.
//
// An applied file is recorded in plist.migrations with its hash; a file that was
// changed afterwards is an error. Files that predate the schema plist record
// themselves, without a hash, so that a database created from them alone is recognised;
// the hash is added at the next run.
#pragma once

#include "base/mem.h"
#include "db/session.h"

enum pl_migration_state {
	PL_MIGRATION_APPLIED,
	PL_MIGRATION_PENDING,
	PL_MIGRATION_CHANGED, // applied, and the file has changed since
	PL_MIGRATION_UNKNOWN, // applied, but the file does not exist: the database is newer than this program
};

struct pl_migration {
	int number;
	const char *name; // "001_plist.sql"
	const char *text; // of the file; NULL: there is no file
	char sha256[65];  // of the file
	enum pl_migration_state state;
	const char *applied_at; // RFC 3339, or NULL
};

// Compares the directory's files with the database, in order; everything is in `arena`.
// PL_EINVAL if the directory cannot be read, or for names other than NNN_name.sql, a
// missing number or a number used twice; else the session's codes.
int pl_migrate_list(struct pl_session *session, const char *folder, struct pl_arena *arena,
                    struct pl_migration **list_r, int *n_r, struct pl_error *err);

// Applies pending migrations under a lock that excludes other runs, and calls
// applied(arg, migration) after each. PL_ECONFLICT, and nothing is done, if a file was
// changed or the database is newer.
int pl_migrate(struct pl_session *session, const char *folder, struct pl_arena *arena,
               void (*applied)(void *arg, const struct pl_migration *migration), void *arg,
               struct pl_error *err);
