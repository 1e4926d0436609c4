// A simulated cluster: some regions, one record, and a history of writes, retries, deletes and deliveries, run through the very code that
// decides in production (replicate/decide.c). No database, no broker, no clock: the same seed is the same history for ever.
//
// Called by the probe of policies (replicate/probe.c) and by tests/unit/replicate. Threads: any.
//
// A history is a list of operations that can be read in any world: what an operation refers to ("an earlier event") is taken modulo what
// there is. So operations can be left out one by one, and a failing history shrinks to the shortest that still fails.
#pragma once

#include "replicate/decide.h"

#define PL_SIM_REGIONS_MAX 5
#define PL_SIM_OPS_MAX 48

enum pl_sim_kind { PL_SIM_WRITE, PL_SIM_DELETE, PL_SIM_RETRY, PL_SIM_REUSE, PL_SIM_DELIVER };

// even, odd: which values it writes into fields of even and of odd place.
struct pl_sim_op { enum pl_sim_kind kind; int region; uint32_t pick, even, odd, ticks; };

struct pl_sim_history { uint64_t seed; int regions, nops; struct pl_sim_op ops[PL_SIM_OPS_MAX]; };

// What a run is made with. A test that wants to see a broken rule fail puts its own in the place of production's.
struct pl_sim_rules {
	const struct pl_resource *resource;
	// The n-th value (0 to 3) of a field, as PostgreSQL prints it; NULL is null, and is not for required fields.
	const char *(*value)(const struct pl_sim_rules *rules, struct pl_arena *arena, int field, uint32_t n);
	void *value_arg;
	const char *const *regions; // PL_SIM_REGIONS_MAX names; NULL: us, eu, ap, sa, me
	enum pl_decision (*take)(struct pl_arena *arena, struct pl_state *state, const struct pl_event *event, const struct pl_sim_rules *rules);
	pl_decide_ask_fn *ask; void *ask_arg;
	bool forget_twins;     // nothing is learned about other executions of a request
	// How an event travels; NULL: as it is. Must give an equal event, in `arena`.
	const struct pl_event *(*travel)(struct pl_arena *arena, const struct pl_event *event);
};

enum pl_decision pl_sim_take(struct pl_arena *arena, struct pl_state *state, const struct pl_event *event, const struct pl_sim_rules *rules);

struct pl_sim_outcome {
	bool failed;           // diverged, or a version went back or did not match its vector
	char why[600];
	int writes, concurrent, twins; // what the history had in it
	int risen;             // overwritten writes that are shown again at the end
};

void pl_sim_history_make(struct pl_sim_history *history, uint64_t seed);
void pl_sim_run(const struct pl_sim_history *history, const struct pl_sim_rules *rules, struct pl_sim_outcome *outcome_r);
// Leaves out whatever is not needed for it to fail.
void pl_sim_shrink(struct pl_sim_history *history, const struct pl_sim_rules *rules);
// A line for each operation, appended.
void pl_sim_print(struct pl_buf *buf, const struct pl_sim_history *history, const struct pl_sim_rules *rules);
