// An exchange: one request and its answer, as a handler sees them. Plain data, made by http/, read and written by script/.
//
// All of it lives in the request's arena.
#pragma once

#include "base/json.h"
#include "base/mem.h"
#include "base/sha256.h"
#include "config/config.h"
#include "record/record.h"
#include "record/store.h"

struct pl_param { const char *name, *value; struct pl_param *next; };

struct pl_header { const char *name, *value; struct pl_header *next; };

struct pl_request {
	struct pl_arena *arena;
	const struct pl_config *config;   // the one it began with
	const struct pl_route *route;
	const char *method, *target;      // target as received: path and query
	const char *region_prefix;        // "us" of /us/…; NULL on a path without one
	struct pl_param *params;          // of the path: id → "7" (decoded)
	struct pl_param *query;           // decoded, in order
	const struct pl_header *headers;
	cJSON *body;                      // NULL when there was none
	const char *body_text;            // what it was parsed from; lives as long as it
	size_t body_len;
	const char *request_id;           // "" when the route needs none and none came
	const char *principal;            // "" = none
	uint8_t fingerprint[PL_SHA256_SIZE];
	bool has_if_match, etag_any, etag_never;
	struct pl_vector if_match;
	const char *traceparent;
	int64_t deadline_us;              // pl_mono_us
};

// An error as RFC 9457 shows it.
struct pl_problem {
	int status;
	const char *title;     // "Conflict: version mismatch"
	const char *detail;    // a sentence, or NULL
	const char *error;     // the member that older clients read; NULL = the title
	const struct pl_record *current; // → current_version, current_etag; or NULL
	int retryable;         // -1 not said, 0, 1
	int retry_after_s;     // 0 = no header
	const struct pl_fault *faults; // → errors[]
	const cJSON *extra;    // more members from a handler, or NULL
};

struct pl_answer {
	int status;                     // 0 = none yet
	struct pl_buf body;             // JSON; empty = no body
	const char *content_type;       // NULL = application/json
	struct pl_header *headers;      // in the request's arena
	const struct pl_problem *problem; // set instead of a body; http/problem prints it
};

// The problem that an outcome of the store is answered with; the one place where outcomes become statuses. NULL for DONE and
// for REMEMBERED under `replay`.
const struct pl_problem *pl_problem_of_write(struct pl_arena *arena, const struct pl_write *write, const struct pl_route *route);
const struct pl_problem *pl_problem_of_error(struct pl_arena *arena, const struct pl_error *err); // 503, 504, 500, …
struct pl_problem *pl_problem_new(struct pl_arena *arena, int status, const char *title);
const struct pl_problem *pl_problem_not_found(struct pl_arena *arena, const struct pl_resource *resource); // 404
const struct pl_problem *pl_problem_of_faults(struct pl_arena *arena, const struct pl_fault *faults);      // 400; at least one
