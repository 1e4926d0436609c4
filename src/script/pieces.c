// See pieces.h. A piece of malloc's is as large as its size rounded up to PL_PIECE_STEP, so it can serve every size that is rounded to the same.
#include "script/pieces.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"

#define KEPT_MAX (512u << 10)

static bool is_small(size_t size)
{
	return size <= PL_PIECE_MAX;
}

static size_t rounded(size_t size)
{
	return (size + PL_PIECE_STEP - 1) / PL_PIECE_STEP * PL_PIECE_STEP;
}

static void **list_of(struct pl_pieces *pieces, size_t size)
{
	return &pieces->free[rounded(size) / PL_PIECE_STEP - 1];
}

static void *take(struct pl_pieces *pieces, size_t size)
{
	void **list = list_of(pieces, size), *p = *list;

	if (!p)
		return malloc(rounded(size));
	memcpy(list, p, sizeof *list);
	pieces->kept -= rounded(size);
	return p;
}

static void give(struct pl_pieces *pieces, void *p, size_t size)
{
	void **list = list_of(pieces, size);

	if (PL_MEM_CHECKED || pieces->kept + rounded(size) > KEPT_MAX) {
		free(p);
		return;
	}
	memcpy(p, list, sizeof *list);
	*list = p;
	pieces->kept += rounded(size);
}

static void drop(struct pl_pieces *pieces, void *p, size_t size)
{
	if (is_small(size))
		give(pieces, p, size);
	else
		free(p);
}

void *pl_pieces_change(struct pl_pieces *pieces, void *p, size_t old_size, size_t new_size)
{
	void *q;

	if (p && new_size == 0) {
		drop(pieces, p, old_size);
		return NULL;
	}
	if (!p)
		return new_size == 0 ? NULL : is_small(new_size) ? take(pieces, new_size) : malloc(new_size);
	if (is_small(old_size) && is_small(new_size) && rounded(old_size) == rounded(new_size))
		return p;
	if (!is_small(old_size) && !is_small(new_size))
		return realloc(p, new_size);
	q = is_small(new_size) ? take(pieces, new_size) : malloc(new_size);
	if (!q)
		return new_size <= old_size ? p : NULL; // a larger one serves as well, and Lua counts on this never failing
	memcpy(q, p, old_size < new_size ? old_size : new_size);
	drop(pieces, p, old_size);
	return q;
}

void pl_pieces_fini(struct pl_pieces *pieces)
{
	for (size_t i = 0; i < sizeof pieces->free / sizeof pieces->free[0]; i++)
		for (void *p = pieces->free[i], *next; p; p = next) {
			memcpy(&next, p, sizeof next);
			free(p);
		}
	memset(pieces, 0, sizeof *pieces);
}
