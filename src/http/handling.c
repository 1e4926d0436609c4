// One request: its head checked, its route found, its body collected, its handler run, its answer sent.
//
// Stands in the middle of http/: listener calls it with what libmicrohttpd brings, and it calls raw, target, router, request, script's vm and
// response, in this order. libmicrohttpd asks for the answer only when the whole request has come; a refusal found earlier waits for that,
// because an answer given before costs the connection and may be lost with it. What is ambiguous is answered at once, and does cost it.
// Invariants: a handling is freed when both its connection has left it and its run is done; nothing that the run may still write to goes before.
// Threads: the worker's.
#include "http/handling.h"

#include <string.h>
#include <sys/socket.h>
#include <utlist.h>

#include "base/clock.h"
#include "base/log.h"
#include "http/request.h"
#include "http/response.h"

// A body that is refused is still taken off the connection, up to this; what is longer costs the connection.
#define DISCARD_MAX (1u << 20)
// Connections that wait for their answer without being suspended. Suspending costs a request three system calls; not suspending costs
// every run of libmicrohttpd a look at each that waits.
#define WAITING_MAX 128

// What libmicrohttpd has just done it may have to go on with: see next_run_ms in http/listener.
static void want_runs(struct pl_listener *listener, int runs)
{
	if (listener->runs < runs)
		listener->runs = runs;
}

// ---- beginning and end

struct pl_handling *pl_handling_new(struct pl_listener *listener, struct MHD_Connection *connection, struct pl_peer *peer, const char *target)
{
	struct pl_arena *arena = pl_arena_new(0);
	struct pl_handling *h = pl_arena_alloc(arena, sizeof(*h));
	h->listener = listener;
	h->connection = connection;
	h->peer = peer;
	h->program = pl_program_ref(listener->program);
	h->arena = arena;
	h->began_us = pl_mono_us();
	h->raw.connection = connection;
	h->raw.target = target;
	h->raw.target_len = strlen(target);
	h->match = (struct pl_match){.method = "other", .path = "other"};
	h->request.arena = h->arena;
	h->request.config = h->program->config;
	h->request.target = pl_arena_strndup(h->arena, target, h->raw.target_len);
	h->request.method = "";
	h->request.request_id = h->request.principal = "";
	peer->handling = h;
	DL_APPEND(listener->handlings, h);
	return h;
}

void pl_handling_free(struct pl_handling *h)
{
	pl_run_free(&h->run);
	cJSON_Delete(h->request.body);
	pl_buf_fini(&h->body);
	pl_buf_fini(&h->answer.body);
	pl_buf_fini(&h->instead.body);
	pl_program_unref(&h->program);
	struct pl_arena *arena = h->arena; // h is in it
	pl_arena_free(&arena);
}

static void retire(struct pl_handling *h)
{
	DL_DELETE(h->listener->handlings, h);
	LL_PREPEND(h->listener->finished, h);
}

void pl_handling_leave(struct pl_handling *h)
{
	if (h->peer)
		h->peer->handling = NULL;
	if (h->stage == PL_STAGE_RECEIVING)
		h->listener->stats.unparsed++;
	if (h->stage == PL_STAGE_RUNNING && !h->suspended)
		h->listener->waiting--;
	want_runs(h->listener, 1); // the next request may be there already
	h->peer = NULL;
	h->connection = NULL;
	if (!h->run || h->run_done)
		retire(h);
}

// ---- refusing

static const struct pl_problem *problem_of(struct pl_handling *h, int status, const char *title, const char *detail)
{
	struct pl_problem *problem = pl_problem_new(h->arena, status, title);
	problem->detail = detail;
	return problem;
}

static struct pl_response_context context_of(const struct pl_handling *h)
{
	return (struct pl_response_context){
		.region = h->listener->options.region,
		.request_id = h->echo_id,
		.allow = h->match.allow,
		.close = h->close || h->listener->draining,
	};
}

void pl_handling_raw(struct pl_handling *h, int status, const char *title, const char *detail)
{
	struct pl_response_context context = context_of(h);
	struct pl_buf bytes = {0};
	pl_response_raw(&bytes, problem_of(h, status, title, detail), &context);
	// What does not fit the socket's buffer at once is lost; the connection is ending anyway.
	(void)!send(h->peer->fd, bytes.data, bytes.len, MSG_NOSIGNAL | MSG_DONTWAIT);
	pl_buf_fini(&bytes);
	h->stage = PL_STAGE_REPLIED;
	if (h->listener->options.served)
		h->listener->options.served(&(struct pl_served){h->match.method, h->match.path, status, pl_mono_us() - h->began_us},
		                            h->listener->options.arg);
}

// ---- answering

static enum MHD_Result reply(struct pl_handling *h)
{
	struct pl_listener *listener = h->listener;
	struct pl_answer *answer = h->overdue ? &h->instead : &h->answer;
	struct pl_response_context context = context_of(h);
	struct pl_served served = {h->match.method, h->match.path, 0, pl_mono_us() - h->began_us};
	struct MHD_Response *response = pl_response_make(&h->request, answer, &context, &served.status);
	pl_peer_enter(&listener->peers, h->peer, PL_PEER_SENDING, h->program->config->http.idle_timeout_us);
	h->stage = PL_STAGE_REPLIED;
	want_runs(listener, 2); // one sends it, one finds that it has been sent
	enum MHD_Result result = MHD_queue_response(h->connection, (unsigned)served.status, response);
	MHD_destroy_response(response);
	pl_debug("http: %s %s: %d in %lld us, request %s", h->request.method, h->request.target, served.status, (long long)served.took_us,
	         h->echo_id);
	if (listener->options.served)
		listener->options.served(&served, listener->options.arg);
	return result;
}

static enum MHD_Result refuse(struct pl_handling *h, const struct pl_problem *problem)
{
	h->answer.problem = problem;
	return reply(h);
}

// ---- the head

static const struct pl_problem *check_head(struct pl_handling *h)
{
	const char *why = NULL;
	struct pl_target target;
	int status = pl_raw_check(h->arena, &h->raw, &why);
	h->request.headers = h->raw.headers;
	h->echo_id = pl_request_echo_id(&h->request);
	if (status == 0)
		status = pl_target_parse(h->arena, h->request.target, h->raw.target_len, &target, &why);
	if (status != 0) {
		h->close = true;
		h->listener->stats.refused++;
		return problem_of(h, status, NULL, why);
	}
	h->request.query = target.query;
	pl_router_match(h->program->router, h->arena, h->request.method, &target, &h->match);
	if (h->match.status >= 400)
		return problem_of(h, h->match.status, h->match.title, h->match.detail);
	if (h->match.status != 200)
		return NULL;
	const struct pl_problem *problem = pl_request_head(&h->request, &h->match);
	if (!h->match.route)
		h->request.request_id = h->echo_id;
	if (!problem && h->raw.has_length && h->raw.length > h->program->config->http.max_body)
		problem = pl_request_too_large(&h->request);
	return problem;
}

enum MHD_Result pl_handling_head(struct pl_handling *h, const char *method, const char *version)
{
	h->head_seen = true;
	h->raw.method = method;
	h->raw.version = version;
	h->request.method = pl_arena_strdup(h->arena, method);
	h->refusal = check_head(h);
	bool body = h->raw.chunked || (h->raw.has_length && h->raw.length > 0);
	// Whoever waits for "100 Continue" has not sent the body yet, and need not.
	bool now = h->close || (body && h->raw.expects_continue) || (h->raw.has_length && h->raw.length > DISCARD_MAX);
	if (!h->refusal || !now)
		return MHD_YES;
	h->close = true;
	return refuse(h, h->refusal);
}

// ---- the body

enum MHD_Result pl_handling_body(struct pl_handling *h, const char *data, size_t len)
{
	size_t most = h->program->config->http.max_body;
	h->received += len;
	want_runs(h->listener, 1); // more of it may be there already
	if (!h->refusal && h->received > most)
		h->refusal = pl_request_too_large(&h->request);
	if (!h->refusal) {
		pl_buf_add(&h->body, data, len);
		return MHD_YES;
	}
	pl_buf_fini(&h->body);
	if (h->received <= DISCARD_MAX || h->received <= most)
		return MHD_YES;
	pl_handling_raw(h, h->refusal->status, h->refusal->title, h->refusal->detail);
	return MHD_NO;
}

// ---- the handler

// Its connection has nothing to do until the answer is there.
static void wait_for_answer(struct pl_handling *h)
{
	struct pl_listener *listener = h->listener;
	pl_peer_enter(&listener->peers, h->peer, PL_PEER_WORKING, 0);
	h->suspended = listener->waiting >= WAITING_MAX;
	if (h->suspended)
		MHD_suspend_connection(h->connection);
	else
		listener->waiting++;
}

// The answer is there: libmicrohttpd asks for it when it runs next, which is in this turn.
static void go_on(struct pl_handling *h)
{
	h->stage = PL_STAGE_ANSWERED;
	h->listener->resumed = true;
	if (h->suspended)
		MHD_resume_connection(h->connection);
	else
		h->listener->waiting--;
}

static void on_done(struct pl_run *run, void *arg)
{
	struct pl_handling *h = arg;
	h->run_done = true;
	h->listener->running--;
	if (h->in_start)
		return;
	if (!h->connection) {
		retire(h);
		return;
	}
	if (h->stage == PL_STAGE_RUNNING)
		go_on(h);
}

void pl_handling_instead(struct pl_handling *h, const struct pl_problem *problem)
{
	h->overdue = true;
	h->instead.problem = problem;
	h->close = true;
	go_on(h);
}

static enum MHD_Result run_handler(struct pl_handling *h)
{
	struct pl_listener *listener = h->listener;
	if (listener->running >= h->program->config->http.queue) {
		struct pl_error err;
		pl_error_set(&err, PL_EBUSY, "%s", "too many requests are waiting");
		listener->stats.overloaded++;
		return refuse(h, pl_problem_of_error(h->arena, &err));
	}
	h->request.deadline_us = pl_mono_us() + h->request.route->timeout_us;
	listener->running++;
	h->stage = PL_STAGE_RUNNING;
	h->in_start = true;
	h->run = pl_run_start(h->program->vm, listener->options.store, &h->request, &h->answer, on_done, h);
	h->in_start = false;
	if (h->run_done)
		return reply(h);
	wait_for_answer(h);
	return MHD_YES;
}

enum MHD_Result pl_handling_whole(struct pl_handling *h)
{
	switch (h->stage) {
	case PL_STAGE_RUNNING: // asked again, as one that waits is: nothing to say yet
	case PL_STAGE_REPLIED:
		return MHD_YES;
	case PL_STAGE_ANSWERED:
		return reply(h);
	case PL_STAGE_RECEIVING:
		break;
	}
	if (h->refusal)
		return refuse(h, h->refusal);
	if (h->match.status == 204) {
		h->answer.status = 204;
		return reply(h);
	}
	const struct pl_problem *problem = pl_request_body(&h->request, &h->body); // the text stays, too, for a script that keeps the body
	if (problem)
		return refuse(h, problem);
	if (h->request.route)
		return run_handler(h);
	h->listener->options.builtin(h->match.builtin, &h->request, &h->answer, h->listener->options.arg);
	return reply(h);
}
