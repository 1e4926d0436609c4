// A TCP proxy for the development broker: see dev_broker.c.
//
// Threads: one, in poll(2). It shares only its wake-up.
#define _GNU_SOURCE // accept4
#include "kafka/tcp_proxy.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/address.h"
#include "base/mem.h"
#include "base/wake.h"

#define CONNECTIONS_MAX 256
#define CHUNK           65536

struct way {
	char data[CHUNK];
	size_t from, to;
	bool closed;
}; // bytes [from, to) wait to be written
struct socket_pair {
	int fd[2];
	struct way way[2];
}; // way[i]: read from fd[i], written to fd[1 - i]

struct pl_tcp_proxy {
	pthread_t thread;
	struct pl_wake *halt;
	int listener;
	struct sockaddr_storage to;
	socklen_t to_len;
	int n;
	struct socket_pair *pairs[CONNECTIONS_MAX];
};

static int listen_at(const char *address, struct pl_error *err)
{
	struct addrinfo *found;
	int fd, one = 1;

	if (pl_address_resolve(address, AI_PASSIVE, &found, err) < 0)
		return -1;
	fd = socket(found->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd >= 0)
		setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	if (fd < 0 || bind(fd, found->ai_addr, found->ai_addrlen) < 0 || listen(fd, 64) < 0) {
		pl_error_set(err, PL_EUNAVAIL, "%s: %s", address, strerror(errno));
		if (fd >= 0)
			close(fd);
		fd = -1;
	}
	freeaddrinfo(found);
	return fd;
}

static void drop(struct pl_tcp_proxy *proxy, int i)
{
	close(proxy->pairs[i]->fd[0]);
	close(proxy->pairs[i]->fd[1]);
	free(proxy->pairs[i]);
	proxy->pairs[i] = proxy->pairs[--proxy->n];
}

static void accept_one(struct pl_tcp_proxy *proxy)
{
	int from = accept4(proxy->listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK), to, one = 1;
	struct socket_pair *pair;

	if (from < 0)
		return;
	to = socket(proxy->to.ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (to < 0 || proxy->n == CONNECTIONS_MAX ||
	    (connect(to, (struct sockaddr *)&proxy->to, proxy->to_len) < 0 && errno != EINPROGRESS)) {
		close(from);
		if (to >= 0)
			close(to);
		return;
	}
	setsockopt(from, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	setsockopt(to, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	pair = pl_malloc(sizeof(*pair));
	pair->fd[0] = from;
	pair->fd[1] = to;
	for (int i = 0; i < 2; i++) {
		pair->way[i].from = pair->way[i].to = 0;
		pair->way[i].closed = false;
	}
	proxy->pairs[proxy->n++] = pair;
}

// Reads when everything read before is written. False: the connection has ended.
static bool pull(struct socket_pair *pair, int i)
{
	struct way *way = &pair->way[i];
	ssize_t got;

	if (way->from < way->to || way->closed)
		return true;
	got = recv(pair->fd[i], way->data, sizeof(way->data), 0);
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

static bool push(struct socket_pair *pair, int i)
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

static short events_for(const struct socket_pair *pair, int side)
{
	const struct way *in = &pair->way[side], *out = &pair->way[1 - side];

	return (short)((in->from == in->to && !in->closed ? POLLIN : 0) |
	               (out->from < out->to ? POLLOUT : 0));
}

static void *run(void *arg)
{
	struct pl_tcp_proxy *proxy = arg;
	struct pollfd p[2 + 2 * CONNECTIONS_MAX];

	for (;;) {
		int n = proxy->n;

		p[0] = (struct pollfd){ .fd = pl_wake_fd(proxy->halt), .events = POLLIN };
		p[1] = (struct pollfd){ .fd = proxy->listener, .events = POLLIN };
		for (int i = 0; i < n; i++)
			for (int side = 0; side < 2; side++)
				p[2 + 2 * i + side] =
					(struct pollfd){ .fd = proxy->pairs[i]->fd[side],
					                 .events = events_for(proxy->pairs[i], side) };
		if (poll(p, 2 + 2 * (nfds_t)n, -1) < 0 && errno != EINTR)
			return NULL;
		if (p[0].revents)
			return NULL;
		// Downwards: drop() moves the last pair, which was served before, into
		// the gap.
		for (int i = n - 1; i >= 0; i--) {
			struct socket_pair *pair = proxy->pairs[i];
			bool lives = true;

			for (int side = 0; side < 2 && lives; side++) {
				short got = p[2 + 2 * i + side].revents;

				lives = !(got & (POLLERR | POLLNVAL)) &&
				        (!(got & (POLLIN | POLLHUP)) || pull(pair, side)) &&
				        push(pair, side) && push(pair, 1 - side);
			}
			if (!lives)
				drop(proxy, i);
		}
		if (p[1].revents)
			accept_one(proxy);
	}
}

struct pl_tcp_proxy *pl_tcp_proxy_start(const char *listen, const char *to, struct pl_error *err)
{
	struct pl_tcp_proxy *proxy = pl_calloc(1, sizeof(*proxy));
	struct addrinfo *found;

	proxy->listener = listen_at(listen, err);
	if (proxy->listener < 0 || pl_address_resolve(to, 0, &found, err) < 0) {
		if (proxy->listener >= 0)
			close(proxy->listener);
		free(proxy);
		return NULL;
	}
	memcpy(&proxy->to, found->ai_addr, found->ai_addrlen);
	proxy->to_len = found->ai_addrlen;
	freeaddrinfo(found);
	proxy->halt = pl_wake_new();
	if (pthread_create(&proxy->thread, NULL, run, proxy) != 0) {
		pl_error_set(err, PL_EINTERNAL, "cannot start the proxy thread");
		close(proxy->listener);
		pl_wake_free(&proxy->halt);
		free(proxy);
		return NULL;
	}
	return proxy;
}

void pl_tcp_proxy_stop(struct pl_tcp_proxy **proxy_p)
{
	struct pl_tcp_proxy *proxy = *proxy_p;

	if (!proxy)
		return;
	pl_wake_ring(proxy->halt);
	pthread_join(proxy->thread, NULL);
	while (proxy->n > 0)
		drop(proxy, proxy->n - 1);
	close(proxy->listener);
	pl_wake_free(&proxy->halt);
	free(proxy);
	*proxy_p = NULL;
}
