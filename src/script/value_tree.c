// Values of scripts as trees of JSON, which is the form that the check of a body's fields
// takes.
//
// Threads: a VM's.
#include <lauxlib.h>
#include <string.h>

#include "base/utf8.h"
#include "script/script_private.h"
#include "script/value_private.h"

// Nodes are in the arena, so nothing leaks when something raises. A tree may be as large
// as a body, and no larger.

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
	pl_call_charge_memory(m->L, len);
	if (strlen(text) != len || !pl_utf8_valid(text, len))
		m->fault = "a string in it is not UTF-8 or contains a NUL";
	return pl_arena_strndup(m->arena, text, len);
}

// Inserts a member in the order of names. Bodies have few members; a script that makes
// many is charged for the search.
static void tree_add(lua_State *L, cJSON *object, cJSON *item)
{
	cJSON **place = &object->child;

	while (*place && strcmp((*place)->string, item->string) < 0) {
		place = &(*place)->next;
		pl_call_charge(L, 1);
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
			luaL_error(L, PL_VALUE_NO_JSON_KEY, luaL_typename(L, -2));
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
		luaL_error(L, PL_VALUE_TOO_DEEP);
	luaL_checkstack(L, 8, "nested too deep");
	pl_value_read(L, index);
	n = (lua_Integer)lua_rawlen(L, index);
	if (!pl_value_is_array(L, index)) {
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
		pl_value_no_json(m->L, index);
	node->type = cJSON_Raw;
	node->valuestring = tree_text(m, text->data, text->len);
}

static cJSON *tree(struct maker *m, int index, int depth)
{
	lua_State *L = m->L;
	cJSON *node;
	const char *text;
	size_t len;

	pl_call_charge(L, 4);
	pl_call_charge_memory(L, sizeof(*node));
	node = pl_arena_alloc(m->arena, sizeof(*node));
	if (++m->nodes > pl_json_default_limits.nodes)
		luaL_error(L, "a value of more than %d parts", pl_json_default_limits.nodes);
	switch (lua_type(L, index)) {
	case LUA_TNIL:
	case LUA_TLIGHTUSERDATA: node->type = cJSON_NULL; break;
	case LUA_TBOOLEAN: node->type = lua_toboolean(L, index) ? cJSON_True : cJSON_False; break;
	case LUA_TSTRING:
		text = lua_tolstring(L, index, &len);
		node->type = cJSON_String;
		node->valuestring = tree_text(m, text, len);
		break;
	case LUA_TTABLE: tree_table(m, index, depth, node); break;
	default: tree_number(m, index, node);
	}
	return node;
}

cJSON *pl_value_tree(lua_State *L, int index, struct pl_arena *arena, const char **fault_r)
{
	struct maker m = { .L = L, .arena = arena };
	cJSON *root = tree(&m, lua_absindex(L, index), PL_VALUE_DEPTH_MAX);

	*fault_r = m.fault;
	return m.fault ? NULL : root;
}
