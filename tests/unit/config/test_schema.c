// The table of keys follows its own rules, and what is generated from it is
// well-formed.
#include "config/schema.h"

#include "fixture.h"

#include <regex.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"

// A struct large enough for any row to write into.
union any {
	struct pl_config config;
	struct pl_region region;
	struct pl_resource resource;
	struct pl_field field;
	struct pl_route route;
};

static const struct pl_key *parent_of(const struct pl_key *key)
{
	int n;
	const struct pl_key *rows = pl_schema_rows(&n);

	for (int i = 0; i < n; i++)
		for (const struct pl_key *member = NULL; (member = pl_schema_next(&rows[i], member)) != NULL;)
			if (member == key)
				return &rows[i];
	return NULL;
}

static void rows_follow_their_parent_and_occur_once(void **state)
{
	int n;
	const struct pl_key *rows = pl_schema_rows(&n);

	assert_true(n > 70);
	for (int i = 0; i < n; i++) {
		assert_ptr_equal(pl_schema_find(rows[i].path), &rows[i]);
		const struct pl_key *parent = parent_of(&rows[i]);
		if (strchr(rows[i].path, '.') != NULL && parent == NULL)
			fail_msg("%s has no parent", rows[i].path);
		if (parent != NULL && parent >= &rows[i])
			fail_msg("%s comes before its parent", rows[i].path);
		if (parent != NULL)
			assert_ptr_equal(pl_schema_member(parent, pl_schema_leaf(&rows[i])), &rows[i]);
	}
	assert_null(pl_schema_find("http.nothing"));
}

static void every_row_has_a_sentence(void **state)
{
	int n;
	const struct pl_key *rows = pl_schema_rows(&n);

	for (int i = 0; i < n; i++) {
		size_t len = rows[i].doc != NULL ? strlen(rows[i].doc) : 0;
		if (len < 10 || rows[i].doc[len - 1] != '.' || rows[i].doc[0] < 'A' || rows[i].doc[0] > 'Z')
			fail_msg("%s: its sentence is \"%s\"", rows[i].path,
			         rows[i].doc != NULL ? rows[i].doc : "");
	}
}

static void every_row_that_takes_a_value_has_a_member_of_its_size(void **state)
{
	int n;
	const struct pl_key *rows = pl_schema_rows(&n);

	for (int i = 0; i < n; i++) {
		size_t size = rows[i].size;
		bool good = true;
		switch (rows[i].type) {
		case PL_KEY_MAP: good = size == 0 || size == sizeof(bool); break;
		case PL_KEY_NAMED:
			good = size > 16 && rows[i].pattern != NULL && rows[i].form != NULL &&
			       rows[i].max > 0;
			break;
		case PL_KEY_SEQUENCE: good = size > 16 && rows[i].max > 0; break;
		case PL_KEY_BOOLEAN: good = size == sizeof(bool); break;
		case PL_KEY_DURATION:
		case PL_KEY_SIZE: good = size == 8; break;
		case PL_KEY_INTEGER: good = (size == 4 && rows[i].max <= INT32_MAX) || size == 8; break;
		case PL_KEY_CHOICE:
			good = (size == 4 || size == sizeof(char *)) && rows[i].choices != NULL;
			break;
		case PL_KEY_STRINGS:
		case PL_KEY_LISTS:
		case PL_KEY_PAIRS:
			good = size == sizeof(void *) && rows[i].count_offset > 0 && rows[i].max > 0;
			break;
		default: good = size == sizeof(char *); break;
		}
		if (!good)
			fail_msg("%s has a member of %zu bytes", rows[i].path, size);
	}
}

static void every_pattern_compiles_and_is_described(void **state)
{
	int n;
	const struct pl_key *rows = pl_schema_rows(&n);

	for (int i = 0; i < n; i++) {
		regex_t regex;
		if (rows[i].pattern == NULL)
			continue;
		assert_non_null(rows[i].form);
		if (regcomp(&regex, rows[i].pattern, REG_EXTENDED | REG_NOSUB) != 0)
			fail_msg("%s: %s", rows[i].path, rows[i].pattern);
		regfree(&regex);
	}
}

static void every_default_is_a_value_that_would_be_accepted(void **state)
{
	struct pl_arena *arena = pl_arena_new(0);
	union any *any = calloc(1, sizeof(*any));
	int n, tried = 0;
	const struct pl_key *rows = pl_schema_rows(&n);

	for (int i = 0; i < n; i++) {
		struct pl_error err;
		struct pl_buf buf = { 0 };
		if (rows[i].def == NULL || rows[i].type == PL_KEY_STRINGS)
			continue;
		tried++;
		if (pl_config_value_set(&rows[i], any, arena, rows[i].def, &err) < 0)
			fail_msg("%s: its default %s", rows[i].path, err.text);
		assert_true(pl_config_value_print(&rows[i], any, &buf));
		pl_buf_fini(&buf);
		if ((rows[i].flags & PL_KEY_REQUIRED) || rows[i].derived != NULL)
			fail_msg("%s: has a default, but is also required or derived", rows[i].path);
	}
	assert_true(tried > 40);
	free(any);
	pl_arena_free(&arena);
}

static void every_value_has_a_default_or_is_required(void **state)
{
	int n;
	const struct pl_key *rows = pl_schema_rows(&n);

	for (int i = 0; i < n; i++)
		if (pl_schema_is_leaf(&rows[i]) && rows[i].type != PL_KEY_PAIRS && rows[i].def == NULL &&
		    rows[i].derived == NULL && !(rows[i].flags & (PL_KEY_REQUIRED | PL_KEY_SECRET)))
			fail_msg("%s: may be missing, but has no default", rows[i].path);
}

static void misspelt_keys_find_the_nearest_key(void **state)
{
	static const char *const words[][3] = {
		{ "http", "worker", "workers" },
		{ "http", "max_bdoy", "max_body" },
		{ "regions", "databse", "database" },
		{ "regions", "databse_file", "database_file" },
		{ "routes", "metod", "method" },
		{ "routes[].idempotency", "on_duplicates", "on_duplicate" },
		{ "resources.<name>.fields", "requred", "required" },
		{ "kafka", "broker", "brokers" },
	};
	char text[64];

	for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
		const struct pl_key *parent = pl_schema_find(words[i][0]);
		assert_non_null(pl_schema_suggest(parent, words[i][1], text, sizeof(text)));
		assert_string_equal(text, words[i][2]);
	}
	assert_string_equal(pl_schema_suggest(NULL, "kafak", text, sizeof(text)), "kafka");
	assert_null(pl_schema_suggest(NULL, "something_else", text, sizeof(text)));
	assert_null(pl_schema_suggest(NULL, "", text, sizeof(text)));
}

static void distances_count_edits_and_swaps(void **state)
{
	char far[100];

	assert_int_equal(pl_schema_distance("listen", "listen"), 0);
	assert_int_equal(pl_schema_distance("lisen", "listen"), 1);
	assert_int_equal(pl_schema_distance("listne", "listen"), 1);
	assert_int_equal(pl_schema_distance("routes", "listen"), -1);
	memset(far, 'a', sizeof(far) - 1);
	far[sizeof(far) - 1] = '\0';
	assert_int_equal(pl_schema_distance(far, far), -1);
}

static void secrets_of_kafka_are_known_by_name(void **state)
{
	assert_true(pl_schema_is_secret_setting("sasl.password"));
	assert_true(pl_schema_is_secret_setting("ssl.key.password"));
	assert_true(pl_schema_is_secret_setting("ssl.key.pem"));
	assert_true(pl_schema_is_secret_setting("sasl.oauthbearer.client.secret"));
	assert_false(pl_schema_is_secret_setting("sasl.username"));
	assert_false(pl_schema_is_secret_setting("ssl.ca.location"));
}

static void json_schema_has_every_key(void **state)
{
	struct pl_buf buf = { 0 };
	int n;
	const struct pl_key *rows = pl_schema_rows(&n);

	pl_jsonschema_print(&buf);
	cJSON *schema = cJSON_Parse(buf.data);
	assert_non_null(schema);
	assert_string_equal(pl_json_string(schema, "$schema"),
	                    "https://json-schema.org/draft/2020-12/schema");
	for (int i = 0; i < n; i++) {
		char path[128], *save = NULL;
		const cJSON *at = schema;
		snprintf(path, sizeof(path), "%s", rows[i].path);
		for (char *part = strtok_r(path, ".", &save); part != NULL;
		     part = strtok_r(NULL, ".", &save)) {
			char *brackets = strstr(part, "[]");
			if (brackets != NULL)
				*brackets = '\0';
			at = strcmp(part, "<name>") == 0 ? pl_json_get(at, "additionalProperties")
			                                 : pl_json_get(pl_json_get(at, "properties"), part);
			if (brackets != NULL)
				at = pl_json_get(at, "items");
			if (at == NULL)
				fail_msg("%s is not in the schema", rows[i].path);
		}
		assert_string_equal(pl_json_string(at, "description"), rows[i].doc);
	}
	cJSON_Delete(schema);
	pl_buf_fini(&buf);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(rows_follow_their_parent_and_occur_once),
		cmocka_unit_test(every_row_has_a_sentence),
		cmocka_unit_test(every_row_that_takes_a_value_has_a_member_of_its_size),
		cmocka_unit_test(every_pattern_compiles_and_is_described),
		cmocka_unit_test(every_default_is_a_value_that_would_be_accepted),
		cmocka_unit_test(every_value_has_a_default_or_is_required),
		cmocka_unit_test(misspelt_keys_find_the_nearest_key),
		cmocka_unit_test(distances_count_edits_and_swaps),
		cmocka_unit_test(secrets_of_kafka_are_known_by_name),
		cmocka_unit_test(json_schema_has_every_key),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
