// The inside of a VM, for the files of script/ only.
//
// A state's extra space points back to its VM, also from every coroutine, so a C function that a script calls finds it by
// pl_vm_of.
#pragma once

#include <lua.h>

#include "base/buf.h"
#include "base/decimal.h"
#include "script/call.h"
#include "script/pieces.h"
#include "script/vm.h"

#define PL_REQUIRES_MAX 32 // modules in Lua that one file requires

#define PL_IDLE_MAX 32 // coroutines that are kept for the next runs

// A file that was loaded.
struct pl_script {
	const struct pl_script_source *source;
	int chunk;           // registry: the compiled main function
	int function;        // registry: its `handle`. Handlers only: a policy's file is run again for each call
	struct pl_policy *policy; // policies only
	const char *name;    // in the VM's arena
	const char *doc;
	char sha256[65];     // of the text, and of the texts of all the modules that it requires
	bool named;          // by a route or a resource; false: a module, reached by require
	bool running;        // its main function runs just now
	int nrequires;
	const struct pl_script *requires[PL_REQUIRES_MAX]; // modules in Lua, in the order of their first require
};

struct pl_vm {
	lua_State *L;
	enum pl_world world;
	struct pl_config *config;
	struct pl_script_limits limits;
	struct pl_arena *arena;
	int refs;                   // the owner's, and one of each run

	struct pl_pieces pieces;
	size_t used;                // bytes
	size_t cap;                 // 0: none, while the host sets up

	struct pl_budget *budget;   // of the call that runs; NULL when none, or when it has none
	int64_t deadline_us;        // when to look how long the thread has worked; INT64_MIN: the clock has not been looked at in this call
	int64_t halfway_us;         // how long it had, when half of the time was over; -1 before
	int64_t unclocked;          // instructions since the clock was looked at
	struct pl_buf message, trace; // of the last call that raised

	int nscripts, scripts_room;
	struct pl_script **scripts;
	struct pl_script *current;  // whose main function runs; NULL otherwise
	bool loading;               // files may be read; later, only those that were
	int ref_shadows;            // registry: metatable of a script -> what was really set
	int ref_weak;               // registry: the metatable of the former
	bool shadows_used;
	int ref_originals;          // registry: functions of Lua's own libraries that ours stand before
	int ref_template;           // registry: name -> function or table of functions, for new environments
	int ref_env_meta;           // registry: metatable of environments
	int ref_modules;            // registry: path -> value of a module in Lua; policies: of this call

	struct pl_run *run;         // whose coroutine runs
	uint64_t runs;              // begun, ever
	struct { lua_State *co; int ref; } idle[PL_IDLE_MAX]; // coroutines that have returned, with empty stacks
	int nidle;

	struct pl_decimal result, operand[2]; // scratch of bind_decimal
	struct pl_buf text;         // scratch: C functions may raise while it is in use, and nothing is lost
};

static inline struct pl_vm *pl_vm_of(lua_State *L)
{
	return *(struct pl_vm **)lua_getextraspace(L);
}

void pl_vm_release(struct pl_vm *vm); // drops one reference

// The script of a handler or a policy, loaded if it was not; NULL with problems. Its main function has run once.
struct pl_script *pl_vm_load(struct pl_vm *vm, const struct pl_script_source *source, struct pl_problems *problems);
struct pl_script *pl_vm_find(const struct pl_vm *vm, const char *path); // a named one; NULL

// Inside a pl_call. Runs a script's main function in a new environment and pushes what it returned.
void pl_vm_run_main(lua_State *L, struct pl_script *script);
// Pushes the value of a module in Lua.
void pl_vm_require(lua_State *L, const struct pl_script_source *source);
// Forgets all that scripts have left: modules, metatables. What comes next sees the world as the first call saw it.
void pl_vm_new_world(lua_State *L);
void pl_vm_recover(struct pl_vm *vm); // after a call that did not return: no main function runs any more

// policy.c
struct pl_policy *pl_policy_new(struct pl_vm *vm, struct pl_script *script);

// bind_policy.c
void pl_policy_setup(lua_State *L);  // once for a state
void pl_policy_freeze(lua_State *L); // the table on top becomes a value that scripts read as the same table, and cannot change
void pl_policy_freeze_deep(lua_State *L); // and all tables in it
void pl_policy_thaw(lua_State *L, int index); // for C alone: puts the table that was frozen at `index`; leaves all other values
// What policy.take or policy.merge has made, at `index`: 't' with *take_r, 'm' with the table of fields pushed, 0 if it is
// neither.
int pl_policy_verdict_at(lua_State *L, int index, lua_Integer *take_r);
