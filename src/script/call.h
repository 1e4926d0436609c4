// Entering Lua: the only place where the host calls into a state, and the budget of each
// call.
//
// For the files of script/ only.
// Threads: a VM belongs to one thread.
#pragma once

#include <lua.h>

#include "base/error.h"
#include "config/config.h"

struct pl_vm;

#define PL_CALL_STEP     100  // instructions between two checks of the budget, unless there are long strings
#define PL_CALL_SLICE_US 5000 // processor time after which a handler lets others go first
#define PL_CALL_KEPT_MAX 8    // values that a VM keeps until the running call ends
// A metafield: a function that turns an error value into its message. It must run no code
// of scripts.
#define PL_CALL_MESSAGE  "__plist_message"

// Every way in which a call into Lua can end.
enum pl_call_end {
	PL_CALL_DONE,         // it returned
	PL_CALL_WAITING,      // it yielded: a handler that waits for the store
	PL_CALL_PAUSED,       // it has used up its slice; to be resumed without arguments
	PL_CALL_RAISED,       // it raised, or the file could not be compiled
	PL_CALL_INSTRUCTIONS, // it used up its instructions
	PL_CALL_TIME,         // it passed its deadline
	PL_CALL_MEMORY,       // it asked for more memory than it may have
};
const char *
pl_call_end_name(enum pl_call_end end); // "done", "waiting", "paused", "raised", "instructions", …

// The limits of a call. Instructions are counted over all waits of a handler, time for
// each stretch between two waits.
struct pl_budget {
	int64_t instructions;   // left
	int64_t wall_us;        // of each stretch
	enum pl_call_end spent; // PL_CALL_DONE while some is left; a spent budget stays spent
	size_t outside;         // bytes that C holds for the script outside of its state
	int nested;             // depth of nested protected calls
	bool slow;              // it may not use the memory that is reserved for other runs of the VM
	bool paused;            // in the middle of a stretch; then the next two members are valid
	int64_t left_us;        // until the next check of the limit
	int64_t worked_us;      // processor time since half time; -1 before
};
struct pl_budget pl_call_budget(const struct pl_script_limits *limits);

// Calls body(L), protected, with `arg` as a light userdata at index 1. All code that may
// raise runs in such a body, even when the host only pushes values. With a budget, Lua
// functions called from the body are counted; NULL is for the host's own work. Unless it
// returns DONE, *err has the code (PL_ESCRIPT, PL_EBUDGET) and "file:line: message", and
// pl_call_trace the stack trace.
enum pl_call_end pl_call(struct pl_vm *vm, lua_CFunction body, void *arg, struct pl_budget *budget,
                         struct pl_error *err);

// Starts or continues a coroutine whose function and `nargs` arguments are on its stack.
// DONE: its *nresults_r results are there. If the VM has a lane, the call is PAUSED after
// PL_CALL_SLICE_US of processor time, as soon as the coroutine can yield.
enum pl_call_end pl_call_resume(struct pl_vm *vm, lua_State *co, int nargs, int *nresults_r,
                                struct pl_budget *budget, struct pl_error *err);

// The traceback of the last call, if it raised: "stack traceback: …", or "". Valid until
// the next call.
const char *pl_call_trace(const struct pl_vm *vm);

// For C functions that scripts call: subtracts `cost` from the budget of the running
// call, and raises when it is spent. A unit is about the time of one instruction.
void pl_call_charge(lua_State *L, int64_t cost);
// The same for memory that C is about to allocate for the script outside of its state.
void pl_call_charge_memory(lua_State *L, size_t bytes);
// How many bytes the running call has left; SIZE_MAX without a budget. Collects garbage
// first if fewer than `wanted` are left.
size_t pl_call_memory_left(lua_State *L, size_t wanted);
// True when a protected call inside a script must pass `status` on: the budget is spent.
// For the sandbox's pcall.
bool pl_call_must_pass(lua_State *L, int status);

// The script that the running call runs: "handlers/property_put.lua", for log lines.
const char *pl_call_place(const struct pl_vm *vm);

// Collects garbage for a millisecond or so. Returns whether a cycle has ended.
bool pl_call_collect(struct pl_vm *vm);

void pl_call_setup(lua_State *L); // once for a state, inside its first call

// The allocator of a state: refuses what goes over its limit.
void *pl_call_allocate(void *vm, void *p, size_t old_size, size_t new_size);
