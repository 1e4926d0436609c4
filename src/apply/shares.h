// Shares: which applier of a region should read which partition. Pure code.
//
// The appliers of all of the region's daemons are numbered in an order that every daemon
// knows, and each daemon plans with what the database says. So all of them arrive at the
// same plan without talking to each other: a free partition is taken by one daemon, and
// one with too many gives them up. A plan moves as little as possible: while the members
// stay the same, nothing moves.
// Threads: any.
#pragma once

#include <stdbool.h>
#include <stdint.h>

struct pl_shares_lane {    // an applier
	const bool *reads; // for each topic: whether it can read it
};

struct pl_shares_partition {
	int topic; // its number
	int lane;  // the applier that has it; < 0: nobody
	int to;    // set: the applier that should have it; < 0: nobody can read it
};

// Loads of two appliers differ by at most one partition afterwards, as far as they can
// read the same topics; each topic is spread as evenly as that permits.
void pl_shares_plan(struct pl_shares_partition *partitions, int n, const struct pl_shares_lane *lanes,
                    int nlanes, int ntopics);
