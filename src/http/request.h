// A request as handlers see it, made from a checked head and body; and the refusals on the way there, in the contract's order.
#pragma once

#include "base/buf.h"
#include "http/raw.h"
#include "http/router.h"
#include "script/exchange.h"

// The head: request id, principal, condition, trace. `request` has its arena, config, method, target and headers already, and gets what `match`
// found. NULL, or the problem that it is refused with once its body has come.
const struct pl_problem *pl_request_head(struct pl_request *request, const struct pl_match *match);

// The body, whole: JSON, and with it the fingerprint.
const struct pl_problem *pl_request_body(struct pl_request *request, const struct pl_buf *body);

// Refusals that are found while the body comes.
const struct pl_problem *pl_request_too_large(const struct pl_request *request);

// What an answer's X-Request-ID says: what came in that header, or, when nothing did that could be sent back, one that is made up now.
const char *pl_request_echo_id(const struct pl_request *request);
