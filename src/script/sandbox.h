// The sandbox: what a script finds in its environment, in either world. For the files of script/ only.
#pragma once

#include <lauxlib.h>

#include "script/state.h"

// Once for a new state, inside a pl_call: opens what is chosen of Lua's libraries and puts the guarded functions together.
void pl_sandbox_open(lua_State *L);
// Pushes a new environment: its globals are its own, its library tables too, and nothing that it does to them is seen
// anywhere else.
void pl_sandbox_push_env(lua_State *L);
// Gives the function at `index` a new environment.
void pl_sandbox_set_env(lua_State *L, int index);
// Whether an environment has a global of this name; and the sentence for one that it has not, pushed.
bool pl_sandbox_has(lua_State *L, const char *name);
const char *pl_sandbox_push_missing(lua_State *L, const char *name);
// Pushes the function of Lua's own library that ours stands before.
void pl_sandbox_push_original(lua_State *L, const char *name);

// Pushes what `require name` gives when it is a module in C of this world: a new table. False, with nothing pushed: it is none.
bool pl_sandbox_push_module(lua_State *L, const char *name);

// Pushes the text of any value, without the address of anything: what tostring gives.
const char *pl_sandbox_text(lua_State *L, int index, size_t *len_r);

// What the value at `index` is, for a message: its type as scripts see it, or the name of what it is a kind of ("decimal").
const char *pl_sandbox_kind(lua_State *L, int index);

// The guarded libraries, NULL-ended.
extern const luaL_Reg pl_sandbox_base[];
extern const luaL_Reg pl_sandbox_string[];
extern const luaL_Reg pl_sandbox_table[];

// order.c. Pushes a list of the keys of the table at `index`: numbers by value, then texts by bytes, then false and true.
// Returns how many there are. Raises for keys that have no order (tables, functions).
lua_Integer pl_order_keys(lua_State *L, int index);
int pl_order_pairs(lua_State *L); // pairs for policies
int pl_order_next(lua_State *L);  // next for policies
