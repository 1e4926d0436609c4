// Ids on the command line: "1,7,12" and "1..500".
#pragma once

#include "admin/command.h"

struct pl_id_range {
	int64_t first, last; // both included
	int64_t *ids;        // of --ids, ascending and unique; NULL: the range applies
	int nids;
};

// Reads --range and --ids. Returns 0, or PL_EXIT_USAGE after printing what is wrong.
int pl_id_range_take(struct pl_invocation *invocation, struct pl_id_range *range_r);
// Sorts ids and removes duplicates. Returns how many are left.
int pl_id_range_sort(int64_t *ids, int n);
