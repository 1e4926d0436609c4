// `plist-admin config show`: all effective values, including defaults, as in YAML.
#pragma once

#include "base/buf.h"
#include "config/config.h"

enum pl_show_format { PL_SHOW_YAML, PL_SHOW_JSON };

// Appends it. Secrets are redacted ("postgresql://plist:***@host/db"); keys without a
// value are left out. The YAML can be loaded again.
void pl_config_show(const struct pl_config *config, enum pl_show_format format, struct pl_buf *buf);
