// Lets a refused client read its answer. Closing a socket with unread data, or before
// more data arrives, resets the connection. A client that is still sending then gets an
// error, and may never read the answer (411 to a chunked body, 413 to a large one).
//
// libmicrohttpd closes its descriptor as always. A duplicate keeps the socket open until
// the client closes it, a second has passed, or as much data has arrived as any client
// may be in the middle of sending.
// Invariant: at most LINGERING_MAX descriptors. A connection beyond that is reset.
// Threads: the worker's.
#define _GNU_SOURCE // F_DUPFD_CLOEXEC
#include "http/drain.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>
#include <utlist.h>

#include "base/clock.h"
#include "base/mem.h"

#define LINGERING_MAX 64
#define LINGER_US     1000000
#define DROPPED_MAX   (4u << 20)
#define AT_ONCE       16 // reads of one connection before others get their turn

struct one {
	struct pl_drain *drain;
	int fd;
	int64_t deadline_us;
	size_t dropped;
	struct pl_watch *watch;
	struct one *prev, *next; // the oldest first
};

struct pl_drain {
	struct pl_loop *loop;
	struct one *list;
	int n;
};

struct pl_drain *pl_drain_new(struct pl_loop *loop)
{
	struct pl_drain *drain = pl_calloc(1, sizeof(*drain));
	drain->loop = loop;
	return drain;
}

static void end(struct one *one)
{
	DL_DELETE(one->drain->list, one);
	one->drain->n--;
	pl_loop_watch_free(&one->watch);
	close(one->fd);
	free(one);
}

// Reads and discards what has arrived. Returns false if nothing more will come, or after
// enough data.
static bool drop(struct one *one)
{
	char nowhere[16384];
	for (int i = 0; i < AT_ONCE; i++) {
		ssize_t n = recv(one->fd, nowhere, sizeof(nowhere), MSG_DONTWAIT);
		if (n < 0)
			return errno == EAGAIN || errno == EINTR;
		one->dropped += (size_t)n;
		if (n == 0 || one->dropped > DROPPED_MAX)
			return false;
	}
	return true;
}

static void on_more(void *arg, uint32_t events)
{
	if (!drop(arg))
		end(arg);
}

void pl_drain_take(struct pl_drain *drain, int fd)
{
	if (drain->n == LINGERING_MAX)
		return;
	int copy = fcntl(fd, F_DUPFD_CLOEXEC, 0);
	if (copy < 0)
		return;
	shutdown(copy, SHUT_WR);
	struct one *one = pl_calloc(1, sizeof(*one));
	*one = (struct one){ .drain = drain, .fd = copy, .deadline_us = pl_mono_us() + LINGER_US };
	DL_APPEND(drain->list, one);
	drain->n++;
	one->watch = pl_loop_watch_new(drain->loop, copy, EPOLLIN, on_more, one);
	if (!drop(one))
		end(one);
}

void pl_drain_sweep(struct pl_drain *drain, int64_t now_us)
{
	while (drain->list && drain->list->deadline_us <= now_us)
		end(drain->list);
}

void pl_drain_free(struct pl_drain **linger_p)
{
	struct pl_drain *drain = *linger_p;
	if (!drain)
		return;
	while (drain->list)
		end(drain->list);
	free(drain);
	*linger_p = NULL;
}
