// Responses: the headers that every one carries, problems printed, entity tags compared for 304.
//
// Stands last on the way of a request. Invariants: every response that leaves through here says which region answered and which request
// it answers; a handler's headers cannot replace those, nor those that frame the message. Threads: any.
#include "http/response.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "base/error.h"
#include "base/log.h"
#include "http/condition.h"
#include "http/problem.h"
#include "http/raw.h"

// Ours or libmicrohttpd's; a handler that sets one of them is not heard.
static const char *const reserved[] = {"connection", "content-length", "transfer-encoding", "date", "trailer", "upgrade", "keep-alive",
                                       "x-request-id", "x-plist-region", "content-type", "allow", NULL};

static bool is_reserved(const char *name)
{
	for (const char *const *r = reserved; *r; r++)
		if (strcasecmp(*r, name) == 0)
			return true;
	return false;
}

static const char *answer_header(const struct pl_answer *answer, const char *name)
{
	return pl_header_get(answer->headers, name, NULL);
}

static void add(struct MHD_Response *response, const char *name, const char *value)
{
	if (MHD_add_response_header(response, name, value) != MHD_YES) {
		static struct pl_log_limit limit;
		if (pl_log_limit_ok(&limit, 10000000))
			pl_warning("http: the header %s of an answer cannot be sent: it is not one", name);
	}
}

static void add_headers(struct MHD_Response *response, const struct pl_answer *answer, const struct pl_response_context *context)
{
	if (context->request_id)
		add(response, "X-Request-ID", context->request_id);
	add(response, "X-Plist-Region", context->region);
	if (context->allow)
		add(response, "Allow", context->allow);
	if (context->close)
		add(response, "Connection", "close");
	for (const struct pl_header *header = answer->headers; header; header = header->next)
		if (!is_reserved(header->name))
			add(response, header->name, header->value);
}

static bool not_modified(const struct pl_request *request, const struct pl_answer *answer)
{
	if (answer->status != 200 || (strcmp(request->method, "GET") != 0 && strcmp(request->method, "HEAD") != 0))
		return false;
	return pl_if_none_match_has(pl_header_get(request->headers, "if-none-match", NULL), answer_header(answer, "etag"));
}

// The problem's text takes the place of the body; what it says in headers is added.
static void print_problem(struct MHD_Response *response, const struct pl_problem *problem, bool has_etag)
{
	add(response, "Content-Type", "application/problem+json");
	if (problem->retry_after_s > 0) {
		char seconds[16];
		snprintf(seconds, sizeof(seconds), "%d", problem->retry_after_s);
		add(response, "Retry-After", seconds);
	}
	if (problem->current && !has_etag) {
		char etag[PL_ETAG_MAX];
		add(response, "ETag", pl_vector_etag(&problem->current->vector, etag));
	}
}

static bool has_body(int status)
{
	return status >= 200 && status != 204 && status != 304;
}

struct MHD_Response *pl_response_make(const struct pl_request *request, struct pl_answer *answer, const struct pl_response_context *context,
                                      int *status_r)
{
	const struct pl_problem *problem = answer->problem;
	int status = problem ? problem->status : answer->status;
	if (problem) {
		pl_buf_reset(&answer->body);
		pl_problem_print(&answer->body, problem, context->request_id);
	} else if (not_modified(request, answer))
		status = 304;
	bool body = has_body(status) && answer->body.len > 0;
	static char nothing[1];
	struct MHD_Response *response =
		MHD_create_response_from_buffer(body ? answer->body.len : 0, body ? answer->body.data : nothing, MHD_RESPMEM_PERSISTENT);
	if (!response)
		pl_die("out of memory: a response");
	bool has_etag = answer_header(answer, "etag") != NULL;
	if (problem)
		print_problem(response, problem, has_etag);
	else if (body)
		add(response, "Content-Type", answer->content_type ? answer->content_type : "application/json");
	// An answer is that of this moment: whoever keeps it asks again before using it.
	if (!answer_header(answer, "cache-control"))
		add(response, "Cache-Control", has_etag ? "no-cache" : "no-store");
	add_headers(response, answer, context);
	*status_r = status;
	return response;
}

void pl_response_raw(struct pl_buf *buf, const struct pl_problem *problem, const struct pl_response_context *context)
{
	struct pl_buf body = {0};
	pl_problem_print(&body, problem, context->request_id);
	pl_buf_printf(buf, "HTTP/1.1 %d %s\r\nContent-Type: application/problem+json\r\nContent-Length: %zu\r\n", problem->status,
	              pl_status_phrase(problem->status), body.len);
	if (context->request_id)
		pl_buf_printf(buf, "X-Request-ID: %s\r\n", context->request_id);
	pl_buf_printf(buf, "X-Plist-Region: %s\r\nCache-Control: no-store\r\nConnection: close\r\n\r\n", context->region);
	pl_buf_add(buf, body.data, body.len);
	pl_buf_fini(&body);
}
