// Listening sockets.
#pragma once

#include "base/error.h"

// A socket that listens on "host:port", "[::1]:port" or "port", not blocking, with SO_REUSEPORT: each worker has its own and the kernel
// deals connections out among them. The descriptor, or a negative code.
int pl_bind_listen(const char *address, struct pl_error *err);

// Whether the address is free of others: because of SO_REUSEPORT a second daemon on it would not be noticed otherwise. 0 or PL_EUNAVAIL.
int pl_bind_probe(const char *address, struct pl_error *err);
