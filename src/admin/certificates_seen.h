// The certificates of the configuration that are on this machine, as a table of
// plist-admin status.
//
// Threads: the tool has one.
#pragma once

#include "admin/table.h"
#include "config/config.h"

// Calls `warn` with a sentence for each that cannot be used or expires soon.
struct pl_table *pl_certificates_seen(const struct pl_config *config, struct pl_arena *arena,
                                      void (*warn)(void *arg, const char *sentence), void *arg);
