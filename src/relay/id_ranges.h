// A set of row ids, stored as ranges. Ids are assigned in order, so a million ids are a
// few ranges.
#pragma once

#include <stdbool.h>
#include <stdint.h>

struct pl_id_run {
	int64_t first, last;
};

struct pl_id_ranges {
	int n, cap;
	struct pl_id_run *ranges; // ascending; between two of them at least one id is missing
	int64_t ids;              // the number of ids
};

void pl_id_ranges_fini(struct pl_id_ranges *set);
void pl_id_ranges_add(struct pl_id_ranges *set, int64_t id);
void pl_id_ranges_remove(struct pl_id_ranges *set, int64_t id);
// Removes all ids up to `last`.
void pl_id_ranges_drop(struct pl_id_ranges *set, int64_t last);
// The gaps between `floor` and `high` that contain no id of the set, in `gaps_r` (room
// for n + 1). Returns their number.
int pl_id_ranges_gaps(const struct pl_id_ranges *set, int64_t floor, int64_t high, struct pl_id_run *gaps_r);
