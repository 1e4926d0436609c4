// store/store: the ids of new records, and writes that PostgreSQL discards or refuses,
// against a real PostgreSQL.
#include "writes.h"

#include <stdio.h>

#define BASE INT64_C(1000000000000)

static const char take_ids[] = "INSERT INTO properties (id, price, region_origin, version, vector) SELECT "
			       "%lld + g, 1, 'us', 1, '{\"us\":1}' "
			       "FROM generate_series(%lld, %lld) g";

// Takes ids as another daemon of the region does, or as this one did before a restart.
static void start_again(struct fixture *f)
{
	pl_store_free(&f->store);
	fixture_start(f);
}

static bool has_failed(void *arg)
{
	const struct fixture *f = arg;
	struct pl_error why = { 0 };

	return !pl_store_ready(f->store, &why) && strstr(why.text, "setting up");
}

// Why the store's connections for writes cannot be set up.
static const char *start_in_vain(struct fixture *f)
{
	static struct pl_error why;

	pl_store_free(&f->store);
	f->store = pl_store_new(&(struct pl_store_options){ .loop = f->loop,
	                                                    .config = f->config,
	                                                    .region = &f->config->regions[0] },
	                        &why);
	assert_true(turn_until(f, has_failed, f));
	assert_false(pl_store_ready(f->store, &why));
	return why.text;
}

static void creates_skip_any_number_of_taken_ids_at_once(void **state)
{
	struct fixture *f = *state;
	struct pl_write *writes[100];

	ask(f, take_ids, (long long)BASE, 1LL, 5000LL);
	for (int i = 0; i < 100; i++)
		write_send(f, writes[i] = create(f, 0, "1.00"));
	writes_await(f, writes, 100);
	for (int i = 0; i < 100; i++)
		if (writes[i]->outcome != PL_OUTCOME_DONE || writes[i]->record->id <= BASE + 5000)
			fail_msg("%s, id %lld: %s", outcome_name(writes[i]->outcome),
			         (long long)(writes[i]->record ? writes[i]->record->id : 0),
			         writes[i]->err.text);
	ask_is(f, "5100", "SELECT count(*) FROM properties");
}

static void a_new_connection_moves_the_sequence_above_taken_ids(void **state)
{
	struct fixture *f = *state;

	ask(f, take_ids, (long long)BASE, 1LL, 40LL);
	start_again(f);
	ask_is(f, "40", "SELECT last_value FROM properties_ids");
	ask(f, "SELECT setval('properties_ids', 70)");
	start_again(f);
	ask_is(f, "70", "SELECT last_value FROM properties_ids"); // the sequence never goes back
}

static void an_id_near_the_end_does_not_use_up_the_range(void **state)
{
	struct fixture *f = *state;
	struct pl_write *write;

	ask(f, take_ids, (long long)BASE, 999999999990LL, 999999999999LL);
	start_again(f);
	outcome_is(f, write = create(f, 0, "1.00"), PL_OUTCOME_DONE);
	assert_true(write->record->id == BASE + 1);
	ask(f,
	    // if such ids are next, they are skipped
	    "SELECT setval('properties_ids', 999999999989)");
	outcome_is(f, write = create(f, 0, "1.00"), PL_OUTCOME_DONE);
	assert_true(write->record->id == BASE + 1000000000000);
}

static void the_range_of_the_first_start_stays(void **state)
{
	struct fixture *f = *state;
	struct pl_write *write;

	f->config->regions[0].id_base =
		5 * BASE; // as if a region that precedes this one had been removed from the YAML
	start_again(f);
	outcome_is(f, write = create(f, 0, "1.00"), PL_OUTCOME_DONE);
	assert_true(write->record->id == BASE + 1);
	f->config->regions[0].id_base_given = true;
	start_again(f);
	outcome_is(f, write = create(f, 0, "1.00"), PL_OUTCOME_DONE);
	assert_true(write->record->id == 5 * BASE + 2);
	ask_is(f, "us|5000000000000", "SELECT region || '|' || id_base FROM id_ranges");
}

static void a_range_with_another_regions_records_is_not_used(void **state)
{
	struct fixture *f = *state;
	const char *why;

	ask(f, "DELETE FROM id_ranges");
	ask(f, "INSERT INTO properties (id, price, region_origin, version, vector) VALUES (1000000000009, 1, "
	       "'eu', 2, '{\"eu\":2}')");
	why = start_in_vain(f);
	if (!strstr(why, "regions.us.id_base") || !strstr(why, "1000000000009"))
		fail_msg("%s", why);
	ask(f, "UPDATE properties SET vector = '{\"eu\":1,\"us\":1}'"); // it was created here
	assert_true(turn_until(f, fixture_is_ready, f));
}

// As if a region that precedes this one had been removed from the YAML, and the row that
// keeps where the ids begin had been deleted while no daemon ran.
static void a_lost_range_is_taken_from_what_the_others_know(void **state)
{
	struct fixture *f = *state;
	struct pl_write *write;

	f->config->regions[0].id_base = 5 * BASE;
	ask(f, "DELETE FROM id_ranges");
	ask(f,
	    "INSERT INTO region_heartbeats (region, sent_at, word) VALUES ('ap', now(), '{\"known\": {}}'), "
	    "('eu', now(), '{\"known\": {\"us\": {\"id_base\": 1000000000000}}}')");
	start_again(f);
	outcome_is(f, write = create(f, 0, "1.00"), PL_OUTCOME_DONE);
	assert_true(write->record->id == BASE + 1);
	ask_is(f, "1000000000000", "SELECT id_base FROM id_ranges WHERE region = 'us'");
	ask(f, "DELETE FROM region_heartbeats");
}

static void a_lost_range_is_not_replaced_by_that_of_another_region(void **state)
{
	struct fixture *f = *state;
	const char *why;

	f->config->regions[0].id_base = 5 * BASE;
	ask(f, "DELETE FROM id_ranges");
	ask(f, "INSERT INTO known_regions (region, id_base) VALUES ('eu', 5000000000000)");
	why = start_in_vain(f);
	if (!strstr(why, "plist.id_ranges has no row for region us") || !strstr(why, "regions.us.id_base"))
		fail_msg("%s", why);
	ask(f, "INSERT INTO id_ranges (region, id_base) VALUES ('us', 1000000000000)");
	assert_true(turn_until(f, fixture_is_ready, f));
	ask(f, "DELETE FROM known_regions");
}

static void a_database_before_its_migration_says_so_and_is_noticed_afterwards(void **state)
{
	struct fixture *f = *state;
	const char *why;

	ask(f, "ALTER TABLE id_ranges RENAME TO elsewhere");
	why = start_in_vain(f);
	if (!strstr(why, "plist-admin migrate"))
		fail_msg("%s", why);
	ask(f, "ALTER TABLE elsewhere RENAME TO id_ranges");
	assert_true(turn_until(f, fixture_is_ready, f));
}

static void a_write_that_a_trigger_discards_is_refused_with_a_reason(void **state)
{
	struct fixture *f = *state;
	struct pl_write *writes[4];

	outcome_is(f, create(f, 7, "1.00"), PL_OUTCOME_DONE);
	outcome_is(f, create(f, 8, "1.00"), PL_OUTCOME_DONE);
	ask(f, "CREATE FUNCTION swallow() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN IF NEW.price = 13 "
	       "THEN RETURN NULL; END IF; RETURN NEW; END $$");
	ask(f, "CREATE TRIGGER swallow BEFORE INSERT OR UPDATE ON properties FOR EACH ROW EXECUTE FUNCTION "
	       "swallow()");
	write_send(f, writes[0] = update(f, 7, "13.00"));
	write_send(f, writes[1] = create(f, 9, "13.00"));
	write_send(f, writes[2] = create(f, 0, "13.00"));
	write_send(f, writes[3] = update(f, 8, "14.00"));
	writes_await(f, writes, 4);
	assert_int_equal(writes[3]->outcome, PL_OUTCOME_DONE);
	for (int i = 0; i < 3; i++)
		if (writes[i]->outcome != PL_OUTCOME_REFUSED || !strstr(writes[i]->err.text, "discarded"))
			fail_msg("%d: %s, %s", i, outcome_name(writes[i]->outcome), writes[i]->err.text);
	ask_is(f, "2|3", "SELECT (SELECT count(*) FROM properties) || '|' || (SELECT count(*) FROM outbox)");
}

// A trigger that changes the application's own columns does not matter.
static void a_write_whose_plist_columns_a_trigger_changes_is_refused_with_a_reason(void **state)
{
	static const char *const spoils[] = {
		"NEW.version := 99",
		"NEW.vector := '{\"eu\":7}'",
		"NEW.vector := '{\"us\":\"two\"}'",
		"NEW.id := NEW.id + 1000",
		"NEW.updated_at := 'infinity'",
		"NEW.updated_at := '10000-01-01'",
		"NEW.updated_at := '0044-03-15 BC'",
		"NEW.region_origin := 'zz'",
		"NEW.deleted_at := now()",
		"IF TG_OP = 'UPDATE' THEN NEW := OLD; ELSE NEW.version := 2; END IF",
	};
	struct fixture *f = *state;
	struct pl_write *writes[4];

	outcome_is(f, create(f, 7, "1.00"), PL_OUTCOME_DONE);
	outcome_is(f, create(f, 8, "1.00"), PL_OUTCOME_DONE);
	for (size_t i = 0; i < sizeof(spoils) / sizeof(spoils[0]); i++) {
		char sql[512];

		snprintf(sql, sizeof(sql),
		         "CREATE OR REPLACE FUNCTION spoil() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN IF "
		         "NEW.price = 13 THEN %s; END IF; NEW.bedrooms := 4; RETURN NEW; END $$",
		         spoils[i]);
		ask(f, "%s", sql);
		if (i == 0)
			ask(f, "CREATE TRIGGER spoil BEFORE INSERT OR UPDATE ON properties FOR EACH ROW "
			       "EXECUTE FUNCTION spoil()");
		writes[0] = update(f, 7, "13.00");
		writes[0]->has_version = true;
		writes[0]->version = 1;
		write_send(f, writes[0]);
		write_send(f, writes[1] = create(f, 9, "13.00"));
		write_send(f, writes[2] = create(f, 0, "13.00"));
		write_send(f, writes[3] = update(f, 8, "14.00"));
		writes_await(f, writes, 4);
		assert_int_equal(writes[3]->outcome, PL_OUTCOME_DONE);
		for (int j = 0; j < 3; j++)
			if (writes[j]->outcome != PL_OUTCOME_REFUSED || !strstr(writes[j]->err.text, "changed"
			                                                                             " a "
			                                                                             "column "
			                                                                             "that "
			                                                                             "plist "
			                                                                             "manage"
			                                                                             "s"))
				fail_msg("%s: %d: %s, %s", spoils[i], j, outcome_name(writes[j]->outcome),
				         writes[j]->err.text);
		ask_is(f, "1.00|1", "SELECT price || '|' || version FROM properties WHERE id = 7");
		ask_is(f, "2|4", "SELECT count(*) || '|' || max(bedrooms) FROM properties");
	}
}

static void a_refusal_names_constraint_and_columns_and_no_values(void **state)
{
	struct fixture *f = *state;
	struct pl_write *write;

	ask(f, "CREATE UNIQUE INDEX one_price ON properties (price, bedrooms)");
	write = create(f, 7, "12345.00");
	write_set(write, "bedrooms", "3");
	outcome_is(f, write, PL_OUTCOME_DONE);
	write = create(f, 8, "12345.00");
	write_set(write, "bedrooms", "3");
	outcome_is(f, write, PL_OUTCOME_REFUSED);
	assert_string_equal(write->err.constraint, "one_price");
	assert_string_equal(write->err.columns, "price, bedrooms");
	assert_null(strstr(write->err.text, "12345"));
	write = create(f, 8, "666.00");
	outcome_is(f, write, PL_OUTCOME_REFUSED);
	assert_null(strstr(write->err.text, "666"));
	assert_string_equal(write->err.constraint, "properties_price_check");
}

static void a_failed_query_shows_no_value_of_a_row(void **state)
{
	struct fixture *f = *state;
	struct pl_query *query;

	ask(f, "INSERT INTO homes (id, name, region_origin, version, updated_at, vector) VALUES (1, 'a "
	       "secret', 'us', 1, now(), '{\"us\":1}')");
	query = query_now(f, "SELECT name::integer FROM homes", 5);
	assert_int_equal(query->code, PL_EINVAL);
	assert_null(strstr(query->err.text, "secret"));
	assert_non_null(strstr(query->err.text, "integer"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define t(name) cmocka_unit_test_setup_teardown(name, fixture_setup, fixture_teardown)
		t(creates_skip_any_number_of_taken_ids_at_once),
		t(a_new_connection_moves_the_sequence_above_taken_ids),
		t(an_id_near_the_end_does_not_use_up_the_range),
		t(the_range_of_the_first_start_stays),
		t(a_range_with_another_regions_records_is_not_used),
		t(a_lost_range_is_taken_from_what_the_others_know),
		t(a_lost_range_is_not_replaced_by_that_of_another_region),
		t(a_database_before_its_migration_says_so_and_is_noticed_afterwards),
		t(a_write_that_a_trigger_discards_is_refused_with_a_reason),
		t(a_write_whose_plist_columns_a_trigger_changes_is_refused_with_a_reason),
		t(a_refusal_names_constraint_and_columns_and_no_values),
		t(a_failed_query_shows_no_value_of_a_row),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
