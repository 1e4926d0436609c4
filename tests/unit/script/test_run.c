// Handlers as coroutines: waiting, resumed in any order, answered, abandoned, kept.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

#include "base/log.h"
#include "fake_store.h"
#include "world.h"

#define HEAD "local records = require 'plist.records'\nlocal http = require 'plist.http'\nlocal json = require 'plist.json'\n"
#define HANDLER(body) HEAD "return { name = 'h', doc = 'a test', handle = function(req) " body " end }"

struct bench {
	struct pl_config *config;
	struct pl_vm *vm;
	struct pl_store *store;
};

struct talk {
	struct pl_request *request;
	struct pl_answer answer;
	struct pl_run *run;
	int done;
	bool free_within;
};

static void bench_open(struct bench *b, const char *path, const char *text)
{
	struct world_file file = {path, text};

	b->config = world_config(&file, 1);
	b->vm = world_vm(b->config, PL_WORLD_HANDLER);
	b->store = fake_store_new(b->config);
	fake_store_put(b->store, 7, "500000.00", "3", 1);
}

static void bench_close(struct bench *b)
{
	pl_store_free(&b->store);
	pl_vm_free(&b->vm);
	pl_config_unref(&b->config);
}

static void done(struct pl_run *run, void *arg)
{
	struct talk *t = arg;

	t->done++;
	if (t->free_within) {
		t->run = NULL;
		pl_run_free(&run);
	}
}

static void talk_begin(struct talk *t, struct bench *b, const char *handler, const char *method, const char *target,
                       const char *id,
                       const char *body)
{
	*t = (struct talk){.free_within = t->free_within};
	t->request = world_request(b->config, handler, method, target, id, body);
}

static void talk_start(struct talk *t, struct bench *b)
{
	t->run = pl_run_start(b->vm, b->store, t->request, &t->answer, done, t);
}

static void talk_end(struct talk *t)
{
	pl_run_free(&t->run);
	pl_buf_fini(&t->answer.body);
	world_request_free(&t->request);
}

// One request to one handler, answered to the end.
static void ask(struct talk *t, struct bench *b, const char *handler, const char *id, const char *body)
{
	t->free_within = false;
	talk_begin(t, b, handler, body ? "PUT" : "GET", "/us/properties/7", id, body);
	talk_start(t, b);
	fake_store_run(b->store);
	assert_int_equal(t->done, 1);
}

static const char *header(const struct talk *t, const char *name)
{
	for (const struct pl_header *h = t->answer.headers; h; h = h->next) {
		if (strcmp(h->name, name) == 0)
			return h->value;
	}
	return NULL;
}

static void handler_that_needs_nothing_is_done_at_once(void **state)
{
	struct bench b;
	struct talk t;

	bench_open(&b, "handlers/a.lua", HANDLER("return http.ok { region = req.region, id = req.params.id }"));
	ask(&t, &b, "handlers/a.lua", "7", NULL);
	assert_int_equal(t.answer.status, 200);
	assert_string_equal(t.answer.body.data,
	                    "{\"id\":\"7\",\"region\":\"us\"}");
	assert_int_equal(pl_run_state(t.run), PL_RUN_DONE);
	talk_end(&t);
	bench_close(&b);
}

static void record_is_answered_as_it_prints(void **state)
{
	struct bench b;
	struct talk t;

	bench_open(&b, "handlers/get.lua", HANDLER("local r, err = records.get('properties', req.params.id) "
	                                           "if not r then return http.problem(err) end return http.ok(r)"));
	ask(&t, &b, "handlers/get.lua", "7", NULL);
	assert_string_equal(t.answer.body.data,
	                    "{\"id\":7,\"price\":500000.00,\"bedrooms\":3,\"bathrooms\":null,\"note\":null,\"sold\":null,"
	                    "\"region_origin\":\"us\",\"version\":1,\"updated_at\":\"2026-02-21T10:00:00.123456Z\"}");
	assert_string_equal(header(&t, "ETag"), "\"us:1\"");
	talk_end(&t);

	ask(&t, &b, "handlers/get.lua", "8", NULL);
	assert_int_equal(t.answer.status, 404);
	assert_string_equal(t.answer.problem->title, "Property not found");
	talk_end(&t);

	ask(&t, &b, "handlers/get.lua", "007", NULL); // no way to write an id
	assert_int_equal(t.answer.status, 404);
	talk_end(&t);
	bench_close(&b);
}

static void answer_may_be_freed_within_done(void **state)
{
	struct bench b;
	struct talk t = {.free_within = true};

	bench_open(&b, "handlers/a.lua", HANDLER("return http.no_content()"));
	talk_begin(&t, &b, "handlers/a.lua", "GET", "/us/x", "7", NULL);
	talk_start(&t, &b);
	assert_null(t.run);
	assert_int_equal(t.done, 1);
	assert_int_equal(t.answer.status, 204);
	talk_end(&t);
	bench_close(&b);
}

static void many_wait_and_are_answered_in_any_order(void **state)
{
	enum { N = 50 };
	static struct talk talks[N];
	struct bench b;
	char id[16], expected[64];

	bench_open(&b, "handlers/get.lua",
	           HANDLER("local a = records.get('properties', req.params.id) local b = records.get('properties', 7) "
	                                           "return http.ok { id = req.params.id, n = a.version + b.version }"));
	for (int i = 0; i < N; i++) {
		fake_store_put(b.store, 100 + i, "1.00", NULL, i);
		snprintf(id, sizeof id, "%d", 100 + i);
		talk_begin(&talks[i], &b, "handlers/get.lua", "GET", "/us/properties/1", id, NULL);
		talk_start(&talks[i], &b);
		assert_int_equal(pl_run_state(talks[i].run), PL_RUN_WAITING);
	}
	for (unsigned turn = 12345; fake_store_waiting(b.store) > 0; turn = turn * 1103515245u + 12345u)
		fake_store_answer(b.store, (int)((turn >> 8) % (unsigned)fake_store_waiting(b.store)));
	for (int i = 0; i < N; i++) {
		assert_int_equal(talks[i].done, 1);
		snprintf(expected, sizeof expected, "{\"id\":\"%d\",\"n\":%d}", 100 + i, i + 1);
		assert_string_equal(talks[i].answer.body.data, expected);
		talk_end(&talks[i]);
	}
	bench_close(&b);
}

static void abandoned_runs_leave_their_calls_to_the_store(void **state)
{
	struct bench b;
	struct talk read = {0}, write = {0};

	bench_open(&b, "handlers/get_write.lua",
	           HANDLER("if req.body then return http.ok(records.update('properties', 7, req.body, 1)) end "
	                   "return http.ok(records.get('properties', 7))"));
	talk_begin(&read, &b, "handlers/get_write.lua", "GET", "/us/properties/7", "7", NULL);
	talk_start(&read, &b);
	talk_end(&read);
	talk_begin(&write, &b, "handlers/get_write.lua", "PUT", "/us/properties/7", "7", "{\"price\":1}");
	talk_start(&write, &b);
	talk_end(&write);
	pl_vm_free(&b.vm); // a reload while the store still has the calls
	assert_int_equal(fake_store_waiting(b.store), 2);
	fake_store_run(b.store);
	assert_int_equal(read.done + write.done, 0);
	bench_close(&b);
}

static void vm_lives_until_its_last_run_is_done(void **state)
{
	struct bench b;
	struct talk t = {0};

	bench_open(&b, "handlers/get.lua", HANDLER("return http.ok(records.get('properties', 7))"));
	talk_begin(&t, &b, "handlers/get.lua", "GET", "/us/properties/7", "7", NULL);
	talk_start(&t, &b);
	pl_vm_free(&b.vm);
	fake_store_run(b.store);
	assert_int_equal(t.done, 1);
	assert_int_equal(t.answer.status, 200);
	talk_end(&t);
	bench_close(&b);
}

static void kept_request_raises_when_asked_later(void **state)
{
	struct bench b;
	struct talk t;

	bench_open(&b, "handlers/keep.lua", HEAD "local kept\nreturn { handle = function(req) if kept then "
	                                         "local ok, err = pcall(function() return kept.params end) "
	                                         "return http.ok { ok = ok, err = err } end "
	                                         "kept = req return http.no_content() end }");
	ask(&t, &b, "handlers/keep.lua", "7", NULL);
	talk_end(&t);
	ask(&t, &b, "handlers/keep.lua", "7", NULL);
	assert_non_null(strstr(t.answer.body.data, "\"ok\":false"));
	assert_non_null(strstr(t.answer.body.data, "has been answered"));
	talk_end(&t);
	bench_close(&b);
}

static void error_of_a_handler_is_500(void **state)
{
	struct bench b;
	struct talk t;

	bench_open(&b, "handlers/bad.lua", HANDLER("local x = nil; return x.y"));
	ask(&t, &b, "handlers/bad.lua", "7", NULL);
	assert_int_equal(t.answer.status, 500);
	assert_null(strstr(t.answer.problem->detail, "nil")); // the cause is not the client's business
	talk_end(&t);
	bench_close(&b);
}

// What is written to standard error while `b` answers one request, in `text`.
static void ask_and_read_log(struct talk *t, struct bench *b, const char *handler, char *text, size_t size)
{
	FILE *file = tmpfile();
	int kept = dup(STDERR_FILENO);
	size_t n;

	assert_non_null(file);
	dup2(fileno(file), STDERR_FILENO);
	ask(t, b, handler, "8", NULL);
	dup2(kept, STDERR_FILENO);
	close(kept);
	rewind(file);
	n = fread(text, 1, size - 1, file);
	text[n] = '\0';
	fclose(file);
}

static void cause_of_a_500_is_one_line_of_the_log(void **state)
{
	static const struct { const char *body, *words; } cases[] = {
		{HANDLER("error('on purpose')"), "handlers/bad.lua:4: on purpose; stack traceback:"},
		{HANDLER("return http.ok(assert(records.get('properties', 8)))"), "raised: 404 Property not found; stack traceback:"},
		{HANDLER("error(setmetatable({}, { __tostring = function() return 'x' end }))"), "an error value that is a table"},
		{HANDLER("local function f() return ('x'):gsub('.', f) end return f()"), "C stack overflow"},
		{HANDLER("local s = 'x' while true do s = s .. s end"), "stopped: used up its memory"},
		{HANDLER("while true do end"), "stopped: handlers/bad.lua:4: used up its instructions"},
	};
	static char text[8192];

	for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
		struct bench b;
		struct talk t;

		bench_open(&b, "handlers/bad.lua", cases[i].body);
		ask_and_read_log(&t, &b, "handlers/bad.lua", text, sizeof text);
		assert_int_equal(t.answer.status, 500);
		assert_non_null(strstr(text, cases[i].words));
		assert_ptr_equal(strchr(text, '\n'), text + strlen(text) - 1);
		talk_end(&t);
		bench_close(&b);
	}
}

static void endless_handler_is_stopped_and_the_next_one_runs(void **state)
{
	struct bench b;
	struct talk t;

	bench_open(&b, "handlers/loop.lua",
	           HANDLER("if req.params.id == '1' then while true do pcall(error) end end return http.no_content()"));
	ask(&t, &b, "handlers/loop.lua", "1", NULL);
	assert_int_equal(t.answer.status, 500);
	talk_end(&t);
	ask(&t, &b, "handlers/loop.lua", "2", NULL);
	assert_int_equal(t.answer.status, 204);
	talk_end(&t);
	bench_close(&b);
}

static void answer_that_is_none_is_500(void **state)
{
	static const char *const bodies[] = {
		HANDLER("return"), HANDLER("return 5"), HANDLER("return { status = 200 }"), HANDLER("return http.ok(tostring)"),
		HANDLER("return http.ok(function() end)"), HANDLER("return http.ok({}, { ['X y'] = 'z' })"),
		HANDLER("return http.ok({}, { X = 'a\\r\\nY: b' })"), HANDLER("return http.ok({}, { ['Content-Length'] = '5' })"),
		HANDLER("local t = {} t.t = t return http.ok(t)"), HANDLER("return http.ok(0/0)"),
			HANDLER("return http.problem(200, 'x')"),
	};

	for (size_t i = 0; i < sizeof bodies / sizeof bodies[0]; i++) {
		struct bench b;
		struct talk t;

		bench_open(&b, "handlers/a.lua", bodies[i]);
		ask(&t, &b, "handlers/a.lua", "7", NULL);
		assert_int_equal(t.answer.status, 500);
		assert_null(t.answer.headers);
		talk_end(&t);
		bench_close(&b);
	}
}

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

static void ten_thousand_runs_do_not_grow_the_state(void **state)
{
	struct bench b;
	struct talk t = {0};
	size_t before = 0;

	bench_open(&b, "handlers/get.lua", HANDLER("local r = records.get('properties', req.params.id) "
	                                           "if not r then error(req.query) end "
	                                           "r.extra = { req.headers, req.query } return http.ok(r)"));
	for (int i = 0; i < 10000; i++) {
		if (i == 1000) {
			lua_gc(pl_vm_lua(b.vm), LUA_GCCOLLECT);
			before = pl_vm_memory(b.vm);
		}
		talk_begin(&t, &b, "handlers/get.lua", "GET", "/us/properties/7?a=1&b=2", i % 10 ? "7" : "8", NULL);
		talk_start(&t, &b);
		if (i % 7)
			fake_store_run(b.store);
		talk_end(&t); // abandoned every seventh time
	}
	fake_store_run(b.store);
	lua_gc(pl_vm_lua(b.vm), LUA_GCCOLLECT);
	assert_in_range(pl_vm_memory(b.vm), 1, before + before / 10);
	bench_close(&b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(handler_that_needs_nothing_is_done_at_once),
		cmocka_unit_test(record_is_answered_as_it_prints),
		cmocka_unit_test(answer_may_be_freed_within_done),
		cmocka_unit_test(many_wait_and_are_answered_in_any_order),
		cmocka_unit_test(abandoned_runs_leave_their_calls_to_the_store),
		cmocka_unit_test(vm_lives_until_its_last_run_is_done),
		cmocka_unit_test(kept_request_raises_when_asked_later),
		cmocka_unit_test(error_of_a_handler_is_500),
		cmocka_unit_test(cause_of_a_500_is_one_line_of_the_log),
		cmocka_unit_test(endless_handler_is_stopped_and_the_next_one_runs),
		cmocka_unit_test(answer_that_is_none_is_500),
		cmocka_unit_test(update_is_written_once_and_answered),
		cmocka_unit_test(faults_of_a_body_are_listed_and_nothing_is_written),
		cmocka_unit_test(body_that_a_handler_made_too_large_raises),
		cmocka_unit_test(text_that_is_no_utf8_is_a_fault),
		cmocka_unit_test(second_write_of_a_request_raises),
		cmocka_unit_test(retry_is_refused_or_replayed_without_the_handler),
		cmocka_unit_test(handler_that_reads_first_recognises_a_retry_before_it_reads),
		cmocka_unit_test(answer_of_its_own_is_stored_before_it_is_given),
		cmocka_unit_test(outcomes_become_their_statuses),
		cmocka_unit_test(database_away_is_503_also_for_reads_and_lookups),
		cmocka_unit_test(ten_thousand_runs_do_not_grow_the_state),
	};

	pl_log_init(PL_LOG_ERROR, PL_LOG_TEXT);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
