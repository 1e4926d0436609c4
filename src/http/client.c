// See client.h.
//
// A client is told that its credentials were not accepted, never why: that would help
// those who guess. The log says why.
// Invariants: a header about the client counts only from a trusted proxy; what proves an
// identity is neither logged nor passed to scripts. What counts is what the request says
// itself: a token, then the certificate, then what a proxy says.
// Threads: the worker's.
#include "http/client.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "auth/roles.h"
#include "base/clock.h"
#include "base/log.h"
#include "http/raw.h"

#define FORWARDED_FOR "x-forwarded-for"
#define AUTHORIZATION "authorization"
#define CERTIFICATE   "x-plist-client-certificate"
#define ENDS          "x-plist-certificate-ends"
#define SCHEME        "Bearer "

#define SECOND_US     INT64_C(1000000)

// ---- where it is

// The last entry of the list before `end`, without spaces. Returns its start.
static const char *last_entry(const char *list, const char *end, size_t *len_r)
{
	const char *from = end;

	while (from > list && from[-1] != ',')
		from--;
	while (from < end && (*from == ' ' || *from == '\t'))
		from++;
	while (end > from && (end[-1] == ' ' || end[-1] == '\t'))
		end--;
	*len_r = (size_t)(end - from);
	return from;
}

// Goes through the list from its end, as long as the entries are trusted proxies: each of
// them has added what is before it. Clients can put anything in front.
static void follow(struct pl_client *client, const char *list, const struct pl_credentials *credentials)
{
	const char *end = list + strlen(list);
	struct pl_address address;

	for (bool trusted = true; trusted && end > list;) {
		size_t len;
		const char *from = last_entry(list, end, &len);
		if (pl_network_parse_address(from, len, &address) != 0)
			return;
		client->address = address;
		client->is_local = false;
		trusted = pl_credentials_trusts(credentials, &address);
		while (from > list && from[-1] != ',')
			from--;
		end = from > list ? from - 1 : list;
	}
}

void pl_client_locate(struct pl_client *client_r, const struct pl_peer *peer, const struct pl_header *headers,
                      const struct pl_credentials *credentials)
{
	*client_r = (struct pl_client){ .is_local = !peer->has_address, .address = peer->address };
	if (peer->tls.direct) {
		client_r->direct = &peer->tls;
		return;
	}
	client_r->is_proxy = pl_credentials_trusts(credentials, peer->has_address ? &peer->address : NULL);
	if (!client_r->is_proxy)
		return;
	client_r->is_known = !peer->has_address || peer->tls.server;
	const char *last = NULL;
	for (const struct pl_header *header = headers; header; header = header->next)
		if (strcmp(header->name, FORWARDED_FOR) == 0)
			last = header->value; // what the peer itself has added is in the last line
	if (last)
		follow(client_r, last, credentials);
}

char *pl_client_format(const struct pl_client *client, char text[PL_ADDRESS_TEXT_MAX])
{
	return client->is_local ? strcpy(text, "unix") : pl_network_format(&client->address, text);
}

// ---- its connection

static const struct pl_problem *unauthorized(const struct pl_request *request)
{
	static const struct pl_header challenge = { "WWW-Authenticate", "Bearer realm=\"plist\"", NULL };
	struct pl_problem *problem = pl_exchange_problem_new(request->arena, 401, "Unauthorized");

	problem->detail = pl_config_takes_tokens(request->config)
	                          ? "this request needs valid credentials: send Authorization: Bearer and "
	                            "your key or token"
	                          : "this request needs valid credentials, of a kind that this server takes";
	problem->headers = &challenge;
	problem->retryable = 0;
	return problem;
}

// NGINX is asked to go on to the next region: its client is not to blame.
static const struct pl_problem *not_accepted_here(const struct pl_request *request)
{
	struct pl_problem *problem = pl_exchange_problem_new(request->arena, 503, "Service Unavailable");

	problem->detail = "the certificate of this connection is no longer accepted; nothing was executed";
	problem->not_executed = true;
	problem->retryable = 1;
	problem->retry_after_s = 1;
	return problem;
}

const struct pl_problem *pl_client_check_peer(const struct pl_request *request, struct pl_peer *peer,
                                              const struct pl_tls_server *tls)
{
	bool direct = peer->tls.direct; // what it has been until now

	if (!tls || !peer->tls.server || pl_tls_server_accepts(tls, &peer->tls, pl_now_us()))
		return NULL;
	return direct ? unauthorized(request) : not_accepted_here(request);
}

// Reads when a certificate expires, as NGINX prints it: "Dec  1 14:00:00 2026 GMT".
static bool parse_end(const char *text, int64_t *at_us_r)
{
	static const char months[] = "JanFebMarAprMayJunJulAugSepOctNovDec";
	char name[4], time[64];
	int day, hour, minute, second, year, len = 0;
	const char *month;

	if (sscanf(text, "%3[A-Za-z] %2d %2d:%2d:%2d %4d GMT%n", name, &day, &hour, &minute, &second, &year,
	           &len) != 6 ||
	    len == 0 || text[len] != '\0' || strlen(name) != 3)
		return false;
	month = strstr(months, name);
	if (!month || (month - months) % 3 != 0)
		return false;
	snprintf(time, sizeof(time), "%04d-%02d-%02dT%02d:%02d:%02dZ", year, (int)(month - months) / 3 + 1,
	         day, hour, minute, second);
	return pl_clock_parse_time(time, strlen(time), at_us_r) == 0;
}

const struct pl_problem *pl_client_check_end(const struct pl_request *request, int64_t now_us)
{
	struct pl_problem *problem;
	int64_t ends_us;
	int n;
	const char *text = pl_raw_header(request->headers, ENDS, &n);

	// A certificate is valid until its last second is over.
	if (n == 0 || (n == 1 && parse_end(text, &ends_us) && now_us < ends_us + SECOND_US))
		return NULL;
	problem = pl_exchange_problem_new(request->arena, 403, "Forbidden");
	problem->detail = "the client certificate has expired";
	problem->retryable = 0;
	return problem;
}

// ---- who it is

// The daemon cannot tell yet: the client is not to blame, and nothing was executed.
static const struct pl_problem *cannot_tell(const struct pl_request *request)
{
	struct pl_problem *problem = pl_exchange_problem_new(request->arena, 503, "Service Unavailable");

	problem->detail = "this server cannot check credentials of this kind yet; nothing was executed";
	problem->not_executed = true;
	problem->retryable = 1;
	problem->retry_after_s = 1;
	return problem;
}

static void log_refusal(const struct pl_client *client, const char *why)
{
	static struct pl_log_burst burst;
	char address[PL_ADDRESS_TEXT_MAX];

	pl_log_limited(&burst, PL_LOG_NOTICE, "http: refused the credentials of a client at %s: %s",
	               pl_client_format(client, address), why);
}

// The token of "Bearer TOKEN"; NULL if the header has another form.
static const char *token_of(const char *value)
{
	if (strncasecmp(value, SCHEME, sizeof(SCHEME) - 1) != 0)
		return NULL;
	value += sizeof(SCHEME) - 1;
	return value + strspn(value, " ");
}

static void take(struct pl_request *request, const struct pl_identity *identity)
{
	request->principal = identity->principal;
	request->nroles = identity->roles.n;
	request->roles = identity->roles.names;
}

static const struct pl_problem *check_token(struct pl_request *request, const struct pl_client *client,
                                            struct pl_credentials *credentials, bool *given_r)
{
	struct pl_identity identity;
	const char *why = NULL;
	int n, rc = PL_EINVAL;
	const char *value = pl_raw_header(request->headers, AUTHORIZATION, &n);

	*given_r = n > 0;
	if (n == 0)
		return NULL;
	const char *token = n == 1 ? token_of(value) : NULL;
	if (!token)
		why = n == 1 ? "the scheme is not Bearer" : "there are several Authorization headers";
	else
		rc = pl_credentials_check(credentials, client->known, request->arena, token, &identity, &why);
	if (rc == 0) {
		take(request, &identity);
		return NULL;
	}
	log_refusal(client, why);
	return rc == PL_EUNAVAIL ? cannot_tell(request) : unauthorized(request);
}

// The client's certificate: of the connection, or as NGINX passes it on.
static const struct pl_problem *check_certificate(struct pl_request *request, const struct pl_client *client,
                                                  struct pl_credentials *credentials, bool *given_r)
{
	const gnutls_datum_t *shown = client->direct ? pl_tls_server_client(client->direct) : NULL;
	struct pl_identity identity;
	const char *why = "there are several certificates";
	int n = 0, rc = PL_EINVAL;
	const char *text = client->is_known ? pl_raw_header(request->headers, CERTIFICATE, &n) : NULL;

	*given_r = shown || n > 0;
	if (!*given_r)
		return NULL;
	if (shown)
		rc = pl_credentials_check_shown(credentials, request->arena,
		                                &(struct pl_credentials_shown){ shown->data, shown->size },
		                                &identity, &why);
	else if (n == 1)
		rc = pl_credentials_check_escaped(credentials, request->arena, text, &identity, &why);
	if (rc == 0) {
		take(request, &identity);
		return NULL;
	}
	log_refusal(client, why);
	return unauthorized(request);
}

static const struct pl_problem *take_principal(struct pl_request *request, const char *name)
{
	int n;
	const char *principal = pl_raw_header(request->headers, name, &n);

	if (n == 0)
		return NULL;
	if (n == 1 && pl_roles_valid_principal(principal)) {
		request->principal = principal;
		return NULL;
	}
	struct pl_problem *problem = pl_exchange_problem_new(
		request->arena, 400, pl_arena_printf(request->arena, "%s malformed", name));
	problem->detail = "send exactly one principal, of at most 64 visible ASCII characters, but "
			  "not " PL_PRINCIPALS_OF_PLIST;
	return problem;
}

// The headers without one of them. Those behind it are shared, those before it copied.
static const struct pl_header *without(struct pl_arena *arena, const struct pl_header *headers,
                                       const char *name)
{
	const struct pl_header *behind = headers;
	struct pl_header *first = NULL, **last = &first;
	int n;

	pl_raw_header(headers, name, &n);
	for (; n > 0; behind = behind->next) {
		if (strcasecmp(behind->name, name) == 0) {
			n--;
			continue;
		}
		*last = pl_arena_alloc(arena, sizeof(**last));
		**last = (struct pl_header){ behind->name, behind->value, NULL };
		last = &(*last)->next;
	}
	*last = (struct pl_header *)(uintptr_t)behind;
	return first;
}

const struct pl_problem *pl_client_identify(struct pl_request *request, const struct pl_client *client,
                                            struct pl_credentials *credentials)
{
	const struct pl_config *config = request->config;
	const struct pl_problem *problem = NULL;
	bool given = false;

	request->principal = "";
	if (pl_config_takes_tokens(config)) {
		problem = check_token(request, client, credentials, &given);
		request->headers = without(request->arena, request->headers, AUTHORIZATION);
	}
	if (!problem && !given && config->auth.nclient_certs > 0)
		problem = check_certificate(request, client, credentials, &given);
	request->headers = without(request->arena, request->headers, CERTIFICATE);
	if (!config->http.principal_header)
		return problem;
	if (!problem && !given && client->is_proxy)
		problem = take_principal(request, config->http.principal_header);
	request->headers = without(request->arena, request->headers, config->http.principal_header);
	return problem;
}

// ---- what it may do

const struct pl_problem *pl_client_authorize(const struct pl_request *request, const struct pl_route *route)
{
	struct pl_roles roles = { request->nroles, (const char **)(uintptr_t)request->roles };
	bool required = request->config->security.clients == PL_CLIENTS_REQUIRED;
	int nallow = route ? route->nallow : 0;

	if (!*request->principal && (required || nallow > 0))
		return unauthorized(request);
	if (nallow == 0 || pl_roles_meet(&roles, route->nallow, route->allow))
		return NULL;
	struct pl_problem *problem = pl_exchange_problem_new(request->arena, 403, "Forbidden");
	problem->detail = "this client may not send this request";
	problem->retryable = 0;
	return problem;
}

// ---- how much it may send

static const struct pl_header *header_of(struct pl_arena *arena, const char *name, int value,
                                         const struct pl_header *next)
{
	struct pl_header *header = pl_arena_alloc(arena, sizeof(*header));

	*header = (struct pl_header){ name, pl_arena_printf(arena, "%d", value),
		                      (struct pl_header *)(uintptr_t)next };
	return header;
}

static const struct pl_problem *too_many(const struct pl_request *request,
                                         const struct pl_limit_answer *answer)
{
	struct pl_problem *problem = pl_exchange_problem_new(request->arena, 429, "Too Many Requests");
	struct pl_arena *arena = request->arena;

	problem->detail = "this client sends more requests than it may; wait before the next one";
	problem->headers = header_of(arena, "RateLimit-Limit", answer->limit,
	                             header_of(arena, "RateLimit-Remaining", 0,
	                                       header_of(arena, "RateLimit-Reset", answer->reset_s, NULL)));
	problem->retry_after_s = answer->retry_after_s;
	problem->retryable = 1;
	return problem;
}

const struct pl_problem *pl_client_limit_address(const struct pl_request *request,
                                                 const struct pl_client *client, struct pl_limits *limits)
{
	const struct pl_config *config = request->config;
	struct pl_limit_rule rule = { config->limits.per_address.rate, config->limits.per_address.burst };
	struct pl_limit_answer answer;

	if (client->is_local ||
	    pl_limits_take_address(limits, &client->address, &rule, pl_mono_us(), &answer))
		return NULL;
	return too_many(request, &answer);
}

const struct pl_problem *pl_client_limit_principal(const struct pl_request *request, struct pl_limits *limits)
{
	const struct pl_config *config = request->config;
	struct pl_limit_rule rule = { config->limits.per_principal.rate, config->limits.per_principal.burst };
	struct pl_limit_answer answer;

	if (!*request->principal ||
	    pl_limits_take_principal(limits, request->principal, &rule, pl_mono_us(), &answer))
		return NULL;
	return too_many(request, &answer);
}
