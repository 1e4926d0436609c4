// `req`: the request as a handler sees it. For the files of script/ only.
// Threads: a VM's.
#pragma once

#include <lua.h>

#include "script/exchange.h"

// The version of the record that a request expects (If-Match, ?version=, the body's
// member version). A copy: a script may keep it.
struct pl_lock {
	bool has_version;
	int32_t version;
	const char *fault_pointer, *fault; // of an invalid version; static texts
	bool has_etag, etag_any, etag_never;
	struct pl_vector etag;
};

struct pl_request_box; // the script's `req`

void pl_request_setup(lua_State *L); // once for a state
// Pushes `req`. *box_r is NULL from when the script has dropped it and it was collected.
void pl_request_push(lua_State *L, const struct pl_request *request, struct pl_request_box **box_r);
// The request is over: if the script has kept `req`, using it raises from now on. Sets
// the pointer to NULL.
void pl_request_close(struct pl_request_box **box_p);

const struct pl_lock *pl_request_lock_at(lua_State *L, int index); // NULL: it is not a lock
