// The sandbox: what a script finds in its environment, in either world.
//
// Stands between every script and Lua. Nothing is opened and then taken away: an environment is put together from the rows
// below, and what has no row does not exist. Environments are filled as they are used: the metatable's __index copies a
// function, or a whole library table, at its first use, so a fresh environment for each call of a policy costs next to
// nothing, and what a script does to its `string` stays with it.
//
// Metatables. setmetatable does not set the script's table but a copy of its known metamethods: __gc, __close, __mode and
// __metatable are refused, and putting them into the table afterwards changes nothing. (A weak table would let a policy see
// when garbage is collected.) getmetatable gives the script its own table back.
//
// Invariants: no function here gives away an address, the time, chance (in policies), or a table that another script can reach.
// Threads: a VM's.
#include "script/sandbox.h"

#include <lualib.h>
#include <string.h>

#include "script/bind.h"
#include "script/unread.h"

enum { IN_HANDLERS = 1, IN_POLICIES = 2, IN_BOTH = 3 };
enum how { AS_IS, CHARGED, READING }; // CHARGED: by the lengths of its arguments; READING: the table that it is given

// What is taken from Lua's own libraries.
static const struct {
	const char *library; // "" = the global functions
	const char *name;
	int worlds;
	enum how how;
} taken[] = {
	{"", "assert", IN_BOTH, AS_IS}, {"", "error", IN_BOTH, AS_IS}, {"", "ipairs", IN_BOTH, AS_IS},
	{"", "next", IN_HANDLERS, READING}, {"", "pairs", IN_HANDLERS, AS_IS}, {"", "rawequal", IN_BOTH, AS_IS},
	{"", "rawget", IN_BOTH, READING}, {"", "rawlen", IN_BOTH, READING}, {"", "rawset", IN_BOTH, READING},
	{"", "select", IN_BOTH, CHARGED}, {"", "tonumber", IN_BOTH, CHARGED}, {"", "_VERSION", IN_BOTH, AS_IS},
	{"string", "byte", IN_BOTH, CHARGED}, {"string", "char", IN_BOTH, CHARGED}, {"string", "len", IN_BOTH, AS_IS},
	{"string", "lower", IN_BOTH, CHARGED}, {"string", "reverse", IN_BOTH, CHARGED}, {"string", "sub", IN_BOTH, CHARGED},
	{"string", "upper", IN_BOTH, CHARGED},
	{"math", "abs", IN_BOTH, AS_IS}, {"math", "ceil", IN_BOTH, AS_IS}, {"math", "floor", IN_BOTH, AS_IS},
	{"math", "fmod", IN_BOTH, AS_IS}, {"math", "huge", IN_BOTH, AS_IS}, {"math", "max", IN_BOTH, CHARGED},
	{"math", "maxinteger", IN_BOTH, AS_IS}, {"math", "min", IN_BOTH, CHARGED}, {"math", "mininteger", IN_BOTH, AS_IS},
	{"math", "modf", IN_BOTH, AS_IS}, {"math", "pi", IN_BOTH, AS_IS}, {"math", "sqrt", IN_BOTH, AS_IS},
	{"math", "tointeger", IN_BOTH, AS_IS}, {"math", "type", IN_BOTH, AS_IS}, {"math", "ult", IN_BOTH, AS_IS},
	// Not in policies: the last digit differs between C libraries; and chance.
	{"math", "acos", IN_HANDLERS, AS_IS}, {"math", "asin", IN_HANDLERS, AS_IS}, {"math", "atan", IN_HANDLERS, AS_IS},
	{"math", "cos", IN_HANDLERS, AS_IS}, {"math", "deg", IN_HANDLERS, AS_IS}, {"math", "exp", IN_HANDLERS, AS_IS},
	{"math", "log", IN_HANDLERS, AS_IS}, {"math", "rad", IN_HANDLERS, AS_IS}, {"math", "random", IN_HANDLERS, AS_IS},
	{"math", "sin", IN_HANDLERS, AS_IS}, {"math", "tan", IN_HANDLERS, AS_IS},
	{"utf8", "char", IN_BOTH, CHARGED}, {"utf8", "charpattern", IN_BOTH, AS_IS}, {"utf8", "codepoint", IN_BOTH, CHARGED},
	{"utf8", "codes", IN_BOTH, CHARGED}, {"utf8", "len", IN_BOTH, CHARGED}, {"utf8", "offset", IN_BOTH, CHARGED},
	{"os", "date", IN_HANDLERS, CHARGED}, {"os", "time", IN_HANDLERS, AS_IS},
};

// The modules in C, and where they can be required.
static const struct {
	const char *name;
	int worlds;
	lua_CFunction push; // pushes a new table
} modules[] = {
	{"plist.records", IN_HANDLERS, pl_bind_records}, {"plist.db", IN_HANDLERS, pl_bind_db},
	{"plist.http", IN_HANDLERS, pl_bind_http},       {"plist.json", IN_HANDLERS, pl_bind_json},
	{"plist.log", IN_HANDLERS, pl_bind_log},         {"plist.decimal", IN_BOTH, pl_bind_decimal},
	{"plist.policy", IN_POLICIES, pl_bind_policy},
};

// Names that people expect, and why they are not there.
static const struct { const char *name, *why; } missing[] = {
	{"collectgarbage", "memory is the host's business"},
	{"coroutine", "records and db wait by themselves"},
	{"debug", "there is nothing of it in here"},
	{"dofile", "use require"},
	{"io", "scripts open no files"},
	{"load", "code comes from files only"},
	{"loadfile", "use require"},
	{"loadstring", "code comes from files only"},
	{"os", "a policy does not know the time"},
	{"package", "use require"},
	{"print", "use require \"plist.log\""},
	{"unpack", "it is table.unpack"},
	{"xpcall", "use pcall; the log has the stack of what is not caught"},
};

#define METAMETHODS_ALLOWED \
	"__add", "__band", "__bnot", "__bor", "__bxor", "__call", "__concat", "__div", "__eq", "__idiv", "__index", "__le", \
	"__len", "__lt", "__mod", "__mul", "__name", "__newindex", "__pairs", "__pow", "__shl", "__shr", "__sub", \
	"__tostring", "__unm"

static const char *const allowed[] = {METAMETHODS_ALLOWED};
static const char *const refused[] = {"__close", "__gc", "__metatable", "__mode"};

#define COUNT(list) (sizeof(list) / sizeof(list)[0])

static const char made_from; // its address is the key of a script's metatable in the copy

static int world_bit(const struct pl_vm *vm)
{
	return vm->world == PL_WORLD_HANDLER ? IN_HANDLERS : IN_POLICIES;
}

// Functions of ours.

static int finish_pcall(lua_State *L, int status, lua_KContext context)
{
	if (status != LUA_OK && status != LUA_YIELD) {
		if (pl_call_must_pass(L, status))
			return lua_error(L);
		lua_pushboolean(L, 0);
		lua_pushvalue(L, -2);
		return 2;
	}
	return lua_gettop(L);
}

static int base_pcall(lua_State *L)
{
	luaL_checkany(L, 1);
	pl_charge(L, 20);
	lua_pushboolean(L, 1);
	lua_insert(L, 1);
	return finish_pcall(L, lua_pcallk(L, lua_gettop(L) - 2, LUA_MULTRET, 0, 0, finish_pcall), 0);
}

// Pushes the copy of the metatable at 2, brought up to date.
static void push_copy(lua_State *L)
{
	pl_vm_of(L)->shadows_used = true;
	lua_rawgeti(L, LUA_REGISTRYINDEX, pl_vm_of(L)->ref_shadows);
	lua_pushvalue(L, 2);
	if (lua_rawget(L, -2) == LUA_TNIL) {
		lua_pop(L, 1);
		lua_createtable(L, 0, 4);
		lua_pushvalue(L, 2);
		lua_rawsetp(L, -2, &made_from);
		lua_pushvalue(L, 2);
		lua_pushvalue(L, -2);
		lua_rawset(L, -4);
	}
	lua_remove(L, -2);
	for (size_t i = 0; i < COUNT(allowed); i++) {
		lua_pushstring(L, allowed[i]);
		lua_pushvalue(L, -1);
		if (lua_rawget(L, 2) == LUA_TNIL) { // most are; leave the copy small
			lua_pushvalue(L, -2);
			if (lua_rawget(L, -4) == LUA_TNIL) {
				lua_pop(L, 3);
				continue;
			}
			lua_pop(L, 1);
		}
		lua_rawset(L, -3);
	}
}

static int base_setmetatable(lua_State *L)
{
	int type = lua_type(L, 2);

	luaL_checktype(L, 1, LUA_TTABLE);
	luaL_argexpected(L, type == LUA_TNIL || type == LUA_TTABLE, 2, "nil or table");
	pl_unread_read(L, 1);
	pl_unread_read(L, 2);
	if (luaL_getmetafield(L, 1, "__metatable") != LUA_TNIL)
		return luaL_error(L, "cannot change a protected metatable");
	lua_settop(L, 2);
	pl_charge(L, 20);
	if (type == LUA_TTABLE) {
		for (size_t i = 0; i < COUNT(refused); i++) {
			lua_pushstring(L, refused[i]);
			if (lua_rawget(L, 2) != LUA_TNIL)
				return luaL_error(L, "%s is not allowed in a metatable", refused[i]);
			lua_pop(L, 1);
		}
		push_copy(L);
	}
	lua_setmetatable(L, 1);
	lua_settop(L, 1);
	return 1;
}

// Only metatables that scripts have set are shown; those of texts, decimals, records are none of their business.
static int base_getmetatable(lua_State *L)
{
	luaL_checkany(L, 1);
	if (!lua_getmetatable(L, 1)) {
		lua_pushnil(L);
		return 1;
	}
	lua_rawgetp(L, -1, &made_from);
	return 1;
}

// The member of a userdata's metatable, which lives as long as the state; NULL.
static const char *member_of_userdata(lua_State *L, int index, const char *name)
{
	const char *text = NULL;

	if (lua_type(L, index) == LUA_TUSERDATA && luaL_getmetafield(L, index, name) != LUA_TNIL) {
		text = lua_tostring(L, -1);
		lua_pop(L, 1);
	}
	return text;
}

const char *pl_sandbox_kind(lua_State *L, int index)
{
	const char *kind = member_of_userdata(L, index, "__type");

	kind = kind ? kind : member_of_userdata(L, index, "__name");
	return kind ? kind : luaL_typename(L, index);
}

const char *pl_sandbox_text(lua_State *L, int index, size_t *len_r)
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
	case LUA_TNIL:
		return luaL_tolstring(L, index, len_r);
	case LUA_TLIGHTUSERDATA: // json.null
		lua_pushliteral(L, "null");
		return lua_tolstring(L, -1, len_r);
	default:
		lua_pushstring(L, pl_sandbox_kind(L, index));
		return lua_tolstring(L, -1, len_r);
	}
}

static int base_tostring(lua_State *L)
{
	luaL_checkany(L, 1);
	pl_sandbox_text(L, 1, NULL);
	return 1;
}

// What cannot be changed by scripts is made of userdata; to them it is a table that refuses.
static int base_type(lua_State *L)
{
	luaL_checkany(L, 1);
	if (lua_type(L, 1) == LUA_TUSERDATA && luaL_getmetafield(L, 1, "__type") != LUA_TNIL)
		return 1;
	lua_pushstring(L, luaL_typename(L, 1));
	return 1;
}

// The path of a module in Lua: "lib.money" → "lib/money.lua". NULL: no such name is possible.
static const char *module_path(lua_State *L, const char *name)
{
	if (name[0] == '\0' || name[0] == '.' || strstr(name, "..") || name[strlen(name) - 1] == '.')
		return NULL;
	for (const char *p = name; *p; p++) {
		if (!strchr("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.-", *p))
			return NULL;
	}
	return lua_pushfstring(L, "%s.lua", luaL_gsub(L, name, ".", "/"));
}

static int base_require(lua_State *L)
{
	struct pl_vm *vm = pl_vm_of(L);
	const char *name = luaL_checkstring(L, 1), *path;
	const struct pl_script_source *source;

	if (pl_sandbox_push_module(L, name))
		return 1;
	path = module_path(L, name);
	// What handlers share changes for the handlers' sake. The gate's verdicts do not depend on it, and so no policy may.
	if (vm->world == PL_WORLD_POLICY && path && pl_source_is_handlers(path))
		return luaL_error(L, "%s is the handlers': what a policy requires lies elsewhere under the Lua folder", path);
	source = path ? pl_config_source(vm->config, path) : NULL;
	if (!source)
		return luaL_error(L, "module '%s' is not there: neither plist's own for %s, nor %s under the Lua folder", name,
		                  vm->world == PL_WORLD_HANDLER ? "handlers" : "policies",
		                  path ? path : "a file that could be called so");
	pl_vm_require(L, source);
	return 1;
}

const luaL_Reg pl_sandbox_base[] = {
	{"getmetatable", base_getmetatable}, {"pcall", base_pcall}, {"require", base_require},
	{"setmetatable", base_setmetatable}, {"tostring", base_tostring}, {"type", base_type}, {NULL, NULL},
};

// A function of Lua's behind its price.
static int charged(lua_State *L)
{
	int n = lua_gettop(L);
	int64_t cost = 2 + n / 8;

	for (int i = 1; i <= n; i++) {
		if (lua_type(L, i) == LUA_TSTRING)
			cost += (int64_t)lua_rawlen(L, i) / 8;
	}
	pl_charge(L, cost);
	lua_pushvalue(L, lua_upvalueindex(1));
	lua_insert(L, 1);
	lua_call(L, n, LUA_MULTRET);
	return lua_gettop(L);
}

// Environments.

static void set_functions(lua_State *L, const luaL_Reg *functions)
{
	for (; functions->name; functions++) {
		lua_pushcfunction(L, functions->func);
		lua_setfield(L, -2, functions->name);
	}
}

// Puts a row's function into the table on top. Lua's library is in the global table.
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
		lua_pushcclosure(L, charged, 1);
	else if (taken[row].how == READING && pl_vm_of(L)->world == PL_WORLD_HANDLER) // policies are given no such tables
		lua_pushcclosure(L, pl_unread_call_read, 1);
	lua_setfield(L, -2, taken[row].name);
}

// Pushes a table of what is taken from a library.
static void push_library(lua_State *L, const char *library, const luaL_Reg *own)
{
	int bit = world_bit(pl_vm_of(L));

	lua_newtable(L);
	for (size_t i = 0; i < COUNT(taken); i++) {
		if (strcmp(taken[i].library, library) == 0 && taken[i].worlds & bit)
			set_taken(L, i);
	}
	if (own)
		set_functions(L, own);
}

bool pl_sandbox_has(lua_State *L, const char *name)
{
	bool has;

	lua_rawgeti(L, LUA_REGISTRYINDEX, pl_vm_of(L)->ref_template);
	lua_pushstring(L, name);
	has = lua_rawget(L, -2) != LUA_TNIL;
	lua_pop(L, 2);
	return has;
}

const char *pl_sandbox_push_missing(lua_State *L, const char *name)
{
	for (size_t i = 0; i < COUNT(missing); i++) {
		if (strcmp(missing[i].name, name) == 0)
			return lua_pushfstring(L, "there is no global '%s': %s", name, missing[i].why);
	}
	// When a policy runs, the name is one that its file assigns somewhere: the others were told when it was loaded.
	if (pl_vm_of(L)->world == PL_WORLD_POLICY && !pl_vm_of(L)->loading)
		return lua_pushfstring(L, "there is no global '%s': this call has not set it, and nothing is kept from an earlier one", name);
	return lua_pushfstring(L, "there is no global '%s'", name);
}

// __index of environments: takes a name from the template at its first use.
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
		return luaL_error(L, "%s", pl_sandbox_push_missing(L, lua_tostring(L, 2)));
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

void pl_sandbox_push_env(lua_State *L)
{
	lua_newtable(L);
	lua_rawgeti(L, LUA_REGISTRYINDEX, pl_vm_of(L)->ref_env_meta);
	lua_setmetatable(L, -2);
}

void pl_sandbox_set_env(lua_State *L, int index)
{
	index = lua_absindex(L, index);
	pl_sandbox_push_env(L);
	if (!lua_setupvalue(L, index, 1)) // a chunk that names no global has no such upvalue
		lua_pop(L, 1);
}

bool pl_sandbox_push_module(lua_State *L, const char *name)
{
	int bit = world_bit(pl_vm_of(L));

	for (size_t i = 0; i < COUNT(modules); i++) {
		if (modules[i].worlds & bit && strcmp(modules[i].name, name) == 0) {
			modules[i].push(L);
			return true;
		}
	}
	return false;
}

void pl_sandbox_push_original(lua_State *L, const char *name)
{
	lua_rawgeti(L, LUA_REGISTRYINDEX, pl_vm_of(L)->ref_originals);
	lua_getfield(L, -1, name);
	lua_remove(L, -2);
}

// Keeps the functions of Lua's that ours call.
static void keep_originals(lua_State *L, struct pl_vm *vm)
{
	lua_newtable(L);
	lua_getglobal(L, "string");
	lua_getfield(L, -1, "format");
	lua_setfield(L, -3, "format");
	lua_pop(L, 1);
	lua_getglobal(L, "next");
	lua_setfield(L, -2, "next");
	vm->ref_originals = luaL_ref(L, LUA_REGISTRYINDEX);
}

// Pushes the template: what an environment can hold.
static void push_template(lua_State *L, struct pl_vm *vm)
{
	push_library(L, "", pl_sandbox_base);
	if (vm->world == PL_WORLD_POLICY) {
		lua_pushcfunction(L, pl_order_pairs);
		lua_setfield(L, -2, "pairs");
		lua_pushcfunction(L, pl_order_next);
		lua_setfield(L, -2, "next");
	}
	push_library(L, "string", pl_sandbox_string);
	lua_setfield(L, -2, "string");
	push_library(L, "table", pl_sandbox_table);
	lua_setfield(L, -2, "table");
	push_library(L, "math", NULL);
	lua_setfield(L, -2, "math");
	push_library(L, "utf8", NULL);
	lua_setfield(L, -2, "utf8");
	if (vm->world == PL_WORLD_HANDLER) {
		push_library(L, "os", NULL);
		lua_setfield(L, -2, "os");
	}
}

// Methods of texts, ("x"):rep(3), come from a table of the guarded functions that no script can reach.
static void guard_texts(lua_State *L)
{
	lua_pushliteral(L, "");
	lua_getmetatable(L, -1);
	push_library(L, "string", pl_sandbox_string);
	lua_setfield(L, -2, "__index");
	lua_pushboolean(L, 0);
	lua_setfield(L, -2, "__metatable");
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

void pl_sandbox_open(lua_State *L)
{
	static const luaL_Reg libraries[] = {{LUA_GNAME, luaopen_base}, {LUA_STRLIBNAME, luaopen_string},
	                                     {LUA_MATHLIBNAME, luaopen_math}, {LUA_UTF8LIBNAME, luaopen_utf8},
	                                     {LUA_OSLIBNAME, luaopen_os}};
	struct pl_vm *vm = pl_vm_of(L);

	for (size_t i = 0; i < COUNT(libraries); i++) {
		luaL_requiref(L, libraries[i].name, libraries[i].func, 1);
		lua_pop(L, 1);
	}
	keep_originals(L, vm);
	push_template(L, vm);
	vm->ref_template = luaL_ref(L, LUA_REGISTRYINDEX);
	guard_texts(L);
	push_env_meta(L);
	vm->ref_env_meta = luaL_ref(L, LUA_REGISTRYINDEX);

	lua_newtable(L); // shadows: each lives as long as the metatable that it was made from
	lua_pushliteral(L, "k");
	lua_setfield(L, -2, "__mode");
	vm->ref_weak = luaL_ref(L, LUA_REGISTRYINDEX);
	lua_pushboolean(L, 0);
	vm->ref_shadows = luaL_ref(L, LUA_REGISTRYINDEX); // pl_vm_new_world makes it

	// Lua's own tables are gone for good: what nobody can reach needs no guard.
	lua_newtable(L);
	lua_rawseti(L, LUA_REGISTRYINDEX, LUA_RIDX_GLOBALS);
	lua_pushnil(L);
	lua_setfield(L, LUA_REGISTRYINDEX, LUA_LOADED_TABLE);
}
