// Who can reach a daemon: nothing is open to other machines by default.
#include "fixture.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define LISTEN(address) "  us: { listen: \"" address "\", database: \"host=h\" }"
#define EU_LOCAL        "  eu: { listen: \"127.0.0.1:8002\", database: \"host=e\" }"

// fixture_good with another line for us, a loopback address for eu, and no security.
static char *silent(const char *us)
{
	char *text = fixture_with("  us:", us), *eu = strstr(text, "  eu:");
	char *rest = strchr(eu, '\n'), *security = strstr(text, "security:");
	char *after = strchr(security, '\n');
	char *whole = malloc(strlen(text) + sizeof(EU_LOCAL));

	*eu = *security = '\0';
	strcpy(whole, text);
	strcat(whole, EU_LOCAL);
	strcat(whole, rest);
	strcat(whole, after + 1);
	free(text);
	return whole;
}

static void accepts(char *text, const char *region)
{
	struct pl_config *config = fixture_load(text, region);

	if (!config)
		fail_msg("%s", fixture_problems.lines[0].text);
	pl_config_unref(&config);
	free(text);
}

static void a_listener_on_loopback_needs_no_choice(void **state)
{
	accepts(silent(LISTEN("127.0.0.1:8001")), NULL);
	accepts(silent(LISTEN("127.8.8.8:8001")), NULL);
	accepts(silent(LISTEN("[::1]:8001")), NULL);
	accepts(silent(LISTEN("localhost:8001")), NULL);
}

static void any_other_listener_needs_a_choice(void **state)
{
	static const char *const addresses[] = { LISTEN("0.0.0.0:8001"), LISTEN("[::]:8001"),
		                                 LISTEN("10.0.0.1:8001"), LISTEN("localhost.example:8001") };

	for (size_t i = 0; i < sizeof(addresses) / sizeof(addresses[0]); i++) {
		char *text = silent(addresses[i]);
		fixture_refused(text, "set security.clients to required, or to open", 0);
		free(text);
	}
}

static void a_daemon_answers_for_its_own_region_only(void **state)
{
	char *text = silent(LISTEN("0.0.0.0:8001"));

	assert_null(fixture_load(text, "us"));
	accepts(text, "eu");
}

static char *with_nginx(const char *listen)
{
	char *text = silent(LISTEN("127.0.0.1:8001")), *whole = malloc(strlen(text) + 64);

	sprintf(whole, "%snginx: { listen: \"%s\" }\n", text, listen);
	free(text);
	return whole;
}

static void an_nginx_for_other_machines_needs_the_same_choice(void **state)
{
	static const char *const local[] = { "127.0.0.1:8080", "localhost:8080", "[::1]:8080" };
	static const char *const open[] = { "8080", "0.0.0.0:8080", "[::]:443", "example.org:80" };

	for (size_t i = 0; i < sizeof(local) / sizeof(local[0]); i++)
		accepts(with_nginx(local[i]), NULL);
	for (size_t i = 0; i < sizeof(open) / sizeof(open[0]); i++) {
		char *text = with_nginx(open[i]);
		fixture_refused(text, "nginx.listen: other machines can reach", 0);
		free(text);
		accepts(with_nginx(open[i]), "us"); // a daemon does not listen there
	}
	accepts(fixture_with("security:", "security: { clients: open }\nnginx: { listen: \"8080\" }"), NULL);
}

static void refuse_with(const char *lines, const char *problem)
{
	char *text = fixture_with("security:", lines);

	fixture_refused(text, problem, 0);
	free(text);
}

static void rules_that_nobody_could_satisfy_are_refused(void **state)
{
	char *text = fixture_with("  - { method: GET",
	                          "  - { method: GET, path: \"/:region/properties/:id\", handler: "
	                          "handlers/property_get.lua, allow: [editor] }");

	fixture_refused(text, "routes[0].allow: clients have no way to prove who they are", 0);
	free(text);
	refuse_with("security: { clients: required }", "security.clients: required, but clients have no way");
	refuse_with("http: { principal_header: X-Client }\nsecurity: { clients: open }",
	            "http.principal_header: set http.trusted_proxies");
	refuse_with("http: { trusted_proxies: [10.0.0.0/33] }\nsecurity: { clients: open }",
	            "http.trusted_proxies: \"10.0.0.0/33\" is not an address or network");
	accepts(fixture_with("security:", "security: { clients: required }\nauth: { api_keys: keys }"), NULL);
	accepts(fixture_with("security:",
	                     "security: { clients: required }\nhttp: { principal_header: X-Client, "
	                     "trusted_proxies: [unix, 10.0.0.0/8, \"::1\"] }"),
	        NULL);
}

// The number of warnings about a file that others can read, or not.
static int warnings(const char *line, const char *with, mode_t mode)
{
	char *text = fixture_with(line, with);
	struct pl_config *config = fixture_load(text, NULL);
	int before = fixture_problems.warnings;

	pl_config_unref(&config);
	pl_diagnostics_fini(&fixture_problems);
	assert_int_equal(chmod(fixture_path("conf/plist.yaml"), mode), 0);
	config = pl_config_load(fixture_path("conf/plist.yaml"), NULL, &fixture_problems);
	assert_non_null(config);
	for (int i = 0; i < fixture_problems.n; i++)
		assert_null(strstr(fixture_problems.lines[i].text, "hush"));
	pl_config_unref(&config);
	free(text);
	return fixture_problems.warnings - before;
}

static void a_secret_in_a_file_that_others_can_read_is_warned_of(void **state)
{
	static const char url[] = "  us: { listen: \"0.0.0.0:8001\", database: \"postgresql://a:hush@us/\" }";
	static const char words[] = "  us: { listen: \"0.0.0.0:8001\", database: \"host=us password=hush\" }";
	static const char none[] = "  us: { listen: \"0.0.0.0:8001\", database: \"postgresql://a@us/\" }";
	static const char variable[] =
		"  us: { listen: \"0.0.0.0:8001\", database: \"postgresql://a:${HUSH:-x}@us/\" }";

	assert_int_equal(warnings("  us:", url, 0644), 1);
	assert_int_equal(warnings("  us:", url, 0604), 1);
	assert_int_equal(warnings("  us:", url, 0640), 0);
	assert_int_equal(warnings("  us:", url, 0600), 0);
	assert_int_equal(warnings("  us:", words, 0644), 1);
	assert_int_equal(warnings("  us:", none, 0644), 0);
	assert_int_equal(warnings("  us:", variable, 0644), 0);
	assert_int_equal(warnings("kafka:",
	                          "kafka: { brokers: \"h:1\", properties: { sasl.password: hush, "
	                          "sasl.username: plist, ssl.key.password: hush } }",
	                          0644),
	                 2);
}

static void the_path_of_the_keys_is_relative_to_the_file(void **state)
{
	char *text = fixture_with("security:", "security: { clients: open }\nauth: { api_keys: keys }");
	struct pl_config *config = fixture_load(text, NULL);

	assert_string_equal(config->auth.api_keys, fixture_path("conf/keys"));
	pl_config_unref(&config);
	free(text);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_listener_on_loopback_needs_no_choice),
		cmocka_unit_test(any_other_listener_needs_a_choice),
		cmocka_unit_test(a_daemon_answers_for_its_own_region_only),
		cmocka_unit_test(an_nginx_for_other_machines_needs_the_same_choice),
		cmocka_unit_test(rules_that_nobody_could_satisfy_are_refused),
		cmocka_unit_test(a_secret_in_a_file_that_others_can_read_is_warned_of),
		cmocka_unit_test(the_path_of_the_keys_is_relative_to_the_file),
	};
	return cmocka_run_group_tests_name("load_check_security", tests, fixture_setup, fixture_teardown);
}
