// Network addresses as text: "host:port", an IPv6 host in brackets.
//
// Threads: any; no state.
#pragma once

#include <netdb.h>
#include <stdbool.h>
#include <stddef.h>

#include "base/error.h"

// The parts of an address; they point into its text.
struct pl_address_parts {
	const char *host; // without brackets
	size_t host_len;  // 0: there is no host
	const char *port; // after the last colon; the whole text if it has none
};

// 0, or PL_EINVAL and *parts_r unchanged: brackets do not match, or the port is missing.
// A number alone is a port.
int pl_address_split(const char *text, struct pl_address_parts *parts_r);
bool pl_address_same_host(const struct pl_address_parts *a, const struct pl_address_parts *b);

// Looks up an address for a stream socket; the caller frees *list_r with freeaddrinfo.
// Without a host, or with "*", it means all IPv4 addresses if `flags` has AI_PASSIVE.
// 0, or a negative code with err: PL_EINVAL if the text is not host:port, else
// PL_EUNAVAIL.
int pl_address_resolve(const char *text, int flags, struct addrinfo **list_r, struct pl_error *err);
