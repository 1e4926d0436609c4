// os.date at a price. Handlers have os.time beside it; policies have no `os`.
//
// Threads: a VM's.
#include "script/lib/lib.h"
#include "script/script_private.h"

#define DATE_FORMAT_MAX 1000 // bytes
#define DATE_COST       100  // of a conversion

// Each conversion looks up the time zone, so a long format takes seconds.
static int os_date(lua_State *L)
{
	size_t len;
	const char *format = luaL_optlstring(L, 1, "%c", &len);
	int n = lua_gettop(L), conversions = 1;

	if (len > DATE_FORMAT_MAX)
		return luaL_error(L, "os.date: the format has more than %d bytes", DATE_FORMAT_MAX);
	for (size_t i = 0; i < len; i++)
		conversions += format[i] == '%';
	pl_call_charge(L, (int64_t)DATE_COST * conversions);
	pl_lib_push_original(L, "os.date");
	lua_insert(L, 1);
	lua_call(L, n, 1);
	return 1;
}

const luaL_Reg pl_lib_os[] = { { "date", os_date }, { NULL, NULL } };
