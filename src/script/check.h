// The load check: does every handler and every policy that a configuration names load,
// and return what it must?
//
// For `plist-admin config check`, `plistd --check-config` and a reload.
#pragma once

#include "config/config.h"

// Returns the number of problems, which it adds to `diagnostics` as "file:line: message".
int pl_script_check(const struct pl_config *config, struct pl_diagnostics *diagnostics);
