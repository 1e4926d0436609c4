// What `require` finds: plist's modules in C, and files under the Lua root.
//
// The one list of modules in C. A new one is a file in script/bind/ and a row here.
// Threads: a VM's.
#include "script/modules.h"

#include <lauxlib.h>
#include <string.h>

#include "script/bind/bind.h"
#include "script/load.h"
#include "script/sandbox.h"

#define BOTH (PL_CONTEXT_HANDLER | PL_CONTEXT_POLICY)

static const struct {
	const char *name;
	int contexts;               // in which it can be required
	lua_CFunction push;         // pushes a new table
	void (*setup)(lua_State *); // once for a state; or NULL
} modules[] = {
	{ "plist.db", PL_CONTEXT_HANDLER, pl_bind_db, NULL },
	{ "plist.decimal", BOTH, pl_bind_decimal, pl_bind_decimal_setup },
	{ "plist.http", PL_CONTEXT_HANDLER, pl_bind_http, pl_bind_http_setup },
	{ "plist.json", PL_CONTEXT_HANDLER, pl_bind_json, NULL },
	{ "plist.log", PL_CONTEXT_HANDLER, pl_bind_log, NULL },
	{ "plist.policy", PL_CONTEXT_POLICY, pl_bind_policy, pl_bind_policy_setup },
	{ "plist.records", PL_CONTEXT_HANDLER, pl_bind_records, NULL },
};

#define COUNT(list) (sizeof(list) / sizeof(list)[0])

// Pushes a new table of the module in C. False, with nothing pushed: there is none of
// this name in this context.
static bool push_module(lua_State *L, const char *name)
{
	for (size_t i = 0; i < COUNT(modules); i++) {
		if (modules[i].contexts & pl_vm_of(L)->context && strcmp(modules[i].name, name) == 0) {
			modules[i].push(L);
			return true;
		}
	}
	return false;
}

// The path of a module in Lua: "lib.money" → "lib/money.lua". NULL: no file can have this
// name.
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

static int require(lua_State *L)
{
	struct pl_vm *vm = pl_vm_of(L);
	const char *name = luaL_checkstring(L, 1), *path;
	const struct pl_script_source *source;

	if (push_module(L, name))
		return 1;
	path = module_path(L, name);
	// A module of the handlers changes when handlers need it to. The verifier's
	// verdicts do not cover such a change, so no policy may depend on it.
	if (vm->context == PL_CONTEXT_POLICY && path && pl_config_source_is_handler(path))
		return luaL_error(L,
		                  "%s is a module of the handlers; a policy can require files elsewhere "
		                  "under the Lua root",
		                  path);
	source = path ? pl_config_source(vm->config, path) : NULL;
	if (!source)
		return luaL_error(
			L, "module '%s' does not exist: plist has no such module for %s, and there is no %s",
			name, vm->context == PL_CONTEXT_HANDLER ? "handlers" : "policies",
			path ? lua_pushfstring(L, "%s under the Lua root", path)
			     : "file that could have this name");
	pl_load_require(L, source);
	return 1;
}

void pl_modules_setup(lua_State *L)
{
	pl_sandbox_define(L, "require", require);
	for (size_t i = 0; i < COUNT(modules); i++) {
		if (modules[i].setup && modules[i].contexts & pl_vm_of(L)->context)
			modules[i].setup(L);
	}
}
