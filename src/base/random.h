// Random numbers that need not be secret: for jitter and for sampling.
#pragma once

#include <stdint.h>

// Not for secrets. Each thread has a generator of its own, seeded by the system. Threads:
// any.
uint64_t pl_random(void);
uint64_t pl_random_below(uint64_t n); // 0 .. n-1; n > 0
