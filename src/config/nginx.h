// `plist-admin nginx`: generates the NGINX configuration.
#pragma once

#include <stdbool.h>

#include "base/buf.h"
#include "base/error.h"
#include "config/config.h"

// Where the file will be used.
enum pl_nginx_place {
	PL_NGINX_RELATIVE, // a whole nginx.conf with relative paths: `nginx -p DIRECTORY/ -c FILE`
	PL_NGINX_SYSTEM,   // a whole nginx.conf with the paths of Debian's package
	PL_NGINX_SITE,     // a file that another nginx.conf includes in its http block
};

struct pl_nginx_options {
	enum pl_nginx_place place;
	// replace host names by addresses, so that `nginx -t` passes where they do not
	// resolve
	bool check_variant;
};

// Appends it, made from nginx/plist.conf.template (which is built into the program).
// Returns 0, or PL_EINVAL if a value cannot be written into an NGINX configuration.
int pl_nginx_render(const struct pl_config *config, struct pl_buf *buf,
                    const struct pl_nginx_options *options, struct pl_error *err);
