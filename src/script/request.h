// `req`: the request as a handler sees it. For the files of script/ only.
#pragma once

#include <lua.h>

#include "script/run.h"

// What a request says about the version that it is about. A value of its own: it may be kept.
struct pl_lock {
	bool has_version;
	int32_t version;
	const char *fault_pointer, *fault; // of a version that is none; texts of the program
	bool has_etag, etag_any, etag_never;
	struct pl_vector etag;
};

void pl_request_setup(lua_State *L); // once for a state
void pl_request_push(lua_State *L, struct pl_run *run); // sets run->box
const struct pl_lock *pl_request_lock_at(lua_State *L, int index); // NULL: it is none
// The request's `name` in the query string, or NULL; the first of several.
const char *pl_request_query(const struct pl_request *request, const char *name);
