// record/vector: order, joins, text formats, entity tags; foreign formats are refused.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/random.h"
#include "record/vector.h"

static struct pl_vector vector(const char *text)
{
	struct pl_vector v;

	assert_int_equal(pl_vector_parse(&v, text, strlen(text)), 0);
	return v;
}

static void prints_as(const struct pl_vector *v, const char *text)
{
	struct pl_buf buf = { 0 };

	pl_vector_print(&buf, v);
	assert_string_equal(buf.data, text);
	pl_buf_fini(&buf);
}

static void is_sorted_whatever_the_order_of_the_input(void **state)
{
	struct pl_vector v = vector(" { \"us\" : 2 ,\n\"ap\":3, \"eu\":1 } ");

	(void)state;
	prints_as(&v, "{\"ap\":3,\"eu\":1,\"us\":2}");
	assert_int_equal(pl_vector_sum(&v), 6);
	assert_int_equal(pl_vector_get(&v, "eu"), 1);
	assert_int_equal(pl_vector_get(&v, "eua"), 0);
	assert_int_equal(pl_vector_set(&v, "eu", 0), 0);
	assert_int_equal(pl_vector_set(&v, "x-1", INT32_MAX), 0);
	prints_as(&v, "{\"ap\":3,\"us\":2,\"x-1\":2147483647}");
	v = vector("{}");
	prints_as(&v, "{}");
	v = vector("{\"us\":0}"); // a missing region counts as 0
	assert_int_equal(v.n, 0);
}

static void refuses_text_that_is_not_a_vector(void **state)
{
	static const char *const bad[] = { "",
		                           "{",
		                           "{}x",
		                           "[]",
		                           "{\"us\"}",
		                           "{\"us\":}",
		                           "{\"us\":-1}",
		                           "{\"us\":1.0}",
		                           "{\"us\":01}",
		                           "{\"us\":2147483648}",
		                           "{\"US\":1}",
		                           "{\"1us\":1}",
		                           "{\"\":1}",
		                           "{\"us\":1,}",
		                           "{\"us\":1 \"eu\":1}",
		                           "{\"us\":1,\"us\":2}",
		                           "{'us':1}",
		                           "{\"u\\u0073\":1}",
		                           "{\"us\":\"1\"}",
		                           "{\"aaaaaaaaaabbbbbbbbbbccccccccccddd\":1}" };
	struct pl_vector v;

	(void)state;
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		if (pl_vector_parse(&v, bad[i], strlen(bad[i])) == 0)
			fail_msg("taken: %s", bad[i]);
	v = vector("{\"us\":1}");
	assert_int_equal(pl_vector_set(&v, "US", 1), -1);
	assert_int_equal(pl_vector_set(&v, "eu", -1), -1);
}

static void has_room_for_all_regions_and_no_more(void **state)
{
	struct pl_vector v = { 0 }, more = { 0 };
	char name[8];

	(void)state;
	for (int i = 0; i < PL_VECTOR_MAX; i++) {
		snprintf(name, sizeof(name), "r%d", 10 + i);
		assert_int_equal(pl_vector_set(&v, name, 1), 0);
	}
	assert_int_equal(pl_vector_set(&v, "zz", 1), -1);
	pl_vector_set(&more, "zz", 1);
	assert_int_equal(pl_vector_join(&v, &more), -1);
	assert_int_equal(pl_vector_join(&v, &v), 0);
	assert_int_equal(v.n, PL_VECTOR_MAX);
}

static void covers_and_compares(void **state)
{
	struct pl_vector a = vector("{\"eu\":1,\"us\":2}"), b = vector("{\"ap\":1,\"eu\":1,\"us\":3}"),
			 c = vector("{\"eu\":2}");
	struct pl_dot dot = { "us", 2 };

	(void)state;
	assert_true(pl_vector_covers(&a, &dot));
	dot.counter = 3;
	assert_false(pl_vector_covers(&a, &dot));
	assert_true(pl_vector_covers(&b, &dot));
	strcpy(dot.region, "xx");
	assert_false(pl_vector_covers(&b, &dot));
	assert_true(pl_vector_le(&a, &b));
	assert_false(pl_vector_le(&b, &a));
	assert_true(pl_vector_le(&a, &a));
	assert_false(pl_vector_le(&a, &c) || pl_vector_le(&c, &a)); // concurrent
	assert_true(pl_vector_equal(&a, &a));
	assert_false(pl_vector_equal(&a, &c));
}

static void random_vector(struct pl_vector *v)
{
	memset(v, 0, sizeof(*v));
	for (int i = 0; i < 5; i++)
		if (pl_random_below(2))
			pl_vector_set(v, (const char *[]){ "ap", "eu", "sa", "us", "za" }[i],
			              1 + (int32_t)pl_random_below(3));
}

// Joins element by element instead of merging two lists: the simplest implementation of
// the same function.
static void joins_and_compares_like_maps(void **state)
{
	static const char *const names[] = { "ap", "eu", "sa", "us", "za" };

	(void)state;
	for (int round = 0; round < 20000; round++) {
		struct pl_vector a, b, joined;
		bool le = true, equal = true;

		random_vector(&a);
		random_vector(&b);
		joined = a;
		assert_int_equal(pl_vector_join(&joined, &b), 0);
		for (int i = 0; i < 5; i++) {
			int32_t x = pl_vector_get(&a, names[i]), y = pl_vector_get(&b, names[i]);

			assert_int_equal(pl_vector_get(&joined, names[i]), x > y ? x : y);
			le = le && x <= y;
			equal = equal && x == y;
		}
		assert_int_equal(pl_vector_le(&a, &b), le);
		assert_int_equal(pl_vector_equal(&a, &b), equal);
		assert_true(pl_vector_le(&a, &joined) && pl_vector_le(&b, &joined));
	}
}

static void an_etag_reads_back_as_it_was(void **state)
{
	char text[PL_ETAG_MAX];
	struct pl_vector v = { 0 }, back;

	(void)state;
	for (int i = 0; i < PL_VECTOR_MAX; i++) {
		char name[PL_REGION_MAX + 1];

		memset(name, 'a' + i / 8, PL_REGION_MAX);
		name[PL_REGION_MAX - 1] = (char)('a' + i % 8);
		name[PL_REGION_MAX] = '\0';
		assert_int_equal(pl_vector_set(&v, name, INT32_MAX), 0);
	}
	pl_vector_etag(&v, text); // the longest possible one fits
	assert_true(strlen(text) < PL_ETAG_MAX);
	assert_int_equal(pl_vector_parse_etag(&back, text, strlen(text)), 0);
	assert_true(pl_vector_equal(&v, &back));
	v = vector("{\"us\":2,\"eu\":10}");
	assert_string_equal(pl_vector_etag(&v, text), "\"eu:10+us:2\"");
}

static void refuses_foreign_etags(void **state)
{
	static const char *const bad[] = { "",
		                           "\"\"",
		                           "us:1",
		                           "\"us:1",
		                           "W/\"us:1\"",
		                           "\"us:1\" ",
		                           "\"us:1\",\"us:2\"",
		                           "\"us:0\"",
		                           "\"us:01\"",
		                           "\"us:1+eu:1\"",
		                           "\"us:1+us:1\"",
		                           "\"us\"",
		                           "\"us:\"",
		                           "\"us:1+\"",
		                           "\"us:99999999999\"",
		                           "\"5d41402abc4b\"",
		                           "*" };
	struct pl_vector v;

	(void)state;
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		if (pl_vector_parse_etag(&v, bad[i], strlen(bad[i])) == 0)
			fail_msg("taken: %s", bad[i]);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(is_sorted_whatever_the_order_of_the_input),
		cmocka_unit_test(refuses_text_that_is_not_a_vector),
		cmocka_unit_test(has_room_for_all_regions_and_no_more),
		cmocka_unit_test(covers_and_compares),
		cmocka_unit_test(joins_and_compares_like_maps),
		cmocka_unit_test(an_etag_reads_back_as_it_was),
		cmocka_unit_test(refuses_foreign_etags),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
