// Between the files of value.c: value_decimal.c, value_lazy.c, value_record.c,
// value_tree.c.
//
// They call each other in a circle, for a reason: a table may be lazy, so printing one
// has to ask value_lazy.c, which reads it by the functions that make records and objects.
// Threads: a VM's.
#pragma once

#include "script/value.h"

#define PL_VALUE_DEPTH_MAX   32
#define PL_VALUE_NO_JSON_KEY "a table with a key that is a %s is neither an array nor an object of JSON"
#define PL_VALUE_TOO_DEEP    "a table is nested too deep for JSON, or contains itself"

void pl_value_lazy_setup(lua_State *L);
void pl_value_record_setup(lua_State *L);

// Gives the table on top the members of a JSON object; the same from text, which raises
// when it is not JSON. Neither calls a metamethod.
void pl_value_fill_object(lua_State *L, const cJSON *json);
void pl_value_fill_object_text(lua_State *L, const char *text, size_t len);
// Makes the table on top a record: its fields, id, version, updated_at, region_origin,
// etag. Calls no metamethod.
void pl_value_fill_record(lua_State *L, const struct pl_record *record, const char *etag);

bool pl_value_is_array(lua_State *L, int index); // as JSON: marked, or with the keys 1 to n
void pl_value_no_json(lua_State *L, int index);  // raises: "a function has no JSON"

// Of a lazy table, without reading it: its resource, or NULL; the length of its text in
// bytes, or 0; its text appended, or false where it is not a record; its entity tag, or
// NULL.
const struct pl_resource *pl_value_lazy_resource(lua_State *L, int index);
size_t pl_value_lazy_length(lua_State *L, int index);
bool pl_value_lazy_print(lua_State *L, int index, struct pl_buf *buf);
const char *pl_value_lazy_etag(lua_State *L, int index);
