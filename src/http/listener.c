// The listener: libmicrohttpd with its own epoll descriptor, which the worker's event
// loop watches.
//
// The first and last step of a request. These properties of libmicrohttpd 0.9.75, found
// by experiment, shape the code:
// - It has no wake-up: a resumed connection is handled by the next MHD_run, so we call
//   that in the same turn of the loop.
// - Suspending a connection costs three system calls per request, while not suspending
//   it means that it is checked in every run. So a few connections wait without being
//   suspended: see next_run_ms.
// - MHD_stop_daemon aborts while a connection is suspended: all of them are answered
//   and resumed first.
// - A suspended connection never times out, and a disconnect of its client goes
//   unnoticed: we set a deadline for each request.
// - Its own timeout measures only idle time: we set a deadline for each connection
//   (http/peer) and disable the library's.
// - The only way to end a connection from outside is to shut down its socket. The
//   library then reads the end of it or, if its buffer is full and it no longer reads,
//   closes it after its own timeout (http/peer).
// - Its parsers of chunks, trailers, queries and cookies mishandle a full buffer: see
//   http/raw, and pl_http_request_head_failed in http/http_request.
// A new connection replaces the weakest one instead of waiting, so that no number of
// half-sent requests can keep other clients out.
// Invariant: a request is in `requests` or in `finished`; those in `finished` are freed
// at the end of a turn, when no function is using them.
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
#include "http/held.h"
#include "http/http_private.h"

#define SWEEP_US              250000  // how late a deadline may be noticed
#define OVERDUE_GRACE_US      2000000 // the deadline of the store comes first
// Large enough for a head of PL_HEAD_MAX, the list of PL_HEADERS_MAX headers (64 bytes
// each) and the headers of an answer (8192 bytes, script/answer, and a session token), so
// that every accepted request can be answered. Not larger, because it is cleared for each
// request.
#define MEMORY_PER_CONNECTION (24u << 10)
// from turning new connections away to closing the listening socket, for handshakes in
// progress
#define DOOR_US               30000
// how long a draining listener waits for a request that may be on its way on an open
// connection
#define SILENT_US             500000
#define HEADROOM              64 // connections that are closing while others replace them
#define SHARED_EVENTS         (EPOLLIN | EPOLLEXCLUSIVE) // wakes one listener per connection, not all
// connections accepted from the shared socket before existing ones, and other listeners,
// get their turn
#define SHARED_SHARE          4
#define FLUSH_ROUNDS          50 // of 2 ms each, for sending answers when the listener ends

// ---- what libmicrohttpd calls

__attribute__((format(printf, 2, 0))) static void on_log(void *cls, const char *fmt, va_list ap)
{
	struct pl_listener *listener = cls;
	struct pl_buf text = { 0 };
	struct pl_http_request *http_request;
	// libmicrohttpd logs an error in a head before it answers, and calls nothing
	// else. The connection of that head is the only one that is between its last byte
	// and our callback.
	DL_FOREACH (listener->http_requests, http_request)
		if (pl_http_request_head_failed(http_request))
			break;
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
	struct pl_peer *weakest = pl_peer_weakest(&listener->peers, listener->options.max_connections);
	if (!weakest)
		return;
	listener->stats.evicted++;
	pl_peer_shut(&listener->peers, weakest);
}

// Shut down at least a second ago, but libmicrohttpd has not closed it: its own timeout
// closes it now. The reason why it waited is unknown.
static void report_stuck(struct pl_listener *listener, const struct pl_peer *peer)
{
	static struct pl_log_limit limit;
	listener->stats.stuck++;
	if (pl_log_limit_ok(&limit, 10000000))
		pl_warning(
			"http: a connection was still open one second after it was shut down; closing it by "
			"force (%llu so far)",
			(unsigned long long)listener->stats.stuck);
}

static void on_closed(struct pl_listener *listener, struct pl_peer *peer)
{
	if (pl_peer_is_stuck(peer, pl_mono_us()))
		report_stuck(listener, peer);
	if (peer->drain)
		pl_drain_take(listener->drain, peer->fd);
	pl_peer_free(&listener->peers, peer);
}

// The handshake has the time of a request to arrive, like everything before the end of
// one.
static void begin_tls(struct pl_listener *listener, struct pl_peer *peer)
{
	peer->tls = (struct pl_tls_peer){ .server = pl_tls_server_ref(listener->tls), .fd = peer->fd };
	pl_tls_server_begin(
		&peer->tls,
		MHD_get_connection_info(peer->connection, MHD_CONNECTION_INFO_GNUTLS_SESSION)->tls_session);
}

static void on_connection(void *cls, struct MHD_Connection *connection, void **context,
                          enum MHD_ConnectionNotificationCode code)
{
	struct pl_listener *listener = cls;
	if (code == MHD_CONNECTION_NOTIFY_CLOSED) {
		if (*context)
			on_closed(listener, *context);
		*context = NULL;
		return;
	}
	const union MHD_ConnectionInfo *info =
		MHD_get_connection_info(connection, MHD_CONNECTION_INFO_CONNECTION_FD);
	listener->stats.accepted++;
	make_room(listener);
	struct pl_peer *peer = pl_peer_new(&listener->peers, connection, info->connect_fd,
	                                   listener->generation->config->http.receive_timeout_us);
	info = MHD_get_connection_info(connection, MHD_CONNECTION_INFO_CLIENT_ADDRESS);
	peer->has_address = pl_network_of_peer(info->client_addr, &peer->address);
	*context = peer;
	if (listener->tls)
		begin_tls(listener, peer);
}

static struct pl_peer *peer_of(struct MHD_Connection *connection)
{
	return MHD_get_connection_info(connection, MHD_CONNECTION_INFO_SOCKET_CONTEXT)->socket_context;
}

// Called for each request line. The return value is passed to the other callbacks of this
// request.
static void *on_request_line(void *cls, const char *target, struct MHD_Connection *connection)
{
	struct pl_listener *listener = cls;
	struct pl_peer *peer = peer_of(connection);
	if (peer->state == PL_PEER_IDLE)
		pl_peer_enter(&listener->peers, peer, PL_PEER_RECEIVING,
		              listener->generation->config->http.receive_timeout_us);
	return pl_http_request_new(listener, connection, peer, target ? target : "");
}

static enum MHD_Result on_request(void *cls, struct MHD_Connection *connection, const char *url,
                                  const char *method, const char *version, const char *data, size_t *len,
                                  void **context)
{
	struct pl_http_request *http_request = *context;
	if (!http_request->head_seen)
		return pl_http_request_head(http_request, method, version);
	if (*len == 0)
		return pl_http_request_whole(http_request);
	size_t n = *len;
	*len = 0;
	return pl_http_request_body(http_request, data, n);
}

static void on_completed(void *cls, struct MHD_Connection *connection, void **context,
                         enum MHD_RequestTerminationCode code)
{
	struct pl_listener *listener = cls;
	struct pl_http_request *http_request = *context;
	if (!http_request)
		return;
	*context = NULL;
	struct pl_peer *peer = http_request->peer;
	pl_http_request_leave(http_request);
	// Also while draining: an earlier answer did not announce that the connection
	// would close, so one more request may come.
	pl_peer_enter(&listener->peers, peer, PL_PEER_IDLE,
	              listener->generation->config->http.idle_timeout_us);
}

// Accepts a few connections from the shared socket and returns how many. If descriptors
// or memory are short, they wait there until the next sweep.
static int take_shared(struct pl_listener *listener)
{
	int n = 0;
	for (; n < SHARED_SHARE; n++) {
		int fd = accept4(listener->options.shared_fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
		if (fd < 0) {
			if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM)
				pl_loop_watch_set(listener->shared, 0);
			break;
		}
		struct sockaddr nobody = {
			.sa_family = AF_UNIX
		}; // libmicrohttpd needs only the address family; it closes the descriptor if it refuses it
		MHD_add_connection(listener->daemon, fd, &nobody, sizeof(nobody));
	}
	listener->ready |= n > 0;
	return n;
}

// Of the sleeping listeners, the kernel wakes the one that has been watching longest. So
// a listener that has taken its share starts to watch again, behind the others.
// Otherwise, one worker of a quiet daemon would get all connections that NGINX keeps
// open.
static void on_shared(void *arg, uint32_t events)
{
	struct pl_listener *listener = arg;
	listener->shared_taken += take_shared(listener);
	if (listener->shared_taken < SHARED_SHARE)
		return;
	listener->shared_taken = 0;
	pl_loop_watch_set(listener->shared, 0);
	pl_loop_watch_set(listener->shared, SHARED_EVENTS);
}

// Accepts the connections that the kernel has already completed, and closes the listening
// socket.
static void close_door(struct pl_listener *listener)
{
	struct pollfd pfd = { .fd = listener->fd, .events = POLLIN };
	if (listener->fd < 0)
		return;
	for (int i = 0; i < 1000 && poll(&pfd, 1, 0) == 1; i++)
		MHD_run(listener->daemon);
	for (int i = 0; listener->shared && i < 1000 && take_shared(listener) > 0; i++)
		MHD_run(listener->daemon);
	pl_loop_watch_free(&listener->shared);
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
		if (peer->state == PL_PEER_RECEIVING && peer->http_request &&
		    peer->http_request->stage == PL_REQUEST_STAGE_RECEIVING &&
		    !MHD_get_connection_info(
			    peer->connection,
			    MHD_CONNECTION_INFO_HTTP_STATUS)) // libmicrohttpd has not refused it already
			pl_http_request_raw(peer->http_request, 408, NULL,
			                    "the request did not arrive completely in time");
		pl_peer_shut(&listener->peers, peer);
	}
	for (struct pl_peer *peer = listener->peers.lists[PL_PEER_CLOSING]; peer; peer = peer->next)
		if (pl_peer_is_stuck(peer, now_us)) {
			peer->reported = true;
			report_stuck(listener, peer);
		}
}

// The problem for a request that is answered while its handler is still running. For a
// write, it is not known whether it will be executed.
static const struct pl_problem *unfinished(struct pl_http_request *http_request, int code)
{
	bool read = strcmp(http_request->request.route->method, "GET") == 0 &&
	            !(http_request->run && pl_run_wrote(http_request->run));
	struct pl_error err;
	pl_error_set(&err, read ? code : PL_EUNKNOWN, "%s", "the request was not finished in time");
	return pl_exchange_problem_of_error(http_request->arena, &err);
}

// Answers requests whose handler has not been answered by the store at their deadline.
static void answer_overdue(struct pl_listener *listener, int64_t now_us)
{
	struct pl_http_request *http_request, *next;
	DL_FOREACH_SAFE (listener->http_requests, http_request, next) {
		if (http_request->stage != PL_REQUEST_STAGE_RUNNING || !http_request->connection)
			continue;
		if (http_request->request.deadline_us + OVERDUE_GRACE_US > now_us)
			continue;
		listener->stats.overdue++;
		pl_http_request_instead(http_request, unfinished(http_request, PL_ETIMEOUT));
	}
}

// Draining does not wait for connections on which no request has begun.
static void end_silent_peers(struct pl_listener *listener)
{
	struct pl_peer *peer, *next;
	while ((peer = listener->peers.lists[PL_PEER_IDLE]) != NULL)
		pl_peer_shut(&listener->peers, peer);
	DL_FOREACH_SAFE (listener->peers.lists[PL_PEER_RECEIVING], peer, next)
		if (!peer->http_request)
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
	pl_held_reclaim(listener);
	pl_drain_sweep(listener->drain, now_us);
	if (listener->shared)
		pl_loop_watch_set(listener->shared, SHARED_EVENTS);
	pl_loop_timer_set(listener->sweep, SWEEP_US);
}

// ---- the turn

static void on_ready(void *arg, uint32_t events)
{
	struct pl_listener *listener = arg;
	listener->ready = true;
}

static void free_finished(struct pl_listener *listener)
{
	for (struct pl_http_request *http_request; (http_request = listener->finished) != NULL;) {
		LL_DELETE(listener->finished, http_request);
		pl_http_request_free(http_request);
	}
}

bool pl_listener_pending(const struct pl_listener *listener)
{
	return listener->resumed;
}

// When libmicrohttpd needs to run again by itself: 0 = now, -1 = never. While a
// connection waits for its answer without being suspended, it always says "now", so we
// decide by what it has just done. Cases that this misses (a client that reads an answer
// in pieces) are handled at the next run, which the answer of a waiting request causes,
// or at the next sweep.
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
	for (int round = 0; wait_ms == 0 && round < 16;
	     round++) { // bounded, so that a flood of connections does not keep the database waiting
		listener->ready = listener->resumed = false;
		listener->runs -= listener->runs > 0;
		listener->peers.run++;
		MHD_run(listener->daemon);
		wait_ms = listener->resumed ? 0 : next_run_ms(listener);
	}
	free_finished(listener);
	listener->due_us = wait_ms < 0 ? INT64_MAX : pl_mono_us() + wait_ms * INT64_C(1000);
	return wait_ms;
}

int pl_listener_turn_lane(struct pl_listener *listener)
{
	int wait_ms = pl_lane_turn(listener->lane);
	return pl_listener_pending(listener) ? 0 : wait_ms;
}

// ---- beginning and end

static struct MHD_Daemon *start_daemon(struct pl_listener *listener)
{
	unsigned flags = MHD_USE_EPOLL | MHD_ALLOW_SUSPEND_RESUME | MHD_USE_ERROR_LOG | MHD_USE_TURBO;
	const struct pl_tls_server *tls = listener->tls;
	struct MHD_OptionItem secure[] = {
		{ MHD_OPTION_HTTPS_MEM_CERT, 0,
		  tls ? (void *)(uintptr_t)pl_tls_server_certificate(tls) : NULL },
		{ MHD_OPTION_HTTPS_MEM_KEY, 0, tls ? (void *)(uintptr_t)pl_tls_server_key(tls) : NULL },
		{ MHD_OPTION_HTTPS_PRIORITIES, 0, (void *)(uintptr_t)pl_tls_server_priorities() },
		{ MHD_OPTION_END, 0, NULL },
	};
	return MHD_start_daemon(
		flags | (tls ? MHD_USE_TLS : 0), 0, NULL, NULL, on_request, listener,
		MHD_OPTION_EXTERNAL_LOGGER, on_log, listener, MHD_OPTION_LISTEN_SOCKET, listener->fd,
		MHD_OPTION_URI_LOG_CALLBACK, on_request_line, listener, MHD_OPTION_NOTIFY_CONNECTION,
		on_connection, listener, MHD_OPTION_NOTIFY_COMPLETED, on_completed, listener,
		MHD_OPTION_CONNECTION_LIMIT, (unsigned)listener->options.max_connections + HEADROOM,
		MHD_OPTION_CONNECTION_TIMEOUT, 0u, MHD_OPTION_CONNECTION_MEMORY_LIMIT,
		(size_t)MEMORY_PER_CONNECTION, MHD_OPTION_ARRAY, tls ? secure : &secure[3], MHD_OPTION_END);
}

struct pl_listener *pl_listener_new(const struct pl_listener_options *options, struct pl_error *err)
{
	struct pl_listener *listener = pl_calloc(1, sizeof(*listener));
	listener->options = *options;
	listener->fd = options->fd;
	pl_held_begin();
	listener->drain = pl_drain_new(options->loop);
	listener->lane = pl_lane_new();
	pl_listener_set_generation(listener, options->generation);
	listener->tls = pl_tls_server_ref(options->tls);
	listener->first_tls = pl_tls_server_ref(options->tls);
	listener->daemon = start_daemon(listener);
	if (!listener->daemon) {
		pl_error_set(err, PL_EUNAVAIL, "libmicrohttpd could not be started");
		pl_listener_free(&listener);
		return NULL;
	}
	int epoll_fd = MHD_get_daemon_info(listener->daemon, MHD_DAEMON_INFO_EPOLL_FD)->epoll_fd;
	listener->watch = pl_loop_watch_new(options->loop, epoll_fd, EPOLLIN, on_ready, listener);
	if (options->shared_fd >= 0)
		listener->shared = pl_loop_watch_new(options->loop, options->shared_fd, SHARED_EVENTS,
		                                     on_shared, listener);
	listener->sweep = pl_loop_timer_new(options->loop, on_sweep, listener);
	pl_loop_timer_set(listener->sweep, SWEEP_US);
	listener->ready = true;
	return listener;
}

void pl_listener_set_generation(struct pl_listener *listener, struct pl_generation *generation)
{
	struct pl_generation *before = listener->generation;
	listener->generation = pl_generation_ref(generation);
	pl_vm_set_lane(generation->vm, listener->lane, before ? before->vm : NULL);
	pl_generation_unref(&before);
}

void pl_listener_set_tls(struct pl_listener *listener, struct pl_tls_server *tls)
{
	pl_tls_server_unref(&listener->tls);
	listener->tls = pl_tls_server_ref(tls);
}

void pl_listener_quiesce(struct pl_listener *listener)
{
	if (listener->draining)
		return;
	pl_bind_refuse_new(listener->fd);
	listener->draining = true;
	listener->drain_began_us = pl_mono_us();
	pl_loop_timer_set(listener->sweep, DOOR_US);
}

bool pl_listener_drained(const struct pl_listener *listener)
{
	return listener->draining && listener->fd < 0 && listener->peers.n == 0;
}

// Answers all waiting requests, and gives the answers a moment to be sent.
static void answer_all(struct pl_listener *listener)
{
	struct pl_http_request *http_request, *next;
	DL_FOREACH_SAFE (listener->http_requests, http_request, next)
		if (http_request->stage == PL_REQUEST_STAGE_RUNNING && http_request->connection)
			pl_http_request_instead(http_request, unfinished(http_request, PL_ESTOPPED));
	for (int i = 0; i < FLUSH_ROUNDS; i++) {
		MHD_run(listener->daemon);
		if (!listener->peers.lists[PL_PEER_WORKING] && !listener->peers.lists[PL_PEER_SENDING])
			break;
		usleep(2000);
	}
}

void pl_listener_free(struct pl_listener **listener_p)
{
	struct pl_listener *listener = *listener_p;
	if (!listener)
		return;
	*listener_p = NULL;
	if (listener->daemon) {
		pl_listener_quiesce(listener);
		close_door(listener);
		answer_all(listener);
		MHD_stop_daemon(listener->daemon);
	} else if (listener->fd >= 0)
		close(listener->fd);
	pl_loop_watch_free(&listener->watch);
	pl_loop_watch_free(&listener->shared);
	pl_loop_timer_free(&listener->sweep);
	pl_drain_free(&listener->drain);
	// Runs that are not done are abandoned; there are none if the store was freed
	// first.
	for (struct pl_http_request *http_request; (http_request = listener->http_requests) != NULL;) {
		DL_DELETE(listener->http_requests, http_request);
		pl_http_request_free(http_request);
	}
	free_finished(listener);
	pl_vm_set_lane(listener->generation->vm, NULL, NULL);
	pl_generation_unref(&listener->generation);
	pl_lane_free(&listener->lane);
	pl_tls_server_unref(&listener->tls);
	pl_tls_server_unref(&listener->first_tls);
	pl_held_end();
	free(listener);
}

void pl_listener_stats(const struct pl_listener *listener, struct pl_listener_stats *stats_r)
{
	*stats_r = listener->stats;
	pl_lane_stats(listener->lane, &stats_r->lane);
	stats_r->connections = listener->peers.n;
	stats_r->in_flight = 0;
	const struct pl_http_request *http_request;
	DL_FOREACH (listener->http_requests, http_request)
		stats_r->in_flight +=
			http_request->stage != PL_REQUEST_STAGE_REPLIED && http_request->head_seen;
}
