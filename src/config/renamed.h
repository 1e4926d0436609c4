// Keys that were renamed: an old key is refused with its new name.
#pragma once

#include <stddef.h>

// The last part of the new name of the key `path` ("regions.us.control" gives
// "control_socket"); NULL if it was not renamed.
const char *pl_renamed_key(const char *path);
