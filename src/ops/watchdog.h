// The watchdog: a thread that finds calls into Lua that do not return, reports them, and
// finally aborts the process.
//
// A worker or applier that is inside such a call serves nobody, and no other part of it
// can notice.
// Threads: it has a thread of its own; the functions here may be called from any.
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"

struct pl_watchdog;

struct pl_watchdog *pl_watchdog_start(struct pl_error *err);
void pl_watchdog_stop(struct pl_watchdog **watchdog_p);

struct pl_watchdog_stats {
	uint64_t stuck;              // calls found stuck since the start
	int now;                     // calls that are stuck now
	char why[PL_ERROR_TEXT_MAX]; // describes one of them, as a reason for not being ready
};
void pl_watchdog_stats(struct pl_watchdog *watchdog, struct pl_watchdog_stats *stats_r);
