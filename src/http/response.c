// Responses: the headers that all of them have, problems as JSON, and entity tags
// compared for 304.
//
// The last step of a request. Invariants: every response says which region answered and
// which request it belongs to; headers of a handler cannot replace those, nor the ones
// that frame the message. Threads: any.
#include "http/response.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "base/error.h"
#include "base/faults.h"
#include "base/log.h"
#include "config/reserved.h"
#include "http/condition.h"
#include "http/problem.h"
#include "http/raw.h"

#define PLACE_MAX 64 // bytes of X-Plist-Next: the name of a region and a suffix

static const char *answer_header(const struct pl_answer *answer, const char *name)
{
	return pl_raw_header(answer->headers, name, NULL);
}

static void add(struct MHD_Response *response, const char *name, const char *value)
{
	if (MHD_add_response_header(response, name, value) != MHD_YES) {
		static struct pl_log_limit limit;
		pl_faults_lost(PL_LOSS_RESPONSE_HEADER);
		if (pl_log_limit_ok(&limit, 10000000))
			pl_warning("http: response header %s is not valid and was left out", name);
	}
}

// script/answer has refused reserved headers already. The runtime itself adds
// Idempotent-Replayed; the content type is a member of the answer.
static bool keep(const char *name)
{
	return strcasecmp(name, "idempotent-replayed") == 0 || strcasecmp(name, "plist-session") == 0 ||
	       (!pl_reserved_has(name, PL_RESERVED_ANSWER) && strcasecmp(name, "content-type") != 0);
}

static void add_headers(struct MHD_Response *response, const struct pl_answer *answer,
                        const struct pl_response_context *context)
{
	if (context->request_id)
		add(response, "X-Request-ID", context->request_id);
	add(response, "X-Plist-Region", context->region);
	if (context->allow)
		add(response, "Allow", context->allow);
	if (context->close)
		add(response, "Connection", "close");
	for (const struct pl_header *header = answer->headers; header; header = header->next)
		if (keep(header->name))
			add(response, header->name, header->value);
}

// A named location in the generated NGINX configuration: "@us.write.2".
static bool is_place(const char *text)
{
	static const char allowed[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-";
	size_t len = text && text[0] == '@' ? strlen(text) : 0;

	return len > 1 && len <= PLACE_MAX && strspn(text + 1, allowed) == len - 1;
}

bool pl_response_is_not_executed(const struct pl_answer *answer)
{
	return answer->problem ? answer->problem->not_executed : answer->not_executed;
}

// Adds headers that say that nothing was executed, and that make NGINX continue with the
// request at the location that it named. Returns true if it does.
static bool add_not_executed(struct MHD_Response *response, const struct pl_request *request)
{
	int n;
	const char *next = pl_raw_header(request->headers, "x-plist-next", &n);

	add(response, "X-Plist-Executed", "no");
	if (n != 1 || !is_place(next))
		return false;
	add(response, "X-Accel-Redirect", next);
	return true;
}

static bool not_modified(const struct pl_request *request, const struct pl_answer *answer)
{
	if (answer->status != 200 ||
	    (strcmp(request->method, "GET") != 0 && strcmp(request->method, "HEAD") != 0))
		return false;
	return pl_condition_if_none_match(pl_raw_header(request->headers, "if-none-match", NULL),
	                                  answer_header(answer, "etag"));
}

// The text of the problem replaces the body; its headers are added.
static void print_problem(struct MHD_Response *response, const struct pl_problem *problem, bool has_etag)
{
	add(response, "Content-Type", "application/problem+json");
	if (problem->retry_after_s > 0) {
		char seconds[16];
		snprintf(seconds, sizeof(seconds), "%d", problem->retry_after_s);
		add(response, "Retry-After", seconds);
	}
	for (const struct pl_header *header = problem->headers; header; header = header->next)
		add(response, header->name, header->value);
	if (problem->current && !has_etag) {
		char etag[PL_ETAG_MAX];
		add(response, "ETag", pl_vector_etag(&problem->current->vector, etag));
	}
}

static bool has_body(int status)
{
	return status >= 200 && status != 204 && status != 205 && status != 304;
}

struct MHD_Response *pl_response_make(const struct pl_request *request, struct pl_answer *answer,
                                      const struct pl_response_context *context, int *status_r)
{
	const struct pl_problem *problem = answer->problem;
	int status = problem ? problem->status : answer->status;
	if (problem) {
		pl_buf_reset(&answer->body);
		pl_problem_print(&answer->body, problem, context->request_id);
	} else if (not_modified(request, answer))
		status = 304;
	bool body = has_body(status) && answer->body.len > 0;
	pl_buf_trim(&answer->body); // a slow client may keep it for long
	static char nothing[1];
	struct MHD_Response *response = MHD_create_response_from_buffer(
		body ? answer->body.len : 0, body ? answer->body.data : nothing, MHD_RESPMEM_PERSISTENT);
	if (!response)
		pl_die("out of memory: a response");
	bool has_etag = answer_header(answer, "etag") != NULL;
	if (problem)
		print_problem(response, problem, has_etag);
	else if (body)
		add(response, "Content-Type",
		    answer->content_type ? answer->content_type : "application/json");
	bool leads_on = pl_response_is_not_executed(answer) && add_not_executed(response, request);
	// An answer is valid at this moment only: a cache must revalidate it. An answer
	// that redirects NGINX is never seen by a client, and this header would remain in
	// the final answer.
	if (!leads_on && !answer_header(answer, "cache-control"))
		add(response, "Cache-Control", has_etag ? "no-cache" : "no-store");
	add_headers(response, answer, context);
	*status_r = status;
	return response;
}

void pl_response_raw(struct pl_buf *buf, const struct pl_problem *problem,
                     const struct pl_response_context *context)
{
	struct pl_buf body = { 0 };
	pl_problem_print(&body, problem, context->request_id);
	pl_buf_printf(buf,
	              "HTTP/1.1 %d %s\r\nContent-Type: application/problem+json\r\nContent-Length: %zu\r\n",
	              problem->status, pl_problem_status_phrase(problem->status), body.len);
	if (context->request_id)
		pl_buf_printf(buf, "X-Request-ID: %s\r\n", context->request_id);
	pl_buf_printf(buf, "X-Plist-Region: %s\r\nCache-Control: no-store\r\nConnection: close\r\n\r\n",
	              context->region);
	pl_buf_add(buf, body.data, body.len);
	pl_buf_fini(&body);
}
