// The keys that verify tokens, as operators see them: whether they could be fetched.
//
// Threads: any.
#pragma once

#include <stdbool.h>

#include "base/buf.h"
#include "base/error.h"
#include "ops/daemon.h"

// Whether tokens can be checked, as far as the configuration accepts any; if not, why.
bool pl_keys_ready(struct pl_daemon *daemon, char why[PL_ERROR_TEXT_MAX]);
void pl_keys_print_metrics(struct pl_buf *buf, struct pl_daemon *daemon);
void pl_keys_print_status(struct pl_buf *members, struct pl_daemon *daemon);
