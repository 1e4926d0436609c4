// Small pieces of memory, kept when they are freed: what a Lua state allocates for every request, and frees when it collects.
//
// Stands under the allocator of a VM (script/call.c). Lua says how large a piece was when it gives it back, so nothing has to be looked up, and
// pieces of one size are alike. What is kept is bounded; beyond it, pieces go back to malloc.
// Threads: belongs to its VM's thread.
#pragma once

#include <stddef.h>

#define PL_PIECE_MAX 1024 // bytes; larger ones are malloc's
#define PL_PIECE_STEP 16

struct pl_pieces {
	void *free[PL_PIECE_MAX / PL_PIECE_STEP]; // by size; each points to the next
	size_t kept;                              // bytes in them
};

// `old_size` of `p`, `new_size` 0 frees. NULL when there is no memory: `p` is then as it was.
void *pl_pieces_change(struct pl_pieces *pieces, void *p, size_t old_size, size_t new_size);
void pl_pieces_fini(struct pl_pieces *pieces); // those that are kept; others are their owner's
