// Values on their way between C and Lua: JSON both ways.
//
// No number loses a digit. A JSON number without a point or an exponent is a Lua integer,
// any other a decimal. A float, which only a script can make, is printed with as many
// digits as reading it back takes.
//
// Invariants: printing runs no code of scripts (no metamethods), so it is safe after a
// script has ended; C memory in use while something may raise belongs to the VM or the
// request.
// Threads: a VM's.
#include "script/value.h"

#include <lauxlib.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/utf8.h"
#include "script/order.h"
#include "script/script_private.h"
#include "script/value_private.h"

#define TEXT_PIECE 65536 // bytes of a text that are printed between two looks at the budget
#define META_ARRAY "plist.array"
#define META_TREE  "plist.tree"

static int free_tree(lua_State *L);

void pl_value_setup(lua_State *L)
{
	luaL_newmetatable(L, META_ARRAY);
	lua_pushboolean(L, 0);
	lua_setfield(L, -2, "__metatable");
	luaL_newmetatable(L, META_TREE);
	lua_pushcfunction(L, free_tree);
	lua_setfield(L, -2, "__gc");
	lua_pop(L, 2);
	pl_value_record_setup(L);
	pl_value_lazy_setup(L);
}

void pl_value_mark_array(lua_State *L)
{
	luaL_setmetatable(L, META_ARRAY);
}

bool pl_value_is_marked(lua_State *L, int index)
{
	bool marked;

	if (!lua_getmetatable(L, index))
		return false;
	luaL_getmetatable(L, META_ARRAY);
	marked = lua_rawequal(L, -1, -2);
	lua_pop(L, 2);
	return marked;
}

static void push_number(lua_State *L, const cJSON *json)
{
	const char *text = pl_json_number_text(json);
	int64_t integer;

	if (!strpbrk(text, ".eE") && pl_json_int64(json, &integer) == 0)
		lua_pushinteger(L, integer);
	else if (!pl_value_push_decimal_text(L, text, strlen(text)))
		luaL_error(L, "the number %s has more than %d digits", text, PL_DECIMAL_DIGITS_MAX);
}

void pl_value_push_json(lua_State *L, const cJSON *json)
{
	lua_Integer n = 0;

	luaL_checkstack(L, 4, "JSON is nested too deep");
	pl_call_charge(L, 2);
	if (pl_json_is_number(json)) {
		push_number(L, json);
	} else if (cJSON_IsString(json)) {
		lua_pushstring(L, json->valuestring);
	} else if (cJSON_IsBool(json)) {
		lua_pushboolean(L, cJSON_IsTrue(json));
	} else if (cJSON_IsArray(json)) {
		lua_newtable(L);
		pl_value_mark_array(L);
		for (const cJSON *item = json->child; item; item = item->next) {
			pl_value_push_json(L, item);
			lua_rawseti(L, -2, ++n);
		}
	} else if (cJSON_IsObject(json)) {
		lua_newtable(L);
		pl_value_fill_object(L, json);
	} else {
		lua_pushlightuserdata(L, NULL);
	}
}

void pl_value_fill_object(lua_State *L, const cJSON *json)
{
	luaL_checkstack(L, 4, "JSON is nested too deep");
	for (const cJSON *item = json->child; item; item = item->next) {
		lua_pushstring(L, item->string);
		pl_value_push_json(L, item);
		lua_rawset(L, -3);
	}
}

static int free_tree(lua_State *L)
{
	cJSON **tree = lua_touserdata(L, 1);

	cJSON_Delete(*tree);
	*tree = NULL;
	return 0;
}

// Parses into a box, which is pushed, because using the tree may raise. The box
// holds NULL when the text is not JSON.
static cJSON **parse(lua_State *L, const char *text, size_t len, const struct pl_json_limits *limits,
                     struct pl_error *err)
{
	cJSON **tree = lua_newuserdatauv(L, sizeof(*tree), 0); // the box first, then its content

	*tree = NULL;
	luaL_setmetatable(L, META_TREE);
	pl_call_charge(L, (int64_t)len / 4);
	*tree = pl_json_parse(text, len, limits, err);
	return tree;
}

void pl_value_fill_object_text(lua_State *L, const char *text, size_t len)
{
	struct pl_json_limits limits = pl_json_default_limits;
	struct pl_error err;
	cJSON **tree;

	limits.bytes =
		len > limits.bytes ? len : limits.bytes; // a body may be longer than what scripts decode
	tree = parse(L, text, len, &limits, &err);
	if (!*tree)
		luaL_error(L, "%s", err.text);
	lua_insert(L, -2);
	pl_value_fill_object(L, *tree);
	cJSON_Delete(*tree);
	*tree = NULL;
	lua_remove(L, -2);
}

int pl_value_decode(lua_State *L, const char *text, size_t len)
{
	struct pl_error err;
	cJSON **tree = parse(L, text, len, &pl_json_default_limits, &err);

	if (!*tree) {
		lua_pushnil(L);
		lua_pushstring(L, err.text);
		return 2;
	}
	pl_value_push_json(L, *tree);
	cJSON_Delete(*tree);
	*tree = NULL;
	return 1;
}

void pl_value_push_json_text(lua_State *L, const char *text, size_t len)
{
	int top = lua_gettop(L);

	if (pl_value_decode(L, text, len) != 1)
		lua_error(L);
	lua_replace(L, top + 1); // over the box
	lua_settop(L, top + 1);
}

static bool print_float(lua_Number number, struct pl_buf *buf)
{
	char text[40];

	if (!isfinite(number))
		return false;
	for (int digits = 15; digits <= 17; digits++) {
		snprintf(text, sizeof(text), "%.*g", digits, number);
		if (strtod(text, NULL) == number)
			break;
	}
	pl_buf_adds(buf, text);
	return true;
}

bool pl_value_print_number(lua_State *L, int index, struct pl_buf *buf)
{
	struct pl_decimal decimal;

	if (pl_value_decimal_at(L, index, &decimal)) {
		pl_decimal_print(buf, &decimal);
		return true;
	}
	if (lua_isinteger(L, index)) {
		pl_buf_add_i64(buf, lua_tointeger(L, index));
		return true;
	}
	return lua_type(L, index) == LUA_TNUMBER && print_float(lua_tonumber(L, index), buf);
}

void pl_value_no_json(lua_State *L, int index)
{
	luaL_error(L, "a %s has no JSON form",
	           lua_type(L, index) == LUA_TNUMBER ? "number that is not finite" : luaL_typename(L, index));
}

static void print(lua_State *L, int index, struct pl_buf *buf, int depth);

// Called before `more` bytes are printed. The text is outside of the state, but counts as
// the script's memory.
static void need(lua_State *L, const struct pl_buf *buf, size_t more)
{
	struct pl_vm *vm = pl_vm_of(L);
	size_t wanted = buf->len + more, left;

	if (wanted <= vm->print.room)
		return;
	if (wanted > vm->print.most)
		luaL_error(L, "%s has more than %I bytes", vm->print.what, (LUAI_UACINT)vm->print.most);
	left = pl_call_memory_left(L, wanted);
	if (left < wanted)
		pl_call_charge_memory(L, wanted); // raises
	vm->print.room = left < vm->print.most ? left : vm->print.most;
}

// Piece by piece, because an escaped text can be six times as long.
static void print_text(lua_State *L, const char *text, size_t len, struct pl_buf *buf)
{
	need(L, buf, len + 2);
	pl_buf_addc(buf, '"');
	while (len > 0) {
		size_t n = len < TEXT_PIECE ? len : TEXT_PIECE;

		for (int i = 0; n < len && i < 3 && ((unsigned char)text[n] & 0xc0) == 0x80; i++)
			n--; // not within a character
		pl_call_charge(L, (int64_t)n / 8);
		pl_buf_add_json_part(buf, text, n);
		text += n;
		len -= n;
		need(L, buf, len + 1);
	}
	pl_buf_addc(buf, '"');
}

lua_Integer pl_value_keys(lua_State *L, int index)
{
	pl_value_read(L, index);
	return pl_order_keys(L, index);
}

bool pl_value_is_array(lua_State *L, int index)
{
	lua_Integer n = (lua_Integer)lua_rawlen(L, index), keys = 0;

	if (n == 0 && !pl_value_is_marked(L, index))
		return false;
	for (lua_pushnil(L); lua_next(L, index); lua_pop(L, 1)) {
		if (lua_isinteger(L, -2) && lua_tointeger(L, -2) >= 1 && lua_tointeger(L, -2) <= n) {
			keys++;
			continue;
		}
		if (pl_value_is_marked(L, index))
			luaL_error(L, "a table that is marked as an array has keys other than 1 to n");
		lua_pop(L, 2);
		return false;
	}
	return keys == n;
}

// Prints the value on top and pops it.
static void print_value(lua_State *L, struct pl_buf *buf, int depth)
{
	print(L, lua_gettop(L), buf, depth);
	lua_pop(L, 1);
}

static void print_comma(struct pl_buf *buf)
{
	if (buf->data[buf->len - 1] != '{')
		pl_buf_addc(buf, ',');
}

static void print_member(lua_State *L, const char *name, size_t len, struct pl_buf *buf, int depth)
{
	print_comma(buf);
	print_text(L, name, len, buf);
	pl_buf_addc(buf, ':');
	print_value(L, buf, depth);
}

// A member of a record: its name is an identifier, in which nothing needs escaping.
static void print_known_member(lua_State *L, const char *name, struct pl_buf *buf, int depth)
{
	print_comma(buf);
	pl_buf_addc(buf, '"');
	pl_buf_adds(buf, name);
	pl_buf_add(buf, "\":", 2);
	print_value(L, buf, depth);
}

// The members of the table at `index` whose names are not in `known`, in order. `known`
// is a stack index of a table of names, or 0.
static void print_members(lua_State *L, int index, int known, struct pl_buf *buf, int depth)
{
	lua_Integer n = pl_order_keys(L, index);
	int keys = lua_gettop(L);
	size_t len;

	for (lua_Integer i = 1; i <= n; i++) {
		lua_rawgeti(L, keys, i);
		if (known) {
			lua_pushvalue(L, -1);
			if (lua_rawget(L, known) != LUA_TNIL) {
				lua_pop(L, 2);
				continue;
			}
			lua_pop(L, 1);
		}
		if (lua_type(L, -1) != LUA_TSTRING)
			luaL_error(L, PL_VALUE_NO_JSON_KEY, luaL_typename(L, -1));
		const char *name = lua_tolstring(L, -1, &len); // valid: the key is in the list

		lua_rawget(L, index);
		print_member(L, name, len, buf, depth);
	}
	lua_settop(L, keys - 1);
}

// The members of a record in the order in which they are printed. Members that a script
// has added follow them.
struct known {
	const struct pl_resource *resource;
	int i; // counts from 0: id, the fields, the three that follow them
};

// The next name, in order; NULL after the last. *field_r: it is a field, printed as null
// when it is absent; other members are then left out.
static const char *known_next(struct known *known, bool *field_r)
{
	static const char *const after[] = { "region_origin", "version", "updated_at" };
	int i = known->i++, fields = known->resource->nfields;

	*field_r = i >= 1 && i <= fields;
	if (i == 0)
		return "id";
	if (*field_r)
		return known->resource->fields[i - 1].name;
	return i <= fields + 3 ? after[i - fields - 1] : NULL;
}

// Pushes the set of the known names. `etag` is one of them: it is sent as a header.
static void push_known(lua_State *L, const struct pl_resource *resource)
{
	struct known known = { .resource = resource };
	const char *name;
	bool field;

	lua_createtable(L, 0, resource->nfields + 5);
	lua_pushboolean(L, 1);
	lua_setfield(L, -2, "etag");
	while ((name = known_next(&known, &field))) {
		lua_pushboolean(L, 1);
		lua_setfield(L, -2, name);
	}
}

static int count_members(lua_State *L, int index)
{
	int n = 0;

	for (lua_pushnil(L); lua_next(L, index); lua_pop(L, 1))
		n++;
	return n;
}

static void print_record(lua_State *L, int index, const struct pl_resource *resource, struct pl_buf *buf,
                         int depth)
{
	struct known known = { .resource = resource };
	const char *name;
	int seen;
	bool field;

	lua_pushliteral(L, "etag");
	seen = lua_rawget(L, index) != LUA_TNIL;
	lua_pop(L, 1);
	while ((name = known_next(&known, &field))) {
		lua_pushstring(L, name);
		if (lua_rawget(L, index) != LUA_TNIL)
			seen++;
		else if (!field) {
			lua_pop(L, 1);
			continue;
		}
		print_known_member(L, name, buf, depth);
	}
	if (count_members(L, index) == seen)
		return;
	push_known(L, resource);
	print_members(L, index, lua_gettop(L), buf, depth);
	lua_pop(L, 1);
}

static void print_array(lua_State *L, int index, struct pl_buf *buf, int depth)
{
	lua_Integer n = (lua_Integer)lua_rawlen(L, index);

	pl_buf_addc(buf, '[');
	for (lua_Integer i = 1; i <= n; i++) {
		if (i > 1)
			pl_buf_addc(buf, ',');
		lua_rawgeti(L, index, i);
		print(L, lua_gettop(L), buf, depth);
		lua_pop(L, 1);
	}
	pl_buf_addc(buf, ']');
}

static void print_table(lua_State *L, int index, struct pl_buf *buf, int depth)
{
	const struct pl_resource *resource;

	if (depth == 0)
		luaL_error(L, PL_VALUE_TOO_DEEP);
	luaL_checkstack(L, 12, "nested too deep");
	need(L, buf, pl_value_lazy_length(L, index));
	if (pl_value_lazy_print(L, index, buf))
		return;
	pl_value_read(L, index);
	resource = pl_value_record_resource(L, index);
	if (!resource && pl_value_is_array(L, index)) {
		print_array(L, index, buf, depth - 1);
		return;
	}
	pl_buf_addc(buf, '{');
	if (resource)
		print_record(L, index, resource, buf, depth - 1);
	else
		print_members(L, index, 0, buf, depth - 1);
	pl_buf_addc(buf, '}');
}

static void print(lua_State *L, int index, struct pl_buf *buf, int depth)
{
	const char *text;
	size_t len;

	pl_call_charge(L, 2);
	need(L, buf, 0);
	switch (lua_type(L, index)) {
	case LUA_TNIL:
	case LUA_TLIGHTUSERDATA: pl_buf_adds(buf, "null"); return;
	case LUA_TBOOLEAN: pl_buf_adds(buf, lua_toboolean(L, index) ? "true" : "false"); return;
	case LUA_TSTRING:
		text = lua_tolstring(L, index, &len);
		print_text(L, text, len, buf);
		return;
	case LUA_TTABLE: print_table(L, index, buf, depth); return;
	default:
		if (!pl_value_print_number(L, index, buf))
			pl_value_no_json(L, index);
	}
}

void pl_value_print(lua_State *L, int index, struct pl_buf *buf, size_t most, const char *what)
{
	struct pl_vm *vm = pl_vm_of(L);

	vm->print.room = 0;
	vm->print.most = most;
	vm->print.what = what;
	print(L, lua_absindex(L, index), buf, PL_VALUE_DEPTH_MAX);
	need(L, buf, 0);
}
