// Listening sockets.
#pragma once

#include "base/error.h"

// Opens a non-blocking socket that listens on "host:port", "[::1]:port" or "port", with
// SO_REUSEPORT: each worker has its own, and the kernel distributes connections among
// them. Returns the descriptor, or a negative code.
int pl_bind_listen(const char *address, struct pl_error *err);

// Lets no new connection begin: handshakes in progress can finish, and other clients
// retry in a second and find another listener, or none. Closing the socket at once would
// reset clients that already count as connected.
void pl_bind_refuse_new(int fd);

// Checks that the address is not in use: with SO_REUSEPORT, a second daemon on it would
// go unnoticed. Returns 0 or PL_EUNAVAIL.
int pl_bind_probe(const char *address, struct pl_error *err);
