// Addresses of the Internet and networks of them ("10.0.0.0/8", "::1").
//
// IPv4 addresses are kept in their IPv6 form (::ffff:a.b.c.d), so that there is one kind.
// Threads: any; no state.
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

struct pl_address {
	uint8_t bytes[16];
};

struct pl_network {
	struct pl_address address;
	int bits; // of the address that count: 0 to 128
};

#define PL_ADDRESS_TEXT_MAX 46

// Reads "192.0.2.1", "2001:db8::1" or, with brackets, "[::1]"; `len` bytes. 0 or -1.
int pl_network_parse_address(const char *text, size_t len, struct pl_address *address_r);
// Reads an address, or one with the number of bits that count: "10.0.0.0/8". 0 or -1.
int pl_network_parse(const char *text, struct pl_network *network_r);
// The address of a peer; false if it has none (a UNIX socket).
bool pl_network_of_peer(const struct sockaddr *peer, struct pl_address *address_r);

bool pl_network_has(const struct pl_network *network, const struct pl_address *address);
bool pl_network_is_v4(const struct pl_address *address);
bool pl_network_is_loopback(const struct pl_address *address);
// "192.0.2.1", "2001:db8::1". Returns text.
char *pl_network_format(const struct pl_address *address, char text[PL_ADDRESS_TEXT_MAX]);
