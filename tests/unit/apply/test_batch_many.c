// apply/batch with many events at once: requests sent by COPY, and the next batch,
// which is read at the same time.
#include "lab_applier.h"

#include <string.h>

#define MANY 300 // requests, sent by COPY in several pieces if all of them are new

// Requests of all kinds; the second half writes to the records of the first half again.
static void many_writes(struct pl_message messages[MANY])
{
	for (int i = 0; i < MANY; i++) {
		struct lab_write write = { .origin = "us",
			                   .vector = i < MANY / 2 ? "{\"us\":1}" : "{\"us\":2}",
			                   .id = 100 + i % (MANY / 2),
			                   .create = i < MANY / 2,
			                   .deleted = i % 10 == 9 && i >= MANY / 2,
			                   .at = i < MANY / 2 ? "10:00:00" : "10:00:01" };

		write.price = pl_arena_printf(lab.arena, "%d.50", 1000 + i);
		write.request = pl_arena_printf(lab.arena, "many-%d", i);
		messages[i] = lab_message(&lab, &write);
	}
}

#define REMEMBERED                                                                                      \
	"SELECT md5(string_agg(r::text, '|' ORDER BY request_id)) FROM (SELECT request_id, principal, " \
	"fingerprint, resource, record_id, status, response_body, vector, location, dots, expires_at "  \
	"FROM processed_requests) AS r"

static void many_requests_are_remembered_like_few(void **state)
{
	struct pl_message messages[MANY];
	const char *together;

	many_writes(messages);
	lab_apply_messages(messages, MANY);
	lab_is(&lab, "300", 1, "SELECT count(*) FROM processed_requests");
	lab_is(&lab, "150 15", 1, "SELECT format('%%s %%s', count(*), count(deleted_at)) FROM properties");
	lab_is(&lab, "201 /us/properties/107 1007.50", 1,
	       "SELECT format('%%s %%s %%s', status, location, response_body->>'price') FROM "
	       "processed_requests WHERE request_id = 'many-7'");
	together = lab_ask(&lab, 1, REMEMBERED);
	lab_empty(&lab);
	for (int i = 0; i < MANY; i += 20)
		lab_apply_messages(messages + i, 20);
	lab_is(&lab, together, 1, REMEMBERED);
	assert_int_equal(eu.counts.retries, 0);
}

// What the database contains, except times and generated numbers.
#define OUTCOME                                                                                             \
	"SELECT md5(concat((SELECT string_agg(r::text, '|' ORDER BY id) FROM (SELECT id, price, bedrooms, " \
	"region_origin, version, vector, deleted_at IS NULL, has_siblings FROM properties) AS r), "         \
	"(SELECT string_agg(s::text, '|' ORDER BY record_id, origin) FROM (SELECT record_id, origin, "      \
	"counter, vector, deleted, fields, request_id FROM record_siblings) AS s), (SELECT "                \
	"string_agg(c::text, '|' ORDER BY record_id, vector) FROM (SELECT record_id, type, closed_at IS "   \
	"NULL, policy_name, verdict, vector FROM conflicts) AS c)))"

static void write_here_too(void)
{
	for (int i = 0; i < 12; i++)
		lab_write(&lab, lab.sql[1], "eu", 100 + 5 * i, "7.00",
		          pl_arena_printf(lab.arena, "here-%d", i));
}

static void many_events_beside_concurrent_writes_give_the_same_result_as_few(void **state)
{
	struct pl_message messages[MANY];
	const char *together;

	many_writes(messages);
	write_here_too();
	lab_apply_messages(messages, MANY);
	lab_is(&lab, "12 24", 1,
	       "SELECT format('%%s %%s', count(DISTINCT record_id), count(*)) FROM record_siblings");
	lab_is(&lab, "24", 1, "SELECT count(*) FROM conflicts");
	together = lab_ask(&lab, 1, OUTCOME);
	assert_int_equal(eu.counts.retries, 0);
	lab_empty(&lab);
	write_here_too();
	for (int i = 0; i < MANY; i += 20)
		lab_apply_messages(messages + i, 20);
	lab_is(&lab, together, 1, OUTCOME);
}

static void a_known_request_among_many_does_no_harm(void **state)
{
	struct pl_message messages[MANY];

	many_writes(messages);
	lab_write(&lab, lab.sql[1], "eu", 7, "1.00",
	          "many-42"); // another request with that id, for another record
	lab_apply_messages(messages, MANY);
	lab_is(&lab, "300", 1, "SELECT count(*) FROM processed_requests");
	lab_is(&lab, "7", 1, "SELECT record_id FROM processed_requests WHERE request_id = 'many-42'");
	lab_is(&lab, "150", 1, "SELECT count(*) FROM properties WHERE id >= 100");
	assert_int_equal(eu.counts.retries, 1);
	assert_int_equal(eu.counts.applied, MANY);
	lab_apply_messages(messages, MANY); // redelivered
	lab_is(&lab, "300", 1, "SELECT count(*) FROM processed_requests");
	assert_int_equal(eu.counts.stale, MANY);
}

// A known request is met by inserting it, which is tried again with an upsert.
static void looking_for_parked_events_does_not_make_what_arrives_slower(void **state)
{
	struct pl_message messages[MANY];
	struct pl_error err = { 0 };
	struct pl_retry retry = { .budget_us = 1000000 };

	many_writes(messages);
	lab_write(&lab, lab.sql[1], "eu", 7, "1.00", "many-42");
	assert_int_equal(pl_apply_batch_retry(eu.batch, &eu.tools, PL_KEPT_PARKED, &eu.counts, &retry, &err),
	                 0);
	assert_int_equal(retry.tried, 0);
	lab_apply_messages(messages, MANY);
	assert_int_equal(eu.counts.applied, MANY);
	assert_int_equal(eu.counts.retries, 1);
}

static void an_event_that_the_database_refuses_is_refused_alone_among_many(void **state)
{
	struct pl_message messages[MANY];

	many_writes(messages);
	lab_ask(&lab, 1,
	        "ALTER TABLE processed_requests ADD CONSTRAINT not_33 CHECK (request_id <> 'many-33')");
	lab_apply_messages(messages, MANY);
	lab_ask(&lab, 1, "ALTER TABLE processed_requests DROP CONSTRAINT not_33");
	lab_is(&lab, "299", 1, "SELECT count(*) FROM processed_requests");
	// a later event of the batch covers it: it is due, and only its request is left
	lab_retry(1);
	lab_is(&lab, "0", 1, "SELECT count(*) FROM parked_events");
	lab_is(&lab, "300", 1, "SELECT count(*) FROM processed_requests");
	lab_is(&lab, "2", 1, "SELECT version FROM properties WHERE id = 133");
	assert_int_equal(eu.counts.parked, 1);
}

// Another request of the same batch has the same id: it is stored beside the first one,
// under its own fingerprint.
static void an_id_that_is_used_twice_among_many_is_remembered_for_both(void **state)
{
	struct pl_message messages[MANY];

	many_writes(messages);
	messages[MANY - 1] = lab_message(
		&lab,
		&(struct lab_write){
			.origin = "us",
			.vector = "{\"us\":2}",
			.id = 100,
			.request = "many-0",
			.fingerprint = "ff112233445566778899aabbccddeeff00112233445566778899aabbccddeeff",
			.at = "10:00:02" });
	lab_apply_messages(messages, MANY);
	lab_is(&lab, "299", 1, "SELECT count(*) FROM processed_requests");
	lab_is(&lab, "t 2", 1,
	       "SELECT format('%%s %%s', dots ? 'us', (SELECT count(*) FROM jsonb_object_keys(dots))) FROM "
	       "processed_requests WHERE request_id = 'many-0'");
	assert_int_equal(eu.counts.retries, 0);
}

struct next {
	int calls;
	struct pl_message messages[3];
};

static void read_the_next(void *arg)
{
	struct next *next = arg;

	next->calls++;
	pl_apply_batch_read_ahead(eu.batch, &eu.tools, next->messages, next->calls > 1 ? 3 : 2);
}

static void the_next_batch_is_read_while_the_database_writes_this_one(void **state)
{
	struct pl_message messages[MANY], moved[3];
	struct pl_error err = { 0 };
	struct next next = { .messages = { lab_message(&lab, &(struct lab_write){ .origin = "us",
		                                                                  .vector = "{\"us\":1}",
		                                                                  .id = 1 }),
		                           lab_message(&lab, &(struct lab_write){ .origin = "us",
		                                                                  .vector = "{\"us\":1}",
		                                                                  .id = 2 }),
		                           lab_message(&lab, &(struct lab_write){ .origin = "us",
		                                                                  .vector = "{\"us\":1}",
		                                                                  .id = 3 }) } };

	many_writes(messages);
	eu.tools.meanwhile = read_the_next;
	eu.tools.arg = &next;
	lab_apply_messages(messages, MANY);
	assert_int_equal(next.calls, 1);
	assert_int_equal(pl_apply_batch_size(eu.batch), MANY);
	lab_is(&lab, "0", 1, "SELECT count(*) FROM properties WHERE id < 100");
	pl_apply_batch_advance(eu.batch);
	assert_int_equal(pl_apply_batch_size(eu.batch), 2);
	memcpy(moved, next.messages, sizeof(moved));
	memset(next.messages, 0, sizeof(next.messages));
	pl_apply_batch_read(eu.batch, &eu.tools, moved, 3); // forces the array to grow
	assert_int_equal(pl_apply_batch_write(eu.batch, &eu.tools, &eu.counts, &err), 0);
	lab_is(&lab, "1 2 3", 1,
	       "SELECT string_agg(id::text, ' ' ORDER BY id) FROM properties WHERE id < 100");
	assert_int_equal(eu.counts.applied, MANY + 3);
	assert_int_equal(next.calls, 1); // too few messages to read ahead
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, lab_applier_setup, lab_applier_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(many_requests_are_remembered_like_few),
		TEST(many_events_beside_concurrent_writes_give_the_same_result_as_few),
		TEST(a_known_request_among_many_does_no_harm),
		TEST(looking_for_parked_events_does_not_make_what_arrives_slower),
		TEST(an_event_that_the_database_refuses_is_refused_alone_among_many),
		TEST(an_id_that_is_used_twice_among_many_is_remembered_for_both),
		TEST(the_next_batch_is_read_while_the_database_writes_this_one),
	};

	return cmocka_run_group_tests(tests, lab_applier_start, lab_applier_stop);
}
