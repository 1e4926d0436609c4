// Resolving all records with siblings again: what another session has locked, or the
// database refuses, waits alone, is said, and is done when its cause is gone.
#include "lab_applier.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "apply/reresolve.h"
#include "base/clock.h"

static struct pl_reresolve resolving;

static void step(void)
{
	struct pl_error err = { 0 };

	resolving.next_us = 0;
	if (pl_reresolve_step(&resolving, eu.batch, &eu.tools, lab.arena, &err) < 0)
		fail_msg("%s", err.text);
}

static void until_done(int steps)
{
	for (int i = 0; i < steps && resolving.pending; i++)
		step();
	assert_false(resolving.pending);
	assert_int_equal(resolving.left, 0);
}

// Records 1 to n, whose later write is cheaper: 2.00 is visible, and 9.00 with the policy
// that is configured then.
static void make_siblings(int n)
{
	lab_applier_close(&eu);
	lab_config(&lab, &(struct lab_options){ .policy = "last_writer_wins" });
	lab_applier_open(&eu, 1);
	for (int i = 1; i <= n; i++)
		APPLY({ .origin = "us", .vector = "{\"us\":1}", .id = i, .price = "9.00", .at = "10:00:00" },
		      { .origin = "ap", .vector = "{\"ap\":1}", .id = i, .price = "2.00", .at = "10:00:01" });
	lab_applier_close(&eu);
	lab_config(&lab, &(struct lab_options){ .policy = "highest_price" });
	lab_applier_open(&eu, 1);
	pl_reresolve_begin(&resolving, true);
}

#define LEFT "SELECT count(*) FROM properties WHERE price = 2"

static void a_locked_row_waits_alone(void **state)
{
	PGconn *other = lab_connect(&lab, 1);
	int64_t begun_us;

	make_siblings(5);
	PQclear(PQexec(other, "BEGIN; SELECT FROM properties WHERE id = 3 FOR UPDATE"));
	begun_us = pl_mono_us();
	for (int i = 0; i < 5; i++)
		step();
	assert_true(pl_mono_us() - begun_us < 1000000); // it is skipped, not waited for
	lab_is(&lab, "3", 1, "SELECT string_agg(id::text, ' ') FROM properties WHERE price = 2");
	assert_true(resolving.pending);
	assert_int_equal(resolving.left, 1);
	assert_int_equal(resolving.seen, 4);
	// the applier does not spin meanwhile
	assert_false(pl_reresolve_is_due(&resolving, pl_mono_us()));
	assert_true(pl_reresolve_patience_ms(&resolving, 100) == 100);
	PQclear(PQexec(other, "ROLLBACK"));
	PQfinish(other);
	until_done(1);
	lab_is(&lab, "0", 1, LEFT);
	assert_int_equal(resolving.seen, 5);
	assert_int_equal(resolving.changed, 5);
}

static void rows_that_the_database_refuses_hold_up_no_others(void **state)
{
	make_siblings(40);
	lab_ask(&lab, 1, "ALTER TABLE properties ADD CHECK (price < 5 OR id NOT IN (7, 8, 30)) NOT VALID");
	for (int i = 0; i < 4; i++)
		step();
	lab_is(&lab, "7 8 30", 1,
	       "SELECT string_agg(id::text, ' ' ORDER BY id) FROM properties WHERE price = 2");
	assert_true(resolving.pending);
	assert_int_equal(resolving.left, 3);
	lab_ask(&lab, 1, "ALTER TABLE properties DROP CONSTRAINT properties_check");
	until_done(1);
	lab_is(&lab, "0", 1, LEFT);
}

// Many more than are held one by one.
static void a_locked_table_is_left_and_gone_through_later(void **state)
{
	PGconn *other = lab_connect(&lab, 1);
	int64_t begun_us;

	make_siblings(1);
	lab_ask(&lab, 1,
	        "INSERT INTO properties SELECT (jsonb_populate_record(p, jsonb_build_object('id', 1 + n))).* "
	        "FROM properties AS p, generate_series(1, 899) AS n WHERE id = 1; INSERT INTO "
	        "record_siblings SELECT (jsonb_populate_record(s, jsonb_build_object('record_id', 1 + n))).* "
	        "FROM record_siblings AS s, generate_series(1, 899) AS n WHERE record_id = 1");
	PQclear(PQexec(other, "BEGIN; LOCK TABLE properties"));
	begun_us = pl_mono_us();
	for (int i = 0; i < 3; i++)
		step();
	assert_true(pl_mono_us() - begun_us < 2000000);
	assert_true(resolving.pending);
	PQclear(PQexec(other, "ROLLBACK"));
	PQfinish(other);
	lab_is(&lab, "900", 1, LEFT);
	for (int i = 0; i < 40 && resolving.pending; i++)
		step();
	assert_false(resolving.pending);
	lab_is(&lab, "0", 1, LEFT);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, lab_applier_setup, lab_applier_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(a_locked_row_waits_alone),
		TEST(rows_that_the_database_refuses_hold_up_no_others),
		TEST(a_locked_table_is_left_and_gone_through_later),
	};

	return cmocka_run_group_tests(tests, lab_applier_start, lab_applier_stop);
}
