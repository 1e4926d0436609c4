// db/hosts: the servers that a connection string names.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "db/hosts.h"

// "host address port|…"
static void hosts_are(const char *dsn, const char *expected)
{
	struct pl_hosts hosts;
	char text[512] = "";

	pl_hosts_read(&hosts, dsn);
	for (int i = 0; i < hosts.n; i++)
		snprintf(text + strlen(text), sizeof(text) - strlen(text), "%s%s %s %s", i ? "|" : "",
		         hosts.each[i].host, hosts.each[i].address, hosts.each[i].port);
	assert_string_equal(text, expected);
	pl_hosts_free(&hosts);
}

static void names_each_server(void **state)
{
	(void)state;
	hosts_are("postgresql://u@a,b:2/d", "a  |b  2");
	hosts_are("postgresql://u@a:1,b:2,[::1]:3/d", "a  1|b  2|::1  3");
	hosts_are("host=a,b port=1", "a  1|b  1");
	hosts_are("host=a,b hostaddr=1.1.1.1,2.2.2.2 port=1,2", "a 1.1.1.1 1|b 2.2.2.2 2");
	hosts_are("hostaddr=1.1.1.1,2.2.2.2", " 1.1.1.1 5432| 2.2.2.2 5432");
	hosts_are("host=/run/x", "/run/x  5432");
	hosts_are("dbname=d", "  5432");
}

static void leaves_lists_that_do_not_match_to_libpq(void **state)
{
	(void)state;
	hosts_are("host=a,b port=1,2,3", "");
	hosts_are("host=a,b hostaddr=1.1.1.1", "");
}

static void reads_a_service_file(void **state)
{
	char path[] = "/tmp/plist-services.XXXXXX";
	int fd = mkstemp(path);
	FILE *file = fdopen(fd, "w");

	(void)state;
	fputs("[two]\nhost=a,b\nport=1,2\n", file);
	fclose(file);
	setenv("PGSERVICEFILE", path, 1);
	hosts_are("service=two", "a  1|b  2");
	unsetenv("PGSERVICEFILE");
	remove(path);
}

static void resolves_names_and_nothing_else(void **state)
{
	char addresses[4][64];
	struct pl_error err = { 0 };

	(void)state;
	assert_int_equal(pl_hosts_resolve(&(struct pl_host){ (char *)"/run/x", (char *)"", (char *)"1" },
	                                  addresses, 4, &err),
	                 1);
	assert_string_equal(addresses[0], "");
	assert_int_equal(pl_hosts_resolve(&(struct pl_host){ (char *)"a", (char *)"1.1.1.1", (char *)"1" },
	                                  addresses, 4, &err),
	                 1);
	assert_string_equal(addresses[0], "");
	assert_int_equal(pl_hosts_resolve(&(struct pl_host){ (char *)"127.0.0.9", (char *)"", (char *)"1" },
	                                  addresses, 4, &err),
	                 1);
	assert_string_equal(addresses[0], "127.0.0.9");
	assert_int_equal(
		pl_hosts_resolve(&(struct pl_host){ (char *)"no such name.invalid", (char *)"", (char *)"1" },
	                         addresses, 4, &err),
		0);
	assert_int_equal(err.code, PL_EUNAVAIL);
}

static void tries_a_silent_host_last(void **state)
{
	struct pl_hosts hosts;

	(void)state;
	pl_hosts_read(&hosts, "host=s,t,u port=1");
	pl_hosts_note(&hosts.each[0], true);
	pl_hosts_note(&hosts.each[2], true);
	pl_hosts_note(&hosts.each[2], false); // it has responded since
	pl_hosts_order(&hosts);
	assert_string_equal(hosts.each[0].host, "t");
	assert_string_equal(hosts.each[1].host, "u");
	assert_string_equal(hosts.each[2].host, "s");
	pl_hosts_free(&hosts);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(names_each_server),
		cmocka_unit_test(leaves_lists_that_do_not_match_to_libpq),
		cmocka_unit_test(reads_a_service_file),
		cmocka_unit_test(resolves_names_and_nothing_else),
		cmocka_unit_test(tries_a_silent_host_last),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
