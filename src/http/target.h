// The target of a request, between the method and the version: split and decoded.
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "base/mem.h"
#include "script/exchange.h"

#define PL_TARGET_MAX   8192 // bytes as received; longer is 414
#define PL_SEGMENTS_MAX 16
#define PL_QUERY_MAX    64 // parameters

struct pl_target {
	bool asterisk; // "*", of OPTIONS
	int nsegments;
	const char *segments
		[PL_SEGMENTS_MAX]; // of the path, decoded; "/us/properties/7" has three, "/" has one, empty
	struct pl_param *query;    // decoded, in order
};

// All strings belong to `arena`. Returns 0, or the status to refuse the request with and
// a sentence in *why_r.
int pl_target_parse(struct pl_arena *arena, const char *raw, size_t len, struct pl_target *target_r,
                    const char **why_r);
