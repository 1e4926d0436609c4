// The listener: libmicrohttpd with an epoll of its own, which is watched in the worker's loop.
//
// Stands at the beginning of the way of a request, and at its end. What libmicrohttpd 0.9.75 wants, found out by trying:
// - it has no wake-up of its own: a resumed connection is looked at when MHD_run is called next, so that is done in the same loop turn;
// - suspending a connection costs three system calls for a request, and it may as well be asked again and again: so a few wait without, see next_run_ms;
// - MHD_stop_daemon aborts while a connection is suspended: every one is answered and resumed first;
// - a suspended connection never times out and its client's hanging up is not seen: each request has a deadline of ours;
// - its own timeout counts idleness only: each connection has a deadline of ours (http/peer), and it has none;
// - a connection is ended from outside by shutting its socket: the library then reads the end of it.
// Room is made by ending the weakest connection, not by accepting no more: half-sent requests, however many, then keep nobody out.
// Invariant: a handling is in `handlings` or in `finished`, and is freed at the end of a turn, when nobody stands in it.
// Threads: the worker's.
#define _GNU_SOURCE // accept4
#include "http/listener.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>
#include <utlist.h>

#include "base/clock.h"
#include "base/log.h"
#include "http/bind.h"
#include "http/handling.h"

#define SWEEP_US 250000       // how late a deadline may be noticed
#define OVERDUE_GRACE_US 2000000 // the store's own deadline comes first
#define MEMORY_PER_CONNECTION (16u << 10) // twice PL_HEAD_MAX: the headers as a list and those of the answer come to it. Cleared for each request, so no more
#define DOOR_US 30000            // from turning new connections away to closing the listening socket: for handshakes that have begun
#define SILENT_US 500000         // how long a draining listener waits for a request that may be on its way on a kept connection
#define HEADROOM 64           // connections that are ending while others take their places
#define SHARED_EVENTS (EPOLLIN | EPOLLEXCLUSIVE) // one listener is woken for a connection, not all
#define SHARED_SHARE 4        // connections taken from the shared socket before those that are there, and other listeners, get their turn
#define FLUSH_ROUNDS 50       // of 2 ms, for answers to be taken when the listener ends

// ---- what libmicrohttpd calls

__attribute__((format(printf, 2, 0)))
static void on_log(void *cls, const char *fmt, va_list ap)
{
	struct pl_buf text = {0};
	if (!pl_log_enabled(PL_LOG_DEBUG))
		return;
	pl_buf_vprintf(&text, fmt, ap);
	while (text.len > 0 && text.data[text.len - 1] == '\n')
		text.data[--text.len] = '\0';
	pl_debug("http: libmicrohttpd: %s", text.data);
	pl_buf_fini(&text);
}

static void make_room(struct pl_listener *listener)
{
	if (listener->peers.n < listener->options.max_connections)
		return;
	struct pl_peer *weakest = pl_peer_weakest(&listener->peers);
	if (!weakest)
		return;
	listener->stats.evicted++;
	pl_peer_shut(&listener->peers, weakest);
}

static void on_connection(void *cls, struct MHD_Connection *connection, void **context, enum MHD_ConnectionNotificationCode code)
{
	struct pl_listener *listener = cls;
	if (code == MHD_CONNECTION_NOTIFY_CLOSED) {
		if (*context)
			pl_peer_free(&listener->peers, *context);
		*context = NULL;
		return;
	}
	const union MHD_ConnectionInfo *info = MHD_get_connection_info(connection, MHD_CONNECTION_INFO_CONNECTION_FD);
	listener->stats.accepted++;
	make_room(listener);
	*context = pl_peer_new(&listener->peers, info->connect_fd, listener->program->config->http.receive_timeout_us);
}

static struct pl_peer *peer_of(struct MHD_Connection *connection)
{
	return MHD_get_connection_info(connection, MHD_CONNECTION_INFO_SOCKET_CONTEXT)->socket_context;
}

// A request line has come. What is returned is what the other callbacks of this request get.
static void *on_request_line(void *cls, const char *target, struct MHD_Connection *connection)
{
	struct pl_listener *listener = cls;
	struct pl_peer *peer = peer_of(connection);
	if (peer->state == PL_PEER_IDLE)
		pl_peer_enter(&listener->peers, peer, PL_PEER_RECEIVING, listener->program->config->http.receive_timeout_us);
	return pl_handling_new(listener, connection, peer, target ? target : "");
}

static enum MHD_Result on_request(void *cls, struct MHD_Connection *connection, const char *url, const char *method, const char *version,
                                  const char *data, size_t *len, void **context)
{
	struct pl_handling *handling = *context;
	if (!handling->head_seen)
		return pl_handling_head(handling, method, version);
	if (*len == 0)
		return pl_handling_whole(handling);
	size_t n = *len;
	*len = 0;
	return pl_handling_body(handling, data, n);
}

static void on_completed(void *cls, struct MHD_Connection *connection, void **context, enum MHD_RequestTerminationCode code)
{
	struct pl_listener *listener = cls;
	struct pl_handling *handling = *context;
	if (!handling)
		return;
	*context = NULL;
	struct pl_peer *peer = handling->peer;
	pl_handling_leave(handling);
	// Also when draining: an answer that was on its way before did not say that the connection would end, so one more request may come.
	pl_peer_enter(&listener->peers, peer, PL_PEER_IDLE, listener->program->config->http.idle_timeout_us);
}

// Takes who waits at the shared socket, a few, and says how many there were. Where descriptors or memory are short they wait there until a sweep.
static int take_shared(struct pl_listener *listener)
{
	int n = 0;
	for (; n < SHARED_SHARE; n++) {
		int fd = accept4(listener->options.shared_fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
		if (fd < 0) {
			if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM)
				pl_watch_set(listener->shared, 0);
			break;
		}
		struct sockaddr nobody = {.sa_family = AF_UNIX}; // libmicrohttpd wants to know the family alone; it closes what it does not take
		MHD_add_connection(listener->daemon, fd, &nobody, sizeof(nobody));
	}
	listener->ready |= n > 0;
	return n;
}

// The kernel wakes the listener that has been watching longest, of those that sleep: so one that has taken its share begins to watch anew. Else one
// worker of a quiet daemon would have all the connections that NGINX keeps.
static void on_shared(void *arg, uint32_t events)
{
	struct pl_listener *listener = arg;
	listener->shared_taken += take_shared(listener);
	if (listener->shared_taken < SHARED_SHARE)
		return;
	listener->shared_taken = 0;
	pl_watch_set(listener->shared, 0);
	pl_watch_set(listener->shared, SHARED_EVENTS);
}

// Takes those whom the kernel has let in already, and closes the listening socket.
static void close_door(struct pl_listener *listener)
{
	struct pollfd pfd = {.fd = listener->fd, .events = POLLIN};
	if (listener->fd < 0)
		return;
	for (int i = 0; i < 1000 && poll(&pfd, 1, 0) == 1; i++)
		MHD_run(listener->daemon);
	for (int i = 0; listener->shared && i < 1000 && take_shared(listener) > 0; i++)
		MHD_run(listener->daemon);
	pl_watch_free(&listener->shared);
	MHD_quiesce_daemon(listener->daemon);
	close(listener->fd);
	listener->fd = -1;
	listener->ready = true;
}

// ---- deadlines

static void end_late_peers(struct pl_listener *listener, int64_t now_us)
{
	for (struct pl_peer *peer; (peer = pl_peer_late(&listener->peers, now_us)) != NULL;) {
		if (peer->state != PL_PEER_IDLE)
			listener->stats.timed_out++;
		if (peer->state == PL_PEER_RECEIVING && peer->handling && peer->handling->stage == PL_STAGE_RECEIVING)
			pl_handling_raw(peer->handling, 408, NULL, "the request did not come whole in time");
		pl_peer_shut(&listener->peers, peer);
	}
}

// Why a request that a handler still has is answered now. Of a write it is not known whether it will have happened.
static const struct pl_problem *unfinished(struct pl_handling *handling, int code)
{
	bool read = strcmp(handling->request.route->method, "GET") == 0;
	struct pl_error err;
	pl_error_set(&err, read ? code : PL_EUNKNOWN, "%s", "not done in time");
	return pl_problem_of_error(handling->arena, &err);
}

// A handler that the store has not answered although its deadline has passed.
static void answer_overdue(struct pl_listener *listener, int64_t now_us)
{
	struct pl_handling *handling, *next;
	DL_FOREACH_SAFE(listener->handlings, handling, next) {
		if (handling->stage != PL_STAGE_RUNNING || !handling->connection)
			continue;
		if (handling->request.deadline_us + OVERDUE_GRACE_US > now_us)
			continue;
		listener->stats.overdue++;
		pl_handling_instead(handling, unfinished(handling, PL_ETIMEOUT));
	}
}

// Connections on which no request has begun are not waited for to the end.
static void end_silent_peers(struct pl_listener *listener)
{
	struct pl_peer *peer, *next;
	while ((peer = listener->peers.lists[PL_PEER_IDLE]) != NULL)
		pl_peer_shut(&listener->peers, peer);
	DL_FOREACH_SAFE(listener->peers.lists[PL_PEER_RECEIVING], peer, next)
		if (!peer->handling)
			pl_peer_shut(&listener->peers, peer);
}

static void on_sweep(void *arg)
{
	struct pl_listener *listener = arg;
	int64_t now_us = listener->peers.now_us = pl_mono_us();
	end_late_peers(listener, now_us);
	if (listener->draining && now_us >= listener->drain_began_us + DOOR_US)
		close_door(listener);
	if (listener->draining && now_us >= listener->drain_began_us + SILENT_US)
		end_silent_peers(listener);
	answer_overdue(listener, now_us);
	if (listener->shared)
		pl_watch_set(listener->shared, SHARED_EVENTS);
	pl_timer_set(listener->sweep, SWEEP_US);
}

// ---- the turn

static void on_ready(void *arg, uint32_t events)
{
	struct pl_listener *listener = arg;
	listener->ready = true;
}

static void free_finished(struct pl_listener *listener)
{
	for (struct pl_handling *handling; (handling = listener->finished) != NULL;) {
		LL_DELETE(listener->finished, handling);
		pl_handling_free(handling);
	}
}

bool pl_listener_pending(const struct pl_listener *listener)
{
	return listener->resumed;
}

// When libmicrohttpd wants to run again by itself: 0 = now, -1 = never. While a connection waits for its answer it always says "now"; then what it has
// just done tells. What that leaves out (a client that takes an answer in pieces) is found at the next run, which who waits brings, or after a sweep's time.
static int next_run_ms(const struct pl_listener *listener)
{
	MHD_UNSIGNED_LONG_LONG ms;
	if (listener->waiting > 0)
		return listener->runs > 0 ? 0 : SWEEP_US / 1000;
	if (MHD_get_timeout(listener->daemon, &ms) != MHD_YES)
		return -1;
	return ms > 3600000 ? 3600000 : (int)ms;
}

int pl_listener_turn(struct pl_listener *listener)
{
	int64_t now_us = listener->peers.now_us = pl_mono_us();
	if (!listener->ready && !listener->resumed && now_us < listener->due_us)
		return listener->due_us == INT64_MAX ? -1 : (int)((listener->due_us - now_us) / 1000 + 1);
	int wait_ms = 0;
	for (int round = 0; wait_ms == 0 && round < 16; round++) { // bounded, so that a flood of connections does not keep the database waiting
		listener->ready = listener->resumed = false;
		listener->runs -= listener->runs > 0;
		MHD_run(listener->daemon);
		wait_ms = listener->resumed ? 0 : next_run_ms(listener);
	}
	free_finished(listener);
	listener->due_us = wait_ms < 0 ? INT64_MAX : pl_mono_us() + wait_ms * INT64_C(1000);
	return wait_ms;
}

// ---- beginning and end

static struct MHD_Daemon *start_daemon(struct pl_listener *listener)
{
	return MHD_start_daemon(MHD_USE_EPOLL | MHD_ALLOW_SUSPEND_RESUME | MHD_USE_ERROR_LOG | MHD_USE_TURBO, 0, NULL, NULL, on_request, listener,
	                        MHD_OPTION_EXTERNAL_LOGGER, on_log, listener,
	                        MHD_OPTION_LISTEN_SOCKET, listener->fd,
	                        MHD_OPTION_URI_LOG_CALLBACK, on_request_line, listener,
	                        MHD_OPTION_NOTIFY_CONNECTION, on_connection, listener,
	                        MHD_OPTION_NOTIFY_COMPLETED, on_completed, listener,
	                        MHD_OPTION_CONNECTION_LIMIT, (unsigned)listener->options.max_connections + HEADROOM,
	                        MHD_OPTION_CONNECTION_TIMEOUT, 0u,
	                        MHD_OPTION_CONNECTION_MEMORY_LIMIT, (size_t)MEMORY_PER_CONNECTION,
	                        MHD_OPTION_END);
}

struct pl_listener *pl_listener_new(const struct pl_listener_options *options, struct pl_error *err)
{
	struct pl_listener *listener = pl_calloc(1, sizeof(*listener));
	listener->options = *options;
	listener->fd = options->fd;
	listener->program = pl_program_ref(options->program);
	listener->daemon = start_daemon(listener);
	if (!listener->daemon) {
		pl_error_set(err, PL_EUNAVAIL, "libmicrohttpd did not start");
		pl_listener_free(&listener);
		return NULL;
	}
	int epoll_fd = MHD_get_daemon_info(listener->daemon, MHD_DAEMON_INFO_EPOLL_FD)->epoll_fd;
	listener->watch = pl_watch_new(options->loop, epoll_fd, EPOLLIN, on_ready, listener);
	if (options->shared_fd >= 0)
		listener->shared = pl_watch_new(options->loop, options->shared_fd, SHARED_EVENTS, on_shared, listener);
	listener->sweep = pl_timer_new(options->loop, on_sweep, listener);
	pl_timer_set(listener->sweep, SWEEP_US);
	listener->ready = true;
	return listener;
}

void pl_listener_set_program(struct pl_listener *listener, struct pl_program *program)
{
	pl_program_ref(program);
	pl_program_unref(&listener->program);
	listener->program = program;
}

void pl_listener_quiesce(struct pl_listener *listener)
{
	if (listener->draining)
		return;
	pl_bind_refuse_new(listener->fd);
	listener->draining = true;
	listener->drain_began_us = pl_mono_us();
	pl_timer_set(listener->sweep, DOOR_US);
}

bool pl_listener_drained(const struct pl_listener *listener)
{
	return listener->draining && listener->fd < 0 && listener->peers.n == 0;
}

// Answers everybody who waits, and gives the answers a moment to be taken.
static void answer_all(struct pl_listener *listener)
{
	struct pl_handling *handling, *next;
	DL_FOREACH_SAFE(listener->handlings, handling, next)
		if (handling->stage == PL_STAGE_RUNNING && handling->connection)
			pl_handling_instead(handling, unfinished(handling, PL_ESTOPPED));
	for (int i = 0; i < FLUSH_ROUNDS; i++) {
		MHD_run(listener->daemon);
		if (!listener->peers.lists[PL_PEER_WORKING] && !listener->peers.lists[PL_PEER_SENDING])
			break;
		usleep(2000);
	}
}

void pl_listener_free(struct pl_listener **listener_r)
{
	struct pl_listener *listener = *listener_r;
	if (!listener)
		return;
	*listener_r = NULL;
	if (listener->daemon) {
		pl_listener_quiesce(listener);
		close_door(listener);
		answer_all(listener);
		MHD_stop_daemon(listener->daemon);
	} else if (listener->fd >= 0)
		close(listener->fd);
	pl_watch_free(&listener->watch);
	pl_watch_free(&listener->shared);
	pl_timer_free(&listener->sweep);
	// Runs that are not done yet are abandoned; none is left when the store has been freed first.
	for (struct pl_handling *handling; (handling = listener->handlings) != NULL;) {
		DL_DELETE(listener->handlings, handling);
		pl_handling_free(handling);
	}
	free_finished(listener);
	pl_program_unref(&listener->program);
	free(listener);
}

void pl_listener_stats(const struct pl_listener *listener, struct pl_listener_stats *stats_r)
{
	*stats_r = listener->stats;
	stats_r->connections = listener->peers.n;
	stats_r->in_flight = 0;
	const struct pl_handling *handling;
	DL_FOREACH(listener->handlings, handling)
		stats_r->in_flight += handling->stage != PL_STAGE_REPLIED && handling->head_seen;
}
