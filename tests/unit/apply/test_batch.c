// apply/batch on a real PostgreSQL: rows, siblings, conflicts, remembered requests and
// dead letters, with and without clients that write the same rows.
#include "lab_applier.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/wake.h"

// ---- one after the other

static void a_new_record_and_its_next_writes_become_the_row(void **state)
{
	APPLY({ .origin = "us", .vector = "{\"us\":1}", .price = "100.00", .create = true });
	lab_is(&lab, "100.00 us 1 {\"us\": 1} f f", 1, ROW);
	APPLY({ .origin = "us", .vector = "{\"us\":2}", .price = "200.00", .at = "10:00:01" },
	      { .origin = "us", .vector = "{\"us\":3}", .price = "300.00", .at = "10:00:02" });
	lab_is(&lab, "300.00 us 3 {\"us\": 3} f f", 1, ROW);
	lab_is(&lab, "2026-02-21 10:00:02+00", 1, "SELECT updated_at FROM properties WHERE id = 7");
	assert_int_equal(eu.counts.applied, 3);
	lab_is(&lab, "0", 1, "SELECT count(*) FROM conflicts");
}

static void requests_are_remembered_as_they_were_answered(void **state)
{
	APPLY({ .origin = "us",
	        .vector = "{\"us\":1}",
	        .price = "100.00",
	        .create = true,
	        .request = "made" },
	      { .origin = "us",
	        .vector = "{\"us\":2}",
	        .deleted = true,
	        .request = "gone",
	        .at = "10:00:01" });
	lab_is(&lab, "201 /us/properties/7 {\"us\": 1} {\"us\": 1} 100.00 2090-01-01 00:00:00+00", 1,
	       "SELECT format('%%s %%s %%s %%s %%s %%s', status, location, vector, dots, "
	       "response_body->>'price', expires_at) FROM processed_requests "
	       "WHERE request_id = 'made'");
	lab_is(&lab, "204 {\"us\": 2} t", 1,
	       "SELECT format('%%s %%s %%s', status, vector, response_body IS NULL) FROM processed_requests "
	       "WHERE request_id = 'gone'");
	lab_is(&lab, "100.00 us 2 {\"us\": 2} t f", 1, ROW);
}

// The clock of this region may be a day ahead, and a retry would be executed again here.
static void a_request_is_remembered_until_it_has_expired_by_every_clock(void **state)
{
	char yesterday[64], long_ago[64];

	snprintf(yesterday, sizeof(yesterday), "%s",
	         lab_ask(&lab, 1, "SELECT date_trunc('second', now() - interval '1 day')"));
	snprintf(long_ago, sizeof(long_ago), "%s",
	         lab_ask(&lab, 1, "SELECT date_trunc('second', now() - interval '8 days')"));
	APPLY({ .origin = "us", .vector = "{\"us\":1}", .request = "old", .expires = long_ago },
	      { .origin = "us", .vector = "{\"us\":2}", .request = "new", .expires = yesterday });
	lab_is(&lab, "new", 1, "SELECT string_agg(request_id, ' ') FROM processed_requests");
}

static void an_event_that_was_applied_before_is_stale(void **state)
{
	struct pl_message messages[2] = {
		lab_message(&lab,
		            &(struct lab_write){ .origin = "us", .vector = "{\"us\":1}", .price = "100.00" }),
		lab_message(&lab,
		            &(struct lab_write){ .origin = "us", .vector = "{\"us\":2}", .price = "200.00" }),
	};

	lab_apply_messages(messages, 2);
	lab_apply_messages(messages, 2);
	lab_apply_messages(messages, 1);
	lab_is(&lab, "200.00 us 2 {\"us\": 2} f f", 1, ROW);
	assert_int_equal(eu.counts.applied, 2);
	assert_int_equal(eu.counts.stale, 3);
	lab_is(&lab, "2", 1, "SELECT count(*) FROM processed_requests");
}

static void positions_follow(void **state)
{
	struct pl_message own =
		lab_message(&lab, &(struct lab_write){ .origin = "eu", .vector = "{\"eu\":1}", .id = 9 });
	struct pl_message theirs =
		lab_message(&lab, &(struct lab_write){ .origin = "us", .vector = "{\"us\":1}" });

	lab_write(&lab, lab.sql[1], "eu", 9, "1.00", NULL);
	own.offset = 41;
	theirs.partition = 3;
	theirs.offset = 12;
	lab_apply_messages((struct pl_message[]){ own, theirs }, 2);
	lab_is(&lab, "0:42 3:13", 1,
	       "SELECT string_agg(format('%%s:%%s', partition, next_offset), ' ' ORDER BY partition) FROM "
	       "applied_positions");
	lab_is(&lab, "1.00 1", 1, "SELECT format('%%s %%s', price, version) FROM properties WHERE id = 9");
	lab_is(&lab, "0", 1, "SELECT count(*) FROM dead_letters");
	own.unsure = false;
	pl_apply_batch_forget(eu.batch);
	pl_apply_batch_read(eu.batch, &eu.tools, &own, 1);
	assert_false(pl_apply_batch_matters(eu.batch));
	assert_int_equal(eu.counts.own, 1);
}

// ---- concurrent writes

static void concurrent_writes_become_siblings_and_the_policy_shows_one(void **state)
{
	lab_write(&lab, lab.sql[1], "eu", 7, "500.00", "local");
	APPLY({ .origin = "us", .vector = "{\"us\":1}", .price = "400.00", .request = "remote" });
	lab_is(&lab, "500.00 eu 2 {\"eu\": 1, \"us\": 1} f t", 1, ROW);
	lab_is(&lab, "eu:1 us:1", 1,
	       "SELECT string_agg(origin || ':' || counter, ' ' ORDER BY origin) FROM record_siblings WHERE "
	       "record_id = 7");
	lab_is(&lab, "insert_exists highest_price t 2", 1,
	       "SELECT format('%%s %%s %%s %%s', type, policy_name, closed_at IS NULL, "
	       "jsonb_array_length(siblings)) FROM conflicts");
	lab_is(&lab, "remote 500.00 property-updates 0", 1,
	       "SELECT format('%%s %%s %%s %%s', siblings->0->>'request_id', visible->'fields'->>'price', "
	       "topic, partition) FROM conflicts");
	// The existing row is identified by its request, like the event that meets it:
	// in us they are in the opposite order, and a policy may ask for it.
	lab_is(&lab, "local", 1, "SELECT siblings->1->>'request_id' FROM conflicts");
	lab_is(&lab, "local remote", 1,
	       "SELECT string_agg(request_id, ' ' ORDER BY request_id) FROM record_siblings WHERE record_id "
	       "= 7");
	lab_is(&lab, "2", 1, "SELECT verdict->>'take' FROM conflicts");
	assert_int_equal(eu.counts.conflicts, 1);
	// The next write in any region has seen all siblings and replaces them.
	APPLY({ .origin = "us", .vector = "{\"eu\":1,\"us\":2}", .price = "1.00", .at = "11:00:00" });
	lab_is(&lab, "1.00 us 3 {\"eu\": 1, \"us\": 2} f f", 1, ROW);
	lab_is(&lab, "0", 1, "SELECT count(*) FROM record_siblings");
	lab_is(&lab, "t", 1, "SELECT closed_at IS NOT NULL FROM conflicts");
}

static void a_third_sibling_joins_and_one_of_them_is_replaced(void **state)
{
	APPLY({ .origin = "us", .vector = "{\"us\":1}", .price = "100.00", .at = "10:00:00" });
	APPLY({ .origin = "ap", .vector = "{\"ap\":1}", .price = "300.00", .at = "10:00:01" });
	APPLY({ .origin = "us", .vector = "{\"us\":2}", .price = "200.00", .at = "10:00:02" });
	lab_is(&lab, "300.00 ap 3 {\"ap\": 1, \"us\": 2} f t", 1, ROW);
	lab_is(&lab, "t", 1,
	       // including those that were applied as rows
	       "SELECT bool_and(request_id LIKE 'request-%%') FROM record_siblings");
	lab_is(&lab, "ap:1 us:2", 1,
	       "SELECT string_agg(origin || ':' || counter, ' ' ORDER BY origin) FROM record_siblings WHERE "
	       "record_id = 7");
	lab_is(&lab, "2", 1, "SELECT count(*) FROM conflicts WHERE closed_at IS NULL");
}

static void a_conflict_may_begin_and_end_in_one_batch(void **state)
{
	APPLY({ .origin = "us", .vector = "{\"us\":1}", .price = "100.00" },
	      { .origin = "ap", .vector = "{\"ap\":1}", .price = "300.00" },
	      { .origin = "us", .vector = "{\"ap\":1,\"us\":2}", .price = "5.00", .at = "11:00:00" });
	lab_is(&lab, "5.00 us 3 {\"ap\": 1, \"us\": 2} f f", 1, ROW);
	lab_is(&lab, "0", 1, "SELECT count(*) FROM record_siblings");
	lab_is(&lab, "1 1", 1, "SELECT format('%%s %%s', count(*), count(closed_at)) FROM conflicts");
}

static void an_update_and_a_concurrent_delete_are_a_conflict(void **state)
{
	APPLY({ .origin = "us", .vector = "{\"us\":1}", .price = "100.00" });
	APPLY({ .origin = "us", .vector = "{\"us\":2}", .deleted = true, .at = "10:00:01" });
	APPLY({ .origin = "ap", .vector = "{\"ap\":1,\"us\":1}", .price = "90.00", .at = "10:00:02" });
	lab_is(&lab, "90.00 ap 3 {\"ap\": 1, \"us\": 2} f t", 1, ROW); // highest_price prefers a live row
	lab_is(&lab, "update_deleted", 1, "SELECT type FROM conflicts");
}

static void twins_are_one_write(void **state)
{
	lab_write(&lab, lab.sql[1], "eu", 7, "100.00", NULL);
	// The same request, executed here and in us before either heard of the other
	// execution.
	lab_write(&lab, lab.sql[1], "eu", 7, "200.00", "twin");
	APPLY({ .origin = "us",
	        .vector = "{\"eu\":1,\"us\":1}",
	        .price = "200.00",
	        .request = "twin",
	        .fingerprint = lab_ask(&lab, 1, "SELECT encode(sha256('twin'), 'hex')") });
	lab_is(&lab, "200.00 eu 3 {\"eu\": 2, \"us\": 1} f t", 1,
	       ROW); // both dots count and stay until the next write
	lab_is(&lab, "0", 1, "SELECT count(*) FROM conflicts");
	lab_is(&lab, "{\"eu\": 2, \"us\": 1}", 1,
	       "SELECT dots FROM processed_requests WHERE request_id = 'twin'");
	assert_int_equal(eu.counts.twins, 1);
	assert_int_equal(eu.counts.conflicts, 0);
}

static void a_late_twin_does_not_replace_the_write_that_overwrote_the_first(void **state)
{
	lab_write(&lab, lab.sql[1], "eu", 7, "100.00", NULL);
	lab_write(&lab, lab.sql[1], "eu", 7, "900.00", "twin");
	lab_write(&lab, lab.sql[1], "eu", 7, "300.00", NULL); // a client has changed the value again
	APPLY({ .origin = "us",
	        .vector = "{\"eu\":1,\"us\":1}",
	        .price = "900.00",
	        .request = "twin",
	        .at = "23:00:00",
	        .fingerprint = lab_ask(&lab, 1, "SELECT encode(sha256('twin'), 'hex')") });
	lab_is(&lab, "300.00 eu 4 {\"eu\": 3, \"us\": 1} f t", 1, ROW);
	lab_is(&lab, "0", 1, "SELECT count(*) FROM conflicts");
}

static void another_request_with_the_same_id_is_not_a_twin(void **state)
{
	lab_write(&lab, lab.sql[1], "eu", 7, "100.00", "used-twice");
	APPLY({ .origin = "us", .vector = "{\"us\":1}", .price = "200.00", .request = "used-twice" });
	lab_is(&lab, "200.00 us 2 {\"eu\": 1, \"us\": 1} f t", 1, ROW);
	assert_int_equal(eu.counts.conflicts, 1);
	// The second request is remembered beside the first one, under its own
	// fingerprint, and its twin from ap is recognised.
	APPLY({ .origin = "ap",
	        .vector = "{\"ap\":1}",
	        .price = "200.00",
	        .request = "used-twice",
	        .at = "11:00:00" });
	lab_is(&lab, "200.00 ap 3 {\"ap\": 1, \"eu\": 1, \"us\": 1} f t", 1,
	       ROW); // ap's dot is the smaller one
	lab_is(&lab, "2", 1, "SELECT jsonb_array_length(siblings) FROM conflicts ORDER BY id DESC LIMIT 1");
}

static void the_request_of_a_stale_twin_is_still_remembered(void **state)
{
	lab_write(&lab, lab.sql[1], "eu", 7, "100.00", NULL);
	lab_write(&lab, lab.sql[1], "eu", 7, "900.00", "twin");
	// us executed the twin (us:1) and then another write over it (us:2), which
	// arrives first because the topic had more partitions.
	APPLY({ .origin = "us", .vector = "{\"eu\":1,\"us\":2}", .price = "300.00", .at = "10:00:05" });
	lab_is(&lab, "900.00 eu 4 {\"eu\": 2, \"us\": 2} f t", 1, ROW);
	APPLY({ .origin = "us",
	        .vector = "{\"eu\":1,\"us\":1}",
	        .price = "900.00",
	        .request = "twin",
	        .fingerprint = lab_ask(&lab, 1, "SELECT encode(sha256('twin'), 'hex')") });
	lab_is(&lab, "300.00 us 4 {\"eu\": 2, \"us\": 2} f t", 1,
	       ROW); // now known: the twin was overwritten there
	assert_int_equal(eu.counts.stale, 1);
}

// ---- foreign events, and events that cannot be applied

static struct pl_message foreign(int version, const char *origin, const char *price)
{
	struct pl_message message = {
		.topic = "property-updates", .offset = 1000 + version, .key = "7", .key_len = 1
	};

	message.value = pl_arena_printf(lab.arena,
	                                "{\"id\":7,\"price\":%s,\"region_origin\":\"%s\",\"version\":%d,"
	                                "\"updated_at\":\"2026-03-01T00:00:00Z\"}",
	                                price, origin, version);
	message.value_len = strlen(message.value);
	return message;
}

static void the_same_value_from_another_producer_is_applied_if_it_is_greater(void **state)
{
	struct pl_message message = foreign(2, "us", "200.00");

	lab_apply_messages(&message, 1);
	lab_is(&lab, "200.00 us 2 {\"us\": 2} f f", 1, ROW);
	message = foreign(1, "us", "100.00");
	lab_apply_messages(&message, 1);
	lab_is(&lab, "200.00 us 2 {\"us\": 2} f f", 1, ROW);
	lab_write(&lab, lab.sql[1], "eu", 7, "300.00", NULL);
	message = foreign(9, "us", "900.00");
	lab_apply_messages(&message, 1);
	lab_is(&lab, "900.00 us 9 {\"eu\": 1, \"us\": 8} f f", 1, ROW);
	message = foreign(9, "eu", "1.00"); // not greater
	lab_apply_messages(&message, 1);
	lab_is(&lab, "900.00 us 9 {\"eu\": 1, \"us\": 8} f f", 1, ROW);
	assert_int_equal(eu.counts.foreign, 4);
}

static void a_poison_message_becomes_a_dead_letter_and_the_others_are_applied(void **state)
{
	struct pl_message messages[5] = {
		lab_message(&lab, &(struct lab_write){ .origin = "us", .vector = "{\"us\":1}", .id = 1 }),
		{ .topic = "property-updates",
		  .offset = 501,
		  .key = "k\0y",
		  .key_len = 3,
		  .value = "\xff\x00junk",
		  .value_len = 6 },
		{ .topic = "property-updates", .offset = 502, .key = "7", .key_len = 1 },
		{ .topic = "unheard-of", .offset = 503, .value = "{}", .value_len = 2 },
		lab_message(&lab, &(struct lab_write){ .origin = "us", .vector = "{\"us\":1}", .id = 2 }),
	};
	struct pl_message_header odd[] = { { "plist-origin", "us", 2 },
		                           { "b\"in", "\x00\x01\xff", 3 },
		                           { "none", NULL, 0 } };

	messages[2].headers = odd;
	messages[2].nheaders = 3;
	lab_apply_messages(messages, 5);
	lab_is(&lab, "2", 1, "SELECT count(*) FROM properties");
	lab_is(&lab, "501 502 503", 1,
	       "SELECT string_agg(kafka_offset::text, ' ' ORDER BY kafka_offset) FROM dead_letters");
	lab_is(&lab, "\\x6b0079 \\xff006a756e6b", 1,
	       "SELECT format('%%s %%s', key, value) FROM dead_letters WHERE kafka_offset = 501");
	lab_is(&lab,
	       "[{\"name\": \"plist-origin\", \"value\": \"us\"}, "
	       "{\"hex\": \"0001ff\", \"name\": \"b\\\"in\"}, {\"hex\": \"\", \"name\": \"none\"}]",
	       1, "SELECT headers FROM dead_letters WHERE kafka_offset = 502");
	lab_apply_messages(messages, 5); // and again, as after a restart
	lab_is(&lab, "3", 1, "SELECT count(*) FROM dead_letters");
}

static void an_event_that_the_database_refuses_is_refused_alone(void **state)
{
	struct lab_write writes[40];

	memset(writes, 0, sizeof(writes));
	for (int i = 0; i < 40; i++)
		writes[i] = (struct lab_write){ .origin = "us",
			                        .vector = "{\"us\":1}",
			                        .id = 100 + i,
			                        .price = i == 13 || i == 14 ? "666.00" : "100.00" };
	lab_apply(writes, 40);
	lab_is(&lab, "38", 1, "SELECT count(*) FROM properties");
	lab_is(&lab, "2", 1,
	       "SELECT count(*) FROM parked_events WHERE reason LIKE '%%not_666%%' AND constraint_name = "
	       "'not_666' AND sqlstate = '23514'");
	lab_is(&lab, "38", 1, "SELECT count(*) FROM processed_requests");
	assert_int_equal(eu.counts.parked, 2);
	assert_int_equal(eu.counts.applied, 38);
}

static void vectors_that_no_row_can_hold_are_refused(void **state)
{
	APPLY({ .origin = "us", .vector = "{\"us\":1}" });
	lab_ask(&lab, 1,
	        "UPDATE properties SET version = 2147483647, vector = '{\"eu\": 1073741824, \"us\": "
	        "1073741823}'");
	APPLY({ .origin = "ap", .vector = "{\"ap\":1,\"us\":1}" });
	lab_is(&lab, "100.00 us 2147483647 {\"eu\": 1073741824, \"us\": 1073741823} f f", 1, ROW);
	lab_is(&lab, "1", 1, "SELECT count(*) FROM parked_events WHERE reason LIKE '%%can hold the join%%'");
}

static void a_missing_table_stops_the_batch_and_loses_nothing(void **state)
{
	struct pl_message message =
		lab_message(&lab, &(struct lab_write){ .origin = "us", .vector = "{\"us\":1}" });
	struct pl_error err = { 0 };

	lab_ask(&lab, 1, "ALTER TABLE dead_letters RENAME TO elsewhere");
	lab_ask(&lab, 1, "ALTER TABLE properties RENAME TO elsewhere_too");
	pl_apply_batch_read(eu.batch, &eu.tools, &message, 1);
	assert_int_equal(pl_apply_batch_write(eu.batch, &eu.tools, &eu.counts, &err), PL_EINTERNAL);
	lab_ask(&lab, 1, "ALTER TABLE elsewhere RENAME TO dead_letters");
	lab_ask(&lab, 1, "ALTER TABLE elsewhere_too RENAME TO properties");
	assert_false(pl_session_connected(eu.tools.session)); // its prepared statements are useless
	assert_int_equal(pl_session_connect(eu.tools.session, &err), 0);
	assert_int_equal(pl_apply_batch_write(eu.batch, &eu.tools, &eu.counts, &err), 0);
	lab_is(&lab, "100.00 us 1 {\"us\": 1} f f", 1, ROW);
	lab_is(&lab, "0", 1, "SELECT count(*) FROM dead_letters");
}

// ---- together with clients

struct errand {
	struct pl_message message;
	bool done;
};

static void *apply_one(void *arg)
{
	struct errand *errand = arg;

	lab_apply_messages(&errand->message, 1);
	errand->done = true;
	return NULL;
}

// Runs the applier in a thread until it waits for a lock of `client`, lets `client`
// commit, and waits for the applier.
static void apply_while_client_holds(PGconn *client, const struct lab_write *write)
{
	struct errand errand = { lab_message(&lab, write), false };
	pthread_t thread;

	assert_int_equal(pthread_create(&thread, NULL, apply_one, &errand), 0);
	lab_until(&lab, "1", 1,
	          "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'test apply' AND "
	          "wait_event_type = 'Lock'");
	assert_false(errand.done);
	PQclear(PQexec(client, "COMMIT"));
	pthread_join(thread, NULL);
}

static void the_locked_row_decides_not_the_one_read_before_it(void **state)
{
	PGconn *client = lab_connect(&lab, 1);

	APPLY({ .origin = "us", .vector = "{\"us\":1}", .price = "100.00" });
	PQclear(PQexec(client, "BEGIN"));
	assert_true(lab_write(&lab, client, "eu", 7, "700.00", NULL));
	apply_while_client_holds(client, &(struct lab_write){ .origin = "us",
	                                                      .vector = "{\"us\":2}",
	                                                      .price = "200.00",
	                                                      .at = "10:00:01" });
	// Decided on the row before the client's commit, us:2 would simply have
	// replaced it, and the client's write would be lost.
	lab_is(&lab, "700.00 eu 3 {\"eu\": 1, \"us\": 2} f t", 1, ROW);
	PQfinish(client);
}

static void a_client_that_replaces_the_siblings_while_we_wait_is_seen(void **state)
{
	PGconn *client = lab_connect(&lab, 1);

	APPLY({ .origin = "us", .vector = "{\"us\":1}", .price = "100.00" },
	      { .origin = "ap", .vector = "{\"ap\":1}", .price = "300.00" });
	PQclear(PQexec(client, "BEGIN"));
	assert_true(lab_write(&lab, client, "eu", 7, "50.00", NULL));
	apply_while_client_holds(
		client, &(struct lab_write){
				.origin = "us", .vector = "{\"us\":2}", .price = "20.00", .at = "10:00:01" });
	lab_is(&lab, "eu:1 us:2", 1,
	       "SELECT string_agg(origin || ':' || counter, ' ' ORDER BY origin) FROM record_siblings WHERE "
	       "record_id = 7");
	lab_is(&lab, "50.00 eu 4 {\"ap\": 1, \"eu\": 1, \"us\": 2} f t", 1, ROW);
	PQfinish(client);
}

static void a_record_that_a_client_creates_meanwhile_becomes_a_sibling(void **state)
{
	PGconn *client = lab_connect(&lab, 1);

	for (int upsert = 0; upsert < 2; upsert++) {
		lab_empty(&lab);
		if (upsert) // after a redelivery, the next transactions use the other statement
			APPLY({ .origin = "us", .vector = "{\"us\":1}", .id = 8 },
			      { .origin = "us", .vector = "{\"us\":1}", .id = 8 });
		PQclear(PQexec(client, "BEGIN"));
		assert_true(lab_write(&lab, client, "eu", 7, "700.00", NULL));
		apply_while_client_holds(
			client,
			&(struct lab_write){ .origin = "us", .vector = "{\"us\":1}", .price = "200.00" });
		lab_is(&lab, "700.00 eu 2 {\"eu\": 1, \"us\": 1} f t", 1, ROW);
	}
	assert_true(eu.counts.retries >= 2);
	PQfinish(client);
}

static void a_deadlock_with_a_client_is_retried(void **state)
{
	PGconn *client = lab_connect(&lab, 1);
	struct errand errand = { lab_message(&lab, &(struct lab_write){ .origin = "us",
		                                                        .vector = "{\"us\":2}",
		                                                        .request = "shared",
		                                                        .fingerprint = lab_ask(&lab, 1,
		                                                                               "SELECT "
		                                                                               "encode("
		                                                                               "sha256('"
		                                                                               "shared'), "
		                                                                               "'hex')") }),
		                 false };
	pthread_t thread;
	PGresult *result;

	APPLY({ .origin = "us", .vector = "{\"us\":1}", .price = "100.00" });
	// The client has inserted the request's id and needs the row; the applier has
	// the row and needs the id.
	PQclear(PQexec(client, "BEGIN; INSERT INTO processed_requests (request_id, fingerprint, resource, "
	                       "record_id, status, vector, dots, expires_at) "
	                       "VALUES ('shared', sha256('x'), 'properties', 7, 200, '{}', '{\"eu\": 1}', "
	                       "now() + interval '1 day')"));
	assert_int_equal(pthread_create(&thread, NULL, apply_one, &errand), 0);
	lab_until(&lab, "1", 1,
	          "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'test apply' AND "
	          "wait_event_type = 'Lock'");
	result = PQexec(client, "SELECT FROM properties WHERE id = 7 FOR NO KEY UPDATE");
	PQclear(result);
	PQclear(PQexec(client, "ROLLBACK"));
	pthread_join(thread, NULL);
	lab_is(&lab, "100.00 us 2 {\"us\": 2} f f", 1, ROW);
	PQfinish(client);
}

// ---- sequence numbers

static const char *numbered_by(const char *origin, const char *republished)
{
	static char text[64];
	struct pl_region regions[] = { { .name = "us" }, { .name = "eu" }, { .name = "ap" } };
	struct pl_config config = { .regions = regions, .nregions = 3 };
	struct pl_message_header headers[] = {
		{ "plist-origin", origin, strlen(origin) },
		{ PL_SEQUENCE_HEADER, "12/10", 5 },
		{ "plist-republished", republished, republished ? strlen(republished) : 0 },
	};
	struct pl_message message = { .topic = "property-updates",
		                      .headers = headers,
		                      .nheaders = republished ? 3 : 2 };
	struct pl_message_numbers numbers;

	numbers = pl_sequences_numbers(&message, &config, "eu");
	if (!numbers.origin)
		return "none";
	assert_int_equal(numbers.header.seq, 12);
	assert_int_equal(numbers.header.prev, 10);
	snprintf(text, sizeof(text), "%.*s", (int)numbers.origin_len, numbers.origin);
	return text;
}

static void a_number_belongs_to_the_region_that_published_the_message(void **state)
{
	assert_string_equal(numbered_by("us", NULL), "us");
	assert_string_equal(numbered_by("eu", NULL), "none");
	assert_string_equal(numbered_by("us.2", NULL), "us");
	assert_string_equal(numbered_by("nowhere", NULL), "none");
	assert_string_equal(numbered_by("us", "nowhere"), "none");
	assert_string_equal(numbered_by("us", "ap"), "ap");
	assert_string_equal(numbered_by("us", "ap; request"), "ap");
	assert_string_equal(numbered_by("eu", "us"), "us");
	assert_string_equal(numbered_by("us", "eu"), "none");
	assert_string_equal(numbered_by("us", "eu; request"), "none");
	assert_string_equal(numbered_by("us", "; request"), "none");
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, lab_applier_setup, lab_applier_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(a_new_record_and_its_next_writes_become_the_row),
		TEST(requests_are_remembered_as_they_were_answered),
		TEST(a_request_is_remembered_until_it_has_expired_by_every_clock),
		TEST(an_event_that_was_applied_before_is_stale),
		TEST(positions_follow),
		TEST(concurrent_writes_become_siblings_and_the_policy_shows_one),
		TEST(a_third_sibling_joins_and_one_of_them_is_replaced),
		TEST(a_conflict_may_begin_and_end_in_one_batch),
		TEST(an_update_and_a_concurrent_delete_are_a_conflict),
		TEST(twins_are_one_write),
		TEST(a_late_twin_does_not_replace_the_write_that_overwrote_the_first),
		TEST(another_request_with_the_same_id_is_not_a_twin),
		TEST(the_request_of_a_stale_twin_is_still_remembered),
		TEST(the_same_value_from_another_producer_is_applied_if_it_is_greater),
		TEST(a_poison_message_becomes_a_dead_letter_and_the_others_are_applied),
		TEST(an_event_that_the_database_refuses_is_refused_alone),
		TEST(vectors_that_no_row_can_hold_are_refused),
		TEST(a_missing_table_stops_the_batch_and_loses_nothing),
		TEST(the_locked_row_decides_not_the_one_read_before_it),
		TEST(a_client_that_replaces_the_siblings_while_we_wait_is_seen),
		TEST(a_record_that_a_client_creates_meanwhile_becomes_a_sibling),
		TEST(a_deadlock_with_a_client_is_retried),
		TEST(a_number_belongs_to_the_region_that_published_the_message),
	};

	return cmocka_run_group_tests(tests, lab_applier_start, lab_applier_stop);
}
