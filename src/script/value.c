// Values on their way between C and Lua: JSON both ways.
//
// Stands between the bindings and the records. Numbers stay what they are: a JSON number without a point or an exponent is a
// Lua integer, any other a decimal; a float, which only a script can make, is printed with as many digits as it takes to read
// it back.
// Invariants: printing runs no code of scripts (no metamethods), so it may be done after a script has ended; C
// memory in use while something may raise belongs to the VM or the request.
// Threads: a VM's.
#include "script/value.h"

#include <lauxlib.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/utf8.h"
#include "script/bind.h"
#include "script/sandbox.h"
#include "script/unread.h"

#define DEPTH_MAX 32
#define NO_JSON_KEY "a table with a key that is a %s is neither an array nor an object of JSON"
#define TOO_DEEP "a table is nested too deep for JSON, or contains itself"
#define META_ARRAY "plist.array"
#define META_TREE "plist.tree"

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
	pl_value_setup_records(L);
}

void pl_value_mark_array(lua_State *L)
{
	luaL_setmetatable(L, META_ARRAY);
}

static void push_number(lua_State *L, const cJSON *json)
{
	const char *text = pl_json_number_text(json);
	int64_t integer;

	if (!strpbrk(text, ".eE") && pl_json_int64(json, &integer) == 0)
		lua_pushinteger(L, integer);
	else if (!pl_decimal_push_text(L, text, strlen(text)))
		luaL_error(L, "the number %s has more than %d digits", text, PL_DECIMAL_DIGITS_MAX);
}

void pl_value_push_json(lua_State *L, const cJSON *json)
{
	lua_Integer n = 0;

	luaL_checkstack(L, 4, "JSON is nested too deep");
	pl_charge(L, 2);
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

// Parses into a box, which is pushed: what is done with the tree may raise. *box NULL: it is no JSON.
static cJSON **parse(lua_State *L, const char *text, size_t len, const struct pl_json_limits *limits, struct pl_error *err)
{
	cJSON **tree = lua_newuserdatauv(L, sizeof *tree, 0); // first the box, then what it holds

	*tree = NULL;
	luaL_setmetatable(L, META_TREE);
	pl_charge(L, (int64_t)len / 4);
	*tree = pl_json_parse(text, len, limits, err);
	return tree;
}

void pl_value_fill_object_text(lua_State *L, const char *text, size_t len)
{
	struct pl_json_limits limits = pl_json_default_limits;
	struct pl_error err;
	cJSON **tree;

	limits.bytes = len > limits.bytes ? len : limits.bytes; // a body may be longer than what scripts decode
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
		snprintf(text, sizeof text, "%.*g", digits, number);
		if (strtod(text, NULL) == number)
			break;
	}
	pl_buf_adds(buf, text);
	return true;
}

bool pl_value_print_number(lua_State *L, int index, struct pl_buf *buf)
{
	struct pl_decimal decimal;

	if (pl_decimal_at(L, index, &decimal)) {
		pl_decimal_print(buf, &decimal);
		return true;
	}
	if (lua_isinteger(L, index)) {
		pl_buf_add_i64(buf, lua_tointeger(L, index));
		return true;
	}
	return lua_type(L, index) == LUA_TNUMBER && print_float(lua_tonumber(L, index), buf);
}

static void no_json(lua_State *L, int index)
{
	luaL_error(L, "a %s has no JSON",
	           lua_type(L, index) == LUA_TNUMBER ? "number that is not finite" : luaL_typename(L, index));
}

static void print(lua_State *L, int index, struct pl_buf *buf, int depth);

static bool is_array(lua_State *L, int index)
{
	lua_Integer n = (lua_Integer)lua_rawlen(L, index), keys = 0;
	bool marked = false;

	if (lua_getmetatable(L, index)) {
		luaL_getmetatable(L, META_ARRAY);
		marked = lua_rawequal(L, -1, -2);
		lua_pop(L, 2);
	}
	if (n == 0)
		return marked;
	for (lua_pushnil(L); lua_next(L, index); lua_pop(L, 1)) {
		if (lua_isinteger(L, -2) && lua_tointeger(L, -2) >= 1 && lua_tointeger(L, -2) <= n) {
			keys++;
			continue;
		}
		lua_pop(L, 2);
		return false;
	}
	return keys == n;
}

// The value on top, which is taken off.
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
	pl_buf_add_json(buf, name, len);
	pl_buf_addc(buf, ':');
	print_value(L, buf, depth);
}

// Of a record: its name is an identifier, in which nothing is to be escaped.
static void print_known_member(lua_State *L, const char *name, struct pl_buf *buf, int depth)
{
	print_comma(buf);
	pl_buf_addc(buf, '"');
	pl_buf_adds(buf, name);
	pl_buf_add(buf, "\":", 2);
	print_value(L, buf, depth);
}

// The members of the table at `index` whose names are not in `known`, in order. `known` is a stack index of a table of names,
// or 0.
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
			luaL_error(L, NO_JSON_KEY, luaL_typename(L, -1));
		const char *name = lua_tolstring(L, -1, &len); // stays: the key is in the list

		lua_rawget(L, index);
		print_member(L, name, len, buf, depth);
	}
	lua_settop(L, keys - 1);
}

// What a record prints before anything that a script has put into it.
struct known {
	const struct pl_resource *resource;
	int i; // counts from 0: id, the fields, the three that follow them
};

// The next name, in order; NULL behind the last. *field_r: absent, it is null; others are left out.
static const char *known_next(struct known *known, bool *field_r)
{
	static const char *const after[] = {"region_origin", "version", "updated_at"};
	int i = known->i++, fields = known->resource->nfields;

	*field_r = i >= 1 && i <= fields;
	if (i == 0)
		return "id";
	if (*field_r)
		return known->resource->fields[i - 1].name;
	return i <= fields + 3 ? after[i - fields - 1] : NULL;
}

// Pushes the set of the names that are known; `etag` is one of them, it is a header.
static void push_known(lua_State *L, const struct pl_resource *resource)
{
	struct known known = {.resource = resource};
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

static void print_record(lua_State *L, int index, const struct pl_resource *resource, struct pl_buf *buf, int depth)
{
	struct known known = {.resource = resource};
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
		luaL_error(L, TOO_DEEP);
	luaL_checkstack(L, 12, "nested too deep");
	if (pl_unread_print(L, index, buf))
		return;
	pl_unread_read(L, index);
	resource = pl_value_record_resource(L, index);
	if (!resource && is_array(L, index)) {
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

	pl_charge(L, 2);
	switch (lua_type(L, index)) {
	case LUA_TNIL:
	case LUA_TLIGHTUSERDATA:
		pl_buf_adds(buf, "null");
		return;
	case LUA_TBOOLEAN:
		pl_buf_adds(buf, lua_toboolean(L, index) ? "true" : "false");
		return;
	case LUA_TSTRING:
		text = lua_tolstring(L, index, &len);
		pl_charge(L, (int64_t)len / 8);
		pl_buf_add_json(buf, text, len);
		return;
	case LUA_TTABLE:
		print_table(L, index, buf, depth);
		return;
	default:
		if (!pl_value_print_number(L, index, buf))
			no_json(L, index);
	}
}

void pl_value_print(lua_State *L, int index, struct pl_buf *buf)
{
	print(L, lua_absindex(L, index), buf, DEPTH_MAX);
}

// Trees. Nodes live in the arena, so nothing is lost when something raises. As large as a body may be, and no larger.

struct maker {
	lua_State *L;
	struct pl_arena *arena;
	int nodes;
	size_t bytes;
	const char *fault;
};

static cJSON *tree(struct maker *m, int index, int depth);

static char *tree_text(struct maker *m, const char *text, size_t len)
{
	size_t most = pl_vm_of(m->L)->config->http.max_body;

	if (most < pl_json_default_limits.bytes)
		most = pl_json_default_limits.bytes;
	m->bytes += len;
	if (m->bytes > most)
		luaL_error(m->L, "a value of more than %d bytes of text", (int)most);
	pl_charge(m->L, (int64_t)len / 8);
	if (strlen(text) != len || !pl_utf8_valid(text, len))
		m->fault = "a string in it is not UTF-8, or has a NUL in it";
	return pl_arena_strndup(m->arena, text, len);
}

// Into its place by name. Bodies have few members; a script that makes many pays for the search.
static void tree_add(lua_State *L, cJSON *object, cJSON *item)
{
	cJSON **place = &object->child;

	while (*place && strcmp((*place)->string, item->string) < 0) {
		place = &(*place)->next;
		pl_charge(L, 1);
	}
	item->next = *place;
	*place = item;
}

static void tree_members(struct maker *m, int index, int depth, cJSON *object)
{
	lua_State *L = m->L;
	const char *name;
	size_t len;

	for (lua_pushnil(L); lua_next(L, index); lua_pop(L, 1)) {
		cJSON *item;

		if (lua_type(L, -2) != LUA_TSTRING)
			luaL_error(L, NO_JSON_KEY, luaL_typename(L, -2));
		name = lua_tolstring(L, -2, &len);
		item = tree(m, lua_gettop(L), depth);
		item->string = tree_text(m, name, len);
		tree_add(L, object, item);
	}
}

static void tree_table(struct maker *m, int index, int depth, cJSON *node)
{
	lua_State *L = m->L;
	cJSON **end = &node->child;
	lua_Integer n;

	if (depth == 0)
		luaL_error(L, TOO_DEEP);
	luaL_checkstack(L, 8, "nested too deep");
	pl_unread_read(L, index);
	n = (lua_Integer)lua_rawlen(L, index);
	if (!is_array(L, index)) {
		node->type = cJSON_Object;
		tree_members(m, index, depth - 1, node);
		return;
	}
	node->type = cJSON_Array;
	for (lua_Integer i = 1; i <= n; i++) {
		lua_rawgeti(L, index, i);
		*end = tree(m, lua_gettop(L), depth - 1);
		end = &(*end)->next;
		lua_pop(L, 1);
	}
}

static void tree_number(struct maker *m, int index, cJSON *node)
{
	struct pl_buf *text = &pl_vm_of(m->L)->text;

	pl_buf_reset(text);
	if (!pl_value_print_number(m->L, index, text))
		no_json(m->L, index);
	node->type = cJSON_Raw;
	node->valuestring = tree_text(m, text->data, text->len);
}

static cJSON *tree(struct maker *m, int index, int depth)
{
	cJSON *node = pl_arena_alloc(m->arena, sizeof *node);
	lua_State *L = m->L;
	const char *text;
	size_t len;

	pl_charge(L, 4);
	if (++m->nodes > pl_json_default_limits.nodes)
		luaL_error(L, "a value of more than %d parts", pl_json_default_limits.nodes);
	switch (lua_type(L, index)) {
	case LUA_TNIL:
	case LUA_TLIGHTUSERDATA:
		node->type = cJSON_NULL;
		break;
	case LUA_TBOOLEAN:
		node->type = lua_toboolean(L, index) ? cJSON_True : cJSON_False;
		break;
	case LUA_TSTRING:
		text = lua_tolstring(L, index, &len);
		node->type = cJSON_String;
		node->valuestring = tree_text(m, text, len);
		break;
	case LUA_TTABLE:
		tree_table(m, index, depth, node);
		break;
	default:
		tree_number(m, index, node);
	}
	return node;
}

cJSON *pl_value_tree(lua_State *L, int index, struct pl_arena *arena, const char **fault_r)
{
	struct maker m = {.L = L, .arena = arena};
	cJSON *root = tree(&m, lua_absindex(L, index), DEPTH_MAX);

	*fault_r = m.fault;
	return m.fault ? NULL : root;
}
