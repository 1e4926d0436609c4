// Problems as scripts see them. For the files of script/bind/.
// Threads: a VM's.
#pragma once

#include <lua.h>

#include "script/exchange.h"

// Pushes the table of a problem: what records.* and db.query return beside nil.
void pl_bind_http_push_problem(lua_State *L, const struct pl_problem *problem);
