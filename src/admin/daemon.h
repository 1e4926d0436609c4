// Queries a region's daemon: one GET over HTTP, with a deadline.
//
// Tries the region's upstream addresses in turn, as NGINX would.
// Threads: any; no state.
#pragma once

#include "base/buf.h"
#include "base/error.h"
#include "config/config.h"

#define PL_ANSWER_MAX (1 << 20) // bytes of a response; a longer one is an error

// GET `path` from the first address that responds, with TLS if the region has it.
// Returns the status and *body_r (to be freed with pl_buf_fini), or a negative code with
// err if none responded in time.
int pl_daemon_get(const struct pl_config *config, const struct pl_region *region, const char *path,
                  int64_t timeout_us, struct pl_buf *body_r, struct pl_error *err);

// An address at which a daemon listens, and how to talk to it.
struct pl_daemon_address {
	const char *text;                  // host:port
	const struct pl_upstream_tls *tls; // NULL: without TLS
};
struct pl_daemon_address pl_daemon_address(const struct pl_config *config, const struct pl_region *region,
                                           int i); // the i-th of upstream

// The same for one address.
int pl_daemon_ask(const struct pl_daemon_address *address, const char *path, int64_t timeout_us,
                  struct pl_buf *body_r, struct pl_error *err);

// The address at which the operators of the region's i-th daemon reach it from here, in
// `text`: admin_listen, with the host of upstream if it listens on all. False if it can
// only be reached on the daemon's own machine, and that is another one.
bool pl_daemon_operators_address(const struct pl_region *region, int i, char *text, size_t size);

// Parses a complete HTTP/1.1 response to a request with "Connection: close". Returns
// the status, or -1.
int pl_daemon_parse_answer(const char *text, size_t len, const char **body_r, size_t *body_len_r);
