// The lane: slow handlers are interrupted and wait for their turn, while others are
// served.
#include "talk.h"

#include <time.h>

#include "script/lane.h"
#include "script/script_private.h"

// Every kind of Lua code that a hook can interrupt, for some ten milliseconds.
#define WORK                                                                                              \
	"local t = setmetatable({}, { __index = function(_, k) return k % 7 end, "                        \
	"  __add = function(a, b) return 1 end, __call = function(_, a, ...) return a, ... end, "         \
	"  __lt = function() return true end, __concat = function() return 'c' end, "                     \
	"  __len = function() return 3 end }) "                                                           \
	"local function step(n, ...) local ok, a, b = pcall(function(...) local x, y = ... "              \
	"  if n % 1000 == 0 then error('now and then') end return x, y end, ...) "                        \
	"  return ok and a or #tostring(a), b end "                                                       \
	"local function each(n) local i = 0 return function() i = i + 1 if i <= n then return i end end " \
	"end local sum, text = 0, {} "                                                                    \
	"for i in each(20000) do local a, b = step(i, t[i], select('#', t(i, i, i))) "                    \
	"  sum = sum + a + (b or 0) + (t + i) + #t if t < t then sum = sum + #(t .. 'x') end "            \
	"  if i % 100 == 0 then text[#text + 1] = (a * 3 .. ''):upper() end end "

static void open_lane(struct bench *b, struct pl_lane **lane_r)
{
	*lane_r = pl_lane_new();
	pl_vm_set_lane(b->vm, *lane_r, NULL);
}

// Gives turns until the talk is done; returns how many.
static int turns(struct pl_lane *lane, struct bench *b, struct talk *t)
{
	int n = 0;

	while (!t->done && n < 100000) {
		int wait_ms = pl_lane_turn(lane);

		fake_store_run(b->store);
		if (wait_ms > 0)
			usleep((unsigned)wait_ms * 1000);
		n++;
	}
	assert_int_equal(t->done, 1);
	return n;
}

static void close_all(struct bench *b, struct pl_lane **lane)
{
	pl_vm_set_lane(b->vm, NULL, NULL);
	pl_lane_free(lane);
	bench_close(b);
}

static void start(struct talk *t, struct bench *b, const char *handler)
{
	t->free_within = false;
	talk_begin(t, b, handler, "GET", "/us/properties/7", "7", NULL);
	talk_start(t, b);
}

static void interrupted_handler_answers_as_if_it_had_not_been(void **state)
{
	struct bench b;
	struct pl_lane *lane;
	struct pl_lane_stats stats;
	struct talk whole, parts;

	bench_open(&b, "handlers/a.lua",
	           HANDLER(WORK "return http.ok { sum = sum, text = table.concat(text) }"));
	ask(&whole, &b, "handlers/a.lua", "7", NULL);
	assert_int_equal(whole.answer.status, 200);
	open_lane(&b, &lane);
	start(&parts, &b, "handlers/a.lua");
	assert_true(turns(lane, &b, &parts) > 1);
	pl_lane_stats(lane, &stats);
	assert_true(stats.interrupted > 0);
	assert_int_equal(parts.answer.status, 200);
	assert_string_equal(parts.answer.body.data, whole.answer.body.data);
	talk_end(&parts);
	talk_end(&whole);
	close_all(&b, &lane);
}

// The handler's own time counts, not that of the others between its turns.
static void endless_handler_ends_by_its_time_limit_and_others_are_served_meanwhile(void **state)
{
	struct bench b;
	struct pl_lane *lane;
	struct talk endless, t = { 0 };
	int served = 0;

	bench_open(&b, "handlers/a.lua",
	           HANDLER("if req.params.id == '7' then while true do end end return http.ok { a = 1 }"));
	open_lane(&b, &lane);
	start(&endless, &b, "handlers/a.lua");
	while (!endless.done && served < 100000) {
		pl_lane_turn(lane);
		if (endless.done)
			break;
		talk_begin(&t, &b, "handlers/a.lua", "GET", "/us/properties/8", "8", NULL);
		talk_start(&t, &b);
		turns(lane, &b, &t);
		assert_int_equal(t.answer.status, 200);
		talk_end(&t);
		served++;
	}
	assert_true(served >= 2);
	assert_int_equal(endless.answer.status, 500);
	talk_end(&endless);
	close_all(&b, &lane);
}

static void script_that_was_slow_begins_in_the_lane_and_a_fast_one_at_once(void **state)
{
	struct bench b;
	struct pl_lane *lane;
	struct talk t = { 0 };
	int paused;
	struct pl_lane_stats stats;

	bench_open(&b, "handlers/a.lua",
	           HANDLER("if req.params.id == '7' then for i = 1, 6000000 do end end "
	                   "return http.ok { a = 1 }"));
	open_lane(&b, &lane);
	talk_begin(&t, &b, "handlers/a.lua", "GET", "/us/properties/8", "8", NULL);
	talk_start(&t, &b);
	assert_int_equal(pl_run_state(t.run), PL_RUN_QUEUED); // nothing is known about it yet
	turns(lane, &b, &t);
	talk_end(&t);
	talk_begin(&t, &b, "handlers/a.lua", "GET", "/us/properties/8", "8", NULL);
	talk_start(&t, &b);
	assert_int_equal(pl_run_state(t.run), PL_RUN_DONE);
	talk_end(&t);
	start(&t, &b, "handlers/a.lua");
	assert_int_equal(pl_run_state(t.run), PL_RUN_WAITING);
	turns(lane, &b, &t);
	assert_int_equal(t.answer.status, 200);
	talk_end(&t);
	pl_lane_stats(lane, &stats);
	paused = (int)stats.interrupted;
	assert_true(paused > 0);
	talk_begin(&t, &b, "handlers/a.lua", "GET", "/us/properties/8", "8", NULL);
	talk_start(&t, &b);
	assert_int_equal(pl_run_state(t.run), PL_RUN_QUEUED);
	turns(lane, &b, &t);
	assert_int_equal(t.answer.status, 200);
	talk_end(&t);
	close_all(&b, &lane);
}

static void runs_may_be_freed_in_the_lane(void **state)
{
	struct bench b;
	struct pl_lane *lane;
	struct pl_lane_stats stats;
	struct talk t[10];

	bench_open(&b, "handlers/a.lua", HANDLER("while true do end"));
	open_lane(&b, &lane);
	for (int i = 0; i < 10; i++)
		start(&t[i], &b, "handlers/a.lua");
	pl_lane_turn(lane);
	pl_lane_stats(lane, &stats);
	assert_int_equal(stats.waiting, 10); // one has begun
	for (int i = 9; i >= 0; i--)
		talk_end(&t[i]);
	pl_lane_stats(lane, &stats);
	assert_int_equal(stats.waiting, 0);
	assert_int_equal(pl_lane_turn(lane), -1);
	close_all(&b, &lane);
}

static void slow_handler_cannot_take_the_memory_that_others_need(void **state)
{
	struct bench b;
	struct pl_lane *lane;
	struct talk hoarder, t = { 0 };
	int served = 0;

	bench_open(&b, "handlers/a.lua",
	           HANDLER("if req.params.id == '7' then local t = {} "
	                   "for i = 1, 1000 do pcall(function() for j = 1, 1000 do "
	                   "t[#t + 1] = ('x'):rep(500 + j) for k = 1, 50 do end end end) "
	                   "end end return http.ok { a = ('y'):rep(100000) }"));
	open_lane(&b, &lane);
	start(&hoarder, &b, "handlers/a.lua");
	while (!hoarder.done && served < 100000) {
		pl_lane_turn(lane);
		if (hoarder.done)
			break;
		talk_begin(&t, &b, "handlers/a.lua", "GET", "/us/properties/8", "8", NULL);
		talk_start(&t, &b);
		turns(lane, &b, &t);
		assert_int_equal(t.answer.status, 200);
		talk_end(&t);
		served++;
	}
	assert_true(served > 0);
	assert_int_equal(hoarder.answer.status, 500);
	talk_end(&hoarder);
	close_all(&b, &lane);
}

static void too_many_slow_requests_are_answered_503(void **state)
{
	enum { N = 300 };
	static struct talk t[N];
	struct bench b;
	struct pl_lane *lane;
	struct talk first;
	int refused = 0;

	bench_open(&b, "handlers/a.lua", HANDLER("for i = 1, 6000000 do end return http.ok { a = 1 }"));
	open_lane(&b, &lane);
	start(&first, &b, "handlers/a.lua");
	turns(lane, &b, &first);
	talk_end(&first);
	for (int i = 0; i < N; i++) {
		start(&t[i], &b, "handlers/a.lua");
		refused += t[i].done;
	}
	assert_in_range(refused, 1, N - 100);
	assert_int_equal(t[N - 1].answer.status, 503);
	assert_true(t[N - 1].answer.problem->not_executed);
	for (int i = 0; i < N; i++)
		talk_end(&t[i]);
	close_all(&b, &lane);
}

static void slow_request_whose_deadline_passes_in_the_lane_is_answered_503(void **state)
{
	struct bench b;
	struct pl_lane *lane;
	struct talk t = { 0 };

	bench_open(&b, "handlers/a.lua", HANDLER("return http.ok { a = 1 }"));
	open_lane(&b, &lane);
	talk_begin(&t, &b, "handlers/a.lua", "GET", "/us/properties/7", "7", NULL);
	t.request->deadline_us = 1;
	talk_start(&t, &b);
	turns(lane, &b, &t);
	assert_int_equal(t.answer.status, 503);
	talk_end(&t);
	close_all(&b, &lane);
}

// Computes for this many microseconds of the thread's processor time.
static void work(int64_t us)
{
	struct timespec t;
	int64_t begin_us = -1, now_us = 0;

	do {
		clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
		now_us = (int64_t)t.tv_sec * 1000000 + t.tv_nsec / 1000;
		begin_us = begin_us < 0 ? now_us : begin_us;
	} while (now_us - begin_us < us);
}

// A call of 60 ms during which nobody looked at its time slice.
static bool is_blamed(struct pl_lane *lane)
{
	struct pl_script script = { 0 };

	pl_lane_note(lane, &script, 60000, false);
	assert_int_equal(script.proven, script.slow_until_us == 0);
	return script.slow_until_us > 0;
}

static void slow_call_is_blamed_only_if_the_thread_has_worked(void **state)
{
	struct pl_lane *lane = pl_lane_new();

	pl_lane_turn(lane);
	usleep(60000); // the machine was busy with something else
	assert_false(is_blamed(lane));
	pl_lane_turn(lane);
	work(40000);
	assert_true(is_blamed(lane));
	pl_lane_turn(lane); // work done before this turn is attributed to nobody
	assert_false(is_blamed(lane));
	for (int i = 0; i < 20; i++) { // not every one of these turns reads the clock
		pl_lane_turn(lane);
		work(1000);
	}
	assert_false(is_blamed(lane));
	pl_lane_free(&lane);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(interrupted_handler_answers_as_if_it_had_not_been),
		cmocka_unit_test(endless_handler_ends_by_its_time_limit_and_others_are_served_meanwhile),
		cmocka_unit_test(script_that_was_slow_begins_in_the_lane_and_a_fast_one_at_once),
		cmocka_unit_test(runs_may_be_freed_in_the_lane),
		cmocka_unit_test(slow_handler_cannot_take_the_memory_that_others_need),
		cmocka_unit_test(too_many_slow_requests_are_answered_503),
		cmocka_unit_test(slow_request_whose_deadline_passes_in_the_lane_is_answered_503),
		cmocka_unit_test(slow_call_is_blamed_only_if_the_thread_has_worked),
	};

	pl_log_init(PL_LOG_ERROR, PL_LOG_TEXT);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
