// The inside of a VM, for the files of script/ only.
//
// A state's extra space points back to its VM, even from every coroutine, so a C function
// that a script calls finds it by pl_vm_of.
#pragma once

#include <lua.h>

#include "base/buf.h"
#include "base/decimal.h"
#include "base/mem.h"
#include "config/config.h"
#include "script/call.h"
#include "script/context.h"
#include "script/exchange.h"
#include "script/watch.h"

#define PL_REQUIRES_MAX 32 // modules in Lua that one file requires

#define PL_IDLE_MAX     32 // coroutines that are kept for the next runs

// A file that was loaded.
struct pl_script {
	const struct pl_script_source *source;
	int chunk;    // registry: the compiled main function
	int function; // registry: its `handle`. Handlers only: a policy's file runs again for each call
	struct pl_policy *policy; // policies only, made at first use
	const char *name;         // in the VM's arena
	const char *doc;
	char sha256[65];       // of the text, and of the texts of all the modules that it requires
	bool named;            // by a route or a resource; false: a module, reached by require
	bool running;          // its main function is running now
	bool proven;           // a run has ended within its slice (lane.c)
	int64_t slow_until_us; // its runs wait in the lane until then (lane.c)
	int64_t served_us;     // processor time that the lane has given to its runs
	int nrequires;
	const struct pl_script
		*requires[PL_REQUIRES_MAX]; // modules in Lua, in the order of their first require
};

struct pl_vm {
	lua_State *L;
	enum pl_context context;
	struct pl_config *config;
	struct pl_script_limits limits;
	struct pl_arena *arena;
	int refs; // the owner's, and one of each run

	// The allocator (call.c).
	size_t used; // bytes
	size_t peak; // the most since memory was last given back
	size_t cap;  // 0: none, while the host sets up
	struct pl_large {
		void *p;
		size_t size;
	} * large; // the long strings that exist
	int nlarge, large_room;

	// The running call (call.c).
	struct pl_budget *budget; // NULL when no call is running, or the call has no budget
	lua_State *running;       // in which it runs
	int step;  // instructions between two checks of the clock: fewer while long strings exist
	int armed; // instructions until the hook fires
	// when to check how long the thread has worked; INT64_MIN: the clock has not been
	// read in this call
	int64_t deadline_us;
	int64_t halfway_us;           // processor time of the thread at half time; -1 before
	int64_t unclocked;            // instructions since the clock was read
	int64_t slice_end_us;         // when to check whether the slice is used up
	int64_t slice_worked_us;      // processor time of the thread at the first expiry; -1 before
	bool over_slice;              // the running call has used up its slice
	struct pl_lane *lane;         // where slow runs wait; NULL: none, and calls are not interrupted
	struct pl_buf message, trace; // of the last call that raised
	int ref_kept;                 // registry: a list of values that are kept until the call ends
	int nkept, next_kept;         // how many there are; the index at which the next one goes

	// The files (load.c).
	int nscripts, scripts_room;
	struct pl_script **scripts;
	struct pl_script *current; // whose main function is running; NULL otherwise
	bool loading;              // files may be read; later, only those that have been
	int ref_modules;           // registry: path -> value of a module in Lua; policies: of this call

	// The environments (sandbox.c).
	int ref_originals; // registry: Lua's own functions that ours wrap
	int ref_template;  // registry: name -> function or table of functions, for new environments
	int ref_env_meta;  // registry: metatable of environments

	struct pl_script_watch watch;
	const char *place; // the script that the host calls, or is about to; NULL: none

	// The running run (run.c): set while its coroutine runs.
	struct pl_run *run;
	const struct pl_request *request;
	uint64_t run_number; // of its run
	uint64_t runs;       // started since the VM was made
	struct {
		lua_State *co;
		int ref;
	} idle[PL_IDLE_MAX]; // coroutines that have returned, with empty stacks
	int nidle;

	// Scratch. C functions may raise while it is in use, and nothing is lost.
	struct pl_decimal result, operand[2];
	struct {
		size_t room, most;
		const char *what;
	} print; // of pl_value_print: how long the text may become before the next check, and at all
	struct pl_buf text;
	struct pl_arena *scratch;
};

static inline struct pl_vm *pl_vm_of(lua_State *L)
{
	return *(struct pl_vm **)lua_getextraspace(L);
}
