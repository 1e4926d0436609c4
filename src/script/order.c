// The order of a table's keys: the same on every machine, in every run.
//
// Policies' `pairs` and `next` go by it, and so does the JSON of handlers. Lua's own
// order comes from a hash that is seeded by addresses and the time, so two regions could
// see different orders.
// Threads: a VM's.
#include "script/order.h"

#include <lauxlib.h>
#include <stdlib.h>
#include <string.h>

#include "script/call.h"
#include "script/frozen.h"
#include "script/text.h"

#define KEY_COST 4 // instructions for each key

enum kind { KIND_NUMBER, KIND_STRING, KIND_BOOLEAN };

struct table_key {
	enum kind kind;
	bool is_float;
	lua_Integer integer; // or the boolean
	lua_Number number;
	const char *text; // valid as long as the key is in the table
	size_t len;
	lua_Integer place; // in the unordered list
};

static int cmp_numbers(const struct table_key *a, const struct table_key *b)
{
	if (!a->is_float && !b->is_float)
		return a->integer < b->integer ? -1 : a->integer > b->integer;
	// Lua turns a float key with an integral value into an integer, unless no integer
	// can hold it. So doubles that compare equal are beyond all integers.
	lua_Number x = a->is_float ? a->number : (lua_Number)a->integer;
	lua_Number y = b->is_float ? b->number : (lua_Number)b->integer;

	if (x != y)
		return x < y ? -1 : 1;
	return (int)a->is_float - (int)b->is_float;
}

static int cmp_keys(const void *left, const void *right)
{
	const struct table_key *a = left, *b = right;
	int order;

	if (a->kind != b->kind)
		return a->kind < b->kind ? -1 : 1;
	switch (a->kind) {
	case KIND_NUMBER: return cmp_numbers(a, b);
	case KIND_STRING:
		order = memcmp(a->text, b->text, a->len < b->len ? a->len : b->len);
		return order ? order : a->len < b->len ? -1 : a->len > b->len;
	default: return a->integer < b->integer ? -1 : a->integer > b->integer;
	}
}

static void read_key(lua_State *L, int index, struct table_key *key)
{
	switch (lua_type(L, index)) {
	case LUA_TNUMBER:
		key->kind = KIND_NUMBER;
		key->is_float = !lua_isinteger(L, index);
		if (key->is_float)
			key->number = lua_tonumber(L, index);
		else
			key->integer = lua_tointeger(L, index);
		return;
	case LUA_TSTRING:
		key->kind = KIND_STRING;
		key->text = lua_tolstring(L, index, &key->len);
		return;
	case LUA_TBOOLEAN:
		key->kind = KIND_BOOLEAN;
		key->integer = lua_toboolean(L, index);
		return;
	default: luaL_error(L, "keys of type %s have no order", pl_text_kind(L, index));
	}
}

// Pushes a list of the keys in the order of lua_next.
static lua_Integer list_keys(lua_State *L, int index)
{
	lua_Integer n = 0;

	lua_newtable(L);
	lua_pushnil(L);
	while (lua_next(L, index)) {
		lua_pop(L, 1);
		lua_pushvalue(L, -1);
		lua_rawseti(L, -3, ++n);
	}
	pl_call_charge(L, KEY_COST * n);
	return n;
}

// Pushes:  … keys unordered → … keys ordered
static void sort_keys(lua_State *L, lua_Integer n)
{
	int unordered = lua_gettop(L);
	struct table_key *keys = lua_newuserdatauv(L, sizeof(keys[0]) * (size_t)n, 0);

	memset(keys, 0, sizeof(keys[0]) * (size_t)n);
	for (lua_Integer i = 0; i < n; i++) {
		lua_rawgeti(L, unordered, i + 1);
		keys[i].place = i + 1;
		read_key(L, -1, &keys[i]);
		lua_pop(L, 1);
	}
	qsort(keys, (size_t)n, sizeof(keys[0]), cmp_keys);
	lua_createtable(L, (int)n, 0);
	for (lua_Integer i = 0; i < n; i++) {
		lua_rawgeti(L, unordered, keys[i].place);
		lua_rawseti(L, -2, i + 1);
	}
	lua_replace(L, unordered);
	lua_settop(L, unordered);
}

lua_Integer pl_order_keys(lua_State *L, int index)
{
	lua_Integer n;

	luaL_checkstack(L, 8, NULL);
	n = list_keys(L, lua_absindex(L, index));
	if (n > 0)
		sort_keys(L, n);
	return n;
}

// Iterator of pairs. Upvalues: the table, the ordered keys, how many have been given.
static int step(lua_State *L)
{
	lua_Integer i = lua_tointeger(L, lua_upvalueindex(3));

	while (lua_rawgeti(L, lua_upvalueindex(2), ++i) != LUA_TNIL) {
		lua_pushvalue(L, -1);
		if (lua_rawget(L, lua_upvalueindex(1)) != LUA_TNIL) {
			lua_pushinteger(L, i);
			lua_replace(L, lua_upvalueindex(3));
			return 2;
		}
		lua_settop(L, 0); // removed since
		pl_call_charge(L, KEY_COST);
	}
	lua_pushnil(L);
	return 1;
}

int pl_order_pairs(lua_State *L)
{
	lua_settop(L, 1);
	if (luaL_getmetafield(L, 1, "__pairs") != LUA_TNIL) {
		lua_pushvalue(L, 1);
		lua_call(L, 1, 3);
		return 3;
	}
	lua_pushvalue(L, 1); // what the loop sees: a frozen table must not reveal the table inside it
	pl_frozen_thaw(L, 1);
	luaL_checktype(L, 1, LUA_TTABLE);
	lua_pushvalue(L, 1);
	pl_order_keys(L, 1);
	lua_pushinteger(L, 0);
	lua_pushcclosure(L, step, 3);
	lua_insert(L, 2);
	lua_settop(L, 3);
	lua_pushnil(L);
	return 3;
}

// The least key of table 1 that is greater than `after` (NULL: of all), pushed; false if
// there is none.
static bool push_next(lua_State *L, const struct table_key *after)
{
	struct table_key least = { 0 }, key;
	bool found = false;
	lua_Integer n = 0;

	lua_pushnil(L); // the least key so far
	lua_pushnil(L);
	while (lua_next(L, 1)) {
		lua_pop(L, 1);
		key = (struct table_key){ 0 };
		read_key(L, -1, &key);
		if ((!after || cmp_keys(&key, after) > 0) && (!found || cmp_keys(&key, &least) < 0)) {
			least = key;
			found = true;
			lua_pushvalue(L, -1);
			lua_replace(L, -3);
		}
		n++;
	}
	pl_call_charge(L, KEY_COST * n);
	return found;
}

int pl_order_next(lua_State *L)
{
	struct table_key after = { 0 };

	lua_settop(L, 2);
	pl_frozen_thaw(L, 1);
	luaL_checktype(L, 1, LUA_TTABLE);
	if (!lua_isnil(L, 2))
		read_key(L, 2, &after);
	if (!push_next(L, lua_isnil(L, 2) ? NULL : &after))
		return 1; // nil
	lua_pushvalue(L, -1);
	lua_rawget(L, 1);
	return 2;
}
