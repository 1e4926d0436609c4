// The memory that requests hold outside of Lua: bodies while they arrive and while their
// handlers run, and answers until the clients have taken them. Private to http/.
//
// Threads: the worker's.
#pragma once

#include <stdbool.h>

struct pl_listener;
struct pl_http_request;

// To be called when the buffers of a request have changed. Closes slow connections when
// the workers hold too much.
void pl_held_update(struct pl_http_request *http_request);
void pl_held_forget(struct pl_http_request *http_request);
// Whether they hold too much although this worker has closed its slow connections.
bool pl_held_full(const struct pl_listener *listener);
