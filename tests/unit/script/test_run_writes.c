// script/run with writes: outcomes, retries, and answers other than the default one.
#include "base/clock.h"
#include "base/faults.h"
#include "http/problem.h"
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
	assert_null(fake_store_last_stored(b.store)); // the store remembers the request anyway
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
	ask(&t, &b, "handlers/put.lua", "7",
	    "{\"price\":-1,\"bedrooms\":\"x\",\"colour\":1,\"version\":\"one\",\"id\":8}");
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
		"local t = {} for i = 1, 5000 do t['k' .. i] = i end",
		"local t = { note = ('x'):rep(70000) }",
		"local t = { { } } for i = 1, 40 do t = { x = t } end",
		"local t = { note = string.rep }",
	};

	for (size_t i = 0; i < sizeof(bodies) / sizeof(bodies[0]); i++) {
		char text[600];
		struct bench b;
		struct talk t;

		snprintf(text, sizeof(text),
		         HANDLER("%s return http.ok { pcall(records.create, 'properties', t) }"), bodies[i]);
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

	bench_open(
		&b, "handlers/write.lua",
		HANDLER("local r, err = records.create('properties', { price = 1, note = ('x'):rep(70000) }) "
	                "return http.problem(err)"));
	b.config->http.max_body = 1 << 20;
	ask(&t, &b, "handlers/write.lua", "7", "{}");
	assert_int_equal(t.answer.status, 400);
	assert_string_equal(t.answer.problem->faults->pointer, "/note");
	talk_end(&t);
	bench_close(&b);
}

static void text_that_is_not_utf8_is_a_fault(void **state)
{
	struct bench b;
	struct talk t;

	bench_open(&b, "handlers/write.lua",
	           HANDLER("local r, err = records.create('properties', { price = 1, note = '\\xff' }) "
	                   "return http.problem(err)"));
	ask(&t, &b, "handlers/write.lua", "7", "{}");
	assert_int_equal(t.answer.status, 400);
	assert_string_equal(t.answer.problem->faults->detail,
	                    "a string in it is not UTF-8 or contains a NUL");
	talk_end(&t);
	bench_close(&b);
}

// What the answer states about execution, after the store has answered the first op with
// `code`.
static bool says_not_executed(const char *handler, enum pl_outcome outcome, int code, int status)
{
	struct bench b;
	struct talk t;
	bool says;

	bench_open(&b, "handlers/write.lua", handler);
	fake_store_force_outcome(b.store, outcome, code);
	ask(&t, &b, "handlers/write.lua", "7", "{\"price\":1,\"version\":1}");
	assert_int_equal(t.answer.status, status);
	assert_int_equal(t.answer.problem ? t.answer.problem->status : 0, status);
	says = t.answer.problem->not_executed;
	assert_false(t.answer.not_executed);
	talk_end(&t);
	bench_close(&b);
	return says;
}

#define UPDATE          "local r, err = records.update('properties', req.params.id, req.body, req.lock) "
#define PASSES_ON       HANDLER(UPDATE "return http.problem(err)")
#define ITS_OWN(status) HANDLER(UPDATE "return http.problem(" status ", 'Own')")

static void a_refused_write_is_certain_to_have_executed_nothing(void **state)
{
	static const int nothing[] = { PL_EBUSY, PL_EUNAVAIL, PL_ETIMEOUT, PL_ESTOPPED };

	for (size_t i = 0; i < sizeof(nothing) / sizeof(nothing[0]); i++)
		assert_true(says_not_executed(PASSES_ON, PL_OUTCOME_FAILED, nothing[i], 503));
	assert_false(says_not_executed(PASSES_ON, PL_OUTCOME_FAILED, PL_EUNKNOWN, 504));
	assert_false(says_not_executed(PASSES_ON, PL_OUTCOME_FAILED, PL_EINTERNAL, 500));
	assert_false(says_not_executed(PASSES_ON, PL_OUTCOME_NOT_FOUND, 0, 404));
}

static void a_handlers_own_503_says_nothing_about_the_execution(void **state)
{
	assert_false(says_not_executed(ITS_OWN("503"), PL_OUTCOME_FAILED, PL_EUNKNOWN, 503));
	assert_false(says_not_executed(ITS_OWN("503"), PL_OUTCOME_NOT_FOUND, 0, 503));
	assert_false(says_not_executed(ITS_OWN("504"), PL_OUTCOME_FAILED, PL_EUNAVAIL, 504));
	assert_false(says_not_executed(HANDLER("return http.problem(503, 'Own')"), PL_OUTCOME_FAILED,
	                               PL_EUNAVAIL, 503));
}

static void a_failure_after_a_write_does_not_say_that_nothing_was_executed(void **state)
{
	static const char *const handlers[] = {
		HANDLER("records.create('properties', { price = 1 }) local r, err = "
		        "records.get('properties', 99) return http.problem(err)"),
		HANDLER("records.create('properties', { price = 1 }) local r, err = "
		        "require('plist.db').query('SELECT 1') return http.problem(err)"),
	};

	for (size_t i = 0; i < sizeof(handlers) / sizeof(handlers[0]); i++) {
		struct bench b;
		struct talk t;

		bench_open(&b, "handlers/write.lua", handlers[i]);
		talk_begin(&t, &b, "handlers/write.lua", "PUT", "/us/properties/7", "7", "{}");
		talk_start(&t, &b);
		fake_store_answer(b.store, 0);
		fake_store_force_code(b.store, PL_EUNAVAIL);
		fake_store_run(b.store);
		assert_int_equal(t.answer.status, 201); // the default answer of the write, which is committed
		assert_null(t.answer.problem);
		assert_int_equal(fake_store_writes(b.store), 1);
		talk_end(&t);
		bench_close(&b);
	}
}

static void a_handler_cannot_set_headers_that_nginx_obeys(void **state)
{
	static const char *const names[] = { "X-Plist-Executed", "x-plist-executed", "X-Accel-Redirect",
		                             "x-accel-buffering" };

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		char text[300];
		struct bench b;
		struct talk t;

		snprintf(text, sizeof(text), HANDLER("return http.ok({}, { ['%s'] = 'no' })"), names[i]);
		bench_open(&b, "handlers/write.lua", text);
		ask(&t, &b, "handlers/write.lua", "7", "{}");
		assert_int_equal(t.answer.status, 500);
		assert_null(t.answer.headers);
		talk_end(&t);
		bench_close(&b);
	}
}

static void second_write_of_a_request_raises(void **state)
{
	struct bench b;
	struct talk t;

	bench_open(&b, "handlers/write.lua",
	           HANDLER("records.create('properties', { price = 1 }) "
	                   "return http.ok { again = pcall(records.create, 'properties', "
	                   "{ price = 2 }) }"));
	ask(&t, &b, "handlers/write.lua", "7", "{}");
	assert_string_equal(t.answer.body.data, "{\"again\":false}");
	assert_int_equal(fake_store_writes(b.store), 1);
	talk_end(&t);
	bench_close(&b);
}

// If-Match with several versions: the one that the row has is used; if it has none of
// them, the answer is 412.
static void a_write_may_replace_any_version_that_if_match_names(void **state)
{
	for (int32_t other = 1; other <= 2; other++) {
		struct bench b;
		struct talk t = { 0 };
		struct pl_tag tag = { 0 };

		bench_open(&b, "handlers/put.lua",
		           HANDLER("local r, err = records.update('properties', req.params.id, "
		                   "req.body, req.lock) "
		                   "if not r then return http.problem(err) end return http.ok(r)"));
		talk_begin(&t, &b, "handlers/put.lua", "PUT", "/us/properties/7", "7", "{\"price\":5}");
		pl_vector_set(&tag.vector, "us", other);
		t.request->has_if_match = true;
		pl_vector_set(&t.request->if_match, "us", 9);
		t.request->if_match_others = &tag;
		talk_start(&t, &b);
		for (int i = 0; i < 4; i++)
			fake_store_run(b.store);
		assert_int_equal(t.done, 1);
		assert_int_equal(t.answer.status, other == 1 ? 200 : 412); // the row has us:1
		talk_end(&t);
		bench_close(&b);
	}
}

// Sends a request twice.
static void ask_twice(struct bench *b, struct talk *first, struct talk *second, const char *handler,
                      const char *body)
{
	ask(first, b, handler, "7", body);
	second->free_within = false;
	talk_begin(second, b, handler, "PUT", "/us/properties/7", "7", body);
	second->request->request_id = second->request->echo_id = first->request->request_id;
	talk_start(second, b);
	fake_store_run(b->store);
	assert_int_equal(second->done, 1);
}

static void retry_is_refused_or_replayed_without_the_handler(void **state)
{
	for (int rule = PL_DUPLICATE_REJECT; rule <= PL_DUPLICATE_REPLAY; rule++) {
		struct bench b;
		struct talk first, second;

		bench_open(&b, "handlers/write.lua",
		           HANDLER("local r = records.create('properties', req.body) "
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
	           HANDLER("local r = records.get('properties', 7) if r.version > 1 then "
	                   "error('another way') end "
	                   "r = records.get('properties', 7) "
	                   "return http.ok(records.update('properties', 7, { price = 5 }, r.etag))"));
	ask_twice(&b, &first, &second, "handlers/write.lua", "{}");
	assert_int_equal(first.answer.status, 200);
	assert_int_equal(second.answer.status, 422);
	assert_int_equal(fake_store_lookups(b.store), 2); // one per request
	talk_end(&first);
	talk_end(&second);
	bench_close(&b);
}

static void handlers_own_answer_is_stored_before_it_is_sent(void **state)
{
	struct bench b;
	struct talk t = { 0 };

	bench_open(&b, "handlers/write.lua",
	           HANDLER("local r = records.update('properties', 7, { price = 5 }) "
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
	assert_string_equal(fake_store_last_stored(b.store)->body,
	                    "{\"plist:answer\":{\"headers\":[[\"Location\",\"/elsewhere\"]],"
	                    "\"body\":\"{\\\"price\\\":5.00}\"}}");
	talk_end(&t);
	bench_close(&b);
}

static uint64_t lost(enum pl_fault_loss what)
{
	bool recent;

	return pl_faults_losses(what, pl_mono_us(), &recent);
}

static void an_answer_that_cannot_be_stored_is_sent_and_counted_as_lost(void **state)
{
	struct bench b;
	struct talk t = { 0 };
	uint64_t before = lost(PL_LOSS_STORED_ANSWER);

	bench_open(&b, "handlers/write.lua",
	           HANDLER("local r = records.update('properties', 7, { price = 5 }) "
	                   "return http.status(202, { price = r.price })"));
	talk_begin(&t, &b, "handlers/write.lua", "PUT", "/us/properties/7", "7", "{}");
	talk_start(&t, &b);
	fake_store_answer(b.store, 0);
	fake_store_force_code(b.store, PL_EUNAVAIL);
	fake_store_run(b.store);
	assert_int_equal(t.answer.status, 202);
	assert_int_equal(lost(PL_LOSS_STORED_ANSWER), before + 1);
	talk_end(&t);
	bench_close(&b);
}

static void a_handler_that_fails_after_its_write_has_lost_its_answer(void **state)
{
	static const struct {
		const char *end;
		int lost;
	} cases[] = { { "error('after the write')", 1 },
		      { "return http.status(500, {})", 1 },
		      { "return http.ok(r)", 0 },
		      { "return http.status(404, {})", 0 } };

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct bench b;
		struct talk t;
		char text[1024];
		uint64_t before = lost(PL_LOSS_HANDLER_ANSWER);

		snprintf(text, sizeof(text),
		         HANDLER("local r = records.update('properties', 7, { price = 5 }) %s"),
		         cases[i].end);
		bench_open(&b, "handlers/write.lua", text);
		ask(&t, &b, "handlers/write.lua", "7", "{}");
		assert_int_equal(lost(PL_LOSS_HANDLER_ANSWER), before + (uint64_t)cases[i].lost);
		talk_end(&t);
		bench_close(&b);
	}
}

static int count_headers(const struct talk *t)
{
	int n = 0;

	for (const struct pl_header *h = t->answer.headers; h; h = h->next)
		n++;
	return n;
}

// The second answer equals the first, plus the header that marks a replay.
static void assert_same_answer(struct talk *first, struct talk *second)
{
	struct pl_buf problem = { 0 };

	assert_int_equal(second->answer.status, first->answer.status);
	if (first->answer.problem) {
		pl_problem_print(&problem, first->answer.problem, first->request->request_id);
		assert_string_equal(second->answer.body.data, problem.data);
		assert_string_equal(second->answer.content_type, "application/problem+json");
	} else {
		assert_int_equal(second->answer.body.len, first->answer.body.len);
		if (first->answer.body.len)
			assert_memory_equal(second->answer.body.data, first->answer.body.data,
			                    first->answer.body.len);
		assert_string_equal(second->answer.content_type ? second->answer.content_type : "",
		                    first->answer.content_type ? first->answer.content_type : "");
	}
	for (const struct pl_header *h = first->answer.headers; h; h = h->next) {
		assert_non_null(header(second, h->name));
		assert_string_equal(header(second, h->name), h->value);
	}
	assert_int_equal(count_headers(second), count_headers(first) + 1);
	assert_string_equal(header(second, "Idempotent-Replayed"), "true");
	pl_buf_fini(&problem);
}

static void replay_is_the_complete_first_answer_whatever_the_handler_answered(void **state)
{
	static const struct {
		const char *after;
		int status;
	} cases[] = {
		{ "return http.ok(r)", 200 },
		{ "return http.ok(r, { ['X-Custom'] = 'a \"quoted\" one', ETag = '\"mine\"' })", 200 },
		{ "return http.ok({ b = 1, aa = 2, n = r.price })", 200 },
		{ "return http.status(202, 'plain \\xe2\\x82\\xac', { ['Content-Type'] = 'text/plain' })",
		  202 },
		{ "return http.status(200, '\\0\\1\\255', { ['Content-Type'] = 'application/octet-stream' })",
		  200 },
		{ "return http.no_content { ['X-Custom'] = 'b' }", 204 },
		{ "return http.created(r, '/elsewhere')", 201 },
		{ "return http.status(303, nil, { Location = '/there' })", 303 },
		{ "return http.problem(409, 'No', 'because', { more = { 1, 2 } })", 409 },
		// The handler claims failure, or nothing. The default answer is sent,
		// because the write is committed.
		{ "error('after the write')", 200 },
		{ "while true do end", 200 },
		{ "return 7", 200 },
		{ "return http.ok { body = ('x'):rep(9000000) }", 200 },
		{ "return http.status(503, nil)", 200 },
		{ "return http.problem(500, 'No')", 200 },
		{ "r.f = function() end return http.ok(r)", 200 },
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct bench b;
		struct talk first = { 0 }, second = { 0 };
		char text[1000];

		snprintf(text, sizeof(text),
		         HANDLER("local r = records.update('properties', 7, { price = 5 }) %s"),
		         cases[i].after);
		bench_open(&b, "handlers/write.lua", text);
		b.config->routes[0].on_duplicate = PL_DUPLICATE_REPLAY;
		print_problem = pl_problem_print;
		ask_twice(&b, &first, &second, "handlers/write.lua", "{}");
		print_problem = NULL;
		assert_int_equal(first.answer.status, cases[i].status);
		assert_same_answer(&first, &second);
		assert_int_equal(fake_store_writes(b.store),
		                 2); // the second one was sent, and recognised as a retry
		talk_end(&first);
		talk_end(&second);
		bench_close(&b);
	}
}

static void outcomes_become_their_statuses(void **state)
{
	static const struct {
		enum pl_outcome outcome;
		int code, status;
		const char *title;
	} cases[] = {
		{ PL_OUTCOME_RUNNING, 0, 409, "Request in progress" },
		{ PL_OUTCOME_REUSED, 0, 422, "Request ID reused with a different request" },
		{ PL_OUTCOME_NOT_FOUND, 0, 404, "Property not found" },
		{ PL_OUTCOME_EXISTS, 0, 409, "Property already exists" },
		{ PL_OUTCOME_VERSION, 0, 409, "Conflict: version mismatch" },
		{ PL_OUTCOME_ETAG, 0, 412, "Precondition failed" },
		{ PL_OUTCOME_UNLOCKED, 0, 428, "Precondition required" },
		{ PL_OUTCOME_REFUSED, PL_EINVAL, 400, "Refused by the database" },
		{ PL_OUTCOME_FAILED, PL_EUNAVAIL, 503, "Service unavailable" },
		{ PL_OUTCOME_FAILED, PL_ETIMEOUT, 503, "Service unavailable" },
		{ PL_OUTCOME_FAILED, PL_EBUSY, 503, "Service unavailable" },
		{ PL_OUTCOME_FAILED, PL_ESTOPPED, 503, "Service unavailable" },
		{ PL_OUTCOME_FAILED, PL_EUNKNOWN, 504, "outcome unknown, retry with the same X-Request-ID" },
		{ PL_OUTCOME_FAILED, PL_EINTERNAL, 500, "Internal error" },
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct bench b;
		struct talk t;

		bench_open(&b, "handlers/write.lua",
		           HANDLER("local r, err = records.update('properties', 7, { price = 5 }) "
		                   "return http.problem(err)"));
		fake_store_force_outcome(b.store, cases[i].outcome, cases[i].code);
		ask(&t, &b, "handlers/write.lua", "7", "{}");
		assert_int_equal(t.answer.status, cases[i].status);
		assert_string_equal(t.answer.problem->title, cases[i].title);
		assert_int_equal(t.answer.problem->retry_after_s,
		                 cases[i].status == 503 || cases[i].outcome == PL_OUTCOME_RUNNING ? 1 : 0);
		talk_end(&t);
		bench_close(&b);
	}
}

static void unavailable_database_is_503_for_reads_and_lookups_too(void **state)
{
	struct bench b;
	struct talk t;

	bench_open(&b, "handlers/get_write.lua",
	           HANDLER("local r, err = records.get('properties', 7) return http.problem(err)"));
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
		cmocka_unit_test(text_that_is_not_utf8_is_a_fault),
		cmocka_unit_test(second_write_of_a_request_raises),
		cmocka_unit_test(a_write_may_replace_any_version_that_if_match_names),
		cmocka_unit_test(a_refused_write_is_certain_to_have_executed_nothing),
		cmocka_unit_test(a_handlers_own_503_says_nothing_about_the_execution),
		cmocka_unit_test(a_failure_after_a_write_does_not_say_that_nothing_was_executed),
		cmocka_unit_test(a_handler_cannot_set_headers_that_nginx_obeys),
		cmocka_unit_test(retry_is_refused_or_replayed_without_the_handler),
		cmocka_unit_test(handler_that_reads_first_recognises_a_retry_before_it_reads),
		cmocka_unit_test(handlers_own_answer_is_stored_before_it_is_sent),
		cmocka_unit_test(an_answer_that_cannot_be_stored_is_sent_and_counted_as_lost),
		cmocka_unit_test(a_handler_that_fails_after_its_write_has_lost_its_answer),
		cmocka_unit_test(replay_is_the_complete_first_answer_whatever_the_handler_answered),
		cmocka_unit_test(outcomes_become_their_statuses),
		cmocka_unit_test(unavailable_database_is_503_for_reads_and_lookups_too),
	};

	pl_log_init(PL_LOG_ERROR, PL_LOG_TEXT);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
