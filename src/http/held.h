// The memory that requests hold outside of Lua: bodies while they arrive and while their
// handlers run, and answers until the clients have taken them. Private to http/.
//
// Threads: the worker's.
#pragma once

#include <stdbool.h>

struct pl_listener;
struct pl_http_request;

// A worker begins and ends: all share the limit. Threads: any.
void pl_held_begin(void);
void pl_held_end(void);

// Closes slow connections while the workers hold too much, if this one holds more than
// its share. To be called now and then.
void pl_held_reclaim(struct pl_listener *listener);
// To be called when the buffers of a request have changed. Reclaims.
void pl_held_update(struct pl_http_request *http_request);
void pl_held_forget(struct pl_http_request *http_request);
// Whether the body of a request is more than there is room for: the workers hold too
// much, and this one more than its share, although it has closed its slow connections. A
// small body never is.
bool pl_held_refuses(const struct pl_http_request *http_request);
