// Handlers as coroutines: waiting, resumed in any order, answered, abandoned, kept.
#include <malloc.h>
#include <stdlib.h>

#include "base/mem.h"
#include "talk.h"

static void handler_that_needs_nothing_is_done_at_once(void **state)
{
	struct bench b;
	struct talk t;

	bench_open(&b, "handlers/a.lua",
	           HANDLER("return http.ok { region = req.region, id = req.params.id }"));
	ask(&t, &b, "handlers/a.lua", "7", NULL);
	assert_int_equal(t.answer.status, 200);
	assert_string_equal(t.answer.body.data, "{\"id\":\"7\",\"region\":\"us\"}");
	assert_int_equal(pl_run_state(t.run), PL_RUN_DONE);
	talk_end(&t);
	bench_close(&b);
}

static void record_is_answered_as_it_prints(void **state)
{
	struct bench b;
	struct talk t;

	bench_open(&b, "handlers/get.lua",
	           HANDLER("local r, err = records.get('properties', req.params.id) "
	                   "if not r then return http.problem(err) end return http.ok(r)"));
	ask(&t, &b, "handlers/get.lua", "7", NULL);
	assert_string_equal(
		t.answer.body.data,
		"{\"id\":7,\"price\":500000.00,\"bedrooms\":3,\"bathrooms\":null,\"note\":null,\"sold\":null,"
		"\"region_origin\":\"us\",\"version\":1,\"updated_at\":\"2026-02-21T10:00:00.123456Z\"}");
	assert_string_equal(header(&t, "ETag"), "\"us:1\"");
	talk_end(&t);

	ask(&t, &b, "handlers/get.lua", "8", NULL);
	assert_int_equal(t.answer.status, 404);
	assert_string_equal(t.answer.problem->title, "Property not found");
	talk_end(&t);

	ask(&t, &b, "handlers/get.lua", "007", NULL); // not a valid spelling of an id
	assert_int_equal(t.answer.status, 404);
	talk_end(&t);
	bench_close(&b);
}

static void answer_may_be_freed_within_done(void **state)
{
	struct bench b;
	struct talk t = { .free_within = true };

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
	           HANDLER("local a = records.get('properties', req.params.id) local b = "
	                   "records.get('properties', 7) "
	                   "return http.ok { id = req.params.id, n = a.version + b.version }"));
	for (int i = 0; i < N; i++) {
		fake_store_put(b.store, 100 + i, "1.00", NULL, i);
		snprintf(id, sizeof(id), "%d", 100 + i);
		talk_begin(&talks[i], &b, "handlers/get.lua", "GET", "/us/properties/1", id, NULL);
		talk_start(&talks[i], &b);
		assert_int_equal(pl_run_state(talks[i].run), PL_RUN_WAITING);
	}
	for (unsigned turn = 12345; fake_store_waiting(b.store) > 0; turn = turn * 1103515245u + 12345u)
		fake_store_answer(b.store, (int)((turn >> 8) % (unsigned)fake_store_waiting(b.store)));
	for (int i = 0; i < N; i++) {
		assert_int_equal(talks[i].done, 1);
		snprintf(expected, sizeof(expected), "{\"id\":\"%d\",\"n\":%d}", 100 + i, i + 1);
		assert_string_equal(talks[i].answer.body.data, expected);
		talk_end(&talks[i]);
	}
	bench_close(&b);
}

static void abandoned_runs_leave_their_calls_to_the_store(void **state)
{
	struct bench b;
	struct talk read = { 0 }, write = { 0 };

	bench_open(
		&b, "handlers/get_write.lua",
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
	struct talk t = { 0 };

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

static void kept_request_raises_when_it_is_used_later(void **state)
{
	struct bench b;
	struct talk t;

	bench_open(&b, "handlers/keep.lua",
	           HEAD "local kept\nreturn { handle = function(req) if kept then "
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
	assert_null(strstr(t.answer.problem->detail, "nil")); // the client is not told the cause
	talk_end(&t);
	bench_close(&b);
}

// Captures in `text` what is written to standard error while `b` answers a request.
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
	static const struct {
		const char *body, *words;
	} cases[] = {
		{ HANDLER("error('on purpose')"), "handlers/bad.lua:4: on purpose; stack traceback:" },
		{ HANDLER("return http.ok(assert(records.get('properties', 8)))"),
		  "raised: 404 Property not found; stack traceback:" },
		{ HANDLER("error(setmetatable({}, { __tostring = function() return 'x' end }))"),
		  "an error value that is a table" },
		{ HANDLER("local function f() return ('x'):gsub('.', f) end return f()"),
		  "C stack overflow" },
		{ HANDLER("local s = 'x' while true do s = s .. s end"), "stopped: used up its memory" },
		{ HANDLER("while true do end"), "stopped: handlers/bad.lua:4: used up its instructions" },
	};
	static char text[8192];

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct bench b;
		struct talk t;

		bench_open(&b, "handlers/bad.lua", cases[i].body);
		ask_and_read_log(&t, &b, "handlers/bad.lua", text, sizeof(text));
		assert_int_equal(t.answer.status, 500);
		assert_non_null(strstr(text, cases[i].words));
		assert_non_null(strstr(text, " [request request-"));
		assert_non_null(strstr(text, ", GET /:region/"));
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
	           HANDLER("if req.params.id == '1' then while true do pcall(error) end end "
	                   "return http.no_content()"));
	ask(&t, &b, "handlers/loop.lua", "1", NULL);
	assert_int_equal(t.answer.status, 500);
	talk_end(&t);
	ask(&t, &b, "handlers/loop.lua", "2", NULL);
	assert_int_equal(t.answer.status, 204);
	talk_end(&t);
	bench_close(&b);
}

static void invalid_answer_is_500(void **state)
{
	static const char *const bodies[] = {
		HANDLER("return"),
		HANDLER("return 5"),
		HANDLER("return { status = 200 }"),
		HANDLER("return http.ok(tostring)"),
		HANDLER("return http.ok(function() end)"),
		HANDLER("return http.ok({}, { ['X y'] = 'z' })"),
		HANDLER("return http.ok({}, { X = 'a\\r\\nY: b' })"),
		HANDLER("return http.ok({}, { ['Content-Length'] = '5' })"),
		HANDLER("local t = {} t.t = t return http.ok(t)"),
		HANDLER("return http.ok(0/0)"),
		HANDLER("return http.problem(200, 'x')"),
	};

	for (size_t i = 0; i < sizeof(bodies) / sizeof(bodies[0]); i++) {
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

static void ten_thousand_runs_do_not_grow_the_state(void **state)
{
	struct bench b;
	struct talk t = { 0 };
	size_t before = 0;

	bench_open(&b, "handlers/get.lua",
	           HANDLER("local r = records.get('properties', req.params.id) "
	                   "if not r then error(req.query) end "
	                   "r.extra = { req.headers, req.query } return http.ok(r)"));
	for (int i = 0; i < 10000; i++) {
		if (i == 1000) {
			lua_gc(pl_vm_lua(b.vm), LUA_GCCOLLECT);
			before = pl_vm_memory(b.vm);
		}
		talk_begin(&t, &b, "handlers/get.lua", "GET", "/us/properties/7?a=1&b=2", i % 10 ? "7" : "8",
		           NULL);
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

// Each run waits at the bottom of a recursion, and returns then.
static void grown_coroutines_take_no_memory_of_later_runs(void **state)
{
	enum { RUNS = 14 };
	static const struct world_file files[] = {
		{ "handlers/deep.lua",
		  HANDLER("local function down(n) if n == 0 then return records.get('properties', '7') "
		          "and 0 end return 1 + down(n - 1) end return http.ok { depth = down(20000) }") },
		{ "handlers/wide.lua",
		  HANDLER("local t = {} for i = 1, 130000 do t[i] = { i } end return http.ok { n = #t }") },
	};
	struct bench b = { .config = world_config(files, 2) };
	struct talk deep[RUNS] = { 0 }, wide = { 0 };

	b.vm = world_vm(b.config, PL_CONTEXT_HANDLER);
	b.store = fake_store_new(b.config);
	fake_store_put(b.store, 7, "500000.00", "3", 1);
	for (int i = 0; i < RUNS; i++) {
		talk_begin(&deep[i], &b, "handlers/deep.lua", "GET", "/us/properties/7", "7", NULL);
		talk_start(&deep[i], &b);
	}
	fake_store_run(b.store);
	for (int i = 0; i < RUNS; i++) {
		assert_int_equal(deep[i].answer.status, 200);
		talk_end(&deep[i]);
	}
	ask(&wide, &b, "handlers/wide.lua", "7", NULL);
	assert_int_equal(wide.answer.status, 200);
	talk_end(&wide);
	bench_close(&b);
}

#if defined(__GLIBC__) && !PL_MEM_CHECKED
// A size of this process, in KiB: "VmRSS:", what is resident; "VmHWM:", its peak.
static size_t kib_of(const char *name)
{
	FILE *status = fopen("/proc/self/status", "r");
	char line[256];
	size_t kib = 0;

	assert_non_null(status);
	while (fgets(line, sizeof(line), status)) {
		if (strncmp(line, name, strlen(name)) == 0)
			kib = strtoul(line + strlen(name), NULL, 10);
	}
	fclose(status);
	return kib;
}

static void forget_the_peak(void)
{
	FILE *refs = fopen("/proc/self/clear_refs", "w");

	assert_non_null(refs);
	fputs("5", refs);
	assert_int_equal(fclose(refs), 0);
}

// Small tables, of which a third is malloc's own; and large texts that come when most
// of the tables have gone, but the others keep malloc from using their place.
static void a_vm_takes_no_more_of_the_system_than_its_limit(void **state)
{
	enum { LIMIT_KIB = 32 << 10, SLACK_KIB = 6 << 10 };
	static const struct world_file files[] = {
		{ "handlers/small.lua", HANDLER("local t = {} for i = 1, 1e6 do t[i] = { i } end") },
		{ "handlers/both.lua",
		  HANDLER("local text, t, kept = ('x'):rep(1000), {}, {} "
		          "for i = 1, 240000 do t[i] = { i } end "
		          "for i = 1, 240 do kept[i] = t[1000 * i] end t = {} "
		          "for i = 1, 20 do t[i] = text:rep(1000 + i) end return http.ok { n = #kept }") },
	};
	struct bench b = { .config = world_config(files, 2) };
	struct talk t;

	b.vm = world_vm(b.config, PL_CONTEXT_HANDLER);
	b.store = fake_store_new(b.config);
	mallopt(M_MMAP_THRESHOLD, 256 * 1024); // as plistd
	for (int i = 0; i < 2; i++) {
		pl_mem_give_back();
		forget_the_peak();
		size_t before = kib_of("VmRSS:") - (i ? pl_vm_memory(b.vm) >> 10 : 0);
		ask(&t, &b, files[i].path, "7", NULL);
		assert_int_equal(t.answer.status, i ? 200 : 500); // there is no room for a million
		talk_end(&t);
		assert_in_range(kib_of("VmHWM:") - before, LIMIT_KIB - SLACK_KIB, LIMIT_KIB + SLACK_KIB);
	}
	bench_close(&b);
}
#endif

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(handler_that_needs_nothing_is_done_at_once),
		cmocka_unit_test(record_is_answered_as_it_prints),
		cmocka_unit_test(answer_may_be_freed_within_done),
		cmocka_unit_test(many_wait_and_are_answered_in_any_order),
		cmocka_unit_test(abandoned_runs_leave_their_calls_to_the_store),
		cmocka_unit_test(vm_lives_until_its_last_run_is_done),
		cmocka_unit_test(kept_request_raises_when_it_is_used_later),
		cmocka_unit_test(error_of_a_handler_is_500),
		cmocka_unit_test(cause_of_a_500_is_one_line_of_the_log),
		cmocka_unit_test(endless_handler_is_stopped_and_the_next_one_runs),
		cmocka_unit_test(invalid_answer_is_500),
		cmocka_unit_test(ten_thousand_runs_do_not_grow_the_state),
		cmocka_unit_test(grown_coroutines_take_no_memory_of_later_runs),
#if defined(__GLIBC__) && !PL_MEM_CHECKED
		cmocka_unit_test(a_vm_takes_no_more_of_the_system_than_its_limit),
#endif
	};

	pl_log_init(PL_LOG_ERROR, PL_LOG_TEXT);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
