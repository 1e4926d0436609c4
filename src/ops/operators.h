// Operators: what a user of this machine may do over the control socket, and the audit
// lines in the log about what operators did.
//
// Threads: any.
#pragma once

#include "config/config.h"
#include "ops/control.h"

enum pl_operator_role {
	PL_OPERATOR_NONE,
	PL_OPERATOR_VIEWER, // looks: status, lag, metrics
	PL_OPERATOR_FULL,   // changes something as well
};

// The role of a peer: root and the user of the daemon may do everything, others what
// control.operators and control.viewers say.
enum pl_operator_role pl_operators_role(const struct pl_config *config, const struct pl_control_peer *peer);

// Logs what somebody did: "audit: anna (uid 1000, pid 7) over the control socket: reload:
// done". `failure` NULL: it was done; else why it was not.
void pl_operators_audit(const struct pl_control_peer *peer, const char *way, const char *what,
                        const char *failure);
