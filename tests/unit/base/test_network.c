// Addresses and networks, in the forms that people write.
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/network.h"

static bool has(const char *network, const char *address)
{
	struct pl_network n;
	struct pl_address a;

	assert_int_equal(pl_network_parse(network, &n), 0);
	assert_int_equal(pl_network_parse_address(address, strlen(address), &a), 0);
	return pl_network_has(&n, &a);
}

static void a_network_has_the_addresses_whose_first_bits_are_its_own(void **state)
{
	assert_true(has("10.0.0.0/8", "10.255.1.2"));
	assert_false(has("10.0.0.0/8", "11.0.0.0"));
	assert_true(has("192.168.4.0/22", "192.168.7.255"));
	assert_false(has("192.168.4.0/22", "192.168.8.0"));
	assert_true(has("192.0.2.1", "192.0.2.1"));
	assert_false(has("192.0.2.1", "192.0.2.2"));
	assert_true(has("0.0.0.0/0", "203.0.113.9"));
	assert_false(has("0.0.0.0/0", "2001:db8::1"));
	assert_true(has("::/0", "203.0.113.9"));
	assert_true(has("2001:db8::/33", "2001:db8:7fff::1"));
	assert_false(has("2001:db8::/33", "2001:db8:8000::1"));
	assert_true(has("10.0.0.0/8", "::ffff:10.1.1.1"));
}

static void anything_else_is_refused(void **state)
{
	static const char *const wrong[] = { "",         "10",        "10.0.0.0/33", "10.0.0.0/",
		                             "10.0.0/8", "::1/129",   "localhost",   "10.0.0.1/8x",
		                             "::/-1",    "10.0.0.1 ", "1.2.3.4.5",   "::1/0000" };
	struct pl_network network;

	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++)
		if (pl_network_parse(wrong[i], &network) == 0)
			fail_msg("\"%s\" was accepted", wrong[i]);
}

static void loopback_addresses_are_recognised(void **state)
{
	static const struct {
		const char *text;
		bool loopback;
	} cases[] = { { "127.0.0.1", true },         { "127.9.9.9", true }, { "[::1]", true },
		      { "::ffff:127.0.0.1", true },  { "0.0.0.0", false },  { "[::]", false },
		      { "::ffff:128.0.0.1", false }, { "10.0.0.1", false } };
	struct pl_address address;

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		assert_int_equal(pl_network_parse_address(cases[i].text, strlen(cases[i].text), &address), 0);
		assert_int_equal(pl_network_is_loopback(&address), cases[i].loopback);
	}
}

static void an_address_is_printed_in_its_shortest_form(void **state)
{
	char text[PL_ADDRESS_TEXT_MAX];
	struct pl_address address;

	pl_network_parse_address("::ffff:192.0.2.1", 16, &address);
	assert_string_equal(pl_network_format(&address, text), "192.0.2.1");
	pl_network_parse_address("2001:db8:0:0::1", 15, &address);
	assert_string_equal(pl_network_format(&address, text), "2001:db8::1");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_network_has_the_addresses_whose_first_bits_are_its_own),
		cmocka_unit_test(anything_else_is_refused),
		cmocka_unit_test(loopback_addresses_are_recognised),
		cmocka_unit_test(an_address_is_printed_in_its_shortest_form),
	};
	return cmocka_run_group_tests_name("network", tests, NULL, NULL);
}
