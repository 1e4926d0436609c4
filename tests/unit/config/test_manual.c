// plist.yaml(5) matches the table, and its example can be loaded. `test_manual --write
// FILE` generates the page.
#include "fixture.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/mem.h"
#include "config/schema.h"

static void make_page(struct pl_buf *page)
{
	static const char mark[] = ".\\\" @KEYS@\n";
	char *prose = fixture_read(fixture_source("man/plist.yaml.5.in"));
	char *at = strstr(prose, mark);

	assert_non_null(at);
	pl_buf_add(page, prose, (size_t)(at - prose));
	pl_manual_print(page);
	pl_buf_adds(page, at + sizeof(mark) - 1);
	free(prose);
}

static void page_is_made_from_the_table(void **state)
{
	struct pl_buf page = { 0 };
	char *committed = fixture_read(fixture_source("man/plist.yaml.5"));

	make_page(&page);
	if (strcmp(page.data, committed) != 0)
		fail_msg("man/plist.yaml.5 differs from the table of keys: run `make update-man`");
	free(committed);
	pl_buf_fini(&page);
}

static void page_names_every_key(void **state)
{
	struct pl_buf page = { 0 };
	int n;
	const struct pl_key *rows = pl_schema_rows(&n);

	make_page(&page);
	for (int i = 0; i < n; i++) {
		char line[128];
		bool section = strchr(rows[i].path, '.') == NULL;
		snprintf(line, sizeof(line), "\n.%s %s%c", section ? "Ss" : "It Ic", rows[i].path,
		         section ? '\n' : ' ');
		if (strstr(page.data, line) == NULL)
			fail_msg("the page does not have %s", rows[i].path);
	}
	pl_buf_fini(&page);
}

static void example_of_the_page_loads(void **state)
{
	char *page = fixture_read(fixture_source("man/plist.yaml.5.in"));
	char *begin = strstr(page, "\nresources:\n"), *end = begin != NULL ? strstr(begin, ".Ed\n") : NULL;

	assert_non_null(end);
	*end = '\0';
	struct pl_config *config = fixture_load(begin + 1, NULL);
	for (int i = 0; config == NULL && i < fixture_problems.n; i++)
		print_message("# said: %s\n", fixture_problems.lines[i].text);
	assert_non_null(config);
	assert_int_equal(config->nregions, 2);
	assert_true(config->routes[0].on_duplicate == PL_DUPLICATE_REPLAY);
	pl_config_unref(&config);
	free(page);
}

static int write_page(const char *file)
{
	struct pl_buf page = { 0 };
	FILE *f = fopen(file, "w");

	if (f == NULL) {
		perror(file);
		return 1;
	}
	make_page(&page);
	fwrite(page.data, 1, page.len, f);
	pl_buf_fini(&page);
	return fclose(f) == 0 ? 0 : 1;
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(page_is_made_from_the_table),
		cmocka_unit_test(page_names_every_key),
		cmocka_unit_test(example_of_the_page_loads),
	};

	if (argc == 3 && strcmp(argv[1], "--write") == 0)
		return write_page(argv[2]);
	return cmocka_run_group_tests(tests, fixture_setup, fixture_teardown);
}
