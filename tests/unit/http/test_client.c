// A client's address: who is believed to know it, and who is not.
#include "http/client.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

static const char *proxies[] = { "10.0.0.0/8", "unix", "2001:db8::/32" };
static struct pl_config config = { .http = { .ntrusted_proxies = 3, .trusted_proxies = proxies } };
static struct pl_credentials *credentials;

static int setup(void **state)
{
	struct pl_diagnostics diagnostics = { 0 };

	credentials = pl_credentials_load(&config, &diagnostics);
	return credentials ? 0 : -1;
}

static int teardown(void **state)
{
	pl_credentials_unref(&credentials);
	return 0;
}

// The address of a client whose request comes from `peer` (NULL: a UNIX socket) with
// these X-Forwarded-For headers.
static const char *located(const char *peer, const char *first, const char *second)
{
	static char text[PL_ADDRESS_TEXT_MAX];
	struct pl_header two = { "x-forwarded-for", second, NULL };
	struct pl_header one = { "x-forwarded-for", first, second ? &two : NULL };
	struct pl_peer from = { .has_address = peer != NULL };
	struct pl_client client;

	if (peer)
		assert_int_equal(pl_network_parse_address(peer, strlen(peer), &from.address), 0);
	pl_client_locate(&client, &from, first ? &one : NULL, credentials);
	return pl_client_format(&client, text);
}

static void only_a_trusted_proxy_says_where_a_client_is(void **state)
{
	assert_string_equal(located("192.0.2.1", "203.0.113.5", NULL), "192.0.2.1");
	assert_string_equal(located("10.1.1.1", "203.0.113.5", NULL), "203.0.113.5");
	assert_string_equal(located("2001:db8::7", "203.0.113.5", NULL), "203.0.113.5");
	assert_string_equal(located(NULL, "203.0.113.5", NULL), "203.0.113.5");
	assert_string_equal(located("10.1.1.1", NULL, NULL), "10.1.1.1");
	assert_string_equal(located(NULL, NULL, NULL), "unix");
}

static void addresses_that_a_client_puts_in_front_do_not_count(void **state)
{
	assert_string_equal(located("10.1.1.1", "1.1.1.1, 203.0.113.5", NULL), "203.0.113.5");
	assert_string_equal(located("10.1.1.1", "1.1.1.1, 203.0.113.5 , 10.9.9.9", NULL), "203.0.113.5");
	assert_string_equal(located("10.1.1.1", "1.1.1.1", "203.0.113.5"), "203.0.113.5");
	assert_string_equal(located("10.1.1.1", "10.5.5.5,10.6.6.6", NULL), "10.5.5.5");
}

static void an_entry_that_is_not_an_address_ends_the_list(void **state)
{
	assert_string_equal(located("10.1.1.1", "unknown", NULL), "10.1.1.1");
	assert_string_equal(located("10.1.1.1", "203.0.113.5, unknown", NULL), "10.1.1.1");
	assert_string_equal(located("10.1.1.1", "203.0.113.5, ,10.2.2.2", NULL), "10.2.2.2");
	assert_string_equal(located("10.1.1.1", "", NULL), "10.1.1.1");
	assert_string_equal(located("10.1.1.1", ",,,", NULL), "10.1.1.1");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(only_a_trusted_proxy_says_where_a_client_is),
		cmocka_unit_test(addresses_that_a_client_puts_in_front_do_not_count),
		cmocka_unit_test(an_entry_that_is_not_an_address_ends_the_list),
	};
	return cmocka_run_group_tests_name("client", tests, setup, teardown);
}
