// One request that created records in several regions: each region finds the pairs,
// whichever event comes first, and deletes the record that it made itself, unless that
// has been written since.
#include "lab_applier.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "apply/created_twice.h"

// The request "one", as lab_write stores it.
#define ONE \
	.request = "one", .fingerprint = "7692c3ad3540bb803c020b3aee66cd8887123234ea0c6e7143c0add73ff431ed"
#define AP                                                                             \
	{                                                                              \
		.origin = "ap", .vector = "{\"ap\":1}", .id = 100, .create = true, ONE \
	}
#define US                                                                             \
	{                                                                              \
		.origin = "us", .vector = "{\"us\":1}", .id = 300, .create = true, ONE \
	}
#define PAIRS                                                                                  \
	"SELECT string_agg(format('%%s of %%s, kept %%s of %%s', record_id, origin, kept_id, " \
	"kept_origin), '; ' ORDER BY record_id) FROM created_twice"
#define REMEMBERED "SELECT record_id || ' ' || location FROM processed_requests WHERE request_id = 'one'"
#define CONFLICTS                                                                             \
	"SELECT string_agg(concat_ws(' ', record_id, type, CASE WHEN closed_at IS NULL THEN " \
	"'open' ELSE 'closed' END, policy_error), '; ' ORDER BY record_id, type) FROM conflicts"
#define IS_DELETED "SELECT string_agg(id::text, ' ' ORDER BY id) FROM properties WHERE deleted_at IS NOT NULL"

static struct pl_created_twice settling;

static int settle(void)
{
	settling.next_us = 0;
	lab_ask(&lab, 1, "UPDATE created_twice SET retry_at = now()");
	return pl_created_twice_run(&settling, &eu.tools);
}

static void make_one_here(void)
{
	lab_write(&lab, lab.sql[1], "eu", 200, "5.00", "one");
	lab_ask(&lab, 1, "UPDATE processed_requests SET status = 201, location = '/eu/properties/200'");
}

static void the_region_that_comes_later_deletes_its_record(void **state)
{
	make_one_here();
	APPLY(AP);
	lab_is(&lab, "200 of eu, kept 100 of ap", 1, PAIRS);
	lab_is(&lab, "100 /ap/properties/100", 1, REMEMBERED);
	assert_int_equal(settle(), 1);
	lab_is(&lab, "200", 1, IS_DELETED);
	lab_is(&lab, "200 t {\"eu\": 2} 204 plist:created-twice", 1,
	       "SELECT concat_ws(' ', record_id, deleted, vector, status, principal) FROM outbox WHERE "
	       "request_id LIKE 'created-twice-%%'");
	lab_is(&lab, "plist:created-twice", 1,
	       "SELECT principal FROM processed_requests WHERE request_id LIKE 'created-twice-%%'");
	lab_is(&lab, "200 created_twice closed", 1, CONFLICTS);
	lab_is(&lab, "100 200 1", 1,
	       "SELECT concat_ws(' ', siblings -> 0 -> 'id', siblings -> 1 -> 'id', verdict -> 'take') FROM "
	       "conflicts");
	lab_is(&lab, "", 1, PAIRS);
	// a redelivery finds the pair again, and that there is nothing left to do
	APPLY(AP);
	assert_int_equal(settle(), 0);
	lab_is(&lab, "200 created_twice closed", 1, CONFLICTS);
	lab_is(&lab, "1", 1, "SELECT count(*) FROM outbox WHERE deleted");
}

// The id of the delete can be computed by everybody who knows the request.
static void a_client_that_uses_the_id_of_the_delete_first_does_not_prevent_it(void **state)
{
	make_one_here();
	lab_ask(&lab, 1,
	        "INSERT INTO processed_requests SELECT (jsonb_populate_record(r, jsonb_build_object("
	        "'request_id', 'created-twice-' || left(encode(sha256('created twice  one properties/200'), "
	        "'hex'), 40)))).* FROM processed_requests AS r WHERE request_id = 'one'");
	lab_is(&lab, "1", 1,
	       "SELECT count(*) FROM processed_requests WHERE request_id LIKE 'created-twice-%%'");
	APPLY(AP);
	assert_int_equal(settle(), 1);
	lab_is(&lab, "200", 1, IS_DELETED);
	lab_is(&lab, "plist:created-twice", 1,
	       "SELECT max(principal) FROM processed_requests WHERE request_id LIKE 'created-twice-%%'");
}

static void the_region_that_comes_first_waits_for_the_others_delete(void **state)
{
	make_one_here();
	APPLY(US);
	lab_is(&lab, "300 of us, kept 200 of eu", 1, PAIRS);
	lab_is(&lab, "200 /eu/properties/200", 1, REMEMBERED);
	assert_int_equal(settle(), 0);
	lab_is(&lab, "", 1, IS_DELETED);
	lab_is(&lab, "300 created_twice open", 1, CONFLICTS);
	APPLY({ .origin = "us", .vector = "{\"us\":2}", .id = 300, .deleted = true, .at = "11:00:00" });
	assert_int_equal(settle(), 0);
	lab_is(&lab, "300 created_twice closed", 1, CONFLICTS);
	lab_is(&lab, "", 1, PAIRS);
}

static void a_record_that_was_written_since_is_left_to_people(void **state)
{
	make_one_here();
	lab_write(&lab, lab.sql[1], "eu", 200, "6.00", NULL);
	APPLY(AP);
	for (int i = 0; i < 2; i++)
		assert_int_equal(settle(), 0);
	lab_is(&lab, "", 1, IS_DELETED);
	lab_is(&lab,
	       "200 created_twice open it was written after it was created; delete one of the two records", 1,
	       CONFLICTS);
	// an operator deletes the other one
	APPLY({ .origin = "ap", .vector = "{\"ap\":2}", .id = 100, .deleted = true, .at = "11:00:00" });
	assert_int_equal(settle(), 0);
	lab_is(&lab, "100", 1, IS_DELETED);
	lab_is(&lab, "t", 1, "SELECT closed_at IS NOT NULL FROM conflicts");
	lab_is(&lab, "", 1, PAIRS);
}

static void a_concurrent_write_of_another_region_is_left_to_people(void **state)
{
	make_one_here();
	APPLY({ .origin = "us", .vector = "{\"eu\":1,\"us\":1}", .id = 200, .at = "11:00:00" });
	APPLY(AP);
	assert_int_equal(settle(), 0);
	lab_is(&lab, "", 1, IS_DELETED);
	lab_is(&lab, "t", 1,
	       "SELECT closed_at IS NULL AND policy_error LIKE 'it was written%%' FROM conflicts");
}

// The record that stays was written by somebody else since, and somebody else has used
// the id of the request for another one.
static void a_pair_that_is_there_again_is_that_of_its_request_and_of_nobody_elses(void **state)
{
	make_one_here();
	APPLY(AP);
	APPLY({ .origin = "ap", .vector = "{\"ap\":2}", .id = 100, .at = "11:00:00", .request = "other" });
	lab_ask(&lab, 1, "UPDATE processed_requests SET principal = 'mallory' WHERE request_id = 'other'");
	lab_ask(&lab, 1, "UPDATE created_twice SET principal = 'anna'");
	assert_int_equal(settle(), 1);
	lab_is(&lab, "", 1, PAIRS);
	APPLY({ .origin = "us", .vector = "{\"eu\":1,\"us\":1}", .id = 200, .at = "12:00:00" });
	lab_is(&lab, "200 of eu, kept 100 of ap", 1, PAIRS);
	lab_is(&lab, "one anna", 1, "SELECT concat_ws(' ', request_id, principal) FROM created_twice");
}

static void make_two_pairs(void)
{
	const char *two = lab_ask(&lab, 1, "SELECT encode(sha256('two'), 'hex')");

	make_one_here();
	lab_write(&lab, lab.sql[1], "eu", 201, "5.00", "two");
	APPLY(AP);
	APPLY({ .origin = "ap",
	        .vector = "{\"ap\":1}",
	        .id = 101,
	        .create = true,
	        .request = "two",
	        .fingerprint = two });
	lab_is(&lab, "2", 1, "SELECT count(*) FROM created_twice");
}

// A trigger refuses the delete of one, and its pair is the first that is due.
static void a_pair_that_cannot_be_settled_does_not_hold_up_others(void **state)
{
	make_two_pairs();
	lab_ask(&lab, 1,
	        "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RAISE ''no''; END'; "
	        "CREATE TRIGGER refuse BEFORE UPDATE ON properties FOR EACH ROW WHEN (NEW.id = 200) EXECUTE "
	        "FUNCTION refuse()");
	for (int i = 0; i < 2; i++) { // not made due again
		settling.next_us = 0;
		pl_created_twice_run(&settling, &eu.tools);
	}
	lab_is(&lab, "201", 1, IS_DELETED);
	lab_is(&lab, "t", 1, "SELECT retry_at > now() FROM created_twice WHERE record_id = 200");
	lab_ask(&lab, 1, "DROP FUNCTION refuse CASCADE");
	assert_int_equal(settle(), 1);
	lab_is(&lab, "200 201", 1, IS_DELETED);
}

static void other_requests_and_other_writes_make_no_pairs(void **state)
{
	make_one_here();
	APPLY({ .origin = "ap",
	        .vector = "{\"ap\":1}",
	        .id = 100,
	        .create = true,
	        .request = "one",
	        .fingerprint = "ff112233445566778899aabbccddeeff00112233445566778899aabbccddeeff" });
	APPLY({ .origin = "us", .vector = "{\"us\":1}", .id = 300, .create = true, .request = "another" });
	// a handler may update another record here than in the other region: that is
	// not a create
	APPLY({ .origin = "ap", .vector = "{\"ap\":1}", .id = 101, .create = true },
	      { .origin = "ap", .vector = "{\"ap\":2}", .id = 101, ONE });
	lab_is(&lab, "", 1, PAIRS);
	assert_int_equal(settle(), 0);
	lab_is(&lab, "", 1, CONFLICTS);
}

// us has written its record, and the one that should stay was deleted, so the pair was
// closed. Then ap is heard of.
static void a_third_regions_record_that_arrives_late_meets_what_is_left(void **state)
{
	make_one_here();
	APPLY(US);
	APPLY({ .origin = "us", .vector = "{\"us\":2}", .id = 300, .price = "6.00", .at = "11:00:00" });
	lab_write(&lab, lab.sql[1], "eu", 200, NULL, NULL);
	settle();
	lab_is(&lab, "", 1, PAIRS);
	lab_is(&lab, "300 created_twice closed", 1, CONFLICTS);
	APPLY(AP);
	for (int i = 0; i < 2; i++)
		settle();
	lab_is(&lab, "300", 1, "SELECT record_id FROM created_twice");
	lab_is(&lab,
	       "200 created_twice closed; 300 created_twice open it was written after it was created; delete "
	       "one of the two records",
	       1, CONFLICTS);
	lab_is(&lab, "100 300", 1,
	       "SELECT concat_ws(' ', siblings -> 0 -> 'id', siblings -> 1 -> 'id') FROM conflicts WHERE "
	       "closed_at IS NULL");
	APPLY({ .origin = "ap", .vector = "{\"ap\":2}", .id = 100, .deleted = true, .at = "12:00:00" });
	settle();
	lab_is(&lab, "", 1, PAIRS);
	lab_is(&lab, "t", 1, "SELECT bool_and(closed_at IS NOT NULL) FROM conflicts");
}

static void a_deleted_record_that_is_there_again_is_reported_without_recorded_conflicts(void **state)
{
	struct pl_config *config = (struct pl_config *)eu.tools.config;
	bool record = config->conflicts.record;

	config->conflicts.record = false;
	make_one_here();
	APPLY(US);
	APPLY({ .origin = "us", .vector = "{\"us\":2}", .id = 300, .deleted = true, .at = "11:00:00" });
	settle();
	lab_is(&lab, "", 1, PAIRS);
	APPLY({ .origin = "ap", .vector = "{\"ap\":1,\"us\":1}", .id = 300, .at = "11:00:01" });
	settle();
	lab_is(&lab, "300 of us, kept 200 of eu", 1, PAIRS);
	config->conflicts.record = record;
}

#define SHOWN                                                                                      \
	"SELECT concat_ws(' ', siblings #>> '{0,fields,price}', siblings #>> '{1,fields,price}', " \
	"visible #>> '{fields,price}') FROM conflicts WHERE closed_at IS NULL"

static void an_open_conflict_shows_both_records_as_they_are(void **state)
{
	make_one_here();
	APPLY(US);
	settle();
	lab_is(&lab, "5.00 100.00 5.00", 1, SHOWN);
	lab_write(&lab, lab.sql[1], "eu", 200, "7.00", NULL);
	settle(); // us has not deleted its record yet
	lab_is(&lab, "7.00 100.00 7.00", 1, SHOWN);
	APPLY({ .origin = "us", .vector = "{\"us\":2}", .id = 300, .price = "6.00", .at = "11:00:00" });
	settle();
	lab_is(&lab, "7.00 6.00 7.00", 1, SHOWN);
	lab_write(&lab, lab.sql[1], "eu", 200, "8.00", NULL);
	settle(); // after people were asked
	lab_is(&lab, "8.00 6.00 8.00", 1, SHOWN);
}

// The first that is due, of pairs that one run settles.
static void a_locked_record_holds_up_no_other_pair(void **state)
{
	PGconn *other = lab_connect(&lab, 1);

	make_two_pairs();
	PQclear(PQexec(other, "BEGIN; SELECT FROM properties WHERE id = 200 FOR UPDATE"));
	assert_int_equal(settle(), 1);
	lab_is(&lab, "201", 1, IS_DELETED);
	PQclear(PQexec(other, "ROLLBACK"));
	PQfinish(other);
	assert_int_equal(settle(), 1);
	lab_is(&lab, "200 201", 1, IS_DELETED);
}

static void the_pairs_of_a_locked_table_are_put_off_together(void **state)
{
	PGconn *other = lab_connect(&lab, 1);

	make_two_pairs();
	PQclear(PQexec(other, "BEGIN; LOCK TABLE properties"));
	settling.next_us = 0;
	pl_created_twice_run(&settling, &eu.tools);
	PQclear(PQexec(other, "ROLLBACK"));
	PQfinish(other);
	lab_is(&lab, "2", 1, "SELECT count(*) FROM created_twice WHERE retry_at > now()");
	assert_int_equal(settle(), 2);
}

// Three regions executed it. eu hears of the other executions before or after its own,
// in one batch or several, and more than once.
static void every_order_of_arrival_ends_with_the_first_regions_record(void **state)
{
	static const struct lab_write events[] = { AP, US, AP, US };

	srand(14);
	for (int round = 0; round < 40; round++) {
		int order[4] = { 0, 1, 2, 3 }, own = rand() % 3;

		lab_empty(&lab);
		for (int i = 3; i > 0; i--) {
			int j = rand() % (i + 1), other = order[i];

			order[i] = order[j];
			order[j] = other;
		}
		if (own == 0)
			make_one_here();
		for (int i = 0, size; i < 4; i += size) {
			struct lab_write some[4];

			size = 1 + rand() % (4 - i);
			for (int j = 0; j < size; j++)
				some[j] = events[order[i + j]];
			lab_apply(some, size);
		}
		for (int i = 0; i < 2; i++)
			settle();
		lab_is(&lab, "100 /ap/properties/100", 1, REMEMBERED);
		lab_is(&lab, own == 0 ? "200" : "", 1, IS_DELETED);
		lab_is(&lab, "300 of us", 1, "SELECT record_id || ' of ' || origin FROM created_twice");
		APPLY({ .origin = "us",
		        .vector = "{\"us\":2}",
		        .id = 300,
		        .deleted = true,
		        .at = "11:00:00" });
		settle();
		lab_is(&lab, "", 1, PAIRS);
		lab_is(&lab,
		       own == 0 ? "200 created_twice closed; 300 created_twice closed"
		                : "300 created_twice closed",
		       1, CONFLICTS);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define t(name) cmocka_unit_test_setup_teardown(name, lab_applier_setup, lab_applier_teardown)
		t(the_region_that_comes_later_deletes_its_record),
		t(a_client_that_uses_the_id_of_the_delete_first_does_not_prevent_it),
		t(the_region_that_comes_first_waits_for_the_others_delete),
		t(a_record_that_was_written_since_is_left_to_people),
		t(a_concurrent_write_of_another_region_is_left_to_people),
		t(a_pair_that_is_there_again_is_that_of_its_request_and_of_nobody_elses),
		t(a_pair_that_cannot_be_settled_does_not_hold_up_others),
		t(a_third_regions_record_that_arrives_late_meets_what_is_left),
		t(a_deleted_record_that_is_there_again_is_reported_without_recorded_conflicts),
		t(an_open_conflict_shows_both_records_as_they_are),
		t(a_locked_record_holds_up_no_other_pair),
		t(the_pairs_of_a_locked_table_are_put_off_together),
		t(other_requests_and_other_writes_make_no_pairs),
		t(every_order_of_arrival_ends_with_the_first_regions_record),
	};

	return cmocka_run_group_tests(tests, lab_applier_start, lab_applier_stop);
}
