// Under which key a region counts its writes, and whether its database is the one that
// serves it: plist_settle and plist_hear of sql/022_questions.sql and plist_rebuilt of
// 014, in databases that hear each other only when a test says so.
#include "../apply/lab.h"

enum { US, EU, COPY }; // the last: of eu's database

static const char *const names[] = { "us", "eu", "eu" }, *const others[] = { "{eu}", "{us}", "{us}" };
static struct lab lab;

static int start(void **state)
{
	lab_start(&lab, &(struct lab_options){ .regions = 3 });
	return 0;
}

static int stop(void **state)
{
	lab_stop(&lab);
	return 0;
}

// An empty database that no region has claimed, as after `plist-admin migrate`.
static void is_new(int region)
{
	lab_ask(&lab, region,
	        "TRUNCATE plist.outbox, plist.outbox_marks, plist.asks, plist.known_regions, "
	        "plist.region_heartbeats, plist.heard_databases, plist.applied_sequences; "
	        "UPDATE plist.identity SET region = NULL, generation = 0, state = 'new', place = NULL, "
	        "run = NULL, question = NULL, incarnation = gen_random_uuid()");
}

static int setup(void **state)
{
	is_new(US);
	is_new(EU);
	is_new(COPY);
	return 0;
}

#define NOBODY_ELSE "true" // the operator says that no other region knows more

// The state after a look; waited: for how many seconds others could have been heard. It
// listens for nobody beyond their answers.
static const char *looks(int region, const char *waited, const char *alone)
{
	return lab_ask(&lab, region,
	               "SELECT concat(state) FROM plist.plist_settle('%s', '%s', %s, 0, 5, NULL, %s, false)",
	               names[region], others[region], waited, alone);
}

static const char *settles(int region)
{
	return looks(region, "0", "false");
}

static void settles_alone(int region)
{
	assert_string_equal("settled", looks(region, "0", NOBODY_ELSE));
}

static void counts_as(int region, const char *key, const char *state)
{
	lab_is(&lab, key, region, "SELECT plist.plist_key(region, generation) FROM plist.identity");
	lab_is(&lab, state, region, "SELECT state FROM plist.identity");
}

static const char *word_of(int region)
{
	return lab_ask(&lab, region, "SELECT plist.plist_word('%s')", names[region]);
}

// As the applier stores a heartbeat, and the healing thread looks at it.
static void hears(int region, int other, const char *word)
{
	lab_ask(&lab, region,
	        "SELECT plist.plist_hear('%s', '%s', clock_timestamp(), 0, NULL, '{}', NULL, NULL, '%s', "
	        "NULL, 5)",
	        names[region], names[other], word);
	lab_ask(&lab, region, "SELECT plist.plist_note_words('%s')", names[region]);
}

static void has_published(int region, int rows)
{
	lab_ask(&lab, region, "INSERT INTO plist.outbox_marks (floor_id, published) VALUES (%d, '{}')", rows);
}

static void all_that_was_asked_for_is_here(int region)
{
	lab_ask(&lab, region, "UPDATE plist.asks SET done_at = now()");
}

// NULL if the region is whole.
static const char *misses(int region)
{
	const char *what =
		lab_ask(&lab, region, "SELECT plist.plist_rebuilt('%s', VARIADIC '{}')", names[region]);

	return what[0] ? what : NULL;
}

// Questions are answered by the second heartbeat at the latest.
static void hear_each_other(void)
{
	for (int i = 0; i < 2; i++) {
		hears(US, EU, word_of(EU));
		hears(EU, EU, word_of(EU));
		hears(EU, US, word_of(US));
	}
}

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

// ---- another database of the same region

static void is_copied(void)
{
	lab_ask(&lab, COPY,
	        "UPDATE plist.identity SET region = 'eu', generation = 1, state = 'settled', place = "
	        "'eu''s'");
}

// What the copy and eu's database hear in a second: their own and each other's.
static void all_hear(bool eu_lives)
{
	char copys[4096], eus[4096];

	snprintf(copys, sizeof(copys), "%s", word_of(COPY));
	snprintf(eus, sizeof(eus), "%s", word_of(EU));
	for (int region = US; region <= COPY; region++) {
		if (eu_lives)
			hears(region, EU, eus);
		hears(region, EU, copys); // hides nothing
		hears(region, US, word_of(US));
	}
}

static const char *copy_looks(bool again)
{
	return lab_ask(&lab, COPY,
	               "SELECT concat(state) FROM plist.plist_settle('eu', '{us}', 4, 0, 5, NULL, false, %s)",
	               again ? "true" : "false");
}

static void a_copy_is_refused_while_the_right_database_lives(void **state)
{
	settles_alone(US);
	settles_alone(EU);
	hear_each_other();
	is_copied();
	assert_string_equal("waiting", copy_looks(false));
	for (int i = 0; i < 2; i++)
		all_hear(true);
	assert_string_equal("refused", copy_looks(true));
	lab_is(&lab, "1", COPY, "SELECT generation FROM plist.identity"); // a larger one would win
	assert_string_equal("settled", settles(EU));
	counts_as(EU, "eu", "settled");
}

static void a_refused_copy_does_not_take_over_before_its_daemon_is_started_again(void **state)
{
	settles_alone(US);
	settles_alone(EU);
	hear_each_other();
	is_copied();
	copy_looks(false);
	for (int i = 0; i < 2; i++)
		all_hear(true);
	assert_string_equal("refused", copy_looks(true));
	lab_ask(&lab, COPY, "UPDATE plist.heard_databases SET heard_at = heard_at - interval '1 hour'");
	for (int i = 0; i < 2; i++)
		all_hear(false);
	assert_string_equal("refused", copy_looks(true));
	assert_string_equal("rebuilding", copy_looks(false));
	lab_is(&lab, "2", COPY, "SELECT generation FROM plist.identity");
}

static void a_database_gives_way_to_one_with_a_later_key(void **state)
{
	settles_alone(US);
	settles_alone(EU);
	is_copied();
	lab_ask(&lab, COPY, "UPDATE plist.identity SET generation = 7, place = plist.plist_place()");
	hears(EU, EU, word_of(COPY));
	hears(COPY, EU, word_of(EU));
	assert_string_equal("refused", settles(EU));
	assert_string_equal("settled", copy_looks(true));
	lab_is(&lab, "new", EU, "SELECT plist.plist_word('eu') -> 'identity' ->> 'state'");
}

static void a_database_that_was_not_accepted_does_not_speak_for_its_region(void **state)
{
	settles_alone(US);
	settles_alone(EU);
	is_copied();
	hears(US, EU, word_of(EU));
	hears(US, EU, word_of(COPY));
	lab_is(&lab, "settled", US,
	       "SELECT word -> 'identity' ->> 'state' FROM plist.region_heartbeats WHERE region = 'eu'");
	lab_is(&lab, "2", US, "SELECT count(*) FROM plist.heard_databases WHERE region = 'eu'");
	hears(EU, EU, word_of(EU));
	hears(EU, EU, word_of(COPY));
	lab_is(&lab, "settled", EU,
	       "SELECT word -> 'identity' ->> 'state' FROM plist.region_heartbeats WHERE region = 'eu'");
	lab_ask(&lab, US, "UPDATE plist.heard_databases SET heard_at = heard_at - interval '1 minute'");
	hears(US, EU, word_of(COPY)); // nobody else speaks for it
	lab_is(&lab, "new", US,
	       "SELECT word -> 'identity' ->> 'state' FROM plist.region_heartbeats WHERE region = 'eu'");
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
		cmocka_unit_test_setup(a_life_whose_events_are_heard_before_its_heartbeats_is_not_another_one,
		                       setup),
		cmocka_unit_test_setup(what_was_said_before_the_question_is_not_an_answer, setup),
		cmocka_unit_test_setup(the_question_of_an_earlier_run_or_place_is_not_asked_again, setup),
		cmocka_unit_test_setup(what_arrived_since_the_last_look_is_part_of_the_answer, setup),
		cmocka_unit_test_setup(a_region_asks_those_that_could_not_be_heard_later, setup),
		cmocka_unit_test_setup(a_copy_is_refused_while_the_right_database_lives, setup),
		cmocka_unit_test_setup(a_refused_copy_does_not_take_over_before_its_daemon_is_started_again,
		                       setup),
		cmocka_unit_test_setup(a_database_gives_way_to_one_with_a_later_key, setup),
		cmocka_unit_test_setup(a_database_that_was_not_accepted_does_not_speak_for_its_region, setup),
	};

	return cmocka_run_group_tests(tests, start, stop);
}
