// plist.policy: take and merge, the two verdicts that there are; and the frozen tables that policies are shown.
//
// A frozen table is a userdata around a table: it reads like one (index, #, pairs, ipairs, next, type) and refuses to be
// changed, by any function.
// Threads: a VM's.
#include <lauxlib.h>

#include "script/bind.h"
#include "script/sandbox.h"

#define META_FROZEN "plist.frozen"
#define META_VERDICT "plist.verdict"

void pl_policy_freeze(lua_State *L)
{
	lua_newuserdatauv(L, 0, 1);
	lua_insert(L, -2);
	lua_setiuservalue(L, -2, 1);
	luaL_setmetatable(L, META_FROZEN);
}

void pl_policy_freeze_deep(lua_State *L)
{
	int table = lua_gettop(L);

	luaL_checkstack(L, 6, NULL);
	for (lua_pushnil(L); lua_next(L, table); lua_pop(L, 1)) {
		if (lua_type(L, -1) != LUA_TTABLE)
			continue;
		pl_policy_freeze_deep(L);
		lua_pushvalue(L, -2);
		lua_pushvalue(L, -2);
		lua_rawset(L, table); // of a key that is there: allowed while lua_next is under way
	}
	pl_policy_freeze(L);
}

void pl_policy_thaw(lua_State *L, int index)
{
	if (!luaL_testudata(L, index, META_FROZEN))
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

// Often table.sort or table.insert: the place that is told is the line that called them.
static int frozen_newindex(lua_State *L)
{
	lua_Debug ar;

	lua_pushliteral(L, "");
	for (int level = 1; lua_rawlen(L, -1) == 0 && lua_getstack(L, level, &ar); level++) {
		lua_pop(L, 1);
		luaL_where(L, level);
	}
	lua_pushliteral(L, "what a policy is shown cannot be changed; make a table of its own: table.move(rows, 1, #rows, 1, {})");
	lua_concat(L, 2);
	return lua_error(L);
}

static int frozen_len(lua_State *L)
{
	lua_getiuservalue(L, 1, 1);
	lua_pushinteger(L, (lua_Integer)lua_rawlen(L, -1));
	return 1;
}

static void push_verdict(lua_State *L, const char *member)
{
	lua_createtable(L, 0, 1);
	lua_insert(L, -2);
	lua_setfield(L, -2, member);
	luaL_setmetatable(L, META_VERDICT);
}

// The i-th of the rows is shown.
static int policy_take(lua_State *L)
{
	luaL_checkinteger(L, 1);
	lua_settop(L, 1);
	push_verdict(L, "take");
	return 1;
}

// A row is shown that has these fields.
static int policy_merge(lua_State *L)
{
	lua_settop(L, 1);
	pl_policy_thaw(L, 1); // policy.merge(rows[i].fields) is as good as taking it
	luaL_checktype(L, 1, LUA_TTABLE);
	push_verdict(L, "merge");
	return 1;
}

int pl_policy_verdict_at(lua_State *L, int index, lua_Integer *take_r)
{
	bool is = false;

	index = lua_absindex(L, index);
	if (lua_type(L, index) == LUA_TTABLE && lua_getmetatable(L, index)) {
		luaL_getmetatable(L, META_VERDICT);
		is = lua_rawequal(L, -1, -2);
		lua_pop(L, 2);
	}
	if (!is)
		return 0;
	lua_pushliteral(L, "merge");
	if (lua_rawget(L, index) == LUA_TTABLE)
		return 'm';
	lua_pop(L, 1);
	lua_pushliteral(L, "take");
	lua_rawget(L, index);
	*take_r = lua_tointeger(L, -1); // 0 is no row
	lua_pop(L, 1);
	return 't';
}

void pl_policy_setup(lua_State *L)
{
	static const luaL_Reg frozen[] = {{"__index", frozen_index}, {"__len", frozen_len}, {"__newindex", frozen_newindex},
	                                  {NULL, NULL}};

	luaL_newmetatable(L, META_FROZEN);
	luaL_setfuncs(L, frozen, 0);
	lua_pushboolean(L, 0);
	lua_setfield(L, -2, "__metatable");
	lua_pushliteral(L, "table");
	lua_setfield(L, -2, "__type");
	lua_pushliteral(L, "read-only table"); // what Lua calls it where a table is asked for: rawset, setmetatable
	lua_setfield(L, -2, "__name");
	luaL_newmetatable(L, META_VERDICT);
	lua_pushboolean(L, 0);
	lua_setfield(L, -2, "__metatable");
	lua_pop(L, 2);
}

int pl_bind_policy(lua_State *L)
{
	lua_createtable(L, 0, 2);
	lua_pushcfunction(L, policy_take);
	lua_setfield(L, -2, "take");
	lua_pushcfunction(L, policy_merge);
	lua_setfield(L, -2, "merge");
	return 1;
}
