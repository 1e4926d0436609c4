// Reading a whole file of text.
#pragma once

#include <stddef.h>

#include "base/buf.h"
#include "base/error.h"

// Appends it. PL_EINVAL when it cannot be read, is longer than `max`, or has NUL bytes; err names the file.
int pl_file_read(const char *file, size_t max, struct pl_buf *text, struct pl_error *err);
