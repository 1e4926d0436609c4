// Requests that wait until the region has what their clients have seen: how many there
// are, and figures for operators.
//
// Threads: any.
#pragma once

#include <stdbool.h>
#include <stdint.h>

#define PL_SEEN_WAITS_MAX 256 // at a time, in all workers: each asks the database repeatedly

struct pl_seen_waits {
	uint64_t waits, timeouts, refused;
	int64_t total_us;
	int waiting;
};

// False: too many requests are waiting.
bool pl_seen_waits_enter(void);
void pl_seen_waits_leave(int64_t waited_us, bool in_vain);
void pl_seen_waits_read(struct pl_seen_waits *waits_r);
