// Migrations: see migrate.h.
//
// Threads: as for the session.
#include "db/migrate.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/file.h"
#include "base/sha256.h"

#define FILE_MAX ((size_t)4 << 20)

static int compare(const void *a, const void *b)
{
	const struct pl_migration *x = a, *y = b;

	return x->number != y->number ? (x->number < y->number ? -1 : 1) : strcmp(x->name, y->name);
}

// 7 of "007_name.sql"; -1 for other names.
static int number_of(const char *name)
{
	size_t digits = strspn(name, "0123456789"), len = strlen(name);

	return digits == 3 && name[3] == '_' && len > 8 && strcmp(name + len - 4, ".sql") == 0 ? atoi(name)
	                                                                                       : -1;
}

static int read_file(struct pl_arena *arena, const char *folder, struct pl_migration *migration,
                     struct pl_error *err)
{
	const char *path = pl_arena_printf(arena, "%s/%s", folder, migration->name);
	uint8_t digest[PL_SHA256_SIZE];
	struct pl_buf text = { 0 };
	int rc = pl_file_read(path, FILE_MAX, &text, err);

	if (rc == 0 && (text.len == 0 || memchr(text.data, 0, text.len)))
		rc = pl_error_set(err, PL_EINVAL, "is empty or not text");
	if (rc) {
		pl_buf_fini(&text);
		err->code = PL_EINVAL;
		return pl_error_prefix(err, "%s", path);
	}
	pl_sha256(text.data, text.len, digest);
	pl_sha256_hex(digest, migration->sha256);
	migration->text = pl_arena_strndup(arena, text.data, text.len);
	pl_buf_fini(&text);
	return 0;
}

static int read_folder(struct pl_arena *arena, const char *folder, struct pl_migration **list_r, int *n_r,
                       struct pl_error *err)
{
	DIR *dir = opendir(folder);
	struct pl_migration *list = pl_arena_alloc(arena, sizeof(*list) * 1000);
	struct dirent *entry;
	int n = 0, rc = 0;

	if (!dir)
		return pl_error_set(err, PL_EINVAL, "cannot read the directory of migrations %s", folder);
	while (rc == 0 && n < 999 && (entry = readdir(dir))) {
		size_t len = strlen(entry->d_name);

		if (entry->d_name[0] == '.' || len < 4 || strcmp(entry->d_name + len - 4, ".sql") != 0)
			continue;
		list[n] = (struct pl_migration){ .number = number_of(entry->d_name),
			                         .name = pl_arena_strdup(arena, entry->d_name) };
		rc = list[n].number < 0
		             ? pl_error_set(err, PL_EINVAL, "%s/%s: a migration is called NNN_name.sql",
		                            folder, entry->d_name)
		             : read_file(arena, folder, &list[n], err);
		n++;
	}
	closedir(dir);
	qsort(list, (size_t)n, sizeof(*list), compare);
	for (int i = 0; rc == 0 && i < n; i++)
		if (list[i].number != i + 1)
			rc = pl_error_set(
				err, PL_EINVAL,
				"%s: %s where %03d_….sql should be: numbers follow each other without gaps",
				folder, list[i].name, i + 1);
	if (rc == 0 && n == 0)
		rc = pl_error_set(err, PL_EINVAL, "%s has no migrations", folder);
	*list_r = list;
	*n_r = n;
	return rc;
}

// The recorded migration with one number.
static void hold_against(struct pl_arena *arena, struct pl_migration *list, int *n, const PGresult *applied,
                         int row)
{
	int number = atoi(PQgetvalue(applied, row, 0));
	const char *sha256 = PQgetvalue(applied, row, 2);
	struct pl_migration *migration = number >= 1 && number <= *n ? &list[number - 1] : NULL;

	if (!migration) {
		list[*n] = (struct pl_migration){ .number = number,
			                          .name = pl_arena_strdup(arena, PQgetvalue(applied, row, 1)),
			                          .state = PL_MIGRATION_UNKNOWN };
		migration = &list[(*n)++];
	} else {
		migration->state = sha256[0] == 0 || strcmp(sha256, migration->sha256) == 0
		                           ? PL_MIGRATION_APPLIED
		                           : PL_MIGRATION_CHANGED;
	}
	migration->applied_at = pl_arena_strdup(arena, PQgetvalue(applied, row, 3));
}

// The table of applied migrations: plist.migrations, or plist_migrations in a database
// that predates the schema plist. NULL: neither exists.
static int find_table(struct pl_session *session, const char **name_r, struct pl_error *err)
{
	PGresult *result = pl_session_exec(
		session,
		"SELECT to_regclass('plist.migrations') IS NOT NULL, to_regclass('plist_migrations') "
		"IS NOT NULL",
		0, NULL, err);

	if (!result)
		return err->code;
	*name_r = PQgetvalue(result, 0, 0)[0] == 't'   ? "plist.migrations"
	          : PQgetvalue(result, 0, 1)[0] == 't' ? "plist_migrations"
	                                               : NULL;
	PQclear(result);
	return 0;
}

// Executes `before` + the table's name + `after`. NULL with err.
static PGresult *ask_table(struct pl_session *session, const char *before, const char *after, int nparams,
                           const char *const *params, struct pl_error *err)
{
	const char *name;
	struct pl_buf sql = { 0 };

	if (find_table(session, &name, err))
		return NULL;
	pl_buf_printf(&sql, "%s%s%s", before, name ? name : "plist.migrations", after);
	PGresult *result = pl_session_exec(session, sql.data, nparams, params, err);
	pl_buf_fini(&sql);
	return result;
}

int pl_migrate_list(struct pl_session *session, const char *folder, struct pl_arena *arena,
                    struct pl_migration **list_r, int *n_r, struct pl_error *err)
{
	int rc = read_folder(arena, folder, list_r, n_r, err), files = *n_r;
	const char *table;
	PGresult *applied = NULL;

	if (rc)
		return rc;
	for (int i = 0; i < *n_r; i++)
		(*list_r)[i].state = PL_MIGRATION_PENDING;
	rc = find_table(session, &table, err);
	if (rc)
		return rc;
	if (table) {
		applied = ask_table(session,
		                    "SELECT number, name, sha256, to_char(applied_at AT TIME ZONE 'UTC', "
		                    "'YYYY-MM-DD\"T\"HH24:MI:SS\"Z\"') "
		                    "FROM ",
		                    " ORDER BY number", 0, NULL, err);
		if (!applied)
			rc = err->code;
	}
	for (int row = 0; applied && row < PQntuples(applied) && *n_r < files + 1; row++)
		hold_against(arena, *list_r, n_r, applied, row);
	PQclear(applied);
	return rc;
}

static int refuse_what_differs(const struct pl_migration *list, int n, struct pl_error *err)
{
	for (int i = 0; i < n; i++) {
		if (list[i].state == PL_MIGRATION_CHANGED)
			return pl_error_set(
				err, PL_ECONFLICT,
				"%s was changed after it had been applied; put it back and write a new "
				"migration",
				list[i].name);
		if (list[i].state == PL_MIGRATION_UNKNOWN)
			return pl_error_set(
				err, PL_ECONFLICT,
				"the database has migration %d (%s), which this program does not have: "
				"it is older than the database",
				list[i].number, list[i].name);
	}
	return 0;
}

// Runs the file and records it with its hash. The first files record themselves,
// without a hash.
static int apply(struct pl_session *session, const struct pl_migration *migration, struct pl_error *err)
{
	char number[12];
	const char *params[] = { number, migration->name, migration->sha256 };
	PGresult *result;
	int rc = pl_session_do(session, migration->text, err);

	if (rc)
		return pl_error_prefix(err, "%s", migration->name);
	snprintf(number, sizeof(number), "%d", migration->number);
	result = ask_table(
		session, "INSERT INTO ",
		" (number, name, sha256) VALUES ($1, $2, $3) ON CONFLICT (number) DO UPDATE SET sha256 "
		"= $3",
		3, params, err);
	PQclear(result);
	return result ? 0 : err->code;
}

static int fill_in_hash(struct pl_session *session, const struct pl_migration *migration,
                        struct pl_error *err)
{
	char number[12];
	const char *params[] = { number, migration->sha256 };
	PGresult *result;

	snprintf(number, sizeof(number), "%d", migration->number);
	result = ask_table(session, "UPDATE ", " SET sha256 = $2 WHERE number = $1 AND sha256 = ''", 2,
	                   params, err);
	PQclear(result);
	return result ? 0 : err->code;
}

static int is_there(struct pl_session *session, bool *there_r, struct pl_error *err)
{
	PGresult *result = ask_table(session, "SELECT to_regclass('", "') IS NOT NULL", 0, NULL, err);

	if (!result)
		return err->code;
	*there_r = PQgetvalue(result, 0, 0)[0] == 't';
	PQclear(result);
	return 0;
}

static int lock_table(struct pl_session *session, struct pl_error *err)
{
	PGresult *result = ask_table(session, "LOCK TABLE ", " IN SHARE ROW EXCLUSIVE MODE", 0, NULL, err);

	if (!result)
		return err->code;
	PQclear(result);
	return 0;
}

// Locks the table of migrations; only its owner's role can do that. Before the table
// exists, takes an advisory lock.
static int keep_others_out(struct pl_session *session, struct pl_error *err)
{
	bool there = false;
	int rc = is_there(session, &there, err);

	if (rc == 0 && !there) {
		rc = pl_session_do(session, "SELECT pg_advisory_xact_lock(hashtext('plist-migrate'))", err);
		if (rc == 0) // another run has created the table meanwhile
			rc = is_there(session, &there, err);
	}
	return rc == 0 && there ? lock_table(session, err) : rc;
}

// Applies the next pending one, in a transaction under the lock. *more_r: there may be
// another one.
static int step(struct pl_session *session, const char *folder, struct pl_arena *arena,
                const struct pl_migration **done_r, struct pl_error *err)
{
	struct pl_migration *list;
	int n, rc = pl_session_do(session, "BEGIN", err);

	*done_r = NULL;
	if (rc)
		return rc;
	rc = keep_others_out(session, err);
	if (!rc)
		rc = pl_migrate_list(session, folder, arena, &list, &n, err);
	if (!rc)
		rc = refuse_what_differs(list, n, err);
	for (int i = 0; rc == 0 && i < n && !*done_r; i++) {
		if (list[i].state == PL_MIGRATION_APPLIED) {
			rc = fill_in_hash(session, &list[i], err);
			continue;
		}
		rc = apply(session, &list[i], err);
		*done_r = &list[i];
	}
	if (rc == 0)
		return pl_session_do(session, "COMMIT", err);
	struct pl_error ignored;
	pl_session_do(session, "ROLLBACK", &ignored);
	return rc;
}

int pl_migrate(struct pl_session *session, const char *folder, struct pl_arena *arena,
               void (*applied)(void *arg, const struct pl_migration *migration), void *arg,
               struct pl_error *err)
{
	for (;;) {
		const struct pl_migration *done;
		int rc = step(session, folder, arena, &done, err);

		if (rc || !done)
			return rc;
		if (applied)
			applied(arg, done);
	}
}
