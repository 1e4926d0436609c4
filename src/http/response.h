// From an answer to what libmicrohttpd sends: body, headers that every response carries, 304.
#pragma once

#include <microhttpd.h>

#include "http/router.h"
#include "script/exchange.h"

struct pl_response_context {
	const char *region;      // X-Plist-Region: who really answers
	const char *request_id;  // X-Request-ID
	const char *allow;       // Allow, or NULL
	bool close;              // the connection ends with this answer
};

// The response, to be MHD_destroy_response()d once queued; its bytes are those of `answer->body`, which must stay until the request is completed.
// The status is answer->status, or 304 where If-None-Match says so.
struct MHD_Response *pl_response_make(const struct pl_request *request, struct pl_answer *answer, const struct pl_response_context *context,
                                      int *status_r);

// A whole response as bytes, for a connection to which libmicrohttpd cannot send one any more; closes by its own header.
void pl_response_raw(struct pl_buf *buf, const struct pl_problem *problem, const struct pl_response_context *context);
