// UTF-8: every lead byte with every second byte, and sequences that are overlong,
// truncated or not characters.
#include "base/utf8.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

// An independent implementation: decode, then check that the character exists and that
// this is its shortest form.
static int decoded_len(const unsigned char *p, size_t len)
{
	int n = p[0] < 0x80             ? 1
	        : (p[0] & 0xE0) == 0xC0 ? 2
	        : (p[0] & 0xF0) == 0xE0 ? 3
	        : (p[0] & 0xF8) == 0xF0 ? 4
	                                : 0;
	static const uint32_t least[] = { 0, 0, 0x80, 0x800, 0x10000 };
	if (n == 0 || (size_t)n > len)
		return 0;
	uint32_t c = n == 1 ? p[0] : p[0] & (0xFFu >> (n + 1));
	for (int i = 1; i < n; i++) {
		if ((p[i] & 0xC0) != 0x80)
			return 0;
		c = c << 6 | (p[i] & 0x3F);
	}
	return c >= least[n] && c <= 0x10FFFF && !(c >= 0xD800 && c <= 0xDFFF) ? n : 0;
}

static void every_pair_of_bytes_is_judged_like_a_decoder_would(void **state)
{
	static const unsigned char thirds[] = { 0x00, 0x7F, 0x80, 0xBF, 0xC0, 0xFF };
	for (int a = 0; a < 256; a++)
		for (int b = 0; b < 256; b++)
			for (size_t k = 0; k < sizeof(thirds); k++)
				for (size_t len = 1; len <= 4; len++) {
					unsigned char text[4] = { (unsigned char)a, (unsigned char)b,
						                  thirds[k], 0x80 };
					assert_int_equal(pl_utf8_char((char *)text, len),
					                 decoded_len(text, len));
				}
}

static void a_text_is_valid_only_as_a_whole(void **state)
{
	assert_true(pl_utf8_valid("", 0));
	assert_true(pl_utf8_valid("z\xC3\xBCrich \xE2\x82\xAC \xF0\x9F\x8F\xA0", 16));
	assert_false(pl_utf8_valid("z\xC3\xBCrich \xE2\x82\xAC \xF0\x9F\x8F", 15));
	assert_true(pl_utf8_valid("a\0b", 3));
}

static void any_bytes_are_cleaned_into_a_text_of_the_same_length(void **state)
{
	static const char *const cases[][2] = {
		{ "", "" },
		{ "z\xC3\xBCrich \xE2\x82\xAC", "z\xC3\xBCrich \xE2\x82\xAC" },
		{ "cut \xE2\x82", "cut ??" },
		{ "\xFF\xC3", "??" },
		{ "\x1B[31mred\x7F\a", " [31mred  " },
		{ "two\n\tlines", "two\n\tlines" },
	};
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		char text[40];
		snprintf(text, sizeof(text), "%s", cases[i][0]);
		pl_utf8_clean(text);
		assert_string_equal(text, cases[i][1]);
	}
}

static void what_acts_on_a_terminal_is_known(void **state)
{
	static const char *const acts[] = { "\n",           "\x1b",         "\x7f",         "\xc2\x80",
		                            "\xc2\x9b",     "\xc2\x9f",     "\xd8\x9c",     "\xe2\x80\x8e",
		                            "\xe2\x80\xa8", "\xe2\x80\xae", "\xe2\x81\xa6", "\xe2\x81\xa9" };
	static const char *const seen[] = { " ",
		                            "~",
		                            "\xc2\xa0",
		                            "\xc3\xbc",
		                            "\xe2\x80\x93",
		                            "\xe2\x82\xac",
		                            "\xe6\x97\xa5",
		                            "\xf0\x9f\x98\x80" };

	for (size_t i = 0; i < sizeof(acts) / sizeof(acts[0]); i++)
		assert_true(pl_utf8_acts(acts[i], pl_utf8_char(acts[i], strlen(acts[i]))));
	for (size_t i = 0; i < sizeof(seen) / sizeof(seen[0]); i++)
		assert_false(pl_utf8_acts(seen[i], pl_utf8_char(seen[i], strlen(seen[i]))));
	assert_int_equal(pl_utf8_code("\xf0\x9f\x98\x80", 4), 0x1f600);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_pair_of_bytes_is_judged_like_a_decoder_would),
		cmocka_unit_test(a_text_is_valid_only_as_a_whole),
		cmocka_unit_test(what_acts_on_a_terminal_is_known),
		cmocka_unit_test(any_bytes_are_cleaned_into_a_text_of_the_same_length),
	};
	return cmocka_run_group_tests_name("base/utf8", tests, NULL, NULL);
}
