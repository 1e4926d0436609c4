// A set of ids as ranges in a sorted array. An id that follows the largest one, the
// usual case, only extends the last range.
//
// Threads: the relay's.
#include "relay/id_ranges.h"

#include <stdlib.h>
#include <string.h>

#include "base/mem.h"

void pl_id_ranges_fini(struct pl_id_ranges *set)
{
	free(set->ranges);
	memset(set, 0, sizeof(*set));
}

// The first range that ends at or after `id`.
static int place(const struct pl_id_ranges *set, int64_t id)
{
	int low = 0, high = set->n;

	while (low < high) {
		int middle = low + (high - low) / 2;

		if (set->ranges[middle].last < id)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

static void insert(struct pl_id_ranges *set, int at, struct pl_id_run range)
{
	if (set->n == set->cap) {
		set->cap = set->cap ? 2 * set->cap : 64;
		set->ranges = pl_realloc(set->ranges, sizeof(set->ranges[0]) * (size_t)set->cap);
	}
	memmove(&set->ranges[at + 1], &set->ranges[at], sizeof(set->ranges[0]) * (size_t)(set->n - at));
	set->ranges[at] = range;
	set->n++;
}

static void delete_at(struct pl_id_ranges *set, int at)
{
	set->n--;
	memmove(&set->ranges[at], &set->ranges[at + 1], sizeof(set->ranges[0]) * (size_t)(set->n - at));
}

void pl_id_ranges_add(struct pl_id_ranges *set, int64_t id)
{
	int at = set->n > 0 && set->ranges[set->n - 1].last < id ? set->n : place(set, id);
	bool before = at > 0 && set->ranges[at - 1].last + 1 == id;
	bool behind = at < set->n && set->ranges[at].first == id + 1;

	if (at < set->n && set->ranges[at].first <= id)
		return;
	set->ids++;
	if (before && behind) {
		set->ranges[at - 1].last = set->ranges[at].last;
		delete_at(set, at);
	} else if (before) {
		set->ranges[at - 1].last = id;
	} else if (behind) {
		set->ranges[at].first = id;
	} else {
		insert(set, at, (struct pl_id_run){ id, id });
	}
}

void pl_id_ranges_remove(struct pl_id_ranges *set, int64_t id)
{
	int at = place(set, id);
	struct pl_id_run *range = &set->ranges[at];

	if (at == set->n || range->first > id)
		return;
	set->ids--;
	if (range->first == range->last) {
		delete_at(set, at);
	} else if (range->first == id) {
		range->first++;
	} else if (range->last == id) {
		range->last--;
	} else {
		struct pl_id_run second = { id + 1, range->last };

		range->last = id - 1;
		insert(set, at + 1, second);
	}
}

void pl_id_ranges_drop(struct pl_id_ranges *set, int64_t last)
{
	int n = 0;

	while (n < set->n && set->ranges[n].last <= last) {
		set->ids -= set->ranges[n].last - set->ranges[n].first + 1;
		n++;
	}
	set->n -= n;
	if (n > 0)
		memmove(set->ranges, &set->ranges[n], sizeof(set->ranges[0]) * (size_t)set->n);
	if (set->n > 0 && set->ranges[0].first <= last) {
		set->ids -= last - set->ranges[0].first + 1;
		set->ranges[0].first = last + 1;
	}
}

int pl_id_ranges_gaps(const struct pl_id_ranges *set, int64_t floor, int64_t high, struct pl_id_run *gaps_r)
{
	int64_t from = floor + 1;
	int n = 0;

	for (int i = 0; i < set->n && from <= high; i++) {
		if (set->ranges[i].first > from)
			gaps_r[n++] = (struct pl_id_run){ from, set->ranges[i].first - 1 < high
				                                        ? set->ranges[i].first - 1
				                                        : high };
		if (set->ranges[i].last + 1 > from)
			from = set->ranges[i].last + 1;
	}
	if (from <= high)
		gaps_r[n++] = (struct pl_id_run){ from, high };
	return n;
}
