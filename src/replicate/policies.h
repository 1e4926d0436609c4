// Which policy each resource has: what the header plist-policy and the heartbeats say.
#pragma once

#include "base/buf.h"
#include "config/config.h"

struct pl_policies;

// Loads the policies once to learn their names, and their hashes with the modules that they require. The texts are the object's own.
struct pl_policies *pl_policies_new(const struct pl_config *config);
void pl_policies_free(struct pl_policies **policies);
// "last_writer_wins sha256:9f…", by the resource's index.
const char *pl_policies_header(const struct pl_policies *policies, int resource);
// {"properties":{"name":"last_writer_wins","sha256":"9f…"}}
void pl_policies_print(struct pl_buf *buf, const struct pl_policies *policies);
