// Reading labels of Prometheus text: what a daemon says of itself under /metrics.
#pragma once

#include <stdbool.h>
#include <stddef.h>

// A sample's line of the metric `name`, from `text` on; NULL when there is none. `*next_r` is where to look for the next one.
const char *pl_metrics_find(const char *text, const char *name, const char **next_r);
// The value of one of its labels, unescaped, cut to `size`. False when it has none of that name.
bool pl_metrics_label(const char *line, const char *label, char *value, size_t size);
