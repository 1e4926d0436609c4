// Parses Prometheus text: the metrics of a daemon.
#pragma once

#include <stdbool.h>
#include <stddef.h>

// The next sample of the metric `name` in `text`; NULL: there is none. *next_r is where
// to continue.
const char *pl_metrics_text_find(const char *text, const char *name, const char **next_r);
// The value of one of its labels, unescaped, cut to `size`. False: it has no such
// label.
bool pl_metrics_text_label(const char *line, const char *label, char *value, size_t size);
