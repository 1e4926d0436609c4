// Lua's own functions that the guarded ones call.
//
// Threads: a VM's.
#include <string.h>

#include "script/lib/lib.h"
#include "script/script_private.h"

#define UNITS 8 // bytes of text, or arguments, that cost as much as an instruction

static const struct {
	const char *library, *name;
} kept[] = {
	{ "os", "date" },
	{ "string", "format" },
};

void pl_lib_keep_originals(lua_State *L)
{
	lua_newtable(L);
	for (size_t i = 0; i < sizeof(kept) / sizeof(kept[0]); i++) {
		lua_getglobal(L, kept[i].library);
		lua_pushfstring(L, "%s.%s", kept[i].library, kept[i].name);
		lua_getfield(L, -2, kept[i].name);
		lua_rawset(L, -4);
		lua_pop(L, 1);
	}
	pl_vm_of(L)->ref_originals = luaL_ref(L, LUA_REGISTRYINDEX);
}

void pl_lib_push_original(lua_State *L, const char *name)
{
	lua_rawgeti(L, LUA_REGISTRYINDEX, pl_vm_of(L)->ref_originals);
	lua_getfield(L, -1, name);
	lua_remove(L, -2);
}

int pl_lib_charged(lua_State *L)
{
	int n = lua_gettop(L);
	int64_t cost = 2 + n / UNITS;

	for (int i = 1; i <= n; i++) {
		if (lua_type(L, i) == LUA_TSTRING)
			cost += (int64_t)lua_rawlen(L, i) / UNITS;
	}
	pl_call_charge(L, cost);
	lua_pushvalue(L, lua_upvalueindex(1));
	lua_insert(L, 1);
	lua_call(L, n, LUA_MULTRET);
	return lua_gettop(L);
}
