// The sandbox: the environments in which scripts run. For the files of script/ only.
// Threads: a VM's.
#pragma once

#include <lua.h>

// Once for a new state, inside a pl_call: opens Lua's libraries, chooses from them, and
// makes the rest unreachable.
void pl_sandbox_open(lua_State *L);
// Adds a global function to all environments. Once for a state, after pl_sandbox_open.
void pl_sandbox_define(lua_State *L, const char *name, lua_CFunction function);
// Gives the function at `index` a new environment. A script's globals and library tables
// are its own: no other environment sees a change.
void pl_sandbox_set_env(lua_State *L, int index);
