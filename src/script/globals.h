// The globals that a compiled chunk names, found without running it. For vm.c only.
#pragma once

#include <lua.h>

#include "base/buf.h"

// Called for each use of a global, in the order of the code. `line` is 0 when it is not known.
typedef void pl_globals_fn(void *arg, const char *name, int line, bool assigned);

// The function on top of the stack. `scratch` is overwritten. False: this Lua writes its code in a way that is not known here;
// nothing was called.
bool pl_globals_visit(lua_State *L, struct pl_buf *scratch, pl_globals_fn *fn, void *arg);
