// How long to wait before trying again, and the random numbers that this needs.
//
// Exponential with full jitter: the n-th wait is anywhere between min_us and min_us * 2^n (at most max_us), so that many who lost
// the same service do not come back in step.
#pragma once

#include <stdint.h>

struct pl_backoff {
	int64_t min_us, max_us; // set by the owner: { .min_us = 50000, .max_us = 2000000 }
	int tries;              // failures since the last success
};

int64_t pl_backoff_next(struct pl_backoff *backoff); // the wait after one more failure, in µs
void pl_backoff_reset(struct pl_backoff *backoff);   // it worked

// Not for secrets. Each thread has its own generator, seeded by the system. Threads: any.
uint64_t pl_rand(void);
uint64_t pl_rand_below(uint64_t n); // 0 .. n-1; n > 0
