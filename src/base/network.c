// See network.h.
#include "base/network.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>

#define V4_BITS 96 // in front of an IPv4 address in its IPv6 form

static const uint8_t v4_prefix[12] = { [10] = 0xff, [11] = 0xff };

bool pl_network_is_v4(const struct pl_address *address)
{
	return memcmp(address->bytes, v4_prefix, sizeof(v4_prefix)) == 0;
}

static void set_v4(struct pl_address *address, const void *four)
{
	memcpy(address->bytes, v4_prefix, sizeof(v4_prefix));
	memcpy(address->bytes + sizeof(v4_prefix), four, 4);
}

int pl_network_parse_address(const char *text, size_t len, struct pl_address *address_r)
{
	char copy[PL_ADDRESS_TEXT_MAX];
	struct in_addr four;

	if (len > 2 && text[0] == '[' && text[len - 1] == ']') {
		text++;
		len -= 2;
	}
	if (len == 0 || len >= sizeof(copy))
		return -1;
	memcpy(copy, text, len);
	copy[len] = '\0';
	if (inet_pton(AF_INET, copy, &four) == 1) {
		set_v4(address_r, &four);
		return 0;
	}
	return inet_pton(AF_INET6, copy, address_r->bytes) == 1 ? 0 : -1;
}

int pl_network_parse(const char *text, struct pl_network *network_r)
{
	const char *slash = strchr(text, '/');
	size_t len = slash ? (size_t)(slash - text) : strlen(text);
	bool v4 = memchr(text, ':', len) == NULL;
	int all = v4 ? 32 : 128, bits = all;

	if (pl_network_parse_address(text, len, &network_r->address) != 0)
		return -1;
	if (slash) {
		size_t digits = strspn(slash + 1, "0123456789");
		if (digits == 0 || digits > 3 || slash[1 + digits] != '\0')
			return -1;
		bits = atoi(slash + 1);
	}
	if (bits > all)
		return -1;
	network_r->bits = v4 ? V4_BITS + bits : bits;
	return 0;
}

bool pl_network_of_peer(const struct sockaddr *peer, struct pl_address *address_r)
{
	struct sockaddr_in four;
	struct sockaddr_in6 six;

	if (!peer)
		return false;
	if (peer->sa_family == AF_INET) {
		memcpy(&four, peer, sizeof(four));
		set_v4(address_r, &four.sin_addr);
	} else if (peer->sa_family == AF_INET6) {
		memcpy(&six, peer, sizeof(six));
		memcpy(address_r->bytes, &six.sin6_addr, sizeof(address_r->bytes));
	} else {
		return false;
	}
	return true;
}

bool pl_network_has(const struct pl_network *network, const struct pl_address *address)
{
	size_t whole = (size_t)network->bits / 8;
	int rest = network->bits % 8;
	uint8_t mask = (uint8_t)(0xff00u >> rest);

	if (memcmp(network->address.bytes, address->bytes, whole) != 0)
		return false;
	return rest == 0 || ((network->address.bytes[whole] ^ address->bytes[whole]) & mask) == 0;
}

bool pl_network_is_loopback(const struct pl_address *address)
{
	static const struct pl_address six = { { [15] = 1 } };

	return pl_network_is_v4(address) ? address->bytes[12] == 127
	                                 : memcmp(address, &six, sizeof(six)) == 0;
}

char *pl_network_format(const struct pl_address *address, char text[PL_ADDRESS_TEXT_MAX])
{
	if (pl_network_is_v4(address))
		inet_ntop(AF_INET, address->bytes + sizeof(v4_prefix), text, PL_ADDRESS_TEXT_MAX);
	else
		inet_ntop(AF_INET6, address->bytes, text, PL_ADDRESS_TEXT_MAX);
	return text;
}
