// A client's address: who is believed to know it, and who is not; and how long a
// certificate lets it in.
#include "http/client.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/clock.h"

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

// 0, or the status of the problem, for a request with these ends of certificates.
static int ended(const char *first, const char *second, const char *now)
{
	struct pl_header two = { "x-plist-certificate-ends", second, NULL };
	struct pl_header one = { "x-plist-certificate-ends", first, second ? &two : NULL };
	struct pl_request request = { .arena = pl_arena_new(0), .headers = first ? &one : NULL };
	const struct pl_problem *problem;
	int64_t now_us;
	int status;

	assert_int_equal(pl_clock_parse_time(now, strlen(now), &now_us), 0);
	problem = pl_client_check_end(&request, now_us);
	status = problem ? problem->status : 0;
	pl_arena_free(&request.arena);
	return status;
}

static void no_request_is_let_in_after_its_certificate_has_ended(void **state)
{
	static const char *const nonsense[] = { "",
		                                "Dec  1 14:00:00 2099",
		                                "Dec  1 14:00:00 2099 CET",
		                                "Dec  1 14:00:00 2099 GMT ",
		                                "ecJ  1 14:00:00 2099 GMT",
		                                "De  1 14:00:00 2099 GMT",
		                                "Feb 30 14:00:00 2099 GMT",
		                                "Dec -1 14:00:00 2099 GMT",
		                                "2099-12-01T14:00:00Z",
		                                "Bad time value" };

	assert_int_equal(ended(NULL, NULL, "2026-12-01T14:00:00Z"), 0);
	assert_int_equal(ended("Dec  1 14:00:00 2026 GMT", NULL, "2026-12-01T14:00:00.999999Z"), 0);
	assert_int_equal(ended("Dec  1 14:00:00 2026 GMT", NULL, "2026-12-01T14:00:01Z"), 403);
	assert_int_equal(ended("Jan 31 00:00:00 2027 GMT", NULL, "2026-12-01T14:00:01Z"), 0);
	assert_int_equal(ended("Dec 31 23:59:59 9999 GMT", NULL, "2026-12-01T14:00:01Z"), 0);
	assert_int_equal(
		ended("Jan 31 00:00:00 2027 GMT", "Jan 31 00:00:00 2027 GMT", "2026-12-01T14:00:01Z"), 403);
	for (size_t i = 0; i < sizeof(nonsense) / sizeof(nonsense[0]); i++)
		assert_int_equal(ended(nonsense[i], NULL, "2026-12-01T14:00:00Z"), 403);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(only_a_trusted_proxy_says_where_a_client_is),
		cmocka_unit_test(addresses_that_a_client_puts_in_front_do_not_count),
		cmocka_unit_test(no_request_is_let_in_after_its_certificate_has_ended),
		cmocka_unit_test(an_entry_that_is_not_an_address_ends_the_list),
	};
	return cmocka_run_group_tests_name("client", tests, setup, teardown);
}
