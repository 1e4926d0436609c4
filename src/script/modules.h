// What `require` finds. For the files of script/ only.
#pragma once

#include <lua.h>

// Once for a state, after pl_sandbox_open: gives environments `require`, and prepares
// the modules in C.
void pl_modules_setup(lua_State *L);
