// Loading: a complete valid file, the environment, secrets, and problems with their
// positions.
#include "fixture.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/mem.h"

static struct pl_config *config;

static int teardown(void **state)
{
	pl_config_unref(&config);
	unsetenv("DATABASE_URL");
	unsetenv("PORT");
	unsetenv("KAFKA_BROKER");
	unsetenv("T_DB");
	return 0;
}

static void good(const char *text, const char *region)
{
	config = fixture_load(text, region);
	for (int i = 0; config == NULL && i < fixture_problems.n; i++)
		print_message("# said: %s\n", fixture_problems.lines[i].text);
	assert_non_null(config);
}

static void a_good_file_gives_its_values(void **state)
{
	good(fixture_good, "us");
	assert_int_equal(fixture_problems.n, 0);
	assert_int_equal(config->nregions, 2);
	assert_string_equal(config->regions[1].listen, "0.0.0.0:8002");
	assert_string_equal(config->regions[1].database, "postgresql://eu");
	assert_int_equal(config->nresources, 1);
	assert_int_equal(config->resources[0].nfields, 2);
	assert_true(config->resources[0].fields[0].type == PL_FIELD_DECIMAL);
	assert_true(config->resources[0].fields[0].required);
	assert_string_equal(config->resources[0].fields[1].max, "100");
	assert_int_equal(config->nroutes, 2);
	assert_true(config->routes[1].lock == PL_LOCK_REQUIRED);
	assert_true(config->routes[1].idempotent);
	assert_false(config->routes[0].idempotent);
	assert_int_equal(strlen(config->sha256), 64);
}

static void keys_that_are_not_given_have_their_defaults(void **state)
{
	good(fixture_good, "us");
	assert_int_equal(config->http.workers, 0);
	assert_int_equal(config->http.max_body, 65536);
	assert_int_equal(config->database.statement_timeout_us, 5000000);
	assert_int_equal(config->kafka.partitions, 8);
	assert_string_equal(config->kafka.group, "plist");
	assert_int_equal(config->conflicts.retention_us, INT64_C(90) * 86400 * 1000000);
	assert_true(config->conflicts.record);
	assert_int_equal(config->handler_limits.instructions, 10000000);
	assert_int_equal(config->policy_limits.memory, 8 << 20);
	assert_int_equal(config->nginx.nreads, 5);
	assert_string_equal(config->nginx.reads[4], "http_504");
	assert_true(config->nginx.writes == PL_WRITES_UNSENT);
	assert_int_equal(config->resources[0].fields[0].scale, 2);
	assert_string_equal(config->routes[1].id_header, "X-Request-ID");
	assert_true(config->routes[1].id_required);
	assert_int_equal(config->routes[1].ttl_us, INT64_C(86400) * 1000000);
	assert_null(config->http.principal_header);
}

static void derived_values_are_computed(void **state)
{
	good(fixture_good, "us");
	assert_string_equal(config->resources[0].table, "properties");
	assert_string_equal(config->resources[0].title, "Property");
	assert_string_equal(config->resources[0].policy, "policies/last_writer_wins.lua");
	assert_string_equal(config->routes[0].resource, "properties");
	assert_int_equal(config->routes[0].timeout_us, 10000000);
	assert_int_equal(config->regions[0].id_base, INT64_C(1000000000000));
	assert_int_equal(config->regions[1].id_base, INT64_C(2000000000000));
	assert_string_equal(config->regions[1].control_socket, "/run/plist/eu.sock");
	assert_string_equal(config->regions[0].upstream[0], "127.0.0.1:8001");
	assert_string_equal(pl_config_source(config, "handlers/property_get.lua")->text, "return {}\n");
	assert_int_equal(config->regions[1].index, 1);
	assert_int_equal(config->routes[1].index, 1);
}

static void relative_paths_are_relative_to_the_file(void **state)
{
	char *text = fixture_with("  us:", "  us: { listen: \"0.0.0.0:8001\", database: d=1, control_socket: "
	                                   "run/us.sock }");

	free(text);
	text = fixture_with("  us:", "  us: { listen: \"0.0.0.0:8001\", database: \"host=h\", "
	                             "control_socket: run/us.sock }");
	good(text, "us");
	assert_string_equal(config->regions[0].control_socket, fixture_path("conf/run/us.sock"));
	assert_string_equal(config->lua_root, fixture_path("lua"));
	free(text);
}

static void regions_resources_and_fields_are_found_by_name(void **state)
{
	good(fixture_good, "us");
	assert_ptr_equal(pl_config_region(config, "eu/x", 2), &config->regions[1]);
	assert_null(pl_config_region(config, "e", 1));
	assert_null(pl_config_region(config, "mars", 4));
	assert_non_null(pl_config_resource(config, "properties"));
	assert_null(pl_config_resource(config, "Properties"));
	assert_int_equal(pl_config_field(&config->resources[0], "bedrooms", 8), 1);
	assert_int_equal(pl_config_field(&config->resources[0], "bed", 3), -1);
	assert_null(pl_config_source(config, "handlers/none.lua"));
}

static void a_reference_keeps_the_configuration(void **state)
{
	good(fixture_good, "us");
	struct pl_config *other = pl_config_ref(config);
	pl_config_unref(&config);
	assert_null(config);
	assert_string_equal(other->regions[0].name, "us");
	pl_config_unref(&other);
	pl_config_unref(&other);
}

static void the_containers_variables_take_precedence(void **state)
{
	setenv("DATABASE_URL", "postgresql://from-env", 1);
	setenv("PORT", "9000", 1);
	setenv("KAFKA_BROKER", "kafka:9092", 1);
	good(fixture_good, "us");
	assert_string_equal(config->regions[0].database, "postgresql://from-env");
	assert_string_equal(config->regions[0].listen, "0.0.0.0:9000");
	assert_string_equal(config->regions[1].database, "postgresql://eu");
	assert_string_equal(config->regions[1].listen, "0.0.0.0:8002");
	assert_string_equal(config->kafka.brokers, "kafka:9092");
}

static void the_containers_variables_are_used_where_the_file_has_no_value(void **state)
{
	char *text = fixture_with("kafka:", NULL);

	setenv("KAFKA_BROKER", "kafka:9092", 1);
	good(text, "us");
	free(text);
	pl_config_unref(&config);
	setenv("DATABASE_URL", "postgresql://from-env", 1);
	text = fixture_with("  us:", "  us: { listen: \"[::]:1\", database: \"${T_DB}\" }");
	setenv("PORT", "9000", 1);
	good(text, "us");
	assert_string_equal(config->regions[0].listen, "[::]:9000");
	free(text);
}

static void a_bad_port_in_the_environment_is_refused(void **state)
{
	setenv("PORT", "80 80", 1);
	config = fixture_load(fixture_good, "us");
	assert_null(config);
	assert_true(fixture_said("3:7: regions.us.listen, from the environment variable PORT: must be an "
	                         "address and port such as "
	                         "\"0.0.0.0:8001\" or \"[::1]:8001\", not \"0.0.0.0:80 80\""));
}

static void another_regions_database_need_not_be_known(void **state)
{
	char *text = fixture_with("  eu:", "  eu: { listen: \"0.0.0.0:8002\", database: \"${T_DB}\" }");

	good(text, "us");
	assert_int_equal(fixture_problems.n, 0);
	assert_null(config->regions[1].database);
	pl_config_unref(&config);
	good(text, NULL); // for all regions: a warning
	assert_int_equal(fixture_problems.warnings, 1);
	assert_true(fixture_said("4:43: warning: regions.eu.database: the environment variable T_DB is not "
	                         "set (${T_DB:-} if it may be empty)"));
	pl_config_unref(&config);
	assert_null(fixture_load(text, "eu"));
	assert_true(fixture_said("4:43: regions.eu.database: the environment variable T_DB is not set "
	                         "(${T_DB:-} if it may be empty)"));
	free(text);
}

static void the_regions_own_database_must_be_known(void **state)
{
	char *text = fixture_with("  us:", "  us: { listen: \"0.0.0.0:8001\" }");

	assert_null(fixture_load(text, "us"));
	assert_true(fixture_said("3:3: regions.us.database: is missing"));
	good(text, "eu");
	free(text);
	text = fixture_with("  us:", "  us: { listen: \"0.0.0.0:8001\", database: \"${T_DB:-}\" }");
	pl_config_unref(&config);
	assert_null(fixture_load(text, "us"));
	assert_true(fixture_said("3:43: regions.us.database: is empty"));
	free(text);
}

static void a_secret_may_be_in_a_file(void **state)
{
	char *text = fixture_with("  us:", "  us: { listen: \"0.0.0.0:8001\", database_file: us.secret }");

	fixture_write("conf/us.secret", "postgresql://from-file\n");
	good(text, "us");
	assert_string_equal(config->regions[0].database, "postgresql://from-file");
	pl_config_unref(&config);
	fixture_write("conf/us.secret", "\n");
	assert_null(fixture_load(text, "us"));
	assert_true(fixture_said("3:48: regions.us.database_file: us.secret: is empty"));
	unlink(fixture_path("conf/us.secret"));
	assert_null(fixture_load(text, "us"));
	assert_true(fixture_said("3:48: regions.us.database_file: us.secret: No such file or directory"));
	good(text, "eu");
	free(text);
}

static void a_secret_that_others_can_read_is_refused(void **state)
{
	static const char *const lines[][2] = {
		{ "  us:", "  us: { listen: \"0.0.0.0:8001\", database_file: a.secret }" },
		{ "kafka:", "kafka: { brokers: \"h:1\", properties: { sasl.password_file: a.secret } }" },
	};
	static const int modes[] = { 0604, 0602, 0620, 0644, 0666 };

	for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++) {
		char *text = fixture_with(lines[i][0], lines[i][1]);
		fixture_write("conf/a.secret", "postgresql://from-file\n");
		good(text, NULL);
		pl_config_unref(&config);
		for (size_t j = 0; j < sizeof(modes) / sizeof(modes[0]); j++) {
			assert_int_equal(chmod(fixture_path("conf/a.secret"), (mode_t)modes[j]), 0);
			config = fixture_load(text, NULL);
			assert_null(config);
			assert_non_null(strstr(fixture_problems.lines[0].text, "_file: a.secret holds "
			                                                       "secrets but has mode"));
		}
		unlink(fixture_path("conf/a.secret"));
		free(text);
	}
}

static void a_secret_given_twice_is_refused(void **state)
{
	char *text = fixture_with("  us:", "  us: { listen: \"0.0.0.0:8001\", database: \"host=h\", "
	                                   "database_file: us.secret }");

	assert_null(fixture_load(text, "us"));
	assert_true(fixture_said("3:53: regions.us.database_file: given together with database"));
	free(text);
}

static void properties_of_kafka_are_passed_on_and_checked(void **state)
{
	char *text = fixture_with("kafka:", "kafka:\n  brokers: \"h:1\"\n  properties:\n    sasl.username: "
	                                    "me\n    linger.ms: 5\n"
	                                    "    sasl.password_file: kafka.secret");

	fixture_write("conf/kafka.secret", "hunter2\n");
	good(text, "us");
	assert_int_equal(config->kafka.npairs, 3);
	assert_string_equal(config->kafka.pairs[1].key, "linger.ms");
	assert_string_equal(config->kafka.pairs[1].value, "5");
	assert_string_equal(config->kafka.pairs[2].key, "sasl.password");
	assert_string_equal(config->kafka.pairs[2].value, "hunter2");
	free(text);
}

static void no_message_contains_a_secret(void **state)
{
	static const char *const lines[] = {
		"  us: { listen: \"0.0.0.0:8001\", database: \"hunter2 is no dsn\" }",
		"  us: { listen: \"0.0.0.0:8001\", database: \"hunter2\\n\" }",
		"  us: { listen: \"0.0.0.0:8001\", database: { hunter2: 1 } }",
		"  us: { listen: \"0.0.0.0:8001\", database: \"postgresql://u:hunter2@[h\" }",
	};
	static const char *const kafka[] = {
		"kafka: { brokers: \"h:1\", properties: { ssl.key.pem: hunter2, "
		"sasl.oauthbearer.client.secret_file: \"hunter2${T_NOT}\" } }",
		"kafka: { brokers: \"h:1\", properties: { ssl.keystore.password: hunter2, "
		"ssl.endpoint.identification.algorithm: x } }",
	};

	for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]) + sizeof(kafka) / sizeof(kafka[0]); i++) {
		size_t n = sizeof(lines) / sizeof(lines[0]);
		char *text = i < n ? fixture_with("  us:", lines[i]) : fixture_with("kafka:", kafka[i - n]);
		assert_null(fixture_load(text, "us"));
		for (int j = 0; j < fixture_problems.n; j++)
			if (strstr(fixture_problems.lines[j].text, "hunter2") != NULL)
				fail_msg("told: %s", fixture_problems.lines[j].text);
		free(text);
	}
}

static void all_problems_are_reported_in_one_run(void **state)
{
	config = fixture_load("htpp: {}\n"
	                      "http: { workers: many, max_body: 1 }\n"
	                      "regions: { us: { lisen: x }, EU: 5 }\n"
	                      "resources: []\n"
	                      "nginx: { failover: { writes: sometimes } }\n",
	                      NULL);
	assert_null(config);
	assert_true(fixture_said("1:1: htpp: there is no such key; did you mean \"http\"?"));
	assert_true(fixture_said("2:18: http.workers: must be a whole number or \"auto\", not \"many\""));
	assert_true(fixture_said("2:34: http.max_body: must be a number with a unit (B, KiB, MiB, GiB) such "
	                         "as 64KiB, not \"1\""));
	assert_true(fixture_said("3:18: regions.us.lisen: there is no such key; did you mean \"listen\"?"));
	assert_true(fixture_said("3:12: regions.us.listen: is missing"));
	assert_true(fixture_said("3:30: regions.EU: the name must be a lower-case letter, then up to 31 "
	                         "letters, digits and hyphens, not \"EU\""));
	assert_true(fixture_said("3:34: regions.EU: must be a map, not a value"));
	assert_true(fixture_said("4:12: resources: must be a map, not a list"));
	assert_true(fixture_said("5:30: nginx.failover.writes: must be unsent, always or never, not "
	                         "\"sometimes\""));
	assert_true(fixture_said("1:1: kafka.brokers: is missing"));
	assert_true(fixture_said("1:1: routes: is missing"));
	assert_int_equal(fixture_problems.n, 11);
	for (int i = 1; i < fixture_problems.n; i++) // in the order of the file
		assert_true(fixture_problems.lines[i - 1].line <= fixture_problems.lines[i].line);
}

static void values_of_the_wrong_kind_are_refused(void **state)
{
	fixture_refused("http: 5\n", "1:7: http: must be a map, not a value", 4);
	fixture_refused("http: [1]\n", "1:7: http: must be a map, not a list", 4);
	fixture_refused("http: { workers: [1] }\n", "1:18: http.workers: must be a value, not a list", 4);
	fixture_refused("http: { workers: }\n", "1:18: http.workers: must be a value, not nothing", 4);
	fixture_refused("routes: {}\n", "1:9: routes: must be a list, not a map", 3);
	fixture_refused("routes: []\n", "1:9: routes: must have 1 to 256 members, not 0", 3);
	fixture_refused("routes: [x]\n", "1:10: routes[0]: must be a map, not a value", 3);
	fixture_refused("regions: {}\n", "1:10: regions: must have 1 to 16 members, not 0", 3);
	fixture_refused("nginx: { failover: { reads: [] } }\n",
	                "1:29: nginx.failover.reads: must be a list with at least one value, not an empty "
	                "list",
	                4);
	fixture_refused("kafka: { properties: x }\n",
	                "1:22: kafka.properties: must be a map with at most 256 members", 4);
	fixture_refused("just words\n", "1:1: a configuration must be a map, not a value", 0);
}

static void an_empty_section_counts_as_missing(void **state)
{
	char *text = fixture_with("kafka:", "http:\nnginx: ~\nkafka: { brokers: \"h:1\", properties: }");

	good(text, "us");
	free(text);
}

static void a_missing_file_is_a_problem(void **state)
{
	pl_diagnostics_fini(&fixture_problems);
	assert_null(pl_config_load(fixture_path("conf/none.yaml"), NULL, &fixture_problems));
	assert_int_equal(fixture_problems.n, 1);
	assert_non_null(strstr(fixture_problems.lines[0].text, "none.yaml:1:1: No such file or directory"));
	pl_diagnostics_fini(&fixture_problems);
	assert_null(pl_config_load(fixture_path("conf"), NULL, &fixture_problems));
	assert_non_null(strstr(fixture_problems.lines[0].text, "is a directory"));
}

static void shipped_examples_load(void **state)
{
	static const char *const files[] = { "conf/plist.yaml", "conf/plist-three.yaml",
		                             "conf/plist-hardened.yaml", "conf/plist-tls.yaml" };
	static const int regions[] = { 2, 3, 2, 2 };

	for (int i = 0; i < 4; i++) {
		char *text = fixture_read(fixture_source(files[i]));
		setenv("T_DB", "x", 1);
		setenv("PLIST_SECRETS", fixture_path("secrets"), 1);
		fixture_write("secrets/kafka-password", "hunter2\n");
		good(text, NULL);
		assert_int_equal(config->nregions, regions[i]);
		assert_int_equal(config->nroutes, 5);
		assert_int_equal(fixture_problems.warnings, regions[i]); // the databases are unknown here
		pl_config_unref(&config);
		free(text);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_teardown(a_good_file_gives_its_values, teardown),
		cmocka_unit_test_teardown(keys_that_are_not_given_have_their_defaults, teardown),
		cmocka_unit_test_teardown(derived_values_are_computed, teardown),
		cmocka_unit_test_teardown(relative_paths_are_relative_to_the_file, teardown),
		cmocka_unit_test_teardown(regions_resources_and_fields_are_found_by_name, teardown),
		cmocka_unit_test_teardown(a_reference_keeps_the_configuration, teardown),
		cmocka_unit_test_teardown(the_containers_variables_take_precedence, teardown),
		cmocka_unit_test_teardown(the_containers_variables_are_used_where_the_file_has_no_value,
		                          teardown),
		cmocka_unit_test_teardown(a_bad_port_in_the_environment_is_refused, teardown),
		cmocka_unit_test_teardown(another_regions_database_need_not_be_known, teardown),
		cmocka_unit_test_teardown(the_regions_own_database_must_be_known, teardown),
		cmocka_unit_test_teardown(a_secret_may_be_in_a_file, teardown),
		cmocka_unit_test_teardown(a_secret_that_others_can_read_is_refused, teardown),
		cmocka_unit_test_teardown(a_secret_given_twice_is_refused, teardown),
		cmocka_unit_test_teardown(properties_of_kafka_are_passed_on_and_checked, teardown),
		cmocka_unit_test_teardown(no_message_contains_a_secret, teardown),
		cmocka_unit_test_teardown(all_problems_are_reported_in_one_run, teardown),
		cmocka_unit_test_teardown(values_of_the_wrong_kind_are_refused, teardown),
		cmocka_unit_test_teardown(an_empty_section_counts_as_missing, teardown),
		cmocka_unit_test_teardown(a_missing_file_is_a_problem, teardown),
		cmocka_unit_test_teardown(shipped_examples_load, teardown),
	};
	return cmocka_run_group_tests(tests, fixture_setup, fixture_teardown);
}
