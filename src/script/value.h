// Values on their way between C and Lua: JSON both ways, records, fields. For the files of script/ only.
#pragma once

#include <lua.h>

#include "base/buf.h"
#include "base/json.h"
#include "record/record.h"

void pl_value_setup(lua_State *L); // once for a state
void pl_value_setup_records(lua_State *L); // a part of it

// Pushes a JSON value: numbers as integers or decimals, null as json.null, arrays marked as such.
void pl_value_push_json(lua_State *L, const cJSON *json);
// Gives the table on top the members of a JSON object; the same from text, which raises when it is no JSON. Neither asks a metamethod.
void pl_value_fill_object(lua_State *L, const cJSON *json);
void pl_value_fill_object_text(lua_State *L, const char *text, size_t len);
// Pushes from text; raises when it is no JSON.
void pl_value_push_json_text(lua_State *L, const char *text, size_t len);
// The same, but nil and a sentence. Returns how many values were pushed.
int pl_value_decode(lua_State *L, const char *text, size_t len);
// Appends the value at `index` as JSON. Runs no function of a script. Raises for what has no JSON: functions, NaN, cycles,
// invalid UTF-8 is mended.
void pl_value_print(lua_State *L, int index, struct pl_buf *buf);
// The value at `index` as a tree in an arena: to be read, never deleted. NULL with a sentence when a string in it is no JSON's (a
// NUL, bytes that are no UTF-8). Raises for what has no JSON, as above, and for more than a body may have. Members of objects
// come in the order of their bytes.
cJSON *pl_value_tree(lua_State *L, int index, struct pl_arena *arena, const char **fault_r);
// Marks the table on top as an array, so that an empty one is [] and not {}.
void pl_value_mark_array(lua_State *L);

// Pushes a field's text as what it is in Lua; nil for NULL.
void pl_value_push_field(lua_State *L, const struct pl_field *field, const char *text);
// Makes the table on top a record: its fields, id, version, updated_at, region_origin, etag. It prints as the record does, whatever else is
// put into it. Asks no metamethod.
void pl_value_fill_record(lua_State *L, const struct pl_record *record, const char *etag);
// The resource whose record the value at `index` is; NULL if it is none.
const struct pl_resource *pl_value_record_resource(lua_State *L, int index);

// A number at `index` as JSON text, exactly: appended. False when it is no finite number.
bool pl_value_print_number(lua_State *L, int index, struct pl_buf *buf);
