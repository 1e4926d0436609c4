// Backoff with full jitter.
//
// Used where the database or the broker was lost and is looked for again (db/conn,
// db/session, relay/relay, apply/apply).
// Threads: a struct pl_backoff belongs to one.
#include "base/backoff.h"

#include "base/random.h"

int64_t pl_backoff_next(struct pl_backoff *backoff)
{
	int64_t top = backoff->min_us;
	if (backoff->tries < 62)
		backoff->tries++;
	for (int i = 0; i < backoff->tries && top < backoff->max_us; i++)
		top = top > backoff->max_us / 2 ? backoff->max_us : top * 2;
	if (top <= backoff->min_us)
		return backoff->min_us;
	return backoff->min_us + (int64_t)pl_random_below((uint64_t)(top - backoff->min_us) + 1);
}

void pl_backoff_reset(struct pl_backoff *backoff)
{
	backoff->tries = 0;
}
