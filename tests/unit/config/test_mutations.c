// Every key of the shipped examples, and of the complete output of `config show`, is
// changed in every way: removed, misspelt, another kind, out of range, nonsense. Each
// change is refused with the position of the key, or accepted if the table allows it.
#include "fixture.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/mem.h"
#include "config/schema.h"
#include "config/show.h"
#include "config/yaml.h"

enum change { AS_IT_IS, REMOVED, MISSPELT, A_MAP, A_LIST, EMPTY, NONSENSE, TOO_SMALL, TOO_LARGE };
static const char *const change_names[] = { "as it is", "removed",  "misspelt",  "a map",    "a list",
	                                    "empty",    "nonsense", "too small", "too large" };

// The node that is changed, and its position in the resulting text.
struct writer {
	struct pl_buf buf;
	const struct pl_yaml_node *changed;
	const struct pl_key *key;
	enum change change;
	int line;
	int key_line, value_line;
};

static void newline(struct writer *w, int depth)
{
	pl_buf_addc(&w->buf, '\n');
	w->line++;
	for (int i = 0; i < depth; i++)
		pl_buf_adds(&w->buf, "  ");
}

static void write_node(struct writer *w, const struct pl_yaml_node *node, int depth);

static void write_number(struct pl_buf *value, const struct pl_key *key, int64_t number)
{
	if (key->type == PL_KEY_INTEGER)
		pl_buf_add_i64(value, number); // a number even if the default is a word
	else
		pl_config_value_print_int(key, number, value);
}

static void write_change(struct writer *w)
{
	struct pl_buf value = { 0 };

	switch (w->change) {
	case A_MAP: pl_buf_adds(&value, "{ a: 1 }"); break;
	case A_LIST: pl_buf_adds(&value, "[{}]"); break;
	case NONSENSE: pl_buf_adds(&value, "\"\\x01 ;}{ :\""); break;
	case TOO_SMALL: write_number(&value, w->key, w->key->min - 1); break;
	case TOO_LARGE: write_number(&value, w->key, w->key->max + 1); break;
	default: break;
	}
	if (value.len > 0)
		pl_buf_add(&w->buf, value.data, value.len);
	pl_buf_fini(&value);
}

static void write_member(struct writer *w, const struct pl_yaml_node *node, int depth)
{
	bool changed = node == w->changed;

	if (changed && w->change == REMOVED)
		return;
	newline(w, depth);
	if (changed)
		w->key_line = w->value_line = w->line;
	pl_buf_printf(&w->buf, "%s%s: ", node->key, changed && w->change == MISSPELT ? "x" : "");
	if (changed && w->change > MISSPELT)
		write_change(w);
	else
		write_node(w, node, depth + 1);
}

static void write_node(struct writer *w, const struct pl_yaml_node *node, int depth)
{
	if (node->kind == PL_YAML_SCALAR) {
		pl_buf_add_json(&w->buf, node->text, strlen(node->text));
		return;
	}
	if (node->n == 0)
		pl_buf_adds(&w->buf, node->kind == PL_YAML_MAP ? "{}" : "[]");
	for (const struct pl_yaml_node *item = node->first; item != NULL; item = item->next) {
		if (node->kind == PL_YAML_MAP) {
			write_member(w, item, depth);
		} else {
			newline(w, depth);
			pl_buf_adds(&w->buf, "- ");
			write_node(w, item, depth + 1);
		}
	}
}

struct run {
	const struct pl_yaml_node *root;
	int tried, refused, accepted;
};

// Whether a problem names the line of the key.
static bool told_in_line(int line)
{
	size_t skip = strlen(fixture_path("conf/plist.yaml")) + 1;

	for (int i = 0; i < fixture_problems.n; i++) {
		int found, column;
		if (sscanf(fixture_problems.lines[i].text + skip, "%d:%d: ", &found, &column) == 2 &&
		    found == line && column > 0 && !fixture_problems.lines[i].warning)
			return true;
	}
	return false;
}

static void every_problem_has_a_place(const char *what)
{
	for (int i = 0; i < fixture_problems.n; i++) {
		int line, column, end = 0;
		const char *text = strstr(fixture_problems.lines[i].text, ".yaml:");
		if (text == NULL || sscanf(text, ".yaml:%d:%d: %n", &line, &column, &end) != 2 || line < 1 ||
		    column < 1 || text[end] == '\0')
			fail_msg("%s: no position: %s", what, fixture_problems.lines[i].text);
	}
}

// Whether the table says that this change must be refused.
static bool must_be_refused(const struct pl_key *key, enum change change)
{
	bool scalar = pl_schema_is_leaf(key) && key->type != PL_KEY_PAIRS;

	switch (change) {
	case REMOVED: return key->flags & PL_KEY_REQUIRED;
	case MISSPELT: return true;
	case A_MAP:
		return scalar || key->type == PL_KEY_MAP || key->type == PL_KEY_NAMED ||
		       key->type == PL_KEY_SEQUENCE;
	case A_LIST: return true;
	case EMPTY: return scalar || key->type == PL_KEY_NAMED || key->type == PL_KEY_SEQUENCE;
	case NONSENSE: return true;
	case TOO_SMALL:
	case TOO_LARGE: return true;
	default: return false;
	}
}

static bool applies(const struct pl_key *key, enum change change)
{
	bool range =
		(key->type == PL_KEY_INTEGER || key->type == PL_KEY_DURATION || key->type == PL_KEY_SIZE) &&
		key->max > 0;

	return (change != TOO_SMALL && change != TOO_LARGE) || range;
}

static void try_change(struct run *run, const struct pl_yaml_node *node, const struct pl_key *key,
                       enum change change)
{
	struct writer w = { .changed = node, .key = key, .change = change, .line = 1 };
	char what[200];

	snprintf(what, sizeof(what), "%s, %s", key->path, change_names[change]);
	write_node(&w, run->root, 0);
	pl_buf_addc(&w.buf, '\n');
	struct pl_config *config = fixture_load(w.buf.data, NULL);
	run->tried++;
	every_problem_has_a_place(what);
	if (config != NULL && must_be_refused(key, change))
		fail_msg("%s: accepted", what);
	if (config == NULL && fixture_problems.n == fixture_problems.warnings)
		fail_msg("%s: refused without a message", what);
	if (config == NULL && change >= MISSPELT && !told_in_line(w.key_line)) {
		for (int i = 0; i < fixture_problems.n; i++)
			print_message("# said: %s\n", fixture_problems.lines[i].text);
		fail_msg("%s: refused, but not on line %d", what, w.key_line);
	}
	if (config != NULL) { // accepted: printing it reads every value
		struct pl_buf shown = { 0 };
		pl_config_show(config, PL_SHOW_YAML, &shown);
		assert_true(shown.len > 0);
		pl_buf_fini(&shown);
		run->accepted++;
	} else {
		run->refused++;
	}
	pl_config_unref(&config);
	pl_buf_fini(&w.buf);
}

static void try_members(struct run *run, const struct pl_key *parent, const struct pl_yaml_node *map);

static void try_key(struct run *run, const struct pl_yaml_node *node, const struct pl_key *key)
{
	for (enum change change = REMOVED; change <= TOO_LARGE; change++)
		if (applies(key, change))
			try_change(run, node, key, change);
	if (key->type == PL_KEY_MAP)
		try_members(run, key, node);
	else if (key->type == PL_KEY_NAMED || key->type == PL_KEY_SEQUENCE)
		for (const struct pl_yaml_node *item = node->first; item != NULL; item = item->next)
			try_members(run, key, item);
}

static void try_members(struct run *run, const struct pl_key *parent, const struct pl_yaml_node *map)
{
	for (const struct pl_yaml_node *node = map->first; node != NULL; node = node->next) {
		const struct pl_key *key = pl_schema_member(parent, node->key);
		if (key == NULL)
			fail_msg("the example has a key \"%s\" that the table has not", node->key);
		try_key(run, node, key);
	}
}

static void try_all(const char *yaml)
{
	struct pl_arena *arena = pl_arena_new(0);
	struct pl_diagnostics diagnostics = { 0 };
	struct run run = { .root = pl_yaml_parse(arena, "example", yaml, strlen(yaml), &diagnostics) };
	struct writer plain = { .line = 1 };

	assert_non_null(run.root);
	write_node(&plain, run.root, 0);
	struct pl_config *config = fixture_load(plain.buf.data, NULL);
	for (int i = 0; config == NULL && i < fixture_problems.n; i++)
		print_message("# said: %s\n", fixture_problems.lines[i].text);
	assert_non_null(config); // unchanged, it is valid
	pl_config_unref(&config);
	pl_buf_fini(&plain.buf);
	try_members(&run, NULL, run.root);
	print_message("# %d changes: %d refused, %d accepted\n", run.tried, run.refused, run.accepted);
	assert_true(run.tried > 300 && run.refused > run.accepted && run.accepted > 10);
	pl_diagnostics_fini(&diagnostics);
	pl_arena_free(&arena);
}

static void each_key_of_the_example_is_refused_or_served(void **state)
{
	char *yaml = fixture_read(fixture_source("conf/plist.yaml"));

	try_all(yaml);
	free(yaml);
}

static void each_key_of_the_example_with_three_regions_is_refused_or_served(void **state)
{
	char *yaml = fixture_read(fixture_source("conf/plist-three.yaml"));

	try_all(yaml);
	free(yaml);
}

static void each_key_that_can_be_shown_is_refused_or_served(void **state)
{
	char *yaml = fixture_read(fixture_source("conf/plist.yaml"));
	struct pl_config *config = fixture_load(yaml, NULL);
	struct pl_buf shown = { 0 };

	assert_non_null(config);
	pl_config_show(config, PL_SHOW_YAML, &shown);
	pl_config_unref(&config);
	try_all(shown.data);
	pl_buf_fini(&shown);
	free(yaml);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(each_key_of_the_example_is_refused_or_served),
		cmocka_unit_test(each_key_of_the_example_with_three_regions_is_refused_or_served),
		cmocka_unit_test(each_key_that_can_be_shown_is_refused_or_served),
	};
	return cmocka_run_group_tests(tests, fixture_setup, fixture_teardown);
}
