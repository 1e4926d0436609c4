// Whether a clock can be trusted enough to delete something by it.
//
// What a wall clock that was just set says may be wrong by days, and housekeeping would
// delete what has not expired. So a clock counts as steady only when it has kept pace
// with the monotonic one for some time, in which the other regions' heartbeats say how
// late it is there. Threads: the housekeeping thread.
#pragma once

#include <stdbool.h>
#include <stdint.h>

struct pl_steady {                // zeroed: nothing is known
	int64_t wall_us, mono_us; // at the last look
	int64_t since_us;         // monotonic: since when they have kept pace; 0: not looked at yet
};

// Looks at the clocks, which were read at the same time. True if they have kept pace for
// `for_us`.
bool pl_steady_look(struct pl_steady *steady, int64_t wall_us, int64_t mono_us, int64_t for_us);
