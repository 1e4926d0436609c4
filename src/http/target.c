// A request's target, taken apart: segments of the path, parameters of the query, each decoded by itself.
//
// Stands after http/raw and before http/router. libmicrohttpd's own decoding is not used: it decodes before it splits, and cuts at "%00".
// Invariant: what comes out is UTF-8 without control characters, so that it may be logged, stored and sent in a header.
// Threads: any.
#include "http/target.h"

#include <string.h>
#include <strings.h>

#include "base/utf8.h"

#define BAD 400
#define TOO_LONG 414

static int hex(char c)
{
	return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

// One piece with its %XX (and, in a query, its plus signs) put back; NULL with *why_r if it is not allowed.
static char *decode(struct pl_arena *arena, const char *s, size_t len, bool query, const char **why_r)
{
	char *text = pl_arena_alloc(arena, len + 1);
	size_t n = 0;
	for (size_t i = 0; i < len; i++) {
		char c = s[i];
		if (c == '%') {
			int high = i + 2 < len ? hex(s[i + 1]) : -1, low = i + 2 < len ? hex(s[i + 2]) : -1;
			if (high < 0 || low < 0) {
				*why_r = "the target has a % that two hexadecimal digits do not follow";
				return NULL;
			}
			c = (char)(high * 16 + low);
			i += 2;
		} else if (c == '+' && query)
			c = ' ';
		if ((unsigned char)c < 0x20 || c == 0x7f) {
			*why_r = "the target has an encoded control character";
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

static int parse_path(struct pl_arena *arena, const char *path, size_t len, struct pl_target *target, const char **why_r)
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

static int parse_query(struct pl_arena *arena, const char *query, size_t len, struct pl_target *target, const char **why_r)
{
	struct pl_param **tail = &target->query;
	const char *end = query + len;
	int n = 0;
	for (const char *at = query; at < end;) {
		const char *amp = memchr(at, '&', (size_t)(end - at));
		const char *stop = amp ? amp : end;
		const char *equals = memchr(at, '=', (size_t)(stop - at));
		if (stop > at) {
			if (++n > PL_QUERY_MAX) {
				*why_r = "the query has too many parameters";
				return BAD;
			}
			struct pl_param *param = pl_arena_alloc(arena, sizeof(*param));
			param->name = decode(arena, at, (size_t)((equals ? equals : stop) - at), true, why_r);
			param->value = equals ? decode(arena, equals + 1, (size_t)(stop - equals - 1), true, why_r) : "";
			if (!param->name || !param->value)
				return BAD;
			*tail = param;
			tail = &param->next;
		}
		at = stop + 1;
	}
	return 0;
}

// "http://host/path" is allowed to clients too (RFC 9112, 3.2.2); what counts for us begins at the path.
static const char *skip_authority(const char *raw, size_t len)
{
	size_t scheme = len >= 7 && strncasecmp(raw, "http://", 7) == 0 ? 7 : len >= 8 && strncasecmp(raw, "https://", 8) == 0 ? 8 : 0;
	if (scheme == 0)
		return raw;
	const char *slash = memchr(raw + scheme, '/', len - scheme);
	return slash && slash > raw + scheme ? slash : raw;
}

int pl_target_parse(struct pl_arena *arena, const char *raw, size_t len, struct pl_target *target_r, const char **why_r)
{
	memset(target_r, 0, sizeof(*target_r));
	if (len > PL_TARGET_MAX) {
		*why_r = "the target is too long";
		return TOO_LONG;
	}
	for (size_t i = 0; i < len; i++)
		if ((unsigned char)raw[i] <= 0x20 || (unsigned char)raw[i] >= 0x7f || raw[i] == '#') {
			*why_r = "the target has a character that must be encoded";
			return BAD;
		}
	if (len == 1 && raw[0] == '*') {
		target_r->asterisk = true;
		return 0;
	}
	const char *path = skip_authority(raw, len);
	len -= (size_t)(path - raw);
	if (len == 0 || path[0] != '/') {
		*why_r = "the target is no path";
		return BAD;
	}
	const char *mark = memchr(path, '?', len);
	size_t path_len = mark ? (size_t)(mark - path) : len;
	int status = parse_path(arena, path, path_len, target_r, why_r);
	if (status == 0 && mark)
		status = parse_query(arena, mark + 1, len - path_len - 1, target_r, why_r);
	return status;
}
