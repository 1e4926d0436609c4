// store/store: rows at the edge of what a record may hold, against a real PostgreSQL.
#include "writes.h"

#include <stdio.h>
#include <stdlib.h>

#include "record/edge.h"

static const char sixty_four[] = "vector = (SELECT jsonb_object_agg('r' || i, 1) FROM generate_series(1, 64) "
				 "i), version = 64";

static const char seventy[] = "vector = (SELECT jsonb_object_agg('us.' || i, 1) FROM generate_series(2, 71) "
			      "i) || '{\"us\":1}', version = 71";

// Values that SQL, a restored table or an older release may leave in a row: the row is
// shown, also in lists, and a write says what is wrong.
static void a_row_beyond_the_edge_is_shown_and_its_writes_say_why(void **state)
{
	static const struct {
		const char *set, *says;
	} cases[] = {
		{ "vector = '{\"us\":1073741824}', version = 1073741824", "1073741824 writes of region us" },
		{ "vector = '{\"us\":2147483647}', version = 2147483647", "2147483647 writes of region us" },
		{ "vector = '{\"eu\":1073741825,\"us\":1}', version = 1073741826", "region eu" },
		{ "vector = '{\"eu\":1073741824,\"us\":1072693247}', version = 2146435071", "the maximum" },
		{ "version = 100", "its vector counts 1 writes" },
		{ "version = -1", "version is -1" },
		{ "vector = '{\"zz\":1}'", "retired_regions" },
		{ sixty_four, "r1" },
		{ "vector = '[]'", "not a map" },
		{ "vector = '{\"us\":\"x\"}'", "not a map" },
		{ "vector = '7'", "not a map" },
		// Entries that add nothing to the version that the row has.
		{ "vector = '{\"us\":1,\"zz\":5}'", "names zz" },
		{ "vector = '{\"us\":1,\"eu\":\"x\"}'", "not a map" },
		{ "vector = '{\"us\":1,\"eu\":null}'", "not a map" },
		{ "vector = '{\"us\":1,\"eu\":[]}'", "not a map" },
		{ "vector = '{\"us\":1,\"eu\":-1}'", "not a map" },
		{ "vector = '{\"us\":1,\"eu\":0.4}'", "not a map" },
		{ "vector = '{\"us\":1,\"eu\":99999999999}'", "not a map" },
		{ "vector = '{\"us\":1,\"eu\":1500000000}'", "1500000000 writes of region eu" },
		{ "vector = '{\"us\":1,\"Zz\":0}'", "not a map" },
		// Entries that do, and that no other region could read.
		{ "vector = '{\"us\":1,\"eu\":1.5}', version = 3", "not a map" },
		{ "vector = '{\"us\":1,\"eu\":2.0}', version = 3", "not a map" },
		{ "vector = '{\"us\":1,\"us.zzz\":2}', version = 3", "not a map" },
		{ "vector = '{\"us\":1,\"us.1\":2}', version = 3", "not a map" },
		{ "vector = '{\"us\":1,\"us.02\":2}', version = 3", "not a map" },
		{ "vector = '{\"us\":1,\"us.2.2\":2}', version = 3", "not a map" },
		{ "vector = '{\"us\":1,\"us.20000000000\":2}', version = 3", "not a map" },
		{ seventy, "not a map" },
		{ "updated_at = 'infinity'", "ahead of the clock" },
		{ "updated_at = '9999-12-31 23:59:59.999999+00'", "ahead of the clock" },
		{ "updated_at = '290000-01-01'", "ahead of the clock" },
		{ "price = 'NaN'", "NaN" },
	};
	struct fixture *f = *state;

	for (int i = 0; i < (int)(sizeof(cases) / sizeof(cases[0])); i++) {
		struct pl_write *write;
		struct pl_read *read;

		outcome_is(f, create(f, 1 + i, "1.00"), PL_OUTCOME_DONE);
		ask(f, "UPDATE properties SET %s WHERE id = %d", cases[i].set, 1 + i);
		read = read_now(f, fixture_resource(f, PROPERTIES), 1 + i);
		assert_int_equal(read->code, 0);
		write = write_new(f, PL_WRITE_UPDATE, 1 + i);
		write_set(write, "bedrooms", "4");
		outcome_is(f, write, PL_OUTCOME_EDGE);
		if (!strstr(write->err.text, cases[i].says))
			fail_msg("%s: \"%s\" does not say \"%s\"", cases[i].set, write->err.text,
			         cases[i].says);
		assert_int_equal(write->record->id, 1 + i);
		write = write_new(f, PL_WRITE_UPDATE, 1 + i); // in the plain case (store/write_batch.c)
		write_set(write, "bedrooms", "4");
		write->has_version = true;
		write->version = atoi(ask(f, "SELECT version FROM properties WHERE id = %d", 1 + i));
		outcome_is(f, write, PL_OUTCOME_EDGE);
		outcome_is(f, write_new(f, PL_WRITE_DELETE, 1 + i), PL_OUTCOME_EDGE);
	}
	ask_is(f, "32", "SELECT count(*) FROM outbox");
}

// As an event does that was written by a clock which is ahead, and that receivers take
// for a minute longer than writers do.
static void a_refusal_says_until_when_and_what_an_operator_can_do(void **state)
{
	struct fixture *f = *state;
	struct pl_write *write;
	const char *until;

	outcome_is(f, create(f, 1, "1.00"), PL_OUTCOME_DONE);
	ask(f, "UPDATE properties SET region_origin = 'eu', updated_at = '2090-01-02 00:00:30+00'");
	outcome_is(f, write = update(f, 1, "2.00"), PL_OUTCOME_EDGE);
	until = pl_edge_until(f->arena, write->resource, write->record, pl_now_us());
	assert_string_equal(until,
	                    "until 2090-01-01T00:00:30.000000Z, or until an operator has run plist-admin "
	                    "record reset properties/1; the clock of region eu, or of whatever else "
	                    "wrote the record, is or was wrong");
	ask(f, "UPDATE properties SET version = 77, updated_at = now()");
	outcome_is(f, write = update(f, 1, "2.00"), PL_OUTCOME_EDGE);
	until = pl_edge_until(f->arena, write->resource, write->record, pl_now_us());
	assert_string_equal(until, "until an operator has run plist-admin record reset properties/1");
}

// Just inside each limit: the last possible write succeeds, and other regions can apply
// its event.
static void a_row_is_written_up_to_the_edge(void **state)
{
	static const char *const cases[] = {
		"vector = '{\"us\":1073741823}', version = 1073741823",
		"vector = '{\"eu\":1073741824,\"us\":1072693246}', version = 2146435070",
		"updated_at = now() + interval '23 hours 59 minutes'",
		"updated_at = '-infinity'",
		"updated_at = '0044-03-15 BC'",
		"vector = '{\"us\": 1, \"eu\": 0}'",
		"vector = '{\"us\": 1, \"zz\": 0}'",
		"vector = '{\"us\": 1, \"us.2\": 3, \"eu.4294967296\": 7}', version = 11",
		"vector = '{}', version = 0",
	};
	struct fixture *f = *state;

	for (int i = 0; i < (int)(sizeof(cases) / sizeof(cases[0])); i++) {
		struct pl_write *write;

		outcome_is(f, create(f, 1 + i, "1.00"), PL_OUTCOME_DONE);
		ask(f, "UPDATE properties SET %s WHERE id = %d", cases[i], 1 + i);
		assert_int_equal(read_now(f, fixture_resource(f, PROPERTIES), 1 + i)->code, 0);
		write = update(f, 1 + i, "2.00");
		outcome_is(f, write, PL_OUTCOME_DONE);
		assert_null(pl_edge_vector_fault(f->arena, f->config, &write->record->vector));
		prints_alike(write->record);
	}
	ask(f, "UPDATE properties SET price = 'NaN' WHERE id = 3");
	outcome_is(f, update(f, 3, "2.00"),
	           PL_OUTCOME_DONE); // the write replaces the number, so its event contains no invalid one
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define t(name) cmocka_unit_test_setup_teardown(name, fixture_setup, fixture_teardown)
		t(a_row_beyond_the_edge_is_shown_and_its_writes_say_why),
		t(a_refusal_says_until_when_and_what_an_operator_can_do),
		t(a_row_is_written_up_to_the_edge),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
