// A request as handlers see it, built from a checked head and body, and the refusals on
// the way, in the order that the API documents.
#pragma once

#include "base/buf.h"
#include "http/raw.h"
#include "http/router.h"
#include "script/exchange.h"

// Reads the head: request id, condition, trace. `request` already has its arena, config,
// method, target, headers and principal, and gets the result of `match`. `echo_id` is
// that of pl_request_echo_id. Returns NULL, or the problem to answer once the body has
// arrived.
const struct pl_problem *pl_request_head(struct pl_request *request, const struct pl_route_match *match,
                                         const char *echo_id);

// Reads the complete body: JSON and the fingerprint.
const struct pl_problem *pl_request_body(struct pl_request *request, const struct pl_buf *body);

// The problem for a body that is longer than http.max_body.
const struct pl_problem *pl_request_too_large(const struct pl_request *request);

// The value of X-Request-ID in the answer: that of the request, or a generated one if the
// request has none that can be sent back.
const char *pl_request_echo_id(const struct pl_request *request);
