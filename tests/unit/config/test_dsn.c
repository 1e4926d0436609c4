// config/dsn: whether two connection strings mean the same database.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "config/dsn.h"

static void another_password_means_the_same_database(void **state)
{
	(void)state;
	assert_true(pl_dsn_same_place("postgresql://u:a@h/d", "postgresql://u:b@h/d"));
	assert_true(pl_dsn_same_place("postgresql://u:a@h/d", "host=h user=u dbname=d"));
	assert_true(pl_dsn_same_place("host=h passfile=/a sslkey=/b connect_timeout=3", "host=h"));
}

static void another_user_host_or_name_means_another_database(void **state)
{
	(void)state;
	assert_false(pl_dsn_same_place("postgresql://u:a@h/d", "postgresql://v:a@h/d"));
	assert_false(pl_dsn_same_place("postgresql://u:a@h/d", "postgresql://u:a@i/d"));
	assert_false(pl_dsn_same_place("postgresql://u:a@h/d", "postgresql://u:a@h/e"));
	assert_false(pl_dsn_same_place("postgresql://u:a@h/d", "postgresql://u:a@h:1/d"));
	assert_false(pl_dsn_same_place("postgresql://u:a@h/d", "postgresql://u:a@h,i/d"));
	assert_false(pl_dsn_same_place("host=h", "host=h options='-c search_path=x'"));
	assert_false(pl_dsn_same_place("host=h", "no string"));
}

static void reads_a_file_without_its_line_end(void **state)
{
	char path[] = "/tmp/plist-dsn.XXXXXX", *text;
	FILE *file = fdopen(mkstemp(path), "w");

	(void)state;
	fputs("host=h password=p\n", file);
	fclose(file);
	text = pl_dsn_read_file(path);
	assert_string_equal(text, "host=h password=p");
	free(text);
	assert_null(pl_dsn_read_file("/tmp"));
	remove(path);
	assert_null(pl_dsn_read_file(path));
}

static void only_verified_connections_leave_the_machine(void **state)
{
	static const char *const fine[] = {
		"",
		"dbname=d",
		"host=/run/postgresql",
		"host=@abstract",
		"host=localhost",
		"host=127.0.0.1,::1",
		"postgresql://u@127.1.2.3:5432/d",
		"host=db sslmode=verify-full",
		"postgresql://u@db1,db2/d?sslmode=verify-full",
		"host=db hostaddr=127.0.0.1",
		"no string",
	};
	static const char *const not_fine[][2] = {
		{ "host=db", "db" },
		{ "host=db sslmode=verify-ca", "db" },
		{ "host=db sslmode=require", "db" },
		{ "postgresql://u@127.0.0.1,db2/d", "db2" },
		{ "host=localhost hostaddr=10.0.0.1", "10.0.0.1" },
		{ "host=127.0.0.1.example.org sslmode=prefer", "127.0.0.1.example.org" },
	};
	char host[64];
	for (size_t i = 0; i < sizeof(fine) / sizeof(fine[0]); i++)
		assert_false(pl_dsn_is_unverified(fine[i], host, sizeof(host)));
	for (size_t i = 0; i < sizeof(not_fine) / sizeof(not_fine[0]); i++) {
		assert_true(pl_dsn_is_unverified(not_fine[i][0], host, sizeof(host)));
		assert_string_equal(host, not_fine[i][1]);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(another_password_means_the_same_database),
		cmocka_unit_test(another_user_host_or_name_means_another_database),
		cmocka_unit_test(reads_a_file_without_its_line_end),
		cmocka_unit_test(only_verified_connections_leave_the_machine),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
