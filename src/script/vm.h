// A virtual machine: one lua_State with one configuration's scripts in it, sandboxed.
//
// Each worker has one for its handlers and the applier one for its policies; plist-admin
// and the host of the busted specs make theirs for checks.
// Threads: a VM belongs to one thread. There may be any number of them.
#pragma once

#include <lua.h>

#include "config/config.h"
#include "script/context.h"
#include "script/exchange.h"

struct pl_vm;
struct pl_lane;

// Loads every handler (or policy) that the configuration names. NULL: at least one
// failed; *diagnostics has all problems, as "file:line: message".
struct pl_vm *pl_vm_new(const struct pl_config *config, enum pl_context context,
                        struct pl_diagnostics *diagnostics);
// Handlers that use up their slice are interrupted, and continue in this lane, which has
// to exist longer than the VM's runs. NULL, as in the beginning: no handler is
// interrupted. What is known about the scripts of `before`, which may be NULL, is taken
// over.
void pl_vm_set_lane(struct pl_vm *vm, struct pl_lane *lane, const struct pl_vm *before);
void pl_vm_free(struct pl_vm **vm_p); // the VM lives on until its last run is freed
lua_State *pl_vm_lua(struct pl_vm *vm);
size_t pl_vm_memory(const struct pl_vm *vm); // bytes in use
