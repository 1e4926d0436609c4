// Parses values of options.
#pragma once

#include <stdint.h>

int pl_parse_count(const char *text, int64_t *count_r); // 0 or more; returns 0 or -1
int pl_parse_duration(const char *text, int64_t *us_r); // "500ms" "10s" "5m" "24h" "90d"; "1.5" is seconds
int pl_parse_time(const char *text, int64_t *at_us_r);  // RFC 3339, a date, or a duration: that long ago
