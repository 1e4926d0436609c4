// Frozen tables: what policies are shown and cannot change.
//
// A frozen table is a userdata around a table. It reads like a table (index, #, pairs,
// ipairs, next, type), and no function can change it.
#include "script/frozen.h"

#include <lauxlib.h>

#define META "plist.frozen"

void pl_frozen_freeze(lua_State *L)
{
	lua_newuserdatauv(L, 0, 1);
	lua_insert(L, -2);
	lua_setiuservalue(L, -2, 1);
	luaL_setmetatable(L, META);
}

void pl_frozen_freeze_deep(lua_State *L)
{
	int table = lua_gettop(L);

	luaL_checkstack(L, 6, NULL);
	for (lua_pushnil(L); lua_next(L, table); lua_pop(L, 1)) {
		if (lua_type(L, -1) != LUA_TTABLE)
			continue;
		pl_frozen_freeze_deep(L);
		lua_pushvalue(L, -2);
		lua_pushvalue(L, -2);
		lua_rawset(L, table); // the key exists, so lua_next allows it
	}
	pl_frozen_freeze(L);
}

void pl_frozen_thaw(lua_State *L, int index)
{
	if (!luaL_testudata(L, index, META))
		return;
	index = lua_absindex(L, index);
	lua_getiuservalue(L, index, 1);
	lua_replace(L, index);
}

static int frozen_index(lua_State *L)
{
	lua_getiuservalue(L, 1, 1);
	lua_pushvalue(L, 2);
	lua_rawget(L, -2);
	return 1;
}

// The write often comes from table.sort or table.insert. The error names the line of the
// script that called them.
static int frozen_newindex(lua_State *L)
{
	lua_Debug ar;

	lua_pushliteral(L, "");
	for (int level = 1; lua_rawlen(L, -1) == 0 && lua_getstack(L, level, &ar); level++) {
		lua_pop(L, 1);
		luaL_where(L, level);
	}
	lua_pushliteral(L, "a policy cannot change the rows that it is given; copy them first: "
	                   "table.move(rows, 1, #rows, 1, {})");
	lua_concat(L, 2);
	return lua_error(L);
}

static int frozen_len(lua_State *L)
{
	lua_getiuservalue(L, 1, 1);
	lua_pushinteger(L, (lua_Integer)lua_rawlen(L, -1));
	return 1;
}

void pl_frozen_setup(lua_State *L)
{
	static const luaL_Reg metamethods[] = { { "__index", frozen_index },
		                                { "__len", frozen_len },
		                                { "__newindex", frozen_newindex },
		                                { NULL, NULL } };

	luaL_newmetatable(L, META);
	luaL_setfuncs(L, metamethods, 0);
	lua_pushboolean(L, 0);
	lua_setfield(L, -2, "__metatable");
	lua_pushliteral(L, "table");
	lua_setfield(L, -2, "__type");
	// Lua's name for it where it expects a table: rawset, setmetatable
	lua_pushliteral(L, "read-only table");
	lua_setfield(L, -2, "__name");
	lua_pop(L, 1);
}
