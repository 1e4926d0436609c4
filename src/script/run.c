// Runs: a handler as a coroutine that waits where it asks the store.
//
// Stands between http/router and the bindings. The way of a request: pl_run_start makes the coroutine and its `req` and
// resumes it; a binding that needs the store prepares an op and yields; the op is sent when the coroutine has yielded, so
// nothing can raise while the store has it; its answer resumes the coroutine, which takes what it asked for out of the op;
// what the handler returns becomes the answer.
//
// Three things the handler does not see. Before the first read of an idempotent route the request id is looked up, so that a
// retry is recognised before the handler can take another way. A write that turns out to be a retry (remembered, reused,
// running) is answered here and the coroutine is dropped. And a 2xx that differs from the default answer is stored before it
// is given.
//
// Invariants: `done` is called exactly once unless the run is freed before; at most one op is with the store; what the store
// may still touch is in the run's arena, which an abandoned run leaves to its op.
// Threads: a VM's.
#include "script/run.h"

#include <assert.h>
#include <lauxlib.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "script/request.h"

static void send_op(struct pl_run *run, struct pl_op *op);
static void go_on(struct pl_run *run, int nargs);

struct pl_run *pl_run_asking(lua_State *L, const char *what)
{
	struct pl_run *run = pl_vm_of(L)->run;

	if (!run)
		luaL_error(L, "%s: there is no request; this belongs into the handle function", what);
	return run;
}

struct pl_run *pl_run_current(lua_State *L, const char *what)
{
	struct pl_run *run = pl_run_asking(L, what);

	if (!lua_isyieldable(L))
		luaL_error(L, "%s cannot wait here, inside a function that Lua's library calls (sort, gsub, a metamethod)", what);
	if (!run->written) // the last op's answer has become Lua values; a written record is still to be compared with
		pl_arena_reset(run->arena);
	run->op = NULL;
	return run;
}

const char *pl_run_place(const struct pl_vm *vm)
{
	const struct pl_script *script = vm->run ? vm->run->script : vm->current;

	return script ? script->source->path : "script";
}

// Ops.

// As large as its kind needs: a read is a quarter of a write, and each request has one, all of it zeroed.
static struct pl_op *op_new(struct pl_run *run, enum pl_op_kind kind)
{
	static const size_t sizes[] = {
		[PL_OP_READ] = sizeof(struct pl_read), [PL_OP_WRITE] = sizeof(struct pl_write), [PL_OP_QUERY] = sizeof(struct pl_query),
		[PL_OP_LOOKUP] = sizeof(struct pl_remember_lookup), [PL_OP_STORE] = sizeof(struct pl_remember_answer),
	};
	struct pl_op *op = pl_arena_alloc(run->arena, offsetof(struct pl_op, read) + sizes[kind]);

	op->kind = kind;
	op->run = run;
	return op;
}

struct pl_read *pl_run_prepare_read(struct pl_run *run, const struct pl_resource *resource, int64_t id)
{
	struct pl_read *read;

	run->op = op_new(run, PL_OP_READ);
	read = &run->op->read;
	read->arena = run->arena;
	read->resource = resource;
	read->id = id;
	read->deadline_us = run->request->deadline_us;
	return read;
}

struct pl_query *pl_run_prepare_query(struct pl_run *run)
{
	run->op = op_new(run, PL_OP_QUERY);
	run->op->query = (struct pl_query){.arena = run->arena, .deadline_us = run->request->deadline_us};
	return &run->op->query;
}

struct pl_write *pl_run_prepare_write(struct pl_run *run, const struct pl_resource *resource, enum pl_write_op op, int64_t id)
{
	const struct pl_request *request = run->request;
	const struct pl_route *route = request->route;
	struct pl_write *write;

	run->op = op_new(run, PL_OP_WRITE);
	write = &run->op->write;
	write->arena = run->arena;
	write->resource = resource;
	write->op = op;
	write->id = id;
	write->lock = route->lock;
	write->request_id = pl_arena_strdup(run->arena, request->request_id);
	write->principal = pl_arena_strdup(run->arena, request->principal);
	write->traceparent = request->traceparent ? pl_arena_strdup(run->arena, request->traceparent) : NULL;
	write->region_prefix = request->region_prefix ? pl_arena_strdup(run->arena, request->region_prefix) : NULL;
	write->ttl_us = route->ttl_us;
	write->deadline_us = request->deadline_us;
	memcpy(write->fingerprint, request->fingerprint, sizeof write->fingerprint);
	return write;
}

static struct pl_op *lookup_new(struct pl_run *run)
{
	struct pl_op *op = op_new(run, PL_OP_LOOKUP);

	op->lookup = (struct pl_remember_lookup){
		.arena = run->arena,
		.request_id = pl_arena_strdup(run->arena, run->request->request_id),
		.principal = pl_arena_strdup(run->arena, run->request->principal),
		.deadline_us = run->request->deadline_us,
	};
	memcpy(op->lookup.fingerprint, run->request->fingerprint, sizeof op->lookup.fingerprint);
	return op;
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
	pl_vm_release(vm);
}

// The coroutine is let go, or kept for another run if it has returned; and `req` forgets the request.
static void drop_coroutine(struct pl_run *run)
{
	struct pl_vm *vm = run->vm;

	if (run->box)
		*run->box = NULL;
	run->box = NULL;
	if (run->co && run->returned && vm->nidle < PL_IDLE_MAX) {
		lua_settop(run->co, 0);
		vm->idle[vm->nidle].co = run->co;
		vm->idle[vm->nidle].ref = run->ref_co;
		vm->nidle++;
	} else if (run->co) {
		luaL_unref(vm->L, LUA_REGISTRYINDEX, run->ref_co); // allocates nothing
	}
	run->co = NULL;
}

static void finish(struct pl_run *run)
{
	assert(!run->over && run->answer->status != 0);
	run->over = true;
	drop_coroutine(run);
	run->done(run, run->arg);
}

static void finish_with(struct pl_run *run, const struct pl_problem *problem)
{
	pl_answer_problem(run, problem);
	finish(run);
}

// A fault of the handler: the client learns that there was one, the log which.
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
	       run->written ? "; its write had been committed" : "");
	pl_answer_reset(run->answer);
	finish_with(run, pl_problem_of_error(run->arena, err));
}

// Answers of the store.

// What a retry is answered, without the handler. False: it is none.
static bool answer_retry(struct pl_run *run, enum pl_outcome outcome, const struct pl_remembered *remembered)
{
	struct pl_write as_write = {.outcome = outcome};
	const struct pl_problem *problem;

	if (outcome != PL_OUTCOME_REMEMBERED && outcome != PL_OUTCOME_REUSED && outcome != PL_OUTCOME_RUNNING)
		return false;
	problem = pl_problem_of_write(run->arena, &as_write, run->request->route);
	if (problem) {
		finish_with(run, problem);
	} else {
		pl_answer_replay(run, remembered);
		finish(run);
	}
	return true;
}

static void looked_up(struct pl_run *run, const struct pl_remember_lookup *lookup)
{
	run->looked_up = true;
	if (lookup->code != 0)
		finish_with(run, pl_problem_of_error(run->arena, &lookup->err));
	else if (!answer_retry(run, lookup->outcome, &lookup->remembered))
		send_op(run, run->op);
}

static void written(struct pl_run *run, struct pl_op *op)
{
	if (answer_retry(run, op->write.outcome, &op->write.remembered))
		return;
	if (op->write.outcome == PL_OUTCOME_DONE)
		run->written = op;
	go_on(run, 0);
}

// The answer's difference is stored, or not: the write is done in any case, and only a replay could tell.
static void stored(struct pl_run *run, const struct pl_remember_answer *store)
{
	if (store->code != 0)
		pl_warning("%s: the answer to %s was not remembered, a retry will get the default one: %s",
		           run->script->source->path,
		           run->request->request_id, store->err.text);
	finish(run);
}

static void op_done(struct pl_op *op)
{
	struct pl_run *run = op->run;

	if (!run) { // abandoned: the arena holds the op, too
		struct pl_arena *arena = op->arena;
		struct pl_config *config = op->config;

		pl_arena_free(&arena);
		pl_config_unref(&config);
		return;
	}
	assert(run->in_flight == op);
	run->in_flight = NULL;
	run->busy = true;
	switch (op->kind) {
	case PL_OP_LOOKUP:
		looked_up(run, &op->lookup);
		break;
	case PL_OP_WRITE:
		written(run, op);
		break;
	case PL_OP_STORE:
		stored(run, &op->store);
		break;
	case PL_OP_READ:
	case PL_OP_QUERY:
		go_on(run, 0);
		break;
	}
	run->busy = false;
	if (run->freed)
		free_now(run);
}

static void read_done(struct pl_read *read, void *arg)
{
	op_done(arg);
}

static void write_done(struct pl_write *write, void *arg)
{
	op_done(arg);
}

static void query_done(struct pl_query *query, void *arg)
{
	op_done(arg);
}

static void lookup_done(struct pl_remember_lookup *lookup, void *arg)
{
	op_done(arg);
}

static void store_done(struct pl_remember_answer *store, void *arg)
{
	op_done(arg);
}

static void send_op(struct pl_run *run, struct pl_op *op)
{
	assert(!run->in_flight);
	run->in_flight = op;
	switch (op->kind) {
	case PL_OP_READ:
		op->read.done = read_done;
		op->read.arg = op;
		pl_store_read(run->store, &op->read);
		break;
	case PL_OP_WRITE:
		run->looked_up = true; // a write asks by itself
		op->write.done = write_done;
		op->write.arg = op;
		pl_store_write(run->store, &op->write);
		break;
	case PL_OP_QUERY:
		op->query.done = query_done;
		op->query.arg = op;
		pl_store_query(run->store, &op->query);
		break;
	case PL_OP_LOOKUP:
		op->lookup.done = lookup_done;
		op->lookup.arg = op;
		pl_store_remembered(run->store, &op->lookup);
		break;
	case PL_OP_STORE:
		op->store.done = store_done;
		op->store.arg = op;
		pl_store_remember_answer(run->store, &op->store);
		break;
	}
}

// Going on.

static bool needs_lookup(const struct pl_run *run)
{
	return run->request->route->idempotent && run->request->request_id[0] && !run->looked_up && run->op->kind != PL_OP_WRITE;
}

// A 2xx to a write that is not what the store remembered by itself: a status, a body or a Location of the handler's own.
static bool differs_from_default(struct pl_run *run, struct pl_buf *scratch)
{
	const struct pl_write *write = &run->written->write;
	const char *location = pl_answer_find(run->answer, "Location");
	bool deleted = write->op == PL_WRITE_DELETE;
	int status = deleted ? 204 : write->op == PL_WRITE_CREATE ? 201 : 200;

	if (run->answer->status != status)
		return true;
	if (write->op == PL_WRITE_CREATE) {
		pl_buf_reset(scratch);
		if (write->region_prefix)
			pl_buf_printf(scratch, "/%s", write->region_prefix);
		pl_buf_printf(scratch, "/%s/%lld", write->resource->name, (long long)write->record->id);
		if (!location || strcmp(location, scratch->data) != 0)
			return true;
	} else if (location) {
		return true;
	}
	pl_buf_reset(scratch);
	if (!deleted)
		pl_record_print(scratch, write->record);
	return scratch->len != run->answer->body.len ||
	       (scratch->len && memcmp(scratch->data, run->answer->body.data, scratch->len) != 0);
}

// The handler has returned and its answer is made.
static void returned(struct pl_run *run)
{
	struct pl_answer *answer = run->answer;
	struct pl_op *op;
	const char *location;

	if (!run->written || !run->written->write.request_id[0] || answer->status >= 300 ||
	    !differs_from_default(run, &run->vm->text)) {
		finish(run);
		return;
	}
	location = pl_answer_find(answer, "Location");
	op = op_new(run, PL_OP_STORE);
	op->store = (struct pl_remember_answer){
		.arena = run->arena,
		.request_id = run->written->write.request_id,
		.principal = run->written->write.principal,
		.status = answer->status,
		.body = answer->body.len ? pl_arena_strndup(run->arena, answer->body.data, answer->body.len) : NULL,
		.location = location ? pl_arena_strdup(run->arena, location) : NULL,
		.deadline_us = run->request->deadline_us,
	};
	send_op(run, op);
}

static void go_on(struct pl_run *run, int nargs)
{
	struct pl_vm *vm = run->vm;
	struct pl_answering answering = {.run = run, .co = run->co};
	enum pl_call_end end;
	struct pl_error err;

	vm->run = run;
	run->answer->status = 0;
	end = pl_call_resume(vm, run->co, nargs, &answering.nresults, &run->budget, &err);
	if (end == PL_CALL_WAITING) {
		vm->run = NULL;
		send_op(run, needs_lookup(run) ? lookup_new(run) : run->op);
		return;
	}
	run->returned = end == PL_CALL_DONE;
	if (end == PL_CALL_DONE) {
		end = pl_call(vm, pl_answer_take, &answering, NULL, &err);
		pl_buf_reset(&vm->trace); // no line of the script is to blame
	}
	vm->run = NULL;
	if (end == PL_CALL_DONE)
		returned(run);
	else
		fail(run, end, &err);
}

// Body: the coroutine with its function and `req`.
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
	pl_request_push(L, run);
	lua_xmove(L, run->co, 2);
	return 0;
}

static void begin(struct pl_run *run)
{
	struct pl_error err;
	enum pl_call_end end;

	run->script = pl_vm_find(run->vm, run->request->route->handler);
	if (!run->script)
		pl_die("script: the handler %s is not loaded", run->request->route->handler);
	end = pl_call(run->vm, make_coroutine, run, NULL, &err);
	if (end == PL_CALL_DONE)
		go_on(run, 1);
	else
		fail(run, end, &err);
}

struct pl_run *pl_run_start(struct pl_vm *vm, struct pl_store *store, const struct pl_request *request, struct pl_answer *answer,
                            void (*done)(struct pl_run *run, void *arg), void *arg)
{
	struct pl_run *run = pl_calloc(1, sizeof *run);

	vm->refs++;
	*run = (struct pl_run){
		.vm = vm, .number = ++vm->runs, .store = store, .request = request, .answer = answer, .done = done, .arg = arg,
		.budget = pl_budget_of(&vm->limits), .arena = pl_arena_new(0), .ref_co = LUA_NOREF, .busy = true,
	};
	begin(run);
	run->busy = false;
	if (run->freed) {
		free_now(run);
		return NULL;
	}
	return run;
}

enum pl_run_state pl_run_state(const struct pl_run *run)
{
	return run->over ? PL_RUN_DONE : PL_RUN_WAITING;
}

void pl_run_free(struct pl_run **run_p)
{
	struct pl_run *run = *run_p;

	*run_p = NULL;
	if (!run)
		return;
	drop_coroutine(run);
	if (run->busy)
		run->freed = true;
	else
		free_now(run);
}
