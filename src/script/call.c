// Entering Lua: the only place where the host calls into a state, and the budget of each
// call.
//
// Handlers (run.c), policies (policy.c) and loading (load.c) all come through here. Code
// that may raise runs below pl_call or pl_call_resume, so an error, a used-up budget and
// a refused allocation all end there, as a value of enum pl_call_end.
//
// The budget. A hook fires every PL_CALL_STEP instructions and subtracts them. It does
// not fire inside C functions, so those that can run long subtract their own cost
// (pl_call_charge). The allocator charges for long strings, because `..` copies without a
// call. When the budget is spent, the hook stays armed on every instruction, and the
// sandbox's pcall passes the error on instead of catching it, so a script cannot swallow
// it. The count of instructions decides; the time limit is for work that is not counted.
//
// A single instruction is not always short. Comparing or converting a text of megabytes
// takes milliseconds, and so does the garbage collection that follows a refused
// allocation. So the longer the longest existing string, the fewer instructions pass
// between two checks of the clock, down to one; after a large or a refused allocation the
// next instruction checks it; and the length of a string is limited. That bounds the time
// of one instruction, and so the time by which a call can exceed its limit.
//
// Slices. A handler that runs long is interrupted, so that short ones need not wait for
// it: Lua lets a hook yield wherever the coroutine could. It cannot inside a function
// that a C function calls (a comparison of table.sort); that handler ends by its time
// limit. See script/lane.
//
// Memory. The allocator counts what malloc takes, and refuses a request that goes over
// the limit. Lua then collects garbage and asks once more; refused again, it raises.
// Memory that C holds for a script outside of the state (copies of its texts in an arena,
// text that is being printed) counts, too: pl_call_charge_memory.
//
// Memory comes from malloc. A free list per VM was measured, in turns, with a handler
// over a store in memory: 2.3 instead of 2.5 µs for a GET, 4.3 instead of 4.7 for a PUT.
// That is one percent of a whole request, within the noise of the benchmark.
//
// Invariants: a state's stack is as high after a call as before; calls do not nest.
// Threads: a VM belongs to one thread.
#include "script/call.h"

#include <assert.h>
#include <lauxlib.h>
#include <lualib.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "base/mem.h"
#include "script/script_private.h"
#include "script/text.h"

#define LONG_STRING   256                // bytes; shorter ones are covered by the cost of the instruction
#define STRING_UNITS  32                 // bytes of a long string for the price of an instruction
#define WAIT_COST     200                // of a trip to the store and back
#define ERROR_RESERVE (64 * 1024)        // bytes above the cap, for the error message
#define LARGE         ((size_t)64 << 10) // bytes; a larger allocation advances the next check of the clock
#define TEXT_PART     8                  // a string may use this part of the memory, or a quarter up to this,
#define TEXT_LEAST    ((size_t)2 << 20)
#define TEXT_MAX      ((size_t)16 << 20) // and never more than this
// bytes in use that cost one instruction when a refusal causes a garbage collection
#define COLLECT_UNITS 64
#define MESSAGE_MAX   4096 // bytes kept of an error message
#define BLOCK_ALIGN   ((size_t)16)
#define BLOCK_LEAST   ((size_t)32)
#define GIVE_BACK     ((size_t)4 << 20) // bytes that are free after a peak; giving back takes milliseconds
#define COLLECT_KIB   512               // a step of collecting, as if so much had been allocated
#define RESERVED_PART 8                 // of the memory; slow handlers may not use it

const char *pl_call_end_name(enum pl_call_end end)
{
	static const char *const names[] = { "done",         "waiting", "paused", "raised",
		                             "instructions", "time",    "memory" };

	return names[end];
}

struct pl_budget pl_call_budget(const struct pl_script_limits *limits)
{
	return (struct pl_budget){ .instructions = limits->instructions,
		                   .wall_us = limits->wall_us,
		                   .spent = PL_CALL_DONE };
}

static void hook(lua_State *L, lua_Debug *ar);

// Makes the next instruction check the clock.
static void look_soon(struct pl_vm *vm)
{
	vm->unclocked = PL_CALL_STEP;
	if (!vm->budget || vm->budget->spent != PL_CALL_DONE || vm->armed == 1)
		return;
	vm->armed = 1;
	lua_sethook(vm->running, hook, LUA_MASKCOUNT, 1); // sets fields and allocates nothing
}

// Sets the step by the longest existing string.
static void set_step(struct pl_vm *vm)
{
	size_t longest = LARGE;

	for (int i = 0; i < vm->nlarge; i++) {
		if (vm->large[i].size > longest)
			longest = vm->large[i].size;
	}
	vm->step = longest / LARGE >= PL_CALL_STEP ? 1 : (int)(PL_CALL_STEP * LARGE / longest);
}

static void add_large(struct pl_vm *vm, void *p, size_t size)
{
	if (vm->nlarge == vm->large_room) {
		vm->large_room = vm->large_room ? 2 * vm->large_room : 16;
		vm->large = pl_realloc(vm->large, sizeof(vm->large[0]) * (size_t)vm->large_room);
	}
	vm->large[vm->nlarge++] = (struct pl_large){ p, size };
	set_step(vm);
}

static void forget_large(struct pl_vm *vm, const void *p)
{
	for (int i = 0; i < vm->nlarge; i++) {
		if (vm->large[i].p != p)
			continue;
		vm->large[i] = vm->large[--vm->nlarge];
		set_step(vm);
		return;
	}
}

// How much the running call may use.
static size_t cap_of(const struct pl_vm *vm)
{
	return vm->budget && vm->budget->slow ? vm->cap - vm->limits.memory / RESERVED_PART : vm->cap;
}

static bool has_room(const struct pl_vm *vm, size_t old_size, size_t new_size)
{
	size_t outside = vm->budget ? vm->budget->outside : 0;

	return !vm->cap || new_size <= old_size || vm->used - old_size + new_size + outside <= cap_of(vm);
}

static bool too_long(const struct pl_vm *vm, size_t size)
{
	size_t memory = vm->limits.memory, most = memory / TEXT_PART;

	if (!vm->cap || size <= LARGE)
		return false;
	if (most < TEXT_LEAST)
		most = memory / 4 < TEXT_LEAST ? memory / 4 : TEXT_LEAST;
	return size > most || size > TEXT_MAX;
}

// Charges for the full garbage collection by which Lua responds to a refusal.
static void *refuse(struct pl_vm *vm)
{
	if (vm->budget)
		vm->budget->instructions -= (int64_t)(vm->used / COLLECT_UNITS);
	look_soon(vm);
	return NULL;
}

static void charge_new(struct pl_vm *vm, void *p, size_t size, bool string)
{
	if (size >= LARGE)
		look_soon(vm);
	if (!string)
		return;
	if (size > LARGE)
		add_large(vm, p, size);
	if (size > LONG_STRING && vm->budget)
		vm->budget->instructions -= (int64_t)(size / STRING_UNITS);
}

// Small blocks that were freed stay with the process, and large ones come from elsewhere.
// So before it grows by a large one, it gives back what has become free: a VM takes no
// more of the system's memory than it may use.
static void give_back(struct pl_vm *vm)
{
	if (vm->peak < vm->used + GIVE_BACK)
		return;
	pl_mem_give_back();
	vm->peak = vm->used;
}

// What malloc takes for a block: its own word and alignment, which for many small tables
// is a third of the whole.
static size_t taken(size_t size)
{
	size_t with_header = (size + sizeof(size_t) + BLOCK_ALIGN - 1) & ~(BLOCK_ALIGN - 1);

	return with_header < BLOCK_LEAST ? BLOCK_LEAST : with_header;
}

void *pl_call_allocate(void *arg, void *p, size_t old_size, size_t new_size)
{
	struct pl_vm *vm = arg;
	bool string = !p && old_size == LUA_TSTRING; // for a new object Lua passes its type here
	size_t before = p ? taken(old_size) : 0, after = taken(new_size);
	void *q;

	if (p && old_size > LARGE)
		forget_large(vm, p);
	if (new_size == 0) {
		vm->used -= before;
		free(p);
		return NULL;
	}
	if (!has_room(vm, before, after) || (string && too_long(vm, new_size)))
		return refuse(vm);
	if (new_size >= LARGE && after > before)
		give_back(vm);
	q = realloc(p, new_size);
	if (!q && (!p || new_size > old_size))
		return NULL;
	q = q ? q : p; // Lua counts on shrinking to succeed
	vm->used += after - before;
	if (vm->used > vm->peak)
		vm->peak = vm->used;
	if (!p || new_size > old_size)
		charge_new(vm, q, new_size, string);
	return q;
}

static const char *spent_text(enum pl_call_end spent)
{
	switch (spent) {
	case PL_CALL_INSTRUCTIONS: return "used up its instructions";
	case PL_CALL_TIME: return "used up its time";
	default: return "used up its memory";
	}
}

static void arm(struct pl_vm *vm, lua_State *L, int instructions)
{
	vm->armed = instructions;
	lua_sethook(L, hook, LUA_MASKCOUNT, instructions);
}

// Processor time of this thread.
static int64_t worked_us(void)
{
	struct timespec t;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
	return (int64_t)t.tv_sec * 1000000 + t.tv_nsec / 1000;
}

// Notes whether the call has used up its slice. The first expiry by the wall clock only
// begins to measure processor time: a busy machine does not make a script slow.
static void check_slice(struct pl_vm *vm, int64_t now_us)
{
	if (now_us < vm->slice_end_us)
		return;
	if (vm->slice_worked_us < 0)
		vm->slice_worked_us = worked_us();
	else if (worked_us() - vm->slice_worked_us >= PL_CALL_SLICE_US / 2)
		vm->over_slice = true;
	vm->slice_end_us = now_us + PL_CALL_SLICE_US / 2;
}

// Checks the clock every vm->step instructions, or their equivalent in cost. Reading the
// wall clock is cheap, but a busy machine or a stopped process is not the script's fault.
// So the first half of the limit is wall time; after that, the second half is processor
// time of this thread.
static bool late(struct pl_vm *vm, int64_t cost)
{
	int64_t now, left = vm->budget->wall_us / 2;

	vm->unclocked += cost;
	if (vm->unclocked < vm->step)
		return false;
	vm->unclocked = 0;
	now = pl_mono_us();
	if (vm->deadline_us == INT64_MIN) { // the first look: most calls end before it
		vm->deadline_us = now + vm->budget->wall_us / 2;
		vm->slice_end_us = now + PL_CALL_SLICE_US / 2;
	}
	check_slice(vm, now);
	if (now <= vm->deadline_us)
		return false;
	if (vm->halfway_us < 0)
		vm->halfway_us = worked_us();
	else
		left -= worked_us() - vm->halfway_us;
	vm->deadline_us = now + left;
	return left <= 0;
}

static void raise_spent(lua_State *L, struct pl_vm *vm)
{
	arm(vm, L, 1);
	luaL_where(L, 0); // a Lua function, when the hook calls
	if (lua_rawlen(L, -1) == 0)
		luaL_where(L, 1); // the caller of a C function
	lua_pushstring(L, spent_text(vm->budget->spent));
	lua_concat(L, 2);
	lua_error(L);
}

void pl_call_charge(lua_State *L, int64_t cost)
{
	struct pl_vm *vm = pl_vm_of(L);
	struct pl_budget *budget = vm->budget;

	if (!budget)
		return;
	pl_watch_looked(&vm->watch);
	budget->instructions -= cost;
	if (budget->spent == PL_CALL_DONE) {
		if (budget->instructions < 0)
			budget->spent = PL_CALL_INSTRUCTIONS;
		else if (!late(vm, cost))
			return;
		else
			budget->spent = PL_CALL_TIME;
	}
	raise_spent(L, vm);
}

// Interrupts a handler, so that the thread can do other work. What it has allocated
// stays; so it is not interrupted while it holds memory that others need, but ends.
static void pause(lua_State *L, struct pl_vm *vm)
{
	struct pl_budget *budget = vm->budget;

	budget->slow = true;
	if (!has_room(vm, 0, 1)) {
		lua_gc(L, LUA_GCCOLLECT);
		if (!has_room(vm, 0, 1)) {
			budget->spent = PL_CALL_MEMORY;
			raise_spent(L, vm);
		}
	}
	budget->paused = true;
	budget->left_us = vm->deadline_us - pl_mono_us();
	budget->worked_us = vm->halfway_us < 0 ? -1 : worked_us() - vm->halfway_us;
	lua_yield(L, 0);
}

static void hook(lua_State *L, lua_Debug *ar)
{
	struct pl_vm *vm = pl_vm_of(L);
	int passed = vm->armed;

	if (passed != vm->step)
		arm(vm, L, vm->step);
	pl_call_charge(L, passed);
	if (vm->over_slice && vm->lane && vm->budget && lua_isyieldable(L))
		pause(L, vm);
}

size_t pl_call_memory_left(lua_State *L, size_t wanted)
{
	struct pl_vm *vm = pl_vm_of(L);

	if (!vm->budget || !vm->cap)
		return SIZE_MAX;
	if (!has_room(vm, 0, wanted)) {
		refuse(vm);
		lua_gc(L, LUA_GCCOLLECT);
	}
	return has_room(vm, 0, 1) ? cap_of(vm) - vm->used - vm->budget->outside : 0;
}

void pl_call_charge_memory(lua_State *L, size_t bytes)
{
	struct pl_vm *vm = pl_vm_of(L);

	if (!vm->budget)
		return;
	pl_call_charge(L, (int64_t)(bytes / STRING_UNITS));
	if (pl_call_memory_left(L, bytes) < bytes) {
		vm->budget->spent = PL_CALL_MEMORY;
		raise_spent(L, vm);
	}
	vm->budget->outside += bytes;
}

bool pl_call_must_pass(lua_State *L, int status)
{
	struct pl_budget *budget = pl_vm_of(L)->budget;

	if (budget && budget->spent == PL_CALL_DONE && status == LUA_ERRMEM)
		budget->spent = PL_CALL_MEMORY;
	return budget && budget->spent != PL_CALL_DONE;
}

// Replaces an error value on top of the stack by its message, if its metatable has the
// metafield PL_CALL_MESSAGE. Metatables of scripts never have it (lib/metatable.c).
static void push_message(lua_State *L)
{
	if (lua_type(L, -1) != LUA_TTABLE || luaL_getmetafield(L, -1, PL_CALL_MESSAGE) == LUA_TNIL)
		return;
	lua_insert(L, -2);
	lua_call(L, 1, 1);
}

// Keeps the message of the error value on top of the stack. A value that is not a text is
// named by its type: calling its __tostring would run code of the script.
static void keep_message(lua_State *L)
{
	struct pl_vm *vm = pl_vm_of(L);
	const char *text;
	size_t len;

	push_message(L);
	text = lua_type(L, -1) == LUA_TSTRING || lua_type(L, -1) == LUA_TNUMBER ? lua_tolstring(L, -1, &len)
	                                                                        : NULL;
	pl_buf_reset(&vm->message);
	if (text)
		pl_buf_add(&vm->message, text, strnlen(text, len < MESSAGE_MAX ? len : MESSAGE_MAX));
	else if (lua_isnil(L, -1))
		pl_buf_adds(&vm->message, "an error without a message");
	else
		pl_buf_printf(&vm->message, "an error value that is a %s", pl_text_kind(L, -1));
}

// Message handler: keeps the traceback while the stack still exists.
//   1  the error value
static int trace(lua_State *L)
{
	struct pl_vm *vm = pl_vm_of(L);

	luaL_checkstack(L, 8, NULL);
	keep_message(L);
	luaL_traceback(L, L, NULL, 1);
	pl_buf_reset(&vm->trace);
	pl_buf_adds(&vm->trace, lua_tostring(L, -1));
	lua_settop(L, 1);
	return 1;
}

const char *pl_call_trace(const struct pl_vm *vm)
{
	return vm->trace.len ? vm->trace.data : "";
}

// The clock of the time limit: started by the first look at it, or continued.
static void begin_stretch(struct pl_vm *vm, struct pl_budget *budget)
{
	vm->deadline_us = INT64_MIN;
	vm->halfway_us = -1;
	if (!budget->paused)
		return;
	budget->paused = false;
	vm->deadline_us = pl_mono_us() + budget->left_us;
	vm->slice_end_us = pl_mono_us() + PL_CALL_SLICE_US / 2;
	if (budget->worked_us >= 0)
		vm->halfway_us = worked_us() - budget->worked_us;
}

static void begin(struct pl_vm *vm, lua_State *L, struct pl_budget *budget)
{
	assert(!vm->budget); // calls do not nest
	pl_buf_reset(&vm->trace);
	pl_buf_reset(&vm->message);
	if (vm->text.cap > LARGE) // left over from an earlier call
		pl_buf_fini(&vm->text);
	if (!budget)
		return;
	vm->budget = budget;
	vm->running = L;
	vm->over_slice = false;
	vm->slice_worked_us = -1;
	begin_stretch(vm, budget);
	arm(vm, L, vm->step);
	pl_watch_begin(vm, L, pl_call_place(vm));
}

bool pl_call_collect(struct pl_vm *vm)
{
	if (lua_gc(vm->L, LUA_GCSTEP, COLLECT_KIB) == 0)
		return false;
	give_back(vm);
	return true;
}

void pl_call_setup(lua_State *L)
{
	lua_createtable(L, PL_CALL_KEPT_MAX, 0);
	pl_vm_of(L)->ref_kept = luaL_ref(L, LUA_REGISTRYINDEX);
}

static void forget_kept(struct pl_vm *vm)
{
	lua_State *L = vm->L;

	if (vm->nkept == 0)
		return;
	lua_rawgeti(L, LUA_REGISTRYINDEX, vm->ref_kept);
	for (int i = 1; i <= vm->nkept; i++) {
		lua_pushnil(L);
		lua_rawseti(L, -2, i); // in the array part: allocates nothing
	}
	lua_pop(L, 1);
	vm->nkept = vm->next_kept = 0;
}

const char *pl_call_place(const struct pl_vm *vm)
{
	if (!vm->run && vm->current)
		return vm->current->source->path;
	return vm->place ? vm->place : "script";
}

static enum pl_call_end ended(struct pl_vm *vm, lua_State *L, int status, const struct pl_budget *budget)
{
	if (budget)
		pl_watch_end(vm);
	vm->budget = NULL;
	vm->running = NULL;
	lua_sethook(L, NULL, 0, 0);
	forget_kept(vm);
	if (status == LUA_OK)
		return PL_CALL_DONE;
	if (status == LUA_YIELD)
		return budget && budget->paused ? PL_CALL_PAUSED : PL_CALL_WAITING;
	if (budget && budget->spent != PL_CALL_DONE)
		return budget->spent;
	return status == LUA_ERRMEM ? PL_CALL_MEMORY : PL_CALL_RAISED;
}

static void explain(struct pl_vm *vm, enum pl_call_end end, struct pl_error *err)
{
	const char *text = vm->message.len ? vm->message.data : "no message";

	if (end == PL_CALL_RAISED)
		pl_error_set(err, PL_ESCRIPT, "%s", text);
	else if (end == PL_CALL_MEMORY) // Lua's own message says less
		pl_error_set(err, PL_EBUDGET, "%s", spent_text(end));
	else
		pl_error_set(err, PL_EBUDGET, "%s", text);
}

enum pl_call_end pl_call(struct pl_vm *vm, lua_CFunction body, void *arg, struct pl_budget *budget,
                         struct pl_error *err)
{
	lua_State *L = vm->L;
	int top = lua_gettop(L);
	enum pl_call_end end;
	int status;

	if (!lua_checkstack(L, 3))
		pl_die("script: the stack of an idle Lua state has no room");
	begin(vm, L, budget);
	lua_pushcfunction(L, trace);
	lua_pushcfunction(L, body);
	lua_pushlightuserdata(L, arg);
	status = lua_pcall(L, 1, 0, top + 1);
	end = ended(vm, L, status, budget);
	assert(lua_gettop(L) == (end == PL_CALL_DONE ? top + 1 : top + 2));
	if (end != PL_CALL_DONE)
		explain(vm, end, err);
	lua_settop(L, top);
	return end;
}

// Body: keeps the error that a coroutine raised, and its traceback.
//   1  light userdata: the coroutine
static int trace_coroutine(lua_State *L)
{
	struct pl_vm *vm = pl_vm_of(L);
	lua_State *co = lua_touserdata(L, 1);

	lua_xmove(co, L, 1);
	keep_message(L);
	luaL_traceback(L, co, NULL, 0);
	pl_buf_adds(&vm->trace, lua_tostring(L, -1));
	return 0;
}

enum pl_call_end pl_call_resume(struct pl_vm *vm, lua_State *co, int nargs, int *nresults_r,
                                struct pl_budget *budget, struct pl_error *err)
{
	int top = lua_gettop(vm->L);
	enum pl_call_end end;
	int status;

	if (!budget->paused)
		budget->instructions -= WAIT_COST;
	begin(vm, co, budget);
	status = lua_resume(co, vm->L, nargs, nresults_r);
	end = ended(vm, co, status, budget);
	assert(lua_gettop(vm->L) == top);
	if (end == PL_CALL_DONE || end == PL_CALL_WAITING || end == PL_CALL_PAUSED)
		return end;
	size_t cap = vm->cap;
	if (cap)
		vm->cap = cap + ERROR_RESERVE;
	pl_call(vm, trace_coroutine, co, NULL, NULL);
	vm->cap = cap;
	explain(vm, end, err);
	return end;
}
