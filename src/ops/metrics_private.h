// The pieces of which the metrics are printed, for the files of ops/metrics only.
#pragma once

#include "ops/builtin.h"

// The lines that precede the values of a metric.
void pl_metrics_family(struct pl_buf *buf, const char *name, const char *type, const char *help);
void pl_metrics_counter(struct pl_buf *buf, const char *name, const char *help, uint64_t value);
void pl_metrics_gauge(struct pl_buf *buf, const char *name, const char *help, double value);
// A value, after its family.
void pl_metrics_labelled(struct pl_buf *buf, const char *name, const char *key, const char *label,
                         double value);

// metrics_faults.c
void pl_metrics_faults(struct pl_buf *buf, struct pl_daemon *daemon);
// metrics_replication.c
void pl_metrics_replication(struct pl_buf *buf, struct pl_daemon *daemon);
