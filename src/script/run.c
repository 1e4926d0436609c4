// Runs: a handler as a coroutine, which waits while the store works for it.
//
// http/ starts a run for each request. pl_run_start makes the coroutine and its `req` and
// resumes it. A binding that needs the store prepares an op and yields. The op is sent
// when the coroutine has yielded, so nothing can raise while the store has it. When the
// store answers, the coroutine is resumed and takes its result out of the op. The value
// that the handler returns becomes the answer.
//
// Some steps are invisible to the handler. Before the first read of an idempotent route
// the request id is looked up, so that a retry is recognised before the handler can take
// another path. A write that turns out to be a retry (remembered, reused, running) is
// answered here, and the coroutine is dropped. An answer to a write that differs from the
// default answer is stored before it is sent; see answer_stored.c. What the client has
// seen before is waited for, and the answer says what it has seen; see run_seen.c.
//
// A handler that has used up its slice is interrupted, and continued by the lane
// (script/lane); a run of a slow script begins there.
//
// Invariants: `done` is called exactly once unless the run is freed before; at most one
// op is with the store; memory that the store may still touch is in the run's arena,
// which an abandoned run leaves to its op.
// Threads: a VM's.
#include "script/run.h"

#include <assert.h>
#include <lauxlib.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/faults.h"
#include "base/log.h"
#include "script/answer.h"
#include "script/lane.h"
#include "script/load.h"
#include "script/request.h"
#include "script/run_state.h"
#include "script/state.h"

#define OTHER_VERSIONS_MAX 4 // the row may change while the next version is tried

static void send_op(struct pl_run *run, struct pl_op *op);
static void go_on(struct pl_run *run, int nargs);
static void take_turn(struct pl_run *run);

struct pl_run *pl_run_asking(lua_State *L, const char *what)
{
	struct pl_run *run = pl_vm_of(L)->run;

	if (!run)
		luaL_error(L, "%s: no request is being handled; call it inside the handle function", what);
	return run;
}

struct pl_run *pl_run_current(lua_State *L, const char *what)
{
	struct pl_run *run = pl_run_asking(L, what);

	if (!lua_isyieldable(L))
		luaL_error(L,
		           "%s cannot wait inside a function that Lua's library calls (sort, gsub, a "
		           "metamethod)",
		           what);
	// The result of the last op has become Lua values. A written record is still
	// needed, for comparison with the answer.
	if (!run->written) {
		pl_arena_reset(run->arena);
		run->budget.outside = 0;
	}
	run->op = NULL;
	return run;
}

// The end.

static void free_now(struct pl_run *run)
{
	struct pl_vm *vm = run->vm;

	if (run->in_flight) {
		run->in_flight->run = NULL;
		run->in_flight->arena = run->arena;
		run->in_flight->config = pl_config_ref(vm->config);
	} else {
		pl_arena_free(&run->arena);
	}
	free(run);
	pl_state_release(vm);
}

// Keeps the coroutine for another run if it has returned, else lets it be collected.
// `req` forgets the request. A coroutine's stack stays as large as it was, and so does
// the table of strings, when Lua collects because memory is short. So a VM that holds
// much keeps no coroutine, and is collected completely.
static void drop_coroutine(struct pl_run *run)
{
	struct pl_vm *vm = run->vm;

	pl_request_close(&run->box);
	if (run->co && run->returned && vm->nidle < PL_IDLE_MAX && !pl_state_holds_much(vm)) {
		lua_settop(run->co, 0);
		vm->idle[vm->nidle].co = run->co;
		vm->idle[vm->nidle].ref = run->ref_co;
		vm->nidle++;
	} else if (run->co) {
		luaL_unref(vm->L, LUA_REGISTRYINDEX, run->ref_co); // allocates nothing
	}
	run->co = NULL;
	if (vm->lane)
		pl_lane_note_garbage(vm->lane, vm);
}

static void finish(struct pl_run *run)
{
	struct pl_op *last;

	assert(!run->over && run->answer->status != 0);
	if ((last = pl_run_seen_end(run))) {
		send_op(run, last);
		return;
	}
	run->over = true;
	drop_coroutine(run);
	run->done(run, run->arg);
}

static void finish_with(struct pl_run *run, const struct pl_problem *problem)
{
	pl_answer_problem(run, problem);
	finish(run);
}

// The handler failed. The client gets a 500, and the log has the cause. If a write has
// been committed, the client gets its default answer instead.
static void fail(struct pl_run *run, enum pl_call_end end, const struct pl_error *err)
{
	const struct pl_request *request = run->request;
	char *trace = pl_arena_strdup(run->arena, pl_call_trace(run->vm));

	for (char *p = trace; *p; p++) { // one line
		if (*p == '\n' || *p == '\t')
			*p = ' ';
	}
	pl_err("%s: %s %s: %s: %s%s%s%s", run->script->source->path, request->method, request->target,
	       end == PL_CALL_RAISED ? "raised" : "stopped", err->text, *trace ? "; " : "", trace,
	       run->written ? "; its write had been committed; sending the default answer instead" : "");
	pl_answer_reset(run->answer);
	if (run->written) {
		pl_faults_lost(PL_LOSS_HANDLER_ANSWER);
		pl_answer_default(run);
		finish(run);
	} else {
		finish_with(run, pl_exchange_problem_of_error(run->arena, err));
	}
}

// Answers of the store.

// Answers a retry, without the handler. False: it is not a retry.
static bool answer_retry(struct pl_run *run, enum pl_outcome outcome, const struct pl_remembered *remembered)
{
	const struct pl_problem *problem;
	struct pl_write as_write;

	if (outcome != PL_OUTCOME_REMEMBERED && outcome != PL_OUTCOME_REUSED && outcome != PL_OUTCOME_RUNNING)
		return false;
	as_write = (struct pl_write){ .outcome = outcome, .remembered = *remembered };
	problem = pl_exchange_problem_of_write(run->arena, &as_write, run->request->route);
	if (problem) {
		finish_with(run, problem);
	} else {
		pl_answer_replay(run, remembered);
		pl_run_seen_replay(run);
		finish(run);
	}
	return true;
}

static void looked_up(struct pl_run *run, const struct pl_remember_lookup *lookup)
{
	run->looked_up = true;
	if (lookup->code != 0)
		finish_with(run, pl_exchange_problem_of_error(run->arena, &lookup->err));
	else if (!answer_retry(run, lookup->outcome, &lookup->remembered))
		send_op(run, run->op);
}

static bool names(const struct pl_tag *tags, const struct pl_vector *vector)
{
	for (; tags; tags = tags->next) {
		if (pl_vector_equal(&tags->vector, vector))
			return true;
	}
	return false;
}

// The store compares with one version. If If-Match names several and the row has another
// of them, the write is sent again with that one: nothing has been written or remembered.
// False: the outcome is final.
static bool try_other_version(struct pl_run *run, const struct pl_op *op)
{
	const struct pl_write *write = &op->write;
	struct pl_op *again;

	if (write->outcome != PL_OUTCOME_ETAG || !write->record || op->tries == OTHER_VERSIONS_MAX ||
	    pl_vector_equal(&write->etag, &write->record->vector) ||
	    !names(op->others, &write->record->vector))
		return false;
	again = pl_run_op_new(run, PL_OP_WRITE);
	again->others = op->others;
	again->tries = op->tries + 1;
	again->write = *write;
	again->write.etag = write->record->vector;
	again->write.record = NULL;
	again->write.task = NULL;
	again->write.client = NULL;
	again->write.next = NULL;
	run->op = again;
	send_op(run, again);
	return true;
}

static void written(struct pl_run *run, struct pl_op *op)
{
	if (try_other_version(run, op) || answer_retry(run, op->write.outcome, &op->write.remembered))
		return;
	if (op->write.outcome == PL_OUTCOME_DONE)
		run->written = op;
	go_on(run, 0);
}

// The write is committed whether or not its answer could be stored; only a replay would
// differ.
static void stored(struct pl_run *run, const struct pl_remember_answer *store)
{
	if (store->code != 0) {
		pl_faults_lost(PL_LOSS_STORED_ANSWER);
		pl_warning("%s: the answer to %s was not stored; a retry will get the default answer: %s",
		           run->script->source->path, run->request->request_id, store->err.text);
	}
	finish(run);
}

// The error of an op, with its code; NULL if it did not fail.
static const struct pl_error *failure_of(struct pl_error *err, int code)
{
	if (code != 0 && err->code == 0)
		err->code = code;
	return code != 0 ? err : NULL;
}

// Notes what the answer may claim about execution. A write counts as executed unless it
// is certain that it executed nothing.
static void note_outcome(struct pl_run *run, struct pl_op *op)
{
	const struct pl_error *failure = NULL;

	switch (op->kind) {
	case PL_OP_READ: failure = failure_of(&op->read.err, op->read.code); break;
	case PL_OP_QUERY: failure = failure_of(&op->query.err, op->query.code); break;
	case PL_OP_LOOKUP: failure = failure_of(&op->lookup.err, op->lookup.code); break;
	case PL_OP_WRITE:
		failure = op->write.outcome == PL_OUTCOME_FAILED ? &op->write.err : NULL;
		run->maybe_executed =
			run->maybe_executed || !failure || !pl_exchange_executes_nothing(failure);
		break;
	default: break;
	}
	run->refused = run->refused || (failure && pl_exchange_executes_nothing(failure));
}

static void covered(struct pl_run *run, const struct pl_op *op)
{
	if (pl_run_seen_ended(run, op)) {
		finish(run);
		return;
	}
	pl_answer_reset(run->answer);
	finish_with(run, pl_exchange_problem_of_error(run->arena, &op->query.err));
}

// The answer to an op of the handler.
static void deliver(struct pl_run *run, struct pl_op *op)
{
	note_outcome(run, op);
	pl_run_seen_note(run, op);
	if (op->kind == PL_OP_WRITE)
		written(run, op);
	else
		go_on(run, 0);
}

static void checked(struct pl_run *run, struct pl_op *check)
{
	struct pl_op *next = pl_run_seen_checked(run, check);

	if (next)
		pl_run_hand_in(run, next);
	else
		deliver(run, run->op);
}

static void read(struct pl_run *run, struct pl_op *op)
{
	struct pl_op *check = pl_run_seen_check_read(run, op);

	if (check)
		pl_run_hand_in(run, check);
	else
		deliver(run, op);
}

static void answered(struct pl_run *run, struct pl_op *op)
{
	switch (op->kind) {
	case PL_OP_LOOKUP:
		note_outcome(run, op);
		looked_up(run, &op->lookup);
		break;
	case PL_OP_STORE: stored(run, &op->store); break;
	case PL_OP_CHECK:
	case PL_OP_CHECK_RECORD: checked(run, op); break;
	case PL_OP_COVER: covered(run, op); break;
	case PL_OP_READ: read(run, op); break;
	case PL_OP_WRITE:
	case PL_OP_QUERY: deliver(run, op); break;
	}
}

void pl_run_op_done(struct pl_op *op)
{
	struct pl_run *run = op->run;

	if (!run) { // abandoned: the op itself is in the arena
		struct pl_arena *arena = op->arena;
		struct pl_config *config = op->config;

		pl_arena_free(&arena);
		pl_config_unref(&config);
		return;
	}
	assert(run->in_flight == op);
	run->in_flight = NULL;
	run->busy = true;
	const struct pl_log_request *before = pl_log_set_request(&run->about);
	answered(run, op);
	pl_log_set_request(before);
	run->busy = false;
	if (run->freed)
		free_now(run);
}

// What the client has seen must be here first.
static void send_op(struct pl_run *run, struct pl_op *op)
{
	struct pl_op *check = pl_run_seen_check(run, op);

	pl_run_hand_in(run, check ? check : op);
}

// Going on.

static bool needs_lookup(const struct pl_run *run)
{
	return run->request->route->idempotent && run->request->request_id[0] && !run->looked_up &&
	       run->op->kind != PL_OP_WRITE;
}

// The handler has returned, and its answer is complete.
static void returned(struct pl_run *run)
{
	const struct pl_answer *answer = run->answer;
	struct pl_op *op;

	if (run->written && answer->status >= 500) {
		pl_faults_lost(PL_LOSS_HANDLER_ANSWER);
		pl_err("%s: %s %s: answered %d, but its write had been committed; sending the default "
		       "answer instead",
		       run->script->source->path, run->request->method, run->request->target, answer->status);
		pl_answer_default(run);
	}
	if (!run->written || !run->written->write.request_id[0] || pl_answer_is_default(run)) {
		finish(run);
		return;
	}
	op = pl_run_op_new(run, PL_OP_STORE);
	pl_answer_to_store(run, &op->store);
	send_op(run, op);
}

// Tells the VM which run's script is running; NULL: none.
static void set_running(struct pl_vm *vm, struct pl_run *run)
{
	vm->run = run;
	vm->request = run ? run->request : NULL;
	vm->run_number = run ? run->number : 0;
	vm->place = run ? run->script->source->path : NULL;
}

// Resumes the coroutine, and takes its answer when it has returned.
static enum pl_call_end call(struct pl_run *run, int nargs, struct pl_error *err)
{
	struct pl_vm *vm = run->vm;
	struct pl_answering answering = { .run = run, .co = run->co };
	int64_t began_us = vm->lane ? pl_mono_us() : 0;
	enum pl_call_end end;
	bool over_slice;

	set_running(vm, run);
	run->answer->status = 0;
	end = pl_call_resume(vm, run->co, nargs, &answering.nresults, &run->budget, err);
	over_slice = vm->over_slice;
	run->returned = end == PL_CALL_DONE;
	if (end == PL_CALL_DONE) {
		end = pl_call(vm, pl_answer_take, &answering, &run->budget, err);
		over_slice |= vm->over_slice;
		pl_buf_reset(&vm->trace); // the error is not at a line of the script
	}
	set_running(vm, NULL);
	if (vm->lane)
		pl_lane_note(vm->lane, run->script, pl_mono_us() - began_us, over_slice);
	return end;
}

static void go_on(struct pl_run *run, int nargs)
{
	struct pl_error err;
	enum pl_call_end end = call(run, nargs, &err);

	if (end == PL_CALL_WAITING)
		send_op(run, needs_lookup(run) ? pl_run_op_lookup(run) : run->op);
	else if (end == PL_CALL_PAUSED)
		pl_lane_add_paused(run->vm->lane, run, take_turn);
	else if (end == PL_CALL_DONE)
		returned(run);
	else
		fail(run, end, &err);
}

// Body: makes the coroutine, with its function and `req` on its stack.
//   1  light userdata: the run
static int make_coroutine(lua_State *L)
{
	struct pl_run *run = lua_touserdata(L, 1);
	struct pl_vm *vm = run->vm;

	if (vm->nidle > 0) {
		vm->nidle--;
		run->co = vm->idle[vm->nidle].co;
		run->ref_co = vm->idle[vm->nidle].ref;
	} else {
		run->co = lua_newthread(L);
		run->ref_co = luaL_ref(L, LUA_REGISTRYINDEX);
	}
	lua_rawgeti(L, LUA_REGISTRYINDEX, run->script->function);
	pl_request_push(L, run->request, &run->box);
	lua_xmove(L, run->co, 2);
	return 0;
}

static void begin(struct pl_run *run)
{
	struct pl_error err;
	enum pl_call_end end;

	end = pl_call(run->vm, make_coroutine, run, NULL, &err);
	if (end == PL_CALL_DONE)
		go_on(run, 1);
	else
		fail(run, end, &err);
}

// Answers a run of a slow script that cannot begin.
static void refuse(struct pl_run *run, const char *why)
{
	struct pl_error err;

	pl_error_set(&err, PL_EBUSY, "%s", why);
	finish_with(run, pl_exchange_problem_of_error(run->arena, &err));
}

static void take_turn(struct pl_run *run)
{
	const struct pl_log_request *before = pl_log_set_request(&run->about);

	run->busy = true;
	run->budget.slow = run->budget.slow || pl_lane_is_slow(run->script);
	if (run->co)
		go_on(run, 0);
	else if (pl_mono_us() < run->request->deadline_us)
		begin(run);
	else
		refuse(run, "the handler could not begin in time, because others of its kind are slow");
	pl_log_set_request(before);
	run->busy = false;
	if (run->freed)
		free_now(run);
}

static void begin_or_wait(struct pl_run *run)
{
	struct pl_lane *lane = run->vm->lane;

	run->script = pl_load_find(run->vm, run->request->route->handler);
	if (!run->script)
		pl_die("script: the handler %s is not loaded", run->request->route->handler);
	if (!lane || !pl_lane_must_wait(lane, run->script))
		begin(run);
	else if (!pl_lane_add(lane, run, take_turn))
		refuse(run, "too many requests for slow handlers are waiting");
}

static struct pl_log_request about(const struct pl_request *request)
{
	const char *id = request->echo_id ? request->echo_id : request->request_id;

	return (struct pl_log_request){
		.id = id,
		.key = strcmp(id, request->request_id) == 0 ? "" : request->request_id,
		.method = request->route->method,
		.path = request->route->path,
		.principal = request->principal,
	};
}

struct pl_run *pl_run_start(struct pl_vm *vm, struct pl_store *store, const struct pl_request *request,
                            struct pl_answer *answer, void (*done)(struct pl_run *run, void *arg), void *arg)
{
	struct pl_run *run = pl_calloc(1, sizeof(*run));

	pl_state_hold(vm);
	*run = (struct pl_run){
		.vm = vm,
		.number = ++vm->runs,
		.store = store,
		.request = request,
		.answer = answer,
		.done = done,
		.arg = arg,
		.budget = pl_call_budget(&vm->limits),
		.arena = pl_arena_new(0),
		.ref_co = LUA_NOREF,
		.busy = true,
	};
	run->about = about(request);
	pl_run_seen_begin(run);
	const struct pl_log_request *before = pl_log_set_request(&run->about);
	begin_or_wait(run);
	pl_log_set_request(before);
	run->busy = false;
	if (run->freed) {
		free_now(run);
		return NULL;
	}
	return run;
}

enum pl_run_state pl_run_state(const struct pl_run *run)
{
	return run->over ? PL_RUN_DONE : run->turn.lane && !run->turn.begun ? PL_RUN_QUEUED : PL_RUN_WAITING;
}

bool pl_run_wrote(const struct pl_run *run)
{
	return run->wrote;
}

void pl_run_free(struct pl_run **run_p)
{
	struct pl_run *run = *run_p;

	*run_p = NULL;
	if (!run)
		return;
	pl_lane_leave(run);
	pl_run_seen_abandon(run);
	drop_coroutine(run);
	if (run->busy)
		run->freed = true;
	else
		free_now(run);
}
