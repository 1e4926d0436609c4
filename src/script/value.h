// Values on their way between C and Lua: JSON both ways, records, fields, decimals. For
// the files of script/ only.
//
// A record and the body of a request are lazy tables: the text, until somebody uses them
// as a table (value_lazy.c). To Lua code the difference is invisible. C code that takes a
// table from a script calls pl_value_read before it looks into the table.
// Threads: a VM's.
#pragma once

#include <lua.h>

#include "base/buf.h"
#include "base/decimal.h"
#include "base/json.h"
#include "record/record.h"

struct pl_request;

#define PL_VALUE_DECIMAL "plist.decimal" // the name of the metatable of decimals

void pl_value_setup(lua_State *L); // once for a state

// Pushes a JSON value: numbers as integers or decimals, null as json.null, arrays marked
// as such. From text: raises when it is not JSON.
void pl_value_push_json(lua_State *L, const cJSON *json);
void pl_value_push_json_text(lua_State *L, const char *text, size_t len);
// The same, but pushes nil and a sentence. Returns how many values were pushed.
int pl_value_decode(lua_State *L, const char *text, size_t len);

// Appends the value at `index` as JSON. Runs no function of a script, and mends invalid
// UTF-8. Raises for a value that JSON does not have (a function, NaN, a cycle), when
// `buf` would have more than `most` bytes ("what: more than … bytes"), and when it would
// need more than is left of the script's memory.
void pl_value_print(lua_State *L, int index, struct pl_buf *buf, size_t most, const char *what);
// The value at `index` as a tree in an arena: to be read, never deleted. Members of
// objects are sorted by bytes. NULL with a sentence when a string in it cannot be JSON (a
// NUL, invalid UTF-8). Raises for what has no JSON, as above, and for more than a body
// may have.
cJSON *pl_value_tree(lua_State *L, int index, struct pl_arena *arena, const char **fault_r);
// Marks the table on top as an array, so that an empty one is [] and not {}.
void pl_value_mark_array(lua_State *L);
bool pl_value_is_marked(lua_State *L, int index);
// Reads the table at `index` and pushes its keys in order: see pl_order_keys.
lua_Integer pl_value_keys(lua_State *L, int index);

// A table with what policies and rules see of a record: its frozen fields, its version,
// and when and where it was written last (UTC microseconds; the region or its key). The
// caller adds what else there is, and freezes the table.
void pl_value_push_state(lua_State *L, const struct pl_resource *resource, const char *const *values,
                         const struct pl_vector *vector, int64_t updated_at_us, const char *origin);
// The names of the regions, frozen, in the order of the configuration.
void pl_value_push_regions(lua_State *L, const struct pl_config *config);
// Pushes a record: a table of its fields, id, version, updated_at, region_origin, etag.
void pl_value_push_record(lua_State *L, const struct pl_record *record);
// The resource whose record the value at `index` is, or NULL; its entity tag, or NULL:
// valid while the value is on the stack.
const struct pl_resource *pl_value_record_resource(lua_State *L, int index);
const char *pl_value_record_etag(lua_State *L, int index);

// Pushes the body of the request that is running, which is an object.
void pl_value_push_body(lua_State *L, const struct pl_request *request);
// The body of the running request as it was parsed, if the value at `index` is that body
// and nobody has changed it; else NULL.
const cJSON *pl_value_body_at(lua_State *L, int index);

// Makes a lazy table at `index` an ordinary one; leaves any other value. May raise.
void pl_value_read(lua_State *L, int index);
// For `next`, `rawget` and their like, which call no metamethods: reads the table at 1
// and calls the function in the first upvalue.
int pl_value_call_read(lua_State *L);

void pl_value_push_decimal(lua_State *L, const struct pl_decimal *d); // a copy
// False, with nothing pushed: `text` is not a decimal.
bool pl_value_push_decimal_text(lua_State *L, const char *text, size_t len);
// The decimal at `index`: valid while the value is, never to be freed. False: it is
// another value.
bool pl_value_decimal_at(lua_State *L, int index, struct pl_decimal *view_r);
// Appends the number at `index` as JSON text, exactly. False when it is not a finite
// number.
bool pl_value_print_number(lua_State *L, int index, struct pl_buf *buf);
