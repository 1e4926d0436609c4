// Conditions of a request: If-Match and If-None-Match.
#pragma once

#include <stdbool.h>

#include "base/mem.h"
#include "script/exchange.h"

#define PL_IF_MATCH_MAX 32

// What If-Match asks for. Weak tags, and tags that are not versions of ours, match
// nothing and are skipped; if there are no others, `never` is set.
struct pl_if_match {
	bool given, any, never;
	struct pl_vector vector;
	struct pl_tag *
		// further versions, all different, in the arena: the condition holds if
		// any of them matches (RFC 9110, 13.1.1)
		others;
};

// Returns 0, or -1 with a sentence in *why_r if the header is malformed or names more
// than PL_IF_MATCH_MAX versions.
int pl_condition_if_match(struct pl_arena *arena, const char *value, struct pl_if_match *if_match_r,
                          const char **why_r);

// Whether If-None-Match (NULL if not given) contains the tag or is "*". The comparison is
// weak, as for reads. A malformed list contains nothing.
bool pl_condition_if_none_match(const char *value, const char *etag);
