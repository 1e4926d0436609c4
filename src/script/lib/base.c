// The global functions of scripts that differ from Lua's own.
//
// Threads: a VM's.
#include "script/lib/lib.h"
#include "script/order.h"
#include "script/script_private.h"
#include "script/text.h"

#define PCALLS_MAX 100 // inside each other

static int finish_pcall(lua_State *L, int status, lua_KContext context)
{
	struct pl_budget *budget = pl_vm_of(L)->budget;

	if (budget) {
		budget->nested--;
		pl_watch_looked(&pl_vm_of(L)->watch);
	}
	if (status != LUA_OK && status != LUA_YIELD) {
		if (pl_call_must_pass(L, status))
			return lua_error(L);
		lua_pushboolean(L, 0);
		lua_pushvalue(L, -2);
		return 2;
	}
	return lua_gettop(L);
}

// An error throws away the C stack, which limits how deep protected calls can nest, but
// in a coroutine Lua keeps their frames. A function that protects itself in a loop could
// pile them up, and unwinding them takes quadratic time. So they are counted here.
static int base_pcall(lua_State *L)
{
	struct pl_budget *budget = pl_vm_of(L)->budget;

	luaL_checkany(L, 1);
	pl_call_charge(L, 20);
	if (budget && budget->nested >= PCALLS_MAX)
		return luaL_error(L, "more than %d nested calls of pcall", PCALLS_MAX);
	if (budget)
		budget->nested++;
	lua_pushboolean(L, 1);
	lua_insert(L, 1);
	return finish_pcall(L, lua_pcallk(L, lua_gettop(L) - 2, LUA_MULTRET, 0, 0, finish_pcall), 0);
}

static int base_tostring(lua_State *L)
{
	luaL_checkany(L, 1);
	pl_text_push(L, 1, NULL);
	return 1;
}

// A value that scripts cannot change is a userdata. To them it is a table whose fields
// cannot be set.
static int base_type(lua_State *L)
{
	luaL_checkany(L, 1);
	if (lua_type(L, 1) == LUA_TUSERDATA && luaL_getmetafield(L, 1, "__type") != LUA_TNIL)
		return 1;
	lua_pushstring(L, luaL_typename(L, 1));
	return 1;
}

const luaL_Reg pl_lib_base[] = {
	{ "getmetatable", pl_metatable_get }, { "pcall", base_pcall }, { "setmetatable", pl_metatable_set },
	{ "tostring", base_tostring },        { "type", base_type },   { NULL, NULL },
};

const luaL_Reg pl_lib_base_policy[] = {
	{ "next", pl_order_next },
	{ "pairs", pl_order_pairs },
	{ NULL, NULL },
};
