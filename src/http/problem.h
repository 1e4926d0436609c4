// Problems: errors as clients see them, RFC 9457 and the members that plist adds.
#pragma once

#include "base/buf.h"
#include "script/exchange.h"

#define PL_PROBLEM_TYPE "urn:plist:problem:" // followed by the title in small letters: "conflict-version-mismatch"

// {"type","title","status","detail","instance","error",…}, appended. `request_id` makes the instance.
void pl_problem_print(struct pl_buf *buf, const struct pl_problem *problem, const char *request_id);

// The phrase of a status, "Not Found"; "Error" for one that has none.
const char *pl_status_phrase(int status);
