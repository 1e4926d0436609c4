// Session tokens: what they name, how they combine, what they leave out, and which are
// refused.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/random.h"
#include "seen/positions.h"

static struct pl_config config;
static struct pl_region regions[PL_REGIONS_MAX];

static void configure(const char *const *names, int n)
{
	memset(&config, 0, sizeof(config));
	config.nregions = n;
	config.regions = regions;
	for (int i = 0; i < n; i++)
		regions[i].name = names[i];
}

static int set_up(void **state)
{
	static const char *const names[] = { "us", "eu", "ap" };

	(void)state;
	configure(names, 3);
	return 0;
}

static struct pl_vector vector(const char *text)
{
	struct pl_vector v;

	assert_int_equal(pl_vector_parse(&v, text, strlen(text)), 0);
	return v;
}

static void add(struct pl_seen *seen, int64_t id, const char *text, bool deleted)
{
	struct pl_vector v = vector(text);

	pl_seen_add_record(seen, "properties", id, &v, deleted);
}

static bool covered(const struct pl_seen *seen, int64_t id, const char *text)
{
	struct pl_vector v = vector(text ? text : "{}");

	return pl_seen_covered(pl_seen_find(seen, "properties", id), text ? &v : NULL);
}

static struct pl_seen again(const struct pl_seen *seen)
{
	char text[PL_SEEN_TEXT_MAX + 1];
	struct pl_seen back = { 0 };

	pl_seen_print(text, seen);
	assert_true(strlen(text) <= PL_SEEN_TEXT_MAX);
	assert_null(pl_seen_parse(&back, &config, text));
	return back;
}

static const struct pl_seen_position *position(const struct pl_seen *seen, const char *region)
{
	for (int i = 0; i < seen->npositions; i++)
		if (seen->positions[i].region == pl_seen_hash(region, strlen(region)))
			return &seen->positions[i];
	return NULL;
}

static void returns_as_it_was(void **state)
{
	struct pl_seen seen = { 0 }, back;

	(void)state;
	back = again(&seen);
	assert_int_equal(back.npositions + back.nrecords, 0);
	pl_seen_add_position(&seen, "us", 1, 12345678);
	pl_seen_add_position(&seen, "eu", 3, 7);
	pl_seen_add_position(&seen, "ap", 0, 7); // not known
	add(&seen, 7, "{\"us\":5,\"eu.2\":2147483647}", false);
	add(&seen, INT64_C(-5000000000), "{\"us\":1}", true);
	back = again(&seen);
	assert_int_equal(back.npositions, 2);
	assert_memory_equal(position(&back, "us"), position(&seen, "us"), sizeof(seen.positions[0]));
	assert_memory_equal(position(&back, "eu"), position(&seen, "eu"), sizeof(seen.positions[0]));
	assert_int_equal(back.nrecords, 2);
	assert_memory_equal(back.records, seen.records, sizeof(seen.records[0]) * 2);
}

static void keeps_the_larger_position(void **state)
{
	struct pl_seen a = { 0 }, b = { 0 };

	(void)state;
	pl_seen_add_position(&a, "us", 1, 9);
	pl_seen_add_position(&a, "us", 1, 12);
	pl_seen_add_position(&a, "us", 1, 10);
	assert_int_equal(position(&a, "us")->id, 12);
	pl_seen_add_position(&b, "us", 2, 3); // ids begin again in a new database
	pl_seen_add_position(&b, "eu", 1, 4);
	pl_seen_merge(&a, &b);
	assert_int_equal(position(&a, "us")->generation, 2);
	assert_int_equal(position(&a, "us")->id, 3);
	assert_int_equal(position(&a, "eu")->id, 4);
}

static void a_record_is_covered_by_a_later_vector(void **state)
{
	struct pl_seen seen = { 0 };
	struct pl_vector v = vector("{\"eu\":1,\"us\":2}");

	(void)state;
	add(&seen, 7, "{\"us\":2,\"eu\":1}", false);
	assert_true(covered(&seen, 7, "{\"us\":2,\"eu\":1}"));
	assert_true(covered(&seen, 7, "{\"us\":3,\"eu\":1,\"ap\":9}"));
	assert_false(covered(&seen, 7, "{\"us\":3}"));
	assert_false(covered(&seen, 7, "{\"us.2\":3,\"eu\":1}"));
	assert_false(covered(&seen, 7, NULL));
	assert_true(pl_seen_equal(pl_seen_find(&seen, "properties", 7), &v));
	v = vector("{\"eu\":1,\"us\":3}");
	assert_false(pl_seen_equal(pl_seen_find(&seen, "properties", 7), &v));
	assert_null(pl_seen_find(&seen, "rooms", 7));
	assert_null(pl_seen_find(&seen, "properties", 8));
}

static void names_no_record_that_was_seen_later_without_its_vector(void **state)
{
	struct pl_seen seen = { 0 };

	(void)state;
	pl_seen_add_position(&seen, "us", 1, 3);
	for (int64_t id = 7; id <= 9; id++)
		add(&seen, id, "{\"us\":2}", false);
	pl_seen_forget(&seen, "rooms", 8);
	pl_seen_forget(&seen, "properties", 5);
	assert_int_equal(seen.nrecords, 3);
	pl_seen_forget(&seen, "properties", 8);
	assert_null(pl_seen_find(&seen, "properties", 8));
	assert_true(covered(&seen, 7, "{\"us\":2}") && covered(&seen, 9, "{\"us\":2}"));
	pl_seen_forget_all(&seen);
	assert_int_equal(seen.nrecords, 0);
	assert_int_equal(position(&seen, "us")->id, 3);
}

static void a_deleted_record_may_be_missing(void **state)
{
	struct pl_seen seen = { 0 };

	(void)state;
	add(&seen, 7, "{\"us\":2}", true);
	assert_true(covered(&seen, 7, NULL));
	assert_false(covered(&seen, 7, "{\"us\":1}"));
	add(&seen, 7, "{\"us\":1}", false); // seen before, in another region
	assert_true(covered(&seen, 7, NULL));
	add(&seen, 7, "{\"us\":1,\"eu\":1}", false); // written concurrently: nothing is known
	assert_false(covered(&seen, 7, NULL));
	add(&seen, 7, "{\"us\":3,\"eu\":1}", true);
	assert_true(covered(&seen, 7, NULL));
	add(&seen, 7, "{\"us\":4,\"eu\":1}", false);
	assert_false(covered(&seen, 7, NULL));
}

static void joins_the_vectors_that_two_tokens_have_for_a_record(void **state)
{
	struct pl_seen a = { 0 }, b = { 0 };
	char text[2 * PL_SEEN_TEXT_MAX + 8], other[PL_SEEN_TEXT_MAX + 1];

	(void)state;
	add(&a, 7, "{\"us\":2,\"eu\":1}", false);
	add(&b, 7, "{\"us\":1,\"eu\":3}", false);
	add(&b, 8, "{\"us\":1}", false);
	pl_seen_print(text, &a);
	pl_seen_print(other, &b);
	strcat(strcat(text, " ,\t"), other);
	memset(&a, 0, sizeof(a));
	assert_null(pl_seen_parse(&a, &config, text));
	assert_true(covered(&a, 7, "{\"us\":2,\"eu\":3}"));
	assert_false(covered(&a, 7, "{\"us\":2,\"eu\":2}"));
	assert_false(covered(&a, 7, "{\"us\":1,\"eu\":3}"));
	assert_int_equal(a.nrecords, 2);
}

static void leaves_out_the_oldest_records_and_no_position(void **state)
{
	struct pl_seen seen = { 0 }, back;

	(void)state;
	pl_seen_add_position(&seen, "us", 1, 1000000);
	for (int i = 1; i <= 200; i++) {
		add(&seen, i * INT64_C(1000000), "{\"ap\":100000,\"eu\":100000,\"us\":100000}", false);
		seen = again(&seen);
		assert_int_equal(seen.records[0].id, i * INT64_C(1000000));
	}
	assert_true(seen.nrecords >= 8);
	for (int i = 0; i < seen.nrecords; i++)
		assert_int_equal(seen.records[i].id, (200 - i) * INT64_C(1000000));
	assert_int_equal(position(&seen, "us")->id, 1000000);
	back = again(&seen);
	assert_memory_equal(&back, &seen, sizeof(seen));
}

static void a_vector_of_many_keys_is_left_to_the_positions(void **state)
{
	struct pl_seen seen = { 0 };
	struct pl_buf many = { 0 };

	(void)state;
	for (int i = 0; i <= PL_SEEN_COUNTS_MAX; i++)
		pl_buf_printf(&many, "%c\"us.%d\":1", i ? ',' : '{', i + 2);
	pl_buf_addc(&many, '}');
	add(&seen, 7, many.data, false);
	assert_null(pl_seen_find(&seen, "properties", 7));
	pl_buf_fini(&many);
	for (int i = 0; i <= PL_SEEN_COUNTS_MAX; i++) { // each of them fits, but not all together
		pl_buf_reset(&many);
		pl_buf_printf(&many, "{\"us.%d\":1}", i + 2);
		add(&seen, 7, many.data, false);
		assert_int_equal(pl_seen_find(&seen, "properties", 7) != NULL, i < PL_SEEN_COUNTS_MAX);
	}
	pl_buf_fini(&many);
}

static void sixteen_positions_always_fit(void **state)
{
	static char names[PL_REGIONS_MAX][8];
	const char *list[PL_REGIONS_MAX];
	struct pl_seen seen = { 0 }, back;

	for (int i = 0; i < PL_REGIONS_MAX; i++) {
		snprintf(names[i], sizeof(names[i]), "r%d", i);
		list[i] = names[i];
	}
	configure(list, PL_REGIONS_MAX);
	for (int i = 0; i < PL_REGIONS_MAX; i++)
		pl_seen_add_position(&seen, list[i], (INT64_C(1) << 35) - 1, (INT64_C(1) << 56) - 1);
	add(&seen, 7, "{\"us\":1}", false);
	back = again(&seen);
	assert_int_equal(back.npositions, PL_REGIONS_MAX);
	assert_int_equal(back.nrecords, 1);
	set_up(state);
	back = again(&seen);
	assert_int_equal(back.npositions, 0); // none of these regions is configured
}

// A region that could not ask the others uses the time as its generation.
static void a_generation_may_be_a_time(void **state)
{
	struct pl_seen seen = { 0 }, back;

	(void)state;
	pl_seen_add_position(&seen, "us", 1796063681, 7);
	back = again(&seen);
	assert_int_equal(position(&back, "us")->generation, 1796063681);
}

static void refuses_text_that_is_not_a_token(void **state)
{
	static const char *const bad[] = { "",     " ",   ",",    "new,", "news",          "x",
		                           "AQAB", "AQA", "====", "AQ A", "Plist-Session", "\xc3\xa9" };
	struct pl_seen seen = { 0 };
	char text[PL_SEEN_TEXT_MAX + 1], long_text[PL_SEEN_TEXT_MAX + 6];

	(void)state;
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		assert_non_null(pl_seen_parse(&seen, &config, bad[i]));
	assert_null(pl_seen_parse(&seen, &config, "new"));
	assert_null(pl_seen_parse(&seen, &config, " new , new\t"));
	assert_non_null(pl_seen_parse(&seen, &config, "new,new,new,new,new,new,new,new,new"));
	memset(long_text, 'A', sizeof(long_text));
	long_text[sizeof(long_text) - 1] = '\0';
	assert_non_null(pl_seen_parse(&seen, &config, long_text));
	pl_seen_add_position(&seen, "us", 1, 12345678);
	add(&seen, 7, "{\"us\":5,\"eu\":3}", false);
	pl_seen_print(text, &seen);
	for (char *at = text; *at; at++) { // any other character, anywhere
		char was = *at;

		*at = was == 'B' ? 'C' : 'B';
		assert_non_null(pl_seen_parse(&seen, &config, text));
		*at = was;
	}
	for (size_t len = strlen(text); len > 0; len--) { // cut
		text[len - 1] = '\0';
		assert_non_null(pl_seen_parse(&seen, &config, text));
	}
}

static void survives_random_bytes(void **state)
{
	static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_,";

	(void)state;
	for (int i = 0; i < 20000; i++) {
		struct pl_seen seen = { 0 };
		char text[PL_SEEN_TEXT_MAX + 1];
		size_t len = pl_random_below(PL_SEEN_TEXT_MAX);

		for (size_t j = 0; j < len; j++)
			text[j] = digits[pl_random_below(sizeof(digits) - 1)];
		text[len] = '\0';
		pl_seen_parse(&seen, &config, text);
	}
}

// ---- positions

static const char *const columns[] = { "region", "reached_generation", "reached_id", "latest_generation",
	                               "latest_id" };

static bool reached(const struct pl_seen *seen, int nrows, const char **values)
{
	struct pl_query answer = {
		.nrows = nrows, .ncolumns = 5, .columns = (const char **)columns, .values = values
	};
	const char *missing = NULL;
	bool is = pl_seen_positions_reached(&answer, seen, &config, &missing);

	assert_int_equal(is, missing == NULL);
	return is;
}

static void compares_with_the_positions_that_a_region_has_reached(void **state)
{
	const char *values[] = { "us", "1", "9223372036854775807", "1", "50", "eu", "2", "100", "2", "120" };
	struct pl_seen seen = { 0 };

	(void)state;
	assert_true(reached(&seen, 2, values));
	pl_seen_add_position(&seen, "us", 1, 1000000); // beyond what us has, but us is the region itself
	pl_seen_add_position(&seen, "eu", 2, 100);
	assert_true(reached(&seen, 2, values));
	pl_seen_add_position(&seen, "eu", 2, 101);
	assert_false(reached(&seen, 2, values));
	values[6] = "3"; // a later generation
	assert_true(reached(&seen, 2, values));
	values[6] = "2";
	values[7] = "101";
	assert_true(reached(&seen, 2, values));
	values[2] = "0"; // the region's own database may have lost something
	assert_false(reached(&seen, 2, values));
	assert_false(reached(&seen, 1, values + 5)); // nothing is known about us
}

static void takes_the_positions_that_cover_a_read(void **state)
{
	const char *values[] = { "us", "1",   "9",  "1", "50", "eu", "2", "100",
		                 "2",  "120", "ap", "0", "0",  "0",  "0" };
	struct pl_query answer = {
		.nrows = 3, .ncolumns = 5, .columns = (const char **)columns, .values = values
	};
	struct pl_seen seen = { 0 };

	(void)state;
	pl_seen_add_position(&seen, "eu", 2, 130);
	pl_seen_positions_add(&answer, &seen);
	assert_int_equal(position(&seen, "us")->id, 50);
	assert_int_equal(position(&seen, "eu")->id, 130);
	assert_null(position(&seen, "ap"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(returns_as_it_was, set_up),
		cmocka_unit_test_setup(keeps_the_larger_position, set_up),
		cmocka_unit_test_setup(a_record_is_covered_by_a_later_vector, set_up),
		cmocka_unit_test_setup(names_no_record_that_was_seen_later_without_its_vector, set_up),
		cmocka_unit_test_setup(a_deleted_record_may_be_missing, set_up),
		cmocka_unit_test_setup(joins_the_vectors_that_two_tokens_have_for_a_record, set_up),
		cmocka_unit_test_setup(leaves_out_the_oldest_records_and_no_position, set_up),
		cmocka_unit_test_setup(a_vector_of_many_keys_is_left_to_the_positions, set_up),
		cmocka_unit_test_setup(sixteen_positions_always_fit, set_up),
		cmocka_unit_test_setup(a_generation_may_be_a_time, set_up),
		cmocka_unit_test_setup(refuses_text_that_is_not_a_token, set_up),
		cmocka_unit_test_setup(survives_random_bytes, set_up),
		cmocka_unit_test_setup(compares_with_the_positions_that_a_region_has_reached, set_up),
		cmocka_unit_test_setup(takes_the_positions_that_cover_a_read, set_up),
	};

	return cmocka_run_group_tests_name("seen/seen", tests, NULL, NULL);
}
