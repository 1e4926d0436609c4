// What records.list is asked for. For bind_records.c only.
#pragma once

#include <lua.h>

#include "record/store.h"

struct pl_list {
	struct pl_arena *arena;
	const struct pl_resource *resource;
	int limit;
	int64_t after;
	struct pl_filter filters[2 * PL_FIELDS_MAX];
	int nfilters;
	struct pl_fault *faults; // all that is wrong; NULL: nothing
};

// Reads the options at `index` (a table or nil). Raises for what a handler got wrong; what a client may have got wrong are
// faults.
void pl_list_read(lua_State *L, int index, struct pl_list *list);
