// Databases of regions that hear each other only when a test says so, for the tests of
// settling: plist_settle and plist_hear of sql/027_copies.sql, plist_rebuilt of 014.
#pragma once

#include "../apply/lab.h"

enum { US, EU, COPY }; // the last: of eu's database

static const char *const names[] = { "us", "eu", "eu" }, *const others[] = { "{eu}", "{us}", "{us}" };
static struct lab lab;

static inline int start(void **state)
{
	lab_start(&lab, &(struct lab_options){ .regions = 3 });
	return 0;
}

static inline int stop(void **state)
{
	lab_stop(&lab);
	return 0;
}

// An empty database that no region has claimed, as after `plist-admin migrate`.
static inline void is_new(int region)
{
	lab_ask(&lab, region,
	        "TRUNCATE plist.outbox, plist.outbox_marks, plist.asks, plist.known_regions, "
	        "plist.region_heartbeats, plist.heard_databases, plist.applied_sequences; "
	        "UPDATE plist.identity SET region = NULL, generation = 0, state = 'new', place = NULL, "
	        "run = NULL, question = NULL, incarnation = gen_random_uuid()");
}

static inline int setup(void **state)
{
	is_new(US);
	is_new(EU);
	is_new(COPY);
	return 0;
}

#define NOBODY_ELSE "true" // the operator says that no other region knows more

// The state after a look; waited: for how many seconds others could have been heard. It
// listens for nobody beyond their answers.
static inline const char *looks(int region, const char *waited, const char *alone)
{
	return lab_ask(&lab, region,
	               "SELECT concat(state) FROM plist.plist_settle('%s', '%s', %s, 0, 5, NULL, %s, false)",
	               names[region], others[region], waited, alone);
}

static inline const char *settles(int region)
{
	return looks(region, "0", "false");
}

static inline void settles_alone(int region)
{
	assert_string_equal("settled", looks(region, "0", NOBODY_ELSE));
}

static inline void counts_as(int region, const char *key, const char *state)
{
	lab_is(&lab, key, region, "SELECT plist.plist_key(region, generation) FROM plist.identity");
	lab_is(&lab, state, region, "SELECT state FROM plist.identity");
}

static inline const char *word_of(int region)
{
	return lab_ask(&lab, region, "SELECT plist.plist_word('%s', 'at-%d')", names[region], region);
}

// As the applier stores a heartbeat, and the healing thread looks at it.
static inline void hears(int region, int other, const char *word)
{
	lab_ask(&lab, region,
	        "SELECT plist.plist_hear('%s', '%s', clock_timestamp(), 0, NULL, '{}', NULL, NULL, '%s', "
	        "NULL, 5)",
	        names[region], names[other], word);
	lab_ask(&lab, region, "SELECT plist.plist_note_words('%s')", names[region]);
}

static inline void has_published(int region, int rows)
{
	lab_ask(&lab, region, "INSERT INTO plist.outbox_marks (floor_id, published) VALUES (%d, '{}')", rows);
}

static inline void all_that_was_asked_for_is_here(int region)
{
	lab_ask(&lab, region, "UPDATE plist.asks SET done_at = now()");
}

// NULL if the region is whole.
static inline const char *misses(int region)
{
	const char *what =
		lab_ask(&lab, region, "SELECT plist.plist_rebuilt('%s', VARIADIC '{}')", names[region]);

	return what[0] ? what : NULL;
}

// Questions are answered by the second heartbeat at the latest.
static inline void hear_each_other(void)
{
	for (int i = 0; i < 2; i++) {
		hears(US, EU, word_of(EU));
		hears(EU, EU, word_of(EU));
		hears(EU, US, word_of(US));
	}
}
