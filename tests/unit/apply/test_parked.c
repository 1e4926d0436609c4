// Events that the database refuses do not block others, and are applied when it accepts
// them; events with impossible claims are not applied.
#include "lab_applier.h"

#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "record/edge.h"

// ---- refused

static void a_refused_event_is_kept_complete_and_applied_when_the_database_accepts_it(void **state)
{
	APPLY({ .origin = "us", .vector = "{\"us\":1}", .id = 7, .price = "666.00", .request = "evil" },
	      { .origin = "us", .vector = "{\"us\":1}", .id = 8 });
	lab_is(&lab, "8", 1, "SELECT string_agg(id::text, ' ') FROM properties");
	lab_is(&lab, "properties 7 us 1 not_666 evil", 1,
	       "SELECT format('%%s %%s %%s %%s %%s %%s', resource, record_id, origin, counter, "
	       "constraint_name, (SELECT h->>'value' FROM jsonb_array_elements(headers) h WHERE h->>'name' = "
	       "'plist-request-id')) FROM parked_events");
	lab_retry(1);
	lab_is(&lab, "2", 1, "SELECT tries FROM parked_events");
	lab_is(&lab, "t", 1,
	       "SELECT retry_at - tried_at BETWEEN interval '1.9 s' AND interval '2.1 s' FROM parked_events");
	lab_ask(&lab, 1, "ALTER TABLE properties DROP CONSTRAINT not_666");
	lab_retry(1);
	lab_ask(&lab, 1, "ALTER TABLE properties ADD CONSTRAINT not_666 CHECK (price <> 666) NOT VALID");
	lab_is(&lab, "0", 1, PARKED);
	lab_is(&lab, "666.00 {\"us\": 1}", 1,
	       "SELECT format('%%s %%s', price, vector) FROM properties WHERE id = 7");
	lab_is(&lab, "7", 1, "SELECT record_id FROM processed_requests WHERE request_id = 'evil'");
	lab_is(&lab, "t", 1, "SELECT count(*) = 1 AND max(next_offset) = 2 FROM applied_positions");
}

static void retry_what_is_due(int expected)
{
	struct pl_error err = { 0 };
	struct pl_retry retry = { 0 };

	if (pl_apply_batch_retry(eu.batch, &eu.tools, PL_KEPT_PARKED, &eu.counts, &retry, &err) < 0)
		fail_msg("%s", err.text);
	assert_int_equal(retry.tried, expected);
}

// It is due at once, and found to be covered.
static void a_later_event_of_the_record_that_covers_it_clears_it(void **state)
{
	APPLY({ .origin = "us", .vector = "{\"us\":1}", .id = 7, .price = "666.00" },
	      { .origin = "us", .vector = "{\"us\":1}", .id = 8, .price = "666.00" });
	lab_is(&lab, "2", 1, PARKED);
	lab_ask(&lab, 1, "UPDATE parked_events SET retry_at = now() + interval '1 hour'");
	APPLY({ .origin = "us", .vector = "{\"us\":2}", .id = 7 });
	retry_what_is_due(1);
	lab_is(&lab, "8", 1, "SELECT string_agg(record_id::text, ' ') FROM parked_events");
	APPLY({ .origin = "ap", .vector = "{\"ap\":1}", .id = 8 }); // covers nothing
	retry_what_is_due(0);
	lab_is(&lab, "1", 1, PARKED);
}

// Else a retry of the client would be executed here once more.
static void the_request_of_an_event_that_is_covered_is_remembered(void **state)
{
	APPLY({ .origin = "us", .vector = "{\"us\":1}", .id = 7, .price = "666.00", .request = "first" });
	APPLY({ .origin = "us", .vector = "{\"us\":2}", .id = 7, .request = "second" });
	lab_retry(1);
	lab_is(&lab, "0", 1, PARKED);
	lab_is(&lab, "first second", 1,
	       "SELECT string_agg(request_id, ' ' ORDER BY request_id) FROM processed_requests");
	lab_is(&lab, "2", 1, "SELECT version FROM properties WHERE id = 7");
}

// Applies this many creates at once, all with this price except the one at `good` (-1:
// none), which has "5.00". Returns the time that it took.
static int64_t apply_crowd(int64_t first_id, int n, const char *price, int good)
{
	struct pl_message *messages = pl_arena_alloc(lab.arena, sizeof(messages[0]) * (size_t)n);
	int64_t begun_us;

	for (int i = 0; i < n; i++)
		messages[i] = lab_one(first_id + i, i == good ? "5.00" : price);
	begun_us = pl_mono_us();
	lab_apply_messages(messages, n);
	return pl_mono_us() - begun_us;
}

// More events are due than one retry takes, and those that it takes are due again
// before the others have had their turn.
static void every_parked_event_has_its_turn(void **state)
{
	struct pl_error err = { 0 };
	struct pl_retry retry = { 0 };

	apply_crowd(7, 3 * PL_RETRY_MAX, "666.00", -1);
	lab_ask(&lab, 1, "UPDATE parked_events SET retry_at = now() - interval '1 minute'");
	for (int i = 0; i < 3; i++) {
		if (pl_apply_batch_retry(eu.batch, &eu.tools, PL_KEPT_PARKED, &eu.counts, &retry, &err) < 0)
			fail_msg("%s", err.text);
		assert_int_equal(retry.tried, PL_RETRY_MAX);
		lab_ask(&lab, 1, "UPDATE parked_events SET retry_at = now() WHERE tries > 1");
	}
	lab_is(&lab, "2 2", 1, "SELECT format('%%s %%s', min(tries), max(tries)) FROM parked_events");
}

static void a_column_that_must_not_be_null_parks_and_says_which(void **state)
{
	lab_ask(&lab, 1,
	        "ALTER TABLE properties ADD COLUMN agent text NOT NULL DEFAULT ''; ALTER TABLE properties "
	        "ALTER COLUMN agent DROP DEFAULT");
	APPLY({ .origin = "us", .vector = "{\"us\":1}", .id = 7 });
	lab_is(&lab, "agent 23502", 1, "SELECT format('%%s %%s', column_name, sqlstate) FROM parked_events");
	lab_ask(&lab, 1, "ALTER TABLE properties DROP COLUMN agent");
	lab_retry(1);
	lab_is(&lab, "1 0", 1, "SELECT format('%%s %%s', (SELECT count(*) FROM properties), (" PARKED "))");
}

static void a_trigger_that_skips_a_row_holds_up_that_record_alone(void **state)
{
	lab_ask(&lab, 1,
	        "CREATE FUNCTION swallow() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN CASE WHEN "
	        "NEW.id <> 7 THEN NEW END; END'; CREATE TRIGGER swallow BEFORE INSERT OR UPDATE ON "
	        "properties FOR EACH ROW EXECUTE FUNCTION swallow()");
	APPLY({ .origin = "us", .vector = "{\"us\":1}", .id = 6 },
	      { .origin = "us", .vector = "{\"us\":1}", .id = 7 },
	      { .origin = "us", .vector = "{\"us\":1}", .id = 8 });
	lab_is(&lab, "6 8", 1, "SELECT string_agg(id::text, ' ' ORDER BY id) FROM properties");
	lab_is(&lab, "t", 1, "SELECT reason LIKE '%%trigger%%' FROM parked_events WHERE record_id = 7");
	APPLY({ .origin = "us", .vector = "{\"us\":2}", .id = 7 }); // alone in its batch
	lab_is(&lab, "2", 1, PARKED);
	lab_ask(&lab, 1, "DROP TRIGGER swallow ON properties; DROP FUNCTION swallow");
	lab_retry(2);
	lab_is(&lab, "0", 1, PARKED);
	lab_is(&lab, "2", 1, "SELECT version FROM properties WHERE id = 7");
}

// A trigger may raise an error with any code. A code that could concern all events is
// attributed to the event if others succeed.
static void an_error_in_a_trigger_is_attributed_to_its_event_if_others_succeed(void **state)
{
	lab_ask(&lab, 1,
	        "CREATE FUNCTION stumble() RETURNS trigger LANGUAGE plpgsql AS "
	        "'BEGIN IF NEW.id = 7 THEN PERFORM no_such_function(); END IF; RETURN NEW; END'; "
	        "CREATE TRIGGER stumble BEFORE INSERT OR UPDATE ON properties FOR EACH ROW EXECUTE "
	        "FUNCTION stumble()");
	APPLY({ .origin = "us", .vector = "{\"us\":1}", .id = 6 },
	      { .origin = "us", .vector = "{\"us\":1}", .id = 7 });
	lab_ask(&lab, 1, "DROP TRIGGER stumble ON properties; DROP FUNCTION stumble");
	lab_is(&lab, "6 42883", 1,
	       "SELECT format('%%s %%s', (SELECT string_agg(id::text, ' ') FROM properties), (SELECT "
	       "sqlstate FROM parked_events))");
}

static void a_deferred_constraint_is_checked_for_each_event(void **state)
{
	lab_ask(&lab, 1,
	        "CREATE TABLE rooms (id INTEGER PRIMARY KEY); INSERT INTO rooms VALUES (3); ALTER TABLE "
	        "properties ADD CONSTRAINT room FOREIGN KEY (bedrooms) REFERENCES rooms DEFERRABLE "
	        "INITIALLY DEFERRED");
	APPLY({ .origin = "us", .vector = "{\"us\":1}", .id = 6 },
	      { .origin = "us", .vector = "{\"us\":1}", .id = 7, .bedrooms = 4 });
	lab_is(&lab, "6 room", 1,
	       "SELECT format('%%s %%s', (SELECT string_agg(id::text, ' ') FROM properties), (SELECT "
	       "constraint_name FROM parked_events))");
	lab_ask(&lab, 1, "ALTER TABLE properties DROP CONSTRAINT room; DROP TABLE rooms");
}

#define CROWD 1500

static void thousands_of_refused_events_hardly_delay_a_good_one(void **state)
{
	int64_t tried_us = apply_crowd(100, CROWD + 1, "666.00", CROWD / 2), nulls_us;

	lab_is(&lab, "1 1500", 1,
	       "SELECT format('%%s %%s', (SELECT count(*) FROM properties), (" PARKED "))");
	assert_int_equal(eu.counts.retries, 1); // isolated once
	assert_true(eu.counts.batches <= CROWD + 1 + CROWD);
	// one refusal foretells those of all others that lack the same value, so they
	// are not tried
	nulls_us = apply_crowd(10000, 4001, "null", 4000);
	print_message("# 1,501 refused for other reasons: %d ms; 4,001 that lack a value: %d ms\n",
	              (int)(tried_us / 1000), (int)(nulls_us / 1000));
	assert_true(nulls_us < tried_us);
	lab_is(&lab, "2 4000", 1,
	       "SELECT format('%%s %%s', (SELECT count(*) FROM properties), (" PARKED
	       " WHERE column_name = 'price' AND sqlstate = '23502'))");
}

static void a_foreseen_refusal_affects_only_events_with_the_same_fault(void **state)
{
	APPLY({ .origin = "us", .vector = "{\"us\":2}", .id = 3 });
	APPLY({ .origin = "us", .vector = "{\"us\":1}", .id = 7, .price = "null" },
	      { .origin = "us", .vector = "{\"us\":1}", .id = 3, .price = "null" }, // stale
	      { .origin = "us", .vector = "{\"us\":1}", .id = 4, .price = "null" },
	      { .origin = "us", .vector = "{\"us\":2}", .id = 4 },
	      { .origin = "us", .vector = "{\"us\":1}", .id = 5, .price = "666.00" },
	      { .origin = "us", .vector = "{\"us\":1}", .id = 6 },
	      { .origin = "us", .vector = "{\"us\":1}", .id = 8, .price = "null" });
	lab_is(&lab, "3 4 6", 1, "SELECT string_agg(id::text, ' ' ORDER BY id) FROM properties");
	lab_is(&lab, "4 price; 5 not_666; 7 price; 8 price", 1,
	       "SELECT string_agg(format('%%s %%s', record_id, coalesce(constraint_name, column_name)), '; ' "
	       "ORDER BY record_id) FROM parked_events");
}

// A foreseen refusal is a guess: here, a trigger fills in what the event lacks.
static void an_event_that_was_parked_without_a_try_is_tried_soon(void **state)
{
	lab_ask(&lab, 1,
	        "CREATE FUNCTION fill() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN NEW.price := 5; RETURN "
	        "NEW; END'; CREATE TRIGGER fill BEFORE INSERT ON properties FOR EACH ROW WHEN (NEW.id = 8) "
	        "EXECUTE FUNCTION fill()");
	APPLY({ .origin = "us", .vector = "{\"us\":1}", .id = 7, .price = "null" },
	      { .origin = "us", .vector = "{\"us\":1}", .id = 8, .price = "null" },
	      { .origin = "us", .vector = "{\"us\":1}", .id = 9, .price = "null" });
	lab_is(&lab, "3", 1, PARKED);
	lab_retry(3);
	lab_ask(&lab, 1, "DROP TRIGGER fill ON properties; DROP FUNCTION fill");
	lab_is(&lab, "7 9", 1, "SELECT string_agg(record_id::text, ' ' ORDER BY 1) FROM parked_events");
	lab_is(&lab, "8", 1, "SELECT string_agg(id::text, ' ') FROM properties");
}

static void a_new_column_that_nobody_writes_refuses_new_records_alone(void **state)
{
	APPLY({ .origin = "us", .vector = "{\"us\":1}", .id = 8 });
	lab_ask(&lab, 1,
	        "ALTER TABLE properties ADD COLUMN agent text NOT NULL DEFAULT ''; ALTER TABLE properties "
	        "ALTER COLUMN agent DROP DEFAULT");
	APPLY({ .origin = "us", .vector = "{\"us\":1}", .id = 7 },
	      { .origin = "us", .vector = "{\"us\":2}", .id = 8 },
	      { .origin = "us", .vector = "{\"us\":1}", .id = 9 });
	lab_ask(&lab, 1, "ALTER TABLE properties DROP COLUMN agent");
	lab_is(&lab, "8 2", 1, "SELECT string_agg(format('%%s %%s', id, version), ' ') FROM properties");
	lab_is(&lab, "7 agent 9 agent", 1,
	       "SELECT string_agg(format('%%s %%s', record_id, column_name), ' ' ORDER BY record_id) FROM "
	       "parked_events");
}

// ---- events with impossible claims

static void an_event_in_our_name_that_we_never_wrote_is_an_alarm(void **state)
{
	struct pl_message forged =
		lab_message(&lab, &(struct lab_write){ .origin = "eu", .vector = "{\"eu\":5000}", .id = 7 });
	struct pl_message honest =
		lab_message(&lab, &(struct lab_write){ .origin = "eu", .vector = "{\"eu\":1}", .id = 7 });

	lab_write(&lab, lab.sql[1], "eu", 7, "1.00", NULL);
	lab_apply_messages((struct pl_message[]){ honest, forged }, 2);
	assert_int_equal(eu.counts.not_ours, 1);
	lab_is(&lab, "t", 1, "SELECT count(*) = 1 AND min(error) LIKE '%%never made%%' FROM dead_letters");
	lab_is(&lab, "1.00 {\"eu\": 1}", 1, "SELECT format('%%s %%s', price, vector) FROM properties");
	forged = lab_message(&lab, &(struct lab_write){ .origin = "eu",
	                                                .vector = "{\"eu\":1}",
	                                                // of a record that does not
	                                                // exist
	                                                .id = 99 });
	lab_apply_messages(&forged, 1);
	assert_int_equal(eu.counts.not_ours, 2);
}

// The event's dot cannot be read, so it is not looked up among our writes.
static void an_event_in_our_name_whose_key_is_not_an_id_is_a_dead_letter(void **state)
{
	static const char *const keys[] = { "0", "", "-7", "07", "7 ", "9999999999999999999" };

	for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]); i++) {
		struct pl_message forged = lab_message(
			&lab, &(struct lab_write){ .origin = "eu", .vector = "{\"eu\":1}", .id = 7 });

		forged.key = keys[i];
		forged.key_len = strlen(keys[i]);
		lab_apply_messages(&forged, 1);
	}
	lab_is(&lab, "6", 1, "SELECT count(*) FROM dead_letters WHERE error LIKE '%%key is not%%'");
	lab_is(&lab, "0", 1, "SELECT count(*) FROM properties");
}

static void retry_letters(int expected)
{
	struct pl_error err = { 0 };
	struct pl_retry retry = { 0 };

	if (pl_apply_batch_retry(eu.batch, &eu.tools, PL_KEPT_LETTERS, &eu.counts, &retry, &err) < 0)
		fail_msg("%s", err.text);
	assert_int_equal(retry.tried, expected);
}

// Replaces the dead letter's message by this one, as if a newer version could read it.
static void cure(const struct pl_message *message)
{
	lab_ask(&lab, 1, "UPDATE dead_letters SET value = convert_to($v$%.*s$v$, 'UTF8'), retry_at = now()",
	        (int)message->value_len, (const char *)message->value);
}

static void a_dead_letter_that_is_retried_is_applied_or_stays_with_its_reason(void **state)
{
	struct pl_message good = lab_one(7, "5.00"), bad = good, refused = lab_one(7, "666.00");

	bad.value = "junk";
	bad.value_len = 4;
	lab_apply_messages(&bad, 1);
	retry_letters(0); // nobody has asked for it
	lab_ask(&lab, 1, "UPDATE dead_letters SET retry_at = now(), error = 'old'");
	retry_letters(1);
	assert_int_equal(eu.counts.dead_letters, 1); // the same one
	lab_is(&lab, "1 t t", 1,
	       "SELECT format('%%s %%s %%s', tries, retry_at IS NULL, error <> 'old') FROM dead_letters");
	retry_letters(0);
	cure(&good);
	retry_letters(1);
	lab_is(&lab, "0", 1, "SELECT count(*) FROM dead_letters");
	lab_is(&lab, "7 5.00", 1, "SELECT format('%%s %%s', id, price) FROM properties");

	lab_ask(&lab, 1, "DELETE FROM properties");
	bad.offset++;
	lab_apply_messages(&bad, 1);
	cure(&refused);
	retry_letters(1);
	lab_is(&lab, "0", 1, "SELECT count(*) FROM dead_letters");
	lab_is(&lab, "not_666", 1, "SELECT constraint_name FROM parked_events");
}

static void a_lost_write_of_ours_is_taken_back_from_the_region_that_republished_it(void **state)
{
	APPLY({ .origin = "eu", .vector = "{\"eu\":3,\"us\":2}", .id = 99, .republished = "us" });
	assert_int_equal(eu.counts.not_ours, 0);
	assert_int_equal(eu.counts.returned, 1);
	lab_is(&lab, "99 eu 5", 1,
	       "SELECT format('%%s %%s %%s', id, region_origin, version) FROM properties");
	lab_is(&lab, "0", 1, "SELECT count(*) FROM dead_letters");
	APPLY({ .origin = "eu", .vector = "{\"eu\":3,\"us\":2}", .id = 99, .republished = "us" });
	assert_int_equal(eu.counts.returned, 1); // it is known by now
}

static void no_other_region_can_return_a_write(void **state)
{
	APPLY({ .origin = "eu", .vector = "{\"eu\":3}", .id = 99, .republished = "eu" },
	      { .origin = "eu", .vector = "{\"eu\":3}", .id = 98, .republished = "nowhere" });
	assert_int_equal(eu.counts.not_ours, 2);
	assert_int_equal(eu.counts.returned, 0);
	lab_is(&lab, "0", 1, "SELECT count(*) FROM properties");
}

static void an_event_that_carries_only_a_request_is_not_a_write(void **state)
{
	APPLY({ .origin = "us", .vector = "{\"us\":1}", .request = "taught", .republished = "us; request" });
	lab_is(&lab, "0", 1, "SELECT count(*) FROM properties");
	lab_is(&lab, "7 {\"us\": 1}", 1,
	       "SELECT format('%%s %%s', record_id, dots) FROM processed_requests "
	       "WHERE request_id = 'taught'");
}

static void a_jump_of_a_counter_is_a_dead_letter(void **state)
{
	APPLY({ .origin = "us", .vector = "{\"us\":1000000}", .id = 7 },
	      { .origin = "us", .vector = "{\"us\":1000001}", .id = 8 });
	lab_is(&lab, "7 1000000", 1, "SELECT format('%%s %%s', id, version) FROM properties");
	lab_is(&lab, "t", 1,
	       "SELECT count(*) = 1 AND min(error) LIKE '%%more than 1000000 beyond%%' FROM dead_letters");
	APPLY({ .origin = "us", .vector = "{\"us\":2000000}", .id = 7 });
	lab_is(&lab, "2000000", 1, "SELECT version FROM properties");
	APPLY({ .origin = "us", .vector = "{\"us\":3000001}", .id = 7 });
	lab_is(&lab, "2000000", 1, "SELECT version FROM properties");
}

static void foreign(struct pl_message *m, int64_t id, const char *value)
{
	*m = lab_one(id, NULL);
	m->nheaders = 0;
	m->value = value;
	m->value_len = strlen(value);
}

static void a_jump_without_headers_is_a_dead_letter_too(void **state)
{
	struct pl_message m;

	foreign(&m, 7,
	        "{\"id\":7,\"price\":5,\"region_origin\":\"us\","
	        "\"version\":1000001,\"updated_at\":\"2026-02-21T10:00:00Z\"}");
	lab_apply_messages(&m, 1);
	foreign(&m, 7,
	        "{\"id\":7,\"price\":5,\"region_origin\":\"zz\","
	        "\"version\":1,\"updated_at\":\"2026-02-21T10:00:00Z\"}");
	lab_apply_messages(&m, 1);
	foreign(&m, 7,
	        "{\"id\":7,\"price\":5,\"region_origin\":\"us\","
	        "\"version\":2147483647,\"updated_at\":\"2026-02-21T10:00:00Z\"}");
	lab_apply_messages(&m, 1);
	lab_is(&lab, "0 3", 1,
	       "SELECT format('%%s %%s', (SELECT count(*) FROM properties), (SELECT count(*) FROM "
	       "dead_letters))");
}

// Another producer's event that names this region as its origin is applied here as in
// all regions.
static void a_foreign_event_that_names_us_is_applied_here_too(void **state)
{
	struct pl_message m;

	lab_write(&lab, lab.sql[1], "eu", 7, "1.00", NULL);
	foreign(&m, 7,
	        "{\"id\":7,\"price\":5,\"region_origin\":\"eu\","
	        "\"version\":2,\"updated_at\":\"2026-02-21T10:00:00Z\"}");
	lab_apply_messages(&m, 1);
	lab_is(&lab, "5.00 2 {\"eu\": 2}", 1,
	       "SELECT format('%%s %%s %%s', price, version, vector) FROM properties");
}

static void times_ahead_of_the_broker_are_dead_letters(void **state)
{
	static const int64_t hours[] = { 23, 25, 24 * 400 };
	char value[256], at[PL_TIME_TEXT_MAX];
	struct pl_message m[4];

	for (int i = 0; i < 3; i++) {
		snprintf(value, sizeof(value),
		         "{\"id\":%d,\"price\":5,\"region_origin\":\"us\","
		         "\"version\":1,\"updated_at\":\"%s\"}",
		         i + 1, pl_clock_format_time(pl_now_us() + hours[i] * 3600 * 1000000, at));
		foreign(&m[i], i + 1, pl_arena_strdup(lab.arena, value));
	}
	foreign(&m[3], 4,
	        "{\"id\":4,\"price\":5,\"region_origin\":\"us\","
	        "\"version\":1,\"updated_at\":\"9999-12-31T23:59:59.999999Z\"}");
	m[3].broker_time_us = PL_TIME_MAX_US; // as a producer may set it
	lab_apply_messages(m, 4);
	lab_is(&lab, "1", 1, "SELECT string_agg(id::text, ' ') FROM properties");
	lab_is(&lab, "3", 1, "SELECT count(*) FROM dead_letters WHERE error LIKE '%%ahead of the broker%%'");
}

static void events_that_name_unknown_regions_are_dead_letters(void **state)
{
	APPLY({ .origin = "us", .vector = "{\"us\":1,\"zz\":1}", .id = 7 },
	      { .origin = "zz", .vector = "{\"zz\":1}", .id = 8 },
	      { .origin = "ap", .vector = "{\"ap\":1}", .id = 9 }); // ap is retired
	lab_is(&lab, "9", 1, "SELECT string_agg(id::text, ' ') FROM properties");
	lab_is(&lab, "2", 1, "SELECT count(*) FROM dead_letters WHERE error LIKE '%%retired_regions%%'");
}

// ---- the decoder's limits are the columns'

static void set(struct pl_message *m, const char *name, const char *value)
{
	struct pl_message_header *headers =
		pl_arena_alloc(lab.arena, sizeof(headers[0]) * (size_t)(m->nheaders + 1));
	int i = 0;

	memcpy(headers, m->headers, sizeof(headers[0]) * (size_t)m->nheaders);
	m->headers = headers;
	while (i < m->nheaders && strcmp(headers[i].name, name) != 0)
		i++;
	headers[i] = (struct pl_message_header){ name, value, strlen(value) };
	m->nheaders += i == m->nheaders;
}

static const char *repeated(const char *piece, int n)
{
	struct pl_buf buf = { 0 };
	const char *text;

	for (int i = 0; i < n; i++)
		pl_buf_adds(&buf, piece);
	text = pl_arena_strndup(lab.arena, buf.data, buf.len);
	pl_buf_fini(&buf);
	return text;
}

// Each header is applied at its maximum length and refused beyond it, so the database
// never gets one that it refuses.
static void whatever_the_decoder_accepts_fits_every_column(void **state)
{
	static const struct {
		const char *header, *piece;
		int max;
	} limits[] = {
		{ "plist-principal", "p", 64 },
		{ "plist-principal", "\xc3\xa4", 64 },
		{ "plist-principal", "\xf0\x9f\x8f\xa0", 64 },
		{ "plist-request-id", "r", 255 },
	};
	static const char *const edges[][2] = {
		{ "plist-expires", "9999-12-31T23:59:59.999999Z" },
		{ "plist-expires", "0001-01-01T00:00:00Z" },
		{ "plist-status", "299" },
		{ "plist-field-times", "{\"price\":{\"at\":253402300799999999,\"origin\":\"us\"}}" },
		{ "plist-field-times", "{\"price\":{\"at\":-62135596800000000,\"origin\":\"us\"}}" },
	};
	int id = 1;

	for (size_t i = 0; i < sizeof(limits) / sizeof(limits[0]); i++)
		for (int more = 0; more < 2; more++, id++) {
			struct pl_message m = lab_one(id, NULL);

			set(&m, limits[i].header, repeated(limits[i].piece, limits[i].max + more));
			lab_apply_messages(&m, 1);
			lab_is(&lab, more ? "0" : "1", 1, "SELECT count(*) FROM properties WHERE id = %d",
			       id);
		}
	for (size_t i = 0; i < sizeof(edges) / sizeof(edges[0]); i++, id++) {
		struct pl_message m = lab_one(id, "9999999999.99");

		set(&m, edges[i][0], edges[i][1]);
		lab_apply_messages(&m, 1);
		lab_is(&lab, "1", 1, "SELECT count(*) FROM properties WHERE id = %d", id);
	}
	lab_is(&lab, "0 4", 1, "SELECT format('%%s %%s', (" PARKED "), (SELECT count(*) FROM dead_letters))");
}

// ---- resets

static void a_reset_lowers_exhausted_counters_and_may_be_redelivered(void **state)
{
	struct pl_message reset = lab_message(
		&lab, &(struct lab_write){
			      .origin = "us", .vector = "{\"eu\":3,\"us\":11}", .id = 7, .price = "9.00" });

	set(&reset, "plist-reset", "{\"eu\":3,\"us\":1073741824,\"zz\":4}");
	APPLY({ .origin = "us", .vector = "{\"us\":10}", .id = 7 });
	lab_ask(&lab, 1,
	        "UPDATE properties SET vector = '{\"us\":1073741824,\"zz\":4}', version = 1073741828, "
	        "updated_at = 'infinity'");
	lab_apply_messages(&reset, 1);
	lab_is(&lab, "9.00 14 {\"eu\": 3, \"us\": 11} t", 1,
	       "SELECT format('%%s %%s %%s %%s', price, version, vector, isfinite(updated_at)) FROM "
	       "properties");
	APPLY({ .origin = "us", .vector = "{\"eu\":3,\"us\":12}", .id = 7, .price = "10.00" });
	reset.offset += 1000;
	lab_apply_messages(&reset, 1);
	lab_is(&lab, "10.00 15", 1, "SELECT format('%%s %%s', price, version) FROM properties");
	assert_int_equal(eu.counts.stale, 1);
}

#define T(name) cmocka_unit_test_setup_teardown(name, lab_applier_setup, lab_applier_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(a_refused_event_is_kept_complete_and_applied_when_the_database_accepts_it),
		T(a_later_event_of_the_record_that_covers_it_clears_it),
		T(the_request_of_an_event_that_is_covered_is_remembered),
		T(every_parked_event_has_its_turn),
		T(a_column_that_must_not_be_null_parks_and_says_which),
		T(a_trigger_that_skips_a_row_holds_up_that_record_alone),
		T(an_error_in_a_trigger_is_attributed_to_its_event_if_others_succeed),
		T(a_deferred_constraint_is_checked_for_each_event),
		T(thousands_of_refused_events_hardly_delay_a_good_one),
		T(a_foreseen_refusal_affects_only_events_with_the_same_fault),
		T(an_event_that_was_parked_without_a_try_is_tried_soon),
		T(a_new_column_that_nobody_writes_refuses_new_records_alone),
		T(an_event_in_our_name_that_we_never_wrote_is_an_alarm),
		T(an_event_in_our_name_whose_key_is_not_an_id_is_a_dead_letter),
		T(a_dead_letter_that_is_retried_is_applied_or_stays_with_its_reason),
		T(a_lost_write_of_ours_is_taken_back_from_the_region_that_republished_it),
		T(no_other_region_can_return_a_write),
		T(an_event_that_carries_only_a_request_is_not_a_write),
		T(a_jump_of_a_counter_is_a_dead_letter),
		T(a_jump_without_headers_is_a_dead_letter_too),
		T(a_foreign_event_that_names_us_is_applied_here_too),
		T(times_ahead_of_the_broker_are_dead_letters),
		T(events_that_name_unknown_regions_are_dead_letters),
		T(whatever_the_decoder_accepts_fits_every_column),
		T(a_reset_lowers_exhausted_counters_and_may_be_redelivered),
	};

	return cmocka_run_group_tests(tests, lab_applier_start, lab_applier_stop);
}
