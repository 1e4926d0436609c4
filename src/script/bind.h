// The modules in C that scripts can require: one file each, one function each that pushes a new table. For the files of
// script/ only.
#pragma once

#include <lua.h>

#include "base/decimal.h"
#include "base/json.h"
#include "script/state.h"

int pl_bind_records(lua_State *L);
int pl_bind_db(lua_State *L);
int pl_bind_http(lua_State *L);
int pl_bind_json(lua_State *L);
int pl_bind_log(lua_State *L);
int pl_bind_decimal(lua_State *L);
int pl_bind_policy(lua_State *L);

// bind_decimal.c
void pl_decimal_setup(lua_State *L);                            // once for a state
void pl_decimal_push(lua_State *L, const struct pl_decimal *d); // a copy
bool pl_decimal_at(lua_State *L, int index, struct pl_decimal *view_r); // valid while the value is; never _fini it
// Pushes the decimal that `text` is; false, with nothing pushed: it is none.
bool pl_decimal_push_text(lua_State *L, const char *text, size_t len);
