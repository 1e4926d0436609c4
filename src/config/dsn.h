// Compares and checks connection strings of libpq.
//
// Threads: any.
#pragma once

#include <stdbool.h>
#include <stddef.h>

// Whether both connect to the same database as the same user: they may differ in
// passwords and other credentials, and in timeouts. False if libpq cannot parse one of
// them.
bool pl_dsn_same_place(const char *a, const char *b);
// Whether a connection may leave this machine although nothing verifies that it reaches
// the right server: a host that is neither a socket nor a loopback address, with an
// sslmode other than verify-full. Then the first such host is in `host`.
bool pl_dsn_is_unverified(const char *dsn, char *host, size_t size);
// Whether libpq would refuse the string before it connects: hosts, addresses and ports
// that do not match, a port or timeout that is not a number, an unknown sslmode. Then the
// reason is in `fault`, without any value of the string. A string that cannot be parsed
// has none here.
bool pl_dsn_has_fault(const char *dsn, char *fault, size_t size);
// Whether a string that libpq can parse contains a password, or that of a private key.
bool pl_dsn_has_password(const char *dsn);
// Reads a connection string from a file, without the newline at its end. Returns
// malloc-ed text, or NULL if the file cannot be read.
char *pl_dsn_read_file(const char *path);
