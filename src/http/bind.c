// Listening sockets: one a worker, all on the same address.
//
// Stands before http/listener. Threads: any.
#define _GNU_SOURCE // SOCK_NONBLOCK with socket(2)
#include "http/bind.h"

#include <errno.h>
#include <linux/filter.h>
#include <netdb.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/log.h"
#include "base/mem.h"

#define BACKLOG 1024

// "host:port" taken apart in place; the host may be in brackets, or missing: then it is NULL.
static void split(char *text, char **host_r, char **port_r)
{
	char *colon = strrchr(text, ':');
	*host_r = NULL;
	*port_r = colon ? colon + 1 : text;
	if (!colon)
		return;
	*colon = '\0';
	size_t len = strlen(text);
	if (len >= 2 && text[0] == '[' && text[len - 1] == ']') {
		text[len - 1] = '\0';
		text++;
	}
	*host_r = *text && strcmp(text, "*") != 0 ? text : NULL;
}

static int resolve(const char *address, struct addrinfo **list_r, struct pl_error *err)
{
	struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE | AI_ADDRCONFIG};
	char *copy = pl_strdup(address), *host, *port;
	split(copy, &host, &port);
	if (!host)
		hints.ai_family = AF_INET;
	int failed = getaddrinfo(host, port, &hints, list_r);
	free(copy);
	return failed ? pl_error_set(err, PL_EUNAVAIL, "%s: %s", address, gai_strerror(failed)) : 0;
}

static int bind_socket(const char *address, bool share, struct pl_error *err)
{
	struct addrinfo *list;
	int code = resolve(address, &list, err);
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

// A connection is let in when its first bytes are there, so that it costs a worker one event and not two: NGINX opens one for each write. Who says
// nothing is let in after a second or so, and has the usual time from then on.
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
	// What the filter sees begins at the TCP header; byte 13 holds the flags, and SYN without anything else opens a connection.
	struct sock_filter code[] = {
		BPF_STMT(BPF_LD | BPF_B | BPF_ABS, 13),
		BPF_JUMP(BPF_JMP | BPF_JSET | BPF_K, 0x02, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, 0),
		BPF_STMT(BPF_RET | BPF_K, 0xffffffff),
	};
	struct sock_fprog program = {.len = sizeof(code) / sizeof(code[0]), .filter = code};
	if (setsockopt(fd, SOL_SOCKET, SO_ATTACH_FILTER, &program, sizeof(program)) != 0)
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
