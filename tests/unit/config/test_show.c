// What `config show` prints: everything but secrets, in a form that can be loaded
// again.
#include "config/show.h"

#include "fixture.h"

#include <stdlib.h>
#include <string.h>

#include "base/json.h"

static struct pl_config *load(char *text)
{
	struct pl_config *config = fixture_load(text, "us");

	for (int i = 0; config == NULL && i < fixture_problems.n; i++)
		print_message("# said: %s\n", fixture_problems.lines[i].text);
	assert_non_null(config);
	free(text);
	return config;
}

static void the_output_can_be_loaded_and_prints_the_same_again(void **state)
{
	char *text = fixture_with("      bedrooms", "      bedrooms: { type: integer, min: 0, max: 100 }\n   "
	                                            "   name: { type: string, required: true, max_length: 80 "
	                                            "}\n"
	                                            "      sold: { type: boolean }");
	struct pl_config *config = load(text);
	struct pl_buf first = { 0 }, second = { 0 };

	pl_config_show(config, PL_SHOW_YAML, &first);
	pl_config_unref(&config);
	config = fixture_load(first.data, "us");
	for (int i = 0; config == NULL && i < fixture_problems.n; i++)
		print_message("# said: %s\n", fixture_problems.lines[i].text);
	assert_non_null(config);
	pl_config_show(config, PL_SHOW_YAML, &second);
	assert_string_equal(first.data, second.data);
	pl_config_unref(&config);
	pl_buf_fini(&first);
	pl_buf_fini(&second);
}

static void defaults_and_derived_values_are_shown(void **state)
{
	static const char *const lines[] = {
		"\n  workers: auto\n",
		"\n  max_body: 64KiB\n",
		"\n    table: properties\n",
		"\n    upstream: [\"127.0.0.1:8001\"]\n",
		"\n      on_duplicate: reject\n",
		"\n    reads: [error, timeout, http_502, http_503, http_504]\n",
		"\n    resource: properties\n",
		"\n        required: true\n",
	};
	struct pl_config *config = load(strdup(fixture_good));
	struct pl_buf buf = { 0 };

	pl_config_show(config, PL_SHOW_YAML, &buf);
	for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++)
		if (strstr(buf.data, lines[i]) == NULL)
			fail_msg("not shown: %s", lines[i]);
	pl_config_unref(&config);
	pl_buf_fini(&buf);
}

static void json_has_numbers_and_booleans(void **state)
{
	struct pl_config *config = load(strdup(fixture_good));
	struct pl_buf buf = { 0 };
	struct pl_error err;

	pl_config_show(config, PL_SHOW_JSON, &buf);
	cJSON *json = pl_json_parse(buf.data, buf.len, &pl_json_default_limits, &err);
	assert_non_null(json);
	assert_true(pl_json_is_number(pl_json_get(pl_json_get(json, "http"), "max_queued")));
	assert_true(cJSON_IsTrue(pl_json_get(pl_json_get(json, "conflicts"), "record")));
	const cJSON *price = pl_json_get(
		pl_json_get(pl_json_get(pl_json_get(json, "resources"), "properties"), "fields"), "price");
	assert_string_equal(pl_json_number_text(pl_json_get(price, "min")), "0");
	cJSON_Delete(json);
	pl_config_unref(&config);
	pl_buf_fini(&buf);
}

static void secrets_are_not_shown(void **state)
{
	char *first = fixture_with("  us:", "  us: { listen: \"0.0.0.0:8001\", database: "
	                                    "\"postgresql://plist:hunter2@db/plist\" }");
	char *kafka = strchr(first, '\n') + 1; // the first line is "kafka:"
	struct pl_buf text = { 0 };

	fixture_write("conf/k.secret", "hunter2");
	pl_buf_printf(&text,
	              "kafka: { brokers: \"h:1\", properties: { ssl.key.password: hunter2, "
	              "sasl.password_file: k.secret } }\n%s",
	              kafka);
	free(first);
	struct pl_config *config = load(text.data);
	for (int format = PL_SHOW_YAML; format <= PL_SHOW_JSON; format++) {
		struct pl_buf buf = { 0 };
		pl_config_show(config, format, &buf);
		assert_null(strstr(buf.data, "hunter2"));
		assert_non_null(strstr(buf.data, "postgresql://plist:***@db/plist"));
		assert_non_null(strstr(buf.data, "ssl.key.password"));
		pl_buf_fini(&buf);
	}
	pl_config_unref(&config);
}

static void a_dollar_sign_survives(void **state)
{
	char *text = fixture_with("  us:", "  us: { listen: \"0.0.0.0:8001\", database: \"host=$${x} "
	                                   "dbname=a$b\" }");
	struct pl_config *config = load(text);
	struct pl_buf buf = { 0 };

	assert_string_equal(config->regions[0].database, "host=${x} dbname=a$b");
	pl_config_show(config, PL_SHOW_YAML, &buf);
	pl_config_unref(&config);
	config = fixture_load(buf.data, "us");
	assert_non_null(config);
	assert_string_equal(config->regions[0].database, "host=${x} dbname=a$b");
	pl_config_unref(&config);
	pl_buf_fini(&buf);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_output_can_be_loaded_and_prints_the_same_again),
		cmocka_unit_test(defaults_and_derived_values_are_shown),
		cmocka_unit_test(json_has_numbers_and_booleans),
		cmocka_unit_test(secrets_are_not_shown),
		cmocka_unit_test(a_dollar_sign_survives),
	};
	return cmocka_run_group_tests(tests, fixture_setup, fixture_teardown);
}
