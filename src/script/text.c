// How scripts see a value as text.
//
// Lua's own tostring shows the address of a table, which differs from machine to machine,
// so no policy may see it. Here a value without __tostring is shown as its type alone.
#include "script/text.h"

#include <lauxlib.h>

// A text member of a userdata's metatable, or NULL. The metatable lives as long as the
// state, and so does the text.
static const char *metafield_text(lua_State *L, int index, const char *name)
{
	const char *text = NULL;

	if (lua_type(L, index) == LUA_TUSERDATA && luaL_getmetafield(L, index, name) != LUA_TNIL) {
		text = lua_tostring(L, -1);
		lua_pop(L, 1);
	}
	return text;
}

const char *pl_text_kind(lua_State *L, int index)
{
	const char *kind = metafield_text(L, index, "__type");

	kind = kind ? kind : metafield_text(L, index, "__name");
	return kind ? kind : luaL_typename(L, index);
}

const char *pl_text_push(lua_State *L, int index, size_t *len_r)
{
	if (luaL_callmeta(L, index, "__tostring")) {
		if (!lua_isstring(L, -1))
			luaL_error(L, "'__tostring' must return a string");
		return lua_tolstring(L, -1, len_r);
	}
	switch (lua_type(L, index)) {
	case LUA_TNUMBER:
	case LUA_TSTRING:
	case LUA_TBOOLEAN:
	case LUA_TNIL: return luaL_tolstring(L, index, len_r);
	case LUA_TLIGHTUSERDATA: // json.null
		lua_pushliteral(L, "null");
		return lua_tolstring(L, -1, len_r);
	default: lua_pushstring(L, pl_text_kind(L, index)); return lua_tolstring(L, -1, len_r);
	}
}
