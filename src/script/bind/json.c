// plist.json: encode, decode, null, array.
//
// Threads: a VM's.
#include <lauxlib.h>

#include "script/bind/bind.h"
#include "script/script_private.h"
#include "script/value.h"

static int js_encode(lua_State *L)
{
	struct pl_vm *vm = pl_vm_of(L);

	luaL_checkany(L, 1);
	pl_buf_reset(&vm->text);
	pl_value_print(L, 1, &vm->text, SIZE_MAX, "json.encode: the text");
	lua_pushlstring(L, vm->text.data, vm->text.len);
	return 1;
}

// Returns the value, or nil and a sentence when the text is not JSON.
static int js_decode(lua_State *L)
{
	size_t len;
	const char *text = luaL_checklstring(L, 1, &len);

	return pl_value_decode(L, text, len);
}

static int js_array(lua_State *L)
{
	luaL_checktype(L, 1, LUA_TTABLE);
	lua_settop(L, 1);
	pl_value_read(L, 1);
	if (pl_value_is_marked(L, 1)) // from a body, records.list or db.query
		return 1;
	if (pl_value_record_resource(L, 1))
		return luaL_error(L, "json.array: a record is not an array");
	if (lua_getmetatable(L, 1))
		return luaL_error(L, "json.array: the table already has a metatable");
	pl_value_mark_array(L);
	return 1;
}

int pl_bind_json(lua_State *L)
{
	static const luaL_Reg functions[] = {
		{ "array", js_array }, { "decode", js_decode }, { "encode", js_encode }, { NULL, NULL }
	};

	luaL_newlib(L, functions);
	lua_pushlightuserdata(L, NULL);
	lua_setfield(L, -2, "null");
	return 1;
}
