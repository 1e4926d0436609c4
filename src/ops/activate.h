// Activating one policy in a running daemon.
#pragma once

#include "base/buf.h"
#include "base/error.h"
#include "base/json.h"
#include "ops/daemon.h"

// Puts the policy that `request` carries in force until the next reload. The verifier is
// run on it here, whatever the caller has checked already. Threads: any; one at a time,
// as with reloads.
int pl_activate_policy(struct pl_daemon *daemon, const cJSON *request, struct pl_buf *members,
                       struct pl_error *err);
