// JSON: what is refused and at which position, that numbers stay text, and that equal
// meanings have one canonical text.
#include "base/json.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "base/mem.h"

// Parses a copy that ends exactly at len, so that the sanitizer detects reading beyond
// it.
static cJSON *parse_n(const char *text, size_t len, const struct pl_json_limits *limits, struct pl_error *err)
{
	char *copy = pl_malloc(len);
	memcpy(copy, text, len);
	cJSON *json = pl_json_parse(copy, len, limits, err);
	free(copy);
	return json;
}

static void taken(const char *text, const char *printed)
{
	struct pl_error err = { 0 };
	struct pl_buf buf = { 0 };
	cJSON *json = parse_n(text, strlen(text), NULL, &err);
	if (json == NULL)
		fail_msg("%s: %s", text, err.text);
	pl_json_print(&buf, json);
	assert_string_equal(buf.data, printed);
	pl_buf_fini(&buf);
	cJSON_Delete(json);
}

static void refused(const char *text, const char *why)
{
	struct pl_error err = { 0 };
	cJSON *json = parse_n(text, strlen(text), NULL, &err);
	if (json != NULL)
		fail_msg("taken: %s", text);
	assert_int_equal(err.code, PL_EINVAL);
	assert_string_equal(err.text, why);
}

static void values_are_printed_as_they_were_read(void **state)
{
	taken("null", "null");
	taken(" \t\r\n true ", "true");
	taken("[]", "[]");
	taken("{}", "{}");
	taken("[ ]", "[]");
	taken("{ }", "{}");
	taken("{\"a\" : [1, 2.50, -0, 1e5, 1E-7, \"x\", null, {\"b\": false}]}",
	      "{\"a\":[1,2.50,-0,1e5,1E-7,\"x\",null,{\"b\":false}]}");
	taken("\"\\u00fc\\ud83c\\udfe0\\/\\n\"", "\"\xC3\xBC\xF0\x9F\x8F\xA0/\\n\"");
}

static void numbers_are_exact_text(void **state)
{
	taken("[500000.10,9007199254740993,0.1,123456789012345678901234567890.123456789,1e400,-0.0]",
	      "[500000.10,9007199254740993,0.1,123456789012345678901234567890.123456789,1e400,-0.0]");
	taken("1e999999999", "1e999999999");
	taken("1e-000000000000000001", "1e-000000000000000001");
}

static void numbers_longer_than_cjsons_own_buffer_are_complete(void **state)
{
	char text[4001];
	memset(text, '7', 4000);
	text[4000] = '\0';
	taken(text, text);
}

static void text_that_is_not_a_number_is_refused(void **state)
{
	refused("01", "line 1, column 1: number with a leading zero");
	refused("-01", "line 1, column 1: number with a leading zero");
	refused("[00]", "line 1, column 2: number with a leading zero");
	refused("-", "line 1, column 1: not a valid JSON number");
	refused("1.", "line 1, column 1: not a valid JSON number");
	refused("1.e5", "line 1, column 1: not a valid JSON number");
	refused("1e", "line 1, column 1: not a valid JSON number");
	refused("1e+", "line 1, column 1: not a valid JSON number");
	refused("1e9999999999", "line 1, column 1: number out of range");
	refused("1E-9999999999", "line 1, column 1: number out of range");
	refused("+1", "line 1, column 1: expected a value");
	refused(".5", "line 1, column 1: expected a value");
	refused("NaN", "line 1, column 1: expected a value");
	refused("Infinity", "line 1, column 1: expected a value");
	refused("-Infinity", "line 1, column 1: not a valid JSON number");
	refused("0x10", "line 1, column 2: unexpected text after the value");
	refused("1 2", "line 1, column 3: unexpected text after the value");
}

static void broken_structure_is_refused_with_its_position(void **state)
{
	refused("", "line 1, column 1: unexpected end of text; expected a value");
	refused("  ", "line 1, column 3: unexpected end of text; expected a value");
	refused("{\"a\":1}x", "line 1, column 8: unexpected text after the value");
	refused("{\"a\":1}{}", "line 1, column 8: unexpected text after the value");
	refused("{\n  \"a\": 1,\n}", "line 3, column 1: expected a member name in double quotes");
	refused("[1,]", "line 1, column 4: expected a value");
	refused("[1 2]", "line 1, column 4: expected a comma or ]");
	refused("[1", "line 1, column 1: not closed");
	refused("{\"a\":1", "line 1, column 1: not closed");
	refused("{\"a\"}", "line 1, column 5: expected a colon");
	refused("{a:1}", "line 1, column 2: expected a member name in double quotes");
	refused("{'a':1}", "line 1, column 2: expected a member name in double quotes");
	refused("[1}", "line 1, column 3: expected a comma or ]");
	refused("{\"a\":tru}", "line 1, column 6: expected a value");
	refused("True", "line 1, column 1: expected a value");
	refused("// x\n1", "line 1, column 1: expected a value");
	refused("\xEF\xBB\xBF{}", "line 1, column 1: expected a value"); // a byte order mark
	refused("\"z\xC3\xBC\" x",
	        "line 1, column 6: unexpected text after the value"); // columns count characters
}

static void broken_strings_are_refused(void **state)
{
	refused("\"abc", "line 1, column 1: unterminated string");
	refused("\"abc\\\"", "line 1, column 1: unterminated string");
	refused("\"abc\\", "line 1, column 5: unknown escape");
	refused("\"\\x41\"", "line 1, column 2: unknown escape");
	refused("\"\\u12\"", "line 1, column 2: \\u must be followed by four hexadecimal digits");
	refused("\"\\u00g0\"", "line 1, column 2: \\u must be followed by four hexadecimal digits");
	refused("\"a\tb\"", "line 1, column 3: unescaped control character in a string");
	refused("\"a\nb\"", "line 1, column 3: unescaped control character in a string");
	refused("\"\\u0000\"", "line 1, column 2: NUL character in a string");
	refused("{\"a\\u0000\":1}", "line 1, column 4: NUL character in a string");
}

static void a_nul_byte_is_refused_wherever_it_is(void **state)
{
	static const char *const texts[] = { "\0{}", "{\0}", "[1\0]", "\"a\0b\"", "{}\0" };
	static const size_t lens[] = { 3, 3, 4, 5, 3 };
	for (int i = 0; i < 5; i++) {
		struct pl_error err = { 0 };
		assert_null(parse_n(texts[i], lens[i], NULL, &err));
		assert_int_equal(err.code, PL_EINVAL);
	}
}

static void lone_surrogates_are_refused_and_pairs_accepted(void **state)
{
	refused("\"\\ud83c\"", "line 1, column 2: unpaired surrogate");
	refused("\"\\udfe0\"", "line 1, column 2: unpaired surrogate");
	refused("\"\\udfe0\\ud83c\"", "line 1, column 2: unpaired surrogate");
	refused("\"\\ud83c\\u0041\"", "line 1, column 2: unpaired surrogate");
	refused("\"\\ud83cx\"", "line 1, column 2: unpaired surrogate");
	refused("\"\\ud83c\\n\"", "line 1, column 2: unpaired surrogate");
	refused("\"\\ud83c\\ud83c\"", "line 1, column 2: unpaired surrogate");
	taken("\"\\uDBFF\\uDFFF\"", "\"\xF4\x8F\xBF\xBF\"");
}

static void bytes_that_are_not_utf8_are_refused(void **state)
{
	refused("\"\xFF\"", "line 1, column 2: invalid UTF-8");
	refused("\"\xFF"
	        "12\"",
	        "line 1, column 2: invalid UTF-8"); // our own marker for numbers
	refused("\"\xC0\xAF\"", "line 1, column 2: invalid UTF-8");
	refused("\"\xED\xA0\x80\"", "line 1, column 2: invalid UTF-8");
	refused("\"\xF4\x90\x80\x80\"", "line 1, column 2: invalid UTF-8");
	refused("\"\xE2\x82", "line 1, column 2: invalid UTF-8");
	refused("{\"\x80\":1}", "line 1, column 3: invalid UTF-8");
}

static void no_string_becomes_a_number(void **state)
{
	static const char *const texts[] = {
		"\"12\"",
		"\"\\u00ff12\"",
		"\"\xC3\xBF"
		"12\"",
		"\"\\\\xFF12\"",
		"\"\"",
		"\"\\\"12\"",
		"\"\xEF\xBF\xBD"
		"12\"",
	};
	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
		cJSON *json = parse_n(texts[i], strlen(texts[i]), NULL, NULL);
		assert_non_null(json);
		assert_true(cJSON_IsString(json));
		assert_false(pl_json_is_number(json));
		assert_null(pl_json_number_text(json));
		cJSON_Delete(json);
	}
	// The same for member names, which are never changed.
	taken("{\"12\":12,\"\\u00ff3\":\"3\"}", "{\"12\":12,\"\xC3\xBF"
	                                        "3\":\"3\"}");
}

static void duplicate_keys_are_refused_at_the_second(void **state)
{
	refused("{\"a\":1,\"a\":2}", "line 1, column 8: duplicate key \"a\"");
	refused("{\"a\":1,\n \"\\u0061\":2}", "line 2, column 2: duplicate key \"a\"");
	refused("{\"\":1,\"\":2}", "line 1, column 7: duplicate key \"\"");
	refused("[{\"x\":{\"b\":1,\"c\":2,\"b\":3}},{\"z\":1,\"z\":2}]",
	        "line 1, column 20: duplicate key \"b\"");
	refused("{\"z\":1,\"z\":2,\"a\":3,\"a\":4}",
	        "line 1, column 8: duplicate key \"z\""); // the first one in the text
	refused("{\"a\":{\"a\":1},\"a\":2}", "line 1, column 14: duplicate key \"a\"");
	taken("{\"a\":{\"a\":{\"a\":1}},\"A\":2}", "{\"a\":{\"a\":{\"a\":1}},\"A\":2}");
	taken("[{\"a\":1},{\"a\":1}]", "[{\"a\":1},{\"a\":1}]");
}

static void depth_is_limited_before_the_stack_is(void **state)
{
	struct pl_error err = { 0 };
	struct pl_json_limits wide = { .bytes = 1 << 24, .depth = 1000000, .nodes = 1 << 24 };
	char *text = pl_malloc(1 << 20);
	memset(text, '[', 1 << 20);
	assert_null(pl_json_parse(text, 1 << 20, &wide, &err));
	assert_string_equal(err.text, "line 1, column 513: nested too deeply");
	for (int i = 0; i + 5 < 1 << 20; i += 5)
		memcpy(text + i, "{\"a\":", 5);
	assert_null(pl_json_parse(text, (1 << 20) / 5 * 5, &wide, &err));
	assert_non_null(strstr(err.text, "nested too deeply"));
	free(text);

	taken("[[[[[[[[[[[[[[[[1]]]]]]]]]]]]]]]]", "[[[[[[[[[[[[[[[[1]]]]]]]]]]]]]]]]"); // 16
	refused("[[[[[[[[[[[[[[[[[1]]]]]]]]]]]]]]]]]", "line 1, column 17: nested too deeply");
	taken("[[[[[[[[]]]]]]],[[[[[[[[]]]]]]]],[[[[[[[]]]]]]]]",
	      "[[[[[[[[]]]]]]],[[[[[[[[]]]]]]]],[[[[[[[]]]]]]]]"); // the depths of siblings are not added
}

static void nodes_and_bytes_are_limited(void **state)
{
	struct pl_error err = { 0 };
	struct pl_json_limits narrow = { .bytes = 20, .depth = 4, .nodes = 5 };
	cJSON *json = parse_n("[1,2,3,4]", 9, &narrow, &err);
	assert_non_null(json);
	cJSON_Delete(json);
	assert_null(parse_n("[1,2,3,4,5]", 11, &narrow, &err));
	assert_string_equal(err.text, "line 1, column 10: too many values");
	assert_null(parse_n("\"123456789012345678901\"", 23, &narrow, &err));
	assert_string_equal(err.text, "23 bytes; the maximum is 20");
}

static void ten_thousand_keys_are_checked_in_no_time(void **state)
{
	struct pl_buf buf = { 0 };
	struct pl_json_limits wide = { .bytes = 1 << 24, .depth = 4, .nodes = 1 << 20 };
	struct pl_error err;
	pl_buf_addc(&buf, '{');
	for (int i = 0; i < 10000; i++)
		pl_buf_printf(&buf, "\"k%d\":%d,", i, i);
	pl_buf_adds(&buf, "\"k9999\":0}");
	assert_null(pl_json_parse(buf.data, buf.len, &wide, &err));
	assert_non_null(strstr(err.text, "duplicate key \"k9999\""));
	pl_buf_fini(&buf);
}

static void the_error_may_be_null(void **state)
{
	assert_null(pl_json_parse("[", 1, NULL, NULL));
	assert_null(pl_json_parse("{\"a\":1,\"a\":1}", 13, NULL, NULL));
}

static void check_int(const char *text, int code, int64_t expected)
{
	int64_t value = 42;
	cJSON *json = pl_json_parse(text, strlen(text), NULL, NULL);
	assert_non_null(json);
	assert_int_equal(pl_json_int64(json, &value), code);
	assert_int_equal(value, code == 0 ? expected : 42);
	cJSON_Delete(json);
}

static void integers_are_exact_or_refused(void **state)
{
	check_int("0", 0, 0);
	check_int("-0", 0, 0);
	check_int("9223372036854775807", 0, INT64_MAX);
	check_int("-9223372036854775808", 0, INT64_MIN);
	check_int("9223372036854775808", -1, 0);
	check_int("-9223372036854775809", -1, 0);
	check_int("9007199254740993", 0, 9007199254740993);
	check_int("5.0", 0, 5);
	check_int("5e2", 0, 500);
	check_int("5.25e2", 0, 525);
	check_int("5.5", -1, 0);
	check_int("5e-1", -1, 0);
	check_int("1e999999999", -1, 0);
	check_int("0e999999999", 0, 0);
	check_int("1e-999999999", -1, 0);
	check_int("\"5\"", -1, 0);
	check_int("null", -1, 0);
	check_int("[5]", -1, 0);
}

static void members_are_found_by_exact_name(void **state)
{
	const char *text = "{\"Price\":1,\"price\":\"x\",\"n\":null}";
	cJSON *json = pl_json_parse(text, strlen(text), NULL, NULL);
	assert_string_equal(pl_json_string(json, "price"), "x");
	assert_null(pl_json_string(json, "Price"));
	assert_null(pl_json_string(json, "PRICE"));
	assert_null(pl_json_get(json, "PRICE"));
	assert_true(cJSON_IsNull(pl_json_get(json, "n")));
	assert_null(pl_json_get(pl_json_get(json, "price"), "x"));
	assert_null(pl_json_get(NULL, "x"));
	cJSON_Delete(json);
}

static void items_that_we_make_are_numbers(void **state)
{
	cJSON *a = pl_json_new_int64(INT64_MIN), *b = pl_json_new_number("500000.10"),
	      *c = pl_json_new_number("NaN");
	struct pl_buf buf = { 0 };
	int64_t value;
	assert_int_equal(pl_json_int64(a, &value), 0);
	assert_int_equal(value, INT64_MIN);
	pl_json_print(&buf, b);
	pl_json_print(&buf, c);
	assert_string_equal(buf.data, "500000.10null"); // PostgreSQL's NaN is not a JSON number
	pl_buf_fini(&buf);
	cJSON_Delete(a);
	cJSON_Delete(b);
	cJSON_Delete(c);
}

static void trees_that_others_built_are_printed(void **state)
{
	cJSON *json = cJSON_CreateObject();
	struct pl_buf buf = { 0 };
	cJSON_AddNumberToObject(json, "a", 1.5);
	cJSON_AddNumberToObject(json, "b", 3);
	cJSON_AddStringToObject(json, "c", "\x01\"");
	cJSON_AddBoolToObject(json, "d", 1);
	cJSON_AddItemToObject(json, "e", pl_json_new_int64(7));
	pl_json_print(&buf, json);
	assert_string_equal(buf.data, "{\"a\":1.5,\"b\":3,\"c\":\"\\u0001\\\"\",\"d\":true,\"e\":7}");
	pl_buf_fini(&buf);
	cJSON_Delete(json);
}

static void canonical(const char *text, const char *expected)
{
	struct pl_buf buf = { 0 };
	cJSON *json = pl_json_parse(text, strlen(text), NULL, NULL);
	assert_non_null(json);
	pl_json_canonical(&buf, json);
	assert_string_equal(buf.data, expected);
	pl_buf_fini(&buf);
	cJSON_Delete(json);
}

static void equal_meanings_have_one_canonical_text(void **state)
{
	canonical("{\"b\": 1.50, \"a\": {\"z\":1,\"B\":2}, \"\": []}",
	          "{\"\":[],\"a\":{\"B\":2,\"z\":1},\"b\":1.5}");
	canonical("[\"\\u0041\\/\\u00fc\", \"A/\xC3\xBC\"]", "[\"A/\xC3\xBC\",\"A/\xC3\xBC\"]");
	canonical("[1,[2,3]]", "[1,[2,3]]");
	canonical("{\"a\":true,\"b\":false,\"c\":null}", "{\"a\":true,\"b\":false,\"c\":null}");
}

static void canonical_number(const char *text, const char *expected)
{
	struct pl_buf buf = { 0 };
	pl_json_canonical_number(&buf, text);
	assert_string_equal(buf.data, expected);
	pl_buf_fini(&buf);
}

static void a_number_has_one_canonical_spelling(void **state)
{
	static const struct {
		const char *text, *canonical;
	} cases[] = {
		{ "-0", "0" },
		{ "0.000", "0" },
		{ "-0e5", "0" },
		{ "0e999999999", "0" },
		{ "1.50", "1.5" },
		{ "5e2", "500" },
		{ "5E+2", "500" },
		{ "500.00", "500" },
		{ "5e5", "500000" },
		{ "500000.0", "500000" },
		{ "0.005e1", "0.05" },
		{ "50e-3", "0.05" },
		{ "-12.340e1", "-123.4" },
		{ "1e-2", "0.01" },
		{ "100", "100" },
		{ "1000e-3", "1" },
		{ "10.01", "10.01" },
		{ "0.10", "0.1" },
		{ "1e999999999", "1e999999999" },
		{ "10e999999998", "1e999999999" },
		{ "1.00e999999999", "1e999999999" },
		{ "-1e-999999999", "-1e-999999999" },
		{ "12.5e-999999998", "125e-999999999" },
	};
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
		canonical_number(cases[i].text, cases[i].canonical);
	struct pl_buf buf = { 0 };
	pl_json_canonical_number(&buf, "1e1000");
	assert_int_equal(buf.len, 1001);
	pl_buf_fini(&buf);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(values_are_printed_as_they_were_read),
		cmocka_unit_test(numbers_are_exact_text),
		cmocka_unit_test(numbers_longer_than_cjsons_own_buffer_are_complete),
		cmocka_unit_test(text_that_is_not_a_number_is_refused),
		cmocka_unit_test(broken_structure_is_refused_with_its_position),
		cmocka_unit_test(broken_strings_are_refused),
		cmocka_unit_test(a_nul_byte_is_refused_wherever_it_is),
		cmocka_unit_test(lone_surrogates_are_refused_and_pairs_accepted),
		cmocka_unit_test(bytes_that_are_not_utf8_are_refused),
		cmocka_unit_test(no_string_becomes_a_number),
		cmocka_unit_test(duplicate_keys_are_refused_at_the_second),
		cmocka_unit_test(depth_is_limited_before_the_stack_is),
		cmocka_unit_test(nodes_and_bytes_are_limited),
		cmocka_unit_test(ten_thousand_keys_are_checked_in_no_time),
		cmocka_unit_test(the_error_may_be_null),
		cmocka_unit_test(integers_are_exact_or_refused),
		cmocka_unit_test(members_are_found_by_exact_name),
		cmocka_unit_test(items_that_we_make_are_numbers),
		cmocka_unit_test(trees_that_others_built_are_printed),
		cmocka_unit_test(equal_meanings_have_one_canonical_text),
		cmocka_unit_test(a_number_has_one_canonical_spelling),
	};
	return cmocka_run_group_tests_name("base/json", tests, NULL, NULL);
}
