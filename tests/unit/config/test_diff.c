// What a reload can take over and what it cannot.
#include "fixture.h"

#include <stdlib.h>
#include <string.h>

// The keys that differ and need a restart, joined by blanks.
static void expect(const char *line, const char *with, const char *keys)
{
	struct pl_config *from = fixture_load(fixture_good, NULL);
	char *text = fixture_with(line, with);
	struct pl_config *to = fixture_load(text, NULL);
	const char *names[8];
	char joined[256] = "";

	for (int i = 0; to == NULL && i < fixture_problems.n; i++)
		print_message("# said: %s\n", fixture_problems.lines[i].text);
	assert_non_null(from);
	assert_non_null(to);
	int n = pl_config_needs_restart(from, to, names, 8);
	for (int i = 0; i < n; i++) {
		strcat(joined, i > 0 ? " " : "");
		strcat(joined, names[i]);
	}
	assert_string_equal(joined, keys);
	pl_config_unref(&from);
	pl_config_unref(&to);
	free(text);
}

static void nothing_changed_needs_nothing(void **state)
{
	expect("kafka:", "# a comment\nkafka: { brokers: \"127.0.0.1:9092\", group: plist }", "");
}

static void routes_fields_rules_and_limits_are_taken_over(void **state)
{
	expect("  - { method: GET", "  - { method: GET, path: \"/:region/x\", handler: handlers/property_list.lua }", "");
	expect("      bedrooms", "      bedrooms: { type: integer, min: 1, max: 10 }", "");
	expect("    topic:", "    topic: property-updates\n    policy: policies/region_order.lua", "");
	expect("kafka:", "kafka: { brokers: \"127.0.0.1:9092\" }\nhttp: { max_body: 1KiB, queue: 5 }", "");
	expect("  eu:", "  eu: { listen: \"0.0.0.0:8002\", database: \"postgresql://eu\" }\n  ap: { listen: \"0.0.0.0:8003\" }", "");
}

static void what_is_bound_at_the_start_needs_a_restart(void **state)
{
	expect("kafka:", "kafka: { brokers: \"127.0.0.1:9093\" }\nhttp: { workers: 3 }", "http.workers kafka.brokers");
	expect("kafka:", "kafka: { brokers: \"127.0.0.1:9092\", properties: { linger.ms: 1 } }", "kafka.properties");
	expect("  us:", "  us: { listen: \"0.0.0.0:8009\", database: \"postgresql://other\" }", "regions.us.listen regions.us.database");
	expect("    topic:", "    topic: other\n    track_fields: true", "resources.properties.topic resources.properties.track_fields");
	expect("      bedrooms", "      bedrooms: { type: decimal }", "resources.properties.fields.bedrooms.type");
	expect("      bedrooms", "      rooms: { type: integer }", "resources.properties.fields.rooms resources.properties.fields.bedrooms");
	expect("routes:", "  houses: { topic: h, fields: { a: { type: integer } } }\nroutes:", "resources.houses");
}

static void no_more_names_than_there_is_room_for(void **state)
{
	struct pl_config *from = fixture_load(fixture_good, NULL);
	char *text = fixture_with("  us:", "  us: { listen: \"0.0.0.0:8009\", database: \"postgresql://other\" }");
	struct pl_config *to = fixture_load(text, NULL);
	const char *names[1];

	assert_int_equal(pl_config_needs_restart(from, to, names, 1), 1);
	assert_string_equal(names[0], "regions.us.listen");
	pl_config_unref(&from);
	pl_config_unref(&to);
	free(text);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(nothing_changed_needs_nothing),
		cmocka_unit_test(routes_fields_rules_and_limits_are_taken_over),
		cmocka_unit_test(what_is_bound_at_the_start_needs_a_restart),
		cmocka_unit_test(no_more_names_than_there_is_room_for),
	};
	return cmocka_run_group_tests(tests, fixture_setup, fixture_teardown);
}
