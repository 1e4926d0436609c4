// One definition of columns, two formats: a table for people, and JSON that every
// parser accepts.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <locale.h>
#include <stdlib.h>
#include <string.h>

#include "admin/table.h"
#include "base/json.h"

enum { NAME, COUNT, GOOD, MORE, NOTE };

// clang-format off
static const struct pl_table_column columns[] = {
	[NAME] = { "name", PL_CELL_TEXT },
	[COUNT] = { "event_count", PL_CELL_NUMBER },
	[GOOD] = { "good", PL_CELL_BOOLEAN },
	[MORE] = { "more", PL_CELL_JSON, PL_COLUMN_DETAIL },
	[NOTE] = { "note", PL_CELL_TEXT, PL_COLUMN_PEOPLE },
	{ NULL },
};
// clang-format on

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

static void long_details_are_left_out_once_the_table_holds_enough_of_them(void **state)
{
	struct pl_table *table = pl_table_new("things", columns);
	char text[3000];
	cJSON *json;

	memset(text, 'x', sizeof(text));
	memcpy(text, "\"", 1);
	memcpy(text + sizeof(text) - 2, "\"", 2);
	pl_table_hold(table, 7000);
	for (int i = 0; i < 4; i++) {
		pl_table_row(table);
		pl_table_text(table, NAME, text); // no detail
		pl_table_json(table, MORE, text);
	}
	pl_table_row(table);
	pl_table_json(table, MORE, "{\"short\":1}");
	assert_int_equal(2, pl_table_left_out(table));
	json = as_json(1, &table);
	for (int i = 0; i < 4; i++) {
		assert_true(cJSON_IsString(pl_json_get(row_of(json, "things", i), "name")));
		assert_int_equal(i < 2, cJSON_IsString(pl_json_get(row_of(json, "things", i), "more")));
	}
	assert_true(cJSON_IsObject(pl_json_get(row_of(json, "things", 4), "more")));
	cJSON_Delete(json);
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
	assert_non_null(strstr(text, "\n\nNAME")); // one empty line between tables that have rows
	assert_null(strstr(text, "\n\n\n"));
	free(text);
	for (int i = 0; i < 3; i++)
		pl_table_free(&tables[i]);
}

static void hostile_text_breaks_neither_format(void **state)
{
	struct pl_table *table = pl_table_new("things", columns);
	pl_table_row(table);
	pl_table_text(table, NAME, "a\"b\\c\n\x1b[31m\x01\xff\xc3\xbc");
	cJSON *json = as_json(1, &table);
	assert_string_equal(pl_json_string(row_of(json, "things", 0), "name"),
	                    "a\"b\\c\n\x1b[31m\x01\xef\xbf\xbd\xc3\xbc");
	cJSON_Delete(json);
	char *text = pl_tables_text(false, false, 1, &table);
	assert_null(strchr(text, '\x1b')); // escape sequences in data do not reach the terminal
	assert_null(strchr(text, '\x01'));
	free(text);
	pl_table_free(&table);
}

static void no_text_acts_on_the_terminal(void **state)
{
	struct pl_table *table = pl_table_new("things", columns);
	pl_table_row(table);
	pl_table_text(table, NAME,
	              "\xc2\x9b"
	              "31m \xe2\x80\xae \xc3\xbc");
	char *text = pl_tables_text(false, false, 1, &table);
	assert_null(strstr(text, "\xc2\x9b"));
	assert_null(strstr(text, "\xe2\x80\xae"));
	assert_non_null(strstr(text, "\xc3\xbc"));
	free(text);
	pl_table_free(&table);
}

static void tones_add_colour_only_where_colours_are_wanted(void **state)
{
	struct pl_table *table = example();
	pl_table_text(table, NAME, "eu");
	pl_table_tone(table, NAME, PL_TONE_BAD);
	char *plain = pl_tables_text(false, false, 1, &table),
	     *coloured = pl_tables_text(false, true, 1, &table),
	     *json = pl_tables_text(true, true, 1, &table);
	assert_null(strchr(plain, '\x1b'));
	assert_null(strchr(json, '\x1b'));
	assert_non_null(strstr(coloured, "\x1b[31m")); // red
	free(plain);
	free(coloured);
	free(json);
	pl_table_free(&table);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(json_has_types_and_nulls),
		cmocka_unit_test(the_table_has_headings_and_hides_details),
		cmocka_unit_test(long_details_are_left_out_once_the_table_holds_enough_of_them),
		cmocka_unit_test(several_tables_are_one_document),
		cmocka_unit_test(no_text_acts_on_the_terminal),
		cmocka_unit_test(hostile_text_breaks_neither_format),
		cmocka_unit_test(tones_add_colour_only_where_colours_are_wanted),
	};
	setlocale(LC_CTYPE, "C.UTF-8");
	return cmocka_run_group_tests(tests, NULL, NULL);
}
