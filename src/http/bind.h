// Listening sockets.
#pragma once

#include "base/error.h"

// A socket that listens on "host:port", "[::1]:port" or "port", not blocking, with SO_REUSEPORT: each worker has its own and the kernel
// deals connections out among them. The descriptor, or a negative code.
int pl_bind_listen(const char *address, struct pl_error *err);

// From now on nobody new begins to connect: who has begun already may finish, others ask again in a second and find the door closed or another
// one open. Closing the socket at once would cut off those who think that they are connected.
void pl_bind_refuse_new(int fd);

// Whether the address is free of others: because of SO_REUSEPORT a second daemon on it would not be noticed otherwise. 0 or PL_EUNAVAIL.
int pl_bind_probe(const char *address, struct pl_error *err);
