// Calls into Lua as another thread sees them: which script is running, for how long, and
// at which line.
//
// The thread that makes a call enforces its limits (script/call). Should a call be stuck
// inside one C function or one instruction, a watching thread finds it. The daemon's is
// ops/watchdog; plist-admin has one, too.
// Threads: as each function says.
#pragma once

#include <lua.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

struct pl_vm;

// In each VM. The atomic members are written by the VM's thread, the others are under the
// registry's lock.
struct pl_script_watch {
	_Atomic uint64_t calls;       // started and ended: odd while one runs
	_Atomic uint64_t looks;       // checks of the budget in the running call
	_Atomic(lua_State *) running; // in which it runs
	_Atomic(const char *) place;  // the script; the text lives as long as the VM
	_Atomic int64_t thread;       // the kernel's number of the VM's thread
	uint64_t seen_calls, seen_looks;
	int64_t lasted_us, worked_us;
	bool stuck; // was found stuck
	struct pl_vm *prev, *next;
};

// A call that a look found stuck, or returned.
struct pl_sighting {
	const char *script; // as in "handlers/property_put.lua"
	char where[160];    // "handlers/property_put.lua:12", or "" where no line is known
	int64_t lasted_us, limit_us;
	bool began;    // this look is the first to find it stuck
	bool returned; // it was stuck and has returned, or reached its limits
	bool fatal;    // longer than lua.abort_after
};

// By the VM's thread.
void pl_watch_add(struct pl_vm *vm);
void pl_watch_remove(struct pl_vm *vm);
void pl_watch_begin(struct pl_vm *vm, lua_State *L, const char *place);
void pl_watch_end(struct pl_vm *vm);
static inline void pl_watch_looked(struct pl_script_watch *watch)
{
	atomic_store_explicit(&watch->looks, atomic_load_explicit(&watch->looks, memory_order_relaxed) + 1,
	                      memory_order_relaxed);
}

// By one thread, every PL_WATCH_PERIOD_US: calls fn for each stuck call, and once more
// for each that is no longer stuck.
#define PL_WATCH_PERIOD_US 100000
void pl_watch_look(void (*fn)(const struct pl_sighting *sighting, void *arg), void *arg);
