// plist-admin config check|show|schema: the one YAML, looked at.
#include "admin/commands.h"

#include <stdio.h>

#include "admin/table.h"
#include "admin/talk.h"
#include "base/buf.h"
#include "config/schema.h"
#include "config/show.h"
#include "script/check.h"

enum { SEVERITY, MESSAGE };

static const struct pl_column columns[] = {
	[SEVERITY] = { "severity", PL_CELL_TEXT },
	[MESSAGE] = { "message", PL_CELL_TEXT },
	{ NULL },
};

// For programs: every problem as a row. People get them as lines, in the way of compilers.
static void print_problems(struct pl_call *call, const struct pl_problems *problems)
{
	struct pl_table *table = pl_table_new("problems", columns);
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
	if (config)
		pl_check_scripts(config, &problems);
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

static int show(struct pl_call *call)
{
	struct pl_buf text = { 0 };
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
	.help = "Reads the configuration as plistd would, and loads every Lua file of it. All problems are listed in one run, as "
	        "file:line:column: message. Exit 1 when there is any; warnings alone are no reason.",
	.prints_data = true,
	.run = check,
};

const struct pl_command pl_cmd_config_show = {
	.noun = "config",
	.verb = "show",
	.summary = "the values in force, defaults included",
	.help = "Prints every value that is in force, those that the file does not name included, in the file's own spelling; it can be loaded "
	        "again. Secrets are not shown.",
	.prints_data = true,
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
