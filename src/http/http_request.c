// One request: checks its head, finds its route, collects its body, runs its handler
// and sends its answer.
//
// The listener calls it with what libmicrohttpd delivers; it calls raw, target, router,
// client, request, script/vm and response, in this order. libmicrohttpd asks for the
// answer only when the whole request has arrived. A refusal that was decided earlier
// waits for that, because an early answer costs the connection and may be lost with it.
// An ambiguous head is answered immediately, which does cost the connection. Answers for
// which libmicrohttpd has no room, or which it would send twice, are written directly to
// the socket. Invariants: a request is freed when its connection has left it and its run
// is done; memory that the run may still write to lives as long. Threads: the worker's.
#include "http/http_private.h"

#include <string.h>
#include <sys/socket.h>
#include <utlist.h>

#include "base/clock.h"
#include "base/log.h"
#include "http/client.h"
#include "http/held.h"
#include "http/problem.h"
#include "http/request.h"
#include "http/response.h"

// The body of a refused request is still read, up to this size; a longer one costs the
// connection.
#define DISCARD_MAX (1u << 20)
// How long the check of a request's credentials counts while the rest of it arrives.
#define CHECKED_US  1000000
// Maximum number of connections that wait for their answer without being suspended.
// Suspending costs three system calls per request; not suspending costs a check of each
// waiting connection in every run of libmicrohttpd.
#define WAITING_MAX 128

// Requests further runs of libmicrohttpd, which may have more to do after what it has
// just done: see next_run_ms in http/listener.
static void want_runs(struct pl_listener *listener, int runs)
{
	if (listener->runs < runs)
		listener->runs = runs;
}

struct pl_http_request *pl_http_request_new(struct pl_listener *listener, struct MHD_Connection *connection,
                                            struct pl_peer *peer, const char *target)
{
	struct pl_arena *arena = pl_arena_new(0);
	struct pl_http_request *h = pl_arena_alloc(arena, sizeof(*h));
	h->listener = listener;
	h->connection = connection;
	h->peer = peer;
	h->generation = pl_generation_ref(listener->generation);
	h->arena = arena;
	h->began_us = pl_mono_us();
	h->raw.connection = connection;
	h->match = (struct pl_route_match){ .method = "other", .path = "other" };
	h->request.arena = h->arena;
	h->request.print_problem = pl_problem_print;
	h->request.config = h->generation->config;
	h->request.region = h->listener->options.region;
	h->request.target = pl_raw_take_target(h->arena, &h->raw, target);
	h->request.method = "";
	h->request.request_id = h->request.principal = "";
	peer->http_request = h;
	DL_APPEND(listener->http_requests, h);
	return h;
}

void pl_http_request_free(struct pl_http_request *h)
{
	pl_held_forget(h);
	pl_run_free(&h->run);
	cJSON_Delete(h->request.body);
	pl_buf_fini(&h->body);
	pl_buf_fini(&h->answer.body);
	pl_buf_fini(&h->instead.body);
	pl_generation_unref(&h->generation);
	struct pl_arena *arena = h->arena; // h is allocated in it
	pl_arena_free(&arena);
}

static void retire(struct pl_http_request *h)
{
	DL_DELETE(h->listener->http_requests, h);
	LL_PREPEND(h->listener->finished, h);
}

void pl_http_request_leave(struct pl_http_request *h)
{
	if (h->stage == PL_REQUEST_STAGE_RECEIVING) {
		h->listener->stats.unparsed++;
		h->peer->drain = true; // libmicrohttpd may have answered
	}
	if (h->peer)
		h->peer->http_request = NULL;
	if (h->stage == PL_REQUEST_STAGE_RUNNING && !h->suspended)
		h->listener->waiting--;
	want_runs(h->listener, 1); // the next request may have arrived already
	h->peer = NULL;
	h->connection = NULL;
	if (h->run && pl_run_state(h->run) == PL_RUN_QUEUED) { // nobody is waiting for it
		h->listener->running--;
		h->run_done = true;
	}
	if (!h->run || h->run_done)
		retire(h);
}

static const struct pl_problem *problem_of(struct pl_http_request *h, int status, const char *title,
                                           const char *detail)
{
	struct pl_problem *problem = pl_exchange_problem_new(h->arena, status, title);
	problem->detail = detail;
	return problem;
}

static struct pl_response_context context_of(const struct pl_http_request *h)
{
	return (struct pl_response_context){
		.region = h->listener->options.region,
		.request_id = h->echo_id,
		.allow = h->match.allow,
		.close = h->close || h->listener->draining,
	};
}

void pl_http_request_raw(struct pl_http_request *h, int status, const char *title, const char *detail)
{
	struct pl_response_context context = context_of(h);
	struct pl_buf bytes = { 0 };
	pl_response_raw(&bytes, problem_of(h, status, title, detail), &context);
	// Bytes that do not fit into the socket buffer are lost; the connection is
	// closing anyway.
	if (h->peer->tls.server)
		(void)!gnutls_record_send(
			MHD_get_connection_info(h->connection, MHD_CONNECTION_INFO_GNUTLS_SESSION)
				->tls_session,
			bytes.data, bytes.len);
	else
		(void)!send(h->peer->fd, bytes.data, bytes.len, MSG_NOSIGNAL | MSG_DONTWAIT);
	pl_buf_fini(&bytes);
	h->peer->drain = true;
	h->stage = PL_REQUEST_STAGE_REPLIED;
	if (h->listener->options.served)
		h->listener->options.served(&(struct pl_served){ h->match.method, h->match.path, status,
		                                                 pl_mono_us() - h->began_us },
		                            h->listener->options.arg);
}

static enum MHD_Result reply(struct pl_http_request *h)
{
	struct pl_listener *listener = h->listener;
	struct pl_answer *answer = h->overdue ? &h->instead : &h->answer;
	struct pl_response_context context = context_of(h);
	struct pl_served served = { h->match.method, h->match.path, 0, pl_mono_us() - h->began_us };
	struct MHD_Response *response = pl_response_make(&h->request, answer, &context, &served.status);
	pl_peer_enter(&listener->peers, h->peer, PL_PEER_SENDING,
	              h->generation->config->http.idle_timeout_us);
	h->stage = PL_REQUEST_STAGE_REPLIED;
	listener->stats.not_executed += pl_response_is_not_executed(answer);
	want_runs(listener, 2); // one sends it, one notices that it was sent
	enum MHD_Result result = MHD_queue_response(h->connection, (unsigned)served.status, response);
	MHD_destroy_response(response);
	pl_held_update(h);
	pl_debug("http: %s %s: %d in %lld us, request %s", h->request.method, h->request.target,
	         served.status, (long long)served.took_us, h->echo_id);
	if (listener->options.served)
		listener->options.served(&served, listener->options.arg);
	return result;
}

static enum MHD_Result refuse(struct pl_http_request *h, const struct pl_problem *problem)
{
	h->answer.problem = problem;
	return reply(h);
}

// Paths that the daemon itself answers need no credentials: they show nothing of the
// records. Those that supervisors and Prometheus ask for are not limited either, nor is
// the operators' listener, which has no credentials. Paths that nothing answers do not
// count among them: else anybody could find out which routes there are.
static const struct pl_problem *find_refusal(struct pl_http_request *h, bool limited)
{
	struct pl_credentials *credentials = h->generation->credentials;
	struct pl_limits *limits = h->listener->options.limits;
	enum pl_builtin builtin = h->match.builtin;
	struct pl_client client;
	if (!credentials || (builtin != PL_BUILTIN_NONE && builtin != PL_BUILTIN_LAG))
		return NULL;
	pl_client_locate(&client, h->peer, h->request.headers, credentials);
	client.known = &h->peer->known;
	const struct pl_problem *problem =
		limited ? pl_client_limit_address(&h->request, &client, limits) : NULL;
	if (problem || builtin == PL_BUILTIN_LAG)
		return problem;
	problem = pl_client_identify(&h->request, &client, credentials);
	if (!problem && limited)
		problem = pl_client_limit_principal(&h->request, limits);
	return problem ? problem : pl_client_authorize(&h->request, h->match.route);
}

// See own_names in listener.h.
static const struct pl_problem *check_name(const struct pl_http_request *h)
{
	if (!h->listener->options.own_names || !h->peer->has_address ||
	    !pl_network_is_loopback(&h->peer->address) || pl_raw_names_this_machine(h->request.headers))
		return NULL;
	struct pl_problem *problem = pl_exchange_problem_new(h->arena, 421, "Misdirected Request");
	problem->detail = "name this machine by its address, its host name or localhost";
	problem->retryable = 0;
	return problem;
}

// Whether the client may send the request. `limited`: whether it counts.
static const struct pl_problem *check_client(struct pl_http_request *h, bool limited)
{
	const struct pl_problem *problem = check_name(h);
	if (!problem)
		problem = pl_client_check_peer(&h->request, h->peer, h->listener->tls);
	if (problem)
		h->close = true;
	else if (!(problem = pl_client_check_end(&h->request, pl_now_us())))
		problem = find_refusal(h, limited);
	if (problem) {
		h->match.allow = NULL; // it would tell which methods a path has
		h->listener->stats.unauthenticated += problem->status == 401;
		h->listener->stats.forbidden += problem->status == 403;
		h->listener->stats.limited += problem->status == 429;
	}
	return problem;
}

// What a request may do, by the configuration that is in force now.
static const struct pl_problem *check_request(struct pl_http_request *h, bool limited)
{
	struct pl_generation *before = h->generation;
	h->generation = pl_generation_ref(h->listener->generation);
	pl_generation_unref(&before);
	h->request.config = h->generation->config;
	h->request.headers = h->raw.headers;
	h->request.query = h->target.query;
	h->request.nroles = 0;
	h->checked_us = h->listener->peers.now_us;
	pl_router_match(h->generation->router, h->arena, h->request.method, &h->target, &h->match);
	const struct pl_problem *problem = check_client(h, limited); // its limit is for all that it sends
	if (!problem && h->match.status >= 400)
		return problem_of(h, h->match.status, h->match.title, h->match.detail);
	if (!problem && h->match.status == 200)
		problem = pl_request_head(&h->request, &h->match, h->echo_id);
	if (!h->match.route)
		h->request.request_id = h->echo_id;
	// Whatever it asks for, what is kept is bounded.
	if (!problem && h->raw.has_length && h->raw.length > h->request.config->http.max_body)
		problem = pl_request_too_large(&h->request);
	return problem;
}

static const struct pl_problem *check_head(struct pl_http_request *h)
{
	const char *why = NULL;
	int status = pl_raw_check(h->arena, &h->raw, &why);
	h->request.headers = h->raw.headers;
	h->request.echo_id = h->echo_id = pl_request_echo_id(&h->request);
	if (status == 0)
		status = pl_target_parse(h->arena, h->request.target, h->raw.target_len, &h->target, &why);
	if (status == 0)
		return check_request(h, true);
	h->close = true;
	h->listener->stats.refused++;
	return problem_of(h, status, NULL, why);
}

// A request begins when it has arrived completely. Until then, its credentials may have
// been withdrawn or have expired, and its sender decides how long that takes.
static const struct pl_problem *check_again(struct pl_http_request *h)
{
	const struct pl_listener *listener = h->listener;
	if (h->generation == listener->generation && listener->peers.now_us - h->checked_us < CHECKED_US)
		return NULL;
	return check_request(h, false);
}

// Answers a head and closes the connection, so that nothing after the head is read.
static enum MHD_Result refuse_now(struct pl_http_request *h)
{
	h->close = h->peer->drain = true;
	if (!h->raw.too_large)
		return refuse(h, h->refusal);
	pl_http_request_raw(h, h->refusal->status, h->refusal->title, h->refusal->detail);
	return MHD_NO;
}

bool pl_http_request_head_failed(struct pl_http_request *h)
{
	if (h->head_seen || h->stage != PL_REQUEST_STAGE_RECEIVING ||
	    !MHD_get_connection_info(
		    h->connection,
		    MHD_CONNECTION_INFO_REQUEST_HEADER_SIZE) || // which it reports once the head is complete
	    MHD_get_connection_info(
		    h->connection,
		    MHD_CONNECTION_INFO_HTTP_STATUS)) // already refused, in the middle of its head
		return false;
	const char *why = NULL;
	int status = pl_raw_check_lengths(h->arena, &h->raw, &why);
	h->request.headers = h->raw.headers;
	h->request.echo_id = h->echo_id = pl_request_echo_id(&h->request);
	h->listener->stats.refused++;
	pl_http_request_raw(h, status, NULL, why);
	pl_peer_shut(&h->listener->peers, h->peer);
	return true;
}

enum MHD_Result pl_http_request_head(struct pl_http_request *h, const char *method, const char *version)
{
	h->head_seen = true;
	h->raw.method = method;
	h->raw.version = version;
	h->request.method = pl_arena_strdup(h->arena, method);
	h->refusal = check_head(h);
	bool body = h->raw.has_length && h->raw.length > 0;
	// A client that waits for "100 Continue" has not sent the body yet, and need
	// not send it.
	bool now = h->close || (body && h->raw.expects_continue) ||
	           (h->raw.has_length && h->raw.length > DISCARD_MAX);
	return h->refusal && now ? refuse_now(h) : MHD_YES;
}

// The length is known and was checked against http.max_body, so memory is bounded.
enum MHD_Result pl_http_request_body(struct pl_http_request *h, const char *data, size_t len)
{
	want_runs(h->listener, 1); // more of it may have arrived already
	if (!h->refusal)
		pl_buf_add(&h->body, data, len);
	pl_held_update(h);
	return MHD_YES;
}

// The connection has nothing to do until the answer is ready.
static void wait_for_answer(struct pl_http_request *h)
{
	struct pl_listener *listener = h->listener;
	pl_peer_enter(&listener->peers, h->peer, PL_PEER_WORKING, 0);
	// With TLS, the library has reasons of its own to run again, which only it knows.
	h->suspended = listener->waiting >= WAITING_MAX || h->peer->tls.server;
	if (h->suspended)
		MHD_suspend_connection(h->connection);
	else
		listener->waiting++;
}

// The answer is ready: libmicrohttpd asks for it at its next run, in this turn.
static void go_on(struct pl_http_request *h)
{
	h->stage = PL_REQUEST_STAGE_ANSWERED;
	h->listener->resumed = true;
	if (h->suspended)
		MHD_resume_connection(h->connection);
	else
		h->listener->waiting--;
}

static void on_done(struct pl_run *run, void *arg)
{
	struct pl_http_request *h = arg;
	h->run_done = true;
	h->listener->running--;
	if (h->in_start)
		return;
	if (!h->connection) {
		retire(h);
		return;
	}
	if (h->stage == PL_REQUEST_STAGE_RUNNING)
		go_on(h);
}

void pl_http_request_instead(struct pl_http_request *h, const struct pl_problem *problem)
{
	h->overdue = true;
	h->instead.problem = problem;
	h->close = true;
	go_on(h);
}

// The region is not whole, or is drained: the next region is asked.
static bool is_closed(struct pl_http_request *h)
{
	const struct pl_listener_options *options = &h->listener->options;
	bool writes = strcmp(h->request.method, "GET") != 0 && strcmp(h->request.method, "HEAD") != 0;
	char reason[PL_ERROR_TEXT_MAX];
	struct pl_problem *problem;

	if (!options->closed || !options->closed(writes, reason, options->arg))
		return false;
	problem = pl_exchange_problem_new(h->arena, 503, "Service unavailable");
	reason[strcspn(reason, ":")] = '\0'; // what follows it is for operators
	problem->detail = pl_arena_printf(h->arena, "Nothing was executed: %s.", reason);
	problem->not_executed = true;
	problem->retryable = 1;
	problem->retry_after_s = 1;
	h->answer.problem = problem;
	return true;
}

static enum MHD_Result run_handler(struct pl_http_request *h)
{
	struct pl_listener *listener = h->listener;
	pl_held_update(h);
	if (is_closed(h))
		return reply(h);
	if (listener->running >= h->generation->config->http.max_queued || pl_held_refuses(h)) {
		struct pl_error err;
		pl_error_set(&err, PL_EBUSY, "%s", "too many requests are waiting");
		listener->stats.overloaded++;
		return refuse(h, pl_exchange_problem_of_error(h->arena, &err));
	}
	h->request.deadline_us = pl_mono_us() + h->request.route->timeout_us;
	listener->running++;
	h->stage = PL_REQUEST_STAGE_RUNNING;
	h->in_start = true;
	h->run =
		pl_run_start(h->generation->vm, listener->options.store, &h->request, &h->answer, on_done, h);
	h->in_start = false;
	if (h->run_done)
		return reply(h);
	wait_for_answer(h);
	return MHD_YES;
}

enum MHD_Result pl_http_request_whole(struct pl_http_request *h)
{
	switch (h->stage) {
	case PL_REQUEST_STAGE_RUNNING: // asked again because it is not suspended: not ready yet
	case PL_REQUEST_STAGE_REPLIED: return MHD_YES;
	case PL_REQUEST_STAGE_ANSWERED: return reply(h);
	case PL_REQUEST_STAGE_RECEIVING: break;
	}
	if (!h->refusal)
		h->refusal = check_again(h);
	if (h->refusal)
		return refuse(h, h->refusal);
	if (h->match.status == 204) {
		h->answer.status = 204;
		return reply(h);
	}
	const struct pl_problem *problem = pl_request_body(
		&h->request, &h->body); // the text is kept as well, for a script that stores the body
	if (problem)
		return refuse(h, problem);
	if (h->request.route)
		return run_handler(h);
	h->listener->options.builtin(h->match.builtin, &h->request, &h->answer, h->listener->options.arg);
	return reply(h);
}
