// A simulated cluster: a few regions, one record, and a history of writes, retries,
// deletes and deliveries, run through the code that decides in production
// (decide/decide.c). No database, no broker, no clock: a seed always gives the same
// history.
//
// Used by test_simulate.c, and by tests/unit/verify for the policies of the gallery.
// Threads: any.
//
// A history is a list of operations that can be applied in any state: whatever an
// operation refers to ("an earlier event") is taken modulo what exists. So operations can
// be left out one by one, and a failing history shrinks to the shortest that still fails.
#pragma once

#include "decide/decide.h"

#define PL_SIM_REGIONS_MAX 5
#define PL_SIM_OPS_MAX     48

enum pl_sim_kind { PL_SIM_WRITE, PL_SIM_DELETE, PL_SIM_RETRY, PL_SIM_REUSE, PL_SIM_DELIVER };

// even and odd: which values it writes into fields at even and odd positions
struct pl_sim_op {
	enum pl_sim_kind kind;
	int region;
	uint32_t pick, even, odd, ticks;
};

struct pl_sim_history {
	uint64_t seed;
	int regions, nops;
	struct pl_sim_op ops[PL_SIM_OPS_MAX];
};

// The parameters of a run. A test that wants a broken rule to fail replaces
// production's functions.
struct pl_sim_rules {
	const struct pl_resource *resource;
	// The n-th value (0 to 3) of a field, in PostgreSQL's text format; NULL is
	// null, which required fields never get.
	const char *(*value)(const struct pl_sim_rules *rules, struct pl_arena *arena, int field, uint32_t n);
	void *value_arg;
	const char *const *regions; // PL_SIM_REGIONS_MAX names; NULL: us, eu, ap, sa, me
	enum pl_decision (*take)(struct pl_arena *arena, struct pl_state *state, const struct pl_event *event,
	                         const struct pl_sim_rules *rules);
	pl_decide_ask_fn *ask;
	void *ask_arg;
	bool forget_twins; // nothing is learned about other executions of a request
	// Transports an event; NULL: unchanged. Must return an equal event, in `arena`.
	const struct pl_event *(*travel)(struct pl_arena *arena, const struct pl_event *event);
};

enum pl_decision pl_simulate_take(struct pl_arena *arena, struct pl_state *state,
                                  const struct pl_event *event, const struct pl_sim_rules *rules);

struct pl_sim_outcome {
	bool failed; // diverged, or a version went back or did not match its vector
	char why[600];
	int writes, concurrent, twins; // what the history contained
	// overwritten writes that are shown again at the end
	int risen;
};

void pl_simulate_make_history(struct pl_sim_history *history, uint64_t seed);
void pl_simulate_run(const struct pl_sim_history *history, const struct pl_sim_rules *rules,
                     struct pl_sim_outcome *outcome_r);
// Removes everything that is not needed to make it fail.
void pl_simulate_shrink(struct pl_sim_history *history, const struct pl_sim_rules *rules);
// Appends a line for each operation.
void pl_simulate_print(struct pl_buf *buf, const struct pl_sim_history *history,
                       const struct pl_sim_rules *rules);
