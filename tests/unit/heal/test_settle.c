// Under which key a region counts its writes: plist_settle and plist_rebuilt of
// sql/014_identity.sql, in two databases that hear each other only when a test says so.
#include "../apply/lab.h"

enum { US, EU };

static const char *const names[] = { "us", "eu" }, *const others[] = { "{eu}", "{us}" };
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

// An empty database that no region has claimed, as after `plist-admin migrate`.
static void is_new(int region)
{
	lab_ask(&lab, region,
	        "TRUNCATE plist.outbox, plist.outbox_marks, plist.asks, plist.known_regions, "
	        "plist.region_heartbeats, plist.applied_sequences; UPDATE plist.identity SET region = NULL, "
	        "generation = 0, state = 'new', place = NULL, run = NULL, incarnation = gen_random_uuid()");
}

static int setup(void **state)
{
	is_new(US);
	is_new(EU);
	return 0;
}

// "state key" after a look.
static const char *settles(int region, bool alone)
{
	return lab_ask(&lab, region,
	               "WITH s AS MATERIALIZED (SELECT * FROM plist.plist_settle('%s', '%s', "
	               "clock_timestamp() - interval '1 s', 0, NULL, %s)) SELECT s.state FROM s",
	               names[region], others[region], alone ? "true" : "false");
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
	        "INSERT INTO plist.region_heartbeats (region, sent_at, heard_at, word) VALUES ('%s', "
	        "clock_timestamp(), clock_timestamp(), '%s') ON CONFLICT (region) DO UPDATE SET sent_at = "
	        "excluded.sent_at, heard_at = excluded.heard_at, word = excluded.word",
	        names[other], word);
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

static void hear_each_other(void)
{
	hears(US, EU, word_of(EU));
	hears(EU, US, word_of(US));
}

static void a_life_that_nobody_had_heard_of_when_the_region_asked_is_noticed(void **state)
{
	char early[4096];

	settles(US, true);
	has_published(US, 7);
	snprintf(early, sizeof(early), "%s", word_of(US)); // on its way while eu lives and dies
	settles(EU, true);
	counts_as(EU, "eu", "settled");
	hears(US, EU, word_of(EU));

	is_new(EU);
	hears(EU, US, early);
	assert_string_equal("rebuilding", settles(EU, false));
	counts_as(EU, "eu", "rebuilding");
	all_that_was_asked_for_is_here(EU);
	hear_each_other();
	assert_non_null(misses(EU)); // its first write would have the number of another one
	assert_string_equal("rebuilding", settles(EU, false));
	counts_as(EU, "eu.2", "rebuilding");

	all_that_was_asked_for_is_here(EU);
	hear_each_other();
	assert_null(misses(EU));
	assert_string_equal("settled", settles(EU, false));
	counts_as(EU, "eu.2", "settled");
}

static void a_region_that_settled_before_it_heard_of_its_former_life_gets_another_key(void **state)
{
	char early[4096];

	settles(US, true);
	snprintf(early, sizeof(early), "%s", word_of(US)); // us has published nothing: nothing to wait for
	settles(EU, true);
	hears(US, EU, word_of(EU));

	is_new(EU);
	hears(EU, US, early);
	assert_string_equal("settled", settles(EU, false));
	counts_as(EU, "eu", "settled");
	hear_each_other();
	settles(EU, false);
	counts_as(EU, "eu.2", "rebuilding");
}

static void a_life_whose_events_are_heard_before_its_heartbeats_is_no_other_one(void **state)
{
	settles(US, true);
	settles(EU, true);
	hear_each_other();
	lab_ask(&lab, EU, "UPDATE plist.identity SET generation = 2, incarnation = gen_random_uuid()");
	lab_ask(&lab, US,
	        "INSERT INTO plist.applied_sequences (origin, topic, partition, seq, generation, outbox_id) "
	        "VALUES ('eu', 'property-updates', 0, 1, 2, 1)");
	has_published(EU, 1);
	for (int i = 0; i < 3; i++) {
		lab_ask(&lab, US, "SELECT plist.plist_note_words('us')");
		hear_each_other();
		assert_string_equal("settled", settles(EU, false));
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
		cmocka_unit_test_setup(a_life_whose_events_are_heard_before_its_heartbeats_is_no_other_one,
		                       setup),
	};

	return cmocka_run_group_tests(tests, start, stop);
}
