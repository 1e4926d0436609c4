// `plist-admin config show`: all values in force, defaults included, in the YAML's own spelling.
#pragma once

#include "base/buf.h"
#include "config/config.h"

enum pl_show_format { PL_SHOW_YAML, PL_SHOW_JSON };

// Appends it. Secrets are redacted ("postgresql://plist:***@host/db"); what has no value is left out. The YAML loads again.
void pl_config_show(const struct pl_config *config, enum pl_show_format format, struct pl_buf *buf);
