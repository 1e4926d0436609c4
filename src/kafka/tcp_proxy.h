// A TCP proxy: listens at one address and forwards every connection to another.
//
// Threads: one of its own.
#pragma once

#include "base/error.h"

struct pl_tcp_proxy;

// `listen` and `to` are host:port; IPv4 or [IPv6] addresses or names.
struct pl_tcp_proxy *pl_tcp_proxy_start(const char *listen, const char *to, struct pl_error *err);
void pl_tcp_proxy_stop(struct pl_tcp_proxy **proxy_p);
