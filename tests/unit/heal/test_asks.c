// What regions ask of each other, although the one that asked was away when it was
// served, and what a later key of a region says: sql/026_asks.sql.
#include "../apply/lab.h"

enum { US, EU };

static const char *const names[] = { "us", "eu" };
static struct lab lab;

static int start(void **state)
{
	lab_start(&lab, &(struct lab_options){ .regions = 2 });
	return 0;
}

static int stop(void **state)
{
	lab_stop(&lab);
	return 0;
}

static int setup(void **state)
{
	for (int region = US; region <= EU; region++)
		lab_ask(&lab, region,
		        "TRUNCATE plist.asks, plist.served_asks, plist.applied_sequences, "
		        "plist.outbox_marks, plist.region_heartbeats; UPDATE plist.identity SET region = "
		        "'%s', generation = 1, state = 'settled', place = plist.plist_place()",
		        names[region]);
	return 0;
}

static void hears(int region, int other)
{
	char word[4096];

	snprintf(word, sizeof(word), "%s",
	         lab_ask(&lab, other, "SELECT plist.plist_word('%s')", names[other]));
	lab_ask(&lab, region,
	        "SELECT plist.plist_hear('%s', '%s', clock_timestamp(), 0, NULL, '{}', NULL, NULL, '%s', "
	        "NULL, 5)",
	        names[region], names[other], word);
}

static void eu_asks(void)
{
	lab_ask(&lab, EU,
	        "INSERT INTO plist.asks (id, of_region, purpose) VALUES ('the first', 'us', 'rebuild')");
	hears(US, EU);
}

// Messages 4 to 9 were published for it.
static void us_has_served_it(const char *ago)
{
	lab_ask(&lab, US,
	        "INSERT INTO plist.served_asks (id, for_region, published_from, outbox_to, published_to, "
	        "done_at) VALUES ('the first', 'eu', '{\"properties\":\"3\"}', 6, '{\"properties\":\"9\"}', "
	        "clock_timestamp() - interval '%s')",
	        ago);
	hears(EU, US);
}

static void us_keeps_what_is_behind(int seq)
{
	lab_ask(&lab, US,
	        "INSERT INTO plist.outbox_marks (floor_id, published, deleted) VALUES (1, "
	        "'{\"properties\":\"%d\"}', true)",
	        seq);
	hears(EU, US);
}

static void eu_has_received(int seq, const char *chain, const char *level)
{
	lab_ask(&lab, EU,
	        "INSERT INTO plist.applied_sequences (origin, topic, partition, seq, chain_from, chain_to, "
	        "level) VALUES ('us', 'properties', 0, %d, %s, %s)",
	        seq, chain, level);
}

#define NOTHING_ELSE    "0, 0"
#define READ_TO_THE_END "true"
#define READING         "false"

static const char *is_pending(void)
{
	lab_ask(&lab, EU, "SELECT plist.plist_take_served()");
	return lab_ask(&lab, EU, "SELECT id FROM plist.asks WHERE done_at IS NULL");
}

static void what_was_served_is_named_for_as_long_as_the_region_asks_for_it(void **state)
{
	eu_asks();
	us_has_served_it("3 hours"); // during which eu was away
	eu_has_received(9, NOTHING_ELSE, READING);
	assert_string_equal("", is_pending());
	hears(US, EU); // it asks no more
	lab_is(&lab, "[]", US, "SELECT plist.plist_word('us') -> 'served'");
}

static void what_is_lost_for_good_is_asked_for_again(void **state)
{
	eu_asks();
	us_has_served_it("8 days");
	us_keeps_what_is_behind(9);
	eu_has_received(5, NOTHING_ELSE, READ_TO_THE_END);
	assert_string_not_equal("", is_pending());
	assert_string_not_equal("the first", is_pending());
	lab_is(&lab, "us rebuild", EU, "SELECT concat_ws(' ', of_region, purpose) FROM plist.asks");
}

static void what_later_messages_have_passed_is_lost_for_good(void **state)
{
	eu_asks();
	us_has_served_it("8 days");
	us_keeps_what_is_behind(9);
	eu_has_received(2, "8, 12", READING);
	assert_string_not_equal("the first", is_pending());
}

static void what_can_still_arrive_is_waited_for(void **state)
{
	eu_asks();
	us_has_served_it("1 minute");
	us_keeps_what_is_behind(5); // what eu lacks is in the outbox
	eu_has_received(5, NOTHING_ELSE, READ_TO_THE_END);
	assert_string_equal("the first", is_pending());
	lab_ask(&lab, EU, "UPDATE plist.applied_sequences SET level = false, seq = 4"); // it reads
	us_keeps_what_is_behind(9);
	assert_string_equal("the first", is_pending());
	lab_ask(&lab, EU, "UPDATE plist.applied_sequences SET chain_from = 3, chain_to = 9, seq = 1");
	assert_string_equal("", is_pending()); // all of it is here
}

static void a_partition_of_which_nothing_was_received_lacks_what_was_served(void **state)
{
	eu_asks();
	lab_ask(&lab, US,
	        "INSERT INTO plist.served_asks (id, for_region, published_from, outbox_to, published_to, "
	        "done_at) VALUES ('the first', 'eu', '{}', 6, '{\"properties\":\"9,8\"}', "
	        "clock_timestamp())");
	hears(EU, US);
	assert_string_equal("the first", is_pending());
	eu_has_received(9, NOTHING_ELSE, READING);
	assert_string_equal("the first", is_pending()); // nothing of partition 1
	lab_ask(&lab, EU,
	        "INSERT INTO plist.applied_sequences (origin, topic, partition, seq) VALUES ('us', "
	        "'properties', 1, 8)");
	assert_string_equal("", is_pending());
}

// Another region that this one knows, and has published up to message 9.
static void ap_has_published(void)
{
	lab_ask(&lab, EU,
	        "INSERT INTO plist.region_heartbeats (region, sent_at, heard_at, outbox_events, published) "
	        "VALUES ('ap', now(), now(), 0, '{\"properties\":\"9\"}')");
}

static const char *reaches(int generation, int id)
{
	return lab_ask(&lab, EU, "SELECT plist.plist_reach('us', %d, %d)", generation, id);
}

static void a_later_key_is_believed_when_what_others_have_published_is_here(void **state)
{
	lab_ask(&lab, EU, "TRUNCATE plist.reached_positions");
	eu_has_received(5, NOTHING_ELSE, READING);
	assert_string_equal("t", reaches(1, 100));
	ap_has_published();
	assert_string_equal("t", reaches(1, 200)); // the same key
	assert_string_equal("f", reaches(2, 5));
	lab_ask(&lab, EU,
	        "INSERT INTO plist.applied_sequences (origin, topic, partition, seq) VALUES ('ap', "
	        "'properties', 0, 9)");
	assert_string_equal("t", reaches(2, 5));
	lab_is(&lab, "2 5", EU, "SELECT generation || ' ' || outbox_id FROM plist.reached_positions");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(what_was_served_is_named_for_as_long_as_the_region_asks_for_it, setup),
		cmocka_unit_test_setup(what_is_lost_for_good_is_asked_for_again, setup),
		cmocka_unit_test_setup(what_later_messages_have_passed_is_lost_for_good, setup),
		cmocka_unit_test_setup(what_can_still_arrive_is_waited_for, setup),
		cmocka_unit_test_setup(a_partition_of_which_nothing_was_received_lacks_what_was_served,
		                       setup),
		cmocka_unit_test_setup(a_later_key_is_believed_when_what_others_have_published_is_here,
		                       setup),
	};

	return cmocka_run_group_tests(tests, start, stop);
}
