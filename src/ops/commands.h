// The commands of the control socket, as plist-admin sends them to a running daemon.
//
// One JSON line in, one JSON line out. A request is {"command":"NAME",…}; the answer is
// {"ok":true,…} or {"ok":false,"error":"a sentence",…}. Members besides those:
//
// Each command is for operators, or for viewers as well: see ops/operators.h. What an
// operator does is logged.
//
//   lag        "lag": the same as GET /:region/replication-lag
//   metrics    "text": the same as GET /metrics
//   status     everything that the daemon knows about itself: see ops/status.c
//   policies   "policies":[{"resource","path","name","doc","sha256","shadow"}]
//   reload     like SIGHUP, but waits for the outcome: "warnings":[…],
//              "restart_keys":[…], "sha256"; or "problems":[…]
//   activate   takes "resource", "path" and "text", and puts that policy in force until
//              the next reload: "name", "sha256", "was":{"path","name","sha256"}, "yaml",
//              "yaml_policy", "lua", "lasts"; or "problems":[…]. How far re-resolving has
//              come is in "status", under "apply": "reresolve"
//   log-level  takes "level": in force until the next reload
#pragma once

#include "ops/control.h"
#include "ops/daemon.h"

// Listens on the region's control socket. Returns NULL if none is configured, or after
// logging why it failed: the daemon serves requests without one, too.
struct pl_control *pl_commands_listen(struct pl_daemon *daemon);
