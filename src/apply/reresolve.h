// Re-resolving: after a start or a reload, all records with siblings are resolved with
// the policies as they are now, a few at a time between two batches.
//
// A record that another session has locked, or whose row the database refuses, is held
// and tried again later, alone; it holds up no other. If too many are held, all records
// are gone through once more.
// Threads: an applier's; only the first applier does it.
#pragma once

#include "apply/batch.h"

#define PL_RERESOLVE_HELD_MAX 256

struct pl_reresolve {
	bool pending; // there may be more, after this record:
	char resource[64];
	int64_t id;
	// records with siblings: at the start, resolved, changed by it
	uint64_t total, seen, changed;

	struct pl_reresolve_held {
		char resource[64];
		int64_t id;
	} held[PL_RERESOLVE_HELD_MAX];
	int nheld;
	int step;                  // how many records are read at once
	bool refused;              // the database has refused one since the last pause
	bool passed;               // all records were gone through
	bool overflowed;           // more should have been held than there is room for
	int64_t next_us, pause_us; // when to go on with those that are held
	uint64_t left;             // how many were held when trying them again was in vain
};

// Starts again with the first record.
void pl_reresolve_begin(struct pl_reresolve *r, bool pending);
bool pl_reresolve_is_due(const struct pl_reresolve *r, int64_t now_us);
// How long the applier may wait for messages until then: up to `ms`.
int pl_reresolve_patience_ms(const struct pl_reresolve *r, int ms);
// Resolves the next few records. Returns 0, or the database's code; then it goes on
// later.
int pl_reresolve_step(struct pl_reresolve *r, struct pl_apply_batch *batch,
                      const struct pl_apply_tools *tools, struct pl_arena *arena, struct pl_error *err);
