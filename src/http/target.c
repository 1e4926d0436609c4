// The target of a request, split into path segments and query parameters, each decoded
// separately.
//
// Between http/raw and http/router. The decoding of libmicrohttpd is not used: it decodes
// before it splits, and cuts at "%00".
// Invariant: the result is UTF-8 without control characters, so it can be logged, stored
// and sent in a header.
// Threads: any.
#include "http/target.h"

#include <string.h>
#include <strings.h>

#include "base/hex.h"
#include "base/utf8.h"

#define BAD      400
#define TOO_LONG 414

// Decodes %XX, and plus signs in a query. Returns NULL with *why_r if the text is not
// allowed.
static char *decode(struct pl_arena *arena, const char *s, size_t len, bool query, const char **why_r)
{
	char *text = pl_arena_alloc(arena, len + 1);
	size_t n = 0;
	for (size_t i = 0; i < len; i++) {
		char c = s[i];
		if (c == '%') {
			int byte = i + 2 < len ? pl_hex_byte(s + i + 1) : -1;
			if (byte < 0) {
				*why_r = "the target contains a % that is not followed by two hexadecimal "
					 "digits";
				return NULL;
			}
			c = (char)byte;
			i += 2;
		} else if (c == '+' && query)
			c = ' ';
		if ((unsigned char)c < 0x20 || c == 0x7f) {
			*why_r = "the target contains an encoded control character";
			return NULL;
		}
		text[n++] = c;
	}
	text[n] = '\0';
	if (!pl_utf8_valid(text, n)) {
		*why_r = "the target is not UTF-8";
		return NULL;
	}
	return text;
}

static int parse_path(struct pl_arena *arena, const char *path, size_t len, struct pl_target *target,
                      const char **why_r)
{
	const char *end = path + len;
	for (const char *at = path + 1;;) {
		const char *slash = memchr(at, '/', (size_t)(end - at));
		const char *stop = slash ? slash : end;
		if (target->nsegments == PL_SEGMENTS_MAX) {
			*why_r = "the path has too many segments";
			return BAD;
		}
		const char *segment = decode(arena, at, (size_t)(stop - at), false, why_r);
		if (!segment)
			return BAD;
		target->segments[target->nsegments++] = segment;
		if (!slash)
			return 0;
		at = slash + 1;
	}
}

// Adds one parameter, "name=value" or "name", at *tail.
static int add_param(struct pl_arena *arena, const char *text, size_t len, struct pl_param ***tail,
                     const char **why_r)
{
	const char *equals = memchr(text, '=', len), *end = text + len;
	struct pl_param *param = pl_arena_alloc(arena, sizeof(*param));
	param->name = decode(arena, text, (size_t)((equals ? equals : end) - text), true, why_r);
	param->value = equals ? decode(arena, equals + 1, (size_t)(end - equals - 1), true, why_r) : "";
	if (!param->name || !param->value)
		return BAD;
	**tail = param;
	*tail = &param->next;
	return 0;
}

// Empty parameters have no meaning, but they count: parsing each of them takes time.
static int parse_query(struct pl_arena *arena, const char *query, size_t len, struct pl_target *target,
                       const char **why_r)
{
	struct pl_param **tail = &target->query;
	const char *end = query + len;
	int n = 0;
	for (const char *at = query; at < end;) {
		const char *amp = memchr(at, '&', (size_t)(end - at));
		const char *stop = amp ? amp : end;
		if (++n > PL_QUERY_MAX) {
			*why_r = "the query has too many parameters";
			return BAD;
		}
		if (stop > at && add_param(arena, at, (size_t)(stop - at), &tail, why_r) != 0)
			return BAD;
		at = stop + 1;
	}
	return 0;
}

// The authority of an absolute target: a host name or address, optionally with a port,
// without a user name. Ends where the path or the query begins.
static size_t authority_len(const char *at, size_t len)
{
	static const char allowed[] =
		"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._~:[]%!$&'()*+,;=";
	size_t n = 0;
	while (n < len && at[n] && strchr(allowed, at[n]))
		n++;
	return n > 0 && at[0] != ':' && (n == len || at[n] == '/' || at[n] == '?') ? n : 0;
}

// Clients may send "http://host/path", too (RFC 9112, 3.2.2); we use what follows the
// host. NULL if the target is neither that nor a path.
static const char *skip_authority(const char *raw, size_t len)
{
	size_t scheme = len >= 7 && strncasecmp(raw, "http://", 7) == 0    ? 7
	                : len >= 8 && strncasecmp(raw, "https://", 8) == 0 ? 8
	                                                                   : 0;
	if (scheme == 0)
		return len > 0 && raw[0] == '/' ? raw : NULL;
	size_t authority = authority_len(raw + scheme, len - scheme);
	return authority > 0 ? raw + scheme + authority : NULL;
}

int pl_target_parse(struct pl_arena *arena, const char *raw, size_t len, struct pl_target *target_r,
                    const char **why_r)
{
	memset(target_r, 0, sizeof(*target_r));
	if (len > PL_TARGET_MAX) {
		*why_r = "the target is too long";
		return TOO_LONG;
	}
	for (size_t i = 0; i < len; i++)
		if ((unsigned char)raw[i] <= 0x20 || (unsigned char)raw[i] >= 0x7f || raw[i] == '#') {
			*why_r = "the target contains a character that must be percent-encoded";
			return BAD;
		}
	if (len == 1 && raw[0] == '*') {
		target_r->asterisk = true;
		return 0;
	}
	const char *path = skip_authority(raw, len);
	if (!path) {
		*why_r = "the target is not a path";
		return BAD;
	}
	len -= (size_t)(path - raw);
	const char *mark = memchr(path, '?', len);
	size_t path_len = mark ? (size_t)(mark - path) : len;
	int status = parse_path(arena, path_len > 0 ? path : "/", path_len > 0 ? path_len : 1, target_r,
	                        why_r); // an empty path after a host is "/"
	if (status == 0 && mark)
		status = parse_query(arena, mark + 1, len - path_len - 1, target_r, why_r);
	return status;
}
