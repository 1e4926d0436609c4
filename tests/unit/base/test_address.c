// Addresses as text: their parts, and what they resolve to.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <arpa/inet.h>
#include <string.h>

#include "base/address.h"

static void an_address_has_a_host_and_a_port(void **state)
{
	static const struct {
		const char *text, *host, *port;
	} cases[] = { { "127.0.0.1:8001", "127.0.0.1", "8001" },
		      { "[::1]:80", "::1", "80" },
		      { "db.example:5432", "db.example", "5432" },
		      { ":80", "", "80" },
		      { "*:80", "*", "80" },
		      { "8080", "", "8080" } };

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct pl_address_parts parts;

		assert_int_equal(pl_address_split(cases[i].text, &parts), 0);
		assert_int_equal(parts.host_len, strlen(cases[i].host));
		assert_memory_equal(parts.host, cases[i].host, parts.host_len);
		assert_string_equal(parts.port, cases[i].port);
	}
}

static void text_that_is_not_an_address_changes_nothing(void **state)
{
	static const char *const bad[] = { "", "host", "host:", "[::1:80", "[]:", "]:80[:" };

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		struct pl_address_parts parts = { .port = "before" };

		assert_int_equal(pl_address_split(bad[i], &parts), PL_EINVAL);
		assert_string_equal(parts.port, "before");
	}
}

static void the_same_hosts_may_have_different_ports(void **state)
{
	struct pl_address_parts a, b, c;

	pl_address_split("[::1]:1", &a);
	pl_address_split("[::1]:2", &b);
	pl_address_split("[::2]:1", &c);
	assert_true(pl_address_same_host(&a, &b));
	assert_false(pl_address_same_host(&a, &c));
}

static in_addr_t resolved(const char *text, int flags)
{
	struct pl_error err = { 0 };
	struct addrinfo *list;
	struct sockaddr_in in;

	assert_int_equal(pl_address_resolve(text, flags, &list, &err), 0);
	assert_int_equal(list->ai_family, AF_INET);
	memcpy(&in, list->ai_addr, sizeof(in));
	assert_int_equal(ntohs(in.sin_port), 8001);
	freeaddrinfo(list);
	return ntohl(in.sin_addr.s_addr);
}

static void without_a_host_it_listens_on_all_addresses(void **state)
{
	assert_int_equal(resolved("127.0.0.1:8001", 0), INADDR_LOOPBACK);
	assert_int_equal(resolved(":8001", AI_PASSIVE), INADDR_ANY);
	assert_int_equal(resolved("*:8001", AI_PASSIVE), INADDR_ANY);
	assert_int_equal(resolved("8001", AI_PASSIVE), INADDR_ANY);
}

static void an_address_that_cannot_be_resolved_is_named(void **state)
{
	struct pl_error err = { 0 };
	struct addrinfo *list;

	assert_int_equal(pl_address_resolve("nowhere", 0, &list, &err), PL_EINVAL);
	assert_non_null(strstr(err.text, "nowhere is not an address"));
	assert_int_equal(pl_address_resolve("127.0.0.1:no-such-service", 0, &list, &err), PL_EUNAVAIL);
	assert_non_null(strstr(err.text, "127.0.0.1:no-such-service: "));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(an_address_has_a_host_and_a_port),
		cmocka_unit_test(text_that_is_not_an_address_changes_nothing),
		cmocka_unit_test(the_same_hosts_may_have_different_ports),
		cmocka_unit_test(without_a_host_it_listens_on_all_addresses),
		cmocka_unit_test(an_address_that_cannot_be_resolved_is_named),
	};

	return cmocka_run_group_tests_name("base/address", tests, NULL, NULL);
}
