// Tables that nobody has looked into yet. For the files of script/ only.
#pragma once

#include <lua.h>

#include "base/buf.h"
#include "script/run.h"

void pl_unread_setup(lua_State *L); // once for a state

// Pushes a record: see pl_value_fill_record for what it is to scripts.
void pl_unread_push_record(lua_State *L, const struct pl_record *record);
// Pushes a request's body, which is an object.
void pl_unread_push_body(lua_State *L, const struct pl_run *run);

// Makes the table at `index` what it stands for; anything else is left as it is. To be called before a table of a script's is looked into
// without metamethods. May raise.
void pl_unread_read(lua_State *L, int index);

// Of a record that nobody has looked into, without looking: its resource, its JSON appended, its entity tag. NULL or false: it is none.
const struct pl_resource *pl_unread_resource(lua_State *L, int index);
bool pl_unread_print(lua_State *L, int index, struct pl_buf *buf);
const char *pl_unread_etag(lua_State *L, int index);
// The body of the request that runs, as it was parsed, if that is what stands at `index`; NULL.
const cJSON *pl_unread_body(lua_State *L, int index);

// For `next`, `rawget` and their like: what is called is the first upvalue, with the table at 1 read.
int pl_unread_call_read(lua_State *L);
