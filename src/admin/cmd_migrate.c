// plist-admin migrate: creates the tables that plist and its resources need, in every
// region's database.
#include "admin/commands.h"

#include <string.h>

#include "admin/messages.h"
#include "admin/region_sessions.h"
#include "admin/table.h"
#include "db/migrate.h"
#include "db/query_role.h"

enum { REGION, NUMBER, NAME, STATE, APPLIED_AT, SHA256 };

// clang-format off
static const struct pl_table_column columns[] = {
	[REGION] = { "region", PL_CELL_TEXT },
	[NUMBER] = { "number", PL_CELL_NUMBER },
	[NAME] = { "name", PL_CELL_TEXT },
	[STATE] = { "state", PL_CELL_TEXT },
	[APPLIED_AT] = { "applied_at", PL_CELL_TEXT },
	[SHA256] = { "sha256", PL_CELL_TEXT, PL_COLUMN_DETAIL },
	{ NULL },
};
// clang-format on

static void add_row(struct pl_table *table, const char *region, const struct pl_migration *migration)
{
	static const char *const states[] = { "applied", "pending", "changed", "unknown" };
	static const enum pl_tone tones[] = { PL_TONE_GOOD, PL_TONE_DOUBT, PL_TONE_BAD, PL_TONE_BAD };
	pl_table_row(table);
	pl_table_text(table, REGION, region);
	pl_table_number(table, NUMBER, migration->number);
	pl_table_text(table, NAME, migration->name);
	pl_table_text(table, STATE, states[migration->state]);
	pl_table_tone(table, STATE, tones[migration->state]);
	pl_table_text(table, APPLIED_AT, migration->applied_at);
	if (migration->sha256[0])
		pl_table_text(table, SHA256, migration->sha256);
}

static void say_applied(void *arg, const struct pl_migration *migration)
{
	const struct pl_region_session *region_session = arg;
	pl_say("%s: applied %s", region_session->region->name, migration->name);
}

static int make_query_role(struct pl_invocation *invocation, struct pl_region_session *region_session)
{
	struct pl_query_role role = {
		.name = invocation->config->database.query_role,
		.dsn = region_session->region->database,
		.dsn_file = region_session->region->database_file,
	};
	struct pl_error err = { 0 };
	int code = pl_query_role_make(region_session->session, &role, &err);
	if (role.made)
		pl_say("%s: created the role %s", region_session->region->name, role.name);
	if (code)
		pl_fail("%s: %s", region_session->region->name, err.text);
	return code;
}

// Whether the migration that makes the function was applied. An older folder lacks it.
static bool has_function(struct pl_region_session *region_session, const char *signature)
{
	const char *params[] = { signature };
	PGresult *result = pl_region_sessions_query(
		region_session, "SELECT FROM to_regprocedure($1) AS f(oid) WHERE oid IS NOT NULL", 1, params);
	bool found = result && PQntuples(result) == 1;
	PQclear(result);
	return found;
}

// Tables of records that were made from an older text lack the column unknown_fields.
static int complete_tables(struct pl_invocation *invocation, struct pl_region_session *region_session)
{
	if (!has_function(region_session, "plist.plist_add_unknown_fields(text)"))
		return region_session->up ? PL_EXIT_YES : PL_EXIT_NO;
	for (int i = 0; i < invocation->config->nresources; i++) {
		const char *params[] = { invocation->config->resources[i].table };
		PGresult *result = pl_region_sessions_query(
			region_session, "SELECT plist.plist_add_unknown_fields($1)", 1, params);
		if (!result)
			return PL_EXIT_NO;
		if (PQgetvalue(result, 0, 0)[0] == 't')
			pl_say("%s: added the column unknown_fields to the table %s",
			       region_session->region->name, params[0]);
		PQclear(result);
	}
	return PL_EXIT_YES;
}

// Handles one region. PL_EXIT_YES, or PL_EXIT_NO if migrations are pending or blocked.
static int migrate_region(struct pl_invocation *invocation, struct pl_region_session *region_session,
                          struct pl_table *table)
{
	const char *folder = pl_invocation_text(invocation, "folder", pl_invocation_migrations(invocation));
	bool look = pl_invocation_has(invocation, "status") || pl_invocation_has(invocation, "dry-run");
	struct pl_migration *list = NULL;
	struct pl_error err = { 0 };
	int n = 0, answer = PL_EXIT_YES;
	int rc = look ? 0
	              : pl_migrate(region_session->session, folder, invocation->arena, say_applied,
	                           region_session, &err);
	if (!rc)
		rc = pl_migrate_list(region_session->session, folder, invocation->arena, &list, &n, &err);
	if (rc == PL_ECONFLICT || rc == PL_EINVAL || (rc && err.sqlstate[0])) {
		pl_fail("%s: %s", region_session->region->name, err.text);
		return rc == PL_EINVAL ? PL_EXIT_USAGE : PL_EXIT_NO;
	}
	if (rc) {
		pl_region_sessions_lost(region_session, &err);
		return PL_EXIT_UNREACHABLE;
	}
	if (!look)
		answer = complete_tables(invocation, region_session);
	if (!look && make_query_role(invocation, region_session) != 0)
		answer = PL_EXIT_NO;
	for (int i = 0; i < n; i++) {
		add_row(table, region_session->region->name, &list[i]);
		if (list[i].state != PL_MIGRATION_APPLIED)
			answer = PL_EXIT_NO;
	}
	return answer;
}

// Whether no region has claimed its database yet.
static bool all_new(struct pl_region_sessions *sessions)
{
	for (int i = 0; i < sessions->n; i++) {
		PGresult *result = pl_region_sessions_query(
			&sessions->each[i], "SELECT FROM plist.identity WHERE generation = 0", 0, NULL);
		bool is_new = result && PQntuples(result) == 1;
		PQclear(result);
		if (!is_new)
			return false;
	}
	return true;
}

// Where all regions are new, none can know more than its database: each claims it, so
// that a daemon need not wait for what the others say of it. Otherwise the daemon finds
// out.
static int claim(struct pl_invocation *invocation, struct pl_region_sessions *sessions)
{
	if (sessions->n < invocation->config->nregions || !all_new(sessions))
		return 0;
	for (int i = 0; i < sessions->n; i++) {
		const char *params[] = { sessions->each[i].region->name };
		PGresult *result = pl_region_sessions_query(
			&sessions->each[i],
			"SELECT state, detail FROM plist.plist_settle($1, '{}', 0, 0, 0, NULL, true, false)",
			1, params);
		bool settled = result && strcmp(PQgetvalue(result, 0, 0), "settled") == 0;
		if (result && !settled)
			pl_fail("%s: %s", params[0], PQgetvalue(result, 0, 1));
		PQclear(result);
		if (!settled)
			return PL_EXIT_NO;
	}
	return 0;
}

static int migrate(struct pl_invocation *invocation)
{
	struct pl_region_sessions sessions;
	int rc = pl_invocation_regions(invocation), answer = PL_EXIT_YES;
	if (rc)
		return rc;
	struct pl_table *table = pl_table_new("migrations", columns);
	pl_region_sessions_open(invocation, &sessions, 0);
	for (int i = 0; i < sessions.n; i++) {
		int one = sessions.each[i].up ? migrate_region(invocation, &sessions.each[i], table)
		                              : PL_EXIT_YES;
		if (one == PL_EXIT_NO || one == PL_EXIT_USAGE)
			answer = one;
	}
	if (answer == PL_EXIT_YES && !pl_invocation_has(invocation, "status") &&
	    !pl_invocation_has(invocation, "dry-run"))
		answer = claim(invocation, &sessions);
	rc = pl_region_sessions_exit(&sessions, answer);
	pl_table_print(invocation, table, NULL);
	pl_table_free(&table);
	pl_region_sessions_close(&sessions);
	return rc;
}

static const struct pl_option migrate_options[] = {
	{ "dry-run", 0, PL_OPTION_SWITCH, NULL, "list what would be applied, without changing anything" },
	{ "status", 0, PL_OPTION_SWITCH, NULL, "list which migrations are applied" },
	{ "folder", 0, PL_OPTION_FILE, "DIR",
	  "directory of the migrations (default: sql next to the Lua root)" },
	{ NULL },
};

const struct pl_command pl_cmd_migrate = {
	.noun = "migrate",
	.summary = "create or update the tables in the database of every region",
	.help = "Applies the numbered files of the directory that a database does not have yet, in order, "
		"one transaction each. A file that was changed after it was applied is an error. A database "
		"that was "
		"created from the same files by other means (as in the containers) is recognised.\n\nIt then "
		"creates "
		"the role database.query_role, which runs the SQL of handlers, if it is missing, with the "
		"password "
		"of the region's own role; grants it read access to the tables of that role; and tests it. "
		"If the "
		"region's role may not create roles, an administrator must; the command prints how.\n\nExit "
		"status "
		"0: everything is applied; 1: something is pending (with --status or --dry-run) or failed.",
	.options = migrate_options,
	.prints_data = true,
	.regions = true,
	.waits = true,
	.run = migrate,
};
