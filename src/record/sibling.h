// Siblings: concurrent writes of one record; what a policy is asked about them, and its
// verdict. Plain data.
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "record/vector.h"

// One of the concurrent rows, in canonical order.
struct pl_sibling {
	struct pl_dot dot;
	struct pl_vector vector; // the writes that this one had seen, and itself
	int64_t updated_at_us;
	bool deleted;
	const char **values;        // resource->nfields texts
	const char *unknown;        // JSON of the fields that this daemon does not know, or NULL
	const char *field_times;    // JSON {field: {"at": µs, "origin": region}}, or NULL
	const char *request_id;     // or NULL
	const char *principal;      // "" = none
	const uint8_t *fingerprint; // PL_SHA256_SIZE bytes, or NULL
};

// What a policy is asked.
struct pl_policy_question {
	const struct pl_resource *resource;
	int64_t id;
	const struct pl_sibling *rows;
	int n;
};

struct pl_verdict {
	int take;            // index into rows, or -1: merge
	const char **merged; // take == -1: resource->nfields texts
};
