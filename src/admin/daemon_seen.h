// What a daemon's metrics say about faults that it otherwise only logs.
//
// Used by status. Threads: the tool has one.
#pragma once

#include "config/config.h"

// Calls `warn` with a sentence for each fault in the metrics `text` of the daemon at
// `address`.
void pl_daemon_seen(const struct pl_region *region, const char *address, const char *text,
                    void (*warn)(void *arg, const char *sentence), void *arg);
