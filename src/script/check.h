// The load check: does every handler and every policy that a configuration names load, and is it what it must be?
//
// For `plist-admin config check`, `plistd --check-config` and a reload. Loads them all into VMs of their own and throws those
// away.
#pragma once

#include "config/config.h"
#include "script/vm.h"

// The number of problems, which are in `problems` as "file:line: message".
int pl_script_check(const struct pl_config *config, struct pl_problems *problems);

// Turns an error of loading `source` into a problem with its file and line. For script/ only.
void pl_check_report(const struct pl_config *config, const struct pl_script_source *source, const struct pl_error *err,
                     struct pl_problems *problems);
