// A virtual machine: one lua_State with one configuration's scripts in it, sandboxed.
//
// A worker has one for its handlers, the applier one for its policies, plist-admin and the busted host one each for what they
// check.
// Threads: a VM belongs to one thread. There may be any number of them.
#pragma once

#include <lua.h>

#include "config/config.h"
#include "script/exchange.h"

enum pl_world {
	PL_WORLD_HANDLER, // require "plist.records", "plist.db", "plist.http", "plist.json", "plist.log", "plist.decimal"
	PL_WORLD_POLICY,  // require "plist.policy", "plist.decimal"; no clock, no randomness, no memory between calls
};

struct pl_vm;

// Loads every handler (or policy) that the configuration names. Problems are all reported, as "file:line: message".
struct pl_vm *pl_vm_new(const struct pl_config *config, enum pl_world world, struct pl_problems *problems);
void pl_vm_free(struct pl_vm **vm); // lives on until the last of its runs is freed
lua_State *pl_vm_lua(struct pl_vm *vm);
size_t pl_vm_memory(const struct pl_vm *vm);

// A handler's run: a coroutine that waits where it asks the store.
enum pl_run_state { PL_RUN_WAITING, PL_RUN_DONE };
struct pl_run;

// Begins a handler. When it is done, at once or later, `done` is called exactly once with the answer in *answer (also for a
// handler that raised or overran: a problem 500, and the cause is logged). Nothing of the request may be freed before.
// Returns NULL when `done` was called, and freed the run, before this returned. `store` is where its records.* and db.* calls
// go.
struct pl_run *pl_run_start(struct pl_vm *vm, struct pl_store *store, const struct pl_request *request, struct pl_answer *answer,
                            void (*done)(struct pl_run *run, void *arg), void *arg);
// After done, or within it, or to abandon: a store call in flight then ends unheard, and nothing of the request is touched
// any more.
void pl_run_free(struct pl_run **run);
enum pl_run_state pl_run_state(const struct pl_run *run);

int pl_vm_handlers(const struct pl_vm *vm); // how many are loaded
