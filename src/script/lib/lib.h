// The guarded libraries of scripts: Lua's own functions, where they can run long or show
// too much, wrapped or written again. For sandbox.c and the files of script/lib/.
// Threads: a VM's.
#pragma once

#include <lauxlib.h>

// Each list ends with a NULL name.
extern const luaL_Reg pl_lib_base[];
extern const luaL_Reg pl_lib_base_policy[]; // these in addition, in policies
extern const luaL_Reg pl_lib_os[];
extern const luaL_Reg pl_lib_string[];
extern const luaL_Reg pl_lib_table[];

// original.c. Once for a state, while Lua's own libraries are still reachable: keeps the
// functions that ours call.
void pl_lib_keep_originals(lua_State *L);
// Pushes one of them: "string.format".
void pl_lib_push_original(lua_State *L, const char *name);
// A C closure over one of Lua's functions (upvalue 1) that charges for the lengths of its
// arguments and then calls it.
int pl_lib_charged(lua_State *L);

// metatable.c
int pl_metatable_set(lua_State *L);
int pl_metatable_get(lua_State *L);
