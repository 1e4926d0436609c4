// Names that collide with those of plist, PostgreSQL, Kafka or HTTP, and files on which
// the program would block.
#include "fixture.h"

#include <glob.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

// Replaces the line that begins with `old` by `template`, with `name` for its %s.
// malloc'ed.
static char *with(const char *old, const char *template, const char *name)
{
	const char *gap = strstr(template, "%s");
	char line[2048];

	snprintf(line, sizeof(line), "%.*s%s%s", (int)(gap - template), template, name, gap + 2);
	return fixture_with(old, line);
}

static void refuse(const char *old, const char *why, const char *template, const char *name)
{
	char *text = with(old, template, name);

	fixture_refused(text, why, 5);
	free(text);
}

static void accept(const char *old, const char *template, const char *name)
{
	char *text = with(old, template, name);
	struct pl_config *config = fixture_load(text, NULL);

	for (int i = 0; config == NULL && i < fixture_problems.n; i++)
		print_message("# said: %s\n", fixture_problems.lines[i].text);
	assert_non_null(config);
	pl_config_unref(&config);
	free(text);
}

#define TABLE "    topic: t\n    table: %s"

// Every CREATE TABLE, INDEX and SEQUENCE of sql/ except those of the reference
// application.
static int refuse_what_a_migration_makes(const char *file)
{
	static const char *const kinds[] = { "CREATE TABLE ", "CREATE INDEX ", "CREATE UNIQUE INDEX ",
		                             "CREATE SEQUENCE ", "CREATE UNLOGGED TABLE " };
	char *text = fixture_read(file), name[64], *save = NULL;
	int n = 0;

	for (char *line = strtok_r(text, "\n", &save); line != NULL; line = strtok_r(NULL, "\n", &save))
		for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
			static const char unless[] = "IF NOT EXISTS ";
			const char *at = line + strlen(kinds[i]), *dot;

			if (strncmp(line, kinds[i], strlen(kinds[i])) != 0)
				continue;
			if (strncmp(at, unless, strlen(unless)) == 0)
				at += strlen(unless);
			dot = strncmp(at, "plist.", 6) == 0 ? at + 6 : at;
			snprintf(name, sizeof(name), "%.*s",
			         (int)strspn(dot, "abcdefghijklmnopqrstuvwxyz0123456789_"), dot);
			refuse("    topic:", "is reserved by plist", TABLE, name);
			n++;
		}
	free(text);
	return n;
}

static void no_table_has_a_name_that_a_migration_uses(void **state)
{
	glob_t files;
	int n = 0;

	assert_int_equal(glob(fixture_source("sql/[0-9]*.sql"), 0, NULL, &files), 0);
	for (size_t i = 0; i < files.gl_pathc; i++)
		if (!strstr(files.gl_pathv[i], "002_properties"))
			n += refuse_what_a_migration_makes(files.gl_pathv[i]);
	assert_true(n >= 14);
	globfree(&files);
	refuse("    topic:", "is reserved by plist", TABLE, "migrations"); // it was named by RENAME
	refuse("    topic:", "is reserved by plist", TABLE, "plist_anything");
	refuse("    topic:", "reserved by PostgreSQL", TABLE, "pg_toast");
	refuse("    topic:", "reserved word", TABLE, "user");
	accept("    topic:", TABLE, "rooms");
}

static void names_that_postgresql_would_truncate_are_refused(void **state)
{
	static const char sixty[] = "ab3456789_b23456789_c23456789_d23456789_e23456789_f23456789_";

	refuse("    topic:", "at most 59", TABLE, sixty);
	refuse("routes:", "is longer than 59 bytes",
	       "  %s: { topic: t, fields: { a: { type: integer } } }\nroutes:", sixty);
	accept("routes:", "  %s: { topic: t, fields: { a: { type: integer } } }\nroutes:", sixty + 1);
}

static void no_table_has_the_name_of_anothers_sequence(void **state)
{
	refuse("routes:", "properties_ids is the sequence of properties",
	       "  others: { topic: t, table: %s, fields: { a: { type: integer } } }\nroutes:",
	       "properties_ids");
	refuse("  properties:", "its sequence properties_ids is the table of others",
	       "  others: { topic: t, table: %s, fields: { a: { type: integer } } }\n  properties:",
	       "properties_ids");
}

static void no_field_has_the_name_of_one_of_plists_columns_or_parameters(void **state)
{
	static const char *const names[] = { "id",         "region_origin",  "version",      "updated_at",
		                             "vector",     "deleted_at",     "has_siblings", "field_times",
		                             "request_id", "unknown_fields", "ctid",         "xmin",
		                             "xmax",       "cmin",           "cmax",         "tableoid",
		                             "after",      "limit",          "etag",         "siblings" };

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		refuse("      bedrooms", "the name is reserved", "      %s: { type: integer }", names[i]);
	refuse("      bedrooms", "lists use this parameter to filter by field price",
	       "      %s: { type: integer }", "min_price");
	refuse("      bedrooms", "lists use this parameter to filter by field price",
	       "      %s: { type: integer }", "max_price");
	accept("      bedrooms", "      %s: { type: integer }", "min_rooms");
	accept("      bedrooms", "      %s: { type: integer }", "oid");
}

static void topics_are_not_kafkas_and_not_shared(void **state)
{
	static const char other[] =
		"  others: { topic: %s, table: o, fields: { a: { type: integer } } }\nroutes:";

	refuse("    topic:", "reserved by Kafka", "    topic: %s", "__consumer_offsets");
	refuse("    topic:", "reserved by Kafka", "    topic: %s", "__transaction_state");
	refuse("kafka:", "reserved by Kafka", "kafka: { brokers: \"h:1\", heartbeat_topic: %s }",
	       "__heartbeats");
	refuse("routes:", "is also the topic of properties", other, "property-updates");
	refuse("routes:", "is also the topic of the heartbeats", other, "plist-heartbeats");
	refuse("kafka:", "is also the topic of the heartbeats",
	       "kafka: { brokers: \"h:1\", heartbeat_topic: "
	       "%s }",
	       "property-updates");
	refuse("    topic:", "Kafka cannot distinguish", "    topic: a.b\n%s",
	       "    fields:\n      x: { type: integer }\n  others:\n    table: o\n    topic: a_b");
	accept("routes:", other, "property_updates");
}

static void no_header_with_another_meaning_carries_an_id_or_principal(void **state)
{
	static const char *const names[] = {
		"Content-Length",    "Host",       "Cookie",        "cookie",
		"Transfer-Encoding", "If-Match",   "Authorization", "X-Plist-Region",
		"X-Forwarded-For",   "Connection", "Traceparent"
	};
	static const char route[] =
		"  - { method: PUT, path: \"/:region/properties/:id\", handler: handlers/property_put.lua, "
		"idempotency: { header: %s } }";

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		refuse("  - { method: PUT", "already has a meaning of its own", route, names[i]);
		refuse("kafka:", "already has a meaning of its own",
		       "kafka: { brokers: \"h:1\" }\nhttp: { trusted_proxies: unix, principal_header: %s }",
		       names[i]);
	}
	refuse("kafka:", "X-Request-ID already has a meaning of its own",
	       "kafka: { brokers: \"h:1\" }\nhttp: { trusted_proxies: unix, principal_header: %s }",
	       "X-Request-ID");
	refuse("  - { method: PUT", "already has a meaning of its own", route, "DNT");
	refuse("  - { method: PUT", "already has a meaning of its own", route, "X-Real-IP");
	accept("kafka:", "kafka: { brokers: \"h:1\" }\nhttp: { trusted_proxies: unix, principal_header: %s }",
	       "X-Real-IP");
	accept("  - { method: PUT", route, "Idempotency-Key");
	accept("kafka:", "kafka: { brokers: \"h:1\" }\nhttp: { trusted_proxies: unix, principal_header: %s }",
	       "X-Remote-User");
}

// With a time limit: a program that blocks on a FIFO would stay here until it is
// killed.
static void a_fifo_is_refused_wherever_a_file_is_named(void **state)
{
	char fifo[512];
	char line[1024];

	alarm(20);
	snprintf(fifo, sizeof(fifo), "%s", fixture_path("fifo")); // its own buffer is reused soon
	assert_int_equal(mkfifo(fifo, 0600), 0);
	snprintf(line, sizeof(line), "  us: { listen: \"0.0.0.0:8001\", database_file: \"%s\" }", fifo);
	char *text = fixture_with("  us:", line);
	fixture_refused(text, "not a regular file", 1); // and no database
	free(text);
	snprintf(line, sizeof(line),
	         "kafka: { brokers: \"h:1\", properties: { sasl.password_file: \"%s\" } }", fifo);
	refuse("kafka:", "not a regular file", "%s", line);
	snprintf(line, sizeof(line), "kafka: { brokers: \"h:1\", properties: { ssl.ca.location: \"%s\" } }",
	         fifo);
	refuse("kafka:", "not a regular file", "%s", line);
	assert_int_equal(mkfifo(fixture_path("lua/policies/fifo.lua"), 0600), 0);
	refuse("    topic:", "is not a regular file", "    topic: %s", "t");
	unlink(fixture_path("lua/policies/fifo.lua"));
	struct pl_diagnostics diagnostics = { 0 };
	assert_null(pl_config_load(fifo, NULL, &diagnostics));
	assert_non_null(strstr(diagnostics.lines[0].text, "a FIFO, not a regular file"));
	pl_diagnostics_fini(&diagnostics);
	assert_null(pl_config_load("/dev/zero", NULL, &diagnostics));
	assert_non_null(strstr(diagnostics.lines[0].text, "a device, not a regular file"));
	pl_diagnostics_fini(&diagnostics);
	alarm(0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(no_table_has_a_name_that_a_migration_uses),
		cmocka_unit_test(names_that_postgresql_would_truncate_are_refused),
		cmocka_unit_test(no_table_has_the_name_of_anothers_sequence),
		cmocka_unit_test(no_field_has_the_name_of_one_of_plists_columns_or_parameters),
		cmocka_unit_test(topics_are_not_kafkas_and_not_shared),
		cmocka_unit_test(no_header_with_another_meaning_carries_an_id_or_principal),
		cmocka_unit_test(a_fifo_is_refused_wherever_a_file_is_named),
	};

	return cmocka_run_group_tests(tests, fixture_setup, fixture_teardown);
}
