// The certificates that a daemon uses: loaded at its start and with each reload, shown
// with the time at which they expire.
//
// Threads: any may print; the owner of the daemon loads.
#pragma once

#include "base/buf.h"
#include "base/error.h"
#include "ops/daemon.h"
#include "tls/server.h"

struct pl_certificates; // as they were when they were last read

// Reads all of them, and those of the daemon's own TLS into *tls_r (NULL if the region
// has none), which the caller owns like the result. Returns NULL and sets *err if the
// daemon could not serve with them. Warns of those that have expired or soon will.
struct pl_certificates *pl_certificates_load(const struct pl_config *config, const char *region,
                                             struct pl_tls_server **tls_r, struct pl_error *err);
void pl_certificates_free(struct pl_certificates **certificates_p);

// Puts what was loaded in force in a daemon; takes both over.
void pl_certificates_replace(struct pl_daemon *daemon, struct pl_certificates *certificates,
                             struct pl_tls_server *tls);

void pl_certificates_print_metrics(struct pl_buf *buf, struct pl_daemon *daemon);
void pl_certificates_print_status(struct pl_buf *members, struct pl_daemon *daemon);
