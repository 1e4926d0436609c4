// Decimals: their text, exactness and limits, and that they round like PostgreSQL's
// numeric.
#include "base/decimal.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

static struct pl_decimal a, b, r;

static int setup(void **state)
{
	pl_decimal_init(&a);
	pl_decimal_init(&b);
	pl_decimal_init(&r);
	return 0;
}

static int teardown(void **state)
{
	pl_decimal_fini(&a);
	pl_decimal_fini(&b);
	pl_decimal_fini(&r);
	return 0;
}

static void parse(struct pl_decimal *d, const char *text)
{
	assert_int_equal(pl_decimal_parse(d, text, strlen(text)), 0);
}

static void shows(const struct pl_decimal *d, const char *expected)
{
	struct pl_buf buf = { 0 };
	pl_decimal_print(&buf, d);
	assert_string_equal(buf.data, expected);
	pl_buf_fini(&buf);
}

static void text_is_returned_with_its_scale(void **state)
{
	static const struct {
		const char *text, *shown;
	} texts[] = {
		{ "500000.00", "500000.00" },
		{ "0", "0" },
		{ "-0", "0" },
		{ "-0.00", "0.00" },
		{ "-0.01", "-0.01" },
		{ "0.000", "0.000" },
		{ "1e2", "100" },
		{ "1.5e1", "15" },
		{ "1.50e1", "15.0" },
		{ "15e-1", "1.5" },
		{ "15E-4", "0.0015" },
		{ "-12.5e+3", "-12500" },
		{ "9007199254740993", "9007199254740993" },
		{ "0.1", "0.1" },
		{ "0e999999999", "0" },
		{ "0e0", "0" },
	};
	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
		parse(&a, texts[i].text);
		shows(&a, texts[i].shown);
	}
}

static void text_that_is_not_a_number_is_refused_and_changes_nothing(void **state)
{
	static const char *const texts[] = {
		"",
		"-",
		"+1",
		".5",
		"5.",
		"01",
		"-01",
		"00",
		"1e",
		"1e+",
		"1.e5",
		"0x10",
		"1 ",
		" 1",
		"1,5",
		"NaN",
		"Infinity",
		"1e5.0",
		"--1",
		"1-",
		"1e999999999",
		"1e-999999999",
		"1e99999999999999999999999",
		"1e1001",
		"1e-1001",
	};
	parse(&a, "7.7");
	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
		assert_int_equal(pl_decimal_parse(&a, texts[i], strlen(texts[i])), -1);
		shows(&a, "7.7");
	}
}

static void a_thousand_digits_fit_and_one_more_does_not(void **state)
{
	char text[1100];
	memset(text, '9', 1001);
	assert_int_equal(pl_decimal_parse(&a, text, 1000), 0);
	assert_int_equal(pl_decimal_parse(&b, text, 1001), -1);
	parse(&b, "1");
	parse(&r, "3");
	assert_int_equal(pl_decimal_add(&r, &a, &b), -1); // 10^1000
	assert_int_equal(pl_decimal_mul(&r, &a, &a), -1);
	shows(&r, "3");
	assert_int_equal(pl_decimal_sub(&r, &a, &b), 0);
	text[999] = '8';
	text[1000] = '\0';
	shows(&r, text);
	text[999] = text[1000] = '9';
	parse(&b, "0.1");
	assert_int_equal(pl_decimal_add(&r, &a, &b), -1); // 1001 digits at scale 1
	assert_int_equal(pl_decimal_cmp(&a, &b), 1);
	// All digits after the point
	memcpy(text, "0.", 2);
	assert_int_equal(pl_decimal_parse(&a, text, 1002 - 1), 0);
	text[1001] = '9';
	text[1002] = '9';
	assert_int_equal(pl_decimal_parse(&a, text, 1003), -1);
}

static void comparison_is_by_value(void **state)
{
	static const struct {
		const char *x, *y;
		int sign;
	} pairs[] = {
		{ "1.5", "1.50", 0 },
		{ "1e2", "100.00", 0 },
		{ "-0", "0.000", 0 },
		{ "0.1", "0.10000000000000000001", -1 },
		{ "-1", "1", -1 },
		{ "-2", "-10", 1 },
		{ "9007199254740993", "9007199254740992", 1 },
		{ "12.5", "2.5", 1 },
	};
	for (size_t i = 0; i < sizeof(pairs) / sizeof(pairs[0]); i++) {
		int sign = 9;
		assert_int_equal(pl_decimal_cmp_text(pairs[i].x, pairs[i].y, &sign), 0);
		assert_int_equal(sign, pairs[i].sign);
		assert_int_equal(pl_decimal_cmp_text(pairs[i].y, pairs[i].x, &sign), 0);
		assert_int_equal(sign, -pairs[i].sign);
	}
	int sign;
	assert_int_equal(pl_decimal_cmp_text("1", "one", &sign), -1);
	assert_int_equal(pl_decimal_cmp_text("", "1", &sign), -1);
}

static void texts_compare_like_the_numbers_that_they_spell(void **state)
{
	static const char *const texts[] = {
		"0",
		"-0",
		"0.0",
		"-0.00",
		"0.01",
		"0.010",
		"-0.01",
		"0.1",
		"-0.1",
		"1",
		"-1",
		"1.0",
		"1.05",
		"1.5",
		"1.50",
		"-1.5",
		"9",
		"10",
		"-10",
		"19.99",
		"99",
		"100",
		"100.000000000001",
		"999999999999999999",
		"-999999999999999999",
		"1000000000000000000",
		"1e1",
		"-1e1",
		"1e-2",
		"0e5",
	};
	int n = sizeof(texts) / sizeof(texts[0]), sign;

	for (int i = 0; i < n * n; i++) {
		parse(&a, texts[i / n]);
		parse(&b, texts[i % n]);
		assert_int_equal(pl_decimal_cmp_text(texts[i / n], texts[i % n], &sign), 0);
		if (sign != pl_decimal_cmp(&a, &b))
			fail_msg("%s to %s: %d", texts[i / n], texts[i % n], sign);
	}
}

static void sums_differences_and_products_are_exact(void **state)
{
	parse(&a, "0.1");
	parse(&b, "0.20");
	assert_int_equal(pl_decimal_add(&r, &a, &b), 0);
	shows(&r, "0.30");
	assert_int_equal(pl_decimal_sub(&r, &a, &b), 0);
	shows(&r, "-0.10");
	assert_int_equal(pl_decimal_mul(&r, &a, &b), 0);
	shows(&r, "0.020");
	parse(&a, "99999999999999999999.99");
	parse(&b, "0.01");
	assert_int_equal(pl_decimal_add(&r, &a, &b), 0);
	shows(&r, "100000000000000000000.00");
}

static void the_result_may_be_an_operand(void **state)
{
	parse(&a, "1.25");
	assert_int_equal(pl_decimal_add(&a, &a, &a), 0);
	shows(&a, "2.50");
	assert_int_equal(pl_decimal_mul(&a, &a, &a), 0);
	shows(&a, "6.2500");
	assert_int_equal(pl_decimal_div(&a, &a, &a, 2), 0);
	shows(&a, "1.00");
	assert_int_equal(pl_decimal_sub(&a, &a, &a), 0);
	shows(&a, "0.00");
}

static void division_names_its_scale_and_rounds_halves_away_from_zero(void **state)
{
	static const struct {
		const char *x, *y;
		int scale;
		const char *shown;
	} cases[] = {
		{ "1", "3", 5, "0.33333" },
		{ "2", "3", 2, "0.67" },
		{ "1", "2", 0, "1" },
		{ "-1", "2", 0, "-1" },
		{ "1", "-2", 0, "-1" },
		{ "-1", "-2", 0, "1" },
		{ "1", "8", 2, "0.13" },
		{ "-1", "8", 2, "-0.13" },
		{ "500000.00", "0.01", 0, "50000000" },
		{ "0.001", "1000", 6, "0.000001" },
		{ "0", "7", 3, "0.000" },
		{ "0.49", "1", 0, "0" },
		{ "7", "7.000", 0, "1" },
	};
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		parse(&a, cases[i].x);
		parse(&b, cases[i].y);
		assert_int_equal(pl_decimal_div(&r, &a, &b, cases[i].scale), 0);
		shows(&r, cases[i].shown);
	}
	parse(&b, "0.00");
	assert_int_equal(pl_decimal_div(&r, &a, &b, 2), -1);
	parse(&b, "1");
	assert_int_equal(pl_decimal_div(&r, &a, &b, -1), -1);
	assert_int_equal(pl_decimal_div(&r, &a, &b, PL_DECIMAL_DIGITS_MAX + 1), -1);
}

static void rounding_widens_too(void **state)
{
	static const struct {
		const char *x;
		int scale;
		const char *shown;
	} cases[] = {
		{ "1.005", 2, "1.01" },  { "-1.005", 2, "-1.01" }, { "1.004", 2, "1.00" },
		{ "0.5", 0, "1" },       { "-0.5", 0, "-1" },      { "2.5", 0, "3" },
		{ "1.5", 3, "1.500" },   { "7", 2, "7.00" },       { "999.995", 2, "1000.00" },
		{ "-0.004", 2, "0.00" },
	};
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		parse(&a, cases[i].x);
		assert_int_equal(pl_decimal_round(&r, &a, cases[i].scale), 0);
		shows(&r, cases[i].shown);
	}
	assert_int_equal(pl_decimal_round(&r, &a, -1), -1);
	assert_int_equal(pl_decimal_round(&r, &a, PL_DECIMAL_DIGITS_MAX + 1), -1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(text_is_returned_with_its_scale),
		cmocka_unit_test(text_that_is_not_a_number_is_refused_and_changes_nothing),
		cmocka_unit_test(a_thousand_digits_fit_and_one_more_does_not),
		cmocka_unit_test(comparison_is_by_value),
		cmocka_unit_test(texts_compare_like_the_numbers_that_they_spell),
		cmocka_unit_test(sums_differences_and_products_are_exact),
		cmocka_unit_test(the_result_may_be_an_operand),
		cmocka_unit_test(division_names_its_scale_and_rounds_halves_away_from_zero),
		cmocka_unit_test(rounding_widens_too),
	};
	return cmocka_run_group_tests_name("base/decimal", tests, setup, teardown);
}
