// Renamed keys: an old key is refused, and the message names the new one.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <string.h>

#include "config/renamed.h"
#include "config/schema.h"

static const struct {
	const char *old, *parent, *leaf;
} cases[] = {
	// clang-format off
	{ "nginx.beside", "nginx", "local_regions" },
	{ "kafka.pace", "kafka", "linger" },
	{ "http.queue", "http", "max_queued" },
	{ "database.writers", "database", "write_connections" },
	{ "database.readers", "database", "read_connections_per_worker" },
	{ "regions.us.control", "regions.<name>", "control_socket" },
	{ "regions.us.socket", "regions.<name>", "unix_socket" },
	{ "resources.us.shadow", "resources.<name>", "shadow_policy" },
	// clang-format on
};

static void every_old_key_has_its_new_word(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		const char *leaf = pl_renamed_key(cases[i].old);

		assert_non_null(leaf);
		assert_string_equal(leaf, cases[i].leaf);
	}
}

static void the_new_word_is_a_key_and_the_old_one_is_not(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		char path[128];

		snprintf(path, sizeof(path), "%s.%s", cases[i].parent, cases[i].leaf);
		assert_non_null(pl_schema_find(path));
		snprintf(path, sizeof(path), "%s.%s", cases[i].parent, strrchr(cases[i].old, '.') + 1);
		assert_null(pl_schema_find(path));
	}
}

static void other_words_are_not_renamed(void **state)
{
	(void)state;
	assert_null(pl_renamed_key("kafka.peace"));
	assert_null(pl_renamed_key("kafka.pace.more"));
	assert_null(pl_renamed_key("regions.us.upstream.socket"));
	assert_null(pl_renamed_key("socket"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_old_key_has_its_new_word),
		cmocka_unit_test(the_new_word_is_a_key_and_the_old_one_is_not),
		cmocka_unit_test(other_words_are_not_renamed),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
