// From a checked head and a body to the request that a handler sees: id, principal, lock, JSON, fingerprint.
//
// Stands between http/router and script/vm. The order of the checks is the contract's: first the request id, then the body's size, then its form;
// what comes after needs the fields (script) or the database (record).
// Invariant: what is refused here has touched nothing and does not use up its request id. Threads: any.
#include "http/request.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/backoff.h"
#include "base/decimal.h"
#include "http/condition.h"

#define REQUEST_ID_MAX 255
#define PRINCIPAL_MAX 64 // the column's width
#define TRACEPARENT_LEN 55

// ---- the request id

static bool id_fits(const char *id)
{
	static const char allowed[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._~-";
	size_t len = strlen(id);
	return len >= 1 && len <= REQUEST_ID_MAX && strspn(id, allowed) == len;
}

static struct pl_problem *refuse(const struct pl_request *request, int status, const char *title, const char *detail)
{
	struct pl_problem *problem = pl_problem_new(request->arena, status, title);
	problem->detail = detail;
	return problem;
}

static const struct pl_problem *take_id(struct pl_request *request)
{
	const struct pl_route *route = request->route;
	const char *name = route && route->id_header ? route->id_header : "X-Request-ID";
	int n;
	const char *id = pl_header_get(request->headers, name, &n);
	request->request_id = "";
	if (!route || !route->idempotent) {
		if (n == 1 && id_fits(id)) // of use in logs; nothing depends on it
			request->request_id = id;
		return NULL;
	}
	if (n > 1)
		return refuse(request, 400, pl_arena_printf(request->arena, "%s given twice", name), "a request has one id");
	if (n == 1 && !id_fits(id))
		return refuse(request, 400, pl_arena_printf(request->arena, "%s malformed", name),
		              "a request id is 1 to 255 of A-Z a-z 0-9 . _ ~ -");
	if (n == 0 && route->id_required)
		return refuse(request, 400, pl_arena_printf(request->arena, "%s missing", name),
		              "a write names its request id, so that it can be sent again without being done again");
	if (n == 1)
		request->request_id = id;
	return NULL;
}

// "plist-" and 16 hexadecimal digits.
static const char *made_up_id(struct pl_arena *arena)
{
	static const char prefix[] = "plist-", digits[] = "0123456789abcdef";
	char *id = pl_arena_alloc(arena, sizeof(prefix) + 16), *p = id + sizeof(prefix) - 1;
	uint64_t number = pl_rand();
	memcpy(id, prefix, sizeof(prefix));
	for (int shift = 60; shift >= 0; shift -= 4)
		*p++ = digits[(number >> shift) & 15];
	return id;
}

const char *pl_request_echo_id(const struct pl_request *request)
{
	int n;
	const char *id = pl_header_get(request->headers, "x-request-id", &n);
	if (n >= 1 && id_fits(id))
		return id;
	return made_up_id(request->arena);
}

// ---- principal, lock, trace

static const struct pl_problem *take_principal(struct pl_request *request)
{
	const char *name = request->config->http.principal_header;
	request->principal = "";
	if (!name)
		return NULL;
	int n;
	const char *principal = pl_header_get(request->headers, name, &n);
	if (n == 0)
		return NULL;
	size_t len = strlen(principal);
	bool fits = n == 1 && len <= PRINCIPAL_MAX;
	for (size_t i = 0; i < len && fits; i++)
		fits = principal[i] > 0x20 && principal[i] < 0x7f;
	if (!fits)
		return refuse(request, 400, pl_arena_printf(request->arena, "%s malformed", name),
		              "a principal is given once and has at most 64 visible ASCII characters");
	request->principal = principal;
	return NULL;
}

static const struct pl_problem *take_conditions(struct pl_request *request)
{
	bool read = strcmp(request->method, "GET") == 0 || strcmp(request->method, "HEAD") == 0;
	int n;
	const char *value = pl_header_get(request->headers, "if-match", &n);
	if (n > 1)
		return refuse(request, 400, "If-Match given twice", "several entity tags are one list");
	struct pl_if_match if_match = {0};
	const char *why = NULL;
	if (value && pl_if_match_parse(value, &if_match, &why) != 0)
		return refuse(request, 400, "If-Match malformed", why);
	request->has_if_match = if_match.given;
	request->etag_any = if_match.any;
	request->etag_never = if_match.never;
	request->if_match = if_match.vector;
	// Passing over a condition would do what the client said must not be done.
	if (!read && pl_header_get(request->headers, "if-none-match", NULL))
		return refuse(request, 400, "If-None-Match not supported here", "a write is made conditional by If-Match");
	return NULL;
}

// "00-<32 hex>-<16 hex>-<2 hex>" of W3C Trace Context; anything else is not passed on.
static void take_trace(struct pl_request *request)
{
	int n;
	const char *value = pl_header_get(request->headers, "traceparent", &n);
	if (n != 1 || strlen(value) != TRACEPARENT_LEN)
		return;
	for (int i = 0; i < TRACEPARENT_LEN; i++) {
		bool dash = i == 2 || i == 35 || i == 52;
		if (dash ? value[i] != '-' : !strchr("0123456789abcdef", value[i]))
			return;
	}
	request->traceparent = value;
}

const struct pl_problem *pl_request_head(struct pl_request *request, const struct pl_match *match)
{
	request->route = match->route;
	request->region_prefix = match->region_prefix;
	request->params = match->params;
	take_trace(request);
	const struct pl_problem *problem = take_id(request);
	if (!problem)
		problem = take_principal(request);
	if (!problem && pl_header_get(request->headers, "content-encoding", NULL))
		problem = refuse(request, 415, "Content-Encoding not supported", "bodies are sent as they are");
	return problem ? problem : take_conditions(request);
}

const struct pl_problem *pl_request_too_large(const struct pl_request *request)
{
	struct pl_problem *problem = refuse(request, 413, "Body too large", NULL);
	problem->detail = pl_arena_printf(request->arena, "a body has at most %zu bytes", request->config->http.max_body);
	return problem;
}

// ---- the body

struct numbers {
	struct pl_arena *arena;
	struct pl_fault *first, **end;
};

// Where a value stands in the body.
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
	pl_buf_addc(buf, '/');
	if (!place->item->string)
		pl_buf_add_i64(buf, place->index);
	for (const char *c = place->item->string; c && *c; c++) { // RFC 6901
		if (*c == '~' || *c == '/')
			pl_buf_adds(buf, *c == '~' ? "~0" : "~1");
		else
			pl_buf_addc(buf, *c);
	}
}

static void add_fault(struct numbers *numbers, const struct place *place)
{
	struct pl_fault *fault = pl_arena_alloc(numbers->arena, sizeof(*fault));
	struct pl_buf pointer = {0};
	add_pointer(&pointer, place);
	fault->pointer = pl_arena_strndup(numbers->arena, pointer.data ? pointer.data : "", pointer.len);
	fault->detail = pl_arena_printf(numbers->arena, "must be a number of at most %d digits", PL_DECIMAL_DIGITS_MAX);
	pl_buf_fini(&pointer);
	*numbers->end = fault;
	numbers->end = &fault->next;
}

// No field holds a number of more digits than an exact one has here, and no handler could be given it.
static void check_numbers(struct numbers *numbers, const struct place *place)
{
	struct place inside = {.parent = place};
	const char *number = pl_json_is_number(place->item) ? pl_json_number_text(place->item) : NULL;
	if (number && !pl_decimal_valid(number, strlen(number)))
		add_fault(numbers, place);
	cJSON_ArrayForEach(inside.item, place->item) {
		check_numbers(numbers, &inside);
		inside.index++;
	}
}

static const struct pl_problem *no_json(const struct pl_request *request, const struct pl_error *err)
{
	struct pl_fault *fault = pl_arena_alloc(request->arena, sizeof(*fault));
	struct pl_problem *problem = refuse(request, 400, "Body is not JSON", pl_arena_strdup(request->arena, err->text));
	*fault = (struct pl_fault){.pointer = "", .detail = problem->detail};
	problem->faults = fault;
	return problem;
}

static const struct pl_problem *take_body(struct pl_request *request, const struct pl_buf *body)
{
	struct numbers numbers = {.arena = request->arena, .end = &numbers.first};
	struct pl_json_limits limits = pl_json_default_limits;
	struct pl_error err = {0};
	limits.bytes = request->config->http.max_body;
	request->body = pl_json_parse(body->data, body->len, &limits, &err);
	if (!request->body)
		return no_json(request, &err);
	check_numbers(&numbers, &(struct place){.item = request->body});
	return numbers.first ? pl_problem_of_faults(request->arena, numbers.first) : NULL;
}

// ---- the fingerprint

// Each part with its length before it, so that no two requests are the same bytes.
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

// What a request asks for, wherever it is sent: the region prefix is left out, so that /us/… and /eu/… of one id are one request.
static void take_fingerprint(struct pl_request *request)
{
	struct pl_buf buf = {0};
	parts(&buf, request->method);
	parts(&buf, request->route->path);
	for (const struct pl_param *param = request->params; param; param = param->next)
		if (strcmp(param->name, "region") != 0) {
			parts(&buf, param->name);
			parts(&buf, param->value);
		}
	add_query(&buf, request);
	const char *if_match = pl_header_get(request->headers, "if-match", NULL);
	parts(&buf, if_match ? if_match : "");
	if (request->body) {
		struct pl_buf canonical = {0};
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
	if (body->len > 0 && !read) { // a GET's body means nothing (RFC 9110, 9.3.1)
		const struct pl_problem *problem = take_body(request, body);
		if (problem)
			return problem;
	}
	if (request->route && !read)
		take_fingerprint(request);
	return NULL;
}
