// Problems: errors as clients see them, RFC 9457 and the members that plist adds.
#pragma once

#include "base/buf.h"
#include "script/exchange.h"

// followed by the title in small letters: "conflict-version-mismatch"
#define PL_PROBLEM_TYPE "urn:plist:problem:"

// Appends {"type","title","status","detail","instance","error",…}. `request_id` becomes
// part of the instance.
void pl_problem_print(struct pl_buf *buf, const struct pl_problem *problem, const char *request_id);

// The reason phrase of a status, such as "Not Found"; "Error" for an unknown one.
const char *pl_problem_status_phrase(int status);
