// Reloading the configuration of a running daemon.
#pragma once

#include "base/buf.h"
#include "base/error.h"
#include "ops/daemon.h"

// Loads the daemon's configuration file again, checks it and publishes it to all threads:
// all of it, or nothing if any of it is refused. Logs the outcome, and appends it to
// `members` (may be NULL) as JSON members. Threads: any; one reload at a time.
int pl_reload_file(struct pl_daemon *daemon, struct pl_buf *members, struct pl_error *err);
