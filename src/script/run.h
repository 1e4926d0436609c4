// A handler's run: a coroutine, which waits while the store works for it.
//
// Threads: a run belongs to its VM's thread.
#pragma once

#include <stdbool.h>

#include "script/exchange.h"
#include "script/vm.h"

enum pl_run_state {
	PL_RUN_QUEUED,  // it has not begun: it waits in the lane for slow handlers
	PL_RUN_WAITING, // for the store, or for its next slice
	PL_RUN_DONE,
};
struct pl_run;

// Starts the handler of the request's route. When it has finished, at once or later,
// `done` is called exactly once with the answer in *answer, even for a handler that
// raised or ran out of budget: then the answer is a problem 500, and the cause is logged.
// Nothing of the request may be freed before. Returns NULL if `done` was called, and
// freed the run, before this returned. `store` serves its records.* and db.* calls.
struct pl_run *pl_run_start(struct pl_vm *vm, struct pl_store *store, const struct pl_request *request,
                            struct pl_answer *answer, void (*done)(struct pl_run *run, void *arg), void *arg);
// After `done`, or within it, or to abandon the run: the answer of a store call in flight
// is then ignored, and the request is no longer touched.
void pl_run_free(struct pl_run **run_p);
enum pl_run_state pl_run_state(const struct pl_run *run);
bool pl_run_wrote(const struct pl_run *run); // whether the handler has asked for a write
