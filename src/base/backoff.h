// How long to wait before a retry.
//
// Exponential backoff with full jitter: the n-th wait is a random time between min_us and
// min_us * 2^n, at most max_us, so that clients of a service that failed do not all
// return at once.
#pragma once

#include <stdint.h>

struct pl_backoff {
	int64_t min_us, max_us; // set by the owner: { .min_us = 50000, .max_us = 2000000 }
	int tries;              // failures since the last success
};

int64_t pl_backoff_next(struct pl_backoff *backoff); // counts a failure and returns the wait, in µs
void pl_backoff_reset(struct pl_backoff *backoff);   // after a success
