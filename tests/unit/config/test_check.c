// What no single value can be wrong in: each rule broken once, and the neighbours that are allowed.
#include "fixture.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct line { const char *old, *with, *problem; };

static void refuse_each(const struct line *lines, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		char *text = fixture_with(lines[i].old, lines[i].with);
		fixture_refused(text, lines[i].problem, 0);
		free(text);
	}
}

static void accept(char *text, int warnings)
{
	struct pl_config *config = fixture_load(text, NULL);

	for (int i = 0; (config == NULL || fixture_problems.warnings != warnings) && i < fixture_problems.n; i++)
		print_message("# said: %s\n", fixture_problems.lines[i].text);
	assert_non_null(config);
	assert_int_equal(fixture_problems.warnings, warnings);
	pl_config_unref(&config);
	free(text);
}

#define REFUSE_EACH(lines) refuse_each(lines, sizeof(lines) / sizeof(lines[0]))
#define EU "  eu: { listen: \"0.0.0.0:8002\", database: \"postgresql://eu\""

static void regions_must_not_share(void **state)
{
	static const struct line lines[] = {
		{ "  eu:", "  eu: { listen: \"0.0.0.0:8001\", database: \"postgresql://eu\" }",
		  "4:17: regions.eu.listen: region us is at 127.0.0.1:8001, too" },
		{ "  eu:", EU ", upstream: \"127.0.0.1:8001\" }", "4:72: regions.eu.upstream: region us is at 127.0.0.1:8001, too" },
		{ "  eu:", "  eu: { listen: \"0.0.0.0:8001\", database: \"host=h\", upstream: \"127.0.0.1:9\" }",
		  "4:17: regions.eu.listen: region us listens at 0.0.0.0:8001, too" },
		{ "  eu:", "  eu: { listen: \"127.0.0.1:8001\", database: \"host=h\", upstream: \"127.0.0.1:9\" }",
		  "4:17: regions.eu.listen: region us listens at 0.0.0.0:8001, too" },
		{ "  eu:", EU ", id_base: 1000000000000 }", "4:71: regions.eu.id_base: region us has the same, so both would give out the same ids" },
		{ "  eu:", "  eu: { listen: \"0.0.0.0:8002\", database: \"postgresql://us\" }", "4:43: regions.eu.database: is the database of region us" },
		{ "  eu:", EU ", control: /run/plist/us.sock }", "4:71: regions.eu.control: is the socket of region us" },
		{ "  eu:", EU ", socket: /run/plist/us.sock }", "4:70: regions.eu.socket: is the socket of region us" },
		{ "  eu:", EU ", socket: /run/plist/eu.sock }", "4:70: regions.eu.socket: is the one that plist-admin talks to (control)" },
	};
	REFUSE_EACH(lines);
}

static void regions_on_different_machines_may_listen_alike(void **state)
{
	char *text = fixture_with("  eu:", "  eu: { listen: \"0.0.0.0:8001\", database: \"host=h\", upstream: \"backend-eu:8000\" }");

	accept(text, 0);
}

static void id_bases_close_together_are_worth_a_word(void **state)
{
	accept(fixture_with("  eu:", EU ", id_base: 1000000000500 }"), 1);
	assert_true(fixture_said("4:71: warning: regions.eu.id_base: only 500 above or below that of region us"));
}

static void a_region_must_be_possible(void **state)
{
	static const struct line lines[] = {
		{ "  eu:", "  health: { listen: \"0.0.0.0:8002\", database: \"host=h\" }", "4:3: regions.health: the path /health is taken" },
		{ "  eu:", "  eu: { listen: \"0.0.0.0:0\", database: \"host=h\" }",
		  "4:17: regions.eu.listen: must end in a port from 1 to 65535, not \"0.0.0.0:0\"" },
		{ "  eu:", "  eu: { listen: \"0.0.0.0:65536\", database: \"host=h\" }", "4:17: regions.eu.listen: must end in a port" },
		{ "  eu:", EU ", upstream: [\"a:1\", \"b:70000\"] }", "4:72: regions.eu.upstream: must end in a port" },
		{ "  eu:", "  eu: { listen: \"0.0.0.0:8002\", database: \"nonsense\" }",
		  "4:43: regions.eu.database: is no connection string of libpq (its value is not shown)" },
		{ "  eu:", EU ", control: /aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa }",
		  "4:71: regions.eu.control: the path of a socket has at most 107 bytes" },
		{ "  eu:", EU ", socket: /aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa }",
		  "4:70: regions.eu.socket: the path of a socket has at most 107 bytes" },
	};
	REFUSE_EACH(lines);
}

static void nginx_is_beside_regions_that_have_a_socket(void **state)
{
	static const struct line lines[] = {
		{ "kafka:", "kafka: { brokers: \"h:1\" }\nnginx: { beside: ap }", "nginx.beside: there is no region \"ap\"" },
		{ "kafka:", "kafka: { brokers: \"h:1\" }\nnginx: { beside: us }", "nginx.beside: region us has no socket: give regions.us.socket a path" },
		{ "  eu:", EU ", socket: eu-http.sock }\nnginx: { beside: [eu, eu] }", "nginx.beside: eu is given twice" },
	};
	REFUSE_EACH(lines);
	accept(fixture_with("  eu:", EU ", socket: eu-http.sock }\nnginx: { beside: eu }"), 0);
}

// libpq would name the rest of it, as the port or the host that it cannot use, in messages that are logged.
static void a_password_that_ends_too_early_is_refused(void **state)
{
	static const char *const databases[] = {
		"postgresql://plist:s3c/ret@db:5432/plist", "postgresql://plist:s3c@ret@db:5432/plist", "postgresql://plist:12/ret@db:5432/plist",
	};
	for (size_t i = 0; i < sizeof(databases) / sizeof(databases[0]); i++) {
		char line[256];
		snprintf(line, sizeof(line), "  eu: { listen: \"0.0.0.0:8002\", database: \"%s\" }", databases[i]);
		char *text = fixture_with("  eu:", line);
		fixture_refused(text, "4:43: regions.eu.database: a part of user or password is taken for host, port or database", 0);
		for (int j = 0; j < fixture_problems.n; j++)
			assert_null(strstr(fixture_problems.lines[j].text, "s3c"));
		free(text);
	}
}

static void connection_strings_of_all_kinds_are_taken(void **state)
{
	static const char *const databases[] = {
		"postgresql://plist:s3c%2Fr%40t@db:5432,db2:5433/plist", "postgresql:///plist?host=/run/postgresql", "host=@abstract user=a@b",
		"postgresql://a%40b@[::1]/plist?sslmode=require", "user=plist dbname=a@b",
	};
	for (size_t i = 0; i < sizeof(databases) / sizeof(databases[0]); i++) {
		char line[256];
		snprintf(line, sizeof(line), "  eu: { listen: \"0.0.0.0:8002\", database: \"%s\" }", databases[i]);
		char *text = fixture_with("  eu:", line);
		struct pl_config *config = fixture_load(text, NULL);
		assert_non_null(config);
		pl_config_unref(&config);
		free(text);
	}
}

static void the_region_asked_for_must_exist(void **state)
{
	assert_null(fixture_load(fixture_good, "mars"));
	assert_true(fixture_said("3:3: regions: there is no region \"mars\""));
}

static void fields_must_be_columns_of_their_own(void **state)
{
	static const struct line lines[] = {
		{ "      bedrooms", "      version: { type: integer }", "10:7: resources.properties.fields.version: the name is taken" },
		{ "      bedrooms", "      siblings: { type: integer }", "10:7: resources.properties.fields.siblings: the name is taken" },
		{ "      bedrooms", "      xmin: { type: integer }", "10:7: resources.properties.fields.xmin: the name is taken" },
		{ "      bedrooms", "      after: { type: integer }", "10:7: resources.properties.fields.after: the name is taken" },
		{ "      bedrooms", "      order: { type: integer }", "10:7: resources.properties.fields.order: the name is a reserved word of SQL" },
		{ "      bedrooms", "      Rooms: { type: integer }", "10:7: resources.properties.fields.Rooms: the name must be a lower-case SQL name" },
		{ "      bedrooms", "      \"a b\": { type: integer }", "10:7: resources.properties.fields.a b: the name must be" },
	};
	REFUSE_EACH(lines);
}

static void rules_of_a_field_must_suit_its_type(void **state)
{
	static const struct line lines[] = {
		{ "      bedrooms", "      b: { type: string, min: 0 }", "10:31: resources.properties.fields.b.min: only a decimal or an integer has one" },
		{ "      bedrooms", "      b: { type: boolean, max: 0 }", "10:32: resources.properties.fields.b.max: only a decimal or an integer has one" },
		{ "      bedrooms", "      b: { type: integer, min: 5, max: 4 }", "10:40: resources.properties.fields.b.max: is less than min" },
		{ "      bedrooms", "      b: { type: integer, max: 2147483648 }", "10:32: resources.properties.fields.b.max: an integer is from" },
		{ "      bedrooms", "      b: { type: integer, min: -2147483649 }", "10:32: resources.properties.fields.b.min: an integer is from" },
		{ "      bedrooms", "      b: { type: integer, precision: 5 }", "10:38: resources.properties.fields.b.precision: only a decimal has one" },
		{ "      bedrooms", "      b: { type: string, scale: 5 }", "10:33: resources.properties.fields.b.scale: only a decimal has one" },
		{ "      bedrooms", "      b: { type: decimal, precision: 3, scale: 4 }", "10:48: resources.properties.fields.b.scale: is greater than precision" },
		{ "      bedrooms", "      b: { type: integer, max_length: 4 }", "10:39: resources.properties.fields.b.max_length: only a string has one" },
	};
	REFUSE_EACH(lines);
	accept(fixture_with("      bedrooms", "      b: { type: string, max_length: 4 }"), 0);
	accept(fixture_with("      bedrooms", "      b: { type: integer, min: -2147483648, max: 2147483647 }"), 0);
	accept(fixture_with("      bedrooms", "      b: { type: decimal, min: 0.5, max: 0.50, precision: 3, scale: 3 }"), 0);
}

static void tables_and_topics_must_be_ones_own(void **state)
{
	static const struct line lines[] = {
		{ "    topic:", "    topic: t\n    table: outbox", "8:12: resources.properties.table: outbox is a table of plist's own" },
		{ "    topic:", "    topic: t\n    table: user", "8:12: resources.properties.table: user is a reserved word of SQL" },
		{ "    topic:", "    topic: t\n    table: pg_class", "8:12: resources.properties.table: pg_class is a reserved word of SQL" },
		{ "    topic:", "    topic: t\n    table: \"a b\"", "8:12: resources.properties.table: must be a lower-case SQL name" },
		{ "    topic:", "    topic: plist-heartbeats", "7:12: resources.properties.topic: is the topic of the heartbeats" },
		{ "    topic:", "    topic: ..", "7:12: resources.properties.topic: \"..\" is no name for a topic" },
		{ "    topic:", "    topic: a/b", "7:12: resources.properties.topic: must be a topic's name" },
		{ "    topic:", "    topic: t\n    policy: policies/region_ordre.lua", "did you mean \"policies/region_order.lua\"?" },
		{ "    topic:", "    topic: t\n    policy: ../secret.lua", "8:13: resources.properties.policy: must be the path of a Lua file" },
		{ "    topic:", "    topic: t\n    shadow: policies/none.lua", "8:13: resources.properties.shadow: there is no file policies/none.lua" },
		{ "routes:", "  others: { topic: property-updates, table: o, fields: { a: { type: integer } } }\nroutes:",
		  "11:20: resources.others.topic: is the topic of properties" },
		{ "routes:", "  others: { topic: o, table: properties, fields: { a: { type: integer } } }\nroutes:",
		  "11:30: resources.others.table: is the table of properties" },
		{ "routes:", "  oth-ers: { topic: o, fields: { a: { type: integer } } }\nroutes:",
		  "11:3: resources.oth-ers.table: must be given, since \"oth-ers\" is no name for a table" },
	};
	REFUSE_EACH(lines);
	accept(fixture_with("    topic:", "    topic: t\n    shadow: policies/last_writer_wins.lua"), 1);
}

#define GET_ROUTE "  - { method: GET, path: "
static void routes_must_be_possible(void **state)
{
	static const struct line lines[] = {
		{ GET_ROUTE, "  - { method: GET, path: \"/properties/:id\", handler: handlers/property_get.lua }",
		  "12:26: routes[0].path: must be a path such as" },
		{ GET_ROUTE, "  - { method: GET, path: \"/:region/properties/\", handler: handlers/property_get.lua }", "12:26: routes[0].path: must be a path" },
		{ GET_ROUTE, "  - { method: GET, path: \"/:region/a//b\", handler: handlers/property_get.lua }", "12:26: routes[0].path: must be a path" },
		{ GET_ROUTE, "  - { method: GET, path: \"/:region/a b\", handler: handlers/property_get.lua }", "12:26: routes[0].path: must be a path" },
		{ GET_ROUTE, "  - { method: GET, path: \"/:region/:a/:a\", handler: handlers/property_get.lua }", "12:26: routes[0].path: :a stands twice" },
		{ GET_ROUTE, "  - { method: GET, path: \"/:region/a/:region\", handler: handlers/property_get.lua }", "12:26: routes[0].path: :region stands twice" },
		{ GET_ROUTE, "  - { method: GET, path: \"/:region/1/2/3/4/5/6/7/8/9/a/b/c/d/e/f/g\", handler: handlers/property_get.lua }",
		  "12:26: routes[0].path: has more than 16 segments" },
		{ GET_ROUTE, "  - { method: GET, path: \"/:region/health\", handler: handlers/property_get.lua }",
		  "12:26: routes[0].path: /:region/health is answered by the daemon itself" },
		{ GET_ROUTE, "  - { method: GET, path: \"/:region/replication-lag\", handler: handlers/property_get.lua }", "is answered by the daemon itself" },
		{ GET_ROUTE, "  - { method: GET, path: \"/:region/a\", handler: handlers/property_gte.lua }", "did you mean \"handlers/property_get.lua\"?" },
		{ GET_ROUTE, "  - { method: GET, path: \"/:region/a\", handler: handlers/property_get.lua, resource: houses }",
		  "12:86: routes[0].resource: there is no resource \"houses\"" },
		{ GET_ROUTE, "  - { method: GET, path: \"/:region/properties/:id\", handler: handlers/property_get.lua, lock: required }",
		  "12:95: routes[0].lock: only PUT, PATCH and DELETE replace a version; GET does not" },
		{ GET_ROUTE, "  - { method: POST, path: \"/:region/properties\", handler: handlers/property_get.lua, lock: optional, idempotency: {} }",
		  "12:92: routes[0].lock: only PUT, PATCH and DELETE replace a version; POST does not" },
		{ GET_ROUTE, "  - { method: PUT, path: \"/:region/a\", handler: handlers/property_get.lua, lock: required, idempotency: {} }",
		  "12:82: routes[0].lock: needs a resource, and /:region/a names none" },
		{ GET_ROUTE, "  - { method: GET, path: \"/:region/a\", handler: handlers/property_get.lua, idempotency: {} }",
		  "12:89: routes[0].idempotency: a GET has nothing to remember" },
	};
	REFUSE_EACH(lines);
	accept(fixture_with(GET_ROUTE, "  - { method: PUT, path: \"/:region/a\", resource: properties, handler: handlers/property_get.lua, lock: required, idempotency: {} }"), 0);
	accept(fixture_with(GET_ROUTE, "  - { method: POST, path: \"/:region/properties\", handler: handlers/property_get.lua }"), 1);
}

static void pair(const char *a, const char *b, const char *problem)
{
	char lines[512];

	snprintf(lines, sizeof(lines), "  - { method: GET, path: \"/:region/%s\", handler: handlers/property_get.lua }\n"
	         "  - { method: GET, path: \"/:region/%s\", handler: handlers/property_get.lua }", a, b);
	char *text = fixture_with(GET_ROUTE, lines);
	if (problem == NULL) {
		accept(text, 0);
		return;
	}
	fixture_refused(text, problem, 0);
	free(text);
}

static void no_request_may_mean_two_routes(void **state)
{
	pair("a/:x", "a/:y", "13:26: routes[1].path: GET /:region/a/:y is the route of line 12");
	pair("a/b", "a/b", "13:26: routes[1].path: GET /:region/a/b is the route of line 12");
	pair("a/:x", ":y/b", "13:26: routes[1].path: some requests match /:region/:y/b as well as /:region/a/:x of line 12");
	pair("a/:x/c", "a/b/:y", "and neither is the narrower one");
	pair("a/:x", "a/b", NULL);
	pair(":x/:y", "a/b", NULL);
	pair("a/:x", "b/:x", NULL);
	pair("a/:x", "a/:x/b", NULL);
}

static void kafka_and_nginx_must_make_sense(void **state)
{
	static const struct line lines[] = {
		{ "kafka:", "kafka: { brokers: \"h:0\" }", "1:19: kafka.brokers: must end in a port" },
		{ "kafka:", "kafka: { brokers: \"h:1,h:99999\" }", "1:19: kafka.brokers: must end in a port" },
		{ "kafka:", "kafka: { brokers: \"h\" }", "1:19: kafka.brokers: must be a list \"host:port,host:port\"" },
		{ "kafka:", "kafka: { brokers: \"h:1\", heartbeat_topic: . }", "kafka.heartbeat_topic: \".\" is no name for a topic" },
		{ "kafka:", "kafka: { brokers: \"h:1\", properties: { group.id: x } }", "1:50: kafka.properties.group.id: is set by plist itself" },
		{ "kafka:", "kafka: { brokers: \"h:1\", properties: { retries: 3 } }", "1:49: kafka.properties.retries: is set by plist itself" },
		{ "kafka:", "kafka: { brokers: \"h:1\", properties: { liner.ms: 1 } }", "1:50: kafka.properties.liner.ms: librdkafka knows no such setting" },
		{ "kafka:", "kafka: { brokers: \"h:1\", properties: { linger.ms: much } }", "1:51: kafka.properties.linger.ms: Invalid value" },
		{ "kafka:", "kafka: { brokers: \"h:1\", properties: { client.id_file: x } }",
		  "1:56: kafka.properties.client.id_file: only a setting that holds a secret may come from a file" },
		{ "kafka:", "kafka: { brokers: \"h:1\", properties: { sasl.password: x, sasl.password_file: x } }",
		  "1:78: kafka.properties.sasl.password_file: given together with sasl.password" },
		{ "kafka:", "kafka: { brokers: \"h:1\" }\nnginx: { listen: 0 }", "2:18: nginx.listen: must end in a port" },
		{ "kafka:", "kafka: { brokers: \"h:1\" }\nnginx: { failover: { reads: [off, error] } }", "2:29: nginx.failover.reads: off stands alone" },
		{ "kafka:", "kafka: { brokers: \"h:1\" }\nnginx: { failover: { reads: [error, error] } }", "2:29: nginx.failover.reads: error is given twice" },
		{ "kafka:", "kafka: { brokers: \"h:1\" }\nnginx: { failover: { reads: [eror] } }", "2:30: nginx.failover.reads: must be error, timeout" },
		{ "kafka:", "kafka: { brokers: \"h:1\" }\nlua: { path: none }", "2:14: lua.path: there is no directory" },
	};
	REFUSE_EACH(lines);
	accept(fixture_with("kafka:", "kafka: { brokers: \"h:1, h2:2\" }\nnginx: { failover: { reads: error } }"), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(regions_must_not_share),
		cmocka_unit_test(regions_on_different_machines_may_listen_alike),
		cmocka_unit_test(id_bases_close_together_are_worth_a_word),
		cmocka_unit_test(a_region_must_be_possible),
		cmocka_unit_test(nginx_is_beside_regions_that_have_a_socket),
		cmocka_unit_test(a_password_that_ends_too_early_is_refused),
		cmocka_unit_test(connection_strings_of_all_kinds_are_taken),
		cmocka_unit_test(the_region_asked_for_must_exist),
		cmocka_unit_test(fields_must_be_columns_of_their_own),
		cmocka_unit_test(rules_of_a_field_must_suit_its_type),
		cmocka_unit_test(tables_and_topics_must_be_ones_own),
		cmocka_unit_test(routes_must_be_possible),
		cmocka_unit_test(no_request_may_mean_two_routes),
		cmocka_unit_test(kafka_and_nginx_must_make_sense),
	};
	return cmocka_run_group_tests(tests, fixture_setup, fixture_teardown);
}
