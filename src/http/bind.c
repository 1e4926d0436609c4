// Listening sockets: one per worker, all on the same address.
//
// Used by ops/worker. Threads: any.
#define _GNU_SOURCE // SOCK_NONBLOCK with socket(2)
#include "http/bind.h"

#include <errno.h>
#include <linux/filter.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/address.h"
#include "base/log.h"
#include "base/mem.h"

#define BACKLOG 1024

static int bind_socket(const char *address, bool share, struct pl_error *err)
{
	struct addrinfo *list;
	int code = pl_address_resolve(address, AI_PASSIVE | AI_ADDRCONFIG, &list, err);
	if (code != 0)
		return code;
	int on = 1;
	int fd = socket(list->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (fd < 0)
		code = pl_error_set(err, PL_EUNAVAIL, "%s: socket: %s", address, strerror(errno));
	else if (setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) != 0 ||
	         (share && setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &on, sizeof(on)) != 0) ||
	         bind(fd, list->ai_addr, list->ai_addrlen) != 0)
		code = pl_error_set(err, PL_EUNAVAIL, "%s: %s", address, strerror(errno));
	freeaddrinfo(list);
	if (code != 0 && fd >= 0)
		close(fd);
	return code != 0 ? code : fd;
}

// Accept a connection only when its first bytes have arrived, so that it costs a worker
// one event instead of two: NGINX opens one connection per write. A silent connection is
// accepted after about a second, and then has the usual timeouts.
static void wait_for_bytes(int fd)
{
	int seconds = 1;
	if (setsockopt(fd, IPPROTO_TCP, TCP_DEFER_ACCEPT, &seconds, sizeof(seconds)) != 0)
		pl_debug("http: TCP_DEFER_ACCEPT: %s", strerror(errno));
}

int pl_bind_listen(const char *address, struct pl_error *err)
{
	int fd = bind_socket(address, true, err);
	if (fd >= 0)
		wait_for_bytes(fd);
	if (fd >= 0 && listen(fd, BACKLOG) != 0) {
		int code = pl_error_set(err, PL_EUNAVAIL, "%s: %s", address, strerror(errno));
		close(fd);
		return code;
	}
	return fd;
}

void pl_bind_refuse_new(int fd)
{
	// The filter sees the packet from the TCP header on; byte 13 has the flags. A
	// segment with SYN set opens a connection.
	struct sock_filter code[] = {
		BPF_STMT(BPF_LD | BPF_B | BPF_ABS, 13),
		BPF_JUMP(BPF_JMP | BPF_JSET | BPF_K, 0x02, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, 0),
		BPF_STMT(BPF_RET | BPF_K, 0xffffffff),
	};
	struct sock_fprog generation = { .len = sizeof(code) / sizeof(code[0]), .filter = code };
	if (setsockopt(fd, SOL_SOCKET, SO_ATTACH_FILTER, &generation, sizeof(generation)) != 0)
		pl_debug("http: SO_ATTACH_FILTER: %s", strerror(errno));
}

int pl_bind_probe(const char *address, struct pl_error *err)
{
	int fd = bind_socket(address, false, err);
	if (fd < 0)
		return fd;
	close(fd);
	return 0;
}
