// store/store: reads, queries, lists and remembered requests, on a real PostgreSQL.
#include "writes.h"

#include <stdio.h>

static void read_flag(struct pl_read *read, void *arg)
{
	(void)read;
	assert_false(*(bool *)arg);
	*(bool *)arg = true;
}

static bool flag_is_set(void *arg)
{
	return *(bool *)arg;
}

static void reads_many_at_once(void **state)
{
	struct fixture *f = *state;
	struct pl_read reads[300];
	bool done[300] = { false };
	struct pl_store_stats stats;

	ask(f, "INSERT INTO properties (id, price, region_origin, version) SELECT i, i, 'us', 1 FROM "
	       "generate_series(1, 100) i");
	for (int i = 0; i < 300; i++) {
		reads[i] = (struct pl_read){ .arena = f->arena,
			                     .resource = fixture_resource(f, PROPERTIES),
			                     .id = (i * 37) % 150,
			                     .deadline_us = pl_mono_us() + 10000000,
			                     .done = read_flag,
			                     .arg = &done[i] };
		pl_store_read(f->store, &reads[i]);
	}
	for (int i = 0; i < 300; i++) {
		assert_true(turn_until(f, flag_is_set, &done[i]));
		if (reads[i].id >= 1 && reads[i].id <= 100) {
			assert_int_equal(reads[i].code, 0);
			assert_int_equal(reads[i].record->id, reads[i].id);
		} else {
			assert_int_equal(reads[i].code, PL_ENOTFOUND);
		}
	}
	pl_store_stats(f->store, &stats);
	assert_int_equal(stats.reads, 300);
	assert_true(stats.read_batches <= 4);
}

// Values written by something other than plist are shown as well as possible.
static void row_that_was_damaged_by_hand_does_not_affect_others(void **state)
{
	struct fixture *f = *state;
	struct pl_read reads[5];
	bool done[5] = { false };

	ask(f, "INSERT INTO properties (id, price, region_origin, version, updated_at) SELECT i, i, 'us', 1, "
	       "'2026-02-21 10:00:00Z' FROM generate_series(1, 5) i");
	ask(f, "UPDATE properties SET price = 'NaN' WHERE id = 2");
	ask(f, "UPDATE properties SET updated_at = 'infinity' WHERE id = 3");
	ask(f, "UPDATE properties SET vector = '[]' WHERE id = 4");
	for (int i = 0; i < 5; i++) {
		reads[i] = (struct pl_read){ .arena = f->arena,
			                     .resource = fixture_resource(f, PROPERTIES),
			                     .id = i + 1,
			                     .deadline_us = pl_mono_us() + 10000000,
			                     .done = read_flag,
			                     .arg = &done[i] };
		pl_store_read(f->store, &reads[i]);
	}
	for (int i = 0; i < 5; i++)
		assert_true(turn_until(f, flag_is_set, &done[i]));
	for (int i = 0; i < 5; i++) {
		char expected[200];

		assert_int_equal(reads[i].code, 0);
		snprintf(expected, sizeof(expected),
		         "{\"id\":%d,\"price\":%s,\"bedrooms\":null,\"bathrooms\":null,\"region_origin\":"
		         "\"us\",\"version\":1,"
		         "\"updated_at\":\"%s\"}",
		         i + 1, i == 1 ? "null" : pl_arena_printf(f->arena, "%d.00", i + 1),
		         i == 2 ? "9999-12-31T23:59:59.999999Z" : "2026-02-21T10:00:00.000000Z");
		prints_as(reads[i].record, expected);
	}
}

static void queries_can_only_read(void **state)
{
	struct fixture *f = *state;
	struct pl_query *query = query_now(f, "SELECT 1::int AS one, NULL AS nothing, 2.50 AS price", 10);

	assert_int_equal(query->code, 0);
	assert_int_equal(query->nrows, 1);
	assert_string_equal(query->columns[2], "price");
	assert_string_equal(query->values[2], "2.50");
	assert_null(query->values[1]);
	assert_int_equal(query->types[0], 23);
	assert_int_equal(query_now(f, "SELECT generate_series(1, 5)", 5)->nrows, 5);
	assert_int_equal(query_now(f, "SELECT generate_series(1, 1000000)", 5)->code, PL_EINVAL);
	assert_int_equal(query_now(f, "DELETE FROM properties", 5)->code, PL_EINTERNAL);
	assert_string_equal(query_now(f, "SELECT nextval('properties_ids')", 5)->err.sqlstate, "25006");
	assert_int_not_equal(query_now(f, "SET default_transaction_read_only = off", 5)->code, 0);
	assert_int_not_equal(query_now(f, "SELECT 1; DROP TABLE properties", 5)->code, 0);
	query_now(f,
	          "SELECT set_config('default_transaction_read_only', 'off', false), "
	          "set_config('statement_timeout', '0', false)",
	          5);
	assert_string_equal(query_now(f, "SHOW statement_timeout", 5)->err.sqlstate, "42601");
	assert_string_equal(query_now(f, "SELECT current_setting('statement_timeout')", 5)->values[0], "2s");
	query = query_now(f, "SELECT nonsense", 5);
	assert_string_equal(query->err.sqlstate, "42703");
	query = query_now(f, "SELECT pg_sleep(60)", 5);
	assert_int_equal(query->code, PL_ETIMEOUT);
	assert_int_equal(query_now(f, "SELECT 1", 5)->code, 0);
}

static void lists_by_key_with_filters(void **state)
{
	struct fixture *f = *state;
	const struct pl_resource *resource = fixture_resource(f, PROPERTIES);
	struct pl_filter filters[] = { { 0, PL_FILTER_MIN, "10.5" },
		                       { 0, PL_FILTER_MAX, "99999999999999999999" },
		                       { 1, PL_FILTER_EQ, "1" } };
	struct pl_query *query = query_new(f);

	ask(f, "INSERT INTO properties (id, price, bedrooms, region_origin, version, updated_at) "
	       "SELECT i, i, i %% 2, 'us', 1, '2026-02-21 10:00:00.1Z' FROM generate_series(1, 40) i");
	ask(f, "UPDATE properties SET deleted_at = now() WHERE id = 21");
	pl_store_list_sql(query, resource, 15, 3, filters, 3);
	query_run(f, query);
	assert_int_equal(query->code, 0);
	assert_int_equal(query->nrows, 4); // one more than the limit, so there are more records
	assert_int_equal(pl_store_list_record(query, resource, 0, NULL)->id, 17);
	assert_int_equal(pl_store_list_record(query, resource, 2, NULL)->id, 23);
	prints_as(pl_store_list_record(query, resource, 3, NULL), "{\"id\":25,\"price\":25.00,\"bedrooms\":1,"
	                                                          "\"bathrooms\":null,\"region_origin\":"
	                                                          "\"us\",\"version\":1,"
	                                                          "\"updated_at\":\"2026-02-21T10:00:00."
	                                                          "100000Z\"}");

	query = query_new(f);
	pl_store_list_sql(query, resource, 38, 3, NULL, 0);
	query_run(f, query);
	assert_int_equal(query->nrows, 2);

	query = query_new(f);
	filters[0].value = "nonsense";
	pl_store_list_sql(query, resource, 0, 3, filters, 1);
	query_run(f, query);
	assert_int_equal(query->code, PL_EINVAL);
}

static struct pl_query *list_now(struct fixture *f, int64_t after, int *n_r, bool *more_r)
{
	struct pl_query *query = query_new(f);

	pl_store_list_sql(query, fixture_resource(f, HOMES), after, 4, NULL, 0);
	query_run(f, query);
	assert_int_equal(query->code, 0);
	*n_r = pl_store_list_page(query, more_r);
	return query;
}

// The texts may be in columns or, of fields that this configuration does not have, beside
// them.
static void a_page_of_large_records_ends_early(void **state)
{
	struct fixture *f = *state;
	int sizes[] = { 900000, 900000, 900000, 10, 3000000, 10, 10, 10 };
	int pages[] = { 3, 2, 3 }, n;
	bool more;

	ask(f, "ALTER TABLE homes ALTER name TYPE text");
	for (int t = 0; t < 2; t++) {
		int64_t after = 0;

		ask(f, "DELETE FROM homes");
		for (int i = 0; i < 8; i++)
			ask(f,
			    "INSERT INTO homes (id, region_origin, version, updated_at, vector, name, "
			    "unknown_fields) SELECT %d, 'us', 1, now(), '{\"us\": 1}', CASE %d WHEN 0 THEN "
			    "text ELSE 'a' END, CASE %d WHEN 1 THEN jsonb_build_object('note', text) END "
			    "FROM repeat('x', %d) AS text",
			    i + 1, t, t, sizes[i]);
		for (int page = 0; page < 3; page++) {
			struct pl_query *query = list_now(f, after, &n, &more);

			assert_int_equal(n, pages[page]);
			assert_int_equal(more, page < 2);
			after = pl_store_list_record(query, fixture_resource(f, HOMES), n - 1, NULL)->id;
		}
	}
}

static void a_full_page_says_whether_there_are_more_records(void **state)
{
	struct fixture *f = *state;
	bool more;
	int n;

	list_now(f, 0, &n, &more);
	assert_int_equal(n, 0);
	assert_false(more);
	ask(f, "INSERT INTO homes (id, region_origin, version, updated_at, vector, name) SELECT i, 'us', 1, "
	       "now(), '{\"us\": 1}', 'a' FROM generate_series(1, 5) i");
	list_now(f, 0, &n, &more);
	assert_int_equal(n, 4);
	assert_true(more);
	list_now(f, 1, &n, &more);
	assert_int_equal(n, 4);
	assert_false(more);
}

static void looks_up_remembered_requests(void **state)
{
	struct fixture *f = *state;
	struct pl_write *write = create(f, 7, "1.00"), *running;
	struct pl_remember_lookup *lookup;

	outcome_is(f, write, PL_OUTCOME_DONE);
	lookup = lookup_now(f, write->request_id, "", write->fingerprint);
	assert_int_equal(lookup->code, 0);
	assert_int_equal(lookup->outcome, PL_OUTCOME_REMEMBERED);
	assert_int_equal(lookup->remembered.status, 201);
	assert_string_equal(lookup->remembered.body, write->record->json);
	assert_int_equal(lookup_now(f, write->request_id, "someone", write->fingerprint)->outcome,
	                 PL_OUTCOME_NOT_FOUND);
	write->fingerprint[3] ^= 1;
	assert_int_equal(lookup_now(f, write->request_id, "", write->fingerprint)->outcome,
	                 PL_OUTCOME_REUSED);
	write_send(f, running = update(f, 7, "2.00"));
	assert_int_equal(lookup_now(f, running->request_id, "", running->fingerprint)->outcome,
	                 PL_OUTCOME_RUNNING);
	writes_await(f, &running, 1);
}

#define ANSWER      "{\"body\":\"no\",\"headers\":[]}"
#define WHOLE(json) "{\"" PL_REMEMBERED_WHOLE "\":" json "}"

static void remembers_a_handlers_own_answer(void **state)
{
	struct fixture *f = *state;
	struct pl_write *write = create(f, 7, "1.00");
	struct pl_remember_lookup *lookup;

	outcome_is(f, write, PL_OUTCOME_DONE);
	assert_int_equal(answer_now(f, write->request_id, 409, WHOLE(ANSWER))->code, 0);
	lookup = lookup_now(f, write->request_id, "", write->fingerprint);
	assert_int_equal(lookup->remembered.status, 409);
	assert_string_equal(lookup->remembered.whole, ANSWER);
	assert_null(lookup->remembered.body);
	assert_null(lookup->remembered.location);
	assert_int_equal(answer_now(f, "never heard of", 200, WHOLE(ANSWER))->code, PL_ENOTFOUND);
	assert_int_equal(answer_now(f, write->request_id, 200, "no json")->code, PL_EINTERNAL);
}

// The event that follows the write's own event and carries its answer.
static const char *answer_sent(struct fixture *f, const struct pl_write *write)
{
	return ask(f,
	           "SELECT coalesce(string_agg(concat_ws(' ', status, republished, answer), ','), '') FROM "
	           "plist.outbox WHERE request_id = '%s' AND republished IS NOT NULL",
	           write->request_id);
}

static void tells_the_other_regions_a_handlers_own_answer(void **state)
{
	struct fixture *f = *state;
	struct pl_write *write = create(f, 7, "1.00");

	outcome_is(f, write, PL_OUTCOME_DONE);
	assert_string_equal(answer_sent(f, write), "");
	assert_int_equal(answer_now(f, write->request_id, 409, WHOLE(ANSWER))->code, 0);
	assert_string_equal(answer_sent(f, write), "201 us; request {\"body\": \"no\", \"status\": 409, "
	                                           "\"headers\": []}");
}

static void sends_only_the_size_of_a_large_answer(void **state)
{
	struct fixture *f = *state;
	struct pl_write *write = create(f, 7, "1.00");
	struct pl_buf body = { 0 };

	pl_buf_adds(&body, "{\"" PL_REMEMBERED_WHOLE "\":{\"headers\":[],\"body\":\"");
	for (int i = 0; i < 70000; i++)
		pl_buf_addc(&body, 'x');
	pl_buf_adds(&body, "\"}}");
	outcome_is(f, write, PL_OUTCOME_DONE);
	assert_int_equal(answer_now(f, write->request_id, 200, body.data)->code, 0);
	assert_string_equal(answer_sent(f, write), "201 us; request {\"bytes\": 70042, \"region\": \"us\", "
	                                           "\"status\": 200}");
	pl_buf_fini(&body);
}

// The answer's Location names the region of the path, as the first answer did.
static void tells_the_other_regions_a_location_that_they_cannot_know(void **state)
{
	struct fixture *f = *state;
	struct pl_write *here = create(f, 7, "1.00"), *there = create(f, 8, "1.00");

	there->region_prefix = "eu";
	outcome_is(f, here, PL_OUTCOME_DONE);
	outcome_is(f, there, PL_OUTCOME_DONE);
	ask_is(f, "|{\"location\": \"/eu/properties/8\"}",
	       "SELECT string_agg(coalesce(answer, ''), '|' ORDER BY record_id) FROM plist.outbox WHERE "
	       "request_id IN ('%s', '%s')",
	       here->request_id, there->request_id);
}

static void keeps_the_answer_of_the_region_that_comes_first(void **state)
{
	struct fixture *f = *state;
	struct pl_write *write = create(f, 7, "1.00");
	struct pl_remember_lookup *lookup;

	outcome_is(f, write, PL_OUTCOME_DONE);
	ask(f,
	    "UPDATE plist.processed_requests SET dots = dots || '{\"eu\": 1}' WHERE request_id = '%s' "
	    "RETURNING 1",
	    write->request_id);
	assert_int_equal(answer_now(f, write->request_id, 409, WHOLE(ANSWER))->code, 0);
	lookup = lookup_now(f, write->request_id, "", write->fingerprint);
	assert_int_equal(lookup->remembered.status, 201);
	assert_string_equal(answer_sent(f, write), "");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define t(name) cmocka_unit_test_setup_teardown(name, fixture_setup, fixture_teardown)
		t(reads_many_at_once),
		t(row_that_was_damaged_by_hand_does_not_affect_others),
		t(queries_can_only_read),
		t(lists_by_key_with_filters),
		t(a_page_of_large_records_ends_early),
		t(a_full_page_says_whether_there_are_more_records),
		t(looks_up_remembered_requests),
		t(remembers_a_handlers_own_answer),
		t(tells_the_other_regions_a_handlers_own_answer),
		t(sends_only_the_size_of_a_large_answer),
		t(tells_the_other_regions_a_location_that_they_cannot_know),
		t(keeps_the_answer_of_the_region_that_comes_first),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
