// Under which key a region counts its writes.
#include "settle_lab.h"

// The former life's heartbeat arrives behind the answer.
static void a_life_that_nobody_had_heard_of_when_the_region_asked_is_noticed(void **state)
{
	char former[4096];

	settles_alone(US);
	has_published(US, 7);
	settles_alone(EU);
	counts_as(EU, "eu", "settled");
	snprintf(former, sizeof(former), "%s", word_of(EU));

	is_new(EU);
	assert_string_equal("waiting", settles(EU));
	hear_each_other();
	assert_string_equal("rebuilding", settles(EU));
	counts_as(EU, "eu", "rebuilding");
	all_that_was_asked_for_is_here(EU);
	hears(US, EU, former);
	hear_each_other();
	assert_non_null(misses(EU)); // its first write would have the number of another one
	assert_string_equal("waiting", settles(EU));
	lab_is(&lab, "new", EU,
	       "SELECT plist.plist_word('eu') -> 'identity' ->> 'state'"); // no longer accepted
	hear_each_other();
	assert_string_equal("rebuilding", settles(EU));
	counts_as(EU, "eu.2", "rebuilding");

	all_that_was_asked_for_is_here(EU);
	hear_each_other();
	assert_null(misses(EU));
	assert_string_equal("settled", settles(EU));
	counts_as(EU, "eu.2", "settled");
}

static void a_region_that_settled_before_it_heard_of_its_former_life_gets_another_key(void **state)
{
	char former[4096];

	settles_alone(US); // it has published nothing: there is nothing to wait for
	settles_alone(EU);
	snprintf(former, sizeof(former), "%s", word_of(EU));

	is_new(EU);
	settles(EU);
	hear_each_other();
	assert_string_equal("settled", settles(EU));
	counts_as(EU, "eu", "settled");
	hears(US, EU, former);
	hear_each_other();
	assert_string_equal("waiting", settles(EU));
	hear_each_other();
	assert_string_equal("rebuilding", settles(EU));
	counts_as(EU, "eu.2", "rebuilding");
}

static void what_was_said_before_the_question_is_not_an_answer(void **state)
{
	char early[4096];

	settles_alone(US);
	snprintf(early, sizeof(early), "%s", word_of(US));
	settles_alone(EU);
	hear_each_other();

	is_new(EU);
	assert_string_equal("waiting", settles(EU));
	hears(EU, US, early);
	assert_string_equal("waiting", settles(EU));
	hear_each_other();
	assert_string_equal("rebuilding", settles(EU));
	counts_as(EU, "eu.2", "rebuilding");
}

static void the_question_of_an_earlier_run_or_place_is_not_asked_again(void **state)
{
	char question[64], other[64];

	settles_alone(US);
	settles(EU);
	snprintf(question, sizeof(question), "%s", lab_ask(&lab, EU, "SELECT question FROM plist.identity"));
	settles(EU);
	lab_is(&lab, question, EU, "SELECT question FROM plist.identity");
	hear_each_other();
	lab_ask(&lab, EU, "UPDATE plist.identity SET asked_in = 'a server that was stopped'");
	assert_string_equal("waiting", settles(EU));
	snprintf(other, sizeof(other), "%s", lab_ask(&lab, EU, "SELECT question FROM plist.identity"));
	assert_string_not_equal(question, other);
}

static void what_arrived_since_the_last_look_is_part_of_the_answer(void **state)
{
	settles_alone(US);
	lab_ask(&lab, US,
	        "INSERT INTO plist.applied_sequences (origin, topic, partition, seq, generation, outbox_id) "
	        "VALUES ('eu', 'property-updates', 0, 1, 2, 9)");
	lab_is(&lab, "2 9", US,
	       "SELECT concat_ws(' ', k -> 'generation', k -> 'outbox_id') FROM (SELECT "
	       "plist.plist_word('us') -> 'known' -> 'eu' AS k) AS word");
}

static void a_region_asks_those_that_could_not_be_heard_later(void **state)
{
	settles_alone(US);
	settles_alone(EU);
	is_new(EU);
	assert_string_equal("settled", looks(EU, "11", "false"));
	lab_is(&lab, "us gap", EU,
	       "SELECT of_region || ' ' || purpose FROM plist.asks WHERE done_at IS NULL");
	lab_is(&lab, "t", EU, "SELECT generation > 1000000 FROM plist.identity"); // nobody can have had it
}

static void a_life_whose_events_are_heard_before_its_heartbeats_is_not_another_one(void **state)
{
	settles_alone(US);
	settles_alone(EU);
	hear_each_other();
	lab_ask(&lab, EU, "UPDATE plist.identity SET generation = 2, incarnation = gen_random_uuid()");
	lab_ask(&lab, US,
	        "INSERT INTO plist.applied_sequences (origin, topic, partition, seq, generation, outbox_id) "
	        "VALUES ('eu', 'property-updates', 0, 1, 2, 1)");
	has_published(EU, 1);
	for (int i = 0; i < 3; i++) {
		lab_ask(&lab, US, "SELECT plist.plist_note_words('us')");
		hear_each_other();
		assert_string_equal("settled", settles(EU));
		counts_as(EU, "eu.2", "settled");
	}
	lab_is(&lab, "t", US,
	       "SELECT (word -> 'identity' ->> 'incarnation')::uuid = k.incarnation FROM "
	       "plist.region_heartbeats JOIN plist.known_regions AS k USING (region) WHERE region = 'eu'");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(a_life_that_nobody_had_heard_of_when_the_region_asked_is_noticed,
		                       setup),
		cmocka_unit_test_setup(
			a_region_that_settled_before_it_heard_of_its_former_life_gets_another_key, setup),
		cmocka_unit_test_setup(what_was_said_before_the_question_is_not_an_answer, setup),
		cmocka_unit_test_setup(the_question_of_an_earlier_run_or_place_is_not_asked_again, setup),
		cmocka_unit_test_setup(what_arrived_since_the_last_look_is_part_of_the_answer, setup),
		cmocka_unit_test_setup(a_region_asks_those_that_could_not_be_heard_later, setup),
		cmocka_unit_test_setup(a_life_whose_events_are_heard_before_its_heartbeats_is_not_another_one,
		                       setup),
	};

	return cmocka_run_group_tests(tests, start, stop);
}
