// Reads the report of `compare -o json`.
#pragma once

#include "admin/command.h"

// The ids of a resource's differences, ascending, allocated from the invocation's
// arena. Returns 0, or PL_EXIT_USAGE after printing what is wrong with the file.
int pl_differing_read(struct pl_invocation *invocation, const char *file, const struct pl_resource *resource,
                      const int64_t **ids_r, int *n_r);
