// Whether a database is the one that serves its region: copies, successors, and servers
// with the same files.
#include "settle_lab.h"

// On the same server, in the same run.
static void is_copied(void)
{
	lab_ask(&lab, COPY,
	        "UPDATE plist.identity SET region = 'eu', generation = 1, state = 'settled', place = "
	        "'eu''s', run = plist.plist_run()");
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

#define REPLACED "300" // for how many seconds the former database has to be silent

// The daemon of the copy reaches it at the address `here`.
static const char *copy_looks_from(const char *here, bool again)
{
	return lab_ask(&lab, COPY,
	               "SELECT concat(state) FROM plist.plist_settle('eu', '{us}', 4, 0, 5, NULL, false, %s, "
	               "'%s', " REPLACED ")",
	               again ? "true" : "false", here);
}

static const char *copy_looks(bool again)
{
	return copy_looks_from("elsewhere", again);
}

// As if everything had been heard so much earlier, by everybody.
static void time_passes(const char *how_long)
{
	for (int region = US; region <= COPY; region++)
		lab_ask(&lab, region,
		        "UPDATE plist.heard_databases SET heard_at = heard_at - interval '%s', served_at = "
		        "served_at - interval '%s'; UPDATE plist.region_heartbeats SET heard_at = heard_at - "
		        "interval '%s'",
		        how_long, how_long, how_long);
}

// eu served until now, and is silent while the copy listens, for example because it is
// being restarted. The copy has asked, and us has answered.
static void eu_is_restarting_while_the_copy_listens(void)
{
	settles_alone(US);
	settles_alone(EU);
	hear_each_other();
	is_copied();
	assert_string_equal("waiting", copy_looks(false));
	for (int i = 0; i < 2; i++)
		all_hear(false);
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
	time_passes("1 hour");
	for (int i = 0; i < 2; i++)
		all_hear(false);
	assert_string_equal("refused", copy_looks(true));
	assert_string_equal("rebuilding", copy_looks(false));
	lab_is(&lab, "2", COPY, "SELECT generation FROM plist.identity");
}

static void a_copy_waits_while_the_right_database_is_restarted_and_is_refused_when_it_is_back(void **state)
{
	eu_is_restarting_while_the_copy_listens();
	for (int i = 0; i < 3; i++) {
		assert_string_equal("waiting", copy_looks(true));
		time_passes("1 minute");
		all_hear(false);
	}
	for (int i = 0; i < 2; i++)
		all_hear(true);
	assert_string_equal("refused", copy_looks(true));
	lab_is(&lab, "1", COPY, "SELECT generation FROM plist.identity");
	assert_string_equal("settled", settles(EU));
	counts_as(EU, "eu", "settled");
}

static void a_waiting_database_says_what_it_waits_for_and_what_ends_the_wait(void **state)
{
	char incarnation[64], detail[1024];

	eu_is_restarting_while_the_copy_listens();
	snprintf(incarnation, sizeof(incarnation), "%s",
	         lab_ask(&lab, EU, "SELECT incarnation FROM plist.identity"));
	snprintf(detail, sizeof(detail), "%s",
	         lab_ask(&lab, COPY,
	                 "SELECT detail FROM plist.plist_settle('eu', '{us}', 4, 0, 5, NULL, false, true, "
	                 "'elsewhere', " REPLACED ")"));
	assert_non_null(strstr(detail, incarnation));
	assert_non_null(strstr(detail, "database.replace_after (00:05:00)"));
	assert_non_null(strstr(detail, "plist-admin region accept eu"));
}

static void a_database_takes_the_place_of_one_that_has_been_silent_for_long(void **state)
{
	eu_is_restarting_while_the_copy_listens();
	assert_string_equal("waiting", copy_looks(true));
	time_passes("6 minutes");
	for (int i = 0; i < 2; i++)
		all_hear(false);
	assert_string_equal("rebuilding", copy_looks(true));
	lab_is(&lab, "2", COPY, "SELECT generation FROM plist.identity");
}

static void a_database_at_the_address_of_the_former_one_replaces_it_at_once(void **state)
{
	eu_is_restarting_while_the_copy_listens();
	assert_string_equal("rebuilding", copy_looks_from("at-1", true));
	lab_is(&lab, "2", COPY, "SELECT generation FROM plist.identity");
}

static void a_database_whose_address_is_not_known_waits_as_one_elsewhere(void **state)
{
	eu_is_restarting_while_the_copy_listens();
	lab_ask(&lab, US, "UPDATE plist.heard_databases SET address = '' WHERE region = 'eu'");
	for (int i = 0; i < 2; i++)
		all_hear(false);
	assert_string_equal("waiting", copy_looks_from("", true));
}

static void the_operator_ends_the_wait_and_a_refusal_but_not_while_the_other_one_lives(void **state)
{
	eu_is_restarting_while_the_copy_listens();
	lab_ask(&lab, COPY, "UPDATE plist.identity SET takes_over = true");
	for (int i = 0; i < 2; i++)
		all_hear(true);
	assert_string_equal("refused", copy_looks(true));
	time_passes("10 seconds");
	for (int i = 0; i < 2; i++)
		all_hear(false);
	assert_string_equal("rebuilding", copy_looks(true));
	lab_is(&lab, "f", COPY, "SELECT takes_over FROM plist.identity"); // it is not said once and for all
}

static void a_drained_database_may_be_replaced_once_it_is_silent(void **state)
{
	settles_alone(US);
	settles_alone(EU);
	lab_ask(&lab, EU, "UPDATE plist.identity SET drained = true");
	hear_each_other();
	lab_ask(&lab, EU, "UPDATE plist.identity SET drained = false");
	is_copied();
	copy_looks(false);
	for (int i = 0; i < 2; i++)
		all_hear(false);
	assert_string_equal("rebuilding", copy_looks(true));
}

static void an_empty_database_elsewhere_waits_for_the_former_one_as_well(void **state)
{
	settles_alone(US);
	settles_alone(EU);
	hear_each_other();
	copy_looks(false);
	for (int i = 0; i < 2; i++)
		all_hear(false);
	assert_string_equal("waiting", copy_looks(true));
	time_passes("6 minutes");
	for (int i = 0; i < 2; i++)
		all_hear(false);
	assert_string_equal("rebuilding", copy_looks(true));
}

static void a_database_that_was_left_behind_waits_for_the_one_that_followed_it(void **state)
{
	settles_alone(US);
	is_copied();
	lab_ask(&lab, COPY, "UPDATE plist.identity SET place = plist.plist_place(), run = plist.plist_run()");
	hears(US, EU, word_of(COPY)); // it served once, for long
	time_passes("1 minute");
	settles_alone(EU);
	lab_ask(&lab, EU, "UPDATE plist.identity SET generation = 2");
	hear_each_other();
	assert_string_equal("settled", settles(EU));
	time_passes("10 seconds");
	hears(US, EU, word_of(COPY)); // it does not know of that yet, and says that it serves
	hears(COPY, US, word_of(US)); // others know a later key
	assert_string_equal("waiting", copy_looks(false));
	for (int i = 0; i < 2; i++)
		all_hear(false);
	assert_string_equal("waiting", copy_looks(true));
	lab_is(&lab, "1", COPY, "SELECT generation FROM plist.identity");
}

static void a_database_gives_way_to_one_with_a_later_key(void **state)
{
	settles_alone(US);
	settles_alone(EU);
	is_copied();
	lab_ask(&lab, COPY,
	        "UPDATE plist.identity SET generation = 7, place = plist.plist_place(), run = "
	        "plist.plist_run()");
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

// ---- a server with the same files, such as a base backup or a standby: the same place

static void is_a_server_with(const char *run)
{
	lab_ask(&lab, COPY,
	        "CREATE OR REPLACE FUNCTION plist.plist_run() RETURNS TEXT LANGUAGE sql STABLE AS "
	        "'SELECT ''%s''::text'",
	        run);
}

// Both databases are eu's, at one place; the second server was started later.
static void eu_s_files_are_copied(const char *run)
{
	char place[128], incarnation[64];

	settles_alone(US);
	settles_alone(EU);
	hear_each_other();
	snprintf(place, sizeof(place), "%s", lab_ask(&lab, EU, "SELECT plist.plist_place()"));
	snprintf(incarnation, sizeof(incarnation), "%s",
	         lab_ask(&lab, EU, "SELECT incarnation FROM plist.identity"));
	lab_ask(&lab, COPY,
	        "CREATE OR REPLACE FUNCTION plist.plist_place() RETURNS TEXT LANGUAGE sql STABLE AS "
	        "'SELECT ''%s''::text'; UPDATE plist.identity SET region = 'eu', generation = 1, state = "
	        "'settled', place = '%s', run = 'one', incarnation = '%s'",
	        place, place, incarnation);
	is_a_server_with(run);
}

static int teardown_files(void **state)
{
	is_a_server_with("one");
	lab_ask(&lab, COPY,
	        "CREATE OR REPLACE FUNCTION plist.plist_place() RETURNS TEXT LANGUAGE sql STABLE AS "
	        "$$SELECT concat_ws('/', (SELECT system_identifier FROM pg_control_system()), (SELECT oid "
	        "FROM pg_database WHERE datname = current_database()), 'plist.identity'::regclass::oid)$$");
	return 0;
}

// listen: for how many seconds.
static const char *server_looks(const char *listen, const char *sure_high)
{
	return lab_ask(
		&lab, COPY,
		"SELECT concat(state) FROM plist.plist_settle('eu', '{us}', 2, %s, 5, %s, false, true, "
		"'elsewhere', " REPLACED ")",
		listen, sure_high);
}

static void a_server_with_the_same_files_does_not_say_that_it_serves_before_it_was_accepted(void **state)
{
	eu_s_files_are_copied("1 200.5");
	lab_is(&lab, "new", COPY, "SELECT plist.plist_word('eu') -> 'identity' ->> 'state'");
}

static void a_server_with_the_same_files_is_refused_while_the_right_one_lives(void **state)
{
	eu_s_files_are_copied("1 200.5");
	assert_string_equal("waiting", server_looks("60", "NULL")); // nobody has answered
	for (int i = 0; i < 2; i++)
		all_hear(true);
	assert_string_equal("refused", server_looks("60", "NULL"));
	all_hear(false);
	assert_string_equal("refused", server_looks("60", "NULL"));
	assert_string_equal("settled", settles(EU));
	counts_as(EU, "eu", "settled");
}

static void a_server_with_the_same_files_listens_for_the_right_one(void **state)
{
	eu_s_files_are_copied("1 200.5");
	server_looks("60", "NULL");
	for (int i = 0; i < 2; i++)
		all_hear(false);
	assert_string_equal("waiting", server_looks("60", "NULL"));
	lab_ask(&lab, COPY, "UPDATE plist.identity SET question_heard_at = now() - interval '61 seconds'");
	assert_string_equal("settled", server_looks("60", "NULL"));
}

static void a_daemon_goes_on_at_once_with_the_standby_that_was_promoted(void **state)
{
	eu_s_files_are_copied("2 200.5");
	assert_string_equal("settled", server_looks("60", "0"));
	lab_is(&lab, "1", COPY, "SELECT generation FROM plist.identity");
	lab_is(&lab, "settled", COPY, "SELECT plist.plist_word('eu') -> 'identity' ->> 'state'");
}

static void a_server_that_was_started_again_at_its_address_does_not_listen(void **state)
{
	eu_s_files_are_copied("1 200.5");
	server_looks("60", "NULL");
	for (int i = 0; i < 2; i++)
		all_hear(false);
	lab_is(&lab, "settled", COPY,
	       "SELECT state FROM plist.plist_settle('eu', '{us}', 2, 60, 5, NULL, false, true, "
	       "'at-1', " REPLACED ")");
}

// Two daemons of the region go on with two servers when they lose each other.
static void of_two_servers_that_were_both_accepted_the_promoted_one_stays(void **state)
{
	eu_s_files_are_copied("2 200.5");
	assert_string_equal("settled", server_looks("0", "0"));
	for (int i = 0; i < 3; i++) {
		all_hear(true);
		settles(EU);
		server_looks("0", "0");
	}
	assert_string_equal("refused", settles(EU));
	assert_string_equal("settled", server_looks("0", "0"));
	lab_is(&lab, "new", EU, "SELECT plist.plist_word('eu') -> 'identity' ->> 'state'");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(a_copy_is_refused_while_the_right_database_lives, setup),
		cmocka_unit_test_setup(a_refused_copy_does_not_take_over_before_its_daemon_is_started_again,
		                       setup),
		cmocka_unit_test_setup(
			a_copy_waits_while_the_right_database_is_restarted_and_is_refused_when_it_is_back,
			setup),
		cmocka_unit_test_setup(a_waiting_database_says_what_it_waits_for_and_what_ends_the_wait,
		                       setup),
		cmocka_unit_test_setup(a_database_takes_the_place_of_one_that_has_been_silent_for_long,
		                       setup),
		cmocka_unit_test_setup(a_database_at_the_address_of_the_former_one_replaces_it_at_once,
		                       setup),
		cmocka_unit_test_setup(a_database_whose_address_is_not_known_waits_as_one_elsewhere, setup),
		cmocka_unit_test_setup(
			the_operator_ends_the_wait_and_a_refusal_but_not_while_the_other_one_lives, setup),
		cmocka_unit_test_setup(a_drained_database_may_be_replaced_once_it_is_silent, setup),
		cmocka_unit_test_setup(an_empty_database_elsewhere_waits_for_the_former_one_as_well, setup),
		cmocka_unit_test_setup(a_database_that_was_left_behind_waits_for_the_one_that_followed_it,
		                       setup),
		cmocka_unit_test_setup(a_database_gives_way_to_one_with_a_later_key, setup),
		cmocka_unit_test_setup(a_database_that_was_not_accepted_does_not_speak_for_its_region, setup),
		cmocka_unit_test_setup_teardown(
			a_server_with_the_same_files_does_not_say_that_it_serves_before_it_was_accepted,
			setup, teardown_files),
		cmocka_unit_test_setup_teardown(
			a_server_with_the_same_files_is_refused_while_the_right_one_lives, setup,
			teardown_files),
		cmocka_unit_test_setup_teardown(a_server_with_the_same_files_listens_for_the_right_one, setup,
		                                teardown_files),
		cmocka_unit_test_setup_teardown(a_daemon_goes_on_at_once_with_the_standby_that_was_promoted,
		                                setup, teardown_files),
		cmocka_unit_test_setup_teardown(
			a_server_that_was_started_again_at_its_address_does_not_listen, setup,
			teardown_files),
		cmocka_unit_test_setup_teardown(of_two_servers_that_were_both_accepted_the_promoted_one_stays,
		                                setup, teardown_files),
	};

	return cmocka_run_group_tests(tests, start, stop);
}
