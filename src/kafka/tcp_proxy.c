// A forwarder of TCP connections, for the embedded broker: rdkafka_mock.h listens where it likes, and its clients want to find it where they
// were told, also after it was started anew.
//
// Threads: one, in poll(2). Nothing is shared with it but its bell.
#define _GNU_SOURCE // accept4
#include "replicate/forward.h"

#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/mem.h"
#include "base/wake.h"

#define CONNECTIONS_MAX 256
#define CHUNK 65536

struct way { char data[CHUNK]; size_t from, to; bool closed; }; // bytes [from, to) wait to be written
struct pair { int fd[2]; struct way way[2]; };                  // way[i]: read from fd[i], written to fd[1 - i]

struct pl_forward {
	pthread_t thread;
	struct pl_wake *halt;
	int listener;
	struct sockaddr_storage to; socklen_t to_len;
	int n;
	struct pair *pairs[CONNECTIONS_MAX];
};

// Splits host:port; the port is after the last colon.
static int resolve(const char *address, bool passive, struct addrinfo **found_r, struct pl_error *err)
{
	const char *colon = strrchr(address, ':');
	struct addrinfo hints = { .ai_socktype = SOCK_STREAM, .ai_flags = passive ? AI_PASSIVE : 0 };
	size_t len = colon ? (size_t)(colon - address) : 0;
	char host[256];
	int code;

	if (!colon || len >= sizeof host)
		return pl_error_set(err, PL_EINVAL, "%s is no address: host:port is", address);
	if (len >= 2 && address[0] == '[' && address[len - 1] == ']') {
		address++;
		len -= 2;
	}
	memcpy(host, address, len);
	host[len] = '\0';
	code = getaddrinfo(len ? host : NULL, colon + 1, &hints, found_r);
	return code == 0 ? 0 : pl_error_set(err, PL_EINVAL, "%s: %s", address, gai_strerror(code));
}

static int listen_at(const char *address, struct pl_error *err)
{
	struct addrinfo *found;
	int fd, one = 1;

	if (resolve(address, true, &found, err) < 0)
		return -1;
	fd = socket(found->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd >= 0)
		setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
	if (fd < 0 || bind(fd, found->ai_addr, found->ai_addrlen) < 0 || listen(fd, 64) < 0) {
		pl_error_set(err, PL_EUNAVAIL, "%s: %s", address, strerror(errno));
		if (fd >= 0)
			close(fd);
		fd = -1;
	}
	freeaddrinfo(found);
	return fd;
}

static void drop(struct pl_forward *forward, int i)
{
	close(forward->pairs[i]->fd[0]);
	close(forward->pairs[i]->fd[1]);
	free(forward->pairs[i]);
	forward->pairs[i] = forward->pairs[--forward->n];
}

static void accept_one(struct pl_forward *forward)
{
	int from = accept4(forward->listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK), to, one = 1;
	struct pair *pair;

	if (from < 0)
		return;
	to = socket(forward->to.ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (to < 0 || forward->n == CONNECTIONS_MAX ||
	    (connect(to, (struct sockaddr *)&forward->to, forward->to_len) < 0 && errno != EINPROGRESS)) {
		close(from);
		if (to >= 0)
			close(to);
		return;
	}
	setsockopt(from, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
	setsockopt(to, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
	pair = pl_malloc(sizeof *pair);
	pair->fd[0] = from;
	pair->fd[1] = to;
	for (int i = 0; i < 2; i++) {
		pair->way[i].from = pair->way[i].to = 0;
		pair->way[i].closed = false;
	}
	forward->pairs[forward->n++] = pair;
}

// Reads what is there when all before was written. False: the connection is over.
static bool pull(struct pair *pair, int i)
{
	struct way *way = &pair->way[i];
	ssize_t got;

	if (way->from < way->to || way->closed)
		return true;
	got = recv(pair->fd[i], way->data, sizeof way->data, 0);
	if (got < 0)
		return errno == EAGAIN || errno == EINTR;
	way->from = 0;
	way->to = (size_t)got;
	if (got == 0) {
		way->closed = true;
		shutdown(pair->fd[1 - i], SHUT_WR);
		return !pair->way[1 - i].closed;
	}
	return true;
}

static bool push(struct pair *pair, int i)
{
	struct way *way = &pair->way[i];
	ssize_t put;

	if (way->from == way->to)
		return true;
	put = send(pair->fd[1 - i], way->data + way->from, way->to - way->from, MSG_NOSIGNAL);
	if (put < 0)
		return errno == EAGAIN || errno == EINTR;
	way->from += (size_t)put;
	return true;
}

static short events_for(const struct pair *pair, int side)
{
	const struct way *in = &pair->way[side], *out = &pair->way[1 - side];

	return (short)((in->from == in->to && !in->closed ? POLLIN : 0) | (out->from < out->to ? POLLOUT : 0));
}

static void *run(void *arg)
{
	struct pl_forward *forward = arg;
	struct pollfd p[2 + 2 * CONNECTIONS_MAX];

	for (;;) {
		int n = forward->n;

		p[0] = (struct pollfd){ .fd = pl_wake_fd(forward->halt), .events = POLLIN };
		p[1] = (struct pollfd){ .fd = forward->listener, .events = POLLIN };
		for (int i = 0; i < n; i++)
			for (int side = 0; side < 2; side++)
				p[2 + 2 * i + side] = (struct pollfd){ .fd = forward->pairs[i]->fd[side],
					.events = events_for(forward->pairs[i], side) };
		if (poll(p, 2 + 2 * (nfds_t)n, -1) < 0 && errno != EINTR)
			return NULL;
		if (p[0].revents)
			return NULL;
		for (int i = n - 1; i >= 0; i--) { // downwards: what is dropped is replaced by one that was looked at
			struct pair *pair = forward->pairs[i];
			bool lives = true;

			for (int side = 0; side < 2 && lives; side++) {
				short got = p[2 + 2 * i + side].revents;

				lives = !(got & (POLLERR | POLLNVAL)) && (!(got & (POLLIN | POLLHUP)) || pull(pair, side)) &&
				        push(pair, side) && push(pair, 1 - side);
			}
			if (!lives)
				drop(forward, i);
		}
		if (p[1].revents)
			accept_one(forward);
	}
}

struct pl_forward *pl_forward_start(const char *listen, const char *to, struct pl_error *err)
{
	struct pl_forward *forward = pl_calloc(1, sizeof *forward);
	struct addrinfo *found;

	forward->listener = listen_at(listen, err);
	if (forward->listener < 0 || resolve(to, false, &found, err) < 0) {
		if (forward->listener >= 0)
			close(forward->listener);
		free(forward);
		return NULL;
	}
	memcpy(&forward->to, found->ai_addr, found->ai_addrlen);
	forward->to_len = found->ai_addrlen;
	freeaddrinfo(found);
	forward->halt = pl_wake_new();
	if (pthread_create(&forward->thread, NULL, run, forward) != 0) {
		pl_error_set(err, PL_EINTERNAL, "the forwarder's thread cannot be started");
		close(forward->listener);
		pl_wake_free(&forward->halt);
		free(forward);
		return NULL;
	}
	return forward;
}

void pl_forward_stop(struct pl_forward **at)
{
	struct pl_forward *forward = *at;

	if (!forward)
		return;
	pl_wake_ring(forward->halt);
	pthread_join(forward->thread, NULL);
	while (forward->n > 0)
		drop(forward, forward->n - 1);
	close(forward->listener);
	pl_wake_free(&forward->halt);
	free(forward);
	*at = NULL;
}
