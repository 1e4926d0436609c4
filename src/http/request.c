// From a checked head and a body to the request that a handler sees: id, lock, JSON,
// fingerprint.
//
// Between http/client and script/vm. The order of the checks is documented: first the
// request id, then the size of the body, then its form. Later checks need the fields
// (script) or the database (record).
// Invariant: a request that is refused here has changed nothing and has not used up its
// request id.
// Threads: any.
#include "http/request.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/decimal.h"
#include "base/random.h"
#include "http/condition.h"

#define REQUEST_ID_MAX  255
#define TRACEPARENT_LEN 55

// ---- the request id

static bool id_fits(const char *id)
{
	static const char allowed[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._~-";
	size_t len = strlen(id);
	return len >= 1 && len <= REQUEST_ID_MAX && strspn(id, allowed) == len;
}

static struct pl_problem *refuse(const struct pl_request *request, int status, const char *title,
                                 const char *detail)
{
	struct pl_problem *problem = pl_exchange_problem_new(request->arena, status, title);
	problem->detail = detail;
	return problem;
}

// "plist-" and 16 hexadecimal digits.
static const char *made_up_id(struct pl_arena *arena)
{
	static const char prefix[] = "plist-", digits[] = "0123456789abcdef";
	char *id = pl_arena_alloc(arena, sizeof(prefix) + 16), *p = id + sizeof(prefix) - 1;
	uint64_t number = pl_random();
	memcpy(id, prefix, sizeof(prefix));
	for (int shift = 60; shift >= 0; shift -= 4)
		*p++ = digits[(number >> shift) & 15];
	return id;
}

// The id in the header: either the bare value, or a quoted string of RFC 8941 as in the
// Idempotency-Key draft. Both forms are the same id. NULL if it is neither.
static const char *id_of(struct pl_arena *arena, const char *value)
{
	size_t len = strlen(value);
	if (len > 2 && value[0] == '"' &&
	    value[len - 1] == '"') // no character of an id is escaped in a string
		value = pl_arena_strndup(arena, value + 1, len - 2);
	return id_fits(value) ? value : NULL;
}

static const char *sent_echo_id(const struct pl_request *request)
{
	int n;
	const char *id = pl_raw_header(request->headers, "x-request-id", &n);
	return n >= 1 ? id_of(request->arena, id) : NULL;
}

const char *pl_request_echo_id(const struct pl_request *request)
{
	const char *id = sent_echo_id(request);
	return id ? id : made_up_id(request->arena);
}

// A request that does not need an id gets one from the daemon, so that the write is
// remembered and can be found in logs and events. It is returned in X-Request-ID unless
// the client sent its own.
static const char *given_id(const struct pl_request *request, const char *echo_id)
{
	return sent_echo_id(request) ? made_up_id(request->arena) : echo_id;
}

static const struct pl_problem *take_id(struct pl_request *request, const char *echo_id)
{
	const struct pl_route *route = request->route;
	const char *name = route && route->id_header ? route->id_header : "X-Request-ID";
	int n;
	const char *id = pl_raw_header(request->headers, name, &n);
	const char *fitting = n == 1 ? id_of(request->arena, id) : NULL;
	request->request_id = "";
	if (!route || !route->idempotent) {
		if (fitting) // useful in logs only
			request->request_id = fitting;
		return NULL;
	}
	if (n > 1)
		return refuse(request, 400, pl_arena_printf(request->arena, "%s given twice", name),
		              "send exactly one request id");
	if (n == 1 && !fitting)
		return refuse(
			request, 400, pl_arena_printf(request->arena, "%s malformed", name),
			"a request id has 1 to 255 characters of A-Z a-z 0-9 . _ ~ - and may be in double "
			"quotes");
	if (n == 0 && route->id_required)
		return refuse(request, 400, pl_arena_printf(request->arena, "%s missing", name),
		              "a write needs a request id, so that a retry is not executed again");
	request->request_id = fitting ? fitting : given_id(request, echo_id);
	return NULL;
}

// ---- lock, trace

// All lines of If-Match as one list (RFC 9110, 5.3); NULL if there are none.
static const char *if_match_list(const struct pl_request *request)
{
	const char *list = NULL;
	for (const struct pl_header *header = request->headers; header; header = header->next)
		if (strcmp(header->name, "if-match") == 0)
			list = list ? pl_arena_printf(request->arena, "%s, %s", list, header->value)
			            : header->value;
	return list;
}

static const struct pl_problem *take_conditions(struct pl_request *request)
{
	bool read = strcmp(request->method, "GET") == 0 || strcmp(request->method, "HEAD") == 0;
	const char *value = if_match_list(request);
	struct pl_if_match if_match = { 0 };
	const char *why = NULL;
	if (value && pl_condition_if_match(request->arena, value, &if_match, &why) != 0)
		return refuse(request, 400, "If-Match malformed", why);
	request->has_if_match = if_match.given;
	request->etag_any = if_match.any;
	request->etag_never = if_match.never;
	request->if_match = if_match.vector;
	request->if_match_others = if_match.others;
	// Ignoring a condition would do what the client asked not to do.
	if (!read && pl_raw_header(request->headers, "if-none-match", NULL))
		return refuse(request, 400, "If-None-Match not supported here",
		              "use If-Match to make a write conditional");
	return NULL;
}

// The form of W3C Trace Context, "00-<32 hex>-<16 hex>-<2 hex>"; anything else is not
// passed on.
static void take_trace(struct pl_request *request)
{
	int n;
	const char *value = pl_raw_header(request->headers, "traceparent", &n);
	if (n != 1 || strlen(value) != TRACEPARENT_LEN)
		return;
	for (int i = 0; i < TRACEPARENT_LEN; i++) {
		bool dash = i == 2 || i == 35 || i == 52;
		if (dash ? value[i] != '-' : !strchr("0123456789abcdef", value[i]))
			return;
	}
	request->traceparent = value;
}

// What the client has seen, of all lines of the header.
static const struct pl_problem *take_session(struct pl_request *request)
{
	struct pl_seen *seen = NULL;

	for (const struct pl_header *header = request->headers; header; header = header->next) {
		const char *why;

		if (strcmp(header->name, "plist-session") != 0)
			continue;
		if (!seen)
			seen = pl_arena_alloc(request->arena, sizeof(*seen));
		if ((why = pl_seen_parse(seen, request->config, header->value)))
			return refuse(request, 400, PL_SEEN_HEADER " malformed", why);
	}
	request->seen = seen;
	return NULL;
}

const struct pl_problem *pl_request_head(struct pl_request *request, const struct pl_route_match *match,
                                         const char *echo_id)
{
	request->route = match->route;
	request->region_prefix = match->region_prefix;
	request->params = match->params;
	take_trace(request);
	const struct pl_problem *problem = take_id(request, echo_id);
	if (!problem && pl_raw_header(request->headers, "content-encoding", NULL))
		problem = refuse(request, 415, "Content-Encoding not supported",
		                 "send the body without a "
		                 "content coding");
	if (!problem && request->route)
		problem = take_session(request);
	return problem ? problem : take_conditions(request);
}

const struct pl_problem *pl_request_too_large(const struct pl_request *request)
{
	struct pl_problem *problem = refuse(request, 413, "Body too large", NULL);
	problem->detail = pl_arena_printf(request->arena, "a body may have at most %zu bytes",
	                                  request->config->http.max_body);
	return problem;
}

// ---- the body

struct numbers {
	struct pl_arena *arena;
	struct pl_fault *first, **last;
};

// The position of a value in the body.
struct place {
	const struct place *parent; // NULL: it is the body
	const cJSON *item;
	int index;
};

static void add_pointer(struct pl_buf *buf, const struct place *place)
{
	if (!place->parent)
		return;
	add_pointer(buf, place->parent);
	if (place->item->string)
		pl_fault_pointer_add(buf, place->item->string);
	else
		pl_buf_printf(buf, "/%d", place->index);
}

static void add_fault(struct numbers *numbers, const struct place *place)
{
	struct pl_buf pointer = { 0 };
	add_pointer(&pointer, place);
	numbers->last =
		pl_fault_add(numbers->arena, numbers->last,
	                     pl_arena_strndup(numbers->arena, pointer.data ? pointer.data : "", pointer.len),
	                     pl_arena_printf(numbers->arena, "must be a number of at most %d digits",
	                                     PL_DECIMAL_DIGITS_MAX));
	pl_buf_fini(&pointer);
}

// No field can hold a number with more digits than an exact decimal has here, and no
// handler could receive it.
static void check_numbers(struct numbers *numbers, const struct place *place)
{
	struct place inside = { .parent = place };
	const char *number = pl_json_is_number(place->item) ? pl_json_number_text(place->item) : NULL;
	if (number && !pl_decimal_valid(number, strlen(number)))
		add_fault(numbers, place);
	cJSON_ArrayForEach (inside.item, place->item) {
		check_numbers(numbers, &inside);
		inside.index++;
	}
}

static const struct pl_problem *no_json(const struct pl_request *request, const struct pl_error *err)
{
	struct pl_fault *faults = NULL;
	struct pl_problem *problem =
		refuse(request, 400, "Body is not JSON", pl_arena_strdup(request->arena, err->text));
	pl_fault_add(request->arena, &faults, "", problem->detail);
	problem->faults = faults;
	return problem;
}

static const struct pl_problem *take_body(struct pl_request *request, const struct pl_buf *body)
{
	struct numbers numbers = { .arena = request->arena, .last = &numbers.first };
	struct pl_json_limits limits = pl_json_default_limits;
	struct pl_error err = { 0 };
	limits.bytes = request->config->http.max_body;
	request->body = pl_json_parse(body->data, body->len, &limits, &err);
	if (!request->body)
		return no_json(request, &err);
	check_numbers(&numbers, &(struct place){ .item = request->body });
	return numbers.first ? pl_exchange_problem_of_faults(request->arena, numbers.first) : NULL;
}

// ---- the fingerprint

// Each part is prefixed with its length, so that different requests never have the same
// bytes.
static void part(struct pl_buf *buf, const char *text, size_t len)
{
	pl_buf_add_i64(buf, (int64_t)len);
	pl_buf_addc(buf, ':');
	pl_buf_add(buf, text, len);
}

static void parts(struct pl_buf *buf, const char *text)
{
	part(buf, text, strlen(text));
}

static int by_name(const void *a, const void *b)
{
	const struct pl_param *x = *(struct pl_param *const *)a, *y = *(struct pl_param *const *)b;
	int order = strcmp(x->name, y->name);
	return order ? order : strcmp(x->value, y->value);
}

static void add_query(struct pl_buf *buf, const struct pl_request *request)
{
	const struct pl_param *sorted[PL_QUERY_MAX];
	int n = 0;
	for (const struct pl_param *param = request->query; param && n < PL_QUERY_MAX; param = param->next)
		sorted[n++] = param;
	if (n > 1)
		qsort(sorted, (size_t)n, sizeof(sorted[0]), by_name);
	pl_buf_add_i64(buf, n);
	pl_buf_addc(buf, ';');
	for (int i = 0; i < n; i++) {
		parts(buf, sorted[i]->name);
		parts(buf, sorted[i]->value);
	}
}

// What a request asks for, independent of the region that it is sent to: the region
// prefix is left out, so /us/… and /eu/… with the same id are the same request.
static void take_fingerprint(struct pl_request *request)
{
	struct pl_buf buf = { 0 };
	parts(&buf, request->method);
	parts(&buf, request->route->path);
	for (const struct pl_param *param = request->params; param; param = param->next)
		if (strcmp(param->name, "region") != 0) {
			parts(&buf, param->name);
			parts(&buf, param->value);
		}
	add_query(&buf, request);
	const char *if_match = if_match_list(request);
	parts(&buf, if_match ? if_match : "");
	if (request->body) {
		struct pl_buf canonical = { 0 };
		pl_json_canonical(&canonical, request->body);
		part(&buf, canonical.data, canonical.len);
		pl_buf_fini(&canonical);
	}
	pl_sha256(buf.data, buf.len, request->fingerprint);
	pl_buf_fini(&buf);
}

const struct pl_problem *pl_request_body(struct pl_request *request, const struct pl_buf *body)
{
	bool read = strcmp(request->method, "GET") == 0 || strcmp(request->method, "HEAD") == 0;
	request->body_text = body->data;
	request->body_len = body->len;
	if (body->len > 0 && !read) { // the body of a GET has no meaning (RFC 9110, 9.3.1)
		const struct pl_problem *problem = take_body(request, body);
		if (problem)
			return problem;
	}
	if (request->route && !read)
		take_fingerprint(request);
	return NULL;
}
