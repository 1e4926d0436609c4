// What a reload can apply, and what requires a restart.
#include "fixture.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "config/schema.h"
#include "config/show.h"

// The keys that differ and require a restart, joined by spaces.
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

static void a_reload_applies_routes_field_rules_and_limits(void **state)
{
	expect("  - { method: GET",
	       "  - { method: GET, path: \"/:region/x\", handler: handlers/property_list.lua }", "");
	expect("      bedrooms", "      bedrooms: { type: integer, min: 1, max: 10 }", "");
	expect("    topic:", "    topic: property-updates\n    policy: policies/region_order.lua", "");
	expect("kafka:", "kafka: { brokers: \"127.0.0.1:9092\" }\nhttp: { max_body: 1KiB, max_queued: 5 }",
	       "");
	expect("  eu:",
	       "  eu: { listen: \"0.0.0.0:8002\", database: \"postgresql://eu\" }\n  ap: { listen: "
	       "\"0.0.0.0:8003\" }",
	       "");
}

static void settings_that_are_bound_at_startup_need_a_restart(void **state)
{
	expect("kafka:", "kafka: { brokers: \"127.0.0.1:9093\" }\nhttp: { workers: 3 }",
	       "http.workers kafka.brokers");
	expect("kafka:", "kafka: { brokers: \"127.0.0.1:9092\", properties: { linger.ms: 1 } }",
	       "kafka.properties");
	expect("  us:", "  us: { listen: \"0.0.0.0:8009\", database: \"postgresql://other\" }",
	       "regions.us.listen regions.us.database");
	expect("    topic:", "    topic: other\n    track_fields: true",
	       "resources.properties.topic resources.properties.track_fields");
	expect("      bedrooms", "      bedrooms: { type: decimal }",
	       "resources.properties.fields.bedrooms.type");
	expect("      bedrooms", "      rooms: { type: integer }",
	       "resources.properties.fields.rooms resources.properties.fields.bedrooms");
	expect("routes:", "  houses: { topic: h, fields: { a: { type: integer } } }\nroutes:",
	       "resources.houses");
}

// A value other than the default, for keys whose form does not allow a number.
static const char *other_value(const struct pl_key *key)
{
	static const struct {
		const char *path, *value;
	} values[] = {
		{ "kafka.brokers", "other:9092" },
		{ "regions.<name>.listen", "127.0.0.1:7001" },
		{ "regions.<name>.admin_listen", "\"127.0.0.1:9007\"" },
		{ "kafka.properties", "{ linger.ms: 7 }" },
		{ "regions.<name>.database", "postgresql://elsewhere" },
		{ "resources.<name>.fields.<name>.type", "string" },
		{ "resources.<name>.table", "other_table" },
		{ "resources.<name>.topic", "other-topic" },
	};
	static struct pl_buf buf;

	for (size_t i = 0; i < sizeof(values) / sizeof(values[0]); i++)
		if (strcmp(values[i].path, key->path) == 0)
			return values[i].value;
	if (key->type == PL_KEY_BOOLEAN)
		return "true";
	if (key->type == PL_KEY_STRING)
		return "other";
	pl_buf_reset(&buf);
	pl_config_value_print_int(key, key->min + (key->type == PL_KEY_DURATION ? 1000000 : 2), &buf);
	return buf.data;
}

// fixture_good with one key of the table set; malloc'ed.
static char *with_key(const struct pl_key *key)
{
	const char *leaf = pl_schema_leaf(key), *value = other_value(key);
	char line[512], extra[128];

	if (strncmp(key->path, "regions.<name>.tls.", 19) == 0) {
		char *text = fixture_secure("c");
		char *member = strstr(strstr(text, "  us:"), leaf);

		member[strlen(leaf) + 2] = 'x'; // "key: k" is now "key: x"
		return text;
	}
	if (strncmp(key->path, "regions.<name>.", 15) == 0) {
		bool given = strcmp(leaf, "listen") == 0 || strcmp(leaf, "database") == 0;

		snprintf(extra, sizeof(extra), "%s: %s", given ? "upstream" : leaf,
		         given ? "\"127.0.0.1:8001\"" : value);
		snprintf(line, sizeof(line), "  us: { listen: %s, database: %s, %s }",
		         strcmp(leaf, "listen") == 0 ? value : "\"0.0.0.0:8001\"",
		         strcmp(leaf, "database") == 0 ? value : "\"postgresql://us\"", extra);
		return fixture_with("  us:", line);
	}
	if (strcmp(leaf, "retired") == 0)
		return fixture_with("      bedrooms", "      bedrooms: { type: integer, retired: true }");
	if (strncmp(key->path, "resources.<name>.fields", 23) == 0)
		return fixture_with("      bedrooms", "      bedrooms: { type: string }");
	if (strncmp(key->path, "resources.<name>.", 17) == 0) {
		snprintf(line, sizeof(line), "    topic: %s\n    %s: %s",
		         strcmp(leaf, "topic") == 0 ? value : "property-updates",
		         strcmp(leaf, "topic") == 0 ? "title" : leaf,
		         strcmp(leaf, "topic") == 0 ? "Property" : value);
		return fixture_with("    topic:", line);
	}
	if (strncmp(key->path, "database.", 9) == 0) {
		snprintf(line, sizeof(line), "database: { insecure: true, %s: %s }", leaf, value);
		return fixture_with("database: { insecure", line);
	}
	if (strncmp(key->path, "kafka.", 6) == 0)
		snprintf(line, sizeof(line), "kafka: { %s%s: %s }",
		         strcmp(leaf, "brokers") == 0 ? "" : "brokers: \"127.0.0.1:9092\", ", leaf, value);
	else
		snprintf(line, sizeof(line), "kafka: { brokers: \"127.0.0.1:9092\" }\n%.*s: { %s: %s }",
		         (int)(leaf - key->path - 1), key->path, leaf, value);
	return fixture_with("kafka:", line);
}

static char *shown(const struct pl_config *config)
{
	struct pl_buf buf = { 0 };

	pl_config_show(config, PL_SHOW_YAML, &buf);
	return buf.data;
}

// Loads the text like a reload, and expects the effective configuration to be
// unchanged.
static void held(const struct pl_config *running, char *text, const char *path, const char *first_name)
{
	struct pl_config *fresh = fixture_load(text, NULL);
	const char *names[16];
	char *before = shown(running), *after;
	int n;

	for (int i = 0; fresh == NULL && i < fixture_problems.n; i++)
		print_message("# %s: %s\n", path, fixture_problems.lines[i].text);
	assert_non_null(fresh);
	n = pl_config_hold(running, fresh, names, 16);
	if (n < 1 || strstr(names[0], first_name) == NULL)
		fail_msg("%s: %d held, first %s", path, n, n > 0 ? names[0] : "");
	after = shown(fresh);
	if (strcmp(before, after) != 0)
		fail_msg("%s took effect:\n%s", path, after);
	free(before);
	free(after);
	pl_config_unref(&fresh);
	free(text);
}

static void no_key_that_needs_a_restart_takes_effect_before_it(void **state)
{
	struct pl_config *running = fixture_load(fixture_good, NULL), *secure;
	char *text = fixture_secure("c");
	int n, tried = 0;
	const struct pl_key *rows = pl_schema_rows(&n);

	secure = fixture_load(text, NULL);
	assert_non_null(secure);
	for (int i = 0; i < n; i++)
		if ((rows[i].flags & PL_KEY_RESTART) && pl_schema_is_leaf(&rows[i]) &&
		    strcmp(rows[i].path, "admin.listen") != 0 &&      // not for two regions on one host
		    strcmp(rows[i].path, "database.insecure") != 0) { // the fixture needs it
			held(strstr(rows[i].path, ".tls.") ? secure : running, with_key(&rows[i]),
			     rows[i].path, pl_schema_leaf(&rows[i]));
			tried++;
		}
	assert_true(tried >= 25);
	pl_config_unref(&running);
	pl_config_unref(&secure);
	free(text);
}

static void resources_and_fields_come_and_go_with_a_restart_alone(void **state)
{
	struct pl_config *running = fixture_load(fixture_good, NULL);
	char *text;

	held(running, fixture_with("      bedrooms", "      rooms: { type: integer }"), "another field",
	     "fields.rooms");
	held(running, fixture_with("      bedrooms", NULL), "one field fewer", "fields.bedrooms");
	held(running,
	     fixture_with("routes:", "  rooms: { topic: r, fields: { a: { type: integer } } }\nroutes:\n"
	                             "  - { method: GET, path: \"/:region/rooms/:id\", handler: "
	                             "handlers/property_get.lua }"),
	     "another resource and its route", "resources.rooms");
	pl_config_unref(&running);
	text = fixture_with("routes:", "  rooms: { topic: r, fields: { a: { type: integer } } }\nroutes:");
	running = fixture_load(text, NULL);
	held(running, strdup(fixture_good), "one resource fewer", "resources.rooms");
	pl_config_unref(&running);
	free(text);
}

// Held values have their own memory: the configuration that was in use is freed.
static void held_values_outlive_the_configuration_that_they_came_from(void **state)
{
	struct pl_config *running = fixture_load(fixture_good, NULL), *fresh;
	char *text = fixture_with("kafka:", "kafka: { brokers: \"other:1\", properties: { linger.ms: 1 } }"),
	     *after;
	const char *names[8];

	fresh = fixture_load(text, NULL);
	pl_config_hold(running, fresh, names, 8);
	pl_config_unref(&running);
	after = shown(fresh);
	assert_non_null(strstr(after, "127.0.0.1:9092"));
	assert_null(strstr(after, "linger.ms"));
	free(after);
	free(text);
	pl_config_unref(&fresh);
}

static void ids_stay_in_their_range_when_an_earlier_region_is_removed(void **state)
{
	struct pl_config *running = fixture_load(fixture_good, NULL), *fresh;
	char *text = fixture_with("  us:", NULL);
	const char *names[8];

	fresh = fixture_load(text, NULL);
	assert_int_equal(pl_config_hold(running, fresh, names, 8),
	                 0); // nor does a restart change it, since the database stores it
	free(text);
	pl_config_unref(&running);
	pl_config_unref(&fresh);
}

static void no_more_names_than_there_is_room_for(void **state)
{
	struct pl_config *from = fixture_load(fixture_good, NULL);
	char *text = fixture_with("  us:", "  us: { listen: \"0.0.0.0:8009\", database: "
	                                   "\"postgresql://other\" }");
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
		cmocka_unit_test(a_reload_applies_routes_field_rules_and_limits),
		cmocka_unit_test(settings_that_are_bound_at_startup_need_a_restart),
		cmocka_unit_test(no_key_that_needs_a_restart_takes_effect_before_it),
		cmocka_unit_test(resources_and_fields_come_and_go_with_a_restart_alone),
		cmocka_unit_test(held_values_outlive_the_configuration_that_they_came_from),
		cmocka_unit_test(ids_stay_in_their_range_when_an_earlier_region_is_removed),
		cmocka_unit_test(no_more_names_than_there_is_room_for),
	};
	return cmocka_run_group_tests(tests, fixture_setup, fixture_teardown);
}
