// One definition of columns, two prints: a table for people and JSON that every parser takes.
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <locale.h>
#include <stdlib.h>
#include <string.h>

#include "admin/diff.h"
#include "admin/table.h"
#include "base/json.h"

enum { NAME, COUNT, GOOD, MORE, NOTE };

static const struct pl_column columns[] = {
	[NAME] = { "name", PL_CELL_TEXT },
	[COUNT] = { "event_count", PL_CELL_NUMBER },
	[GOOD] = { "good", PL_CELL_BOOLEAN },
	[MORE] = { "more", PL_CELL_JSON, PL_COLUMN_DETAIL },
	[NOTE] = { "note", PL_CELL_TEXT, PL_COLUMN_PEOPLE },
	{ NULL },
};

static struct pl_table *example(void)
{
	struct pl_table *table = pl_table_new("things", columns);
	pl_table_row(table);
	pl_table_text(table, NAME, "us");
	pl_table_number(table, COUNT, 42);
	pl_table_bool(table, GOOD, true);
	pl_table_json(table, MORE, "{\"a\":[1,2]}");
	pl_table_text(table, NOTE, "for people");
	pl_table_row(table);
	return table;
}

static cJSON *as_json(int n, struct pl_table *const *tables)
{
	struct pl_error err;
	char *text = pl_tables_text(true, false, n, tables);
	cJSON *json = pl_json_parse(text, strlen(text), &pl_json_default_limits, &err);
	if (!json)
		fail_msg("%s in: %s", err.text, text);
	free(text);
	return json;
}

static const cJSON *row_of(const cJSON *json, const char *name, int row)
{
	return cJSON_GetArrayItem(pl_json_get(json, name), row);
}

static void json_has_types_and_nulls(void **state)
{
	struct pl_table *table = example();
	cJSON *json = as_json(1, &table);
	const cJSON *first = row_of(json, "things", 0), *second = row_of(json, "things", 1);
	int64_t count;
	assert_string_equal(pl_json_string(first, "name"), "us");
	assert_int_equal(pl_json_int64(pl_json_get(first, "event_count"), &count), 0);
	assert_true(count == 42);
	assert_true(cJSON_IsTrue(pl_json_get(first, "good")));
	assert_int_equal(cJSON_GetArraySize(pl_json_get(pl_json_get(first, "more"), "a")), 2);
	assert_null(pl_json_get(first, "note"));
	for (const cJSON *cell = second->child; cell; cell = cell->next)
		assert_true(cJSON_IsNull(cell));
	cJSON_Delete(json);
	pl_table_free(&table);
}

static void the_table_has_headings_and_hides_details(void **state)
{
	struct pl_table *table = example();
	char *text = pl_tables_text(false, false, 1, &table);
	assert_string_equal(text, "NAME EVENT COUNT GOOD NOTE\n"
	                          "us            42 yes  for people\n"
	                          "-              -      -\n");
	free(text);
	pl_table_free(&table);
}

static void several_tables_are_one_document(void **state)
{
	struct pl_table *tables[] = { example(), pl_table_new("nothing", columns), example() };
	cJSON *json = as_json(2, tables);
	assert_int_equal(cJSON_GetArraySize(pl_json_get(json, "things")), 2);
	assert_true(cJSON_IsArray(pl_json_get(json, "nothing")));
	assert_int_equal(cJSON_GetArraySize(pl_json_get(json, "nothing")), 0);
	cJSON_Delete(json);
	char *text = pl_tables_text(false, false, 3, tables);
	assert_non_null(strstr(text, "\n\nNAME")); // one empty line between those that have rows
	assert_null(strstr(text, "\n\n\n"));
	free(text);
	for (int i = 0; i < 3; i++)
		pl_table_free(&tables[i]);
}

static void hostile_text_breaks_neither(void **state)
{
	struct pl_table *table = pl_table_new("things", columns);
	pl_table_row(table);
	pl_table_text(table, NAME, "a\"b\\c\n\x1b[31m\x01\xff\xc3\xbc");
	cJSON *json = as_json(1, &table);
	assert_string_equal(pl_json_string(row_of(json, "things", 0), "name"), "a\"b\\c\n\x1b[31m\x01\xef\xbf\xbd\xc3\xbc");
	cJSON_Delete(json);
	char *text = pl_tables_text(false, false, 1, &table);
	assert_null(strchr(text, '\x1b')); // no escape of somebody else's reaches the terminal
	assert_null(strchr(text, '\x01'));
	free(text);
	pl_table_free(&table);
}

static void tones_colour_only_where_colours_are_wanted(void **state)
{
	struct pl_table *table = example();
	pl_table_text(table, NAME, "eu");
	pl_table_tone(table, NAME, PL_TONE_BAD);
	char *plain = pl_tables_text(false, false, 1, &table), *coloured = pl_tables_text(false, true, 1, &table), *json = pl_tables_text(true, true, 1, &table);
	assert_null(strchr(plain, '\x1b'));
	assert_null(strchr(json, '\x1b'));
	assert_non_null(strstr(coloured, "\x1b[31m")); // red
	free(plain);
	free(coloured);
	free(json);
	pl_table_free(&table);
}

// ---- diff

static void equal_texts_have_no_diff(void **state)
{
	struct pl_buf out = { 0 };
	assert_false(pl_diff(&out, "a", "x\ny\n", "b", "x\ny\n"));
	assert_int_equal(out.len, 0);
	pl_buf_fini(&out);
}

static void a_changed_line_is_shown_in_its_place(void **state)
{
	struct pl_buf out = { 0 };
	assert_true(pl_diff(&out, "old", "1\n2\n3\n4\n5\n6\n7\n8\n9\n", "new", "1\n2\n3\n4\nfive\n6\n7\n8\n9\n10\n"));
	assert_string_equal(out.data, "--- old\n+++ new\n@@ -2,8 +2,9 @@\n 2\n 3\n 4\n-5\n+five\n 6\n 7\n 8\n 9\n+10\n");
	pl_buf_fini(&out);
}

static void far_changes_have_hunks_of_their_own(void **state)
{
	struct pl_buf out = { 0 };
	assert_true(pl_diff(&out, "old", "a\n2\n3\n4\n5\n6\n7\n8\n9\nb\n", "new", "2\n3\n4\n5\n6\n7\n8\n9\nB\n"));
	assert_string_equal(out.data, "--- old\n+++ new\n@@ -1,4 +1,3 @@\n-a\n 2\n 3\n 4\n@@ -7,4 +6,4 @@\n 7\n 8\n 9\n-b\n+B\n");
	pl_buf_fini(&out);
}

static void empty_texts_differ_from_full_ones(void **state)
{
	struct pl_buf out = { 0 };
	assert_true(pl_diff(&out, "old", "", "new", "x\n"));
	assert_string_equal(out.data, "--- old\n+++ new\n@@ -0,0 +1,1 @@\n+x\n");
	pl_buf_reset(&out);
	assert_true(pl_diff(&out, "old", "x", "new", "x\n")); // only the end of the last line: the fact is told
	pl_buf_fini(&out);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(json_has_types_and_nulls),
		cmocka_unit_test(the_table_has_headings_and_hides_details),
		cmocka_unit_test(several_tables_are_one_document),
		cmocka_unit_test(hostile_text_breaks_neither),
		cmocka_unit_test(tones_colour_only_where_colours_are_wanted),
		cmocka_unit_test(equal_texts_have_no_diff),
		cmocka_unit_test(a_changed_line_is_shown_in_its_place),
		cmocka_unit_test(far_changes_have_hunks_of_their_own),
		cmocka_unit_test(empty_texts_differ_from_full_ones),
	};
	setlocale(LC_CTYPE, "C.UTF-8");
	return cmocka_run_group_tests(tests, NULL, NULL);
}
