// Backoff with full jitter.
//
// Stands where the database and the broker are lost and looked for again (db/conn, db/session, replicate/relay, replicate/apply).
// Threads: a struct pl_backoff belongs to one; the generator is one per thread.
#include "base/backoff.h"

#include <sys/random.h>

#include "base/clock.h"

static _Thread_local uint64_t state;

// splitmix64: one addition and a mixing of bits; any state is a good one.
uint64_t pl_rand(void)
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

uint64_t pl_rand_below(uint64_t n)
{
	// What lies above the largest multiple of n would make small results likelier.
	uint64_t limit = UINT64_MAX - UINT64_MAX % n, value;
	do
		value = pl_rand();
	while (value >= limit);
	return value % n;
}

int64_t pl_backoff_next(struct pl_backoff *backoff)
{
	int64_t top = backoff->min_us;
	if (backoff->tries < 62)
		backoff->tries++;
	for (int i = 0; i < backoff->tries && top < backoff->max_us; i++)
		top = top > backoff->max_us / 2 ? backoff->max_us : top * 2;
	if (top <= backoff->min_us)
		return backoff->min_us;
	return backoff->min_us + (int64_t)pl_rand_below((uint64_t)(top - backoff->min_us) + 1);
}

void pl_backoff_reset(struct pl_backoff *backoff)
{
	backoff->tries = 0;
}
