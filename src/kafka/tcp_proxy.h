// A forwarder: listens at one address and passes every connection on to another.
//
// Threads: one of its own.
#pragma once

#include "base/error.h"

struct pl_forward;

// `listen` and `to` are host:port; IPv4 or [IPv6] addresses or names.
struct pl_forward *pl_forward_start(const char *listen, const char *to, struct pl_error *err);
void pl_forward_stop(struct pl_forward **forward);
