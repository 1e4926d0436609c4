// A UNIX socket that is trusted is for NGINX only, or a warning says that it is not.
#include "auth/credentials.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

static char above[64], inside[80], path[96];

static int setup(void **state)
{
	strcpy(above, "/tmp/plist-credentials-XXXXXX");
	if (!mkdtemp(above))
		return -1;
	snprintf(inside, sizeof(inside), "%s/run", above);
	snprintf(path, sizeof(path), "%s/us.http", inside);
	return mkdir(inside, 0700);
}

static int teardown(void **state)
{
	rmdir(inside);
	return rmdir(above);
}

// The warnings about a socket there, with these proxies.
static int warnings(const char *proxy, const char *socket)
{
	const char *proxies[] = { "127.0.0.1", proxy };
	struct pl_region us = { .name = "us", .unix_socket = socket };
	struct pl_config config = {
		.file = "plist.yaml",
		.nregions = 1,
		.regions = &us,
		.http = { .ntrusted_proxies = 2, .trusted_proxies = proxies },
	};
	struct pl_diagnostics diagnostics = { 0 };
	struct pl_credentials *credentials = pl_credentials_load(&config, &diagnostics);

	assert_non_null(credentials);
	int n = diagnostics.warnings;
	assert_int_equal(diagnostics.n, n);
	if (n > 0)
		assert_non_null(strstr(diagnostics.lines[0].text, "every user of this machine can reach"));
	pl_credentials_unref(&credentials);
	pl_diagnostics_fini(&diagnostics);
	return n;
}

static void a_trusted_socket_that_all_users_can_reach_is_warned_of(void **state)
{
	static const struct {
		mode_t above, inside;
		int warnings;
	} cases[] = { { 0755, 0755, 1 }, { 0711, 0711, 1 }, { 0755, 0750, 0 },
		      { 0750, 0755, 0 }, { 0700, 0700, 0 }, { 0755, 0754, 0 } };

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		assert_int_equal(chmod(above, cases[i].above), 0);
		assert_int_equal(chmod(inside, cases[i].inside), 0);
		assert_int_equal(warnings("unix", path), cases[i].warnings);
		assert_int_equal(warnings("10.0.0.1", path), 0);
	}
	assert_int_equal(warnings("unix", NULL), 0);
	assert_int_equal(warnings("unix", "/nowhere/us.http"), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(a_trusted_socket_that_all_users_can_reach_is_warned_of, setup,
		                                teardown),
	};
	return cmocka_run_group_tests_name("credentials", tests, NULL, NULL);
}
