// The operators' socket: a UNIX socket on which plist-admin asks a running daemon, one JSON line in, one JSON line out.
//
// Requests, and the members of their answers beside "ok":
//   {"command":"status"}                       all that the daemon knows of itself; see ops/status.c
//   {"command":"reload"}                       as SIGHUP, but waits for the outcome: "warnings":[…], "restart_keys":[…], "sha256"; or "problems":[…]
//   {"command":"log-level","level":"debug"}    until the next reload that changes log.level
//   {"command":"policies"}                     "policies":[{"resource","path","name","doc","sha256","shadow"}]
//   {"command":"activate",                     puts a policy in force until the next reload: "name","sha256","was":{"path","name","sha256"},
//    "resource":"properties","path":"policies/x.lua",   "yaml","yaml_policy","lua","lasts"; or "problems":[…]. What is to be shown anew then is in
//    "text":"…"}                                        "status", under "apply": "anew":{"pending","total","seen","changed"}
// An answer is {"ok":true,…} or {"ok":false,"error":"a sentence",…}. A connection may ask several times.
//
// Threads: a thread of its own for the server; the client function may be called from any.
#pragma once

#include "base/buf.h"
#include "base/error.h"
#include "base/json.h"

#define PL_CONTROL_LINE_MAX (2 << 20) // bytes of a request: it may carry a policy

struct pl_control;

// Answers one request: appends the answer's members, from `,"x":1,…` on, to `members`, or returns a code with *err filled in.
typedef int pl_control_fn(const cJSON *request, struct pl_buf *members, struct pl_error *err, void *arg);

// Listens on `path` with mode 0600. A socket that is left over from a daemon that is gone is replaced; one that is answered is an error.
struct pl_control *pl_control_start(const char *path, pl_control_fn *fn, void *arg, struct pl_error *err);
void pl_control_stop(struct pl_control **control);

// The client's side: sends `request` (one line of JSON), waits for the answer. 0 with *answer_r, to be freed with cJSON_Delete, also when it says
// "ok":false; PL_EUNAVAIL when nobody listens there, PL_ETIMEOUT, PL_EINVAL for a path that is too long or an answer that is no JSON.
int pl_control_ask(const char *path, const char *request, int64_t timeout_us, cJSON **answer_r, struct pl_error *err);
