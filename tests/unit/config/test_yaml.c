// YAML: positions, and what plist refuses although libyaml accepts it.
#include "config/yaml.h"

#include "fixture.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"

static struct pl_arena *arena;
static struct pl_diagnostics diagnostics;

static int setup(void **state)
{
	arena = pl_arena_new(0);
	return 0;
}

static int teardown(void **state)
{
	pl_arena_free(&arena);
	pl_diagnostics_fini(&diagnostics);
	return 0;
}

static struct pl_yaml_node *parse(const char *text)
{
	return pl_yaml_parse(arena, "f", text, strlen(text), &diagnostics);
}

static void expect(const char *text, const char *problem)
{
	parse(text);
	assert_true(diagnostics.n >= 1);
	assert_string_equal(diagnostics.lines[0].text, problem);
	pl_diagnostics_fini(&diagnostics);
}

static void values_know_their_position(void **state)
{
	struct pl_yaml_node *root = parse("a:\n  b: [1, \"two\"]\n  c: { d: x }\n");
	const struct pl_yaml_node *a = pl_yaml_member(root, "a"), *b = pl_yaml_member(a, "b"),
				  *d = pl_yaml_member(pl_yaml_member(a, "c"), "d");

	assert_int_equal(root->kind, PL_YAML_MAP);
	assert_int_equal(a->key_line, 1);
	assert_int_equal(b->kind, PL_YAML_LIST);
	assert_int_equal(b->n, 2);
	assert_string_equal(b->first->next->text, "two");
	assert_int_equal(b->first->next->line, 2);
	assert_int_equal(b->first->next->column, 10);
	assert_int_equal(d->line, 3);
	assert_int_equal(d->column, 11);
	assert_int_equal(d->key_column, 8);
	assert_null(pl_yaml_member(d, "x"));
	assert_int_equal(diagnostics.n, 0);
}

static void columns_count_characters_not_bytes(void **state)
{
	struct pl_yaml_node *root = parse("{ \"äöü\": \"é\", x: 1 }");

	assert_int_equal(pl_yaml_member(root, "x")->column, 18);
}

static void empty_words_are_null_and_quoted_ones_are_not(void **state)
{
	struct pl_yaml_node *root = parse("a:\nb: ~\nc: null\nd: \"\"\ne: \"null\"\n");

	assert_true(pl_yaml_member(root, "a")->null);
	assert_true(pl_yaml_member(root, "b")->null);
	assert_true(pl_yaml_member(root, "c")->null);
	assert_false(pl_yaml_member(root, "d")->null);
	assert_false(pl_yaml_member(root, "e")->null);
}

static void an_empty_file_is_an_empty_map(void **state)
{
	assert_int_equal(parse("")->kind, PL_YAML_MAP);
	assert_int_equal(parse("# a comment\n")->kind, PL_YAML_MAP);
	assert_int_equal(parse("---\n...\n")->kind, PL_YAML_MAP);
	assert_int_equal(diagnostics.n, 0);
}

static void a_key_given_twice_is_refused_and_the_first_counts(void **state)
{
	struct pl_yaml_node *root = parse("a: 1\nb: 2\na: 3\n");

	assert_int_equal(diagnostics.n, 1);
	assert_string_equal(diagnostics.lines[0].text, "f:3:1: a: given twice; the first one is in line 1");
	assert_string_equal(pl_yaml_member(root, "a")->text, "1");
}

static void anchors_aliases_tags_and_second_documents_are_refused(void **state)
{
	expect("a: &x 1\n", "f:1:4: anchors (&name) are not supported: write the value where it is used");
	expect("a: &x { b: 1 }\n", "f:1:4: anchors (&name) are not supported: write the value where it is "
	                           "used");
	expect("a: *x\n", "f:1:4: aliases (*name) are not supported: write the value where it is used");
	expect("a: !!str 1\n", "f:1:4: tags (!name) are not supported");
	expect("a: !x [1]\n", "f:1:4: tags (!name) are not supported");
	expect("a: 1\n---\nb: 2\n", "f:2:1: a configuration must be a single document");
}

static void a_key_that_is_not_a_word_is_refused(void **state)
{
	expect("? [1]\n: 2\n", "f:1:3: a key must be a plain word");
	expect("? { a: 1 }\n: 2\n", "f:1:3: a key must be a plain word");
}

static void invalid_yaml_is_reported_with_its_position(void **state)
{
	expect("a: 1\n\tb: 2\n", "f:2:1: not YAML: found a tab character that violates indentation (while "
	                         "scanning a plain scalar)");
	expect("a: [1\n", "f:2:1: not YAML: did not find expected ',' or ']' (while parsing a flow "
	                  "sequence)");
	assert_null(parse("a: \"\n"));
	assert_null(parse("a: \xff\n"));
	assert_null(parse("a: \x01\n"));
	assert_int_equal(diagnostics.n, 3);
}

static void a_value_with_a_nul_is_refused(void **state)
{
	expect("a: \"b\\0c\"\n", "f:1:4: a value must not contain a NUL");
}

static void depth_is_capped(void **state)
{
	char text[200] = "a: ";

	memset(text + 3, '[', 150);
	assert_null(parse(text));
	assert_string_equal(diagnostics.lines[0].text, "f:1:19: nested too deeply");
}

static void nodes_are_capped(void **state)
{
	struct pl_buf text = { 0 };

	pl_buf_adds(&text, "a: [");
	for (int i = 0; i < PL_YAML_NODES_MAX; i++)
		pl_buf_adds(&text, "1,");
	pl_buf_adds(&text, "]\n");
	assert_null(parse(text.data));
	assert_non_null(strstr(diagnostics.lines[0].text, "too many values"));
	pl_buf_fini(&text);
}

static void bytes_are_capped(void **state)
{
	char *text = calloc(1, PL_YAML_BYTES_MAX + 2);

	memset(text, '#', PL_YAML_BYTES_MAX + 1);
	assert_null(parse(text));
	assert_string_equal(diagnostics.lines[0].text, "f:1:1: larger than 1048576 bytes");
	free(text);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(values_know_their_position, setup, teardown),
		cmocka_unit_test_setup_teardown(columns_count_characters_not_bytes, setup, teardown),
		cmocka_unit_test_setup_teardown(empty_words_are_null_and_quoted_ones_are_not, setup,
		                                teardown),
		cmocka_unit_test_setup_teardown(an_empty_file_is_an_empty_map, setup, teardown),
		cmocka_unit_test_setup_teardown(a_key_given_twice_is_refused_and_the_first_counts, setup,
		                                teardown),
		cmocka_unit_test_setup_teardown(anchors_aliases_tags_and_second_documents_are_refused, setup,
		                                teardown),
		cmocka_unit_test_setup_teardown(a_key_that_is_not_a_word_is_refused, setup, teardown),
		cmocka_unit_test_setup_teardown(invalid_yaml_is_reported_with_its_position, setup, teardown),
		cmocka_unit_test_setup_teardown(a_value_with_a_nul_is_refused, setup, teardown),
		cmocka_unit_test_setup_teardown(depth_is_capped, setup, teardown),
		cmocka_unit_test_setup_teardown(nodes_are_capped, setup, teardown),
		cmocka_unit_test_setup_teardown(bytes_are_capped, setup, teardown),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
