// Random numbers that need not be secret. Threads: each has a generator of its own.
#include "base/random.h"

#include <stdint.h>
#include <sys/random.h>

#include "base/clock.h"

static _Thread_local uint64_t state;

// splitmix64: one addition and a mixing of bits; any state is a good one.
uint64_t pl_random(void)
{
	while (state == 0) {
		if (getrandom(&state, sizeof(state), 0) != (ssize_t)sizeof(state))
			state = (uint64_t)pl_now_us() ^ (uint64_t)(uintptr_t)&state;
	}
	uint64_t z = (state += 0x9E3779B97F4A7C15u);
	z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
	z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
	return z ^ (z >> 31);
}

uint64_t pl_random_below(uint64_t n)
{
	// What lies above the largest multiple of n would make small results likelier.
	uint64_t limit = UINT64_MAX - UINT64_MAX % n, value;
	do
		value = pl_random();
	while (value >= limit);
	return value % n;
}
