// Conditions of a request: If-Match and If-None-Match.
#pragma once

#include <stdbool.h>

#include "record/vector.h"

// What If-Match asks for. A weak tag, or one that is none of ours, can match nothing and is passed over; if nothing else is there, `never`.
struct pl_if_match {
	bool given, any, never;
	struct pl_vector vector;
};

// 0; -1 with a sentence in *why_r when it is malformed or names more than one version of ours.
int pl_if_match_parse(const char *value, struct pl_if_match *if_match_r, const char **why_r);

// Whether If-None-Match (NULL = not given) holds the tag, or is "*": compared weakly, as for reads. A malformed list holds nothing.
bool pl_if_none_match_has(const char *value, const char *etag);
