// What the service manager of the system (systemd) is told: started, reloading, stopping,
// and, at short intervals, that every worker still turns.
//
// Without NOTIFY_SOCKET in the environment, nothing is sent.
// Threads: the main thread.
#pragma once

#include <stdint.h>

struct pl_daemon;

// Sends one state of sd_notify(3), such as "READY=1".
void pl_service_notify(const char *state);

// How often pl_service_alive must be called, in microseconds; 0: the service manager does
// not watch this process.
int64_t pl_service_interval_us(void);

// Tells the service manager that the process works, if every worker has turned within
// the interval. Otherwise logs that it does not, and the service manager will end the
// process.
void pl_service_alive(struct pl_daemon *daemon);
