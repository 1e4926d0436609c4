// The sandbox: the environments in which scripts run.
//
// An allow-list. An environment is put together from the rows below, the lists of
// script/lib/ and `require`; a name that is in none of them does not exist, and reading
// it raises. Environments are filled lazily: the metatable's __index copies a function,
// or a whole library table, at its first use. So a fresh environment for each call of a
// policy is cheap, and a change that a script makes to its `string` affects that
// environment alone.
//
// Invariants: no function in an environment returns an address, the time or a random
// number (in policies), or a table that another script can reach.
// Threads: a VM's.
#include "script/sandbox.h"

#include <lualib.h>
#include <string.h>

#include "script/lib/lib.h"
#include "script/script_private.h"
#include "script/value.h"

#define HANDLERS PL_CONTEXT_HANDLER
#define POLICIES PL_CONTEXT_POLICY
#define BOTH     (HANDLERS | POLICIES)

enum how {
	AS_IS,
	CHARGED, // by the lengths of its arguments
	READING, // bypasses metamethods, so a lazy table at 1 is read first
};

// The functions that scripts have from Lua's own libraries.
static const struct {
	const char *library; // "" = the global functions
	const char *name;
	int contexts;
	enum how how;
} taken[] = {
	{ "", "assert", BOTH, AS_IS },
	{ "", "error", BOTH, AS_IS },
	{ "", "ipairs", BOTH, AS_IS },
	{ "", "next", HANDLERS, READING },
	{ "", "pairs", HANDLERS, AS_IS },
	{ "", "rawequal", BOTH, AS_IS },
	{ "", "rawget", BOTH, READING },
	{ "", "rawlen", BOTH, READING },
	{ "", "rawset", BOTH, READING },
	{ "", "select", BOTH, CHARGED },
	{ "", "tonumber", BOTH, CHARGED },
	{ "", "_VERSION", BOTH, AS_IS },
	{ "string", "byte", BOTH, CHARGED },
	{ "string", "char", BOTH, CHARGED },
	{ "string", "len", BOTH, AS_IS },
	{ "string", "lower", BOTH, CHARGED },
	{ "string", "reverse", BOTH, CHARGED },
	{ "string", "sub", BOTH, CHARGED },
	{ "string", "upper", BOTH, CHARGED },
	{ "math", "abs", BOTH, AS_IS },
	{ "math", "ceil", BOTH, AS_IS },
	{ "math", "floor", BOTH, AS_IS },
	{ "math", "fmod", BOTH, AS_IS },
	{ "math", "huge", BOTH, AS_IS },
	{ "math", "max", BOTH, CHARGED },
	{ "math", "maxinteger", BOTH, AS_IS },
	{ "math", "min", BOTH, CHARGED },
	{ "math", "mininteger", BOTH, AS_IS },
	{ "math", "modf", BOTH, AS_IS },
	{ "math", "pi", BOTH, AS_IS },
	{ "math", "sqrt", BOTH, AS_IS },
	{ "math", "tointeger", BOTH, AS_IS },
	{ "math", "type", BOTH, AS_IS },
	{ "math", "ult", BOTH, AS_IS },
	// Not in policies: the last digit differs between C libraries; random numbers
	// differ always.
	{ "math", "acos", HANDLERS, AS_IS },
	{ "math", "asin", HANDLERS, AS_IS },
	{ "math", "atan", HANDLERS, AS_IS },
	{ "math", "cos", HANDLERS, AS_IS },
	{ "math", "deg", HANDLERS, AS_IS },
	{ "math", "exp", HANDLERS, AS_IS },
	{ "math", "log", HANDLERS, AS_IS },
	{ "math", "rad", HANDLERS, AS_IS },
	{ "math", "random", HANDLERS, AS_IS },
	{ "math", "sin", HANDLERS, AS_IS },
	{ "math", "tan", HANDLERS, AS_IS },
	{ "table", "pack", BOTH, CHARGED },
	{ "utf8", "char", BOTH, CHARGED },
	{ "utf8", "charpattern", BOTH, AS_IS },
	{ "utf8", "codepoint", BOTH, CHARGED },
	{ "utf8", "codes", BOTH, CHARGED },
	{ "utf8", "len", BOTH, CHARGED },
	{ "utf8", "offset", BOTH, CHARGED },
	{ "os", "time", HANDLERS, AS_IS },
};

// Names that people expect, and why scripts do not have them.
static const struct {
	const char *name, *why;
} missing[] = {
	{ "collectgarbage", "plist collects garbage by itself" },
	{ "coroutine", "records and db wait without it" },
	{ "debug", "scripts cannot inspect the interpreter" },
	{ "dofile", "use require" },
	{ "io", "scripts cannot open files" },
	{ "load", "code comes only from files; use require" },
	{ "loadfile", "use require" },
	{ "loadstring", "code comes only from files; use require" },
	{ "os", "a policy has no clock" },
	{ "package", "use require" },
	{ "print", "use require \"plist.log\"" },
	{ "unpack", "use table.unpack" },
	{ "xpcall", "use pcall; the log shows the stack of an error that is not caught" },
};

#define COUNT(list) (sizeof(list) / sizeof(list)[0])

static void set_functions(lua_State *L, const luaL_Reg *functions)
{
	for (; functions->name; functions++) {
		lua_pushcfunction(L, functions->func);
		lua_setfield(L, -2, functions->name);
	}
}

// Copies a row's function into the table on top. Lua's libraries are global tables here.
static void set_taken(lua_State *L, size_t row)
{
	const char *library = taken[row].library;

	if (*library) {
		lua_getglobal(L, library);
		lua_getfield(L, -1, taken[row].name);
		lua_remove(L, -2);
	} else {
		lua_getglobal(L, taken[row].name);
	}
	if (taken[row].how == CHARGED)
		lua_pushcclosure(L, pl_lib_charged, 1);
	else if (taken[row].how == READING && pl_vm_of(L)->context == PL_CONTEXT_HANDLER)
		lua_pushcclosure(L, pl_value_call_read, 1);
	lua_setfield(L, -2, taken[row].name);
}

// Pushes a table of a library's functions: its rows, and our own.
static void push_library(lua_State *L, const char *library, const luaL_Reg *own)
{
	int context = pl_vm_of(L)->context;

	lua_newtable(L);
	for (size_t i = 0; i < COUNT(taken); i++) {
		if (strcmp(taken[i].library, library) == 0 && taken[i].contexts & context)
			set_taken(L, i);
	}
	if (own)
		set_functions(L, own);
}

static const char *push_missing(lua_State *L, const char *name)
{
	for (size_t i = 0; i < COUNT(missing); i++) {
		if (strcmp(missing[i].name, name) == 0)
			return lua_pushfstring(L, "there is no global '%s': %s", name, missing[i].why);
	}
	// The author may have counted on a global that an earlier call has set.
	if (pl_vm_of(L)->context == PL_CONTEXT_POLICY && !pl_vm_of(L)->loading)
		return lua_pushfstring(
			L, "there is no global '%s'; a policy keeps no globals from one call to the next",
			name);
	return lua_pushfstring(L, "there is no global '%s'", name);
}

// __index of environments: copies a name from the template at its first use, and raises
// for one that is not there.
//   1  the environment   2  the name
static int env_index(lua_State *L)
{
	lua_settop(L, 2);
	lua_rawgeti(L, LUA_REGISTRYINDEX, pl_vm_of(L)->ref_template);
	lua_pushvalue(L, 2);
	switch (lua_rawget(L, 3)) {
	case LUA_TNIL:
		if (lua_type(L, 2) != LUA_TSTRING) // _ENV[5]
			return 1;
		return luaL_error(L, "%s", push_missing(L, lua_tostring(L, 2)));
	case LUA_TTABLE: // 4: a library's functions; 5: this environment's own table of them
		lua_newtable(L);
		lua_pushnil(L);
		while (lua_next(L, 4)) {
			lua_pushvalue(L, -2);
			lua_insert(L, -2);
			lua_rawset(L, 5);
		}
		break;
	}
	lua_pushvalue(L, 2);
	lua_pushvalue(L, -2);
	lua_rawset(L, 1);
	return 1;
}

static void push_env(lua_State *L)
{
	lua_newtable(L);
	lua_rawgeti(L, LUA_REGISTRYINDEX, pl_vm_of(L)->ref_env_meta);
	lua_setmetatable(L, -2);
}

void pl_sandbox_set_env(lua_State *L, int index)
{
	index = lua_absindex(L, index);
	push_env(L);
	if (!lua_setupvalue(L, index, 1)) // a chunk without globals has no such upvalue
		lua_pop(L, 1);
}

// Pushes the template: everything that an environment can hold.
static void push_template(lua_State *L, struct pl_vm *vm)
{
	push_library(L, "", pl_lib_base);
	if (vm->context == PL_CONTEXT_POLICY)
		set_functions(L, pl_lib_base_policy);
	push_library(L, "string", pl_lib_string);
	lua_setfield(L, -2, "string");
	push_library(L, "table", pl_lib_table);
	lua_setfield(L, -2, "table");
	push_library(L, "math", NULL);
	lua_setfield(L, -2, "math");
	push_library(L, "utf8", NULL);
	lua_setfield(L, -2, "utf8");
	if (vm->context == PL_CONTEXT_HANDLER) {
		push_library(L, "os", pl_lib_os);
		lua_setfield(L, -2, "os");
	}
}

// "10" + 1 is a metamethod of Lua's string library, which parses the text. So it is
// charged for its length.
static void charge_arithmetic(lua_State *L)
{
	static const char *const operators[] = { "__add", "__div", "__idiv", "__mod",
		                                 "__mul", "__pow", "__sub",  "__unm" };

	for (size_t i = 0; i < COUNT(operators); i++) {
		if (lua_getfield(L, -1, operators[i]) == LUA_TNIL) {
			lua_pop(L, 1);
			continue;
		}
		lua_pushcclosure(L, pl_lib_charged, 1);
		lua_setfield(L, -2, operators[i]);
	}
}

// The methods of texts, as in ("x"):rep(3), come from a table of the guarded functions
// that no script can reach.
static void guard_texts(lua_State *L)
{
	lua_pushliteral(L, "");
	lua_getmetatable(L, -1);
	push_library(L, "string", pl_lib_string);
	lua_setfield(L, -2, "__index");
	lua_pushboolean(L, 0);
	lua_setfield(L, -2, "__metatable");
	charge_arithmetic(L);
	lua_pop(L, 2);
}

static void push_env_meta(lua_State *L)
{
	lua_newtable(L);
	lua_pushcfunction(L, env_index);
	lua_setfield(L, -2, "__index");
	lua_pushboolean(L, 0);
	lua_setfield(L, -2, "__metatable");
}

void pl_sandbox_define(lua_State *L, const char *name, lua_CFunction function)
{
	lua_rawgeti(L, LUA_REGISTRYINDEX, pl_vm_of(L)->ref_template);
	lua_pushcfunction(L, function);
	lua_setfield(L, -2, name);
	lua_pop(L, 1);
}

void pl_sandbox_open(lua_State *L)
{
	static const luaL_Reg libraries[] = {
		{ LUA_GNAME, luaopen_base },       { LUA_STRLIBNAME, luaopen_string },
		{ LUA_MATHLIBNAME, luaopen_math }, { LUA_TABLIBNAME, luaopen_table },
		{ LUA_UTF8LIBNAME, luaopen_utf8 }, { LUA_OSLIBNAME, luaopen_os }
	};
	struct pl_vm *vm = pl_vm_of(L);

	for (size_t i = 0; i < COUNT(libraries); i++) {
		luaL_requiref(L, libraries[i].name, libraries[i].func, 1);
		lua_pop(L, 1);
	}
	pl_lib_keep_originals(L);
	push_template(L, vm);
	vm->ref_template = luaL_ref(L, LUA_REGISTRYINDEX);
	guard_texts(L);
	push_env_meta(L);
	vm->ref_env_meta = luaL_ref(L, LUA_REGISTRYINDEX);

	// Drop Lua's own tables. What nobody can reach needs no guard.
	lua_newtable(L);
	lua_rawseti(L, LUA_REGISTRYINDEX, LUA_RIDX_GLOBALS);
	lua_pushnil(L);
	lua_setfield(L, LUA_REGISTRYINDEX, LUA_LOADED_TABLE);
}
