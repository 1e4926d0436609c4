// Builds the libmicrohttpd response of an answer: body, common headers, 304.
#pragma once

#include <microhttpd.h>

#include "http/router.h"
#include "script/exchange.h"

struct pl_response_context {
	const char *region;     // X-Plist-Region: the region that answers
	const char *request_id; // X-Request-ID
	const char *allow;      // Allow, or NULL
	bool close;             // the connection closes after this answer
};

// Returns the response; call MHD_destroy_response() on it once it is queued. Its bytes
// are those of `answer->body`, which must stay valid until the request is completed. The
// status is answer->status, or 304 according to If-None-Match.
struct MHD_Response *pl_response_make(const struct pl_request *request, struct pl_answer *answer,
                                      const struct pl_response_context *context, int *status_r);

// Whether the answer says that the request has executed nothing.
bool pl_response_is_not_executed(const struct pl_answer *answer);

// A complete response as bytes, for a connection on which libmicrohttpd can no longer
// answer. Its headers announce that the connection closes.
void pl_response_raw(struct pl_buf *buf, const struct pl_problem *problem,
                     const struct pl_response_context *context);
