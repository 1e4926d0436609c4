// Checks of the head of a request that libmicrohttpd leaves out: anything that front ends
// and back ends may interpret differently is refused.
//
// The first step of a request, before http/target and http/request. If two readers of one
// connection disagree on where a request ends, they can be made to see different requests
// (request smuggling). So an ambiguous head is answered 400 and the connection is closed.
//
// The library passes C strings, which do not show what it has cut off: a NUL ends a
// header value, a folded line is appended to the *name* of the header, and a bare line
// feed ends a line. But it parses in place. The head is still contiguous in its buffer,
// starting at the method, with CR LF of each line overwritten by two NULs and the colon
// by one; and the library reports the length of the head. So each string that we get must
// begin where the previous one ended, and the last must end where the head ends. If that
// holds, every byte of the head is accounted for. Versions from 1.0 on refuse these
// things themselves and arrange the buffer differently; for them, this one check is
// skipped.
//
// Chunks and trailers are not accepted. The chunk parser of the library accepts bare line
// feeds, and waits indefinitely with a full buffer for the end of a chunk line that does
// not fit. So a chunked request is refused when only its head has been parsed. NGINX, in
// front, accepts chunks from clients and sends a Content-Length.
//
// The library does not parse the query either. It would put each parameter into the
// buffer of the connection; when that is full, it queues an error and keeps waiting for
// headers. So the query is copied (pl_raw_take_target) and then hidden from the library.
//
// Invariant: a request that passes has exactly one meaning. Threads: any.
#include "http/raw.h"

#include <stdbool.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#include "base/network.h"
#include "http/target.h"

#define BAD                 400
#define LENGTH_REQUIRED     411
#define BODY_TOO_LARGE      413
#define TOO_LARGE           431
#define NO_SUCH_EXPECTATION 417
#define HOST_MAX            255
#define LENGTH_DIGITS_MAX   18 // always fits a uint64_t

static bool is_token_char(unsigned char c)
{
	return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
	       (c && strchr("!#$%&'*+-.^_`|~", c));
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

// The positions of the pieces of the head. `expect` is where the next one must begin, or
// NULL if the check is skipped.
struct layout {
	const char *expect;
	bool broken;
};

static bool lays_out_in_place(void)
{
	const char *version = MHD_get_version();
	return strncmp(version, "0.9.", 4) == 0;
}

// A line ends with CR LF, which are two NULs by now.
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

// The request line: method, one space, target, one space, version. All spaces are NULs by
// now.
static void lay_request_line(struct layout *layout, const struct pl_raw *raw)
{
	piece(layout, raw->method);
	layout->expect += strlen(raw->method) + 1;
	piece(layout, raw->target);
	layout->expect += raw->target_len + 1;
	piece(layout, raw->version);
	line_end(layout, raw->version + strlen(raw->version));
}

// The length that the library reports includes the empty line at the end of the head.
static void lay_end(struct layout *layout, const struct pl_raw *raw, size_t head_len)
{
	if (layout->expect && layout->expect + 2 != raw->method + head_len)
		layout->broken = true;
}

const char *pl_raw_take_target(struct pl_arena *arena, struct pl_raw *raw, const char *target)
{
	raw->target = target;
	raw->target_len = strlen(target);
	const char *copy = pl_arena_strndup(arena, target, raw->target_len);
	char *mark = lays_out_in_place() ? strchr(target, '?') : NULL;
	if (mark) // in the buffer of the library, which is about to cut at this position anyway
		mark[1] = '\0';
	return copy;
}

// ---- headers

struct collect {
	struct pl_arena *arena;
	struct layout layout;
	struct pl_header **tail;
	int n;
	const char *why; // of the first fault
};

#define EACH(byte) (UINT64_C(0x0101010101010101) * (byte)) // of a word

// Whether one of the words may have a control character. This is much faster for long
// values, such as tokens, than to look at each byte; the carry between bytes can only
// give a false alarm.
static bool may_have_control(const char *value, size_t nwords)
{
	uint64_t word, found = 0;
	for (size_t i = 0; i < nwords; i++, value += sizeof(word)) {
		memcpy(&word, value, sizeof(word));
		uint64_t del = word ^ EACH(0x7f);
		found |= (((word - EACH(0x20)) & ~word) | ((del - EACH(1)) & ~del)) & EACH(0x80);
	}
	return found != 0;
}

static const char *check_value(const char *value)
{
	size_t nwords = strlen(value) / sizeof(uint64_t);
	if (!may_have_control(value, nwords))
		value += nwords * sizeof(uint64_t);
	for (const unsigned char *c = (const unsigned char *)value; *c; c++)
		if ((*c < 0x20 && *c != '\t') || *c == 0x7f)
			return "a header value contains a control character";
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

// Whether there are only blanks between the two. Usually it is one blank, for which
// strspn costs hundreds of instructions.
static bool is_blank(const char *from, const char *to)
{
	while (from < to && (*from == ' ' || *from == '\t'))
		from++;
	return from == to;
}

static enum MHD_Result collect_header(void *cls, enum MHD_ValueKind kind, const char *name, const char *value)
{
	struct collect *collect = cls;
	if (++collect->n > PL_HEADERS_MAX || !value)
		return MHD_NO;
	piece(&collect->layout, name);
	// There may be whitespace between the colon and the value, which the library has
	// skipped.
	const char *after = name + strlen(name) + 1;
	if (collect->layout.expect && !is_blank(after, value))
		collect->layout.broken = true;
	line_end(&collect->layout, value + strlen(value));
	if (!is_token(name))
		collect->why = collect->why ? collect->why : "a header name is not valid";
	if (!collect->why)
		collect->why = check_value(value);
	// The library compares values including trailing whitespace; we, and front ends,
	// compare them without.
	if (!collect->why && ends_in_blank(value) &&
	    (strcasecmp(name, "transfer-encoding") == 0 || strcasecmp(name, "content-length") == 0))
		collect->why = "the header that gives the length of the body has trailing whitespace";
	*collect->tail = header_copy(collect->arena, name, value);
	collect->tail = &(*collect->tail)->next;
	return MHD_YES;
}

const char *pl_raw_header(const struct pl_header *headers, const char *name, int *n_r)
{
	const char *value = NULL;
	int n = 0;
	for (; headers; headers = headers->next)
		if (((headers->name[0] ^ name[0]) & 0xdf) == 0 && strcasecmp(headers->name, name) == 0 &&
		    n++ == 0) // most differ in their first letter
			value = headers->value;
	if (n_r)
		*n_r = n;
	return value;
}

// ---- the host

static bool is_name(const char *host, size_t len, const char *name)
{
	return len == strlen(name) && strncasecmp(host, name, len) == 0;
}

bool pl_raw_names_this_machine(const struct pl_header *headers)
{
	const char *host = pl_raw_header(headers, "host", NULL);
	char own[HOST_MAX + 1] = "";
	struct pl_address address;

	if (!host)
		return true;
	size_t len = host[0] == '[' ? strcspn(host, "]") + 1 : strcspn(host, ":");
	if (len > strlen(host) || (host[len] != '\0' && host[len] != ':'))
		return false;
	gethostname(own, sizeof(own) - 1);
	return is_name(host, len, "localhost") || (own[0] && is_name(host, len, own)) ||
	       pl_network_parse_address(host, len, &address) == 0;
}

// ---- what the headers say of the request's form

static int check_length(struct pl_raw *raw, const char **why_r)
{
	int nlength, ncoding;
	const char *length = pl_raw_header(raw->headers, "content-length", &nlength);
	const char *coding = pl_raw_header(raw->headers, "transfer-encoding", &ncoding);
	if (nlength && ncoding)
		return *why_r = "Content-Length and Transfer-Encoding are both given", BAD;
	if (nlength > 1 || ncoding > 1)
		return *why_r = "the length of the body is given more than once", BAD;
	if (ncoding) {
		if (raw->http_1_0 || strcasecmp(coding, "chunked") != 0)
			return *why_r = "the Transfer-Encoding is not supported", BAD;
		return *why_r = "send the body with Content-Length; chunked bodies are not accepted",
		       LENGTH_REQUIRED;
	}
	if (nlength) {
		size_t digits = strspn(length, "0123456789");
		if (digits == 0 || length[digits])
			return *why_r = "Content-Length is not a number", BAD;
		if (digits > LENGTH_DIGITS_MAX)
			return *why_r = "Content-Length exceeds the size that any body may have",
			       BODY_TOO_LARGE;
		for (size_t i = 0; i < digits; i++)
			raw->length = raw->length * 10 + (uint64_t)(length[i] - '0');
		raw->has_length = true;
	}
	return 0;
}

// A host name or address, optionally with a port: no list, path or user name.
static bool host_fits(const char *host)
{
	static const char allowed[] =
		"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._~:[]%!$&'()*+;=";
	return host[strspn(host, allowed)] == '\0';
}

static int check_host(const struct pl_raw *raw, const char **why_r)
{
	int n;
	const char *host = pl_raw_header(raw->headers, "host", &n);
	if (n > 1)
		return *why_r = "Host is given twice", BAD;
	if (n == 0 && !raw->http_1_0)
		return *why_r = "Host is missing", BAD;
	if (n == 1 && !host_fits(host))
		return *why_r = "Host is not a valid host", BAD;
	return 0;
}

static int check_line(struct pl_raw *raw, const char **why_r)
{
	if (!is_token(raw->method))
		return *why_r = "the method is not valid", BAD;
	for (const char *c = raw->method; *c; c++)
		if (*c >= 'a' && *c <= 'z')
			return *why_r = "the method must be in upper case", BAD;
	raw->http_1_0 = strcmp(raw->version, "HTTP/1.0") == 0;
	if (!raw->http_1_0 && strcmp(raw->version, "HTTP/1.1") != 0)
		return *why_r = "the HTTP version must be 1.1 or 1.0", BAD;
	return 0;
}

static int check_expect(struct pl_raw *raw, const char **why_r)
{
	int n;
	const char *expect = pl_raw_header(raw->headers, "expect", &n);
	if (n == 0)
		return 0;
	if (n > 1 || strcasecmp(expect, "100-continue") != 0)
		return *why_r = "the only supported expectation is 100-continue", NO_SUCH_EXPECTATION;
	raw->expects_continue = true;
	return 0;
}

int pl_raw_check(struct pl_arena *arena, struct pl_raw *raw, const char **why_r)
{
	const union MHD_ConnectionInfo *info =
		MHD_get_connection_info(raw->connection, MHD_CONNECTION_INFO_REQUEST_HEADER_SIZE);
	size_t head_len = info ? info->header_size : 0;
	struct collect collect = { .arena = arena, .tail = &raw->headers };
	if (lays_out_in_place()) {
		collect.layout.expect = raw->method;
		lay_request_line(&collect.layout, raw);
	}
	MHD_get_connection_values(raw->connection, MHD_HEADER_KIND, collect_header, &collect);
	bool target_too_long = raw->target_len > PL_TARGET_MAX; // 414 is more specific
	raw->too_large = collect.n > PL_HEADERS_MAX || head_len > PL_HEAD_MAX;
	if (raw->too_large && !target_too_long)
		return *why_r = "the headers are too large", TOO_LARGE;
	lay_end(&collect.layout, raw, head_len);
	if (collect.layout.broken)
		return *why_r = "the headers contain a NUL, a folded line, a bare line feed or misplaced "
		                "whitespace",
		       BAD;
	if (collect.why)
		return *why_r = collect.why, BAD;
	int status = check_line(raw, why_r);
	if (status == 0)
		status = check_length(raw, why_r);
	if (status == 0)
		status = check_host(raw, why_r);
	return status ? status : check_expect(raw, why_r);
}

int pl_raw_check_lengths(struct pl_arena *arena, struct pl_raw *raw, const char **why_r)
{
	struct collect collect = { .arena = arena, .tail = &raw->headers };
	MHD_get_connection_values(raw->connection, MHD_HEADER_KIND, collect_header, &collect);
	if (collect.why) // such as a length with trailing whitespace, which the library cannot read
		return *why_r = collect.why, BAD;
	int status = check_length(raw, why_r);
	if (status == 0)
		return *why_r = "the cookies are too large", TOO_LARGE;
	return status;
}
