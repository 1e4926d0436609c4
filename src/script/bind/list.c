// The options of records.list: limit, after, and filters as they come in a query string.
//
// pl_store_list_sql puts the values into a statement, so each is checked here against the
// type of its column.
// Threads: a VM's.
#include "script/bind/list.h"

#include <lauxlib.h>
#include <stdlib.h>
#include <string.h>

#include "base/decimal.h"
#include "script/script_private.h"
#include "script/text.h"
#include "script/value.h"

#define LIMIT_DEFAULT 50
#define LIMIT_MAX     500
#define DIGITS_MAX    60   // of a decimal in a filter
#define NAME_MAX_LEN  255  // bytes of a filter's name
#define TEXT_MAX      1000 // bytes of a text in a filter

static void add_fault(struct pl_list *list, const char *name, const char *detail)
{
	pl_fault_add(list->arena, &list->faults, pl_arena_printf(list->arena, "?%s", name), detail);
}

static bool parse_integer(const char *text, int64_t min, int64_t max, int64_t *value_r)
{
	const char *digits = text + (*text == '-');
	size_t n = strspn(digits, "0123456789");

	if (n == 0 || n > 18 || digits[n] != '\0')
		return false;
	*value_r = strtoll(text, NULL, 10);
	return *value_r >= min && *value_r <= max;
}

struct integer_option {
	const char *name;
	int64_t min, max;
};

// Reads an option that must be an integer, or a string that contains one.
static void read_integer(lua_State *L, int index, struct pl_list *list, const struct integer_option *option,
                         int64_t *value_r)
{
	const char *text;

	if (lua_getfield(L, index, option->name) != LUA_TNIL) {
		text = lua_tostring(L, -1);
		if (!text)
			luaL_error(L, "records.list: %s must be an integer, or a string that contains one",
			           option->name);
		if (!parse_integer(text, option->min, option->max, value_r))
			add_fault(list, option->name,
			          pl_arena_printf(list->arena, "must be an integer from %lld to %lld",
			                          (long long)option->min, (long long)option->max));
	}
	lua_pop(L, 1);
}

static bool is_decimal(const char *text)
{
	return strlen(text) <= DIGITS_MAX && !strpbrk(text, "eE") && pl_decimal_valid(text, strlen(text));
}

// The fault of a value that a field is compared with, or NULL. *text_r is its text for
// the database. The bounds of the field do not apply: "at least -1" is a valid filter.
static const char *value_fault(struct pl_arena *arena, const struct pl_field *field, const char *value,
                               const char **text_r)
{
	int64_t integer;

	*text_r = pl_arena_strdup(arena, value);
	switch (field->type) {
	case PL_FIELD_DECIMAL: return is_decimal(value) ? NULL : "must be a number";
	case PL_FIELD_INTEGER:
		return parse_integer(value, INT32_MIN, INT32_MAX, &integer) ? NULL
		                                                            : "must be an integer of 32 bits";
	case PL_FIELD_BOOLEAN:
		*text_r = value[0] == 't' ? "t" : "f";
		return strcmp(value, "true") == 0 || strcmp(value, "false") == 0 ? NULL
		                                                                 : "must be true or false";
	case PL_FIELD_STRING: return strlen(value) <= TEXT_MAX ? NULL : "is too long";
	}
	return "cannot be filtered by";
}

static int find_field(const struct pl_resource *resource, const char *name, enum pl_filter_op *op_r)
{
	int field = pl_config_field(resource, name, strlen(name));

	*op_r = PL_FILTER_EQ;
	if (field < 0 && (strncmp(name, "min_", 4) == 0 || strncmp(name, "max_", 4) == 0)) {
		*op_r = name[1] == 'i' ? PL_FILTER_MIN : PL_FILTER_MAX;
		field = pl_config_field(resource, name + 4, strlen(name + 4));
		if (field >= 0 && resource->fields[field].type == PL_FIELD_BOOLEAN)
			field = -1;
	}
	return field;
}

static void read_filter(struct pl_list *list, const char *name, const char *value)
{
	struct pl_filter *filter = &list->filters[list->nfilters];
	const char *fault;

	if (strcmp(name, "limit") == 0 ||
	    strcmp(name, "after") == 0) // so that req.query can be passed as it is
		return;
	filter->field = find_field(list->resource, name, &filter->op);
	if (filter->field < 0) {
		add_fault(list, name, "is not a field that can be filtered by");
		return;
	}
	fault = value_fault(list->arena, &list->resource->fields[filter->field], value, &filter->value);
	if (fault)
		add_fault(list, name, fault);
	else if (list->nfilters < (int)(sizeof(list->filters) / sizeof(list->filters[0])) - 1)
		list->nfilters++;
}

// Reads the table of filters on top of the stack.
static void read_filters(lua_State *L, struct pl_list *list)
{
	int filters = lua_gettop(L);
	lua_Integer n = pl_value_keys(L, filters);

	for (lua_Integer i = 1; i <= n; i++) {
		size_t len;

		lua_rawgeti(L, filters + 1, i);
		lua_pushvalue(L, -1);
		lua_rawget(L, filters);
		if (lua_type(L, -2) != LUA_TSTRING)
			luaL_error(L, "records.list: the name of a filter must be a string");
		if (lua_rawlen(L, -2) > NAME_MAX_LEN)
			luaL_error(L, "records.list: the name of a filter has more than %d bytes",
			           NAME_MAX_LEN);
		pl_text_push(L, -1, &len);
		pl_call_charge_memory(L, len);
		read_filter(list, lua_tostring(L, -3), lua_tostring(L, -1));
		lua_settop(L, filters + 1);
	}
	lua_settop(L, filters);
}

void pl_list_read(lua_State *L, int index, struct pl_list *list)
{
	static const struct integer_option limits = { "limit", 1, LIMIT_MAX },
					   after = { "after", 0, PL_ID_MAX };
	int64_t limit = LIMIT_DEFAULT;

	if (lua_isnil(L, index))
		lua_newtable(L);
	else
		lua_pushvalue(L, index);
	luaL_argexpected(L, lua_istable(L, -1), index, "table");
	index = lua_gettop(L);
	read_integer(L, index, list, &limits, &limit);
	read_integer(L, index, list, &after, &list->after);
	list->limit = (int)limit;
	if (lua_getfield(L, index, "filters") != LUA_TNIL) {
		if (!lua_istable(L, -1))
			luaL_error(L, "records.list: filters must be a table, such as req.query");
		read_filters(L, list);
	}
	lua_settop(L, index - 1);
}
