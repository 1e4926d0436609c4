// Admission: a configuration whose policies the verifier refuses does not go live.
//
// Called by plistd at start and before a reload, and by plist-admin config check, after
// script/check has loaded every file.
#pragma once

#include "config/config.h"

// Verifies the policy of each resource. A refused policy is an error, with its reason and
// the smallest input that shows it; a refused shadow policy is a warning. Returns the
// number of refused policies.
int pl_verify_admission_check_all(const struct pl_config *config, struct pl_diagnostics *diagnostics);
// The same for the policy of one resource. 0 or 1.
int pl_verify_admission_check(const struct pl_config *config, const struct pl_resource *resource,
                              struct pl_diagnostics *diagnostics);
