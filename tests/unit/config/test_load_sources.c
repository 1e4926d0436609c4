// Reading the Lua files: all of them, in order, and nothing from outside.
#include "fixture.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

// Loads a configuration with this Lua root. Each test has its own root, as if it were a
// mounted volume.
static void load(const char *root, bool good, const char *problem)
{
	char line[300];

	snprintf(line, sizeof(line), "kafka: { brokers: \"h:1\" }\nlua: { path: %s }", fixture_path(root));
	char *text = fixture_with("kafka:", line);
	struct pl_config *config = fixture_load(text, NULL);
	free(text);
	assert_true((config != NULL) == good);
	if (problem != NULL) {
		bool found = false;
		for (int i = 0; i < fixture_problems.n; i++)
			found |= strstr(fixture_problems.lines[i].text, problem) != NULL;
		if (!found)
			fail_msg("not reported: %s (but %s)", problem,
			         fixture_problems.n > 0 ? fixture_problems.lines[0].text : "nothing");
	}
	pl_config_unref(&config);
}

static void fill(const char *root)
{
	static const char *const files[] = { "handlers/property_get.lua", "handlers/property_put.lua",
		                             "policies/last_writer_wins.lua" };

	for (size_t i = 0; i < sizeof(files) / sizeof(files[0]); i++) {
		char name[128];
		snprintf(name, sizeof(name), "%s/%s", root, files[i]);
		fixture_write(name, "return {}\n");
	}
}

static void link_to(const char *target, const char *name)
{
	char path[512];

	snprintf(path, sizeof(path), "%s", fixture_path(name));
	assert_int_equal(symlink(target, path), 0);
}

static void all_lua_files_are_read_in_order(void **state)
{
	struct pl_config *config;

	fixture_write("lua/handlers/README", "no");
	fixture_write("lua/handlers/.hidden.lua", "no");
	fixture_write("lua/.git/x.lua", "no");
	fixture_write("lua/plist/deep/er.lua", "return 1");
	config = fixture_load(fixture_good, NULL);
	assert_non_null(config);
	int own = 0;
	for (int i = 0; i < config->nsources; i++)
		own += !config->sources[i].shipped;
	assert_int_equal(own, 9);
	for (int i = 1; i < config->nsources; i++)
		assert_true(strcmp(config->sources[i - 1].path, config->sources[i].path) < 0);
	const struct pl_script_source *source = pl_config_source(config, "plist/deep/er.lua");
	assert_non_null(source);
	assert_int_equal(source->len, 8);
	assert_string_equal(source->text, "return 1");
	assert_string_equal(source->sha256,
	                    "486d9affb60dbb0063b03d8e23a6ccf6364ce203dc3a9f56f20e750eb41ecade");
	assert_string_equal(source->file, fixture_path("lua/plist/deep/er.lua"));
	pl_config_unref(&config);
}

static void shipped_policies_are_used_where_the_root_has_none(void **state)
{
	fixture_write("own/handlers/property_get.lua", "return {}\n");
	fixture_write("own/handlers/property_put.lua", "return {}\n");
	load("own", true, NULL);
	char line[300];
	snprintf(line, sizeof(line), "kafka: { brokers: \"h:1\" }\nlua: { path: %s }", fixture_path("own"));
	char *text = fixture_with("kafka:", line);
	struct pl_config *config = fixture_load(text, NULL);
	const struct pl_script_source *source = pl_config_source(config, "policies/last_writer_wins.lua");
	char *file = fixture_read(fixture_source("lua/policies/last_writer_wins.lua"));
	assert_true(source->shipped);
	assert_string_equal(source->text, file);
	free(file);
	pl_config_unref(&config);
	fixture_write("own/policies/last_writer_wins.lua",
	              "return {}\n"); // and the operator's file takes precedence
	config = fixture_load(text, NULL);
	assert_string_equal(pl_config_source(config, "policies/last_writer_wins.lua")->text, "return {}\n");
	pl_config_unref(&config);
	free(text);
}

static const char *hash_now(void)
{
	static char hashes[4][80];
	static int n;
	struct pl_config *config = fixture_load(fixture_good, NULL);

	assert_non_null(config);
	n = (n + 1) % 4;
	snprintf(hashes[n], sizeof(hashes[n]), "%s", config->sha256);
	pl_config_unref(&config);
	return hashes[n];
}

static void the_hash_of_a_configuration_covers_its_lua_files(void **state)
{
	const char *before = hash_now(), *changed;

	assert_string_equal(before, hash_now());
	fixture_write("lua/plist/added.lua", "return 1");
	changed = hash_now();
	assert_string_not_equal(before, changed);
	fixture_write("lua/plist/added.lua", "return 2");
	assert_string_not_equal(changed, hash_now());
	unlink(fixture_path("lua/plist/added.lua"));
	assert_string_equal(before, hash_now());
}

static void links_inside_the_root_are_followed(void **state)
{
	fill("mounted/..2026_data");
	link_to("..2026_data", "mounted/..data");
	link_to("..data/handlers", "mounted/handlers");
	link_to("..data/policies", "mounted/policies");
	load("mounted", true, NULL);
}

static void links_that_lead_out_are_refused(void **state)
{
	fill("linked");
	fixture_write("outside/secret.lua", "return 1");
	link_to(fixture_path("outside/secret.lua"), "linked/handlers/secret.lua");
	load("linked", false,
	     "linked/handlers/secret.lua:1:1: is a symbolic link to a place outside the Lua root");
	assert_int_equal(unlink(fixture_path("linked/handlers/secret.lua")), 0);
	load("linked", true, NULL);
	link_to(fixture_path("outside"), "linked/more");
	load("linked", false, "linked/more:1:1: is a symbolic link to a place outside the Lua root");
	assert_int_equal(unlink(fixture_path("linked/more")), 0);
	link_to("/nonexistent", "linked/handlers/gone.lua");
	load("linked", false, "linked/handlers/gone.lua:1:1: No such file or directory");
}

static void the_root_itself_may_be_a_link(void **state)
{
	fill("real");
	link_to("real", "link");
	load("link", true, NULL);
}

static void a_circle_of_links_ends(void **state)
{
	fill("circle");
	link_to("..", "circle/handlers/up");
	load("circle", false, NULL); // ".." of handlers is the root itself, which is not below the root
	assert_int_equal(unlink(fixture_path("circle/handlers/up")), 0);
	link_to(".", "circle/handlers/here");
	load("circle", false, "directories are nested too deeply");
}

static void anything_but_a_regular_file_is_refused(void **state)
{
	fill("odd");
	assert_int_equal(mkfifo(fixture_path("odd/handlers/pipe.lua"), 0600), 0);
	load("odd", false, "odd/handlers/pipe.lua:1:1: is not a regular file");
}

static void sizes_and_numbers_are_capped(void **state)
{
	char *text = malloc(256 * 1024 + 2);

	fill("large");
	memset(text, '-', 256 * 1024 + 1);
	text[256 * 1024 + 1] = '\0';
	fixture_write("large/handlers/large.lua", text);
	load("large", false, "large/handlers/large.lua:1:1: is larger than 262144 bytes");
	text[256 * 1024] = '\0';
	fixture_write("large/handlers/large.lua", text);
	load("large", true, NULL);
	free(text);
	fill("many");
	for (int i = 0; i < 1000; i++) {
		char name[64];
		snprintf(name, sizeof(name), "many/handlers/h%d.lua", i);
		fixture_write(name, "");
	}
	load("many", false, "lua.path: more than 999 Lua files");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(all_lua_files_are_read_in_order),
		cmocka_unit_test(shipped_policies_are_used_where_the_root_has_none),
		cmocka_unit_test(the_hash_of_a_configuration_covers_its_lua_files),
		cmocka_unit_test(links_inside_the_root_are_followed),
		cmocka_unit_test(links_that_lead_out_are_refused),
		cmocka_unit_test(the_root_itself_may_be_a_link),
		cmocka_unit_test(a_circle_of_links_ends),
		cmocka_unit_test(anything_but_a_regular_file_is_refused),
		cmocka_unit_test(sizes_and_numbers_are_capped),
	};
	return cmocka_run_group_tests(tests, fixture_setup, fixture_teardown);
}
