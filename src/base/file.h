// Reads a file that an operator named: a regular file of bounded size. It never blocks on
// a pipe or device.
//
// Used for all files except those of the kernel: the configuration, secrets, Lua files,
// migrations, seeds, templates.
// Threads: any; no state.
#pragma once

#include <stddef.h>

#include "base/buf.h"
#include "base/error.h"

// Appends the whole file to `text`, followed by a NUL that is not counted. On failure,
// `text` is unchanged and the error does not name the file: PL_ENOTFOUND (cannot be
// opened), PL_EINVAL (not a regular file, or larger than `max` bytes), PL_EUNAVAIL
// (cannot be read).
int pl_file_read(const char *file, size_t max, struct pl_buf *text, struct pl_error *err);
// The same for a file with a secret: also PL_EINVAL if other users can read or change it.
// Its owner must be root or the user of the process; its group may read it if root owns
// it.
int pl_file_read_private(const char *file, size_t max, struct pl_buf *text, struct pl_error *err);
