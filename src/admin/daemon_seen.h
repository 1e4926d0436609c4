// What a daemon's metrics say about faults that it otherwise only logs.
//
// Used by status. Threads: the tool has one.
#pragma once

#include "config/config.h"

struct pl_daemon_seen_to {
	// A sentence about a fault, and one about something that is not as it should be,
	// although nothing is wrong yet.
	void (*warn)(void *arg, const char *sentence);
	void (*note)(void *arg, const char *sentence);
	void *arg;
};

// Passes on what is in the metrics `text` of the daemon at `address`.
void pl_daemon_seen(const struct pl_region *region, const char *address, const char *text,
                    const struct pl_daemon_seen_to *to);
