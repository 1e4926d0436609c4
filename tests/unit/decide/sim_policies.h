// A resource for the simulated cluster, and simple, pure policies for it; some of them
// are known to diverge if rows are merged pairwise.
#pragma once

#include "simulate.h"

extern const struct pl_resource sim_resource;
const char *sim_value(const struct pl_sim_rules *rules, struct pl_arena *arena, int field, uint32_t n);

struct sim_policy {
	const char *name;
	pl_decide_ask_fn *ask;
};
extern const struct sim_policy sim_policies[];
extern const int sim_npolicies;
