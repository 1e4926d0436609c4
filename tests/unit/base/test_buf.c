// Buffers: growth, extreme numbers, and the two escapes.
#include "base/buf.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "base/json.h"

static void a_buffer_is_a_string_at_any_time(void **state)
{
	struct pl_buf buf = { 0 };
	pl_buf_reset(&buf);
	assert_null(buf.data);
	for (int i = 0; i < 1000; i++) {
		pl_buf_addc(&buf, 'x');
		assert_int_equal(buf.len, i + 1);
		assert_int_equal(strlen(buf.data), buf.len);
	}
	pl_buf_reset(&buf);
	assert_string_equal(buf.data, "");
	pl_buf_adds(&buf, "again");
	assert_string_equal(buf.data, "again");
	pl_buf_fini(&buf);
	assert_null(buf.data);
	assert_int_equal(buf.cap, 0);
}

static void nothing_added_to_an_empty_buffer_is_an_empty_string(void **state)
{
	struct pl_buf buf = { 0 };
	pl_buf_add(&buf, NULL, 0);
	assert_string_equal(buf.data, "");
	pl_buf_fini(&buf);
}

static void integers_are_written_up_to_their_limits(void **state)
{
	struct pl_buf buf = { 0 };
	pl_buf_add_i64(&buf, INT64_MIN);
	pl_buf_addc(&buf, ' ');
	pl_buf_add_i64(&buf, INT64_MAX);
	pl_buf_addc(&buf, ' ');
	pl_buf_add_i64(&buf, 0);
	pl_buf_add_i64(&buf, -1);
	assert_string_equal(buf.data, "-9223372036854775808 9223372036854775807 0-1");
	pl_buf_fini(&buf);
}

static void printf_appends_whatever_its_length(void **state)
{
	struct pl_buf buf = { 0 };
	for (int width = 1; width < 300; width++) {
		size_t before = buf.len;
		pl_buf_printf(&buf, "%*d", width, 7);
		assert_int_equal(buf.len, before + (size_t)width);
		assert_int_equal(buf.data[buf.len - 1], '7');
		assert_int_equal(buf.data[buf.len], '\0');
	}
	pl_buf_fini(&buf);
}

static void check_json(const char *s, size_t len, const char *expected)
{
	struct pl_buf buf = { 0 };
	pl_buf_add_json(&buf, s, len);
	assert_string_equal(buf.data, expected);
	// Any input becomes valid JSON, which our own parser accepts unless it contains
	// a NUL.
	if (s != NULL && memchr(s, '\0', len) == NULL) {
		cJSON *json = pl_json_parse(buf.data, buf.len, NULL, NULL);
		assert_non_null(json);
		cJSON_Delete(json);
	}
	pl_buf_fini(&buf);
}

static void json_strings_are_escaped(void **state)
{
	check_json(NULL, 0, "null");
	check_json("", 0, "\"\"");
	check_json("a\"b\\c/d", 7, "\"a\\\"b\\\\c/d\"");
	check_json("\b\f\n\r\t\x01\x1F\x7F", 8, "\"\\b\\f\\n\\r\\t\\u0001\\u001f\x7F\"");
	check_json("a\0b", 3, "\"a\\u0000b\"");
	check_json("z\xC3\xBCrich \xF0\x9F\x8F\xA0", 12, "\"z\xC3\xBCrich \xF0\x9F\x8F\xA0\"");
}

static void bytes_that_are_not_utf8_are_replaced_one_by_one(void **state)
{
	check_json("a\xFF"
	           "b",
	           3,
	           "\"a\xEF\xBF\xBD"
	           "b\"");
	check_json("\xC3", 1, "\"\xEF\xBF\xBD\"");                                 // truncated
	check_json("\xC0\xAF", 2, "\"\xEF\xBF\xBD\xEF\xBF\xBD\"");                 // overlong "/"
	check_json("\xED\xA0\x80", 3, "\"\xEF\xBF\xBD\xEF\xBF\xBD\xEF\xBF\xBD\""); // a surrogate
	check_json("\xC3\"", 2, "\"\xEF\xBF\xBD\\\"\""); // must not swallow the quote
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_buffer_is_a_string_at_any_time),
		cmocka_unit_test(nothing_added_to_an_empty_buffer_is_an_empty_string),
		cmocka_unit_test(integers_are_written_up_to_their_limits),
		cmocka_unit_test(printf_appends_whatever_its_length),
		cmocka_unit_test(json_strings_are_escaped),
		cmocka_unit_test(bytes_that_are_not_utf8_are_replaced_one_by_one),
	};
	return cmocka_run_group_tests_name("base/buf", tests, NULL, NULL);
}
