// The one list of reserved headers.
//
// script/answer refuses these headers from handlers, http/response omits them, and the
// check of the configuration refuses those that cannot carry an id or a principal. A
// header that frames a message or belongs to one connection is reserved for all uses.
// Threads: any.
#include "config/reserved.h"

#include <stddef.h>
#include <strings.h>

#define ALL (PL_RESERVED_ANSWER | PL_RESERVED_REQUEST)

static const struct {
	const char *name;
	int uses;
} list[] = {
	// Headers that frame a message or belong to one hop.
	{ "Connection", ALL },
	{ "Content-Length", ALL },
	{ "Expect", ALL },
	{ "HTTP2-Settings", ALL },
	{ "Keep-Alive", ALL },
	{ "Proxy-Connection", ALL },
	{ "TE", ALL },
	{ "Trailer", ALL },
	{ "Transfer-Encoding", ALL },
	{ "Upgrade", ALL },
	{ "Host", ALL },
	{ "Date", ALL },
	// Headers that plist sets in every answer, or in repeated ones.
	{ "Idempotent-Replayed", ALL },
	{ "Plist-Session", ALL },
	{ "X-Plist-Executed", ALL },
	{ "X-Plist-Next", ALL },
	{ "X-Plist-Region", ALL },
	{ "X-Request-ID", PL_RESERVED_ANSWER | PL_RESERVED_PRINCIPAL },
	// Headers that browsers and proxies send with one value in all requests: as a
	// request id it would make every write a retry of the first.
	{ "Baggage", PL_RESERVED_ID },
	{ "DNT", PL_RESERVED_ID },
	{ "From", PL_RESERVED_ID },
	{ "Priority", PL_RESERVED_ID },
	{ "Save-Data", PL_RESERVED_ID },
	{ "Upgrade-Insecure-Requests", PL_RESERVED_ID },
	{ "X-Real-IP", PL_RESERVED_ID },
	{ "X-Requested-With", PL_RESERVED_ID },
	// Headers with a meaning of their own in a request: content, negotiation,
	// conditions or credentials.
	{ "Accept", PL_RESERVED_REQUEST },
	{ "Accept-Charset", PL_RESERVED_REQUEST },
	{ "Accept-Encoding", PL_RESERVED_REQUEST },
	{ "Accept-Language", PL_RESERVED_REQUEST },
	{ "Allow", PL_RESERVED_REQUEST },
	{ "Authorization", PL_RESERVED_REQUEST },
	{ "Cache-Control", PL_RESERVED_REQUEST },
	{ "Content-Encoding", PL_RESERVED_REQUEST },
	{ "Content-Language", PL_RESERVED_REQUEST },
	{ "Content-Location", PL_RESERVED_REQUEST },
	{ "Content-Range", PL_RESERVED_REQUEST },
	{ "Content-Type", PL_RESERVED_REQUEST },
	{ "Cookie", PL_RESERVED_REQUEST },
	{ "ETag", PL_RESERVED_REQUEST },
	{ "Forwarded", PL_RESERVED_REQUEST },
	{ "If-Match", PL_RESERVED_REQUEST },
	{ "If-Modified-Since", PL_RESERVED_REQUEST },
	{ "If-None-Match", PL_RESERVED_REQUEST },
	{ "If-Range", PL_RESERVED_REQUEST },
	{ "If-Unmodified-Since", PL_RESERVED_REQUEST },
	{ "Link", PL_RESERVED_REQUEST },
	{ "Location", PL_RESERVED_REQUEST },
	{ "Max-Forwards", PL_RESERVED_REQUEST },
	{ "Origin", PL_RESERVED_REQUEST },
	{ "Pragma", PL_RESERVED_REQUEST },
	{ "Proxy-Authorization", PL_RESERVED_REQUEST },
	{ "Range", PL_RESERVED_REQUEST },
	{ "RateLimit-Limit", PL_RESERVED_REQUEST },
	{ "RateLimit-Remaining", PL_RESERVED_REQUEST },
	{ "RateLimit-Reset", PL_RESERVED_REQUEST },
	{ "Referer", PL_RESERVED_REQUEST },
	{ "Retry-After", PL_RESERVED_REQUEST },
	{ "Server", PL_RESERVED_REQUEST },
	{ "Set-Cookie", PL_RESERVED_REQUEST },
	{ "Traceparent", PL_RESERVED_REQUEST },
	{ "Tracestate", PL_RESERVED_REQUEST },
	{ "User-Agent", PL_RESERVED_REQUEST },
	{ "Vary", PL_RESERVED_REQUEST },
	{ "Via", PL_RESERVED_REQUEST },
	{ "WWW-Authenticate", PL_RESERVED_REQUEST },
	{ "X-Forwarded-For", PL_RESERVED_REQUEST },
	{ "X-Forwarded-Host", PL_RESERVED_REQUEST },
	{ "X-Forwarded-Proto", PL_RESERVED_REQUEST },
	{ "X-Plist-Certificate-Ends", PL_RESERVED_REQUEST },
	{ "X-Plist-Client-Certificate", PL_RESERVED_REQUEST },
};

bool pl_reserved_has(const char *name, enum pl_reserved_use use)
{
	for (size_t i = 0; i < sizeof(list) / sizeof(list[0]); i++)
		if ((list[i].uses & (int)use) && strcasecmp(list[i].name, name) == 0)
			return true;
	return strncasecmp(name, "X-Accel-", 8) == 0; // NGINX obeys them
}
