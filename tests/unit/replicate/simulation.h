// A simulated cluster: some regions, one record, and a history of writes, retries, deletes and deliveries, run through the very code that
// decides in production (replicate/decide.c). No database, no broker, no clock: the same seed is the same history for ever.
//
// A history is a list of operations that can be read in any world: what an operation refers to ("an earlier event") is taken modulo what
// there is. So operations can be left out one by one, and a failing history shrinks to the shortest that still fails.
#pragma once

#include "replicate/decide.h"

#define SIM_REGIONS_MAX 5
#define SIM_OPS_MAX 48

enum sim_kind { SIM_WRITE, SIM_DELETE, SIM_RETRY, SIM_REUSE, SIM_DELIVER };

struct sim_op { enum sim_kind kind; int region; uint32_t pick, price, beds, ticks; };

struct sim_history { uint64_t seed; int regions, nops; struct sim_op ops[SIM_OPS_MAX]; };

// What a run is made with. A test that wants to see a broken rule fail puts its own in the place of production's.
struct sim_rules {
	enum pl_decision (*take)(struct pl_arena *arena, struct pl_state *state, const struct pl_event *event, const struct sim_rules *rules);
	pl_decide_ask_fn *ask; void *ask_arg;
	bool forget_twins;     // nothing is learned about other executions of a request
	// How an event travels; NULL: as it is. Must give an equal event, in `arena`.
	const struct pl_event *(*travel)(struct pl_arena *arena, const struct pl_event *event);
};

enum pl_decision sim_take(struct pl_arena *arena, struct pl_state *state, const struct pl_event *event, const struct sim_rules *rules);

struct sim_outcome {
	bool failed;           // diverged, or a version went back or did not match its vector
	char why[600];
	int writes, concurrent, twins; // what the history had in it
	int risen;             // overwritten writes that are shown again at the end
};

extern const struct pl_resource sim_resource;

void sim_history_make(struct sim_history *history, uint64_t seed);
void sim_run(const struct sim_history *history, const struct sim_rules *rules, struct sim_outcome *outcome_r);
// Leaves out whatever is not needed for it to fail.
void sim_shrink(struct sim_history *history, const struct sim_rules *rules);
void sim_print(const struct sim_history *history);

// Policies for it, pure and simple, some of them known to diverge where rows are merged pairwise.
struct sim_policy { const char *name; pl_decide_ask_fn *ask; };
extern const struct sim_policy sim_policies[];
extern const int sim_npolicies;
