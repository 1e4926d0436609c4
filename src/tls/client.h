// TLS from plist-admin to daemons: one request and its answer.
//
// Threads: any; no state.
#pragma once

#include <stdint.h>

#include "base/buf.h"
#include "base/error.h"
#include "config/config.h"

// A connected, non-blocking socket for a TLS session.
struct pl_tls_connection {
	int fd;
	const struct pl_upstream_tls *files;
	int64_t deadline_us; // pl_mono_us
};

// Acts as NGINX does: shows the certificate of nginx.upstream_tls and verifies the
// daemon's. Sends `request` and appends everything that arrives until the end of the
// connection to `answer`, at most `max` bytes. PL_ETIMEOUT at the deadline, PL_EINVAL
// if a file is unusable, PL_EUNAVAIL with a sentence if the other side is not who it
// should be, or refuses us.
int pl_tls_client_exchange(const struct pl_tls_connection *connection, const struct pl_buf *request,
                           struct pl_buf *answer, size_t max, struct pl_error *err);
