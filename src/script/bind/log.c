// plist.log: lines in the daemon's log.
//
// Threads: a VM's.
#include <lauxlib.h>

#include "base/log.h"
#include "script/bind/bind.h"
#include "script/script_private.h"
#include "script/text.h"

#define LINE_COST      1000 // a line is a system call
#define LINE_MAX_BYTES 2000

static int write_line(lua_State *L, enum pl_log_level level)
{
	struct pl_vm *vm = pl_vm_of(L);
	size_t len;
	const char *text;

	luaL_checkany(L, 1);
	text = pl_text_push(L, 1, &len);
	pl_call_charge(L, LINE_COST);
	pl_log(level, "%s: %.*s%s", pl_call_place(vm), len > LINE_MAX_BYTES ? LINE_MAX_BYTES : (int)len, text,
	       len > LINE_MAX_BYTES ? " …" : "");
	return 0;
}

static int log_info(lua_State *L)
{
	return write_line(L, PL_LOG_INFO);
}

static int log_warning(lua_State *L)
{
	return write_line(L, PL_LOG_WARNING);
}

static int log_error(lua_State *L)
{
	return write_line(L, PL_LOG_ERROR);
}

int pl_bind_log(lua_State *L)
{
	static const luaL_Reg functions[] = {
		{ "error", log_error }, { "info", log_info }, { "warning", log_warning }, { NULL, NULL }
	};

	luaL_newlib(L, functions);
	return 1;
}
