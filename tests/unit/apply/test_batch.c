// replicate/apply_batch against a real PostgreSQL: what becomes of rows, siblings, conflicts, remembered requests, dead letters; alone, and
// while clients write the same rows.
#include "lab_applier.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/wake.h"
#include "script/policy.h"

#define ROW "SELECT format('%%s %%s %%s %%s %%s %%s', price, region_origin, version, vector, deleted_at IS NOT NULL, siblings) FROM properties WHERE id = 7"

// --- one after the other

static void a_new_record_and_its_next_writes_become_the_row(void **state)
{
	APPLY({ .origin = "us", .vector = "{\"us\":1}", .price = "100.00", .create = true });
	lab_is(&lab, "100.00 us 1 {\"us\": 1} f f", 1, ROW);
	APPLY({ .origin = "us", .vector = "{\"us\":2}", .price = "200.00", .at = "10:00:01" }, { .origin = "us", .vector = "{\"us\":3}", .price = "300.00", .at = "10:00:02" });
	lab_is(&lab, "300.00 us 3 {\"us\": 3} f f", 1, ROW);
	lab_is(&lab, "2026-02-21 10:00:02+00", 1, "SELECT updated_at FROM properties WHERE id = 7");
	assert_int_equal(eu.counts.applied, 3);
	lab_is(&lab, "0", 1, "SELECT count(*) FROM conflicts");
}

static void requests_are_remembered_as_they_were_answered(void **state)
{
	APPLY({ .origin = "us", .vector = "{\"us\":1}", .price = "100.00", .create = true, .request = "made" },
	      { .origin = "us", .vector = "{\"us\":2}", .deleted = true, .request = "gone", .at = "10:00:01" });
	lab_is(&lab, "201 /us/properties/7 {\"us\": 1} {\"us\": 1} 100.00 2090-01-01 00:00:00+00", 1,
	       "SELECT format('%%s %%s %%s %%s %%s %%s', status, location, vector, dots, response_body->>'price', expires_at) FROM processed_requests "
	       "WHERE request_id = 'made'");
	lab_is(&lab, "204 {\"us\": 2} t", 1, "SELECT format('%%s %%s %%s', status, vector, response_body IS NULL) FROM processed_requests WHERE request_id = 'gone'");
	lab_is(&lab, "100.00 us 2 {\"us\": 2} t f", 1, ROW);
}

static void what_was_applied_is_stale_the_next_time(void **state)
{
	struct pl_message messages[2] = {
		lab_message(&lab, &(struct lab_write){ .origin = "us", .vector = "{\"us\":1}", .price = "100.00" }),
		lab_message(&lab, &(struct lab_write){ .origin = "us", .vector = "{\"us\":2}", .price = "200.00" }),
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
	struct pl_message own = lab_message(&lab, &(struct lab_write){ .origin = "eu", .vector = "{\"eu\":1}", .id = 9 });
	struct pl_message theirs = lab_message(&lab, &(struct lab_write){ .origin = "us", .vector = "{\"us\":1}" });

	own.offset = 41;
	theirs.partition = 3;
	theirs.offset = 12;
	lab_apply_messages((struct pl_message[]){ own, theirs }, 2);
	lab_is(&lab, "0:42 3:13", 1, "SELECT string_agg(format('%%s:%%s', partition, next_offset), ' ' ORDER BY partition) FROM applied_positions");
	lab_is(&lab, "0", 1, "SELECT count(*) FROM properties WHERE id = 9");
	pl_apply_batch_forget(eu.batch);
	pl_apply_batch_read(eu.batch, &eu.tools, &own, 1);
	assert_false(pl_apply_batch_matters(eu.batch));
	assert_int_equal(eu.counts.own, 1);
}

// --- concurrent writes

static void concurrent_writes_stand_beside_each_other_and_the_policy_shows_one(void **state)
{
	lab_write(&lab, lab.sql[1], "eu", 7, "500.00", "local");
	APPLY({ .origin = "us", .vector = "{\"us\":1}", .price = "400.00", .request = "remote" });
	lab_is(&lab, "500.00 eu 2 {\"eu\": 1, \"us\": 1} f t", 1, ROW);
	lab_is(&lab, "eu:1 us:1", 1, "SELECT string_agg(origin || ':' || counter, ' ' ORDER BY origin) FROM record_siblings WHERE record_id = 7");
	lab_is(&lab, "insert_exists highest_price t 2", 1, "SELECT format('%%s %%s %%s %%s', type, policy_name, closed_at IS NULL, jsonb_array_length(siblings)) FROM conflicts");
	lab_is(&lab, "remote 500.00 property-updates 0", 1,
	       "SELECT format('%%s %%s %%s %%s', siblings->0->>'request_id', visible->'fields'->>'price', topic, partition) FROM conflicts");
	// The row that stood alone is told by its request like the event that met it: in us they are the other way round, and a policy may ask for it.
	lab_is(&lab, "local", 1, "SELECT siblings->1->>'request_id' FROM conflicts");
	lab_is(&lab, "local remote", 1, "SELECT string_agg(request_id, ' ' ORDER BY request_id) FROM record_siblings WHERE record_id = 7");
	lab_is(&lab, "2", 1, "SELECT verdict->>'take' FROM conflicts");
	assert_int_equal(eu.counts.conflicts, 1);
	// The next write anywhere has seen them all and replaces them all.
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
	lab_is(&lab, "t", 1, "SELECT bool_and(request_id LIKE 'request-%%') FROM record_siblings"); // of those that were applied as rows, too
	lab_is(&lab, "ap:1 us:2", 1, "SELECT string_agg(origin || ':' || counter, ' ' ORDER BY origin) FROM record_siblings WHERE record_id = 7");
	lab_is(&lab, "2", 1, "SELECT count(*) FROM conflicts WHERE closed_at IS NULL");
}

static void a_whole_conflict_within_one_batch(void **state)
{
	APPLY({ .origin = "us", .vector = "{\"us\":1}", .price = "100.00" }, { .origin = "ap", .vector = "{\"ap\":1}", .price = "300.00" },
	      { .origin = "us", .vector = "{\"ap\":1,\"us\":2}", .price = "5.00", .at = "11:00:00" });
	lab_is(&lab, "5.00 us 3 {\"ap\": 1, \"us\": 2} f f", 1, ROW);
	lab_is(&lab, "0", 1, "SELECT count(*) FROM record_siblings");
	lab_is(&lab, "1 1", 1, "SELECT format('%%s %%s', count(*), count(closed_at)) FROM conflicts");
}

static void an_update_against_a_delete(void **state)
{
	APPLY({ .origin = "us", .vector = "{\"us\":1}", .price = "100.00" });
	APPLY({ .origin = "us", .vector = "{\"us\":2}", .deleted = true, .at = "10:00:01" });
	APPLY({ .origin = "ap", .vector = "{\"ap\":1,\"us\":1}", .price = "90.00", .at = "10:00:02" });
	lab_is(&lab, "90.00 ap 3 {\"ap\": 1, \"us\": 2} f t", 1, ROW); // highest_price prefers what lives
	lab_is(&lab, "update_deleted", 1, "SELECT type FROM conflicts");
}

static void twins_are_one_write(void **state)
{
	lab_write(&lab, lab.sql[1], "eu", 7, "100.00", NULL);
	// The same request, executed here and in us before either heard of the other.
	lab_write(&lab, lab.sql[1], "eu", 7, "200.00", "twin");
	APPLY({ .origin = "us", .vector = "{\"eu\":1,\"us\":1}", .price = "200.00", .request = "twin",
	        .fingerprint = lab_ask(&lab, 1, "SELECT encode(sha256('twin'), 'hex')") });
	lab_is(&lab, "200.00 eu 3 {\"eu\": 2, \"us\": 1} f t", 1, ROW); // both dots count, and stand until the next write
	lab_is(&lab, "0", 1, "SELECT count(*) FROM conflicts");
	lab_is(&lab, "{\"eu\": 2, \"us\": 1}", 1, "SELECT dots FROM processed_requests WHERE request_id = 'twin'");
	assert_int_equal(eu.counts.twins, 1);
	assert_int_equal(eu.counts.conflicts, 0);
}

static void a_late_twin_does_not_rise_over_what_overwrote_the_first(void **state)
{
	lab_write(&lab, lab.sql[1], "eu", 7, "100.00", NULL);
	lab_write(&lab, lab.sql[1], "eu", 7, "900.00", "twin");
	lab_write(&lab, lab.sql[1], "eu", 7, "300.00", NULL); // somebody thought better of it
	APPLY({ .origin = "us", .vector = "{\"eu\":1,\"us\":1}", .price = "900.00", .request = "twin", .at = "23:00:00",
	        .fingerprint = lab_ask(&lab, 1, "SELECT encode(sha256('twin'), 'hex')") });
	lab_is(&lab, "300.00 eu 4 {\"eu\": 3, \"us\": 1} f t", 1, ROW);
	lab_is(&lab, "0", 1, "SELECT count(*) FROM conflicts");
}

static void the_same_id_for_another_request_is_no_twin(void **state)
{
	lab_write(&lab, lab.sql[1], "eu", 7, "100.00", "used-twice");
	APPLY({ .origin = "us", .vector = "{\"us\":1}", .price = "200.00", .request = "used-twice" });
	lab_is(&lab, "200.00 us 2 {\"eu\": 1, \"us\": 1} f t", 1, ROW);
	assert_int_equal(eu.counts.conflicts, 1);
	// Its execution is remembered beside the other's, under its own fingerprint; a twin of that one, from ap, is known as such.
	APPLY({ .origin = "ap", .vector = "{\"ap\":1}", .price = "200.00", .request = "used-twice", .at = "11:00:00" });
	lab_is(&lab, "200.00 ap 3 {\"ap\": 1, \"eu\": 1, \"us\": 1} f t", 1, ROW); // ap's dot is the smaller of the two
	lab_is(&lab, "2", 1, "SELECT jsonb_array_length(siblings) FROM conflicts ORDER BY id DESC LIMIT 1");
}

static void a_stale_twin_still_teaches_its_request(void **state)
{
	lab_write(&lab, lab.sql[1], "eu", 7, "100.00", NULL);
	lab_write(&lab, lab.sql[1], "eu", 7, "900.00", "twin");
	// us executed the twin (us:1) and then another write upon it (us:2), which comes first: a topic with more partitions than before.
	APPLY({ .origin = "us", .vector = "{\"eu\":1,\"us\":2}", .price = "300.00", .at = "10:00:05" });
	lab_is(&lab, "900.00 eu 4 {\"eu\": 2, \"us\": 2} f t", 1, ROW);
	APPLY({ .origin = "us", .vector = "{\"eu\":1,\"us\":1}", .price = "900.00", .request = "twin",
	        .fingerprint = lab_ask(&lab, 1, "SELECT encode(sha256('twin'), 'hex')") });
	lab_is(&lab, "300.00 us 4 {\"eu\": 2, \"us\": 2} f t", 1, ROW); // now known: the twin was overwritten there
	assert_int_equal(eu.counts.stale, 1);
}

// --- foreign, and what cannot be

static struct pl_message foreign(int version, const char *origin, const char *price)
{
	struct pl_message message = { .topic = "property-updates", .offset = 1000 + version, .key = "7", .key_len = 1 };

	message.value = pl_arena_printf(lab.arena, "{\"id\":7,\"price\":%s,\"region_origin\":\"%s\",\"version\":%d,\"updated_at\":\"2026-03-01T00:00:00Z\"}",
	                                price, origin, version);
	message.value_len = strlen(message.value);
	return message;
}

static void another_producer_of_the_same_value_is_taken_when_it_is_greater(void **state)
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
	message = foreign(99, "eu", "1.00"); // an echo of our own
	lab_apply_messages(&message, 1);
	lab_is(&lab, "900.00 us 9 {\"eu\": 1, \"us\": 8} f f", 1, ROW);
	assert_int_equal(eu.counts.foreign, 3);
}

static void poison_becomes_a_dead_letter_and_the_others_go_through(void **state)
{
	struct pl_message messages[5] = {
		lab_message(&lab, &(struct lab_write){ .origin = "us", .vector = "{\"us\":1}", .id = 1 }),
		{ .topic = "property-updates", .offset = 501, .key = "k\0y", .key_len = 3, .value = "\xff\x00junk", .value_len = 6 },
		{ .topic = "property-updates", .offset = 502, .key = "7", .key_len = 1 },
		{ .topic = "unheard-of", .offset = 503, .value = "{}", .value_len = 2 },
		lab_message(&lab, &(struct lab_write){ .origin = "us", .vector = "{\"us\":1}", .id = 2 }),
	};
	struct pl_event_header odd[] = { { "plist-origin", "us", 2 }, { "b\"in", "\x00\x01\xff", 3 }, { "none", NULL, 0 } };

	messages[2].headers = odd;
	messages[2].nheaders = 3;
	lab_apply_messages(messages, 5);
	lab_is(&lab, "2", 1, "SELECT count(*) FROM properties");
	lab_is(&lab, "501 502 503", 1, "SELECT string_agg(\"offset\"::text, ' ' ORDER BY \"offset\") FROM dead_letters");
	lab_is(&lab, "\\x6b0079 \\xff006a756e6b", 1, "SELECT format('%%s %%s', key, value) FROM dead_letters WHERE \"offset\" = 501");
	lab_is(&lab, "us", 1, "SELECT headers->>'plist-origin' FROM dead_letters WHERE \"offset\" = 502");
	lab_apply_messages(messages, 5); // and again, after a restart
	lab_is(&lab, "3", 1, "SELECT count(*) FROM dead_letters");
}

static void an_event_that_the_database_refuses_is_refused_alone(void **state)
{
	struct lab_write writes[40];

	memset(writes, 0, sizeof writes);
	for (int i = 0; i < 40; i++)
		writes[i] = (struct lab_write){ .origin = "us", .vector = "{\"us\":1}", .id = 100 + i, .price = i == 13 || i == 14 ? "666.00" : "100.00" };
	lab_apply(writes, 40);
	lab_is(&lab, "38", 1, "SELECT count(*) FROM properties");
	lab_is(&lab, "2", 1, "SELECT count(*) FROM dead_letters WHERE error LIKE '%%not_666%%'");
	lab_is(&lab, "38", 1, "SELECT count(*) FROM processed_requests");
	assert_int_equal(eu.counts.dead_letters, 2);
	assert_int_equal(eu.counts.applied, 38);
}

static void vectors_that_no_row_can_hold_are_refused(void **state)
{
	APPLY({ .origin = "us", .vector = "{\"us\":2147483647}" }, { .origin = "ap", .vector = "{\"ap\":2147483647}" });
	lab_is(&lab, "100.00 us 2147483647 {\"us\": 2147483647} f f", 1, ROW);
	lab_is(&lab, "1", 1, "SELECT count(*) FROM dead_letters WHERE error LIKE '%%no join%%'");
}

static void a_missing_table_stops_the_batch_and_costs_nothing(void **state)
{
	struct pl_message message = lab_message(&lab, &(struct lab_write){ .origin = "us", .vector = "{\"us\":1}" });
	struct pl_error err = { 0 };

	lab_ask(&lab, 1, "ALTER TABLE dead_letters RENAME TO elsewhere");
	lab_ask(&lab, 1, "ALTER TABLE properties RENAME TO elsewhere_too");
	pl_apply_batch_read(eu.batch, &eu.tools, &message, 1);
	assert_int_equal(pl_apply_batch_write(eu.batch, &eu.tools, &eu.counts, &err), PL_EINTERNAL);
	lab_ask(&lab, 1, "ALTER TABLE elsewhere RENAME TO dead_letters");
	lab_ask(&lab, 1, "ALTER TABLE elsewhere_too RENAME TO properties");
	assert_int_equal(pl_apply_batch_write(eu.batch, &eu.tools, &eu.counts, &err), 0);
	lab_is(&lab, "100.00 us 1 {\"us\": 1} f f", 1, ROW);
	lab_is(&lab, "0", 1, "SELECT count(*) FROM dead_letters");
}

// --- beside clients

struct errand { struct pl_message message; bool done; };

static void *apply_one(void *arg)
{
	struct errand *errand = arg;

	lab_apply_messages(&errand->message, 1);
	errand->done = true;
	return NULL;
}

// Runs the applier in a thread until it waits for a lock of `client`, lets `client` commit, and waits for the applier.
static void apply_while_client_holds(PGconn *client, const struct lab_write *write)
{
	struct errand errand = { lab_message(&lab, write), false };
	pthread_t thread;

	assert_int_equal(pthread_create(&thread, NULL, apply_one, &errand), 0);
	lab_until(&lab, "1", 1, "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'test apply' AND wait_event_type = 'Lock'");
	assert_false(errand.done);
	PQclear(PQexec(client, "COMMIT"));
	pthread_join(thread, NULL);
}

static void the_row_under_the_lock_decides_not_the_one_before_it(void **state)
{
	PGconn *client = lab_connect(&lab, 1);

	APPLY({ .origin = "us", .vector = "{\"us\":1}", .price = "100.00" });
	PQclear(PQexec(client, "BEGIN"));
	assert_true(lab_write(&lab, client, "eu", 7, "700.00", NULL));
	apply_while_client_holds(client, &(struct lab_write){ .origin = "us", .vector = "{\"us\":2}", .price = "200.00", .at = "10:00:01" });
	// Decided by the row before the client's commit, us:2 would simply have replaced it, and the client's write would be lost.
	lab_is(&lab, "700.00 eu 3 {\"eu\": 1, \"us\": 2} f t", 1, ROW);
	PQfinish(client);
}

static void a_client_that_replaces_the_siblings_while_we_wait_is_seen(void **state)
{
	PGconn *client = lab_connect(&lab, 1);

	APPLY({ .origin = "us", .vector = "{\"us\":1}", .price = "100.00" }, { .origin = "ap", .vector = "{\"ap\":1}", .price = "300.00" });
	PQclear(PQexec(client, "BEGIN"));
	assert_true(lab_write(&lab, client, "eu", 7, "50.00", NULL));
	apply_while_client_holds(client, &(struct lab_write){ .origin = "us", .vector = "{\"us\":2}", .price = "20.00", .at = "10:00:01" });
	lab_is(&lab, "eu:1 us:2", 1, "SELECT string_agg(origin || ':' || counter, ' ' ORDER BY origin) FROM record_siblings WHERE record_id = 7");
	lab_is(&lab, "50.00 eu 4 {\"ap\": 1, \"eu\": 1, \"us\": 2} f t", 1, ROW);
	PQfinish(client);
}

static void a_record_that_a_client_creates_meanwhile_becomes_a_sibling(void **state)
{
	PGconn *client = lab_connect(&lab, 1);

	for (int careful = 0; careful < 2; careful++) {
		lab_empty(&lab);
		if (careful) // a redelivery makes the next transactions use the other statement
			APPLY({ .origin = "us", .vector = "{\"us\":1}", .id = 8 }, { .origin = "us", .vector = "{\"us\":1}", .id = 8 });
		PQclear(PQexec(client, "BEGIN"));
		assert_true(lab_write(&lab, client, "eu", 7, "700.00", NULL));
		apply_while_client_holds(client, &(struct lab_write){ .origin = "us", .vector = "{\"us\":1}", .price = "200.00" });
		lab_is(&lab, "700.00 eu 2 {\"eu\": 1, \"us\": 1} f t", 1, ROW);
	}
	assert_true(eu.counts.retries >= 2);
	PQfinish(client);
}

static void a_deadlock_with_a_client_is_tried_again(void **state)
{
	PGconn *client = lab_connect(&lab, 1);
	struct errand errand = { lab_message(&lab, &(struct lab_write){ .origin = "us", .vector = "{\"us\":2}", .request = "shared",
		.fingerprint = lab_ask(&lab, 1, "SELECT encode(sha256('shared'), 'hex')") }), false };
	pthread_t thread;
	PGresult *result;

	APPLY({ .origin = "us", .vector = "{\"us\":1}", .price = "100.00" });
	// The client has inserted the request's id and then wants the row; the applier has the row and then wants the id.
	PQclear(PQexec(client, "BEGIN; INSERT INTO processed_requests (request_id, fingerprint, resource, record_id, status, vector, dots, expires_at) "
	               "VALUES ('shared', '\\x00', 'properties', 7, 200, '{}', '{\"eu\": 1}', now() + interval '1 day')"));
	assert_int_equal(pthread_create(&thread, NULL, apply_one, &errand), 0);
	lab_until(&lab, "1", 1, "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'test apply' AND wait_event_type = 'Lock'");
	result = PQexec(client, "SELECT FROM properties WHERE id = 7 FOR NO KEY UPDATE");
	PQclear(result);
	PQclear(PQexec(client, "ROLLBACK"));
	pthread_join(thread, NULL);
	lab_is(&lab, "100.00 us 2 {\"us\": 2} f f", 1, ROW);
	PQfinish(client);
}

// --- policies

static void reconfigure(const char *policy)
{
	lab_applier_close(&eu);
	lab_config(&lab, &(struct lab_options){ .policy = policy });
	lab_applier_open(&eu, 1);
}

static void write_policy(const char *name, const char *resolve)
{
	char path[128];
	FILE *file;

	snprintf(path, sizeof path, "%s/policies/%s.lua", lab.dir, name);
	file = fopen(path, "w");
	assert_non_null(file);
	fprintf(file, "local policy = require \"plist.policy\"\nreturn { name = \"%s\", doc = \"A test.\", resolve = function(rows, ctx) %s end }\n", name, resolve);
	fclose(file);
}

static void show_anew(int *changed)
{
	struct pl_flagged *found;
	struct pl_error err = { 0 };
	int n;

	assert_int_equal(pl_apply_sql_flagged(eu.tools.sql, eu.tools.session, lab.arena, &(struct pl_flagged){ "", 0 }, 100, &found, &n, &err), 0);
	if (pl_apply_batch_show_anew(eu.batch, &eu.tools, found, n, changed, &err) < 0)
		fail_msg("%s", err.text);
}

static void a_policy_that_fails_falls_back_and_a_corrected_one_decides_anew(void **state)
{
	int changed;

	write_policy("broken", "error(\"no idea\")");
	reconfigure("broken");
	APPLY({ .origin = "us", .vector = "{\"us\":1}", .price = "300.00", .at = "10:00:00" }, { .origin = "ap", .vector = "{\"ap\":1}", .price = "100.00", .at = "10:00:01" });
	lab_is(&lab, "100.00 ap 2 {\"ap\": 1, \"us\": 1} f t", 1, ROW); // the later one
	lab_is(&lab, "broken t", 1, "SELECT format('%%s %%s', policy_name, policy_error LIKE '%%no idea%%') FROM conflicts");
	assert_int_equal(eu.counts.policy_errors, 1);
	reconfigure("highest_price");
	show_anew(&changed);
	assert_int_equal(changed, 1);
	lab_is(&lab, "300.00 us 2 {\"ap\": 1, \"us\": 1} f t", 1, ROW);
	lab_is(&lab, "highest_price t {\"take\": 1}", 1, "SELECT format('%%s %%s %%s', policy_name, policy_error IS NULL, verdict) FROM conflicts");
	show_anew(&changed);
	assert_int_equal(changed, 0);
}

static void a_merge_is_shown_and_never_sent(void **state)
{
	write_policy("mean", "local sum = rows[1].fields.price for i = 2, #rows do sum = sum + rows[i].fields.price end "
	             "return policy.merge { price = sum:div(#rows, 2), bedrooms = 1, bathrooms = rows[1].fields.bathrooms }");
	reconfigure("mean");
	APPLY({ .origin = "us", .vector = "{\"us\":1}", .price = "100.00", .at = "10:00:00" }, { .origin = "ap", .vector = "{\"ap\":1}", .price = "301.00", .at = "10:00:01" });
	lab_is(&lab, "200.50 ap 2 {\"ap\": 1, \"us\": 1} f t", 1, ROW);
	lab_is(&lab, "{\"merge\": {\"price\": 200.50, \"bedrooms\": 1, \"bathrooms\": 2}}", 1, "SELECT verdict FROM conflicts");
	lab_is(&lab, "0", 1, "SELECT count(*) FROM outbox");
	reconfigure("highest_price");
}

static void a_shadow_counts_and_changes_nothing(void **state)
{
	struct pl_problems problems = { 0 };

	// The first of the rows: another answer than the highest price's where the later one is higher.
	write_policy("first", "return policy.take(1)");
	reconfigure("highest_price");
	((struct pl_resource *)(uintptr_t)lab_properties(&lab))->shadow = "policies/first.lua";
	pl_vm_free(&eu.vm);
	eu.vm = pl_vm_new(lab.config, PL_WORLD_POLICY, &problems);
	pl_problems_fini(&problems);
	assert_non_null(eu.vm);
	eu.policies[0] = pl_policy_find(eu.vm, "policies/highest_price.lua");
	eu.shadows[0] = pl_policy_find(eu.vm, "policies/first.lua");
	APPLY({ .origin = "us", .vector = "{\"us\":1}", .price = "300.00", .at = "10:00:00" }, { .origin = "ap", .vector = "{\"ap\":1}", .price = "100.00", .at = "10:00:01" });
	APPLY({ .origin = "us", .vector = "{\"us\":1}", .price = "1.00", .id = 8 }, { .origin = "ap", .vector = "{\"ap\":1}", .price = "2.00", .at = "10:00:01", .id = 8 });
	lab_is(&lab, "2.00", 1, "SELECT price FROM properties WHERE id = 8");
	assert_int_equal(eu.counts.shadow_same, 1);
	assert_int_equal(eu.counts.shadow_different, 1);
	reconfigure("highest_price");
}

static void fields_are_dated_where_they_are_tracked(void **state)
{
	lab_applier_close(&eu);
	lab_config(&lab, &(struct lab_options){ .policy = "field_merge", .track_fields = true });
	lab_applier_open(&eu, 1);
	APPLY({ .origin = "us", .vector = "{\"us\":1}", .price = "100.00", .bedrooms = 5, .at = "10:00:00",
	        .field_times = "{\"price\":{\"at\":10,\"origin\":\"us\"},\"bedrooms\":{\"at\":30,\"origin\":\"us\"},\"bathrooms\":{\"at\":10,\"origin\":\"us\"}}" },
	      { .origin = "ap", .vector = "{\"ap\":1}", .price = "300.00", .bedrooms = 1, .at = "10:00:01",
	        .field_times = "{\"price\":{\"at\":20,\"origin\":\"ap\"},\"bedrooms\":{\"at\":20,\"origin\":\"ap\"},\"bathrooms\":{\"at\":20,\"origin\":\"ap\"}}" });
	lab_is(&lab, "300.00 5", 1, "SELECT format('%%s %%s', price, bedrooms) FROM properties WHERE id = 7");
	lab_is(&lab, "20 30", 1, "SELECT format('%%s %%s', field_times->'price'->>'at', field_times->'bedrooms'->>'at') FROM properties WHERE id = 7");
	reconfigure("highest_price");
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, lab_applier_setup, lab_applier_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(a_new_record_and_its_next_writes_become_the_row),
		TEST(requests_are_remembered_as_they_were_answered),
		TEST(what_was_applied_is_stale_the_next_time),
		TEST(positions_follow),
		TEST(concurrent_writes_stand_beside_each_other_and_the_policy_shows_one),
		TEST(a_third_sibling_joins_and_one_of_them_is_replaced),
		TEST(a_whole_conflict_within_one_batch),
		TEST(an_update_against_a_delete),
		TEST(twins_are_one_write),
		TEST(a_late_twin_does_not_rise_over_what_overwrote_the_first),
		TEST(the_same_id_for_another_request_is_no_twin),
		TEST(a_stale_twin_still_teaches_its_request),
		TEST(another_producer_of_the_same_value_is_taken_when_it_is_greater),
		TEST(poison_becomes_a_dead_letter_and_the_others_go_through),
		TEST(an_event_that_the_database_refuses_is_refused_alone),
		TEST(vectors_that_no_row_can_hold_are_refused),
		TEST(a_missing_table_stops_the_batch_and_costs_nothing),
		TEST(the_row_under_the_lock_decides_not_the_one_before_it),
		TEST(a_client_that_replaces_the_siblings_while_we_wait_is_seen),
		TEST(a_record_that_a_client_creates_meanwhile_becomes_a_sibling),
		TEST(a_deadlock_with_a_client_is_tried_again),
		TEST(a_policy_that_fails_falls_back_and_a_corrected_one_decides_anew),
		TEST(a_merge_is_shown_and_never_sent),
		TEST(a_shadow_counts_and_changes_nothing),
		TEST(fields_are_dated_where_they_are_tracked),
	};

	return cmocka_run_group_tests(tests, lab_applier_start, lab_applier_stop);
}
