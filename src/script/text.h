// How scripts see a value as text. For the files of script/ only.
// Threads: a VM's.
#pragma once

#include <lua.h>

// Pushes what tostring gives: the text of any value, without an address.
const char *pl_text_push(lua_State *L, int index, size_t *len_r);

// The type of the value at `index`, for a message: "table", or the name of a kind of
// userdata ("decimal").
const char *pl_text_kind(lua_State *L, int index);
