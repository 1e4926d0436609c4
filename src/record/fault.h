// Faults of what a client sent, for `errors[]` of a problem.
//
// Threads: any; no state.
#pragma once

#include "base/buf.h"
#include "base/mem.h"

struct pl_fault {
	const char *pointer, *detail; // pointer: RFC 6901 for a body, "?name" for a query
	struct pl_fault *next;
};

// Appends a fault; the texts are not copied. `last` is the address of the list, or the
// value returned by the previous call, which avoids walking a long list. Returns the
// address for the next call.
struct pl_fault **pl_fault_add(struct pl_arena *arena, struct pl_fault **last, const char *pointer,
                               const char *detail);

// Appends "/name", escaped, to a JSON pointer.
void pl_fault_pointer_add(struct pl_buf *pointer, const char *name);
// The JSON pointer of a member of the body.
const char *pl_fault_pointer(struct pl_arena *arena, const char *name);
