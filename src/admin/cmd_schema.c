// plist-admin schema diff|sql: whether configuration, tables and daemons agree about the
// fields of the records, and the SQL that makes the tables as they should be.
#include "admin/commands.h"

#include <stdio.h>
#include <string.h>

#include "admin/messages.h"
#include "admin/schema_findings.h"
#include "admin/schema_indexes.h"
#include "admin/table.h"
#include "kafka/topics.h"
#include "store/quote.h"
#include "store/statement.h"

enum { REGION, RESOURCE, OBJECT, FINDING, RUN };

// clang-format off
static const struct pl_table_column columns[] = {
	[REGION] = { "region", PL_CELL_TEXT },
	[RESOURCE] = { "resource", PL_CELL_TEXT },
	[OBJECT] = { "object", PL_CELL_TEXT },
	[FINDING] = { "finding", PL_CELL_TEXT },
	[RUN] = { "run", PL_CELL_TEXT },
	{ NULL },
};
// clang-format on

static void look_at_topics(struct pl_invocation *invocation, struct pl_schema_findings *findings)
{
	struct pl_topic_findings topics = { 0 };
	struct pl_error err = { 0 };
	if (pl_topics_check(invocation->config, invocation->regions[0], pl_invocation_timeout_us(invocation),
	                    &topics, &err) < 0)
		pl_warn("kafka: %s", err.text);
	for (int i = 0; i < topics.n; i++)
		if (topics.each[i].severity != PL_TOPIC_NOTICE)
			pl_schema_findings_add(
				findings,
				&(struct pl_schema_finding){
					.object = "topic",
					.text = pl_arena_strdup(invocation->arena, topics.each[i].text) });
	pl_topics_findings_fini(&topics);
}

static void print_findings(struct pl_invocation *invocation, const struct pl_schema_findings *findings)
{
	struct pl_table *table = pl_table_new("findings", columns);
	for (int i = 0; i < findings->n; i++) {
		const struct pl_schema_finding *finding = &findings->each[i];
		pl_table_row(table);
		pl_table_text(table, REGION, finding->region);
		pl_table_text(table, RESOURCE, finding->resource);
		pl_table_text(table, OBJECT, finding->object);
		pl_table_text(table, FINDING, finding->text);
		pl_table_text(table, RUN, finding->run);
	}
	pl_table_print_cards(invocation, table, "configuration, tables, daemons and topics agree");
	pl_table_free(&table);
}

static bool differs(const struct pl_schema_findings *findings)
{
	for (int i = 0; i < findings->n; i++)
		if (!findings->each[i].elsewhere)
			return true;
	return false;
}

static int diff(struct pl_invocation *invocation)
{
	struct pl_region_sessions sessions;
	int rc = pl_invocation_regions(invocation);
	if (rc)
		return rc;
	struct pl_schema_findings findings = { .arena = invocation->arena, .config = invocation->config };
	pl_region_sessions_open(invocation, &sessions, pl_invocation_timeout_us(invocation));
	for (int i = 0; i < sessions.n; i++) {
		pl_schema_findings_tables(&findings, &sessions.each[i]);
		pl_schema_indexes_look(&findings, &sessions.each[i]);
	}
	pl_schema_findings_compare(&findings, &sessions);
	for (int i = 0; i < sessions.n; i++)
		pl_schema_findings_daemons(&findings, &sessions.each[i]);
	look_at_topics(invocation, &findings);
	rc = pl_region_sessions_exit(&sessions, differs(&findings) ? PL_EXIT_NO : PL_EXIT_YES);
	print_findings(invocation, &findings);
	pl_schema_findings_fini(&findings);
	pl_region_sessions_close(&sessions);
	return rc;
}

// ---- sql

static void print_table(const struct pl_resource *resource)
{
	char type[PL_SQL_TYPE_MAX];
	struct pl_buf sql = { 0 };
	pl_buf_adds(&sql, "CREATE TABLE ");
	pl_statement_table(&sql, resource);
	pl_buf_adds(&sql, " (\n    id             BIGINT      PRIMARY KEY,\n");
	for (int i = 0; i < resource->nall; i++) {
		pl_buf_adds(&sql, "    ");
		pl_quote_name(&sql, resource->fields[i].name);
		pl_buf_printf(&sql, " %s%s,\n", pl_schema_findings_sql_type(&resource->fields[i], type),
		              resource->fields[i].required ? " NOT NULL" : "");
	}
	pl_buf_printf(&sql,
	              "    region_origin  TEXT        NOT NULL,\n"
	              "    version        INTEGER     NOT NULL DEFAULT 1,\n"
	              "    updated_at     TIMESTAMPTZ NOT NULL DEFAULT now(),\n"
	              "    vector         JSONB       NOT NULL,\n"
	              "    deleted_at     TIMESTAMPTZ,\n"
	              "    has_siblings   BOOLEAN     NOT NULL DEFAULT false,\n"
	              "    field_times    JSONB,\n"
	              "    request_id     TEXT,\n"
	              "    unknown_fields JSONB\n"
	              ") WITH (fillfactor = 80);\n"
	              "CREATE SEQUENCE %s_ids MINVALUE 1;\n"
	              "CREATE INDEX %s_unknown_fields ON %s (id) WHERE unknown_fields IS NOT NULL;\n",
	              resource->table, resource->table, resource->table);
	pl_schema_indexes_sql(&sql, resource);
	fputs(sql.data, stdout);
	pl_buf_fini(&sql);
}

static bool is_sql(const char *run)
{
	return run && run[strlen(run) - 1] == ';';
}

// The statements of a region; those that take something away are comments, for people to
// decide.
static void print_statements(const struct pl_schema_findings *findings, const struct pl_resource *resource,
                             const char *region)
{
	bool any = false;
	printf("-- %s\n", region);
	for (int i = 0; i < findings->n; i++) {
		const struct pl_schema_finding *finding = &findings->each[i];
		if (finding->resource != resource->name || strcmp(finding->region, region) != 0)
			continue;
		if (strncmp(finding->object, "table ", 6) == 0)
			print_table(resource);
		else if (is_sql(finding->run))
			printf("%s%s\n", finding->decide ? "-- " : "", finding->run);
		else
			printf("-- %s: %s\n", finding->object, finding->text);
		any = true;
	}
	if (!any)
		printf("-- nothing is missing\n");
}

static int sql(struct pl_invocation *invocation)
{
	struct pl_region_sessions sessions;
	int rc = pl_invocation_regions(invocation);
	if (rc)
		return rc;
	const struct pl_resource *resource = pl_config_resource(invocation->config, invocation->args[0]);
	if (!resource) {
		pl_fail("the configuration has no resource %s", invocation->args[0]);
		return PL_EXIT_USAGE;
	}
	if (pl_invocation_has(invocation, "table")) {
		print_table(resource);
		return PL_EXIT_YES;
	}
	struct pl_schema_findings findings = { .arena = invocation->arena, .config = invocation->config };
	pl_region_sessions_open(invocation, &sessions, pl_invocation_timeout_us(invocation));
	for (int i = 0; i < sessions.n; i++) {
		pl_schema_findings_tables(&findings, &sessions.each[i]);
		pl_schema_indexes_look(&findings, &sessions.each[i]);
		if (sessions.each[i].up)
			print_statements(&findings, resource, sessions.each[i].region->name);
	}
	rc = pl_region_sessions_exit(&sessions, PL_EXIT_YES);
	pl_schema_findings_fini(&findings);
	pl_region_sessions_close(&sessions);
	return rc;
}

const struct pl_command pl_cmd_schema_diff = {
	.noun = "schema",
	.verb = "diff",
	.summary = "compare the configuration with all tables and daemons",
	.help = "Lists where they differ, and what to run. For each table: columns that are missing or have "
		"another type, indexes for unique fields and references that are missing, NOT NULL and "
		"DEFAULT that the configuration does not know of, constraints, unique indexes, triggers, "
		"rules and policies, which can refuse or change rows of other regions, names in tolerate "
		"that the table does not have, columns of fields that are gone, and values that are not in "
		"their columns. For each daemon: fields that it does not know, or knows differently. For "
		"the topics: unsuitable settings. Constraints and triggers that tolerate lists and "
		"that only some regions have are named, but do not count as "
		"differences.\n\nExit status 0: nothing differs; 1: something "
		"does; 3: no database was reached; 4: some were not.",
	.prints_data = true,
	.regions = true,
	.waits = true,
	.run = diff,
};

static const struct pl_option sql_options[] = {
	{ "table", 0, PL_OPTION_SWITCH, NULL, "print the whole table, without looking at a database" },
	{ NULL },
};

const struct pl_command pl_cmd_schema_sql = {
	.noun = "schema",
	.verb = "sql",
	.arguments = "RESOURCE",
	.min_args = 1,
	.max_args = 1,
	.summary = "print the SQL that a resource's tables lack",
	.help = "Prints, for each region, the table of the resource if the region does not have it, or the "
		"statements that its table lacks. Statements that take something away are printed as "
		"comments.",
	.options = sql_options,
	.regions = true,
	.waits = true,
	.run = sql,
};
