// Offsets, asked of Kafka: how far each region's consumer group has committed, and where the partitions end.
//
// Never joins a group, never commits: looking changes nothing.
// Threads: one at a time; librdkafka has its own.
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "config/config.h"

struct pl_offset {
	const char *topic;    // of the configuration
	int32_t partition;
	int64_t low, end;     // oldest offset there is; the one that the next message gets
	int64_t committed;    // -1: the group has committed none
	int64_t event_at_us;  // the broker's time of the first message from `from` on, 0 = not known
	int64_t from;         // where to look for event_at_us; filled in by the caller
};

struct pl_offsets;

// Does not connect yet.
struct pl_offsets *pl_offsets_new(const struct pl_config *config, int64_t timeout_us);
void pl_offsets_free(struct pl_offsets **offsets);

// All partitions of all resources' topics, with `low` and `end`, in *list_r (to be freed). Their number, or a code with err: PL_EUNAVAIL.
// A topic that does not exist yet has none.
int pl_offsets_ends(struct pl_offsets *offsets, struct pl_offset **list_r, struct pl_error *err);
// Fills in `committed` for a region's group. 0 or a code.
int pl_offsets_committed(struct pl_offsets *offsets, const struct pl_region *region, struct pl_offset *list, int n, struct pl_error *err);
// Fills in `event_at_us` where it is 0 and from < end, as far as the messages come in time.
void pl_offsets_times(struct pl_offsets *offsets, struct pl_offset *list, int n);
