// Checks of more than one value: each rule is broken once, and similar valid
// configurations are accepted.
#include "fixture.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct line {
	const char *old, *with, *problem;
};

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

	for (int i = 0; (config == NULL || fixture_problems.warnings != warnings) && i < fixture_problems.n;
	     i++)
		print_message("# said: %s\n", fixture_problems.lines[i].text);
	assert_non_null(config);
	assert_int_equal(fixture_problems.warnings, warnings);
	pl_config_unref(&config);
	free(text);
}

#define REFUSE_EACH(lines) refuse_each(lines, sizeof(lines) / sizeof(lines[0]))
#define EU                 "  eu: { listen: \"0.0.0.0:8002\", database: \"postgresql://eu\""

static void regions_must_not_share_addresses_databases_or_ids(void **state)
{
	static const struct line lines[] = {
		{ "  eu:", "  eu: { listen: \"0.0.0.0:8001\", database: \"postgresql://eu\" }",
		  "4:17: regions.eu.listen: region us also uses 127.0.0.1:8001" },
		{ "  eu:", EU ", upstream: \"127.0.0.1:8001\" }",
		  "4:72: regions.eu.upstream: region us also uses 127.0.0.1:8001" },
		{ "  eu:",
		  "  eu: { listen: \"0.0.0.0:8001\", database: \"host=h\", upstream: \"127.0.0.1:9\" }",
		  "4:17: regions.eu.listen: region us also listens on 0.0.0.0:8001" },
		{ "  eu:",
		  "  eu: { listen: \"127.0.0.1:8001\", database: \"host=h\", upstream: \"127.0.0.1:9\" }",
		  "4:17: regions.eu.listen: region us also listens on 0.0.0.0:8001" },
		{ "  eu:", EU ", id_base: 1000000000000 }",
		  "4:71: regions.eu.id_base: region us has the same value, so both regions would assign the "
		  "same ids" },
		{ "  eu:", "  eu: { listen: \"0.0.0.0:8002\", database: \"postgresql://us\" }",
		  "4:43: regions.eu.database: is also the database of region us" },
		{ "  eu:", EU ", control_socket: /run/plist/us.sock }",
		  "4:78: regions.eu.control_socket: is also a socket of region us" },
		{ "  eu:", EU ", unix_socket: /run/plist/us.sock }",
		  "4:75: regions.eu.unix_socket: is also a socket of region us" },
		{ "  eu:", EU ", unix_socket: /run/plist/eu.sock }",
		  "4:75: regions.eu.unix_socket: is the same as control_socket" },
		{ "  eu:", EU ", admin_listen: \"127.0.0.1:9001\" }",
		  "4:76: regions.eu.admin_listen: the operators of region us also use 127.0.0.1:9001; set "
		  "regions.eu.admin_listen to another port" },
		{ "  eu:", EU ", admin_listen: \"0.0.0.0:8001\" }",
		  "4:76: regions.eu.admin_listen: region us listens on 0.0.0.0:8001" },
		{ "  eu:", EU ", admin_listen: \"127.0.0.1:8002\" }",
		  "4:76: regions.eu.admin_listen: is the address that clients use (regions.eu.listen)" },
		{ "kafka:", "admin: { listen: \"127.0.0.1:9100\" }\nkafka: { brokers: \"b:9092\" }",
		  "5:3: regions.eu.admin_listen: the operators of region us also use 127.0.0.1:9100; set "
		  "regions.eu.admin_listen to another port" },
	};
	REFUSE_EACH(lines);
}

static void regions_on_different_machines_may_listen_on_the_same_port(void **state)
{
	char *text = fixture_with("  eu:", "  eu: { listen: \"0.0.0.0:8001\", database: \"host=h\", "
	                                   "upstream: \"backend-eu:8000\" }");

	accept(text, 0);
}

static void id_bases_that_are_close_together_are_warned_about(void **state)
{
	accept(fixture_with("  eu:", EU ", id_base: 1000000000500 }"), 1);
	assert_true(fixture_said("4:71: warning: regions.eu.id_base: only 500 away from that of region us"));
}

static void impossible_regions_are_refused(void **state)
{
	static const struct line lines[] = {
		{ "  eu:", "  health: { listen: \"0.0.0.0:8002\", database: \"host=h\" }",
		  "4:3: regions.health: the path /health is reserved" },
		{ "  eu:", "  eu: { listen: \"0.0.0.0:0\", database: \"host=h\" }",
		  "4:17: regions.eu.listen: must end in a port from 1 to 65535, not \"0.0.0.0:0\"" },
		{ "  eu:", "  eu: { listen: \"0.0.0.0:65536\", database: \"host=h\" }",
		  "4:17: regions.eu.listen: must end in a port" },
		{ "  eu:", EU ", upstream: [\"a:1\", \"b:70000\"] }",
		  "4:72: regions.eu.upstream: must end in a port" },
		{ "  eu:", "  eu: { listen: \"0.0.0.0:8002\", database: \"nonsense\" }",
		  "4:43: regions.eu.database: is not a valid libpq connection string (its value is not "
		  "shown)" },
		{ "  eu:",
		  EU ", control_socket: "
		     "/aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
		     "aaaaaaaaaaaaaaaaaaaaa }",
		  "4:78: regions.eu.control_socket: the path of a socket may have at most 107 bytes" },
		{ "  eu:",
		  EU ", unix_socket: "
		     "/aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
		     "aaaaaaaaaaaaaaaaaaaaa }",
		  "4:75: regions.eu.unix_socket: the path of a socket may have at most 107 bytes" },
	};
	REFUSE_EACH(lines);
}

static void local_regions_need_a_unix_socket(void **state)
{
	static const struct line lines[] = {
		{ "kafka:", "kafka: { brokers: \"h:1\" }\nnginx: { local_regions: ap }",
		  "nginx.local_regions: there is no region \"ap\"" },
		{ "kafka:", "kafka: { brokers: \"h:1\" }\nnginx: { local_regions: us }",
		  "nginx.local_regions: region us has no socket: set regions.us.unix_socket" },
		{ "  eu:", EU ", unix_socket: eu-http.sock }\nnginx: { local_regions: [eu, eu] }",
		  "nginx.local_regions: eu is listed twice" },
	};
	REFUSE_EACH(lines);
	accept(fixture_with("  eu:", EU ", unix_socket: eu-http.sock }\nnginx: { local_regions: eu }"), 0);
}

// libpq would take the rest of the password for a port or host that it cannot use, and
// print it in messages that are logged.
static void a_password_that_ends_too_early_is_refused(void **state)
{
	static const char *const databases[] = {
		"postgresql://plist:s3c/ret@db:5432/plist",
		"postgresql://plist:s3c@ret@db:5432/plist",
		"postgresql://plist:12/ret@db:5432/plist",
	};
	for (size_t i = 0; i < sizeof(databases) / sizeof(databases[0]); i++) {
		char line[256];
		snprintf(line, sizeof(line), "  eu: { listen: \"0.0.0.0:8002\", database: \"%s\" }",
		         databases[i]);
		char *text = fixture_with("  eu:", line);
		fixture_refused(text,
		                "4:43: regions.eu.database: libpq parses a part of the user or password as "
		                "the host, "
		                "port or database",
		                0);
		for (int j = 0; j < fixture_problems.n; j++)
			assert_null(strstr(fixture_problems.lines[j].text, "s3c"));
		free(text);
	}
}

// Otherwise the mistake would surface only when a daemon connects, perhaps hours after
// it was made.
static void a_connection_string_that_libpq_would_refuse_is_refused(void **state)
{
	static const char *const databases[][2] = {
		{ "postgresql://u:s3c@db1:1,db2:2/plist?hostaddr=::1", "could not match 2 host names to 1" },
		{ "postgresql://u:s3c@db1,db2:5432,5433/plist", "host: a number is not a host; in a URL" },
		{ "host=db1,db2,db3 port=1,2", "could not match 2 port numbers to 3 hosts" },
		{ "host=db1,db2 hostaddr=10.0.0.1", "could not match 2 host names to 1 hostaddr values" },
		{ "postgresql://db:65536/plist", "port: not a number from 1 to 65535" },
		{ "postgresql://db:0/plist", "port: not a number from 1 to 65535" },
		{ "host=db sslmode=s3c", "invalid sslmode value" },
		{ "host=db target_session_attrs=s3c", "invalid target_session_attrs value" },
		{ "host=db connect_timeout=s3c", "connect_timeout: not a number" },
		{ "host=db keepalives_idle=5s", "keepalives_idle: not a number" },
	};
	for (size_t i = 0; i < sizeof(databases) / sizeof(databases[0]); i++) {
		char line[256];
		snprintf(line, sizeof(line), "  eu: { listen: \"0.0.0.0:8002\", database: \"%s\" }",
		         databases[i][0]);
		char *text = fixture_with("  eu:", line);
		fixture_refused(text, "4:43: regions.eu.database: libpq would refuse it: ", 0);
		assert_non_null(strstr(fixture_problems.lines[0].text, databases[i][1]));
		assert_null(strstr(fixture_problems.lines[0].text, "s3c"));
		free(text);
	}
}

static void connection_strings_of_all_kinds_are_accepted(void **state)
{
	static const char *const databases[] = {
		"postgresql://plist:s3c%2Fr%40t@db:5432,db2:5433/plist",
		"postgresql:///plist?host=/run/postgresql",
		"host=@abstract user=a@b",
		"postgresql://a%40b@[::1]/plist?sslmode=require",
		"user=plist dbname=a@b",
		"host=db1,db2 port=5432",
		"host=db1,db2 port=,5433 target_session_attrs=read-write connect_timeout=3",
		"postgresql:///plist?service=of-its-machine",
	};
	for (size_t i = 0; i < sizeof(databases) / sizeof(databases[0]); i++) {
		char line[256];
		snprintf(line, sizeof(line), "  eu: { listen: \"0.0.0.0:8002\", database: \"%s\" }",
		         databases[i]);
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

static void names_that_cannot_be_fields_are_refused(void **state)
{
	static const struct line lines[] = {
		{ "      bedrooms", "      version: { type: integer }",
		  "10:7: resources.properties.fields.version: the name is reserved" },
		{ "      bedrooms", "      has_siblings: { type: integer }",
		  "10:7: resources.properties.fields.has_siblings: the name is reserved" },
		{ "      bedrooms", "      xmin: { type: integer }",
		  "10:7: resources.properties.fields.xmin: the name is reserved" },
		{ "      bedrooms", "      after: { type: integer }",
		  "10:7: resources.properties.fields.after: the name is reserved" },
		{ "      bedrooms", "      order: { type: integer }",
		  "10:7: resources.properties.fields.order: the name is a reserved word of SQL" },
		{ "      bedrooms", "      Rooms: { type: integer }",
		  "10:7: resources.properties.fields.Rooms: the name must be a lower-case SQL name" },
		{ "      bedrooms", "      \"a b\": { type: integer }",
		  "10:7: resources.properties.fields.a b: the name must be" },
	};
	REFUSE_EACH(lines);
}

static void rules_of_a_field_must_suit_its_type(void **state)
{
	static const struct line lines[] = {
		{ "      bedrooms", "      b: { type: string, min: 0 }",
		  "10:31: resources.properties.fields.b.min: applies to decimals and integers only" },
		{ "      bedrooms", "      b: { type: boolean, max: 0 }",
		  "10:32: resources.properties.fields.b.max: applies to decimals and integers only" },
		{ "      bedrooms", "      b: { type: integer, min: 5, max: 4 }",
		  "10:40: resources.properties.fields.b.max: is less than min" },
		{ "      bedrooms", "      b: { type: integer, max: 2147483648 }",
		  "10:32: resources.properties.fields.b.max: must be from -2147483648" },
		{ "      bedrooms", "      b: { type: integer, min: -2147483649 }",
		  "10:32: resources.properties.fields.b.min: must be from -2147483648" },
		{ "      bedrooms", "      b: { type: integer, precision: 5 }",
		  "10:38: resources.properties.fields.b.precision: applies to decimals only" },
		{ "      bedrooms", "      b: { type: string, scale: 5 }",
		  "10:33: resources.properties.fields.b.scale: applies to decimals only" },
		{ "      bedrooms", "      b: { type: decimal, precision: 3, scale: 4 }",
		  "10:48: resources.properties.fields.b.scale: is greater than precision" },
		{ "      bedrooms", "      b: { type: integer, max_length: 4 }",
		  "10:39: resources.properties.fields.b.max_length: applies to strings only" },
	};
	REFUSE_EACH(lines);
	accept(fixture_with("      bedrooms", "      b: { type: string, max_length: 4 }"), 0);
	accept(fixture_with("      bedrooms", "      b: { type: integer, min: -2147483648, max: 2147483647 "
	                                      "}"),
	       0);
	accept(fixture_with("      bedrooms", "      b: { type: decimal, min: 0.5, max: 0.50, precision: 3, "
	                                      "scale: 3 }"),
	       0);
}

static void tables_and_topics_must_not_be_shared(void **state)
{
	static const struct line lines[] = {
		{ "    topic:", "    topic: t\n    table: outbox",
		  "8:12: resources.properties.table: outbox is reserved by plist" },
		{ "    topic:", "    topic: t\n    table: user",
		  "8:12: resources.properties.table: user is a reserved word of SQL" },
		{ "    topic:", "    topic: t\n    table: pg_class",
		  "8:12: resources.properties.table: names that begin with pg_ are reserved by PostgreSQL" },
		{ "    topic:", "    topic: t\n    table: \"a b\"",
		  "8:12: resources.properties.table: must be a lower-case SQL name" },
		{ "    topic:", "    topic: plist-heartbeats",
		  "7:12: resources.properties.topic: is also the topic of the heartbeats" },
		{ "    topic:", "    topic: ..",
		  "7:12: resources.properties.topic: Kafka does not allow \"..\" as the name of a topic" },
		{ "    topic:", "    topic: a/b",
		  "7:12: resources.properties.topic: must be a topic's name" },
		{ "    topic:", "    topic: t\n    policy: policies/region_ordre.lua",
		  "did you mean \"policies/region_order.lua\"?" },
		{ "    topic:", "    topic: t\n    policy: ../secret.lua",
		  "8:13: resources.properties.policy: must be the path of a Lua file" },
		{ "    topic:", "    topic: t\n    shadow_policy: policies/none.lua",
		  "8:20: resources.properties.shadow_policy: there is no file policies/none.lua" },
		{ "routes:",
		  "  others: { topic: property-updates, table: o, fields: { a: { type: integer } } "
		  "}\nroutes:",
		  "11:20: resources.others.topic: is also the topic of properties" },
		{ "routes:",
		  "  others: { topic: o, table: properties, fields: { a: { type: integer } } }\nroutes:",
		  "11:30: resources.others.table: is also the table of properties" },
		{ "routes:", "  oth-ers: { topic: o, fields: { a: { type: integer } } }\nroutes:",
		  "11:3: resources.oth-ers.table: is required, because \"oth-ers\" cannot be the name of a "
		  "table" },
	};
	REFUSE_EACH(lines);
	accept(fixture_with("    topic:", "    topic: t\n    shadow_policy: policies/last_writer_wins.lua"),
	       1);
}

#define GET_ROUTE "  - { method: GET, path: "
static void impossible_routes_are_refused(void **state)
{
	static const struct line lines[] = {
		{ GET_ROUTE,
		  "  - { method: GET, path: \"/properties/:id\", handler: handlers/property_get.lua }",
		  "12:26: routes[0].path: must be a path such as" },
		{ GET_ROUTE,
		  "  - { method: GET, path: \"/:region/properties/\", handler: handlers/property_get.lua }",
		  "12:26: routes[0].path: must be a path" },
		{ GET_ROUTE,
		  "  - { method: GET, path: \"/:region/a//b\", handler: handlers/property_get.lua }",
		  "12:26: routes[0].path: must be a path" },
		{ GET_ROUTE,
		  "  - { method: GET, path: \"/:region/a b\", handler: handlers/property_get.lua }",
		  "12:26: routes[0].path: must be a path" },
		{ GET_ROUTE,
		  "  - { method: GET, path: \"/:region/:a/:a\", handler: handlers/property_get.lua }",
		  "12:26: routes[0].path: :a occurs twice" },
		{ GET_ROUTE,
		  "  - { method: GET, path: \"/:region/a/:region\", handler: handlers/property_get.lua }",
		  "12:26: routes[0].path: :region occurs twice" },
		{ GET_ROUTE,
		  "  - { method: GET, path: \"/:region/1/2/3/4/5/6/7/8/9/a/b/c/d/e/f/g\", handler: "
		  "handlers/property_get.lua }",
		  "12:26: routes[0].path: has more than 16 segments" },
		{ GET_ROUTE,
		  "  - { method: GET, path: \"/:region/health\", handler: handlers/property_get.lua }",
		  "12:26: routes[0].path: the daemon itself answers /:region/health" },
		{ GET_ROUTE,
		  "  - { method: GET, path: \"/:region/replication-lag\", handler: handlers/property_get.lua "
		  "}",
		  "the daemon itself answers" },
		{ GET_ROUTE, "  - { method: GET, path: \"/:region/a\", handler: handlers/property_gte.lua }",
		  "did you mean \"handlers/property_get.lua\"?" },
		{ GET_ROUTE,
		  "  - { method: GET, path: \"/:region/a\", handler: handlers/property_get.lua, resource: "
		  "houses }",
		  "12:86: routes[0].resource: there is no resource \"houses\"" },
		{ GET_ROUTE,
		  "  - { method: GET, path: \"/:region/properties/:id\", handler: handlers/property_get.lua, "
		  "lock: required }",
		  "12:95: routes[0].lock: only PUT, PATCH and DELETE replace a version; GET does not" },
		{ GET_ROUTE,
		  "  - { method: POST, path: \"/:region/properties\", handler: handlers/property_get.lua, "
		  "lock: optional, idempotency: {} }",
		  "12:92: routes[0].lock: only PUT, PATCH and DELETE replace a version; POST does not" },
		{ GET_ROUTE,
		  "  - { method: PUT, path: \"/:region/a\", handler: handlers/property_get.lua, lock: "
		  "required, idempotency: {} }",
		  "12:82: routes[0].lock: requires a resource, and /:region/a does not name one" },
		{ GET_ROUTE,
		  "  - { method: GET, path: \"/:region/a\", handler: handlers/property_get.lua, idempotency: "
		  "{} }",
		  "12:89: routes[0].idempotency: does not apply to GET" },
	};
	REFUSE_EACH(lines);
	accept(fixture_with(GET_ROUTE, "  - { method: PUT, path: \"/:region/a\", resource: properties, "
	                               "handler: "
	                               "handlers/property_get.lua, lock: required, idempotency: {} }"),
	       0);
	accept(fixture_with(GET_ROUTE, "  - { method: POST, path: \"/:region/properties\", handler: "
	                               "handlers/property_get.lua }"),
	       1);
}

static void pair(const char *a, const char *b, const char *problem)
{
	char lines[512];

	snprintf(lines, sizeof(lines),
	         "  - { method: GET, path: \"/:region/%s\", handler: handlers/property_get.lua }\n"
	         "  - { method: GET, path: \"/:region/%s\", handler: handlers/property_get.lua }",
	         a, b);
	char *text = fixture_with(GET_ROUTE, lines);
	if (problem == NULL) {
		accept(text, 0);
		return;
	}
	fixture_refused(text, problem, 0);
	free(text);
}

static void no_request_may_match_two_routes(void **state)
{
	pair("a/:x", "a/:y", "13:26: routes[1].path: GET /:region/a/:y is already the route of line 12");
	pair("a/b", "a/b", "13:26: routes[1].path: GET /:region/a/b is already the route of line 12");
	pair("a/:x", ":y/b",
	     "13:26: routes[1].path: some requests match both /:region/:y/b and /:region/a/:x of line 12");
	pair("a/:x/c", "a/b/:y", "and neither is more specific");
	pair("a/:x", "a/b", NULL);
	pair(":x/:y", "a/b", NULL);
	pair("a/:x", "b/:x", NULL);
	pair("a/:x", "a/:x/b", NULL);
}

static void kafka_and_nginx_must_make_sense(void **state)
{
	static const struct line lines[] = {
		{ "kafka:", "kafka: { brokers: \"h:0\" }", "1:19: kafka.brokers: must end in a port" },
		{ "kafka:", "kafka: { brokers: \"h:1,h:99999\" }",
		  "1:19: kafka.brokers: must end in a port" },
		{ "kafka:", "kafka: { brokers: \"h\" }",
		  "1:19: kafka.brokers: must be a list \"host:port,host:port\"" },
		{ "kafka:", "kafka: { brokers: \"h:1\", heartbeat_topic: . }",
		  "kafka.heartbeat_topic: Kafka does not allow \".\" as the name of a topic" },
		{ "kafka:", "kafka: { brokers: \"h:1\", properties: { group.id: x } }",
		  "1:50: kafka.properties.group.id: is set by plist itself" },
		{ "kafka:", "kafka: { brokers: \"h:1\", properties: { retries: 3 } }",
		  "1:49: kafka.properties.retries: is set by plist itself" },
		{ "kafka:", "kafka: { brokers: \"h:1\", properties: { group.instance.id: node-1 } }",
		  "1:59: kafka.properties.group.instance.id: is not supported: a second member with the same "
		  "id" },
		{ "kafka:", "kafka: { brokers: \"h:1\", properties: { transactional.id: x } }",
		  "kafka.properties.transactional.id: is not supported" },
		{ "kafka:", "kafka: { brokers: \"h:1\", properties: { topic.blacklist: x } }",
		  "kafka.properties.topic.blacklist: would hide topics" },
		{ "kafka:", "kafka: { brokers: \"h:1\", properties: { allow.auto.create.topics: false } }",
		  "kafka.properties.allow.auto.create.topics: is set by plist itself" },
		{ "kafka:", "kafka: { brokers: \"h:1\", properties: { liner.ms: 1 } }",
		  "1:50: kafka.properties.liner.ms: librdkafka has no such setting" },
		{ "kafka:", "kafka: { brokers: \"h:1\", properties: { linger.ms: much } }",
		  "1:51: kafka.properties.linger.ms: Invalid value" },
		{ "kafka:", "kafka: { brokers: \"h:1\", properties: { client.id_file: x } }",
		  "1:56: kafka.properties.client.id_file: only the value of a secret setting may come from a "
		  "file" },
		{ "kafka:",
		  "kafka: { brokers: \"h:1\", properties: { sasl.password: x, sasl.password_file: x } }",
		  "1:78: kafka.properties.sasl.password_file: given together with sasl.password" },
		{ "kafka:", "kafka: { brokers: \"h:1\" }\nnginx: { listen: 0 }",
		  "2:18: nginx.listen: must end in a port" },
		{ "kafka:", "kafka: { brokers: \"h:1\" }\nnginx: { failover: { reads: [off, error] } }",
		  "2:29: nginx.failover.reads: off cannot be combined with other values" },
		{ "kafka:", "kafka: { brokers: \"h:1\" }\nnginx: { failover: { reads: [error, error] } }",
		  "2:29: nginx.failover.reads: error is listed twice" },
		{ "kafka:", "kafka: { brokers: \"h:1\" }\nnginx: { failover: { reads: [eror] } }",
		  "2:30: nginx.failover.reads: must be error, timeout" },
		{ "kafka:", "kafka: { brokers: \"h:1\" }\nlua: { path: none }",
		  "2:14: lua.path: there is no directory" },
	};
	REFUSE_EACH(lines);
	accept(fixture_with("kafka:", "kafka: { brokers: \"h:1, h2:2\" }\nnginx: { failover: { reads: error "
	                              "} }"),
	       0);
}

static void nginx_that_gives_up_before_a_daemon_is_warned_about(void **state)
{
	accept(fixture_with("kafka:", "kafka: { brokers: \"h:1\" }\nhttp: { request_timeout: 20s }"),
	       0); // NGINX waits longer by default
	accept(fixture_with("kafka:", "kafka: { brokers: \"h:1\" }\nhttp: { request_timeout: 5s }\nnginx: { "
	                              "read_timeout: "
	                              "8s }"),
	       0);
	accept(fixture_with("kafka:", "kafka: { brokers: \"h:1\" }\nhttp: { request_timeout: 5s }\nnginx: { "
	                              "read_timeout: "
	                              "5s }"),
	       1);
}

#define NGINX_TLS(rest)                  \
	"nginx: { tls: { " rest " } }\n" \
	"kafka: { brokers: \"127.0.0.1:9092\" }"
#define US(rest) "  us: { listen: \"0.0.0.0:8001\", database: \"postgresql://us\"" rest " }"
#define ALL_TLS  ", tls: { certificate: c, key: k, client_ca: a }"

static void tls_is_complete_and_on_all_hops_of_a_kind_or_absent(void **state)
{
	static const struct line lines[] = {
		{ "  us:", US(", tls: { certificate: c, key: k }"),
		  "regions.us.tls.client_ca: is missing; set it to the path of a file" },
		{ "  us:", US(ALL_TLS),
		  "regions.eu.tls: is missing, but region us has it; NGINX reaches all daemons with TLS or "
		  "all without" },
		{ "  us:", US(ALL_TLS),
		  "nginx.upstream_tls: is missing, but the regions have tls; set its certificate, key and "
		  "ca, with which NGINX connects to the daemons" },
		{ "kafka:", NGINX_TLS("}, upstream_tls: { certificate: c, key: k, ca: a"),
		  "nginx.upstream_tls: has no effect, since no region has tls; set regions.<name>.tls" },
		{ "kafka:", NGINX_TLS("certificate: c"),
		  "nginx.tls.key: is missing; set it to the path of a file" },
		{ "kafka:", NGINX_TLS("hsts: 1d"),
		  "nginx.tls.certificate: is missing; set it to the path of a file" },
		{ "kafka:", NGINX_TLS("certificate: c, key: k, redirect: \"8080\""),
		  "nginx.tls.redirect: is the port on which NGINX serves HTTPS (nginx.listen)" },
		{ "kafka:", NGINX_TLS("certificate: c, key: k, redirect: \"127.0.0.1:0\""),
		  "nginx.tls.redirect: must end in a port from 1 to 65535, not \"127.0.0.1:0\"" },
	};
	for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++) {
		char *text = fixture_with(lines[i].old, lines[i].with);
		fixture_refused(text, lines[i].problem, 2); // an incomplete part is also missing elsewhere
		free(text);
	}
}

static void a_remote_database_is_verified_unless_the_file_allows_otherwise(void **state)
{
	static const char verified[] = "  us: { listen: \"0.0.0.0:8001\", database: "
				       "\"postgresql://us?sslmode=verify-full&sslrootcert=/ca.crt\" }";
	char *text = fixture_with("database: { insecure", NULL);

	fixture_refused(text,
	                "3:43: regions.us.database: the connection to us would not be verified; add "
	                "sslmode=verify-full and sslrootcert=FILE, or set database.insecure: true if its "
	                "network is trusted",
	                1);
	free(text);
	text = fixture_with("  us:", verified);
	*strstr(text, "database: { insecure") = '#';
	fixture_refused(text, "regions.eu.database: the connection to eu would not be verified", 0);
	free(text);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(regions_must_not_share_addresses_databases_or_ids),
		cmocka_unit_test(regions_on_different_machines_may_listen_on_the_same_port),
		cmocka_unit_test(id_bases_that_are_close_together_are_warned_about),
		cmocka_unit_test(impossible_regions_are_refused),
		cmocka_unit_test(local_regions_need_a_unix_socket),
		cmocka_unit_test(a_password_that_ends_too_early_is_refused),
		cmocka_unit_test(a_connection_string_that_libpq_would_refuse_is_refused),
		cmocka_unit_test(connection_strings_of_all_kinds_are_accepted),
		cmocka_unit_test(the_region_asked_for_must_exist),
		cmocka_unit_test(names_that_cannot_be_fields_are_refused),
		cmocka_unit_test(rules_of_a_field_must_suit_its_type),
		cmocka_unit_test(tables_and_topics_must_not_be_shared),
		cmocka_unit_test(impossible_routes_are_refused),
		cmocka_unit_test(no_request_may_match_two_routes),
		cmocka_unit_test(kafka_and_nginx_must_make_sense),
		cmocka_unit_test(nginx_that_gives_up_before_a_daemon_is_warned_about),
		cmocka_unit_test(a_remote_database_is_verified_unless_the_file_allows_otherwise),
		cmocka_unit_test(tls_is_complete_and_on_all_hops_of_a_kind_or_absent),
	};
	return cmocka_run_group_tests(tests, fixture_setup, fixture_teardown);
}
