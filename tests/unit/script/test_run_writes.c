// script/run with writes: outcomes, retries, and answers of a handler's own.
#include "talk.h"

static void update_is_written_once_and_answered(void **state)
{
	struct bench b;
	struct talk t;

	bench_open(&b, "handlers/put.lua",
	           HANDLER("local r, err = records.update('properties', req.params.id, req.body, req.lock) "
	                                           "if not r then return http.problem(err) end return http.ok(r)"));
	ask(&t, &b, "handlers/put.lua", "7", "{\"price\":600000.5,\"version\":1}");
	assert_int_equal(t.answer.status, 200);
	assert_non_null(strstr(t.answer.body.data, "\"price\":600000.50,"));
	assert_non_null(strstr(t.answer.body.data, "\"version\":2,"));
	assert_null(fake_store_last_stored(b.store)); // it is what the store remembers anyway
	assert_int_equal(fake_store_lookups(b.store), 0);
	talk_end(&t);

	ask(&t, &b, "handlers/put.lua", "7", "{\"price\":600000.5,\"version\":1}");
	assert_int_equal(t.answer.status, 409);
	assert_string_equal(t.answer.problem->title, "Conflict: version mismatch");
	assert_int_equal(t.answer.problem->current->version, 2);
	assert_int_equal(pl_vector_get(&t.answer.problem->current->vector, "us"), 2);
	talk_end(&t);

	ask(&t, &b, "handlers/put.lua", "7", "{\"price\":600000.5}");
	assert_int_equal(t.answer.status, 428);
	talk_end(&t);
	bench_close(&b);
}

static void faults_of_a_body_are_listed_and_nothing_is_written(void **state)
{
	struct bench b;
	struct talk t;
	int n = 0;

	bench_open(&b, "handlers/put.lua",
	           HANDLER("local r, err = records.update('properties', req.params.id, req.body, req.lock) "
	                                           "if not r then return http.problem(err) end return http.ok(r)"));
	ask(&t, &b, "handlers/put.lua", "7", "{\"price\":-1,\"bedrooms\":\"x\",\"colour\":1,\"version\":\"one\",\"id\":8}");
	assert_int_equal(t.answer.status, 400);
	for (const struct pl_fault *f = t.answer.problem->faults; f; f = f->next)
		n++;
	assert_int_equal(n, 5);
	assert_int_equal(fake_store_writes(b.store), 0);
	talk_end(&t);
	bench_close(&b);
}

static void body_that_a_handler_made_too_large_raises(void **state)
{
	static const char *const bodies[] = {
		"local t = {} for i = 1, 5000 do t['k' .. i] = i end", "local t = { note = ('x'):rep(70000) }",
		"local t = { { } } for i = 1, 40 do t = { x = t } end", "local t = { note = string.rep }",
	};

	for (size_t i = 0; i < sizeof bodies / sizeof bodies[0]; i++) {
		char text[600];
		struct bench b;
		struct talk t;

		snprintf(text, sizeof text, HANDLER("%s return http.ok { pcall(records.create, 'properties', t) }"), bodies[i]);
		bench_open(&b, "handlers/write.lua", text);
		ask(&t, &b, "handlers/write.lua", "7", "{}");
		assert_int_equal(t.answer.status, 200);
		assert_non_null(strstr(t.answer.body.data, "false,"));
		assert_int_equal(fake_store_writes(b.store), 0);
		talk_end(&t);
		bench_close(&b);
	}
}

static void as_much_text_as_a_body_may_have_is_checked_like_any_other(void **state)
{
	struct bench b;
	struct talk t;

	bench_open(&b, "handlers/write.lua", HANDLER("local r, err = records.create('properties', { price = 1, note = ('x'):rep(70000) }) "
	                                             "return http.problem(err)"));
	b.config->http.max_body = 1 << 20;
	ask(&t, &b, "handlers/write.lua", "7", "{}");
	assert_int_equal(t.answer.status, 400);
	assert_string_equal(t.answer.problem->faults->pointer, "/note");
	talk_end(&t);
	bench_close(&b);
}

static void text_that_is_no_utf8_is_a_fault(void **state)
{
	struct bench b;
	struct talk t;

	bench_open(&b, "handlers/write.lua", HANDLER("local r, err = records.create('properties', { price = 1, note = '\\xff' }) "
	                                             "return http.problem(err)"));
	ask(&t, &b, "handlers/write.lua", "7", "{}");
	assert_int_equal(t.answer.status, 400);
	assert_string_equal(t.answer.problem->faults->detail, "a string in it is not UTF-8, or has a NUL in it");
	talk_end(&t);
	bench_close(&b);
}

static void second_write_of_a_request_raises(void **state)
{
	struct bench b;
	struct talk t;

	bench_open(&b, "handlers/write.lua", HANDLER("records.create('properties', { price = 1 }) "
	                                             "return http.ok { again = pcall(records.create, 'properties', "
	                                             "{ price = 2 }) }"));
	ask(&t, &b, "handlers/write.lua", "7", "{}");
	assert_string_equal(t.answer.body.data, "{\"again\":false}");
	assert_int_equal(fake_store_writes(b.store), 1);
	talk_end(&t);
	bench_close(&b);
}

// One request, sent twice.
static void ask_twice(struct bench *b, struct talk *first, struct talk *second, const char *handler, const char *body)
{
	ask(first, b, handler, "7", body);
	second->free_within = false;
	talk_begin(second, b, handler, "PUT", "/us/properties/7", "7", body);
	second->request->request_id = first->request->request_id;
	talk_start(second, b);
	fake_store_run(b->store);
	assert_int_equal(second->done, 1);
}

static void retry_is_refused_or_replayed_without_the_handler(void **state)
{
	for (int rule = PL_DUPLICATE_REJECT; rule <= PL_DUPLICATE_REPLAY; rule++) {
		struct bench b;
		struct talk first, second;

		bench_open(&b, "handlers/write.lua", HANDLER("local r = records.create('properties', req.body) "
		                                             "if not r then error('resumed') end return http.created(r)"));
		b.config->routes[0].on_duplicate = (enum pl_duplicate_rule)rule;
		ask_twice(&b, &first, &second, "handlers/write.lua", "{\"price\":1}");
		assert_int_equal(first.answer.status, 201);
		assert_string_equal(header(&first, "Location"), "/us/properties/1000");
		if (rule == PL_DUPLICATE_REJECT) {
			assert_int_equal(second.answer.status, 422);
			assert_string_equal(second.answer.problem->title, "Duplicate request");
		} else {
			assert_int_equal(second.answer.status, 201);
			assert_string_equal(second.answer.body.data, first.answer.body.data);
			assert_string_equal(header(&second, "Location"), "/us/properties/1000");
			assert_string_equal(header(&second, "ETag"), header(&first, "ETag"));
			assert_string_equal(header(&second, "Idempotent-Replayed"), "true");
		}
		talk_end(&first);
		talk_end(&second);
		bench_close(&b);
	}
}

static void handler_that_reads_first_recognises_a_retry_before_it_reads(void **state)
{
	struct bench b;
	struct talk first, second;

	bench_open(&b, "handlers/write.lua",
	           HANDLER("local r = records.get('properties', 7) if r.version > 1 then error('another way') end "
	                                             "r = records.get('properties', 7) "
	                                             "return http.ok(records.update('properties', 7, { price = 5 }, r.etag))"));
	ask_twice(&b, &first, &second, "handlers/write.lua", "{}");
	assert_int_equal(first.answer.status, 200);
	assert_int_equal(second.answer.status, 422);
	assert_int_equal(fake_store_lookups(b.store), 2); // one for each request
	talk_end(&first);
	talk_end(&second);
	bench_close(&b);
}

static void answer_of_its_own_is_stored_before_it_is_given(void **state)
{
	struct bench b;
	struct talk t = {0};

	bench_open(&b, "handlers/write.lua", HANDLER("local r = records.update('properties', 7, { price = 5 }) "
	                                             "return http.status(202, { price = r.price }, "
	                                             "{ Location = '/elsewhere' })"));
	talk_begin(&t, &b, "handlers/write.lua", "PUT", "/us/properties/7", "7", "{}");
	talk_start(&t, &b);
	fake_store_answer(b.store, 0);
	assert_int_equal(t.done, 0); // not yet
	fake_store_run(b.store);
	assert_int_equal(t.done, 1);
	assert_int_equal(t.answer.status, 202);
	assert_int_equal(fake_store_last_stored(b.store)->status, 202);
	assert_string_equal(fake_store_last_stored(b.store)->body, "{\"price\":5.00}");
	assert_string_equal(fake_store_last_stored(b.store)->location, "/elsewhere");
	talk_end(&t);
	bench_close(&b);
}

static void outcomes_become_their_statuses(void **state)
{
	static const struct { enum pl_outcome outcome; int code, status; const char *title; } cases[] = {
		{PL_OUTCOME_RUNNING, 0, 409, "Request in progress"},
		{PL_OUTCOME_REUSED, 0, 422, "Request ID reused with a different request"},
		{PL_OUTCOME_NOT_FOUND, 0, 404, "Property not found"},
		{PL_OUTCOME_EXISTS, 0, 409, "Property already exists"},
		{PL_OUTCOME_VERSION, 0, 409, "Conflict: version mismatch"},
		{PL_OUTCOME_ETAG, 0, 412, "Precondition failed"},
		{PL_OUTCOME_UNLOCKED, 0, 428, "Precondition required"},
		{PL_OUTCOME_REFUSED, PL_EINVAL, 400, "Refused by the database"},
		{PL_OUTCOME_FAILED, PL_EUNAVAIL, 503, "Service unavailable"},
		{PL_OUTCOME_FAILED, PL_ETIMEOUT, 503, "Service unavailable"},
		{PL_OUTCOME_FAILED, PL_EBUSY, 503, "Service unavailable"},
		{PL_OUTCOME_FAILED, PL_ESTOPPED, 503, "Service unavailable"},
		{PL_OUTCOME_FAILED, PL_EUNKNOWN, 504, "outcome unknown, retry with the same X-Request-ID"},
		{PL_OUTCOME_FAILED, PL_EINTERNAL, 500, "Internal error"},
	};

	for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
		struct bench b;
		struct talk t;

		bench_open(&b, "handlers/write.lua", HANDLER("local r, err = records.update('properties', 7, { price = 5 }) "
		                                             "return http.problem(err)"));
		fake_store_force_outcome(b.store, cases[i].outcome, cases[i].code);
		ask(&t, &b, "handlers/write.lua", "7", "{}");
		assert_int_equal(t.answer.status, cases[i].status);
		assert_string_equal(t.answer.problem->title, cases[i].title);
		assert_int_equal(t.answer.problem->retry_after_s, cases[i].status == 503 || cases[i].outcome == PL_OUTCOME_RUNNING
		                 ? 1 : 0);
		talk_end(&t);
		bench_close(&b);
	}
}

static void database_away_is_503_also_for_reads_and_lookups(void **state)
{
	struct bench b;
	struct talk t;

	bench_open(&b, "handlers/get_write.lua", HANDLER("local r, err = records.get('properties', 7) return http.problem(err)"));
	fake_store_force_code(b.store, PL_EUNAVAIL); // the lookup
	ask(&t, &b, "handlers/get_write.lua", "7", NULL);
	assert_int_equal(t.answer.status, 503);
	talk_end(&t);
	b.config->routes[0].idempotent = false;
	fake_store_force_code(b.store, PL_ETIMEOUT); // the read
	ask(&t, &b, "handlers/get_write.lua", "7", NULL);
	assert_int_equal(t.answer.status, 503);
	assert_int_equal(t.answer.problem->retryable, 1);
	talk_end(&t);
	bench_close(&b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(update_is_written_once_and_answered),
		cmocka_unit_test(faults_of_a_body_are_listed_and_nothing_is_written),
		cmocka_unit_test(body_that_a_handler_made_too_large_raises),
		cmocka_unit_test(as_much_text_as_a_body_may_have_is_checked_like_any_other),
		cmocka_unit_test(text_that_is_no_utf8_is_a_fault),
		cmocka_unit_test(second_write_of_a_request_raises),
		cmocka_unit_test(retry_is_refused_or_replayed_without_the_handler),
		cmocka_unit_test(handler_that_reads_first_recognises_a_retry_before_it_reads),
		cmocka_unit_test(answer_of_its_own_is_stored_before_it_is_given),
		cmocka_unit_test(outcomes_become_their_statuses),
		cmocka_unit_test(database_away_is_503_also_for_reads_and_lookups),
	};

	pl_log_init(PL_LOG_ERROR, PL_LOG_TEXT);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
