// Re-resolving: after a start or a reload, all records with siblings are resolved with
// the policies as they are now, a few at a time between two batches.
//
// Threads: an applier's; only the first applier does it.
#pragma once

#include "apply/batch.h"

struct pl_reresolve {
	bool pending; // there may be more, after this record:
	char resource[64];
	int64_t id;
	// records with siblings: at the start, resolved, changed by it
	uint64_t total, seen, changed;
};

// Starts again with the first record.
void pl_reresolve_begin(struct pl_reresolve *r, bool pending);
// Resolves the next few records. Returns 0, or the database's code, and then nothing
// was changed.
int pl_reresolve_step(struct pl_reresolve *r, struct pl_apply_batch *batch,
                      const struct pl_apply_tools *tools, struct pl_arena *arena, struct pl_error *err);
