// An exchange: one request and its answer, as a handler sees them. Plain data that http/
// makes and script/ fills in. All of it is in the request's arena.
#pragma once

#include "base/json.h"
#include "base/mem.h"
#include "base/sha256.h"
#include "config/config.h"
#include "record/record.h"
#include "seen/seen.h"
#include "store/store.h"

struct pl_param {
	const char *name, *value;
	struct pl_param *next;
};

struct pl_header {
	const char *name, *value;
	struct pl_header *next;
};

// An entity tag of ours that If-Match names.
struct pl_tag {
	struct pl_vector vector;
	struct pl_tag *next;
};
struct pl_problem;

struct pl_request {
	struct pl_arena *arena;
	const struct pl_config *config; // the one in force when it began
	const struct pl_route *route;
	const char *method, *target; // target as received: path and query
	const char *region_prefix;   // "us" of /us/…; NULL on a path without one
	struct pl_param *params;     // of the path: id → "7" (decoded)
	struct pl_param *query;      // decoded, in order
	const struct pl_header *headers;
	cJSON *body;           // NULL when there was none
	const char *body_text; // the text it was parsed from
	size_t body_len;
	const char *request_id;     // "" if the client sent none and the route needs none
	const char *echo_id;        // X-Request-ID of its answer; NULL outside of http/
	const char *region;         // ours; NULL in tests
	const struct pl_seen *seen; // what the client's tokens name; NULL: it sent none
	const char *principal;      // "" = none
	int nroles;
	const char *const *roles; // of the principal
	uint8_t fingerprint[PL_SHA256_SIZE];
	bool has_if_match, etag_any, etag_never;
	struct pl_vector if_match;
	const struct pl_tag
		*if_match_others; // further tags of ours that If-Match names: any of them matches, too
	const char *traceparent;
	int64_t deadline_us; // pl_mono_us
	// How http/ prints a problem: an answer is remembered as it is sent.
	void (*print_problem)(struct pl_buf *buf, const struct pl_problem *problem, const char *request_id);
};

// An error as RFC 9457 shows it.
struct pl_problem {
	int status;
	const char *title;               // "Conflict: version mismatch"
	const char *detail;              // a sentence, or NULL
	const char *error;               // the member `error`, for older clients; NULL = the title
	const struct pl_record *current; // → current_version, current_etag; or NULL
	int retryable;                   // -1 = not stated, 0, 1
	int retry_after_s;               // 0 = no header
	bool not_executed;               // certainly nothing was written: X-Plist-Executed: no
	const struct pl_fault *faults;   // → errors[]
	const cJSON *extra;              // more members from a handler, or NULL
	const struct pl_header *headers; // of the answer
};

struct pl_answer {
	int status;                       // 0 = none yet
	struct pl_buf body;               // JSON; empty = no body
	const char *content_type;         // NULL = application/json
	struct pl_header *headers;        // in the request's arena
	const struct pl_problem *problem; // set instead of a body; http/problem prints it
	bool not_executed;                // as in struct pl_problem, for an answer without one
};

// Whether a failure means that nothing was executed and that another region may succeed.
// PL_EUNKNOWN never does.
bool pl_exchange_executes_nothing(const struct pl_error *err);
// The problem for an outcome of the store. NULL for DONE, and for REMEMBERED if the route
// replays answers.
const struct pl_problem *pl_exchange_problem_of_write(struct pl_arena *arena, const struct pl_write *write,
                                                      const struct pl_route *route);
const struct pl_problem *pl_exchange_problem_of_error(struct pl_arena *arena,
                                                      const struct pl_error *err); // 503, 504, 500, …
struct pl_problem *pl_exchange_problem_new(struct pl_arena *arena, int status, const char *title);
const struct pl_problem *pl_exchange_problem_not_found(struct pl_arena *arena,
                                                       const struct pl_resource *resource); // 404
const struct pl_problem *pl_exchange_problem_of_faults(struct pl_arena *arena,
                                                       const struct pl_fault *faults); // 400; at least one
