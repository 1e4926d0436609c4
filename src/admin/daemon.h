// What a region's daemon says of itself: one GET over HTTP, with a deadline.
//
// Asks the region's upstream addresses in turn, as NGINX would reach it. Threads: any; no state.
#pragma once

#include "base/buf.h"
#include "base/error.h"
#include "config/config.h"

#define PL_ANSWER_MAX (1 << 20) // bytes of an answer; more is an error

// GET `path` of the first address that answers; the body in *body_r (to be pl_buf_fini-shed), the status returned.
// A negative code with err when none answered in time.
int pl_daemon_get(const struct pl_region *region, const char *path, int64_t timeout_us, struct pl_buf *body_r, struct pl_error *err);

// The same of one address.
int pl_daemon_ask(const char *address, const char *path, int64_t timeout_us, struct pl_buf *body_r, struct pl_error *err);

// The parts of "host:port" and "[::1]:port"; 0 or -1.
int pl_address_split(const char *address, char *host, size_t host_size, char *port, size_t port_size);
// Status and body of a whole HTTP/1.1 answer, as one request with "Connection: close" gets it. The status, or -1.
int pl_answer_parse(const char *text, size_t len, const char **body_r, size_t *body_len_r);
