// How parked events are tried again: together if their cause is gone, alone if it is
// not, and never for long while other events arrive.
#include "lab_applier.h"

#include "apply/parked_retry.h"
#include "base/clock.h"

// As after an event whose refusal took seconds, for example in a slow trigger.
static void a_changed_table_ends_the_pause_after_a_slow_refusal(void **state)
{
	struct pl_parked_retry r = { .parked = 1, .next_us = pl_mono_us() + 95000000 };

	assert_false(pl_parked_retry_is_due(&r, pl_mono_us()));
	pl_parked_retry_all(&r);
	assert_true(pl_parked_retry_is_due(&r, pl_mono_us()));
}

// This many events of new records, from id 7 on, which eu refuses.
static void park(int n)
{
	struct pl_message *messages = pl_arena_alloc(lab.arena, sizeof(messages[0]) * (size_t)n);

	for (int i = 0; i < n; i++)
		messages[i] = lab_message(&lab, &(struct lab_write){ .origin = "us",
		                                                     .vector = "{\"us\":1}",
		                                                     .id = 7 + i,
		                                                     .price = "666.00",
		                                                     .create = true });
	lab_apply_messages(messages, n);
}

static struct pl_retry retry_once(int64_t budget_us)
{
	struct pl_error err = { 0 };
	struct pl_retry retry = { .budget_us = budget_us };

	if (pl_apply_batch_retry(eu.batch, &eu.tools, PL_KEPT_PARKED, &eu.counts, &retry, &err) < 0)
		fail_msg("%s", err.text);
	return retry;
}

static void a_retry_ends_when_its_time_is_over_and_the_others_stay_due(void **state)
{
	struct pl_retry retry;

	park(40);
	lab_ask(&lab, 1, "UPDATE parked_events SET retry_at = now() - interval '1 minute'");
	retry = retry_once(1);
	assert_int_equal(retry.tried, 1);
	assert_int_equal(retry.done, 0);
	assert_true(retry.more);
	assert_true(retry.wasted_us > 0);
	lab_is(&lab, "1 39", 1,
	       "SELECT format('%%s %%s', count(*) FILTER (WHERE tries = 2 AND retry_at > now()), count(*) "
	       "FILTER (WHERE tries = 1 AND retry_at < now())) FROM parked_events");
}

static void parked_events_whose_cause_is_gone_are_applied_many_at_once(void **state)
{
	struct pl_retry retry;

	park(2 * PL_RETRY_MAX);
	retry_once(1); // refused again: the next one is tried alone
	lab_ask(&lab, 1,
	        "ALTER TABLE properties DROP CONSTRAINT not_666; UPDATE parked_events SET retry_at = now()");
	for (int i = 0; i < 2; i++) {
		retry = retry_once(0);
		assert_true(retry.groups <= (i ? 1 : 9)); // 1, 2, 4, …, and one
		assert_int_equal(retry.done, PL_RETRY_MAX);
		assert_int_equal(retry.wasted_us, 0);
	}
	lab_ask(&lab, 1, "ALTER TABLE properties ADD CONSTRAINT not_666 CHECK (price <> 666) NOT VALID");
	lab_is(&lab, "0", 1, PARKED);
	lab_is(&lab, "t", 1, "SELECT count(*) = 2 * %d FROM properties", PL_RETRY_MAX);
}

static void a_refused_event_does_not_hold_up_the_others_of_its_group(void **state)
{
	struct pl_retry retry;

	park(PL_RETRY_MAX);
	lab_ask(&lab, 1,
	        "ALTER TABLE properties DROP CONSTRAINT not_666; ALTER TABLE properties ADD CONSTRAINT "
	        "not_100 CHECK (id <> 100); UPDATE parked_events SET retry_at = now()");
	retry = retry_once(0);
	assert_int_equal(retry.done, PL_RETRY_MAX - 1);
	assert_true(retry.groups < 40);
	lab_ask(&lab, 1,
	        "ALTER TABLE properties DROP CONSTRAINT not_100; ALTER TABLE properties ADD CONSTRAINT "
	        "not_666 CHECK (price <> 666) NOT VALID");
	lab_is(&lab, "100 not_100 2", 1,
	       "SELECT string_agg(format('%%s %%s %%s', record_id, constraint_name, tries), ' ') FROM "
	       "parked_events");
}

// This holds after a refusal, too. Otherwise another daemon would retry them at the
// same time, and an event that an operator drops meanwhile would be parked again. Event
// 8 sees whether they are locked.
static void events_being_retried_stay_locked_until_all_have_been_tried(void **state)
{
	park(2);
	lab_ask(&lab, 1,
	        "ALTER TABLE properties DROP CONSTRAINT not_666; ALTER TABLE properties ADD CONSTRAINT "
	        "not_7 CHECK (id <> 7); UPDATE parked_events SET retry_at = now(); CREATE TABLE seen (status "
	        "text); CREATE FUNCTION look() RETURNS trigger LANGUAGE plpgsql AS "
	        "'BEGIN INSERT INTO seen SELECT pg_xact_status(xmax::text::xid8) FROM parked_events; RETURN "
	        "NEW; END'; CREATE TRIGGER look BEFORE INSERT ON properties FOR EACH ROW EXECUTE FUNCTION "
	        "look()");
	assert_int_equal(retry_once(0).done, 1);
	lab_is(&lab, "2 in progress", 1,
	       "SELECT format('%%s %%s', count(*), string_agg(DISTINCT status, ' ')) "
	       "FROM seen");
	lab_ask(&lab, 1,
	        "DROP TABLE seen; DROP FUNCTION look CASCADE; ALTER TABLE properties DROP CONSTRAINT not_7; "
	        "ALTER TABLE properties ADD CONSTRAINT not_666 CHECK (price <> 666) NOT VALID");
}

// A delete's record is in its headers, and its value is empty.
static void of_large_parked_events_a_few_are_retried_at_once(void **state)
{
	lab_ask(&lab, 1,
	        "INSERT INTO parked_events (resource, record_id, origin, counter, topic, partition, "
	        "kafka_offset, key, value, headers, reason, retry_at) SELECT 'properties', n, 'us', 1, "
	        "'property-updates', 0, n, '\\x37', CASE WHEN n %% 2 = 0 THEN convert_to(repeat('x', "
	        "1000000), 'UTF8') END, CASE WHEN n %% 2 = 0 THEN '[]' ELSE jsonb_build_array("
	        "jsonb_build_object('name', 'plist-deleted', 'value', repeat('x', 1000000))) END, 'a test', "
	        "now() FROM generate_series(1, 20) AS n");
	assert_int_equal(retry_once(0).tried, 9);
}

// Events that were refused together do not become due together for ever.
static void intervals_are_at_most_five_minutes_and_differ(void **state)
{
	park(40);
	lab_ask(&lab, 1, "UPDATE parked_events SET tries = 12");
	lab_ask(&lab, 1, "UPDATE parked_events SET retry_at = now()");
	assert_int_equal(retry_once(0).tried, 40);
	lab_is(&lab, "t", 1,
	       "SELECT min(d) >= interval '3.5 minutes' AND max(d) < interval '5 minutes 1 second' AND "
	       "max(d) - min(d) > interval '20 seconds' FROM (SELECT retry_at - tried_at AS d FROM "
	       "parked_events) AS t");
}

// How long the applier pauses after a retry that took this long.
static void run_retry(struct pl_parked_retry *r, int64_t *took_us, int64_t *pause_us)
{
	struct pl_error err = { 0 };
	int64_t begun_us = pl_mono_us();
	int tried;

	if (pl_parked_retry_run(r, eu.batch, &eu.tools, &eu.counts, &tried, &err) < 0)
		fail_msg("%s", err.text);
	assert_true(tried > 0);
	*took_us = pl_mono_us() - begun_us;
	*pause_us = r->next_us - pl_mono_us();
}

static void retries_take_a_twentieth_of_the_time_while_other_events_arrive(void **state)
{
	struct pl_parked_retry r = { .parked = 1 };
	int64_t took_us, pause_us;

	park(2 * PL_RETRY_MAX);
	lab_ask(&lab, 1, "UPDATE parked_events SET retry_at = now()");
	run_retry(&r, &took_us, &pause_us);
	assert_true(r.more);
	assert_true(pause_us <= 0);
	assert_int_equal(pl_parked_retry_patience_ms(&r, 100), 0);
	pl_parked_retry_note_others(&r);
	run_retry(&r, &took_us, &pause_us);
	assert_true(pause_us > 10 * took_us);
	assert_false(pl_parked_retry_is_due(&r, pl_mono_us()));
	assert_int_equal(pl_parked_retry_patience_ms(&r, 1), 1);
}

// A locked row is no refusal, but trying it in vain takes time, too.
static void locked_rows_are_retried_in_a_twentieth_of_the_time_too(void **state)
{
	struct pl_parked_retry r = { .parked = 1 };
	PGconn *other = lab_connect(&lab, 1);
	int64_t took_us, pause_us;

	park(40);
	lab_ask(&lab, 1,
	        "INSERT INTO properties (id, price, region_origin) SELECT n, 1, 'eu' FROM "
	        "generate_series(7, 46) AS n; UPDATE parked_events SET retry_at = now()");
	PQclear(PQexec(other, "BEGIN; SELECT FROM properties FOR UPDATE"));
	pl_parked_retry_note_others(&r);
	run_retry(&r, &took_us, &pause_us);
	assert_true(pause_us > 10 * took_us);
	lab_is(&lab, "t", 1, "SELECT count(*) > 0 FROM parked_events WHERE sqlstate = '55P03'");
	PQfinish(other);
}

// Whether the applier's next look makes all parked events due; they are an hour away.
static bool look_makes_due(struct pl_parked_retry *r)
{
	struct pl_error err = { 0 };
	int64_t dead;

	r->all_due = false;
	if (pl_parked_retry_count(r, eu.batch, &eu.tools, &dead, &err) < 0 ||
	    pl_parked_retry_look(r, &eu.tools, &err) < 0)
		fail_msg("%s", err.text);
	return r->all_due;
}

static const char *const changes[] = {
	"ALTER TABLE properties ADD COLUMN agent text",
	"ALTER TABLE properties ALTER COLUMN agent SET DEFAULT 'x'",
	"ALTER TABLE properties ALTER COLUMN agent SET DEFAULT 'y'",
	"ALTER TABLE properties ALTER COLUMN agent SET NOT NULL",
	"ALTER TABLE properties ALTER COLUMN agent DROP NOT NULL",
	"ALTER TABLE properties DROP COLUMN agent",
	"CREATE UNIQUE INDEX one_price ON properties (price)",
	"DROP INDEX one_price",
	"CREATE FUNCTION look() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END'; CREATE TRIGGER "
	"look BEFORE INSERT ON properties FOR EACH ROW EXECUTE FUNCTION look()",
	"CREATE OR REPLACE FUNCTION look() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END'",
	"ALTER TABLE properties DISABLE TRIGGER look",
	"DROP FUNCTION look CASCADE",
	"CREATE POLICY p ON properties",
	"DROP POLICY p ON properties",
	"INSERT INTO plist.apply_members (member, lanes, pid, backend_start, hears, topics, sessions) VALUES "
	"('another', 1, 1, now(), true, '', '{}')",
	"DELETE FROM plist.apply_members",
	"ALTER TABLE properties DROP CONSTRAINT not_666",
};

static void parked_events_are_due_when_their_table_has_changed(void **state)
{
	struct pl_parked_retry r = { 0 };
	struct pl_error err = { 0 };
	int tried;

	assert_false(look_makes_due(&r));
	park(2);
	lab_ask(&lab, 1, "UPDATE parked_events SET retry_at = now() + interval '1 hour'");
	assert_false(look_makes_due(&r));
	for (size_t i = 0; i < sizeof(changes) / sizeof(changes[0]); i++) {
		lab_ask(&lab, 1, "%s", changes[i]);
		if (!look_makes_due(&r))
			fail_msg("not noticed: %s", changes[i]);
		assert_false(look_makes_due(&r));
	}
	lab_ask(&lab, 1, "INSERT INTO properties (id, price, region_origin) VALUES (6, 1, 'eu')");
	lab_ask(&lab, 1, "ANALYZE properties");
	lab_ask(&lab, 1, "VACUUM properties");
	assert_false(look_makes_due(&r));
	pl_parked_retry_all(&r);
	if (pl_parked_retry_run(&r, eu.batch, &eu.tools, &eu.counts, &tried, &err) < 0)
		fail_msg("%s", err.text);
	assert_int_equal(tried, 2);
	assert_false(r.all_due);
	lab_is(&lab, "0", 1, PARKED);
	assert_false(look_makes_due(&r));
	lab_ask(&lab, 1, "ALTER TABLE properties ADD CONSTRAINT not_666 CHECK (price <> 666) NOT VALID");
	assert_false(look_makes_due(&r)); // nothing is parked
}

static void many_parked_events_are_made_due_step_by_step(void **state)
{
	struct pl_error err = { 0 };
	int64_t id = 0;
	int steps = 0;

	park(1);
	lab_ask(&lab, 1,
	        "INSERT INTO parked_events (resource, record_id, origin, counter, topic, partition, "
	        "kafka_offset, reason, retry_at) SELECT resource, n, origin, counter, topic, partition, "
	        "1000000 + n, reason, now() + interval '1 hour' FROM parked_events, generate_series(1000, "
	        "12998) AS n");
	for (; id != INT64_MAX; steps++)
		if (pl_apply_rows_parked_hurry(eu.tools.session, &id, &err) < 0)
			fail_msg("%s", err.text);
	assert_int_equal(steps, 7); // the last one finds none
	lab_is(&lab, "12000", 1, PARKED " WHERE retry_at < now() + interval '1 minute'");
}

#define T(name) cmocka_unit_test_setup_teardown(name, lab_applier_setup, lab_applier_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(a_retry_ends_when_its_time_is_over_and_the_others_stay_due),
		T(parked_events_whose_cause_is_gone_are_applied_many_at_once),
		T(a_refused_event_does_not_hold_up_the_others_of_its_group),
		T(of_large_parked_events_a_few_are_retried_at_once),
		T(events_being_retried_stay_locked_until_all_have_been_tried),
		T(intervals_are_at_most_five_minutes_and_differ),
		T(retries_take_a_twentieth_of_the_time_while_other_events_arrive),
		T(locked_rows_are_retried_in_a_twentieth_of_the_time_too),
		T(parked_events_are_due_when_their_table_has_changed),
		T(a_changed_table_ends_the_pause_after_a_slow_refusal),
		T(many_parked_events_are_made_due_step_by_step),
	};

	return cmocka_run_group_tests(tests, lab_applier_start, lab_applier_stop);
}
