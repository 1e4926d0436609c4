// Entering Lua: the one place where the host calls into a state, and the budget that every call has.
//
// For the files of script/ only.
// Threads: a VM belongs to one thread.
#pragma once

#include <lua.h>

#include "base/error.h"
#include "config/config.h"

struct pl_vm;

// Every way in which a call into Lua can end.
enum pl_call_end {
	PL_CALL_DONE,         // it returned
	PL_CALL_WAITING,      // it yielded: a handler that waits for the store
	PL_CALL_RAISED,       // it raised, or the file could not be compiled
	PL_CALL_INSTRUCTIONS, // it used up its instructions
	PL_CALL_TIME,         // it passed its deadline
	PL_CALL_MEMORY,       // it asked for more memory than it may have
};
const char *pl_call_end_name(enum pl_call_end end); // "done", "waiting", "raised", "instructions", "time", "memory"

// What a call may use up. The count of instructions goes on over the waits of a handler; the time is that of one stretch
// between them.
struct pl_budget {
	int64_t instructions; // left
	int64_t wall_us;      // of each stretch, in which this thread works
	enum pl_call_end spent; // PL_CALL_DONE while there is some left; once spent, for ever
};
struct pl_budget pl_budget_of(const struct pl_script_limits *limits);

// Calls body(L) with `arg` as a light userdata at index 1, protected. All that may raise, the host's own pushing of values
// included, happens in such a body. With a budget, Lua functions called from the body are counted; NULL is for work of the
// host alone. Not DONE: *err has the code (PL_ESCRIPT, PL_EBUDGET) and "file:line: message"; the stack trace is in
// pl_call_trace.
enum pl_call_end pl_call(struct pl_vm *vm, lua_CFunction body, void *arg, struct pl_budget *budget, struct pl_error *err);

// Starts or continues a coroutine whose function and `nargs` arguments lie on its stack. DONE: its results lie there;
// *nresults_r counts them.
enum pl_call_end pl_call_resume(struct pl_vm *vm, lua_State *co, int nargs, int *nresults_r, struct pl_budget *budget,
                                struct pl_error *err);

// Where the last call that raised was: "stack traceback: …", or "". Valid until the next call.
const char *pl_call_trace(const struct pl_vm *vm);

// For C functions that scripts call: takes `cost` instructions off the budget of the running call, and raises when nothing is
// left. A unit is about what one instruction of the virtual machine takes.
void pl_charge(lua_State *L, int64_t cost);
// True when a protected call inside a script must not swallow `status`: the budget is gone. Used by the sandbox's pcall.
bool pl_call_must_pass(lua_State *L, int status);

// The allocator of a state, and what it may have.
void *pl_call_allocate(void *vm, void *p, size_t old_size, size_t new_size);
