// The order of a table's keys: the same on every machine, in every run. For the files of
// script/ only.
// Threads: a VM's.
#pragma once

#include <lua.h>

// Pushes a list of the keys of the table at `index`: numbers by value, then texts by
// bytes, then false and true. Returns how many there are. Raises for keys that have no
// order (tables, functions).
lua_Integer pl_order_keys(lua_State *L, int index);

// C functions for scripts: pairs and next in that order. Frozen tables are accepted.
int pl_order_pairs(lua_State *L);
int pl_order_next(lua_State *L);
