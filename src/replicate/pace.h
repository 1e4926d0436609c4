// Pace: a relay or an applier whose last batch was large waits before its next one, so that more events share it. Why: "Pace" in replicate/relay.c.
#pragma once

#include <stdint.h>

#define PL_PACE_BUSY 32 // events of a batch from which on the next one waits

struct pl_pace { int64_t busy_at_us; }; // when the last batch was begun, if it was large; 0: it was not

static inline void pl_pace_note(struct pl_pace *pace, int events, int64_t begun_us)
{
	pace->busy_at_us = events >= PL_PACE_BUSY ? begun_us : 0;
}

// Until when the next one waits; 0: it does not.
static inline int64_t pl_pace_until(const struct pl_pace *pace, int64_t pace_us)
{
	return pace->busy_at_us ? pace->busy_at_us + pace_us : 0;
}
