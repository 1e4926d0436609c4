// The operators' listener: /metrics, /ready with its reasons, /health and the lag, at an
// address of its own.
//
// Threads: started, reconfigured and stopped by the thread that owns the daemon; it has a
// thread of its own, so that it answers even when all workers are busy or hang.
#pragma once

#include "base/error.h"
#include "config/config.h"
#include "ops/daemon.h"

struct pl_admin_listener;

// `address` is "host:port". Returns NULL and sets *err (PL_EUNAVAIL: the address is in
// use) on failure. The parts of the daemon that are shown must exist until it is stopped.
struct pl_admin_listener *pl_admin_listener_start(struct pl_daemon *daemon, const char *address,
                                                  const struct pl_config *config, struct pl_error *err);
// Requests that arrive after this are handled with the limits of `config`.
void pl_admin_listener_reconfigure(struct pl_admin_listener *admin, const struct pl_config *config);
void pl_admin_listener_stop(struct pl_admin_listener **admin_p); // also of NULL
