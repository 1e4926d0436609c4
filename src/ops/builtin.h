// The routes that the daemon answers itself: health, readiness, metrics, lag.
#pragma once

#include "http/router.h"
#include "ops/daemon.h"
#include "script/exchange.h"

void pl_builtin_answer(struct pl_daemon *daemon, enum pl_builtin which, const struct pl_request *request, struct pl_answer *answer);

// Why the daemon is not ready: sentences, appended as a JSON array. How many.
int pl_ready_reasons(struct pl_daemon *daemon, struct pl_buf *json);

// All metrics, as Prometheus text.
void pl_metrics_print(struct pl_buf *buf, struct pl_daemon *daemon);

// What the operators' socket answers to "status" and "policies": members, from the first comma on.
void pl_status_print(struct pl_buf *members, struct pl_daemon *daemon);
void pl_status_policies(struct pl_buf *members, struct pl_daemon *daemon);
