// The control socket: a UNIX socket on which plist-admin sends commands to a running
// daemon, one JSON line in, one JSON line out. A connection may send several.
//
// This is the transport, both ends of it; the commands are in ops/commands.h.
// Threads: the server has a thread of its own; the client function may be called from
// any.
#pragma once

#include <stdbool.h>
#include <sys/types.h>

#include "base/buf.h"
#include "base/error.h"
#include "base/json.h"

#define PL_CONTROL_LINE_MAX (2 << 20) // bytes of a request, which may carry a policy

struct pl_control;

// Who is at the other end, as the kernel says.
struct pl_control_peer {
	bool known;
	uid_t uid;
	gid_t gid;
	pid_t pid;
	int ngroups;
	gid_t *groups; // besides gid
};

// Answers one request: appends the members of the answer (ops/members.h) to `members`, or
// returns a code and sets *err. Runs in the thread of the server.
typedef int pl_control_fn(const cJSON *request, const struct pl_control_peer *peer, struct pl_buf *members,
                          struct pl_error *err, void *arg);

// Listens on `path` with this mode. A socket file that a dead daemon left behind is
// replaced; if another process still listens on it, that is an error.
struct pl_control *pl_control_start(const char *path, mode_t mode, pl_control_fn *fn, void *arg,
                                    struct pl_error *err);
void pl_control_stop(struct pl_control **control_p);

// The client: sends `request`, one line of JSON, and waits for the answer. Returns 0 and
// *answer_r, which the caller frees with cJSON_Delete, even if the answer says
// "ok":false. PL_EUNAVAIL if nothing listens on `path`, PL_ETIMEOUT, PL_EINVAL if the
// path is too long or the answer is not JSON.
int pl_control_ask(const char *path, const char *request, int64_t timeout_us, cJSON **answer_r,
                   struct pl_error *err);
