// See address.h.
#include "base/address.h"

#include <stdio.h>
#include <string.h>

int pl_address_split(const char *text, struct pl_address_parts *parts_r)
{
	const char *colon = strrchr(text, ':'), *from = text, *to = colon ? colon : text;
	const char *port = colon ? colon + 1 : text;

	if (!*port || (!colon && port[strspn(port, "0123456789")]))
		return PL_EINVAL;
	if (*from == '[') {
		if (to - from < 2 || to[-1] != ']')
			return PL_EINVAL;
		from++;
		to--;
	}
	*parts_r = (struct pl_address_parts){ from, (size_t)(to - from), port };
	return 0;
}

bool pl_address_same_host(const struct pl_address_parts *a, const struct pl_address_parts *b)
{
	return a->host_len == b->host_len && memcmp(a->host, b->host, a->host_len) == 0;
}

int pl_address_resolve(const char *text, int flags, struct addrinfo **list_r, struct pl_error *err)
{
	struct addrinfo hints = { .ai_socktype = SOCK_STREAM, .ai_flags = flags };
	struct pl_address_parts parts;
	char host[256];
	bool any;
	int failed;

	if (pl_address_split(text, &parts) < 0 || parts.host_len >= sizeof(host))
		return pl_error_set(err, PL_EINVAL, "%s is not an address of the form host:port", text);
	snprintf(host, sizeof(host), "%.*s", (int)parts.host_len, parts.host);
	any = !host[0] || strcmp(host, "*") == 0;
	if (any)
		hints.ai_family = AF_INET;
	failed = getaddrinfo(any ? NULL : host, parts.port, &hints, list_r);
	return failed ? pl_error_set(err, PL_EUNAVAIL, "%s: %s", text, gai_strerror(failed)) : 0;
}
