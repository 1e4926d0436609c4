// setmetatable and getmetatable.
//
// setmetatable sets a copy of the script's table that has only the metamethods listed
// here. It refuses __gc, __close, __mode and __metatable, and adding them to the table
// afterwards has no effect. (A weak table would show a policy when garbage is collected.)
// getmetatable returns the script's own table.
// Threads: a VM's.
#include <string.h>

#include "script/lib/lib.h"
#include "script/script_private.h"
#include "script/text.h"
#include "script/value.h"

#define METAMETHODS_ALLOWED                                                                              \
	"__add", "__band", "__bnot", "__bor", "__bxor", "__call", "__concat", "__div", "__eq", "__idiv", \
		"__index", "__le", "__len", "__lt", "__mod", "__mul", "__name", "__newindex", "__pairs", \
		"__pow", "__shl", "__shr", "__sub", "__tostring", "__unm"

static const char *const allowed[] = { METAMETHODS_ALLOWED };
static const char *const refused[] = { "__close", "__gc", "__metatable", "__mode" };

#define COUNT(list) (sizeof(list) / sizeof(list)[0])

static const char made_from; // its address is the key of a script's metatable in the copy

// Whether the copy on top has the same metamethods as the metatable at 2.
static bool is_copy_of(lua_State *L)
{
	bool same = true;

	for (size_t i = 0; same && i < COUNT(allowed); i++) {
		lua_pushstring(L, allowed[i]);
		lua_pushvalue(L, -1);
		lua_rawget(L, 2);
		lua_insert(L, -2);
		lua_rawget(L, -3);
		same = lua_rawequal(L, -1, -2);
		lua_pop(L, 2);
	}
	return same;
}

static void push_new_copy(lua_State *L)
{
	lua_createtable(L, 0, 4);
	lua_pushvalue(L, 2);
	lua_rawsetp(L, -2, &made_from);
	for (size_t i = 0; i < COUNT(allowed); i++) {
		lua_pushstring(L, allowed[i]);
		lua_pushvalue(L, -1);
		if (lua_rawget(L, 2) == LUA_TNIL) // most are; keep the copy small
			lua_pop(L, 2);
		else
			lua_rawset(L, -3);
	}
}

// Pushes a copy of the metatable at 2. The last few copies of this call are kept and used
// again, so that the objects of a class share one. (A weak table could keep all of them,
// but a chain of metatables that are reachable only through it takes the collector
// quadratic time.)
static void push_copy(lua_State *L)
{
	struct pl_vm *vm = pl_vm_of(L);
	int list;

	lua_rawgeti(L, LUA_REGISTRYINDEX, vm->ref_kept);
	list = lua_gettop(L);
	for (int i = 1; i <= vm->nkept; i++) {
		lua_rawgeti(L, list, i);
		lua_rawgetp(L, -1, &made_from);
		if (lua_rawequal(L, -1, 2)) {
			lua_pop(L, 1);
			if (is_copy_of(L)) {
				lua_remove(L, list);
				return;
			}
		}
		lua_settop(L, list);
	}
	lua_settop(L, list);
	push_new_copy(L);
	lua_pushvalue(L, -1);
	lua_rawseti(L, list, vm->next_kept + 1);
	vm->next_kept = (vm->next_kept + 1) % PL_CALL_KEPT_MAX;
	if (vm->nkept < PL_CALL_KEPT_MAX)
		vm->nkept++;
	lua_remove(L, list);
}

// If __call is not a function, Lua looks for the __call of that value, and so on, in a
// loop that nothing interrupts.
static void check_call(lua_State *L)
{
	int type;

	lua_pushliteral(L, "__call");
	type = lua_rawget(L, 2);
	if (type != LUA_TNIL && type != LUA_TFUNCTION)
		luaL_error(L, "__call in a metatable has to be a function, not a %s", pl_text_kind(L, -1));
	lua_pop(L, 1);
}

int pl_metatable_set(lua_State *L)
{
	int type = lua_type(L, 2);

	luaL_checktype(L, 1, LUA_TTABLE);
	luaL_argexpected(L, type == LUA_TNIL || type == LUA_TTABLE, 2, "nil or table");
	pl_value_read(L, 1);
	pl_value_read(L, 2);
	if (luaL_getmetafield(L, 1, "__metatable") != LUA_TNIL)
		return luaL_error(L, "cannot change a protected metatable");
	lua_settop(L, 2);
	pl_call_charge(L, 20);
	if (type == LUA_TTABLE) {
		for (size_t i = 0; i < COUNT(refused); i++) {
			lua_pushstring(L, refused[i]);
			if (lua_rawget(L, 2) != LUA_TNIL)
				return luaL_error(L, "%s is not allowed in a metatable", refused[i]);
			lua_pop(L, 1);
		}
		check_call(L);
		push_copy(L);
	}
	lua_setmetatable(L, 1);
	lua_settop(L, 1);
	return 1;
}

// Shows only metatables that scripts have set, not those of texts, decimals and records.
int pl_metatable_get(lua_State *L)
{
	luaL_checkany(L, 1);
	if (!lua_getmetatable(L, 1)) {
		lua_pushnil(L);
		return 1;
	}
	lua_rawgetp(L, -1, &made_from);
	return 1;
}
