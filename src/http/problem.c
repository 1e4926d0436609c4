// Problems as application/problem+json: type, title, status, detail, instance, and
// `error` for older clients of plist.
//
// script/exchange decides what a problem says; this is how it is written.
// Invariant: members that a handler adds cannot replace those of RFC 9457 and of plist.
// Threads: any.
#include "http/problem.h"

#include <ctype.h>
#include <microhttpd.h>
#include <stdlib.h>
#include <string.h>

#include "record/vector.h"

static const char *const members[] = { "type",  "title",           "status",       "detail",    "instance",
	                               "error", "current_version", "current_etag", "retryable", "errors",
	                               NULL };

const char *pl_problem_status_phrase(int status)
{
	const char *phrase = status > 0 ? MHD_get_reason_phrase_for((unsigned)status) : NULL;
	return phrase && strcmp(phrase, "Unknown") != 0 ? phrase : "Error";
}

static void member(struct pl_buf *buf, const char *name, const char *text)
{
	pl_buf_printf(buf, "\"%s\":", name);
	pl_buf_add_json(buf, text, strlen(text));
	pl_buf_addc(buf, ',');
}

// A title that only repeats the status does not need a type (RFC 9457, 4.2.1).
static void print_type(struct pl_buf *buf, const char *title, int status)
{
	if (strcmp(title, pl_problem_status_phrase(status)) == 0) {
		pl_buf_adds(buf, "\"type\":\"about:blank\",");
		return;
	}
	pl_buf_adds(buf, "\"type\":\"" PL_PROBLEM_TYPE);
	bool gap = false, any = false;
	for (const char *c = title; *c; c++) {
		if (isalnum((unsigned char)*c)) {
			if (gap && any)
				pl_buf_addc(buf, '-');
			pl_buf_addc(buf, (char)tolower((unsigned char)*c));
			any = true;
		}
		gap = !isalnum((unsigned char)*c);
	}
	pl_buf_adds(buf, "\",");
}

static void print_faults(struct pl_buf *buf, const struct pl_fault *faults)
{
	pl_buf_adds(buf, "\"errors\":[");
	for (const struct pl_fault *fault = faults; fault; fault = fault->next) {
		pl_buf_adds(buf, fault == faults ? "{\"pointer\":" : ",{\"pointer\":");
		pl_buf_add_json(buf, fault->pointer, strlen(fault->pointer));
		pl_buf_adds(buf, ",\"detail\":");
		pl_buf_add_json(buf, fault->detail, strlen(fault->detail));
		pl_buf_addc(buf, '}');
	}
	pl_buf_adds(buf, "],");
}

static bool is_ours(const char *name)
{
	for (const char *const *m = members; *m; m++)
		if (strcmp(*m, name) == 0)
			return true;
	return false;
}

static void print_extra(struct pl_buf *buf, const cJSON *extra)
{
	const cJSON *item;
	cJSON_ArrayForEach (item, extra) {
		if (!item->string || is_ours(item->string))
			continue;
		pl_buf_add_json(buf, item->string, strlen(item->string));
		pl_buf_addc(buf, ':');
		pl_json_print(buf, item);
		pl_buf_addc(buf, ',');
	}
}

void pl_problem_print(struct pl_buf *buf, const struct pl_problem *problem, const char *request_id)
{
	const char *title = problem->title ? problem->title : pl_problem_status_phrase(problem->status);
	pl_buf_addc(buf, '{');
	print_type(buf, title, problem->status);
	member(buf, "title", title);
	pl_buf_printf(buf, "\"status\":%d,", problem->status);
	member(buf, "detail", problem->detail ? problem->detail : title);
	// A request id has no character that needs escaping.
	pl_buf_printf(buf, "\"instance\":\"urn:plist:request:%s\",",
	              request_id && *request_id ? request_id : "unknown");
	member(buf, "error", problem->error ? problem->error : title);
	if (problem->current) {
		char etag[PL_ETAG_MAX];
		pl_buf_printf(buf, "\"current_version\":%d,", (int)problem->current->version);
		member(buf, "current_etag", pl_vector_etag(&problem->current->vector, etag));
	}
	if (problem->retryable >= 0)
		pl_buf_adds(buf, problem->retryable ? "\"retryable\":true," : "\"retryable\":false,");
	if (problem->faults)
		print_faults(buf, problem->faults);
	if (cJSON_IsObject(problem->extra))
		print_extra(buf, problem->extra);
	buf->data[buf->len - 1] = '}'; // replaces the last comma
}
