// The configuration for NGINX as text: who is asked in which order, and that no value can leave its place.
// What NGINX then does is in tests/integration/test_nginx_faults.py.
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

static void render(const char *line, const char *with, bool check_variant)
{
	struct pl_config *config = load(line, with);
	struct pl_error err;

	if (pl_nginx_render(config, &text, check_variant, &err) < 0)
		fail_msg("%s", err.text);
	pl_config_unref(&config);
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
		snprintf(list + strlen(list), sizeof(list) - strlen(list), "%s%.*s%s", list[0] != '\0' ? " " : "", (int)strcspn(p, "\""), p,
		         memmem(p, (size_t)(line - p), " backup", 7) != NULL ? "(backup)" : "");
	}
	return list;
}

static void each_region_begins_with_itself(void **state)
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

#define SIX "  eu: { listen: \"0.0.0.0:8002\" }\n  ap: { listen: \"0.0.0.0:8003\" }\n  sa: { listen: \"0.0.0.0:8004\" }\n" \
            "  af: { listen: \"0.0.0.0:8005\" }"

static void any_number_of_regions_is_asked_in_order(void **state)
{
	render("  eu:", SIX, false);
	assert_string_equal(servers("plist.ap.read.1"), "127.0.0.1:8003 127.0.0.1:8004(backup)");
	assert_string_equal(servers("plist.ap.read.2"), "127.0.0.1:8005 127.0.0.1:8001(backup)");
	assert_string_equal(servers("plist.ap.read.3"), "127.0.0.1:8002");
	assert_string_equal(servers("plist.ap.write.5"), "127.0.0.1:8002");
	assert_non_null(strstr(text.data, "if ($upstream_bytes_sent != \"0 : 0 : 0 : 0\")"));
}

static void a_region_of_several_daemons_is_tried_whole_before_the_next(void **state)
{
	render("  us:", "  us: { listen: \"0.0.0.0:8001\", upstream: [\"10.0.0.1:1\", \"10.0.0.2:1\"] }", false);
	assert_string_equal(servers("plist.us.read.1"), "10.0.0.1:1 10.0.0.2:1 127.0.0.1:8002(backup)");
	assert_string_equal(servers("plist.us.write.1"), "10.0.0.1:1 10.0.0.2:1");
	assert_string_equal(servers("plist.us.write.2"), "10.0.0.1:1");
	assert_string_equal(servers("plist.us.write.3"), "10.0.0.2:1");
	assert_string_equal(servers("plist.us.write.4"), "127.0.0.1:8002");
}

static void never_has_one_step_and_off_one_region(void **state)
{
	render("kafka:", "kafka: { brokers: \"h:1\" }\nnginx: { failover: { writes: never, reads: off } }", false);
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
	const char *us = "  us: { listen: \"0.0.0.0:8001\", upstream: [\"backend-us:8000\", \"[::1]:8000\", \"10.1.2.3:8000\"] }";

	render("  us:", us, false);
	assert_string_equal(servers("plist.us.write.1"), "backend-us:8000 [::1]:8000 10.1.2.3:8000");
	pl_buf_reset(&text);
	render("  us:", us, true);
	assert_string_equal(servers("plist.us.write.1"), "127.0.0.1:8000 [::1]:8000 10.1.2.3:8000");
	assert_int_equal(count("backend-us"), 0);
}

static void what_could_leave_its_place_is_refused(void **state)
{
	static const char *const bad[] = { "a;b:1", "a{b:1", "a}b:1", "a\nb:1", "a\"b:1", "a\\b:1", "a$b:1", "a'b:1", "a#b:1" };

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		struct pl_config *config = load("kafka:", "kafka: { brokers: \"h:1\" }");
		struct pl_error err = { 0 };
		config->regions[0].upstream[0] = bad[i]; // the YAML's own check would not let it pass
		assert_int_equal(pl_nginx_render(config, &text, false, &err), PL_EINVAL);
		assert_non_null(strstr(err.text, "cannot stand in a configuration of NGINX"));
		pl_config_unref(&config);
	}
}

static void a_region_beside_nginx_is_reached_by_its_socket_and_the_others_by_address(void **state)
{
	render("  eu:", "  eu: { listen: \"0.0.0.0:8002\", socket: \"/run/a b.sock\", upstream: [\"10.0.0.1:1\", \"10.0.0.2:1\"] }\n"
	       "nginx: { beside: eu }", false);
	assert_string_equal(servers("plist.eu.read.1"), "unix:/run/a b.sock 10.0.0.2:1 127.0.0.1:8001(backup)");
	assert_string_equal(servers("plist.eu.write.1"), "unix:/run/a b.sock 10.0.0.2:1");
	assert_string_equal(servers("plist.eu.write.2"), "unix:/run/a b.sock");
	assert_string_equal(servers("plist.eu.write.3"), "10.0.0.2:1");
	assert_string_equal(servers("plist.us.write.1"), "127.0.0.1:8001");
}

static void no_regular_expression_and_no_rewrite(void **state)
{
	render("  eu:", SIX, false);
	assert_int_equal(count("rewrite "), 0);
	assert_int_equal(count("location ~"), 0);
	assert_int_equal(count("        ~"), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_teardown(each_region_begins_with_itself, teardown),
		cmocka_unit_test_teardown(any_number_of_regions_is_asked_in_order, teardown),
		cmocka_unit_test_teardown(a_region_of_several_daemons_is_tried_whole_before_the_next, teardown),
		cmocka_unit_test_teardown(never_has_one_step_and_off_one_region, teardown),
		cmocka_unit_test_teardown(more_steps_than_nginx_can_make_are_not_asked_for, teardown),
		cmocka_unit_test_teardown(the_check_variant_has_no_names_to_resolve, teardown),
		cmocka_unit_test_teardown(what_could_leave_its_place_is_refused, teardown),
		cmocka_unit_test_teardown(a_region_beside_nginx_is_reached_by_its_socket_and_the_others_by_address, teardown),
		cmocka_unit_test_teardown(no_regular_expression_and_no_rewrite, teardown),
	};
	return cmocka_run_group_tests(tests, fixture_setup, fixture_teardown);
}
