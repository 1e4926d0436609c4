// Records in Lua: a table of the fields, id, version, region_origin, updated_at and etag.
// Its metatable marks it as a record and names the resource. value.c prints it.
//
// Threads: a VM's.
#include <lauxlib.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "script/frozen.h"
#include "script/script_private.h"
#include "script/value_private.h"

#define META_RECORD "plist.record"

static const char resource_key; // its address is the key of a record metatable's resource

void pl_value_record_setup(lua_State *L)
{
	lua_newtable(L); // resource -> metatable of its records
	lua_setfield(L, LUA_REGISTRYINDEX, META_RECORD);
}

const struct pl_resource *pl_value_record_resource(lua_State *L, int index)
{
	const struct pl_resource *resource = pl_value_lazy_resource(L, index);

	if (!resource && lua_type(L, index) == LUA_TTABLE && lua_getmetatable(L, index)) {
		if (lua_rawgetp(L, -1, &resource_key) == LUA_TLIGHTUSERDATA)
			resource = lua_touserdata(L, -1);
		lua_pop(L, 2);
	}
	return resource;
}

const char *pl_value_record_etag(lua_State *L, int index)
{
	const char *etag = pl_value_lazy_etag(L, index);

	if (etag || !pl_value_record_resource(L, index))
		return etag;
	index = lua_absindex(L, index);
	lua_pushliteral(L, "etag");
	if (lua_rawget(L, index) == LUA_TSTRING && strlen(lua_tostring(L, -1)) == lua_rawlen(L, -1))
		etag = lua_tostring(L, -1); // valid: it is in the table
	lua_pop(L, 1);
	return etag;
}

// Pushes a field's text as a Lua value; nil for NULL.
static void push_field(lua_State *L, const struct pl_field *field, const char *text)
{
	if (!text) {
		lua_pushnil(L);
		return;
	}
	switch (field->type) {
	case PL_FIELD_DECIMAL:
		if (!pl_value_push_decimal_text(L, text, strlen(text)))
			lua_pushnil(L); // NaN, written by hand in SQL: printed as null, too
		return;
	case PL_FIELD_INTEGER: lua_pushinteger(L, strtoll(text, NULL, 10)); return;
	case PL_FIELD_BOOLEAN: lua_pushboolean(L, text[0] == 't'); return;
	case PL_FIELD_STRING: lua_pushstring(L, text); return;
	}
}

void pl_value_push_state(lua_State *L, const struct pl_resource *resource, const char *const *values,
                         const struct pl_vector *vector, int64_t updated_at_us, const char *origin)
{
	lua_createtable(L, 0, 7);
	lua_createtable(L, 0, resource->nfields);
	for (int i = 0; i < resource->nfields; i++) {
		push_field(L, &resource->fields[i], values[i]);
		lua_setfield(L, -2, resource->fields[i].name);
	}
	pl_frozen_freeze(L);
	lua_setfield(L, -2, "fields");
	lua_pushinteger(L, pl_vector_sum(vector));
	lua_setfield(L, -2, "version");
	lua_pushinteger(L, updated_at_us);
	lua_setfield(L, -2, "updated_at");
	lua_pushlstring(L, origin, pl_vector_region_len(origin, strlen(origin)));
	lua_setfield(L, -2, "origin");
}

void pl_value_push_regions(lua_State *L, const struct pl_config *config)
{
	lua_createtable(L, config->nregions, 0);
	for (int i = 0; i < config->nregions; i++) {
		lua_pushstring(L, config->regions[i].name);
		lua_rawseti(L, -2, i + 1);
	}
	pl_frozen_freeze(L);
}

// Sets the metatable of a resource's records on the table on top.
static void set_record_meta(lua_State *L, const struct pl_resource *resource)
{
	lua_getfield(L, LUA_REGISTRYINDEX, META_RECORD);
	if (lua_rawgetp(L, -1, resource) == LUA_TNIL) {
		lua_pop(L, 1);
		lua_createtable(L, 0, 2);
		lua_pushlightuserdata(L, (void *)(uintptr_t)resource);
		lua_rawsetp(L, -2, &resource_key);
		lua_pushboolean(L, 0);
		lua_setfield(L, -2, "__metatable");
		lua_pushvalue(L, -1);
		lua_rawsetp(L, -3, resource);
	}
	lua_setmetatable(L, -3);
	lua_pop(L, 1);
}

void pl_value_fill_record(lua_State *L, const struct pl_record *record, const char *etag)
{
	const struct pl_resource *resource = record->resource;
	char text[PL_TIME_TEXT_MAX];

	luaL_checkstack(L, 5, NULL);
	for (int i = 0; i < resource->nfields; i++) {
		lua_pushstring(L, resource->fields[i].name);
		push_field(L, &resource->fields[i], record->values[i]);
		lua_rawset(L, -3);
	}
	lua_pushliteral(L, "id");
	lua_pushinteger(L, record->id);
	lua_rawset(L, -3);
	lua_pushliteral(L, "version");
	lua_pushinteger(L, record->version);
	lua_rawset(L, -3);
	lua_pushliteral(L, "region_origin");
	lua_pushlstring(L, record->region_origin,
	                pl_vector_region_len(record->region_origin, strlen(record->region_origin)));
	lua_rawset(L, -3);
	lua_pushliteral(L, "updated_at");
	lua_pushstring(L, pl_clock_format_time(record->updated_at_us, text));
	lua_rawset(L, -3);
	lua_pushliteral(L, "etag");
	lua_pushstring(L, etag);
	lua_rawset(L, -3);
	set_record_meta(L, resource);
}
