// plist-admin migrate: the tables that plist and its resources need, in every region's database.
#include "admin/commands.h"

#include "admin/reach.h"
#include "admin/table.h"
#include "admin/talk.h"
#include "db/migrate.h"

enum { REGION, NUMBER, NAME, STATE, APPLIED_AT, SHA256 };

static const struct pl_column columns[] = {
	[REGION] = { "region", PL_CELL_TEXT },
	[NUMBER] = { "number", PL_CELL_NUMBER },
	[NAME] = { "name", PL_CELL_TEXT },
	[STATE] = { "state", PL_CELL_TEXT },
	[APPLIED_AT] = { "applied_at", PL_CELL_TEXT },
	[SHA256] = { "sha256", PL_CELL_TEXT, PL_COLUMN_DETAIL },
	{ NULL },
};

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
	const struct pl_reach *reach = arg;
	pl_say("%s: applied %s", reach->region->name, migration->name);
}

// One region; PL_EXIT_YES, or PL_EXIT_NO when something is left to do or stands in the way.
static int migrate_region(struct pl_call *call, struct pl_reach *reach, struct pl_table *table)
{
	const char *folder = pl_call_text(call, "folder", pl_call_migrations(call));
	bool look = pl_call_has(call, "status") || pl_call_has(call, "dry-run");
	struct pl_migration *list = NULL;
	struct pl_error err = { 0 };
	int n = 0, answer = PL_EXIT_YES;
	int rc = look ? 0 : pl_migrate(reach->session, folder, call->arena, say_applied, reach, &err);
	if (!rc)
		rc = pl_migrate_list(reach->session, folder, call->arena, &list, &n, &err);
	if (rc == PL_ECONFLICT || rc == PL_EINVAL || (rc && err.sqlstate[0])) {
		pl_fail("%s: %s", reach->region->name, err.text);
		return rc == PL_EINVAL ? PL_EXIT_USAGE : PL_EXIT_NO;
	}
	if (rc) {
		pl_reach_lost(reach, &err);
		return PL_EXIT_UNREACHABLE;
	}
	for (int i = 0; i < n; i++) {
		add_row(table, reach->region->name, &list[i]);
		if (list[i].state != PL_MIGRATION_APPLIED)
			answer = PL_EXIT_NO;
	}
	return answer;
}

static int migrate(struct pl_call *call)
{
	struct pl_reaches reaches;
	int rc = pl_call_regions(call), answer = PL_EXIT_YES;
	if (rc)
		return rc;
	struct pl_table *table = pl_table_new("migrations", columns);
	pl_reaches_open(call, &reaches, 0);
	for (int i = 0; i < reaches.n; i++) {
		int one = reaches.each[i].up ? migrate_region(call, &reaches.each[i], table) : PL_EXIT_YES;
		if (one == PL_EXIT_NO || one == PL_EXIT_USAGE)
			answer = one;
	}
	rc = pl_reaches_exit(&reaches, answer);
	pl_table_print(call, table, NULL);
	pl_table_free(&table);
	pl_reaches_close(&reaches);
	return rc;
}

const struct pl_command pl_cmd_migrate = {
	.noun = "migrate",
	.summary = "make or bring up to date the tables in every region's database",
	.help = "Applies the numbered files of the migrations' folder that a database does not have yet, in order, each in a transaction of its own. What is "
	        "there is left as it is; a file that was changed after it had been applied is an error. A database that was made by the files themselves "
	        "(as the containers do) is recognised.\n\n"
	        "Exit status 0: everything is applied; 1: something is pending (with --status or --dry-run), or stands in the way.",
	.options = (const struct pl_option[]){
		{ "dry-run", 0, PL_OPTION_SWITCH, NULL, "say what would be applied, and do nothing" },
		{ "status", 0, PL_OPTION_SWITCH, NULL, "say what is applied and what is not" },
		{ "folder", 0, PL_OPTION_FILE, "DIR", "the folder of the files (default: sql beside the folder of Lua)" },
		{ NULL },
	},
	.prints_data = true,
	.regions = true,
	.waits = true,
	.run = migrate,
};
