// Linger: after a large batch, a relay or an applier waits before the next one, so that
// more events share it. relay/relay.c explains why.
#pragma once

#include <stdint.h>

#define PL_LINGER_BUSY 32 // the next batch waits after one of at least this many events

struct pl_linger {
	int64_t busy_at_us; // when the last batch started, if it was large; else 0
	int64_t begun_us;   // when it started
};

// A batch is large if as many events arrive within the linger time. Their number alone
// says nothing: a batch that had to wait, for the broker or because of the one before,
// holds more of them, and would make the next one wait, too, and so on at any rate.
static inline void pl_linger_note(struct pl_linger *linger, int events, int64_t begun_us, int64_t linger_us)
{
	int64_t since_us = begun_us - linger->begun_us;

	linger->busy_at_us =
		events >= PL_LINGER_BUSY && events * linger_us >= PL_LINGER_BUSY * since_us ? begun_us : 0;
	linger->begun_us = begun_us;
}

// When the next batch may start; 0: at once.
static inline int64_t pl_linger_until(const struct pl_linger *linger, int64_t linger_us)
{
	return linger->busy_at_us ? linger->busy_at_us + linger_us : 0;
}
