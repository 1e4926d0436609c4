// The inventory knows everything that the migrations create, and names what is missing.
#include <ctype.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/file.h"
#include "db/inventory.h"
#include "db/migrate.h"

static struct pl_session *session;

static const char *source(const char *path)
{
	static char whole[512];

	snprintf(whole, sizeof(whole), "%s/%s", getenv("PL_TOP_SRCDIR") ? getenv("PL_TOP_SRCDIR") : ".",
	         path);
	return whole;
}

static void execute(const char *sql)
{
	struct pl_error err;

	if (pl_session_do(session, sql, &err))
		fail_msg("%s", err.text);
}

static int setup(void **state)
{
	struct pl_arena *arena = pl_arena_new(0);
	struct pl_error err;

	session = pl_session_new(&(struct pl_session_options){ .dsn = getenv("DATABASE_URL"),
	                                                       .application_name = "test inventory",
	                                                       .connect_timeout_us = 3000000,
	                                                       .stop_fd = -1 });
	if (pl_session_connect(session, &err))
		fail_msg("%s", err.text);
	execute("DROP SCHEMA IF EXISTS plist CASCADE; DROP SCHEMA public CASCADE; CREATE SCHEMA public");
	if (pl_migrate(session, source("sql"), arena, NULL, NULL, &err))
		fail_msg("%s", err.text);
	pl_arena_free(&arena);
	return 0;
}

static int teardown(void **state)
{
	pl_session_free(&session);
	return 0;
}

// Removes blanks and quotes, by which the lines of the file and of the database differ.
static void squeeze(char *text)
{
	char *to = text;

	for (const char *from = text; *from; from++)
		if (!isspace((unsigned char)*from) && *from != '"')
			*to++ = *from;
	*to = '\0';
}

static void everything_that_the_migrations_create_is_listed(void **state)
{
	struct pl_buf file = { 0 };
	struct pl_error err;
	char *lines = pl_inventory_lines(session, &err), *save = NULL;
	int missing = 0;

	assert_non_null(lines);
	assert_int_equal(pl_file_read(source("src/db/inventory.inc"), 1 << 20, &file, &err), 0);
	pl_buf_addc(&file, '\0');
	squeeze(file.data);
	for (char *line = strtok_r(lines, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
		char *copy = strdup(line);

		squeeze(copy);
		if (!strstr(file.data, copy)) {
			print_message("src/db/inventory.inc lacks: %s\n", line);
			missing++;
		}
		free(copy);
	}
	assert_int_equal(missing, 0);
	free(lines);
	pl_buf_fini(&file);
}

// In a transaction that is rolled back.
static void lacks_by(int (*check)(struct pl_session *, struct pl_buf *, int *, struct pl_error *),
                     const char *sql, const char *expected)
{
	struct pl_buf missing = { 0 };
	struct pl_error err;
	int n = 0;

	execute("BEGIN");
	execute(sql);
	if (check(session, &missing, &n, &err))
		fail_msg("%s", err.text);
	execute("ROLLBACK");
	assert_string_equal(missing.data ? missing.data : "", expected);
	assert_true((n > 0) == (expected[0] != '\0'));
	pl_buf_fini(&missing);
}

static void lacks(const char *sql, const char *expected)
{
	lacks_by(pl_inventory_check, sql, expected);
}

static void missing_rows_are_named(void **state)
{
	lacks_by(pl_inventory_check_rows, "SELECT", "");
	lacks_by(pl_inventory_check_rows, "DELETE FROM plist.identity", "the row of plist.identity");
	lacks_by(pl_inventory_check_rows, "DELETE FROM plist.outbox_sequence",
	         "the row of plist.outbox_sequence");
	lacks_by(pl_inventory_check_rows, "DELETE FROM plist.plist_leaders",
	         "the row 'relay' of plist.plist_leaders, the row 'housekeeping' of plist.plist_leaders");
	(void)state;
}

// A table that a migration fills with a row of its own is in that list.
static void no_row_that_a_migration_makes_goes_unnoticed(void **state)
{
	struct pl_error err;
	PGresult *tables =
		pl_session_exec(session,
	                        "SELECT relname FROM pg_class AS c WHERE relnamespace = "
	                        "'plist'::regnamespace AND relkind IN ('r', 'p') AND NOT "
	                        "relispartition AND relname <> 'migrations' AND (xpath('/row/n/text()', "
	                        "query_to_xml(format('SELECT count(*) AS n FROM plist.%I', relname), "
	                        "false, true, '')))[1]::text <> '0'",
	                        0, NULL, &err);

	assert_non_null(tables);
	assert_true(PQntuples(tables) >= 3);
	for (int i = 0; i < PQntuples(tables); i++) {
		struct pl_buf missing = { 0 };
		char sql[200];
		int n = 0;

		snprintf(sql, sizeof(sql), "DELETE FROM plist.%s", PQgetvalue(tables, i, 0));
		execute("BEGIN");
		execute(sql);
		assert_int_equal(pl_inventory_check_rows(session, &missing, &n, &err), 0);
		execute("ROLLBACK");
		if (n == 0)
			fail_msg("nothing is missing after %s", sql);
		pl_buf_fini(&missing);
	}
	PQclear(tables);
	(void)state;
}

static void missing_objects_are_named(void **state)
{
	lacks("SELECT", "");
	lacks("DROP TABLE plist.outbox_sequence", "table plist.outbox_sequence");
	lacks("ALTER TABLE plist.plist_leaders RENAME TO old", "table plist.plist_leaders");
	lacks("ALTER TABLE plist.conflicts DROP COLUMN topic", "column plist.conflicts.topic");
	lacks("ALTER TABLE plist.outbox ALTER request_id TYPE varchar(5)",
	      "type text of column plist.outbox.request_id");
	lacks("ALTER TABLE plist.outbox_marks ALTER made_at TYPE timestamp",
	      "type timestamptz of column plist.outbox_marks.made_at");
	lacks("DROP INDEX plist.outbox_refused", "index plist.outbox_refused");
	lacks("ALTER TABLE plist.id_ranges DROP CONSTRAINT id_ranges_pkey", "index plist.id_ranges_pkey");
	lacks("DROP FUNCTION plist_claim_ids", "function plist_claim_ids");
	lacks("DROP TABLE plist.repairs, plist.restorations; ALTER TABLE plist.outbox DROP COLUMN refusals",
	      "table plist.repairs, table plist.restorations, column plist.outbox.refusals");
}

static void no_missing_table_goes_unnoticed(void **state)
{
	struct pl_error err;
	PGresult *tables = pl_session_exec(session,
	                                   "SELECT relname FROM pg_class WHERE relnamespace = "
	                                   "'plist'::regnamespace AND relkind IN ('r', 'p') AND NOT "
	                                   "relispartition",
	                                   0, NULL, &err);

	assert_true(PQntuples(tables) > 10);
	for (int i = 0; i < PQntuples(tables); i++) {
		char sql[256], expected[256];

		snprintf(sql, sizeof(sql), "DROP TABLE plist.%s CASCADE", PQgetvalue(tables, i, 0));
		snprintf(expected, sizeof(expected), "table plist.%s", PQgetvalue(tables, i, 0));
		lacks(sql, expected);
	}
	PQclear(tables);
}

// Partitions come and go, and operators may add indexes.
static void additional_objects_do_not_matter(void **state)
{
	lacks("CREATE INDEX mine ON plist.outbox (created_at); CREATE TABLE plist.notes (n integer); CREATE "
	      "TABLE plist.conflicts_2020_01 PARTITION OF plist.conflicts FOR VALUES FROM ('2020-01-01') TO "
	      "('2020-02-01')",
	      "");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(everything_that_the_migrations_create_is_listed),
		cmocka_unit_test(missing_objects_are_named),
		cmocka_unit_test(missing_rows_are_named),
		cmocka_unit_test(no_row_that_a_migration_makes_goes_unnoticed),
		cmocka_unit_test(no_missing_table_goes_unnoticed),
		cmocka_unit_test(additional_objects_do_not_matter),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
