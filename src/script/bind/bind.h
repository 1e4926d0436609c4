// The modules in C that scripts can require: a file each, with a function that pushes a
// new table. modules.c lists them. For the files of script/ only.
// Threads: a VM's.
#pragma once

#include <lua.h>

int pl_bind_records(lua_State *L);
int pl_bind_db(lua_State *L);
int pl_bind_http(lua_State *L);
int pl_bind_json(lua_State *L);
int pl_bind_log(lua_State *L);
int pl_bind_decimal(lua_State *L);
int pl_bind_policy(lua_State *L);

// Once for a state.
void pl_bind_http_setup(lua_State *L);
void pl_bind_decimal_setup(lua_State *L);
void pl_bind_policy_setup(lua_State *L);

// bind/policy.c. What policy.take or policy.merge has returned, at `index`: 't' with
// *take_r, 'm' with the table of fields pushed, 0 for any other value.
int pl_bind_policy_verdict_at(lua_State *L, int index, lua_Integer *take_r);
