// plist.db: query.
//
// For queries that records.* cannot express. The statement runs in a read-only
// transaction; values are parameters, never part of its text.
// Threads: a VM's.
#include <lauxlib.h>
#include <stdlib.h>
#include <string.h>

#include "script/bind/bind.h"
#include "script/bind/http.h"
#include "script/run_state.h"
#include "script/value.h"

#define PARAMS_MAX 64
#define ROWS_MAX   1000

// PostgreSQL's type OIDs, which never change.
enum {
	OID_BOOL = 16,
	OID_INT8 = 20,
	OID_INT2 = 21,
	OID_INT4 = 23,
	OID_OID = 26,
	OID_FLOAT4 = 700,
	OID_FLOAT8 = 701,
	OID_NUMERIC = 1700
};

static void push_value(lua_State *L, unsigned type, const char *text)
{
	switch (type) {
	case OID_BOOL: lua_pushboolean(L, text[0] == 't'); return;
	case OID_INT2:
	case OID_INT4:
	case OID_INT8:
	case OID_OID: lua_pushinteger(L, strtoll(text, NULL, 10)); return;
	case OID_FLOAT4:
	case OID_FLOAT8: lua_pushnumber(L, strtod(text, NULL)); return;
	case OID_NUMERIC:
		if (pl_value_push_decimal_text(L, text, strlen(text)))
			return;
		break; // NaN, Infinity
	default: break;
	}
	lua_pushstring(L, text);
}

static int queried(lua_State *L, int status, lua_KContext context)
{
	struct pl_run *run = pl_vm_of(L)->run;
	struct pl_query *query = &run->op->query;

	if (query->code != 0) {
		if (query->err.code == 0)
			query->err.code = query->code;
		if (query->code == PL_EINVAL ||
		    query->code == PL_EINTERNAL) // the handler is wrong, not the client
			return luaL_error(L, "db.query: %s", query->err.text);
		lua_pushnil(L);
		pl_bind_http_push_problem(L, pl_exchange_problem_of_error(run->arena, &query->err));
		return 2;
	}
	lua_createtable(L, query->nrows, 0);
	pl_value_mark_array(L);
	for (int row = 0; row < query->nrows; row++) {
		lua_createtable(L, 0, query->ncolumns);
		for (int column = 0; column < query->ncolumns; column++) {
			const char *text = query->values[row * query->ncolumns + column];

			pl_call_charge(L, 3);
			if (!text)
				continue; // nil
			push_value(L, query->types[column], text);
			lua_setfield(L, -2, query->columns[column]);
		}
		lua_rawseti(L, -2, row + 1);
	}
	return 1;
}

// A parameter as text for PostgreSQL, in the run's arena.
static const char *param(lua_State *L, int index, struct pl_run *run)
{
	struct pl_buf *text = &run->vm->text;

	pl_buf_reset(text);
	switch (lua_type(L, index)) {
	case LUA_TNIL:
	case LUA_TLIGHTUSERDATA: // json.null
		return NULL;
	case LUA_TBOOLEAN: return lua_toboolean(L, index) ? "t" : "f";
	case LUA_TSTRING:
		if (strlen(lua_tostring(L, index)) != lua_rawlen(L, index))
			luaL_argerror(L, index, "PostgreSQL does not accept text with a NUL");
		pl_call_charge_memory(L, lua_rawlen(L, index));
		return pl_arena_strdup(run->arena, lua_tostring(L, index));
	default:
		if (!pl_value_print_number(L, index, text))
			luaL_argerror(L, index, "a parameter must be a string, a number, a boolean or nil");
		return pl_arena_strndup(run->arena, text->data, text->len);
	}
}

//   1  SQL   2 …  parameters
static int db_query(lua_State *L)
{
	struct pl_run *run = pl_run_current(L, "db.query");
	int n = lua_gettop(L) - 1;
	struct pl_query *query;

	luaL_checktype(L, 1, LUA_TSTRING);
	luaL_argcheck(L, strlen(lua_tostring(L, 1)) == lua_rawlen(L, 1), 1, "the statement contains a NUL");
	luaL_argcheck(L, n <= PARAMS_MAX, PARAMS_MAX + 2, "too many parameters");
	query = pl_run_prepare_query(run);
	pl_call_charge_memory(L, lua_rawlen(L, 1));
	query->sql = pl_arena_strdup(run->arena, lua_tostring(L, 1));
	query->nparams = n;
	query->params = pl_arena_alloc(run->arena, sizeof(query->params[0]) * (size_t)(n > 0 ? n : 1));
	query->max_rows = ROWS_MAX;
	for (int i = 0; i < n; i++)
		query->params[i] = param(L, i + 2, run);
	return lua_yieldk(L, 0, 0, queried);
}

int pl_bind_db(lua_State *L)
{
	static const luaL_Reg functions[] = { { "query", db_query }, { NULL, NULL } };

	luaL_newlib(L, functions);
	return 1;
}
