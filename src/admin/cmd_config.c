// plist-admin config check|show|schema: the one YAML, looked at.
#include "admin/commands.h"

#include <stdio.h>

#include "admin/table.h"
#include "admin/talk.h"
#include "base/buf.h"
#include "config/schema.h"
#include "config/show.h"
#include "replicate/gate.h"
#include "script/check.h"

enum { SEVERITY, MESSAGE };

static const struct pl_column problem_columns[] = {
	[SEVERITY] = { "severity", PL_CELL_TEXT },
	[MESSAGE] = { "message", PL_CELL_TEXT },
	{ NULL },
};

// For programs: every problem as a row. People get them as lines, in the way of compilers.
static void print_problems(struct pl_call *call, const struct pl_problems *problems)
{
	struct pl_table *table = pl_table_new("problems", problem_columns);
	for (int i = 0; i < problems->n; i++) {
		pl_table_row(table);
		pl_table_text(table, SEVERITY, problems->lines[i].warning ? "warning" : "error");
		pl_table_text(table, MESSAGE, problems->lines[i].text);
	}
	pl_table_print(call, table, NULL);
	pl_table_free(&table);
}

static int check(struct pl_call *call)
{
	struct pl_problems problems = { 0 };
	const char *file = call->nargs ? call->args[0] : pl_call_config_file(call);
	struct pl_config *config = pl_config_load(file, pl_call_own_region(call), &problems);
	// A policy is probed only when everything can be loaded: what the loading says comes first.
	if (config && pl_script_check(config, &problems) == 0)
		pl_gate_policies(config, &problems);
	int faults = problems.n - problems.warnings;
	if (call->json)
		print_problems(call, &problems);
	else
		pl_say_problems(&problems, false);
	if (faults)
		pl_fail("%s cannot be used: %d problem%s", file, faults, faults == 1 ? "" : "s");
	else
		pl_say("%s is good: %d regions, %d resources, %d routes", file, config->nregions, config->nresources, config->nroutes);
	pl_config_unref(&config);
	pl_problems_fini(&problems);
	return faults ? PL_EXIT_NO : PL_EXIT_YES;
}

static void print(struct pl_buf *text)
{
	fwrite(text->data, 1, text->len, stdout);
	if (text->len && text->data[text->len - 1] != '\n')
		putchar('\n');
	pl_buf_fini(text);
}

enum { KEY, DEFAULT, RELOAD, MEANING };

static const struct pl_column key_columns[] = {
	[KEY] = { "key", PL_CELL_TEXT },
	[DEFAULT] = { "default", PL_CELL_TEXT },
	[RELOAD] = { "reload", PL_CELL_BOOLEAN },
	[MEANING] = { "meaning", PL_CELL_TEXT, PL_COLUMN_CUT },
	{ NULL },
};

// Every key that there is, with what it is when nobody says anything.
static int show_defaults(struct pl_call *call)
{
	struct pl_table *table = pl_table_new("keys", key_columns);
	int n;
	const struct pl_key *keys = pl_schema_rows(&n);
	for (int i = 0; i < n; i++) {
		if (!pl_schema_is_leaf(&keys[i]))
			continue;
		pl_table_row(table);
		pl_table_text(table, KEY, keys[i].path);
		pl_table_text(table, DEFAULT, keys[i].def ? keys[i].def : keys[i].derived);
		pl_table_bool(table, RELOAD, !(keys[i].flags & PL_KEY_RESTART));
		pl_table_text(table, MEANING, keys[i].doc);
	}
	pl_table_print(call, table, NULL);
	pl_table_free(&table);
	return PL_EXIT_YES;
}

static int show(struct pl_call *call)
{
	struct pl_buf text = { 0 };
	if (pl_call_has(call, "defaults"))
		return show_defaults(call);
	int rc = pl_call_config(call);
	if (rc)
		return rc;
	pl_config_show(call->config, call->json ? PL_SHOW_JSON : PL_SHOW_YAML, &text);
	print(&text);
	return PL_EXIT_YES;
}

static int schema(struct pl_call *call)
{
	struct pl_buf text = { 0 };
	pl_schema_json(&text);
	print(&text);
	return PL_EXIT_YES;
}

const struct pl_command pl_cmd_config_check = {
	.noun = "config",
	.verb = "check",
	.arguments = "[FILE]",
	.max_args = 1,
	.summary = "whether the configuration and its Lua files can be used",
	.help = "Reads the configuration as plistd would, and loads every Lua file of it, and probes its policies. All problems are listed in one run, as "
	        "file:line:column: message. Exit 1 when there is any; warnings alone are no reason.",
	.prints_data = true,
	.regions = true,
	.run = check,
};

const struct pl_command pl_cmd_config_show = {
	.noun = "config",
	.verb = "show",
	.summary = "the values in force, defaults included",
	.help = "Prints every value that is in force, those that the file does not name included, in the file's own spelling; it can be loaded "
	        "again. Secrets are not shown.\n\n"
	        "With --defaults it lists instead every key that there is, with its default and whether a reload suffices when it is changed.",
	.options = (const struct pl_option[]){
		{ "defaults", 'd', PL_OPTION_SWITCH, NULL, "list every key with its default" },
		{ NULL },
	},
	.prints_data = true,
	.regions = true,
	.run = show,
};

const struct pl_command pl_cmd_config_schema = {
	.noun = "config",
	.verb = "schema",
	.summary = "a JSON Schema of the configuration, for editors",
	.help = "Prints a JSON Schema of the YAML, by which editors complete and check it.",
	.no_config = true,
	.run = schema,
};
