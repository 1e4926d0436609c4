// The options of records.list. For bind/records.c only.
#pragma once

#include <lua.h>

#include "store/store.h"

struct pl_list {
	struct pl_arena *arena;
	const struct pl_resource *resource;
	int limit;
	int64_t after;
	struct pl_filter filters[2 * PL_FIELDS_MAX];
	int nfilters;
	struct pl_fault *faults; // NULL: none
};

// Reads the options at `index` (a table or nil). Raises for a mistake of the handler; a
// mistake that the client can have made is a fault.
void pl_list_read(lua_State *L, int index, struct pl_list *list);
