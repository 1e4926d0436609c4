// store/store: every outcome of a write, on a real PostgreSQL.
#include "writes.h"

#include <stdio.h>
#include <string.h>

static void creates_updates_and_deletes(void **state)
{
	struct fixture *f = *state;
	struct pl_write *write = create(f, 7, "500000.00");
	struct pl_read *read;

	write_set(write, "bedrooms", "3");
	outcome_is(f, write, PL_OUTCOME_DONE);
	assert_int_equal(write->record->version, 1);
	assert_string_equal(write->record->values[0], "500000.00");
	assert_null(write->record->values[2]);
	assert_string_equal(write->record->region_origin, "us");
	vector_is(&write->record->vector, "{\"us\":1}");
	prints_alike(write->record);
	ask_is(f, "201|/us/properties/7|{\"us\": 1}|{\"us\": 1}",
	       "SELECT status || '|' || location || '|' || vector || '|' || dots FROM processed_requests");
	ask_is(f, write->record->json,
	       "SELECT value FROM outbox WHERE resource = 'properties' AND record_id = 7 AND status = 201");
	ask_is(f, "t", "SELECT response_body = (SELECT value::jsonb FROM outbox) FROM processed_requests");
	ask_is(f, "t",
	       "SELECT o.expires_at = r.expires_at AND o.request_id = r.request_id AND o.fingerprint = "
	       "r.fingerprint AND o.vector = r.vector "
	       "AND abs(extract(epoch FROM r.expires_at - now() - interval '1 day')) < 5 FROM outbox o, "
	       "processed_requests r");

	write = update(f, 7, "1.50");
	write->has_version = true;
	write->version = 1;
	write->traceparent = "00-trace";
	outcome_is(f, write, PL_OUTCOME_DONE);
	assert_int_equal(write->record->version, 2);
	assert_string_equal(write->record->values[1], "3"); // left as it was
	prints_alike(write->record);
	ask_is(f, "200 00-trace", "SELECT status || ' ' || traceparent FROM outbox ORDER BY id DESC LIMIT 1");
	read = read_now(f, fixture_resource(f, PROPERTIES), 7);
	assert_int_equal(read->code, 0);
	prints_as(read->record, write->record->json);
	vector_is(&read->record->vector, "{\"us\":2}");

	write = write_new(f, PL_WRITE_DELETE, 7);
	outcome_is(f, write, PL_OUTCOME_DONE);
	assert_true(write->record->deleted);
	assert_int_equal(write->record->version, 3);
	assert_string_equal(write->record->values[0], "1.50");
	ask_is(f, "204 true", "SELECT status || ' ' || deleted FROM outbox ORDER BY id DESC LIMIT 1");
	ask_is(f, "t",
	       "SELECT response_body IS NULL AND status = 204 FROM processed_requests ORDER BY created_at "
	       "DESC LIMIT 1");
	ask_is(f, "t", "SELECT deleted_at = updated_at AND version = 3 FROM properties");
	assert_int_equal(read_now(f, fixture_resource(f, PROPERTIES), 7)->code, PL_ENOTFOUND);
	assert_int_equal(read_now(f, fixture_resource(f, PROPERTIES), 8)->code, PL_ENOTFOUND);
	assert_int_equal(f->committed, 3);
}

static void a_create_over_a_tombstone_continues_its_vector(void **state)
{
	struct fixture *f = *state;
	struct pl_write *write = create(f, 7, "1.00");

	write_set(write, "bedrooms", "3");
	outcome_is(f, write, PL_OUTCOME_DONE);
	outcome_is(f, write_new(f, PL_WRITE_DELETE, 7), PL_OUTCOME_DONE);
	write = create(f, 7, "2.00");
	outcome_is(f, write, PL_OUTCOME_DONE);
	assert_int_equal(write->record->version, 3);
	assert_null(write->record->values[1]); // nothing of the old record remains
	vector_is(&write->record->vector, "{\"us\":3}");
	ask_is(f, "201 3",
	       "SELECT status || ' ' || (dots->>'us') FROM processed_requests ORDER BY created_at DESC LIMIT "
	       "1");
	ask_is(f, "t", "SELECT deleted_at IS NULL FROM properties");
}

static void assigns_ids_from_the_regions_range(void **state)
{
	struct fixture *f = *state;
	struct pl_write *writes[3];

	ask(f,
	    // another session was first
	    "INSERT INTO properties (id, price, region_origin, version) VALUES (1000000000002, 1, 'us', 1)");
	for (int i = 0; i < 3; i++)
		write_send(f, writes[i] = create(f, 0, "1.00"));
	writes_await(f, writes, 3);
	for (int i = 0; i < 3; i++)
		assert_int_equal(writes[i]->outcome, PL_OUTCOME_DONE);
	ask_is(f, "4|1000000000001|1000000000004",
	       "SELECT count(*) || '|' || min(id) || '|' || max(id) FROM properties");
	ask_is(f, "3",
	       "SELECT count(*) FROM processed_requests WHERE location = '/us/properties/' || record_id");
}

// The sequence is about to return an id that another create of the same batch gives
// explicitly.
static void an_id_is_not_assigned_to_two_creates_of_one_batch(void **state)
{
	struct fixture *f = *state;
	struct pl_write *writes[4];

	for (int mixed = 0; mixed < 2;
	     mixed++) { // with the statement for creates only, and with the one for all kinds
		int64_t next = INT64_C(1000000000001) + 10 * mixed;
		int n = 0;

		ask(f, "SELECT setval('properties_ids', %d, false)", 1 + 10 * mixed);
		ask(f, "TRUNCATE outbox, processed_requests");
		write_send(f, writes[n++] = create(f, 0, "1.00"));
		write_send(f, writes[n++] = create(f, next, "2.00"));
		write_send(f, writes[n++] = create(f, next + 1, "3.00"));
		if (mixed)
			write_send(f, writes[n++] = update(f, 5, "4.00"));
		writes_await(f, writes, n);
		for (int i = 0; i < 3; i++)
			assert_int_equal(writes[i]->outcome, PL_OUTCOME_DONE);
		assert_true(writes[0]->record->id == next + 2);
		for (int i = 0; i < 3; i++)
			ask_is(f, writes[i]->record->values[0],
			       "SELECT price FROM properties WHERE id = %lld",
			       (long long)writes[i]->record->id);
		ask_is(f, "3 3 3",
		       "SELECT count(*) || ' ' || count(DISTINCT record_id) || ' ' || (SELECT count(DISTINCT "
		       "record_id) FROM processed_requests) FROM outbox");
	}
}

static void says_why_a_write_is_refused(void **state)
{
	struct fixture *f = *state;
	struct pl_write *write;

	outcome_is(f, create(f, 7, "1.00"), PL_OUTCOME_DONE);
	ask(f, "UPDATE properties SET vector = '{\"us\":1,\"eu\":1}', version = 2");
	outcome_is(f, update(f, 8, "1.00"), PL_OUTCOME_NOT_FOUND);

	write = create(f, 7, "1.00");
	outcome_is(f, write, PL_OUTCOME_EXISTS);
	vector_is(&write->record->vector, "{\"eu\":1,\"us\":1}");

	write = update(f, 7, "2.00");
	write->has_version = true;
	write->version = 1;
	outcome_is(f, write, PL_OUTCOME_VERSION);
	assert_int_equal(write->record->version, 2);
	prints_alike(write->record);

	write = update(f, 7, "2.00");
	write->has_etag = true;
	pl_vector_set(&write->etag, "us", 2);
	outcome_is(f, write, PL_OUTCOME_ETAG);
	vector_is(&write->record->vector, "{\"eu\":1,\"us\":1}");

	write = update(f, 7, "2.00");
	write->etag_never = true;
	outcome_is(f, write, PL_OUTCOME_ETAG);

	write = update(f, 7, "2.00");
	write->lock = PL_LOCK_REQUIRED;
	outcome_is(f, write, PL_OUTCOME_UNLOCKED);

	write = update(f, 7, "2.00"); // the version is checked before the tag
	write->has_version = write->etag_never = true;
	write->version = 9;
	outcome_is(f, write, PL_OUTCOME_VERSION);

	write = update(f, 8, "2.00"); // and the record before the lock
	write->lock = PL_LOCK_REQUIRED;
	outcome_is(f, write, PL_OUTCOME_NOT_FOUND);
	ask_is(f, "1|1",
	       "SELECT (SELECT count(*) FROM outbox) || '|' || (SELECT count(*) FROM processed_requests)");

	write = update(f, 7, "2.00");
	write->has_etag = true;
	write->lock = PL_LOCK_REQUIRED;
	pl_vector_set(&write->etag, "us", 1);
	pl_vector_set(&write->etag, "eu", 1);
	outcome_is(f, write, PL_OUTCOME_DONE);
	vector_is(&write->record->vector, "{\"eu\":1,\"us\":2}");
	ask_is(f, "{\"us\": 2}", "SELECT dots FROM processed_requests ORDER BY created_at DESC LIMIT 1");

	write = update(f, 7, "3.00");
	write->has_etag = write->etag_any = true;
	write->lock = PL_LOCK_REQUIRED;
	outcome_is(f, write, PL_OUTCOME_DONE);
	outcome_is(f, write_new(f, PL_WRITE_DELETE, 7), PL_OUTCOME_DONE);
	outcome_is(f, update(f, 7, "3.00"), PL_OUTCOME_NOT_FOUND); // a tombstone
	outcome_is(f, write_new(f, PL_WRITE_DELETE, 7), PL_OUTCOME_NOT_FOUND);
}

static struct pl_write *same_request(struct fixture *f, const struct pl_write *as, int64_t id,
                                     const char *price)
{
	struct pl_write *write = update(f, id, price);

	write->request_id = as->request_id;
	write->principal = as->principal;
	memcpy(write->fingerprint, as->fingerprint, sizeof(write->fingerprint));
	return write;
}

static void remembers_answers(void **state)
{
	struct fixture *f = *state;
	struct pl_write *first = create(f, 7, "1.00"), *again, *del;

	outcome_is(f, first, PL_OUTCOME_DONE);
	outcome_is(f, update(f, 7, "5.00"), PL_OUTCOME_DONE);
	again = same_request(f, first, 7, "1.00");
	again->op = PL_WRITE_CREATE;
	outcome_is(f, again, PL_OUTCOME_REMEMBERED);
	assert_int_equal(again->remembered.status, 201);
	assert_string_equal(
		again->remembered.body,
		first->record->json); // members are in the record's order, whatever order JSONB has
	assert_string_equal(again->remembered.location, "/us/properties/7");
	vector_is(&again->remembered.vector, "{\"us\":1}");

	again = same_request(f, first, 7, "1.00");
	again->fingerprint[0] ^= 1;
	outcome_is(f, again, PL_OUTCOME_REUSED);
	again = same_request(f, first, 7, "6.00"); // the same id from another principal is another request
	again->principal = "someone";
	outcome_is(f, again, PL_OUTCOME_DONE);

	del = write_new(f, PL_WRITE_DELETE, 7);
	outcome_is(f, del, PL_OUTCOME_DONE);
	again = same_request(f, del, 7, NULL);
	again->op = PL_WRITE_DELETE;
	outcome_is(f, again, PL_OUTCOME_REMEMBERED); // checked before "not found"
	assert_int_equal(again->remembered.status, 204);
	assert_null(again->remembered.body);
	assert_true(again->remembered.deleted);
}

static void one_request_does_not_run_twice_at_once(void **state)
{
	struct fixture *f = *state;
	struct pl_write *writes[3];

	outcome_is(f, create(f, 7, "1.00"), PL_OUTCOME_DONE);
	write_send(f, writes[0] = update(f, 7, "2.00"));
	write_send(f, writes[1] = same_request(f, writes[0], 7, "2.00"));
	writes[2] = same_request(f, writes[0], 8,
	                         "2.00"); // another principal with the same id
	writes[2]->principal = "someone";
	write_send(f, writes[2]);
	writes_await(f, writes, 3);
	assert_int_equal(writes[0]->outcome, PL_OUTCOME_DONE);
	assert_int_equal(writes[1]->outcome, PL_OUTCOME_RUNNING);
	assert_int_equal(writes[2]->outcome, PL_OUTCOME_NOT_FOUND);
}

static void a_write_without_a_request_id_is_not_remembered(void **state)
{
	struct fixture *f = *state;
	struct pl_write *writes[2];

	for (int i = 0; i < 2; i++) {
		writes[i] = create(f, i + 1, "1.00");
		writes[i]->request_id = "";
		write_send(f, writes[i]);
	}
	writes_await(f, writes, 2);
	assert_int_equal(writes[0]->outcome, PL_OUTCOME_DONE);
	assert_int_equal(writes[1]->outcome, PL_OUTCOME_DONE);
	ask_is(f, "0|2",
	       "SELECT (SELECT count(*) FROM processed_requests) || '|' || (SELECT count(*) FROM outbox)");
}

static void writes_of_one_record_follow_one_another(void **state)
{
	struct fixture *f = *state;
	struct pl_write *writes[20];
	struct pl_store_stats stats;

	outcome_is(f, create(f, 7, "1.00"), PL_OUTCOME_DONE);
	for (int i = 0; i < 20; i++) {
		char price[16];

		snprintf(price, sizeof(price), "%d.00", 100 + i);
		write_send(f, writes[i] = update(f, 7, price));
	}
	writes_await(f, writes, 20);
	for (int i = 0; i < 20; i++) {
		assert_int_equal(writes[i]->outcome, PL_OUTCOME_DONE);
		assert_int_equal(writes[i]->record->version, 2 + i); // in the order of arrival
	}
	pl_store_stats(f->store, &stats);
	assert_int_equal(stats.batches, 21);
	ask_is(f, "t",
	       "SELECT bool_and(n = v) FROM (SELECT (value::jsonb->>'version')::int v, row_number() OVER "
	       "(ORDER BY id) n FROM outbox) o");
}

static void writes_that_an_earlier_one_overtook_are_refused_together(void **state)
{
	struct fixture *f = *state;
	struct pl_write *writes[40], *first = create(f, 7, "1.00");
	struct pl_store_stats before, after;

	outcome_is(f, first, PL_OUTCOME_DONE);
	pl_store_stats(f->store, &before);
	for (int i = 0; i < 40; i++) {
		writes[i] = i == 20 ? same_request(f, first, 7, "1.00") : update(f, 7, "2.00");
		writes[i]->has_version = i % 2 == 0;
		writes[i]->version = 1;
		writes[i]->has_etag = i % 2 == 1;
		pl_vector_set(&writes[i]->etag, "us", i == 39 ? 2 : 1);
		write_send(f, writes[i]);
	}
	writes_await(f, writes, 40);
	pl_store_stats(f->store, &after);
	assert_int_equal(writes[0]->outcome, PL_OUTCOME_DONE);
	for (int i = 1; i < 39; i++)
		assert_int_equal(writes[i]->outcome, i == 20 ? PL_OUTCOME_REMEMBERED
		                                     : i % 2 ? PL_OUTCOME_ETAG
		                                             : PL_OUTCOME_VERSION);
	assert_int_equal(writes[39]->outcome,
	                 PL_OUTCOME_DONE); // it names the version that the first of them wrote
	assert_int_equal(writes[39]->record->version, 3);
	assert_int_equal(after.batches - before.batches, 2);
}

static void a_batch_keeps_each_outcome(void **state)
{
	struct fixture *f = *state;
	struct pl_write *w[9], *first = create(f, 1, "1.00");
	struct pl_store_stats before, after;

	outcome_is(f, first, PL_OUTCOME_DONE);
	for (int id = 2; id <= 6; id++)
		outcome_is(f, create(f, id, "1.00"), PL_OUTCOME_DONE);
	pl_store_stats(f->store, &before);
	w[0] = update(f, 2, "2.00");
	w[1] = same_request(f, first, 3, "1.00"); // remembered
	w[2] = update(f, 99, "2.00");
	w[3] = update(f, 4, "2.00");
	w[3]->has_version = true;
	w[3]->version = 9;
	w[4] = create(f, 50, "2.00");
	w[5] = write_new(f, PL_WRITE_DELETE, 5);
	w[6] = create(f, 6, "2.00"); // exists
	w[7] = create(f, 0, "2.00");
	w[8] = update(f, 1, "2.00");
	w[8]->lock = PL_LOCK_REQUIRED;
	for (int i = 0; i < 9; i++)
		write_send(f, w[i]);
	writes_await(f, w, 9);
	pl_store_stats(f->store, &after);
	assert_int_equal(after.batches - before.batches, 1);
	assert_int_equal(after.writes - before.writes, 4);
	assert_string_equal(outcome_name(w[0]->outcome), "done");
	assert_string_equal(outcome_name(w[1]->outcome), "remembered");
	assert_string_equal(outcome_name(w[2]->outcome), "not found");
	assert_string_equal(outcome_name(w[3]->outcome), "version");
	assert_string_equal(outcome_name(w[4]->outcome), "done");
	assert_string_equal(outcome_name(w[5]->outcome), "done");
	assert_string_equal(outcome_name(w[6]->outcome), "exists");
	assert_string_equal(outcome_name(w[7]->outcome), "done");
	assert_string_equal(outcome_name(w[8]->outcome), "unlocked");
	assert_int_equal(f->committed, 10);
}

static void a_row_that_breaks_a_constraint_fails_alone(void **state)
{
	struct fixture *f = *state;
	struct pl_write *w[32];

	for (int i = 0; i < 32; i++)
		write_send(f, w[i] = create(f, i + 1, i == 13 ? "666.00" : "5.00"));
	writes_await(f, w, 32);
	for (int i = 0; i < 32; i++)
		assert_int_equal(w[i]->outcome, i == 13 ? PL_OUTCOME_REFUSED : PL_OUTCOME_DONE);
	assert_string_equal(w[13]->err.sqlstate, "23514");
	ask_is(f, "31|31|31",
	       "SELECT (SELECT count(*) FROM properties) || '|' || (SELECT count(*) FROM outbox) || '|' || "
	       "(SELECT count(*) FROM "
	       "processed_requests)");
}

static void a_write_replaces_siblings_and_closes_their_conflict(void **state)
{
	struct fixture *f = *state;
	struct pl_write *write;

	outcome_is(f, create(f, 7, "1.00"), PL_OUTCOME_DONE);
	outcome_is(f, create(f, 8, "1.00"), PL_OUTCOME_DONE);
	ask(f, "UPDATE properties SET vector = '{\"us\":1,\"eu\":1}', version = 2, has_siblings = true");
	ask(f, "INSERT INTO record_siblings (resource, record_id, origin, counter, vector, updated_at, "
	       "fields) SELECT 'properties', i, o, 1, '{}', "
	       "now(), '{}' FROM unnest(ARRAY[7, 8]) i, unnest(ARRAY['us', 'eu']) o");
	ask(f, "INSERT INTO conflicts (resource, record_id, type, policy_name, policy_sha256, siblings, "
	       "verdict, visible, vector) SELECT "
	       "'properties', i, 'update_origin_differs', 'p', 'x', '[]', '{}', '{}', '{}' FROM "
	       "unnest(ARRAY[7, 8]) i");
	assert_true(read_now(f, fixture_resource(f, PROPERTIES), 7)->record->has_siblings);
	write = update(f, 7, "3.00");
	outcome_is(f, write, PL_OUTCOME_DONE);
	vector_is(&write->record->vector, "{\"eu\":1,\"us\":2}");
	assert_int_equal(write->record->version, 3);
	ask_is(f, "f", "SELECT has_siblings FROM properties WHERE id = 7");
	ask_is(f, "8", "SELECT DISTINCT record_id FROM record_siblings");
	ask_is(f, "7", "SELECT record_id FROM conflicts WHERE closed_at IS NOT NULL");
}

static void strings_booleans_and_nulls_come_back_as_they_were(void **state)
{
	struct fixture *f = *state;
	const char *const names[] = {
		"Plain", "\"quoted\" \\ and / back", "tab\tnew\nline\001\037", "Zoë \xf0\x9f\x8f\xa0", "",
		"null"
	};
	struct pl_write *write;
	struct pl_read *read;

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		write = write_new(f, PL_WRITE_CREATE, (int64_t)i + 1);
		write->resource = fixture_resource(f, HOMES);
		write_set(write, "name", names[i]);
		write_set(write, "open", i % 2 ? "t" : "f");
		outcome_is(f, write, PL_OUTCOME_DONE);
		assert_string_equal(write->record->values[0], names[i]);
		assert_null(write->record->values[1]);
		assert_string_equal(write->record->values[3], i % 2 ? "t" : "f");
		prints_alike(write->record);
		read = read_now(f, fixture_resource(f, HOMES), (int64_t)i + 1);
		assert_string_equal(read->record->values[0], names[i]);
		prints_as(read->record, write->record->json);
	}
}

static void tracks_when_each_field_changed(void **state)
{
	struct fixture *f = *state;
	struct pl_write *write = write_new(f, PL_WRITE_CREATE, 1);

	write->resource = fixture_resource(f, HOMES);
	write_set(write, "name", "a");
	write_set(write, "rooms", "2");
	outcome_is(f, write, PL_OUTCOME_DONE);
	ask_is(f, "name rooms",
	       "SELECT string_agg(k, ' ' ORDER BY k) FROM homes, jsonb_object_keys(field_times) k");
	write = write_new(f, PL_WRITE_UPDATE, 1);
	write->resource = fixture_resource(f, HOMES);
	write_set(write, "name",
	          "a"); // the value is unchanged, so this does not count as a change of the field
	write_set(write, "rooms", "3");
	write_set(write, "price", NULL);
	outcome_is(f, write, PL_OUTCOME_DONE);
	ask_is(f, "t",
	       "SELECT (field_times->'rooms'->>'at')::bigint = (extract(epoch FROM updated_at) * "
	       "1000000)::bigint AND "
	       "(field_times->'name'->>'at')::bigint < (field_times->'rooms'->>'at')::bigint AND "
	       "field_times->'rooms'->>'origin' = 'us' "
	       "AND NOT field_times ? 'price' FROM homes");
	ask_is(f, "t",
	       "SELECT o.field_times = h.field_times FROM outbox o, homes h ORDER BY o.id DESC LIMIT 1");
}

static void times_never_go_back(void **state)
{
	struct fixture *f = *state;
	struct pl_write *write;

	outcome_is(f, create(f, 7, "1.00"), PL_OUTCOME_DONE);
	ask(f, "UPDATE properties SET updated_at = date_trunc('hour', now()) + interval '20 hours 999999 "
	       "microseconds'");
	write = update(f, 7, "2.00");
	outcome_is(f, write, PL_OUTCOME_DONE);
	ask_is(f, "t",
	       "SELECT updated_at = date_trunc('hour', now()) + interval '20 hours 1 second' FROM "
	       "properties");
	prints_alike(write->record);
}

static void writes_a_row_that_another_session_once_locked(void **state)
{
	struct fixture *f = *state;

	outcome_is(f, create(f, 7, "1.00"), PL_OUTCOME_DONE);
	ask(f, "BEGIN; SELECT FROM properties WHERE id = 7 FOR UPDATE; ROLLBACK");
	outcome_is(f, update(f, 7, "2.00"), PL_OUTCOME_DONE);
	ask(f, "BEGIN; SELECT FROM properties WHERE id = 7 FOR UPDATE; UPDATE properties SET version = 3, "
	       "vector = '{\"us\":3}'; COMMIT");
	outcome_is(f, update(f, 7, "2.00"), PL_OUTCOME_DONE);
	ask_is(f, "4", "SELECT version FROM properties");
}

// ---- the store itself

static void a_reload_keeps_what_is_in_flight_and_prepares_what_changed(void **state)
{
	struct fixture *f = *state;
	struct pl_config *old = f->config;
	const struct pl_resource *old_resource = fixture_resource(f, PROPERTIES);
	struct pl_write *before = create(f, 7, "1.00"), *late, *after;

	write_send(f, before);
	f->config = fixture_config(64);
	f->config->resources[PROPERTIES].nfields = f->config->resources[PROPERTIES].nall = 4;
	f->config->resources[PROPERTIES].fields[3] =
		(struct pl_field){ .name = "garage", .type = PL_FIELD_BOOLEAN };
	ask(f, "ALTER TABLE properties ADD garage BOOLEAN");
	pl_store_reconfigure(f->store, f->config, &f->config->regions[0]);
	late = update(f, 7, "2.00"); // of a request that began earlier
	late->resource = old_resource;
	write_send(f, late);
	after = update(f, 7, "3.00");
	write_set(after, "garage", "t");
	write_send(f, after);
	writes_await(f, (struct pl_write *[]){ before, late, after }, 3);
	assert_int_equal(before->outcome, PL_OUTCOME_DONE);
	assert_int_equal(late->outcome, PL_OUTCOME_DONE);
	assert_int_equal(after->outcome, PL_OUTCOME_DONE);
	assert_non_null(strstr(after->record->json, "\"garage\":true"));
	prints_as(read_now(f, fixture_resource(f, PROPERTIES), 7)->record, ask(f, "SELECT value FROM outbox "
	                                                                          "ORDER BY id DESC LIMIT "
	                                                                          "1"));
	ask_is(f, "3", "SELECT version FROM properties");
	pl_config_unref(&old);
}

static void a_full_queue_is_reported_at_once(void **state)
{
	struct fixture *f = *state;
	struct pl_write *w[6];

	f->config->http.max_queued = 4; // configurations are immutable, but this one belongs to the test
	for (int i = 0; i < 6; i++)
		write_send(f, w[i] = create(f, i + 1, "1.00"));
	writes_await(f, w, 6);
	for (int i = 0; i < 6; i++)
		assert_int_equal(w[i]->outcome, i < 4 ? PL_OUTCOME_DONE : PL_OUTCOME_FAILED);
	assert_int_equal(w[5]->err.code, PL_EBUSY);
	assert_true(w[5]->err.retryable);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define t(name) cmocka_unit_test_setup_teardown(name, fixture_setup, fixture_teardown)
		t(creates_updates_and_deletes),
		t(a_create_over_a_tombstone_continues_its_vector),
		t(assigns_ids_from_the_regions_range),
		t(an_id_is_not_assigned_to_two_creates_of_one_batch),
		t(says_why_a_write_is_refused),
		t(remembers_answers),
		t(one_request_does_not_run_twice_at_once),
		t(a_write_without_a_request_id_is_not_remembered),
		t(writes_of_one_record_follow_one_another),
		t(writes_that_an_earlier_one_overtook_are_refused_together),
		t(a_batch_keeps_each_outcome),
		t(a_row_that_breaks_a_constraint_fails_alone),
		t(a_write_replaces_siblings_and_closes_their_conflict),
		t(strings_booleans_and_nulls_come_back_as_they_were),
		t(tracks_when_each_field_changed),
		t(times_never_go_back),
		t(writes_a_row_that_another_session_once_locked),
		t(a_reload_keeps_what_is_in_flight_and_prepares_what_changed),
		t(a_full_queue_is_reported_at_once),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
