// Generated rows: the same for the same ids, within all bounds, for any resource.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "admin/seed_rows.h"
#include "base/decimal.h"

static struct pl_region regions[] = { { .name = "us", .index = 0 },
	                              { .name = "eu", .index = 1 },
	                              { .name = "ap", .index = 2 } };

enum { PRICE, ROOMS, SHORT, SOLD, TINY, DEEP, CELLS };

static const struct pl_resource resource = {
	.name = "things", .table = "thi\"ngs", .nfields = CELLS,
	.fields = {
		[PRICE] = { "price", PL_FIELD_DECIMAL, true, "0.005", "99.999", .precision = 12, .scale = 2 },
		[ROOMS] = { "rooms", PL_FIELD_INTEGER, false, "-3", "3" },
		[SHORT] = { "short", PL_FIELD_STRING, true, .max_length = 6 },
		[SOLD] = { "sold", PL_FIELD_BOOLEAN, true },
		[TINY] = { "tiny", PL_FIELD_DECIMAL, true, .precision = 2, .scale = 2 },
		[DEEP] = { "deep", PL_FIELD_INTEGER, true, .max = "-2147483647" },
	},
};

static struct pl_config config = { .nregions = 2, .regions = regions };

// The cells of a row: the id, the fields, then plist's columns.
static void row(struct pl_seed_rows *rows, int64_t id, char cells[][128])
{
	struct pl_buf line = { 0 };
	int n = 0;
	pl_seed_rows_add(rows, id, &line);
	assert_int_equal(line.data[line.len - 1], '\n');
	line.data[line.len - 1] = '\0';
	for (char *cell = strtok(line.data, "\t"); cell; cell = strtok(NULL, "\t"))
		snprintf(cells[n++], 128, "%s", cell);
	assert_int_equal(n, 1 + CELLS + 4);
	pl_buf_fini(&line);
}

static void every_value_lies_within_its_bounds(void **state)
{
	struct pl_seed_rows *rows = pl_seed_rows_new(&config, &resource, NULL);
	int nulls = 0, low = 0, high = 0, sign, seen[7] = { 0 };
	for (int64_t id = 1; id <= 5000; id++) {
		char cell[1 + CELLS + 4][128];
		row(rows, id, cell);
		assert_int_equal(pl_decimal_cmp_text(cell[1 + PRICE], "0.01", &sign),
		                 0); // 0.005 does not fit into two digits
		assert_true(sign >= 0);
		low += sign == 0;
		assert_int_equal(pl_decimal_cmp_text(cell[1 + PRICE], "99.99", &sign), 0);
		assert_true(sign <= 0);
		high += sign == 0;
		assert_int_equal(strlen(strchr(cell[1 + PRICE], '.')), 3);
		if (strcmp(cell[1 + ROOMS], "\\N") == 0)
			nulls++;
		else
			seen[atoi(cell[1 + ROOMS]) + 3]++;
		assert_in_range(strlen(cell[1 + SHORT]), 1, 6);
		assert_true(cell[1 + SHORT][strlen(cell[1 + SHORT]) - 1] != ' ');
		assert_true(strcmp(cell[1 + SOLD], "t") == 0 || strcmp(cell[1 + SOLD], "f") == 0);
		assert_int_equal(pl_decimal_cmp_text(cell[1 + TINY], "0.99", &sign), 0);
		assert_true(sign <= 0);
		assert_string_equal(cell[1 + DEEP], "-2147483647");
	}
	assert_true(nulls > 100 && nulls < 1000);
	assert_true(low > 0 && high > 0); // the bounds themselves occur, too
	for (int i = 0; i < 7; i++)
		assert_true(seen[i] > 0);
	pl_seed_rows_free(&rows);
}

static void a_row_depends_on_its_id_alone(void **state)
{
	struct pl_seed_rows *forth = pl_seed_rows_new(&config, &resource, NULL),
			    *back = pl_seed_rows_new(&config, &resource, NULL);
	struct pl_buf a = { 0 }, b = { 0 };
	char *lines[100];
	for (int64_t id = 1; id <= 100; id++) {
		pl_buf_reset(&a);
		pl_seed_rows_add(forth, id, &a);
		lines[id - 1] = strdup(a.data);
	}
	for (int64_t id = 100; id >= 1; id--) {
		pl_buf_reset(&b);
		pl_seed_rows_add(back, id, &b);
		assert_string_equal(b.data, lines[id - 1]);
		free(lines[id - 1]);
	}
	pl_buf_fini(&a);
	pl_buf_fini(&b);
	pl_seed_rows_free(&forth);
	pl_seed_rows_free(&back);
}

static void blocks_of_ids_belong_to_the_regions_in_turn(void **state)
{
	assert_string_equal(pl_seed_rows_region(&config, 1)->name, "us");
	assert_string_equal(pl_seed_rows_region(&config, 500)->name, "us");
	assert_string_equal(pl_seed_rows_region(&config, 501)->name, "eu");
	assert_string_equal(pl_seed_rows_region(&config, 1000)->name, "eu");
	assert_string_equal(pl_seed_rows_region(&config, 1001)->name, "us");
	struct pl_config three = { .nregions = 3, .regions = regions };
	assert_string_equal(pl_seed_rows_region(&three, 1001)->name, "ap");
}

static void the_vector_and_the_origin_agree(void **state)
{
	struct pl_seed_rows *rows = pl_seed_rows_new(&config, &resource, NULL);
	char cell[1 + CELLS + 4][128];
	row(rows, 501, cell);
	assert_string_equal(cell[0], "501");
	assert_string_equal(cell[1 + CELLS], "eu");
	assert_string_equal(cell[2 + CELLS], "1");
	assert_string_equal(cell[3 + CELLS], "2026-01-01T00:00:00.500000Z");
	assert_string_equal(cell[4 + CELLS], "{\"eu\": 1}");
	pl_seed_rows_free(&rows);
}

static void tracked_fields_have_their_times(void **state)
{
	struct pl_resource tracked = { .name = "t",
		                       .table = "t",
		                       .track_fields = true,
		                       .nfields = 1,
		                       .fields = { { "n", PL_FIELD_INTEGER, true } } };
	struct pl_seed_rows *rows = pl_seed_rows_new(&config, &tracked, NULL);
	struct pl_buf line = { 0 };
	assert_string_equal(pl_seed_rows_columns(rows),
	                    "id, \"n\", region_origin, version, updated_at, vector, field_times");
	pl_seed_rows_add(rows, 1, &line);
	assert_non_null(strstr(line.data, "\t{\"n\": {\"at\": 1767225600000000, \"origin\": \"us\"}}\n"));
	pl_buf_fini(&line);
	pl_seed_rows_free(&rows);
}

static void bounds_that_leave_nothing_are_refused(void **state)
{
	struct pl_resource none = { .name = "t",
		                    .table = "t",
		                    .nfields = 1,
		                    .fields = { { "n", PL_FIELD_INTEGER, true, "5", "4" } } };
	struct pl_error err;
	assert_null(pl_seed_rows_new(&config, &none, &err));
	assert_int_equal(err.code, PL_EINVAL);
	assert_non_null(strstr(err.text, "t.n"));
	none.fields[0] = (struct pl_field){ "d",     PL_FIELD_DECIMAL, true,      "0.001",
		                            "0.009", .precision = 5,   .scale = 2 };
	assert_null(pl_seed_rows_new(&config, &none, &err));
}

static void identifiers_are_quoted(void **state)
{
	struct pl_buf buf = { 0 };
	pl_seed_rows_add_identifier(&buf, "a\"b; drop");
	assert_string_equal(buf.data, "\"a\"\"b; drop\"");
	pl_buf_fini(&buf);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_value_lies_within_its_bounds),
		cmocka_unit_test(a_row_depends_on_its_id_alone),
		cmocka_unit_test(blocks_of_ids_belong_to_the_regions_in_turn),
		cmocka_unit_test(the_vector_and_the_origin_agree),
		cmocka_unit_test(tracked_fields_have_their_times),
		cmocka_unit_test(bounds_that_leave_nothing_are_refused),
		cmocka_unit_test(identifiers_are_quoted),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
