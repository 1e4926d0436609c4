// plist-admin config check|show|schema: checks and prints the configuration.
#include "admin/commands.h"

#include <errno.h>
#include <stdio.h>
#include <unistd.h>

#include "admin/messages.h"
#include "admin/schema_findings.h"
#include "admin/schema_indexes.h"
#include "admin/table.h"
#include "auth/credentials.h"
#include "auth/key_fetcher.h"
#include "base/buf.h"
#include "config/schema.h"
#include "config/show.h"
#include "kafka/topics.h"
#include "script/check.h"
#include "verify/admission.h"

enum { SEVERITY, MESSAGE };

// clang-format off
static const struct pl_table_column problem_columns[] = {
	[SEVERITY] = { "severity", PL_CELL_TEXT },
	[MESSAGE] = { "message", PL_CELL_TEXT },
	{ NULL },
};
// clang-format on

// In JSON, each problem is a row; otherwise it is a line in the format of compiler
// messages.
static void print_problems(struct pl_invocation *invocation, const struct pl_diagnostics *diagnostics)
{
	struct pl_table *table = pl_table_new("problems", problem_columns);
	for (int i = 0; i < diagnostics->n; i++) {
		pl_table_row(table);
		pl_table_text(table, SEVERITY, diagnostics->lines[i].warning ? "warning" : "error");
		pl_table_text(table, MESSAGE, diagnostics->lines[i].text);
	}
	pl_table_print(invocation, table, NULL);
	pl_table_free(&table);
}

// What the tables and the daemons say about the fields. Without a table that fits, a
// daemon cannot serve the resource; other differences are ordinary during a change.
static void check_schema(struct pl_invocation *invocation, const struct pl_config *config,
                         struct pl_diagnostics *diagnostics)
{
	struct pl_region_sessions sessions;
	struct pl_schema_findings findings = { .arena = invocation->arena, .config = config };
	pl_region_sessions_open(invocation, &sessions, pl_invocation_timeout_us(invocation));
	for (int i = 0; i < sessions.n; i++)
		pl_schema_findings_tables(&findings, &sessions.each[i]);
	pl_schema_findings_compare(&findings, &sessions);
	for (int i = 0; i < sessions.n; i++)
		pl_schema_indexes_look(&findings, &sessions.each[i]);
	for (int i = 0; i < sessions.n; i++)
		pl_schema_findings_daemons(&findings, &sessions.each[i]);
	for (int i = 0; i < sessions.n; i++)
		if (!sessions.each[i].up)
			pl_diagnostics_add(diagnostics, !sessions.each[i].region->database, config->file, 0,
			                   0, "regions.%s: its tables were not checked: %s",
			                   sessions.each[i].region->name, sessions.each[i].err.text);
	for (int i = 0; i < findings.n; i++) {
		const struct pl_schema_finding *finding = &findings.each[i];
		pl_diagnostics_add(diagnostics, !finding->unfit, config->file, 0, 0,
		                   "resources.%s: %s: %s %s%s%s", finding->resource, finding->region,
		                   finding->object, finding->text, finding->run ? "; run: " : "",
		                   finding->run ? finding->run : "");
	}
	pl_schema_findings_fini(&findings);
	pl_region_sessions_close(&sessions);
}

// Checks against the servers. An unreachable broker is reported as a problem, since the
// user asked for this check.
static void check_online(struct pl_invocation *invocation, const struct pl_config *config,
                         struct pl_diagnostics *diagnostics)
{
	struct pl_topic_findings findings = { 0 };
	struct pl_error err;
	if (config->nregions == 0)
		return;
	if (pl_topics_check(config, &config->regions[0], pl_invocation_timeout_us(invocation), &findings,
	                    &err) < 0)
		pl_diagnostics_add(diagnostics, false, config->file, 0, 0, "%s", err.text);
	for (int i = 0; i < findings.n; i++)
		if (findings.each[i].severity == PL_TOPIC_REFUSED)
			pl_diagnostics_add(diagnostics, false, config->file, 0, 0, "kafka: %s",
			                   findings.each[i].text);
		else
			pl_diagnostics_add(diagnostics, true, config->file, 0, 0, "kafka: %s",
			                   findings.each[i].text);
	pl_topics_findings_fini(&findings);
}

// The files with credentials. They may be readable only by the user of the daemon, which
// is as it should be.
static void check_credentials(const struct pl_config *config, struct pl_diagnostics *diagnostics)
{
	if (config->auth.api_keys && access(config->auth.api_keys, R_OK) != 0 && errno == EACCES) {
		pl_diagnostics_add(diagnostics, true, config->file, 0, 0,
		                   "auth.api_keys: %s: not checked, since this user may not read it",
		                   config->auth.api_keys);
		return;
	}
	struct pl_credentials *credentials = pl_credentials_load(config, diagnostics);
	pl_credentials_unref(&credentials);
}

// The keys that verify tokens, fetched as a daemon on this machine would.
static void check_jwks(struct pl_invocation *invocation, const struct pl_config *config,
                       struct pl_diagnostics *diagnostics)
{
	struct pl_error err;
	int used, passed_over;
	if (!config->auth.has_jwt || !config->auth.jwt.jwks_url)
		return;
	if (pl_key_fetcher_try(config, pl_invocation_timeout_us(invocation), &used, &passed_over, &err) != 0)
		pl_diagnostics_add(diagnostics, false, config->file, 0, 0,
		                   "auth.jwt.jwks_url: cannot fetch the keys that verify tokens from %s: %s",
		                   config->auth.jwt.jwks_url, err.text);
	else if (passed_over > 0)
		pl_diagnostics_add(
			diagnostics, true, config->file, 0, 0,
			"auth.jwt.jwks_url: %s: %d of %d keys are not used, since they are not for "
			"RS256, ES256 or EdDSA signatures",
			config->auth.jwt.jwks_url, passed_over, used + passed_over);
}

static int check(struct pl_invocation *invocation)
{
	struct pl_diagnostics diagnostics = { 0 };
	const char *file = invocation->nargs ? invocation->args[0] : pl_invocation_config_file(invocation);
	struct pl_config *config = pl_config_load(file, pl_invocation_own_region(invocation), &diagnostics);
	// The verifier runs only if every file loads; loading errors are reported
	// first.
	if (config && pl_script_check(config, &diagnostics) == 0)
		pl_verify_admission_check_all(config, &diagnostics);
	if (config)
		check_credentials(config, &diagnostics);
	if (config && pl_invocation_has(invocation, "online")) {
		check_jwks(invocation, config, &diagnostics);
		check_online(invocation, config, &diagnostics);
		invocation->config = pl_config_ref(config);
		int rc = pl_invocation_regions(invocation);
		if (rc)
			return rc;
		check_schema(invocation, config, &diagnostics);
	}
	int faults = diagnostics.n - diagnostics.warnings;
	if (invocation->json)
		print_problems(invocation, &diagnostics);
	else
		pl_say_diagnostics(&diagnostics, false);
	if (faults)
		pl_fail("%s is not valid: %d problem%s", file, faults, faults == 1 ? "" : "s");
	else
		pl_say("%s is valid: %d regions, %d resources, %d routes", file, config->nregions,
		       config->nresources, config->nroutes);
	pl_config_unref(&config);
	pl_diagnostics_fini(&diagnostics);
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

// clang-format off
static const struct pl_table_column key_columns[] = {
	[KEY] = { "key", PL_CELL_TEXT },
	[DEFAULT] = { "default", PL_CELL_TEXT },
	[RELOAD] = { "reload", PL_CELL_BOOLEAN },
	[MEANING] = { "meaning", PL_CELL_TEXT, PL_COLUMN_CUT },
	{ NULL },
};
// clang-format on

// All keys with their defaults.
static int show_defaults(struct pl_invocation *invocation)
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
	pl_table_print(invocation, table, NULL);
	pl_table_free(&table);
	return PL_EXIT_YES;
}

static int show(struct pl_invocation *invocation)
{
	struct pl_buf text = { 0 };
	if (pl_invocation_has(invocation, "defaults"))
		return show_defaults(invocation);
	int rc = pl_invocation_config(invocation);
	if (rc)
		return rc;
	pl_config_show(invocation->config, invocation->json ? PL_SHOW_JSON : PL_SHOW_YAML, &text);
	print(&text);
	return PL_EXIT_YES;
}

static int schema(struct pl_invocation *invocation)
{
	struct pl_buf text = { 0 };
	pl_jsonschema_print(&text);
	print(&text);
	return PL_EXIT_YES;
}

static const struct pl_option config_check_options[] = {
	{ "online", 0, PL_OPTION_SWITCH, NULL,
	  "also compare with the tables, the daemons and the topics, and fetch the keys of tokens" },
	{ NULL },
};

const struct pl_command pl_cmd_config_check = {
	.noun = "config",
	.verb = "check",
	.arguments = "[FILE]",
	.max_args = 1,
	.summary = "check the configuration and its Lua files",
	.help = "Reads the configuration as plistd does, loads all its Lua files, and runs the verifier on "
		"its policies. All problems are listed in one run, as file:line:column: message. The exit "
		"status is "
		"1 if there are any; warnings do not count.\n\nWith --online, it also asks the broker "
		"whether the settings of the topics are suitable, fetches the keys of auth.jwt.jwks_url as "
		"a daemon would, and includes what 'plist-admin schema "
		"diff' "
		"finds: tables without which the daemons cannot serve a resource are problems, all other "
		"differences are warnings.",
	.options = config_check_options,
	.prints_data = true,
	.regions = true,
	.waits = true,
	.run = check,
};

static const struct pl_option config_show_options[] = {
	{ "defaults", 'd', PL_OPTION_SWITCH, NULL, "list all keys with their defaults" },
	{ NULL },
};

const struct pl_command pl_cmd_config_show = {
	.noun = "config",
	.verb = "show",
	.summary = "print the effective values, including defaults",
	.help = "Prints all effective values as YAML that can be loaded again, including those that the file "
		"does not set. Secrets are not shown.\n\nWith --defaults, it lists all keys instead, with "
		"their "
		"defaults and whether a reload is enough to change them.",
	.options = config_show_options,
	.prints_data = true,
	.regions = true,
	.run = show,
};

const struct pl_command pl_cmd_config_schema = {
	.noun = "config",
	.verb = "schema",
	.summary = "print a JSON Schema of the configuration, for editors",
	.help = "Prints a JSON Schema of the YAML file, which editors use to complete and check it.",
	.no_config = true,
	.run = schema,
};
