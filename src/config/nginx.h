// `plist-admin nginx`: the configuration for NGINX that belongs to the YAML.
#pragma once

#include <stdbool.h>

#include "base/buf.h"
#include "base/error.h"
#include "config/config.h"

// Appends it, from nginx/plist.conf.template (which is built into the program). `check_variant`: host names of upstreams become addresses, so that `nginx -t`
// passes where they do not resolve. The result is a whole nginx.conf; run it with `nginx -p DIRECTORY -c FILE`: its paths are relative.
// 0; PL_EINVAL: a value cannot stand in a configuration of NGINX.
int pl_nginx_render(const struct pl_config *config, struct pl_buf *buf, bool check_variant, struct pl_error *err);
