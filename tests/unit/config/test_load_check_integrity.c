// Unique fields and references in the configuration: what is refused, what is shown,
// and what a reload applies.
#include "fixture.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "config/show.h"

#define TOPIC "    topic: property-updates"
#define FIELD "      bedrooms:"

static void refuse(const char *line, const char *with, const char *problem)
{
	char *text = fixture_with(line, with);

	fixture_refused(text, problem, 0);
	free(text);
}

static void mistakes_in_unique_are_named(void **state)
{
	static const struct {
		const char *unique, *problem;
	} cases[] = {
		{ "[price]", "each element must be a list with at least one value, such as [[room, day]]" },
		{ "price", "must be a list of lists, such as [[room, day]]" },
		{ "[]", "must be a list of lists" },
		{ "[[]]", "each element must be a list with at least one value" },
		{ "[[prise]]", "resources.properties.unique: there is no field \"prise\"" },
		{ "[[price, price]]", "[price,price] lists price twice" },
		{ "[[price, bedrooms], [bedrooms, price]]", "[bedrooms,price] is listed twice" },
		{ "[[Price]]", "must be a list of lists of one to eight fields" },
		{ "[[price], [bedrooms], [price, bedrooms], [a], [b], [c], [d], [e], [f]]",
		  "must have at most 8 elements" },
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		char with[256];

		snprintf(with, sizeof(with), TOPIC "\n    unique: %s", cases[i].unique);
		if (i == 8) { // its fields do not exist either
			char *text = fixture_with(TOPIC, with);

			fixture_refused(text, cases[i].problem, 9);
			free(text);
		} else {
			refuse(TOPIC, with, cases[i].problem);
		}
	}
}

static void mistakes_in_references_are_named(void **state)
{
	refuse(FIELD, FIELD " { type: integer, references: rooms }",
	       "resources.properties.fields.bedrooms.references: there is no resource \"rooms\"");
	refuse(FIELD, FIELD " { type: string, references: properties }",
	       "the field must be an integer, or a decimal with scale: 0");
	refuse(FIELD, FIELD " { type: integer, retired: true, references: properties }",
	       "the field is retired");
	refuse(TOPIC, TOPIC "\n    violations: policies/none.lua\n    unique: [[price]]",
	       "resources.properties.violations: there is no file policies/none.lua");
}

static void a_field_too_narrow_for_ids_is_warned_about(void **state)
{
	char *text = fixture_with(FIELD, FIELD " { type: integer, references: properties }");
	struct pl_config *config = fixture_load(text, NULL);

	assert_non_null(config);
	assert_int_equal(fixture_problems.warnings, 1);
	assert_true(config->resources[0].referenced);
	pl_config_unref(&config);
	free(text);
	text = fixture_with(FIELD,
	                    FIELD " { type: decimal, precision: 16, scale: 0, references: properties }");
	config = fixture_load(text, NULL);
	assert_non_null(config);
	assert_int_equal(fixture_problems.warnings, 0);
	pl_config_unref(&config);
	free(text);
}

static void unique_is_shown_in_a_form_that_can_be_loaded(void **state)
{
	char *text = fixture_with(TOPIC, TOPIC "\n    unique: [[price], [bedrooms, price]]");
	struct pl_config *config = fixture_load(text, NULL), *again;
	struct pl_buf shown = { 0 };

	assert_non_null(config);
	assert_int_equal(config->resources[0].nunique, 2);
	assert_int_equal(config->resources[0].uniques[1].n, 2);
	assert_int_equal(config->resources[0].uniques[1].fields[0], 1);
	pl_config_show(config, PL_SHOW_YAML, &shown);
	assert_non_null(strstr(shown.data, "unique: [[price], [bedrooms, price]]\n"));
	again = fixture_load(shown.data, NULL);
	assert_non_null(again);
	assert_string_equal(again->resources[0].unique[1], "bedrooms,price");
	pl_config_unref(&again);
	pl_config_unref(&config);
	pl_buf_fini(&shown);
	free(text);
}

static void a_reload_applies_unique(void **state)
{
	char *text = fixture_with(TOPIC, TOPIC "\n    unique: [[price]]");
	struct pl_config *running = fixture_load(fixture_good, NULL), *fresh = fixture_load(text, NULL);
	const char *names[4];

	assert_int_equal(pl_config_hold(running, fresh, names, 4), 0);
	assert_int_equal(fresh->resources[0].nunique, 1);
	assert_int_equal(fresh->resources[0].uniques[0].n, 1);
	assert_true(pl_config_is_guarded(&fresh->resources[0]));
	assert_false(pl_config_is_guarded(&running->resources[0]));
	pl_config_unref(&running);
	pl_config_unref(&fresh);
	free(text);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(mistakes_in_unique_are_named),
		cmocka_unit_test(mistakes_in_references_are_named),
		cmocka_unit_test(a_field_too_narrow_for_ids_is_warned_about),
		cmocka_unit_test(unique_is_shown_in_a_form_that_can_be_loaded),
		cmocka_unit_test(a_reload_applies_unique),
	};

	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests_name("config/load_check_integrity", tests, fixture_setup,
	                                   fixture_teardown);
}
