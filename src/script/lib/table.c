// The table library of scripts: Lua's functions, with a price for each element.
//
// Charging by length and then calling Lua's own does not keep the time limit, because no
// hook fires inside a C function. Measured with Lua 5.4, in one call: moving 10^8 nils
// 1.7 s; inserting into a table whose __len returns 10^8 1.7 s (and __len may return
// another number when Lua asks again); concatenating 200,000 elements behind a chain of
// 1,900 __index tables 2.7 s. So these charge element by element. pack is Lua's: its
// elements are on the stack, whose size is limited.
//
// Lua's sort seeds its pivot from the clock, so equal elements can change places from one
// run to the next. Ours is a merge sort: stable, the same on every machine, and finished
// after n log n comparisons, whatever the comparison returns.
// Threads: a VM's.
#include <lauxlib.h>

#include "script/call.h"
#include "script/lib/lib.h"

#define COPY_UNITS 16
#define UNPACK_MAX 4096 // values at once: each is a slot of the stack

static lua_Integer length(lua_State *L, int index)
{
	luaL_checkany(L, index);
	if (lua_type(L, index) != LUA_TTABLE && luaL_getmetafield(L, index, "__len") != LUA_TNIL)
		lua_pop(L, 1);
	else
		luaL_checktype(L, index, LUA_TTABLE);
	return luaL_len(L, index);
}

static int tab_insert(lua_State *L)
{
	lua_Integer n = (lua_Integer)((lua_Unsigned)length(L, 1) + 1),
		    place = n; // __len may return any number

	switch (lua_gettop(L)) {
	case 2: break;
	case 3:
		place = luaL_checkinteger(L, 2);
		luaL_argcheck(L, (lua_Unsigned)place - 1u < (lua_Unsigned)n, 2, "position out of bounds");
		for (lua_Integer i = n; i > place; i--) {
			pl_call_charge(L, 1);
			lua_geti(L, 1, i - 1);
			lua_seti(L, 1, i);
		}
		break;
	default: return luaL_error(L, "wrong number of arguments to 'insert'");
	}
	lua_seti(L, 1, place);
	return 0;
}

static int tab_remove(lua_State *L)
{
	lua_Integer n = length(L, 1), place = luaL_optinteger(L, 2, n);

	if (place != n)
		luaL_argcheck(L, (lua_Unsigned)place - 1u <= (lua_Unsigned)n, 2, "position out of bounds");
	lua_geti(L, 1, place);
	for (; place < n; place++) {
		pl_call_charge(L, 1);
		lua_geti(L, 1, place + 1);
		lua_seti(L, 1, place);
	}
	lua_pushnil(L);
	lua_seti(L, 1, place);
	return 1;
}

static void add_element(lua_State *L, luaL_Buffer *b, lua_Integer i)
{
	size_t len;

	if (lua_geti(L, 1, i) != LUA_TSTRING && lua_type(L, -1) != LUA_TNUMBER)
		luaL_error(L, "invalid value (at index %I) in table for 'concat'", (LUAI_UACINT)i);
	lua_tolstring(L, -1, &len);
	pl_call_charge(L, 2 + (int64_t)len / COPY_UNITS);
	luaL_addvalue(b);
}

static int tab_concat(lua_State *L)
{
	lua_Integer last = length(L, 1), i;
	size_t len;
	const char *separator = luaL_optlstring(L, 2, "", &len);
	luaL_Buffer b;

	i = luaL_optinteger(L, 3, 1);
	last = luaL_optinteger(L, 4, last);
	luaL_buffinit(L, &b);
	for (; i < last; i++) {
		add_element(L, &b, i);
		luaL_addlstring(&b, separator, len);
		pl_call_charge(L, (int64_t)len / COPY_UNITS);
	}
	if (i == last)
		add_element(L, &b, i);
	luaL_pushresult(&b);
	return 1;
}

static int tab_unpack(lua_State *L)
{
	lua_Integer first = luaL_optinteger(L, 2, 1), last;

	last = lua_isnoneornil(L, 3) ? luaL_len(L, 1) : luaL_checkinteger(L, 3);
	if (first > last)
		return 0;
	if ((lua_Unsigned)last - (lua_Unsigned)first >= UNPACK_MAX ||
	    !lua_checkstack(L, (int)(last - first) + 1))
		return luaL_error(L, "too many results to unpack");
	pl_call_charge(L, last - first);
	for (lua_Integer i = first; i < last; i++)
		lua_geti(L, 1, i);
	lua_geti(L, 1, last);
	return (int)(last - first) + 1;
}

static int tab_move(lua_State *L)
{
	lua_Integer from = luaL_checkinteger(L, 2), last = luaL_checkinteger(L, 3),
		    to = luaL_checkinteger(L, 4), n;
	int into = lua_isnoneornil(L, 5) ? 1 : 5;

	length(L, 1);
	length(L, into);
	if (last >= from) {
		luaL_argcheck(L, from > 0 || last < LUA_MAXINTEGER + from, 3, "too many elements to move");
		n = last - from + 1;
		luaL_argcheck(L, to <= LUA_MAXINTEGER - n + 1, 4, "destination wrap around");
		bool up = to > last || to <= from ||
		          into != 1; // an overlap would spoil elements before they are moved

		for (lua_Integer k = 0; k < n; k++) {
			lua_Integer i = up ? k : n - 1 - k;

			pl_call_charge(L, 1);
			lua_geti(L, 1, from + i);
			lua_seti(L, into, to + i);
		}
	}
	lua_pushvalue(L, into);
	return 1;
}

// Sorting.
//   1  the table   2  the comparison or nil   3  source   4  destination: plain lists,
//   swapped after each pass
static bool less(lua_State *L, int a, int b)
{
	bool is;

	pl_call_charge(L, 5);
	if (lua_isnil(L, 2))
		return lua_compare(L, a, b, LUA_OPLT);
	lua_pushvalue(L, 2);
	lua_pushvalue(L, a < 0 ? a - 1 : a);
	lua_pushvalue(L, b < 0 ? b - 2 : b);
	lua_call(L, 2, 1);
	is = lua_toboolean(L, -1);
	lua_pop(L, 1);
	return is;
}

// Merges 3[low … middle) and 3[middle … high) into 4[low … high).
static void merge(lua_State *L, lua_Integer low, lua_Integer middle, lua_Integer high)
{
	lua_Integer left = low, right = middle;

	for (lua_Integer to = low; to < high; to++) {
		bool take_right;

		if (left == middle) {
			take_right = true;
		} else if (right == high) {
			take_right = false;
		} else {
			lua_rawgeti(L, 3, left);
			lua_rawgeti(L, 3, right);
			take_right = less(L, -1, -2); // equal elements keep their order
			lua_pop(L, 2);
		}
		pl_call_charge(L, 1);
		lua_rawgeti(L, 3, take_right ? right++ : left++);
		lua_rawseti(L, 4, to);
	}
}

static int tab_sort(lua_State *L)
{
	lua_Integer n = length(L, 1);

	if (!lua_isnoneornil(L, 2))
		luaL_checktype(L, 2, LUA_TFUNCTION);
	lua_settop(L, 2);
	luaL_checkstack(L, 10, NULL);
	lua_newtable(L);
	lua_newtable(L);
	for (lua_Integer i = 1; i <= n; i++) {
		pl_call_charge(L, 1);
		lua_geti(L, 1, i);
		lua_rawseti(L, 3, i);
	}
	for (lua_Integer width = 1; width < n; width *= 2) {
		for (lua_Integer low = 1; low <= n; low += 2 * width) {
			lua_Integer middle = low + width < n + 1 ? low + width : n + 1;
			lua_Integer high = low + 2 * width < n + 1 ? low + 2 * width : n + 1;

			merge(L, low, middle, high);
		}
		lua_insert(L, 3); // 4 is the source now
	}
	for (lua_Integer i = 1; i <= n; i++) {
		pl_call_charge(L, 1);
		lua_rawgeti(L, 3, i);
		lua_seti(L, 1, i);
	}
	return 0;
}

const luaL_Reg pl_lib_table[] = {
	{ "concat", tab_concat }, { "insert", tab_insert }, { "move", tab_move }, { "remove", tab_remove },
	{ "sort", tab_sort },     { "unpack", tab_unpack }, { NULL, NULL },
};
