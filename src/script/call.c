// Entering Lua: the one place where the host calls into a state, and the budget that every call has.
//
// Stands under run.c (handlers), policy.c and vm.c (loading). Everything that may raise runs below pl_call or pl_call_resume,
// so an error, a used-up budget or an allocation that was refused ends there, as a value of enum pl_call_end, and nowhere
// else.
//
// The budget. A hook fires every HOOK_STEP instructions and takes them off; functions in C that could work for long take off
// their own cost (pl_charge), because the hook does not fire inside them; the allocator takes off the cost of long strings,
// because `..` copies without asking anyone. When nothing is left the hook stays armed, on every instruction, and the
// sandbox's pcall passes the error on instead of catching it: a spent budget cannot be swallowed. The count of instructions
// decides; the time is looked at too, for what cannot be counted.
//
// Memory. The allocator refuses what goes over the cap. Lua then collects garbage and asks once more; refused again, it raises.
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
#include "script/run.h"
#include "script/sandbox.h"

#define HOOK_STEP 100          // instructions between two looks
#define LONG_STRING 256        // bytes; shorter ones are not charged, an instruction's own cost covers them
#define STRING_UNITS 32        // bytes of a long string for the price of an instruction
#define WAIT_COST 200          // of going to the store and back
#define ERROR_RESERVE (64 * 1024) // bytes above the cap, for telling what went wrong

const char *pl_call_end_name(enum pl_call_end end)
{
	static const char *const names[] = {"done", "waiting", "raised", "instructions", "time", "memory"};

	return names[end];
}

struct pl_budget pl_budget_of(const struct pl_script_limits *limits)
{
	return (struct pl_budget){.instructions = limits->instructions, .wall_us = limits->wall_us, .spent = PL_CALL_DONE};
}

void *pl_call_allocate(void *arg, void *p, size_t old_size, size_t new_size)
{
	struct pl_vm *vm = arg;
	int kind = (int)old_size; // of a new object: its type
	void *q;

	if (!p)
		old_size = 0;
	if (new_size == 0) {
		vm->used -= old_size;
		return pl_pieces_change(&vm->pieces, p, old_size, 0);
	}
	if (vm->cap && new_size > old_size && vm->used - old_size + new_size > vm->cap)
		return NULL;
	q = pl_pieces_change(&vm->pieces, p, old_size, new_size);
	if (!q)
		return NULL;
	vm->used += new_size - old_size;
	if (!p && kind == LUA_TSTRING && new_size > LONG_STRING && vm->budget)
		vm->budget->instructions -= (int64_t)(new_size / STRING_UNITS);
	return q;
}

static const char *spent_text(enum pl_call_end spent)
{
	switch (spent) {
	case PL_CALL_INSTRUCTIONS:
		return "used up its instructions";
	case PL_CALL_TIME:
		return "used up its time";
	default:
		return "used up its memory";
	}
}

static void hook(lua_State *L, lua_Debug *ar)
{
	pl_charge(L, HOOK_STEP);
}

// Time that this thread has worked.
static int64_t worked_us(void)
{
	struct timespec t;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
	return (int64_t)t.tv_sec * 1000000 + t.tv_nsec / 1000;
}

// Looks at the clock every HOOK_STEP instructions or what costs as much. The clock on the wall is cheap to ask, but a machine
// that was busy elsewhere, or a process that was stopped, is no fault of the script. So when half of the time is over on the
// wall, the thread's own clock is asked, and the other half is that of its own work.
static bool late(struct pl_vm *vm, int64_t cost)
{
	int64_t now, left = vm->budget->wall_us / 2;

	vm->unclocked += cost;
	if (vm->unclocked < HOOK_STEP)
		return false;
	vm->unclocked = 0;
	now = pl_mono_us();
	if (vm->deadline_us == INT64_MIN) // the first look: most calls end before it
		vm->deadline_us = now + vm->budget->wall_us / 2;
	if (now <= vm->deadline_us)
		return false;
	if (vm->halfway_us < 0)
		vm->halfway_us = worked_us();
	else
		left -= worked_us() - vm->halfway_us;
	vm->deadline_us = now + left;
	return left <= 0;
}

void pl_charge(lua_State *L, int64_t cost)
{
	struct pl_vm *vm = pl_vm_of(L);
	struct pl_budget *budget = vm->budget;

	if (!budget)
		return;
	budget->instructions -= cost;
	if (budget->spent == PL_CALL_DONE) {
		if (budget->instructions < 0)
			budget->spent = PL_CALL_INSTRUCTIONS;
		else if (!late(vm, cost))
			return;
		else
			budget->spent = PL_CALL_TIME;
	}
	lua_sethook(L, hook, LUA_MASKCOUNT, 1);
	luaL_where(L, 0); // a Lua function, when the hook calls
	if (lua_rawlen(L, -1) == 0)
		luaL_where(L, 1); // the caller of a C function
	lua_pushstring(L, spent_text(budget->spent));
	lua_concat(L, 2);
	lua_error(L);
}

bool pl_call_must_pass(lua_State *L, int status)
{
	struct pl_budget *budget = pl_vm_of(L)->budget;

	if (budget && budget->spent == PL_CALL_DONE && status == LUA_ERRMEM)
		budget->spent = PL_CALL_MEMORY;
	return budget && budget->spent != PL_CALL_DONE;
}

// Keeps the message of an error value, on top of the stack. A value that is no text is named by its type: its __tostring is a
// script's, too. Only an error of records or db, raised as it is, says what it says.
static void keep_message(lua_State *L)
{
	struct pl_vm *vm = pl_vm_of(L);
	const char *text;

	if (lua_type(L, -1) == LUA_TTABLE && luaL_getmetafield(L, -1, "__tostring") != LUA_TNIL) {
		bool ours = lua_tocfunction(L, -1) == pl_http_problem_text;

		lua_pop(L, 1);
		if (ours)
			pl_http_problem_text(L);
	}
	text = lua_type(L, -1) == LUA_TSTRING || lua_type(L, -1) == LUA_TNUMBER ? lua_tostring(L, -1) : NULL;
	pl_buf_reset(&vm->message);
	if (text)
		pl_buf_adds(&vm->message, text);
	else if (lua_isnil(L, -1))
		pl_buf_adds(&vm->message, "an error without a message");
	else
		pl_buf_printf(&vm->message, "an error value that is a %s", pl_sandbox_kind(L, -1));
}

// Message handler: the stack is still there, so this is the time to write it down.
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

static void begin(struct pl_vm *vm, lua_State *L, struct pl_budget *budget)
{
	assert(!vm->budget); // calls do not nest
	pl_buf_reset(&vm->trace);
	pl_buf_reset(&vm->message);
	if (!budget)
		return;
	vm->budget = budget;
	vm->deadline_us = INT64_MIN;
	vm->halfway_us = -1;
	lua_sethook(L, hook, LUA_MASKCOUNT, HOOK_STEP);
}

static enum pl_call_end ended(struct pl_vm *vm, lua_State *L, int status, const struct pl_budget *budget)
{
	vm->budget = NULL;
	lua_sethook(L, NULL, 0, 0);
	if (status == LUA_OK)
		return PL_CALL_DONE;
	if (status == LUA_YIELD)
		return PL_CALL_WAITING;
	if (budget && budget->spent != PL_CALL_DONE)
		return budget->spent;
	return status == LUA_ERRMEM ? PL_CALL_MEMORY : PL_CALL_RAISED;
}

static void explain(struct pl_vm *vm, enum pl_call_end end, struct pl_error *err)
{
	const char *text = vm->message.len ? vm->message.data : "no message";

	if (end == PL_CALL_RAISED)
		pl_error_set(err, PL_ESCRIPT, "%s", text);
	else if (end == PL_CALL_MEMORY) // said by Lua, in words of its own
		pl_error_set(err, PL_EBUDGET, "%s", spent_text(end));
	else
		pl_error_set(err, PL_EBUDGET, "%s", text);
}

enum pl_call_end pl_call(struct pl_vm *vm, lua_CFunction body, void *arg, struct pl_budget *budget, struct pl_error *err)
{
	lua_State *L = vm->L;
	int top = lua_gettop(L);
	enum pl_call_end end;
	int status;

	if (!lua_checkstack(L, 3))
		pl_die("script: no room on the stack of a state that is at rest");
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

// Body: writes down what a coroutine raised, and its stack.
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

enum pl_call_end pl_call_resume(struct pl_vm *vm, lua_State *co, int nargs, int *nresults_r, struct pl_budget *budget,
                                struct pl_error *err)
{
	int top = lua_gettop(vm->L);
	enum pl_call_end end;
	int status;

	budget->instructions -= WAIT_COST;
	begin(vm, co, budget);
	status = lua_resume(co, vm->L, nargs, nresults_r);
	end = ended(vm, co, status, budget);
	assert(lua_gettop(vm->L) == top);
	if (end == PL_CALL_DONE || end == PL_CALL_WAITING)
		return end;
	size_t cap = vm->cap;
	if (cap)
		vm->cap = cap + ERROR_RESERVE;
	pl_call(vm, trace_coroutine, co, NULL, NULL);
	vm->cap = cap;
	explain(vm, end, err);
	return end;
}
