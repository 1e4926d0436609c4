// Frozen tables: what policies are shown and cannot change. For the files of script/
// only.
// Threads: a VM's.
#pragma once

#include <lua.h>

void pl_frozen_setup(lua_State *L); // once for a state

// Replaces the table on top by a value that scripts read as that table and cannot change.
void pl_frozen_freeze(lua_State *L);
void pl_frozen_freeze_deep(lua_State *L); // and all tables in it
// For C alone: replaces a frozen table at `index` by the table itself. Leaves other
// values.
void pl_frozen_thaw(lua_State *L, int index);
