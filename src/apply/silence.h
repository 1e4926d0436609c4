// Notices partitions from which nothing arrives although they have messages.
//
// librdkafka may stop fetching a partition, after an answer of a broker that it does not
// expect, and never say so. What the applier has read is compared with the partition's
// end: a partition is silent if it has more, and several looks in a row find the position
// unchanged. Between two looks there is time for a hundred fetches.
//
// Used by apply/applier_watch. Threads: the applier's.
#pragma once

#include <stdint.h>

#define PL_SILENCE_LOOKS 4

// What a look at a partition has found.
struct pl_silence_look {
	const char *topic;
	int32_t partition;
	int64_t position;   // of the next message to be read; < 0: nothing was read yet
	int64_t first, end; // of the first message, and the one after the last
};

struct pl_silence_partition;

struct pl_silence {
	struct pl_silence_partition *partitions;
	int n;
};

// Notes a look at all partitions that are read; others are forgotten. Returns the index
// of one that is silent, or -1. As long as its end and its position stay the same, it is
// returned again only after four times as many looks: a partition may also end with
// records that no consumer is given, the markers of other programs' transactions.
int pl_silence_note(struct pl_silence *silence, const struct pl_silence_look *looks, int n);
// After the consumer was replaced: counts the looks from the beginning.
void pl_silence_restart(struct pl_silence *silence);
void pl_silence_fini(struct pl_silence *silence);
