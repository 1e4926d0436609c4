// Partitions that no broker leads: what is in them cannot be read, and where they end
// cannot be asked.
//
// A partition loses its leader when all brokers that have a current copy of it are
// unavailable; the topic's partitions on other brokers go on. librdkafka waits for
// the leader of each partition that a request names, so one such partition would keep the
// applier from starting to read all others, and from noticing that one of them is silent.
// So it is given up until a broker leads it again (apply/applier_claims.c). Meanwhile it
// counts as behind, since nobody knows what has been written to it.
//
// Used by apply/applier_watch. Threads: the applier's.
#pragma once

#include <stdbool.h>
#include <stdint.h>

// In a row, that find no leader: it may be moving from one broker to another.
#define PL_LEADERLESS_LOOKS 2

struct pl_leaderless_partition {
	char *topic;
	int32_t partition;
	int looks;
	int64_t since_us; // the first of them, pl_now_us
	bool seen;        // by the look that is being noted
};

struct pl_leaderless {
	int n;
	struct pl_leaderless_partition *each;
};

// Notes which of a topic's partitions have no leader. True: these are not the same ones
// as before.
bool pl_leaderless_note(struct pl_leaderless *leaderless, const char *topic, const int32_t *partitions, int n,
                        int64_t now_us);
// Since when the partition has no leader; 0: it has one.
int64_t pl_leaderless_since(const struct pl_leaderless *leaderless, const char *topic, int32_t partition);
void pl_leaderless_fini(struct pl_leaderless *leaderless);
