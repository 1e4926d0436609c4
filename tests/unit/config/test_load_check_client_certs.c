// auth.client_certificates: rules that name nobody, or that anybody could satisfy, are
// refused with a reason.
#include "fixture.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PROXIES "http: { trusted_proxies: [\"10.0.0.1\"] }\n"
#define LONG    "a-name-that-is-longer-than-the-sixty-four-characters-of-a-principal"
#define GOOD    "{ san: \"DNS:*.shop.example\" }"

// fixture_secure with NGINX's client_ca, these entries, and other lines.
static char *with_rules(const char *rules, const char *lines, bool front)
{
	static const char tls[] = "tls: { certificate: c, key: k, client_ca: p }, upstream_tls";
	char *text = fixture_secure("c"), *upstream = strstr(text, "upstream_tls"), *whole = malloc(8192);

	int n = snprintf(whole, 8192, "%sauth: { client_certificates: [%s] }\n%.*s%s%s", lines, rules,
	                 (int)(upstream - text), text, front ? tls : "upstream_tls",
	                 upstream + strlen("upstream_tls"));
	assert_true(n < 8192);
	free(text);
	return whole;
}

static void refuse(const char *rules, const char *problem)
{
	char *text = with_rules(rules, PROXIES, true);

	fixture_refused(text, problem, 0);
	free(text);
}

static void accept(char *text)
{
	struct pl_config *config = fixture_load(text, NULL);

	if (!config)
		fail_msg("%s", fixture_problems.lines[0].text);
	pl_config_unref(&config);
	free(text);
}

static void rules_are_read_in_their_order(void **state)
{
	char *text = with_rules(
		"{ subject: \"CN=shop,O=Example\", principal: shop, roles: [editor, auditor] }, " GOOD,
		PROXIES, true);
	struct pl_config *config = fixture_load(text, NULL);

	assert_non_null(config);
	assert_int_equal(config->auth.nclient_certs, 2);
	assert_string_equal(config->auth.client_certs[0].subject, "CN=shop,O=Example");
	assert_string_equal(config->auth.client_certs[0].roles[1], "auditor");
	assert_null(config->auth.client_certs[0].san);
	assert_string_equal(config->auth.client_certs[1].san, "DNS:*.shop.example");
	assert_null(config->auth.client_certs[1].principal);
	assert_true(pl_config_authenticates(config));
	pl_config_unref(&config);
	free(text);
}

static void a_rule_says_which_certificates_it_applies_to(void **state)
{
	refuse("{ principal: shop }", "auth.client_certificates[0]: must have either subject or san");
	refuse("{ subject: \"CN=a\", san: \"DNS:a\", principal: shop }",
	       "auth.client_certificates[0]: must have either subject or san");
	refuse("{ san: shop.example }", "auth.client_certificates[0].san: must be a name such as");
	refuse("{ san: \"IP:10.0.0.1\" }", "auth.client_certificates[0].san: must be a name such as");
	refuse("{ san: \"DNS:*.a.*\" }", "auth.client_certificates[0].san: may have only one *");
	refuse("{ subject: shop, principal: shop }",
	       "auth.client_certificates[0].subject: must be a subject");
	refuse("{ subject: \"CN=shop\" }",
	       "auth.client_certificates[0].principal: is missing; only the name");
	refuse("{ san: \"DNS:a\", principal: \"two words\" }",
	       "auth.client_certificates[0].principal: must be");
	refuse("{ san: \"DNS:a\", roles: [Editor] }", "auth.client_certificates[0].roles: must be a role");
	refuse("{ san: \"URI:spiffe://example/" LONG "\" }",
	       "auth.client_certificates[0].principal: is missing, and the name is too long");
	refuse("{ san: \"URI:a\", principal: \"plist:violation\" }",
	       "auth.client_certificates[0].principal: the principal of a client cannot be");
	refuse("{ san: \"URI:plist:violation\" }",
	       "auth.client_certificates[0].san: the principal of a client cannot be");
	refuse(GOOD ", " GOOD, "auth.client_certificates[1]: is never used, since entry 0 is about the same");
}

static void a_client_must_have_a_way_to_show_its_certificate(void **state)
{
	char *text = with_rules(GOOD, PROXIES, false), *direct = strstr(text, ", direct_ca: d");

	memmove(direct, direct + strlen(", direct_ca: d"), strlen(direct + strlen(", direct_ca: d")) + 1);
	fixture_refused(text, "auth.client_certificates: no client is asked for a certificate", 0);
	free(text);
	accept(with_rules(GOOD, "", false)); // to the daemon itself
	accept(with_rules(GOOD, PROXIES, true));
}

static void nginx_must_be_known_to_the_daemon(void **state)
{
	char *text = with_rules(GOOD, "", true);

	fixture_refused(text, "http.trusted_proxies: is missing; NGINX passes on the certificates", 0);
	free(text);
	static const char plain[] =
		"nginx: { listen: \"8443\", tls: { certificate: c, key: k, client_ca: p }, "
		"local_regions: [us] }\n"
		"http: { trusted_proxies: [unix] }\nauth: { client_certificates: [" GOOD "] }\n";
	text = malloc(8192);
	snprintf(text, 8192, "%s%s", plain, fixture_good);
	fixture_refused(text, "regions.eu.tls: is missing; NGINX passes on the certificates", 3);
	free(text);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(rules_are_read_in_their_order),
		cmocka_unit_test(a_rule_says_which_certificates_it_applies_to),
		cmocka_unit_test(a_client_must_have_a_way_to_show_its_certificate),
		cmocka_unit_test(nginx_must_be_known_to_the_daemon),
	};
	return cmocka_run_group_tests_name("load_check_client_certs", tests, fixture_setup, fixture_teardown);
}
