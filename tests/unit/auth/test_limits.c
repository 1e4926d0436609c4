// Token buckets: how many requests pass, when the next one does, and who shares a
// bucket.
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "auth/limits.h"

#define S INT64_C(1000000)

static struct pl_limits *limits;
static struct pl_limit_answer answer;

static int setup(void **state)
{
	limits = pl_limits_new();
	return 0;
}

static int teardown(void **state)
{
	pl_limits_free(&limits);
	return 0;
}

static bool take(const char *principal, int rate, int burst, int64_t now_us)
{
	struct pl_limit_rule rule = { rate, burst };

	return pl_limits_take_principal(limits, principal, &rule, now_us, &answer);
}

static bool take_from(const char *text, int64_t now_us)
{
	struct pl_limit_rule rule = { 1, 1 };
	struct pl_address address;

	assert_int_equal(pl_network_parse_address(text, strlen(text), &address), 0);
	return pl_limits_take_address(limits, &address, &rule, now_us, &answer);
}

static int passing(const char *principal, int rate, int burst, int64_t now_us)
{
	int n = 0;

	while (n < 10000 && take(principal, rate, burst, now_us))
		n++;
	return n;
}

static void a_burst_passes_and_then_the_rate(void **state)
{
	assert_int_equal(passing("anna", 10, 30, 100 * S), 30);
	assert_int_equal(answer.limit, 30);
	assert_int_equal(answer.retry_after_s, 1);
	assert_int_equal(answer.reset_s, 3);
	assert_int_equal(passing("anna", 10, 30, 101 * S), 10);
	assert_int_equal(passing("anna", 10, 30, 101 * S + S / 10), 1);
	assert_int_equal(passing("anna", 10, 30, 1000 * S), 30);
}

static void without_a_burst_the_rate_of_one_second_is_the_burst(void **state)
{
	assert_int_equal(passing("anna", 7, 0, 5 * S), 7);
	assert_int_equal(passing("anna", 7, 0, 6 * S), 7);
}

static void a_rate_of_zero_limits_nothing(void **state)
{
	assert_int_equal(passing("anna", 0, 1, 5 * S), 10000);
}

static void each_client_has_its_own_bucket(void **state)
{
	assert_true(take("anna", 1, 1, S));
	assert_false(take("anna", 1, 1, S));
	assert_true(take("ben", 1, 1, S));
	assert_true(take_from("10.0.0.1", S));
	assert_false(take_from("10.0.0.1", S));
	assert_true(take_from("10.0.0.2", S));
	assert_true(take_from("2001:db8:0:1::1", S));
	assert_false(take_from("2001:db8:0:1:ffff::2", S)); // the same network of 64 bits
	assert_true(take_from("2001:db8:0:2::1", S));
	assert_true(take_from("::1", S));
	assert_true(take_from("127.0.0.1", S));
	assert_false(take_from("::ffff:127.0.0.1", S)); // the same in another form
	assert_false(take_from("::ffff:7f00:1", S));
	assert_true(take_from("127.0.0.2", S));
}

static void a_smaller_limit_after_a_reload_locks_nobody_out(void **state)
{
	assert_int_equal(passing("anna", 1, 100000, S), 10000);
	assert_false(take("anna", 1, 2, S));
	assert_int_equal(answer.retry_after_s, 1);
	assert_true(take("anna", 1, 2, 2 * S));
}

static void with_more_clients_than_places_the_quietest_is_forgotten(void **state)
{
	char name[32];

	assert_true(take("anna", 1, 1000, S));
	for (int i = 0; i < 300000; i++) {
		snprintf(name, sizeof(name), "client-%d", i);
		assert_true(take(name, 1, 1, 2 * S));
	}
	assert_int_equal(passing("anna", 1, 1000, 2 * S), 1000); // forgotten: full again
}

// A client that has spent its tokens does not get new ones by making others crowd it out.
static void a_client_whose_bucket_is_empty_is_not_forgotten(void **state)
{
	char name[32];

	assert_int_equal(passing("anna", 1, 10, S), 10);
	for (int i = 0; i < 300000; i++) {
		snprintf(name, sizeof(name), "client-%d", i);
		assert_true(take(name, 1, 10, S));
	}
	assert_false(take("anna", 1, 10, S));
}

// A flood may make others' buckets full too early, but never empty.
static void with_a_million_addresses_a_new_client_still_passes(void **state)
{
	struct pl_limit_rule rule = { 1, 1 };
	struct pl_address address = { { 0x20, 0x01, 0x0d, 0xb8 } };
	int refused = 0;

	for (uint32_t i = 0; i < 1000000; i++) {
		memcpy(address.bytes + 4, &i, sizeof(i));
		refused += !pl_limits_take_address(limits, &address, &rule, S + i, &answer);
	}
	assert_int_equal(refused, 0);
	assert_true(take("anna", 1, 1, 2 * S));
	assert_true(take_from("203.0.113.1", 2 * S));
	assert_false(take_from("203.0.113.1", 2 * S));
}

static atomic_int passed;

static void *hammer(void *arg)
{
	struct pl_limit_rule rule = { 1, 1000 };
	struct pl_limit_answer own;

	for (int i = 0; i < 1000; i++)
		if (pl_limits_take_principal(limits, "anna", &rule, S, &own))
			atomic_fetch_add(&passed, 1);
	return NULL;
}

static void workers_share_a_bucket_without_losing_a_token(void **state)
{
	pthread_t threads[4];

	for (int i = 0; i < 4; i++)
		pthread_create(&threads[i], NULL, hammer, NULL);
	for (int i = 0; i < 4; i++)
		pthread_join(threads[i], NULL);
	assert_int_equal(passed, 1000);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(a_burst_passes_and_then_the_rate, setup, teardown),
		cmocka_unit_test_setup_teardown(without_a_burst_the_rate_of_one_second_is_the_burst, setup,
		                                teardown),
		cmocka_unit_test_setup_teardown(a_rate_of_zero_limits_nothing, setup, teardown),
		cmocka_unit_test_setup_teardown(each_client_has_its_own_bucket, setup, teardown),
		cmocka_unit_test_setup_teardown(a_smaller_limit_after_a_reload_locks_nobody_out, setup,
		                                teardown),
		cmocka_unit_test_setup_teardown(with_more_clients_than_places_the_quietest_is_forgotten,
		                                setup, teardown),
		cmocka_unit_test_setup_teardown(a_client_whose_bucket_is_empty_is_not_forgotten, setup,
		                                teardown),
		cmocka_unit_test_setup_teardown(with_a_million_addresses_a_new_client_still_passes, setup,
		                                teardown),
		cmocka_unit_test_setup_teardown(workers_share_a_bucket_without_losing_a_token, setup,
		                                teardown),
	};
	return cmocka_run_group_tests_name("limits", tests, NULL, NULL);
}
