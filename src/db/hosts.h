// The servers that a connection string names, to be tried one after the other, each
// with its own time limit.
//
// libpq can iterate over hosts itself, but PQconnectPoll has no time limit per host: a
// first host that accepts and sends nothing, or whose network drops packets, uses up
// the caller's deadline, and the next attempt begins with the same host. Used by
// db/dial.
// Threads: any.
#pragma once

#include <stdbool.h>

#include "base/error.h"

#define PL_HOSTS_MAX 32

struct pl_host {
	char *host, *address, *port; // libpq's host, hostaddr and port; "" is libpq's default
};

struct pl_hosts {
	int n;
	struct pl_host each[PL_HOSTS_MAX];
	// target_session_attrs=prefer-standby: look for a standby first, then accept
	// any server
	bool prefer_standby;
};

// As given by the string, its service file and the environment. n is 0 if libpq cannot
// parse the string or the lists do not match; connecting with the string unchanged then
// reports the error.
void pl_hosts_read(struct pl_hosts *hosts, const char *dsn);
// The addresses of a host as texts, in the resolver's order; blocks as long as the
// resolver does. Returns how many, or 0 with err. For a host that is an address or a
// socket directory, returns 1 with "" as its address.
int pl_hosts_resolve(const struct pl_host *host, char addresses_r[][64], int max, struct pl_error *err);
void pl_hosts_free(struct pl_hosts *hosts);

// Hosts that did not respond recently are tried after the others, so that a silent host
// does not delay each connection.
void pl_hosts_note(const struct pl_host *host, bool silent);
void pl_hosts_order(struct pl_hosts *hosts);
