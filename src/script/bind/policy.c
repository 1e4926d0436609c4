// plist.policy: take and merge, the two verdicts that a policy can return; null, for
// fields.
//
// Threads: a VM's.
#include <lauxlib.h>
#include <stdbool.h>

#include "script/bind/bind.h"
#include "script/frozen.h"

#define META "plist.verdict"

static void push_verdict(lua_State *L, const char *member)
{
	lua_createtable(L, 0, 1);
	lua_insert(L, -2);
	lua_setfield(L, -2, member);
	luaL_setmetatable(L, META);
}

// The record becomes the i-th row.
static int policy_take(lua_State *L)
{
	luaL_checkinteger(L, 1);
	lua_settop(L, 1);
	push_verdict(L, "take");
	return 1;
}

// The record becomes a row with these fields.
static int policy_merge(lua_State *L)
{
	lua_settop(L, 1);
	pl_frozen_thaw(L, 1); // policy.merge(rows[i].fields) is as good as taking it
	luaL_checktype(L, 1, LUA_TTABLE);
	push_verdict(L, "merge");
	return 1;
}

int pl_bind_policy_verdict_at(lua_State *L, int index, lua_Integer *take_r)
{
	bool is = false;

	index = lua_absindex(L, index);
	if (lua_type(L, index) == LUA_TTABLE && lua_getmetatable(L, index)) {
		luaL_getmetatable(L, META);
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
	*take_r = lua_tointeger(L, -1); // no row has index 0
	lua_pop(L, 1);
	return 't';
}

void pl_bind_policy_setup(lua_State *L)
{
	luaL_newmetatable(L, META);
	lua_pushboolean(L, 0);
	lua_setfield(L, -2, "__metatable");
	lua_pop(L, 1);
}

int pl_bind_policy(lua_State *L)
{
	lua_createtable(L, 0, 3);
	lua_pushlightuserdata(L, NULL); // as plist.json has it
	lua_setfield(L, -2, "null");
	lua_pushcfunction(L, policy_take);
	lua_setfield(L, -2, "take");
	lua_pushcfunction(L, policy_merge);
	lua_setfield(L, -2, "merge");
	return 1;
}
