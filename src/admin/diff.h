// What differs between two texts, line by line, in the unified format that everybody reads.
#pragma once

#include <stdbool.h>

#include "base/buf.h"

// Appends hunks with three lines of context; nothing when the texts are equal. True when they differ.
bool pl_diff(struct pl_buf *out, const char *from_name, const char *from, const char *to_name, const char *to);
