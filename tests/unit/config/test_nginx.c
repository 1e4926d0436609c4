// The NGINX configuration as text: which servers are tried in which order, and that no
// value can escape its quotes. tests/integration/test_nginx_faults.py tests NGINX's
// behaviour.
#define _GNU_SOURCE // memmem
#include "config/nginx.h"

#include "fixture.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static struct pl_buf text;

static int teardown(void **state)
{
	pl_buf_fini(&text);
	return 0;
}

static struct pl_config *load(const char *line, const char *with)
{
	char *yaml = fixture_with(line, with);
	struct pl_config *config = fixture_load(yaml, NULL);

	for (int i = 0; config == NULL && i < fixture_problems.n; i++)
		print_message("# said: %s\n", fixture_problems.lines[i].text);
	assert_non_null(config);
	free(yaml);
	return config;
}

static void render_as(const char *line, const char *with, struct pl_nginx_options options)
{
	struct pl_config *config = load(line, with);
	struct pl_error err;

	if (pl_nginx_render(config, &text, &options, &err) < 0)
		fail_msg("%s", err.text);
	pl_config_unref(&config);
}

static void render(const char *line, const char *with, bool check_variant)
{
	render_as(line, with, (struct pl_nginx_options){ .check_variant = check_variant });
}

static int count(const char *word)
{
	int n = 0;

	for (const char *p = text.data; (p = strstr(p, word)) != NULL; p++)
		n++;
	return n;
}

// The servers of a group, as "a b(backup)".
static const char *servers(const char *group)
{
	static char list[512];
	char head[128];

	snprintf(head, sizeof(head), "upstream \"%s\" {", group);
	const char *p = strstr(text.data, head);
	if (p == NULL)
		return NULL;
	const char *end = strchr(p, '}');
	list[0] = '\0';
	while ((p = strstr(p, "server \"")) != NULL && p < end) {
		const char *line = strchr(p, '\n');
		p += 8;
		snprintf(list + strlen(list), sizeof(list) - strlen(list), "%s%.*s%s",
		         list[0] != '\0' ? " " : "", (int)strcspn(p, "\""), p,
		         memmem(p, (size_t)(line - p), " backup", 7) != NULL ? "(backup)" : "");
	}
	return list;
}

static void requests_for_a_region_go_to_that_region_first(void **state)
{
	render("kafka:", "kafka: { brokers: \"h:1\" }", false);
	assert_string_equal(servers("plist.us.read.1"), "127.0.0.1:8001 127.0.0.1:8002(backup)");
	assert_string_equal(servers("plist.eu.read.1"), "127.0.0.1:8002 127.0.0.1:8001(backup)");
	assert_string_equal(servers("plist.us.write.1"), "127.0.0.1:8001");
	assert_string_equal(servers("plist.us.write.2"), "127.0.0.1:8002");
	assert_null(servers("plist.us.write.3"));
	assert_int_equal(count("proxy_next_upstream off;"), 4);
	assert_int_equal(count("client_max_body_size 65536;"), 1);
}

#define SIX                                                                                        \
	"  eu: { listen: \"0.0.0.0:8002\" }\n  ap: { listen: \"0.0.0.0:8003\" }\n  sa: { listen: " \
	"\"0.0.0.0:8004\" }\n"                                                                     \
	"  af: { listen: \"0.0.0.0:8005\" }"

static void any_number_of_regions_is_tried_in_order(void **state)
{
	render("  eu:", SIX, false);
	assert_string_equal(servers("plist.ap.read.1"), "127.0.0.1:8003 127.0.0.1:8004(backup)");
	assert_string_equal(servers("plist.ap.read.2"), "127.0.0.1:8004 127.0.0.1:8005(backup)");
	assert_string_equal(servers("plist.ap.read.4"), "127.0.0.1:8001 127.0.0.1:8002(backup)");
	assert_string_equal(servers("plist.ap.read.5"), "127.0.0.1:8002 127.0.0.1:8003(backup) "
	                                                "127.0.0.1:8004(backup) 127.0.0.1:8005(backup) "
	                                                "127.0.0.1:8001(backup)");
	assert_string_equal(servers("plist.ap.write.5"), "127.0.0.1:8002");
}

static void all_daemons_of_a_region_are_tried_before_the_next_region(void **state)
{
	render("  us:", "  us: { listen: \"0.0.0.0:8001\", upstream: [\"10.0.0.1:1\", \"10.0.0.2:1\"] }",
	       false);
	assert_string_equal(servers("plist.us.read.1"), "10.0.0.1:1 10.0.0.2:1 127.0.0.1:8002(backup)");
	assert_string_equal(servers("plist.us.write.1"), "10.0.0.1:1 10.0.0.2:1");
	assert_string_equal(servers("plist.us.write.2"), "10.0.0.1:1");
	assert_string_equal(servers("plist.us.write.3"), "10.0.0.2:1");
	assert_string_equal(servers("plist.us.write.4"), "127.0.0.1:8002");
}

static void never_has_one_step_and_off_one_region(void **state)
{
	render("kafka:", "kafka: { brokers: \"h:1\" }\nnginx: { failover: { writes: never, reads: off } }",
	       false);
	assert_null(servers("plist.us.write.2"));
	assert_string_equal(servers("plist.us.read.1"), "127.0.0.1:8001");
}

static void more_steps_than_nginx_can_make_are_not_asked_for(void **state)
{
	char lines[2048] = "  eu: { listen: \"0.0.0.0:8002\" }";

	for (int i = 0; i < 14; i++)
		sprintf(lines + strlen(lines), "\n  r%d: { listen: \"0.0.0.0:%d\" }", i, 9000 + i);
	render("  eu:", lines, false);
	assert_non_null(servers("plist.us.write.8"));
	assert_null(servers("plist.us.write.9"));
	assert_non_null(servers("plist.us.read.8"));
}

static void the_check_variant_has_no_names_to_resolve(void **state)
{
	const char *us = "  us: { listen: \"0.0.0.0:8001\", upstream: [\"backend-us:8000\", \"[::1]:8000\", "
			 "\"10.1.2.3:8000\"] }";

	render("  us:", us, false);
	assert_string_equal(servers("plist.us.write.1"), "backend-us:8000 [::1]:8000 10.1.2.3:8000");
	pl_buf_reset(&text);
	render("  us:", us, true);
	assert_string_equal(servers("plist.us.write.1"), "127.0.0.1:8000 [::1]:8000 10.1.2.3:8000");
	assert_int_equal(count("backend-us"), 0);
}

static void values_that_could_escape_their_quotes_are_refused(void **state)
{
	static const char *const bad[] = { "a;b:1",  "a{b:1", "a}b:1", "a\nb:1", "a\"b:1",
		                           "a\\b:1", "a$b:1", "a'b:1", "a#b:1" };

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		struct pl_config *config = load("kafka:", "kafka: { brokers: \"h:1\" }");
		struct pl_error err = { 0 };
		config->regions[0].upstream[0] = bad[i]; // the check of the YAML would refuse it
		assert_int_equal(pl_nginx_render(config, &text, &(struct pl_nginx_options){ 0 }, &err),
		                 PL_EINVAL);
		assert_non_null(strstr(err.text, "cannot be written into an NGINX configuration"));
		pl_config_unref(&config);
	}
}

static void a_local_region_is_reached_by_its_socket_and_the_others_by_address(void **state)
{
	render("  eu:",
	       "  eu: { listen: \"0.0.0.0:8002\", unix_socket: \"/run/a b.sock\", upstream: [\"10.0.0.1:1\", "
	       "\"10.0.0.2:1\"] }\n"
	       "nginx: { local_regions: eu }",
	       false);
	assert_string_equal(servers("plist.eu.read.1"), "unix:/run/a b.sock 10.0.0.2:1 "
	                                                "127.0.0.1:8001(backup)");
	assert_string_equal(servers("plist.eu.write.1"), "unix:/run/a b.sock 10.0.0.2:1");
	assert_string_equal(servers("plist.eu.write.2"), "unix:/run/a b.sock");
	assert_string_equal(servers("plist.eu.write.3"), "10.0.0.2:1");
	assert_string_equal(servers("plist.us.write.1"), "127.0.0.1:8001");
}

static void the_file_has_no_regular_expression_and_no_rewrite(void **state)
{
	render("  eu:", SIX, false);
	assert_int_equal(count("rewrite "), 0);
	assert_int_equal(count("location ~"), 0);
	assert_int_equal(count("        ~"), 0);
}

static void a_site_contains_only_what_belongs_inside_an_http_block(void **state)
{
	render_as("kafka:", "kafka: { brokers: \"h:1\" }",
	          (struct pl_nginx_options){ .place = PL_NGINX_SITE });
	assert_int_equal(count("\nhttp {"), 0);
	assert_int_equal(count("worker_processes"), 0);
	assert_int_equal(count("_temp_path"), 0);
	assert_int_equal(count("pid \""), 0);
	assert_int_equal(count("    server {"), 1);
	assert_int_equal(count("access_log \"/var/log/nginx/plist.log\""), 1);
}

static void the_systems_file_has_no_relative_path(void **state)
{
	render_as("kafka:", "kafka: { brokers: \"h:1\" }",
	          (struct pl_nginx_options){ .place = PL_NGINX_SYSTEM });
	assert_int_equal(count("\nhttp {"), 1);
	assert_int_equal(count("pid \"/run/nginx.pid\""), 1);
	assert_int_equal(count("_temp_path"), 0);
	assert_int_equal(count("\"access.log\""), 0);
}

static void reads_end_in_a_step_that_remembers_no_failures(void **state)
{
	render("kafka:", "kafka: { brokers: \"h:1\" }", false);
	assert_string_equal(servers("plist.us.read.2"), "127.0.0.1:8002 127.0.0.1:8001(backup)");
	const char *last = strstr(text.data, "upstream \"plist.us.read.2\"");
	assert_non_null(last);
	assert_memory_equal(strstr(last, "\"max_fails="), "\"max_fails=0\"", strlen("\"max_fails=0\""));
}

static void no_status_counts_as_a_failure_of_a_server(void **state)
{
	render("kafka:",
	       "kafka: { brokers: \"h:1\" }\nnginx: { failover: { reads: [error, http_500, http_503] } }",
	       false);
	assert_int_equal(count("proxy_next_upstream error;"),
	                 5); // two steps for each of two regions, and /health
	assert_int_equal(count("error_page 502 504 500 503 = \"@us.read.2\""), 2); // in /us/ and in /health
}

static void nginx_waits_longer_than_every_route(void **state)
{
	render("kafka:", "kafka: { brokers: \"h:1\" }\nhttp: { request_timeout: 20s }", false);
	assert_int_equal(count("proxy_read_timeout 23000ms;"), 1);
	pl_buf_reset(&text);
	render("kafka:", "kafka: { brokers: \"h:1\" }\nnginx: { read_timeout: 1s }", false);
	assert_int_equal(count("proxy_read_timeout 1000ms;"), 1);
}

static void with_tls_every_server_and_every_proxy_has_it(void **state)
{
	static const char clients[] = "limits: { per_address: { rate: 5 } }\n"
				      "nginx: { tls: { certificate: /t/site.crt, key: /t/site.key, "
				      "client_ca: /t/ca.crt, hsts: 1d, redirect: \"80\" },";
	struct pl_buf yaml = { 0 };
	char *secure = fixture_secure("c"), *nginx = strstr(secure, "nginx: {");
	struct pl_error err;

	pl_buf_printf(&yaml, "%.*s%s%s", (int)(nginx - secure), secure, clients, nginx + strlen("nginx: {"));
	struct pl_config *config = fixture_load(yaml.data, NULL);
	assert_non_null(config);
	assert_int_equal(pl_nginx_render(config, &text, &(struct pl_nginx_options){ 0 }, &err), 0);
	pl_config_unref(&config);
	pl_buf_fini(&yaml);
	free(secure);
	assert_int_equal(count("listen \"8443\" ssl http2;"), 1);
	assert_int_equal(count("ssl_protocols TLSv1.2 TLSv1.3;"), 2); // of clients and of daemons
	assert_int_equal(count("ssl_verify_client on;"), 1);
	assert_int_equal(count("proxy_set_header X-Plist-Certificate-Ends $ssl_client_v_end;"), 1);
	assert_int_equal(count("ssl_session_cache off;"), 1);
	assert_int_equal(count("ssl_session_cache"), 1);
	assert_int_equal(count("proxy_ssl_verify on;"), 1);
	assert_int_equal(count("proxy_ssl_name \"plistd\";"), 1);
	assert_int_equal(count("return 308 \"https://$host:8443$request_uri\";"), 1);
	assert_true(count("proxy_pass \"https://") > 0);
	assert_int_equal(count("proxy_pass \"http://"), 0);
	// Locations with headers of their own do not inherit the server's.
	assert_int_equal(count("Strict-Transport-Security \"max-age=86400\" always;"), 1 + count("add_header "
	                                                                                         "X-Plist-"
	                                                                                         "Region "
	                                                                                         "\"nginx\" "
	                                                                                         "always;"));
}

static void without_tls_the_file_does_not_mention_it(void **state)
{
	render("  eu:", "  eu: { listen: \"0.0.0.0:8002\", database: \"postgresql://eu\" }", false);
	assert_true(text.len > 0);
	assert_int_equal(count("ssl"), 0);
	assert_int_equal(count("Strict-Transport"), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_teardown(requests_for_a_region_go_to_that_region_first, teardown),
		cmocka_unit_test_teardown(any_number_of_regions_is_tried_in_order, teardown),
		cmocka_unit_test_teardown(all_daemons_of_a_region_are_tried_before_the_next_region, teardown),
		cmocka_unit_test_teardown(never_has_one_step_and_off_one_region, teardown),
		cmocka_unit_test_teardown(more_steps_than_nginx_can_make_are_not_asked_for, teardown),
		cmocka_unit_test_teardown(the_check_variant_has_no_names_to_resolve, teardown),
		cmocka_unit_test_teardown(values_that_could_escape_their_quotes_are_refused, teardown),
		cmocka_unit_test_teardown(a_local_region_is_reached_by_its_socket_and_the_others_by_address,
		                          teardown),
		cmocka_unit_test_teardown(the_file_has_no_regular_expression_and_no_rewrite, teardown),
		cmocka_unit_test_teardown(a_site_contains_only_what_belongs_inside_an_http_block, teardown),
		cmocka_unit_test_teardown(the_systems_file_has_no_relative_path, teardown),
		cmocka_unit_test_teardown(reads_end_in_a_step_that_remembers_no_failures, teardown),
		cmocka_unit_test_teardown(no_status_counts_as_a_failure_of_a_server, teardown),
		cmocka_unit_test_teardown(nginx_waits_longer_than_every_route, teardown),
		cmocka_unit_test_teardown(with_tls_every_server_and_every_proxy_has_it, teardown),
		cmocka_unit_test_teardown(without_tls_the_file_does_not_mention_it, teardown),
	};
	return cmocka_run_group_tests(tests, fixture_setup, fixture_teardown);
}
