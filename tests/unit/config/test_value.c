// Single values: the notations, ranges and refusals of every type; and that printed
// values are accepted again.
#include "fixture.h"

#include <string.h>

#include "config/schema.h"

struct holder {
	int32_t small;
	int64_t big;
	bool flag;
	const char *text;
	const char **list;
	int nlist;
};

#define AT(member) .offset = offsetof(struct holder, member), .size = sizeof(((struct holder *)0)->member)
static const struct pl_key integer = { "k", PL_KEY_INTEGER, 0, AT(small), .min = 1, .max = 256 };
static const struct pl_key word = { "k", PL_KEY_INTEGER, 0, AT(small), .min = 1, .max = 256, .word = "auto" };
static const struct pl_key duration = { "k",     PL_KEY_DURATION, 0,
	                                AT(big), .min = 1000,     .max = INT64_C(86400000000) };
static const struct pl_key size = { "k", PL_KEY_SIZE, 0, AT(big), .min = 64, .max = 1 << 24 };
static const struct pl_key boolean = { "k", PL_KEY_BOOLEAN, 0, AT(flag) };
static const struct pl_key choice = { "k", PL_KEY_CHOICE, 0, AT(small), .choices = "none|optional|required" };
static const struct pl_key choice_text = { "k", PL_KEY_CHOICE, 0, AT(text), .choices = "GET|PUT" };
static const struct pl_key number = { "k", PL_KEY_NUMBER, 0, AT(text), .max = 10 };
static const struct pl_key string = {
	"k", PL_KEY_STRING, 0, AT(text), .min = 1, .max = 5, .pattern = "^[a-z]+$", .form = "small letters"
};
static const struct pl_key strings = {
	"k", PL_KEY_STRINGS, 0, AT(list), .count_offset = offsetof(struct holder, nlist), .max = 2
};

static struct pl_arena *arena;
static struct holder h;

static int setup(void **state)
{
	arena = pl_arena_new(0);
	memset(&h, 0, sizeof(h));
	return 0;
}

static int teardown(void **state)
{
	pl_arena_free(&arena);
	return 0;
}

static void takes(const struct pl_key *key, const char *text, const char *printed)
{
	struct pl_buf buf = { 0 };
	struct pl_error err = { 0 };

	if (pl_config_value_set(key, &h, arena, text, &err) < 0)
		fail_msg("\"%s\" %s", text, err.text);
	assert_true(pl_config_value_print(key, &h, &buf));
	assert_string_equal(buf.data != NULL ? buf.data : "", printed);
	assert_int_equal(pl_config_value_set(key, &h, arena, printed, &err), 0);
	pl_buf_fini(&buf);
}

static void refuses(const struct pl_key *key, const char *text, const char *sentence)
{
	struct pl_error err = { 0 };

	assert_int_equal(pl_config_value_set(key, &h, arena, text, &err), PL_EINVAL);
	assert_string_equal(err.text, sentence);
}

static void integers(void **state)
{
	takes(&integer, "1", "1");
	takes(&integer, "256", "256");
	assert_int_equal(h.small, 256);
	refuses(&integer, "0", "must be from 1 to 256, not \"0\"");
	refuses(&integer, "257", "must be from 1 to 256, not \"257\"");
	refuses(&integer, "-1", "must be from 1 to 256, not \"-1\"");
	refuses(&integer, "99999999999999999999", "must be a whole number, not \"99999999999999999999\"");
	refuses(&integer, "1.0", "must be a whole number, not \"1.0\"");
	refuses(&integer, "0x10", "must be a whole number, not \"0x10\"");
	refuses(&integer, " 1", "must be a whole number, not \" 1\"");
	refuses(&integer, "+1", "must be a whole number, not \"+1\"");
	refuses(&integer, "", "must be a whole number, not \"\"");
}

static void a_word_stands_for_zero(void **state)
{
	takes(&word, "auto", "auto");
	assert_int_equal(h.small, 0);
	takes(&word, "8", "8");
	refuses(&word, "0", "must be from 1 to 256, not \"0\"");
	refuses(&word, "all", "must be a whole number or \"auto\", not \"all\"");
}

static void durations(void **state)
{
	takes(&duration, "1ms", "1ms");
	takes(&duration, "1500ms", "1500ms");
	takes(&duration, "1500us", "1500us");
	takes(&duration, "60s", "1m");
	takes(&duration, "90m", "90m");
	takes(&duration, "24h", "1d");
	assert_int_equal(h.big, INT64_C(86400000000));
	refuses(&duration, "25h", "must be from 1ms to 1d, not \"25h\"");
	refuses(&duration, "999us", "must be from 1ms to 1d, not \"999us\"");
	refuses(&duration, "9223372036854775807d", "must be from 1ms to 1d, not \"9223372036854775807d\"");
	refuses(&duration, "213503983d",
	        "must be from 1ms to 1d, not \"213503983d\""); // 2^64 us must not wrap around
	refuses(&duration, "-1s", "must be from 1ms to 1d, not \"-1s\"");
	refuses(&duration, "10",
	        "must be a number with a unit (us, ms, s, m, h, d) such as 500ms, not \"10\"");
	refuses(&duration, "10 s",
	        "must be a number with a unit (us, ms, s, m, h, d) such as 500ms, not \"10 s\"");
	refuses(&duration, "1.5s",
	        "must be a number with a unit (us, ms, s, m, h, d) such as 500ms, not \"1.5s\"");
	refuses(&duration, "s", "must be a number with a unit (us, ms, s, m, h, d) such as 500ms, not \"s\"");
}

static void sizes(void **state)
{
	takes(&size, "64KiB", "64KiB");
	assert_int_equal(h.big, 65536);
	takes(&size, "1024B", "1KiB");
	takes(&size, "100B", "100B");
	takes(&size, "16MiB", "16MiB");
	refuses(&size, "1GiB", "must be from 64B to 16MiB, not \"1GiB\"");
	refuses(&size, "64KB", "must be a number with a unit (B, KiB, MiB, GiB) such as 64KiB, not \"64KB\"");
	refuses(&size, "65536",
	        "must be a number with a unit (B, KiB, MiB, GiB) such as 64KiB, not \"65536\"");
}

static void booleans(void **state)
{
	takes(&boolean, "true", "true");
	assert_true(h.flag);
	takes(&boolean, "false", "false");
	assert_false(h.flag);
	refuses(&boolean, "yes", "must be true or false, not \"yes\"");
	refuses(&boolean, "True", "must be true or false, not \"True\"");
	refuses(&boolean, "1", "must be true or false, not \"1\"");
}

static void choices(void **state)
{
	takes(&choice, "none", "none");
	takes(&choice, "required", "required");
	assert_int_equal(h.small, 2);
	refuses(&choice, "require", "must be none, optional or required, not \"require\"");
	refuses(&choice, "none|optional", "must be none, optional or required, not \"none|optional\"");
	refuses(&choice, "", "must be none, optional or required, not \"\"");
	takes(&choice_text, "PUT", "PUT");
	refuses(&choice_text, "put", "must be GET or PUT, not \"put\"");
}

static void numbers_are_kept_as_text(void **state)
{
	takes(&number, "0.10", "0.10");
	takes(&number, "-5", "-5");
	refuses(&number, "five", "must be a number, not \"five\"");
	refuses(&number, "", "must be a number, not \"\"");
	refuses(&number, "12345678901", "must have at most 10 characters");
}

static void strings_have_a_form_and_a_length(void **state)
{
	takes(&string, "abc", "abc");
	refuses(&string, "ABC", "must be small letters, not \"ABC\"");
	refuses(&string, "", "must not be empty");
	refuses(&string, "abcdef", "must have at most 5 characters");
	refuses(&string, "a\n", "must not contain control characters");
}

static void lists_have_a_length(void **state)
{
	struct pl_error err;

	assert_int_equal(pl_config_value_set(&strings, &h, arena, "a", &err), 0);
	assert_int_equal(pl_config_value_set(&strings, &h, arena, "b", &err), 0);
	refuses(&strings, "c", "must have at most 2 elements");
	assert_int_equal(h.nlist, 2);
	assert_string_equal(h.list[1], "b");
}

static void a_value_that_is_not_set_prints_nothing(void **state)
{
	struct pl_buf buf = { 0 };

	assert_false(pl_config_value_print(&string, &h, &buf));
	assert_int_equal(buf.len, 0);
}

static void a_refused_value_leaves_the_old_one(void **state)
{
	struct pl_error err;

	h.small = 7;
	pl_config_value_set(&integer, &h, arena, "1000", &err);
	assert_int_equal(h.small, 7);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(integers, setup, teardown),
		cmocka_unit_test_setup_teardown(a_word_stands_for_zero, setup, teardown),
		cmocka_unit_test_setup_teardown(durations, setup, teardown),
		cmocka_unit_test_setup_teardown(sizes, setup, teardown),
		cmocka_unit_test_setup_teardown(booleans, setup, teardown),
		cmocka_unit_test_setup_teardown(choices, setup, teardown),
		cmocka_unit_test_setup_teardown(numbers_are_kept_as_text, setup, teardown),
		cmocka_unit_test_setup_teardown(strings_have_a_form_and_a_length, setup, teardown),
		cmocka_unit_test_setup_teardown(lists_have_a_length, setup, teardown),
		cmocka_unit_test_setup_teardown(a_value_that_is_not_set_prints_nothing, setup, teardown),
		cmocka_unit_test_setup_teardown(a_refused_value_leaves_the_old_one, setup, teardown),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
