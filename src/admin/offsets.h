// Kafka's offsets: how far each region's consumer group has committed, and where the
// partitions end.
//
// Never joins a group and never commits, so that reading changes nothing.
// Threads: one at a time; librdkafka has its own.
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "config/config.h"

struct pl_offset {
	const char *topic; // of the configuration
	int32_t partition;
	int64_t low, end;    // the oldest available offset; the offset of the next message
	int64_t committed;   // -1: the group has not committed any
	int64_t event_at_us; // the broker's time of the first message from `from` on; 0: unknown
	int64_t from;        // where to look for event_at_us; set by the caller
};

struct pl_offsets;

// Does not connect yet. `timeout_us`: of pl_offsets_ends and the calls after it together.
struct pl_offsets *pl_offsets_new(const struct pl_config *config, int64_t timeout_us);
void pl_offsets_free(struct pl_offsets **offsets_p);

// All partitions of all resources' topics, with `low` and `end`, in *list_r (to be
// freed). Returns their number, or a code with err: PL_EUNAVAIL. A topic that does not
// exist yet has no partitions.
int pl_offsets_ends(struct pl_offsets *offsets, struct pl_offset **list_r, struct pl_error *err);
// Sets `committed` for a region's group. Returns 0 or a code.
int pl_offsets_committed(struct pl_offsets *offsets, const struct pl_region *region, struct pl_offset *list,
                         int n, struct pl_error *err);
// Sets event_at_us where it is 0 and from < end, as far as messages arrive in time.
void pl_offsets_times(struct pl_offsets *offsets, struct pl_offset *list, int n);
