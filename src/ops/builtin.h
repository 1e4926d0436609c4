// The routes that the daemon answers itself: health, readiness, metrics, lag.
#pragma once

#include "http/router.h"
#include "ops/daemon.h"
#include "script/exchange.h"

void pl_builtin_answer(struct pl_daemon *daemon, enum pl_builtin which, const struct pl_request *request,
                       struct pl_answer *answer);

// Appends the reasons why the daemon is not ready as a JSON array of sentences. Returns
// their number.
int pl_builtin_ready_reasons(struct pl_daemon *daemon, struct pl_buf *json);

// Appends all metrics as Prometheus text.
void pl_metrics_print(struct pl_buf *buf, struct pl_daemon *daemon);

// Append the answers to the control commands "status" and "policies": members, from the
// first comma on.
void pl_status_print(struct pl_buf *members, struct pl_daemon *daemon);
void pl_status_policies(struct pl_buf *members, struct pl_daemon *daemon);
