// Which policy each resource has, for the header plist-policy and for heartbeats.
#pragma once

#include "base/buf.h"
#include "config/config.h"

struct pl_policy_ids;

// Loads the policies once to learn their names and their hashes, which cover the modules
// that they require. The object owns its texts.
struct pl_policy_ids *pl_policy_ids_new(const struct pl_config *config);
void pl_policy_ids_free(struct pl_policy_ids **policies_p);
// "last_writer_wins sha256:9f…", by the resource's index.
const char *pl_policy_ids_header(const struct pl_policy_ids *policies, int resource);
// {"properties":{"name":"last_writer_wins","sha256":"9f…"}}
void pl_policy_ids_print(struct pl_buf *buf, const struct pl_policy_ids *policies);
