// plist-spec: Debian's busted, in Lua 5.4, with access to the production sandbox.
//
//   plist-spec [busted's options] FILE…
//
// The specs themselves run in an ordinary Lua state. What they test runs in VMs of
// src/script, as in the daemon: `require "plist.host"` makes them. `require
// "plist.spec"` is the convenient way for policies, see plist-policies(7).
// Threads: one.
#include "host.h"

#include <lualib.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"

// otherwise busted would start another Lua
static void set_arguments(lua_State *L, int argc, char **argv)
{
	lua_createtable(L, argc + 1, 1);
	lua_pushstring(L, argv[0]);
	lua_rawseti(L, -2, 0);
	lua_pushliteral(L, "--ignore-lua");
	lua_rawseti(L, -2, 1);
	for (int i = 1; i < argc; i++) {
		lua_pushstring(L, argv[i]);
		lua_rawseti(L, -2, i + 1);
	}
	lua_setglobal(L, "arg");
}

// Our own Lua modules and the specs' helpers take precedence.
static void set_path(lua_State *L, const char *root)
{
	lua_getglobal(L, "package");
	lua_getfield(L, -1, "path");
	lua_pushfstring(L, "%s/lua/?.lua;%s/tests/spec/?.lua;%s", root, root, lua_tostring(L, -1));
	lua_setfield(L, -3, "path");
	lua_pop(L, 2);
}

static void preload(lua_State *L)
{
	luaL_getsubtable(L, LUA_REGISTRYINDEX, LUA_PRELOAD_TABLE);
	lua_pushcfunction(L, host_open);
	lua_setfield(L, -2, "plist.host");
	lua_pop(L, 1);
}

int main(int argc, char **argv)
{
	const char *root = getenv("PL_TOP_SRCDIR");
	lua_State *L = luaL_newstate();

	if (!L)
		return 3;
	// Handlers that fail on purpose need not be logged.
	pl_log_init(getenv("PL_SPEC_LOG") ? PL_LOG_INFO : PL_LOG_ERROR + 1, PL_LOG_TEXT);
	luaL_openlibs(L);
	set_arguments(L, argc, argv);
	set_path(L, root ? root : ".");
	preload(L);
	if (luaL_dostring(L, "require 'busted.runner' { standalone = false }") != LUA_OK) {
		fprintf(stderr, "plist-spec: %s\n", lua_tostring(L, -1));
		return 3;
	}
	lua_close(L);
	return 0;
}
