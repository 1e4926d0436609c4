// Checks of a request's head that libmicrohttpd leaves out: what front ends and back ends may read differently is refused.
//
// Stands first on the way of a request, before http/target and http/request. Two readers of one connection that disagree on where a
// request ends can be made to see different requests (smuggling); so everything that is ambiguous is 400 and the connection is closed.
//
// The library hands out C strings, and what it has cut away is not seen in them: a NUL in a header's value ends it, a folded line is glued
// to the header's *name*, a bare line feed counts as a line's end. But it parses in place. The head still stands in its buffer as one piece from
// the method on, with each line's CR LF overwritten by two NULs and the colon by one; and it tells how long the head was. So each string
// that we are given must begin where the one before it has ended, and the last must end where the head ends. If that holds, every byte
// of the head is accounted for. Versions from 1.0 on refuse these things themselves and lay the buffer out as they like; there, this
// one check is left out.
//
// Invariant: a request that passes has exactly one meaning. Threads: any.
#include "http/raw.h"

#include <stdbool.h>
#include <string.h>
#include <strings.h>

#include "http/target.h"

#define BAD 400
#define TOO_LARGE 431
#define NO_SUCH_EXPECTATION 417

static bool is_token_char(unsigned char c)
{
	return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c && strchr("!#$%&'*+-.^_`|~", c));
}

static bool is_token(const char *s)
{
	if (!*s)
		return false;
	for (; *s; s++)
		if (!is_token_char((unsigned char)*s))
			return false;
	return true;
}

// ---- every byte of the head is accounted for

// Where the pieces of the head must lie; `expect` is where the next one has to begin, NULL when the check is left out.
struct layout {
	const char *expect;
	bool broken;
};

static bool lays_out_in_place(void)
{
	const char *version = MHD_get_version();
	return strncmp(version, "0.9.", 4) == 0;
}

// A line ends with CR LF, two NULs now.
static void line_end(struct layout *layout, const char *end)
{
	if (layout->expect)
		layout->expect = end + 2;
}

static void piece(struct layout *layout, const char *begin)
{
	if (layout->expect && begin != layout->expect)
		layout->broken = true;
}

// The request line: method, one space, target, one space, version. All spaces are NULs now.
static void lay_request_line(struct layout *layout, const struct pl_raw *raw)
{
	piece(layout, raw->method);
	layout->expect += strlen(raw->method) + 1;
	piece(layout, raw->target);
	layout->expect += raw->target_len + 1;
	piece(layout, raw->version);
	line_end(layout, raw->version + strlen(raw->version));
}

// The head's length by the library's own count ends where the empty line ends.
static void lay_end(struct layout *layout, const struct pl_raw *raw, size_t head_len)
{
	if (layout->expect && layout->expect + 2 != raw->method + head_len)
		layout->broken = true;
}

// ---- headers

struct collect {
	struct pl_arena *arena;
	struct layout layout;
	struct pl_header **tail;
	int n;
	const char *why; // of the first fault
};

static const char *check_value(const char *value)
{
	for (const unsigned char *c = (const unsigned char *)value; *c; c++)
		if ((*c < 0x20 && *c != '\t') || *c == 0x7f)
			return "a header's value has a control character";
	return NULL;
}

static bool ends_in_blank(const char *value)
{
	size_t len = strlen(value);
	return len > 0 && (value[len - 1] == ' ' || value[len - 1] == '\t');
}

static struct pl_header *header_copy(struct pl_arena *arena, const char *name, const char *value)
{
	struct pl_header *header = pl_arena_alloc(arena, sizeof(*header));
	char *lower = pl_arena_strdup(arena, name);
	for (char *c = lower; *c; c++)
		if (*c >= 'A' && *c <= 'Z')
			*c += 'a' - 'A';
	size_t len = strlen(value);
	while (len > 0 && (value[len - 1] == ' ' || value[len - 1] == '\t'))
		len--;
	header->name = lower;
	header->value = pl_arena_strndup(arena, value, len);
	return header;
}

static enum MHD_Result collect_header(void *cls, enum MHD_ValueKind kind, const char *name, const char *value)
{
	struct collect *collect = cls;
	if (++collect->n > PL_HEADERS_MAX || !value)
		return MHD_NO;
	piece(&collect->layout, name);
	// Between the colon and the value there may be blanks, which the library has stepped over.
	const char *after = name + strlen(name) + 1;
	if (collect->layout.expect && (value < after || strspn(after, " \t") != (size_t)(value - after)))
		collect->layout.broken = true;
	line_end(&collect->layout, value + strlen(value));
	if (!is_token(name))
		collect->why = collect->why ? collect->why : "a header's name is not one";
	if (!collect->why)
		collect->why = check_value(value);
	// The library compares with the blanks that may follow a value; we, and front ends, without them.
	if (!collect->why && ends_in_blank(value) && (strcasecmp(name, "transfer-encoding") == 0 || strcasecmp(name, "content-length") == 0))
		collect->why = "blanks follow the length of the body";
	*collect->tail = header_copy(collect->arena, name, value);
	collect->tail = &(*collect->tail)->next;
	return MHD_YES;
}

const char *pl_header_get(const struct pl_header *headers, const char *name, int *n_r)
{
	const char *value = NULL;
	int n = 0;
	for (; headers; headers = headers->next)
		if (((headers->name[0] ^ name[0]) & 0xdf) == 0 && strcasecmp(headers->name, name) == 0 && n++ == 0) // most differ in their first letter
			value = headers->value;
	if (n_r)
		*n_r = n;
	return value;
}

// ---- what the headers say of the request's form

static int check_length(struct pl_raw *raw, const char **why_r)
{
	int nlength, ncoding;
	const char *length = pl_header_get(raw->headers, "content-length", &nlength);
	const char *coding = pl_header_get(raw->headers, "transfer-encoding", &ncoding);
	if (nlength && ncoding)
		return *why_r = "Content-Length and Transfer-Encoding are both given", BAD;
	if (nlength > 1 || ncoding > 1)
		return *why_r = "the length of the body is given twice", BAD;
	if (ncoding) {
		if (raw->http_1_0 || strcasecmp(coding, "chunked") != 0)
			return *why_r = "the only Transfer-Encoding is chunked, and only in HTTP/1.1", BAD;
		raw->chunked = true;
	}
	if (nlength) {
		size_t digits = strspn(length, "0123456789");
		if (digits == 0 || length[digits] || digits > 18)
			return *why_r = "Content-Length is no number", BAD;
		for (size_t i = 0; i < digits; i++)
			raw->length = raw->length * 10 + (uint64_t)(length[i] - '0');
		raw->has_length = true;
	}
	return 0;
}

// A name or address and perhaps a port; not a list, not a path, not with a user's name in it.
static bool host_fits(const char *host)
{
	static const char allowed[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._~:[]%!$&'()*+;=";
	return host[strspn(host, allowed)] == '\0';
}

static int check_host(const struct pl_raw *raw, const char **why_r)
{
	int n;
	const char *host = pl_header_get(raw->headers, "host", &n);
	if (n > 1)
		return *why_r = "Host is given twice", BAD;
	if (n == 0 && !raw->http_1_0)
		return *why_r = "Host is missing", BAD;
	if (n == 1 && !host_fits(host))
		return *why_r = "Host is no host", BAD;
	return 0;
}

static int check_line(struct pl_raw *raw, const char **why_r)
{
	if (!is_token(raw->method))
		return *why_r = "the method is no method", BAD;
	for (const char *c = raw->method; *c; c++)
		if (*c >= 'a' && *c <= 'z')
			return *why_r = "methods are written in capitals", BAD;
	raw->http_1_0 = strcmp(raw->version, "HTTP/1.0") == 0;
	if (!raw->http_1_0 && strcmp(raw->version, "HTTP/1.1") != 0)
		return *why_r = "the version is neither HTTP/1.1 nor HTTP/1.0", BAD;
	return 0;
}

static int check_expect(struct pl_raw *raw, const char **why_r)
{
	int n;
	const char *expect = pl_header_get(raw->headers, "expect", &n);
	if (n == 0)
		return 0;
	if (n > 1 || strcasecmp(expect, "100-continue") != 0)
		return *why_r = "the only expectation that can be met is 100-continue", NO_SUCH_EXPECTATION;
	raw->expects_continue = true;
	return 0;
}

int pl_raw_check(struct pl_arena *arena, struct pl_raw *raw, const char **why_r)
{
	const union MHD_ConnectionInfo *info = MHD_get_connection_info(raw->connection, MHD_CONNECTION_INFO_REQUEST_HEADER_SIZE);
	size_t head_len = info ? info->header_size : 0;
	struct collect collect = {.arena = arena, .tail = &raw->headers};
	if (lays_out_in_place()) {
		collect.layout.expect = raw->method;
		lay_request_line(&collect.layout, raw);
	}
	MHD_get_connection_values(raw->connection, MHD_HEADER_KIND, collect_header, &collect);
	bool told_by_target = raw->target_len > PL_TARGET_MAX; // 414, which says more
	if ((collect.n > PL_HEADERS_MAX || head_len > PL_HEAD_MAX) && !told_by_target)
		return *why_r = "the headers are too large", TOO_LARGE;
	lay_end(&collect.layout, raw, head_len);
	if (collect.layout.broken)
		return *why_r = "the head has a NUL, a folded line, a bare line feed, or blanks where none belong", BAD;
	if (collect.why)
		return *why_r = collect.why, BAD;
	int status = check_line(raw, why_r);
	if (status == 0)
		status = check_length(raw, why_r);
	if (status == 0)
		status = check_host(raw, why_r);
	return status ? status : check_expect(raw, why_r);
}
