// One GET over HTTP with a deadline. It can be simple: both ends are plist's, and the
// connection is closed after one request.
//
// Threads: any; no state.
#include "admin/daemon.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/address.h"
#include "base/clock.h"
#include "tls/client.h"

// Waits for the socket until the deadline; 0, or a code.
static int await(int fd, short events, int64_t deadline_us, struct pl_error *err)
{
	for (;;) {
		int64_t left = deadline_us - pl_mono_us();
		struct pollfd p = { fd, events, 0 };
		int n = left > 0 ? poll(&p, 1, (int)(left / 1000) + 1) : 0;
		if (n > 0)
			return 0;
		if (n == 0)
			return pl_error_set(err, PL_ETIMEOUT, "no answer in time");
		if (errno != EINTR)
			return pl_error_set(err, PL_EUNAVAIL, "poll: %s", strerror(errno));
	}
}

static int connect_one(const struct addrinfo *to, int64_t deadline_us, struct pl_error *err)
{
	int fd = socket(to->ai_family, to->ai_socktype | SOCK_NONBLOCK | SOCK_CLOEXEC, to->ai_protocol);
	int problem = 0;
	socklen_t len = sizeof(problem);
	if (fd < 0)
		return pl_error_set(err, PL_EUNAVAIL, "socket: %s", strerror(errno));
	if (connect(fd, to->ai_addr, to->ai_addrlen) == 0)
		return fd;
	int rc = errno == EINPROGRESS ? await(fd, POLLOUT, deadline_us, err)
	                              : pl_error_set(err, PL_EUNAVAIL, "%s", strerror(errno));
	if (rc == 0 && getsockopt(fd, SOL_SOCKET, SO_ERROR, &problem, &len) == 0 && problem == 0)
		return fd;
	close(fd);
	return rc ? rc : pl_error_set(err, PL_EUNAVAIL, "%s", strerror(problem));
}

static int connect_to(const char *address, int64_t deadline_us, struct pl_error *err)
{
	struct addrinfo *list;
	int rc = pl_address_resolve(address, AI_ADDRCONFIG, &list, err);
	if (rc)
		return rc;
	int fd = PL_EUNAVAIL;
	for (const struct addrinfo *a = list; a && fd < 0; a = a->ai_next)
		fd = connect_one(a, deadline_us, err);
	freeaddrinfo(list);
	return fd;
}

static int exchange(int fd, const struct pl_buf *request, int64_t deadline_us, struct pl_buf *answer,
                    struct pl_error *err)
{
	for (size_t sent = 0; sent < request->len;) {
		int rc = await(fd, POLLOUT, deadline_us, err);
		if (rc)
			return rc;
		ssize_t n = send(fd, request->data + sent, request->len - sent, MSG_NOSIGNAL);
		if (n < 0 && errno != EAGAIN && errno != EINTR)
			return pl_error_set(err, PL_EUNAVAIL, "%s", strerror(errno));
		sent += n > 0 ? (size_t)n : 0;
	}
	for (;;) {
		int rc = await(fd, POLLIN, deadline_us, err);
		if (rc)
			return rc;
		if (answer->len > PL_ANSWER_MAX)
			return pl_error_set(err, PL_EINVAL, "the answer is too long");
		pl_buf_reserve(answer, 16384);
		ssize_t n = recv(fd, answer->data + answer->len, 16384, 0);
		if (n == 0)
			return 0;
		if (n < 0 && errno != EAGAIN && errno != EINTR)
			return pl_error_set(err, PL_EUNAVAIL, "%s", strerror(errno));
		answer->len += n > 0 ? (size_t)n : 0;
		answer->data[answer->len] = '\0';
	}
}

// The value of a header of the response; NULL if it is missing.
static const char *header(const char *head, const char *end, const char *name)
{
	size_t len = strlen(name);
	for (const char *line = strstr(head, "\r\n"); line && line < end; line = strstr(line + 2, "\r\n"))
		if (strncasecmp(line + 2, name, len) == 0 && line[2 + len] == ':')
			return line + 3 + len + strspn(line + 3 + len, " \t");
	return NULL;
}

int pl_daemon_parse_answer(const char *text, size_t len, const char **body_r, size_t *body_len_r)
{
	int status = 0, used = 0;
	const char *end = len ? strstr(text, "\r\n\r\n") : NULL;
	if (!end || sscanf(text, "HTTP/1.%*1[01] %3d%n", &status, &used) != 1 || status < 100 ||
	    (text[used] != ' ' && text[used] != '\r'))
		return -1;
	if (header(text, end, "Transfer-Encoding"))
		return -1; // all responses of the daemon have a length
	const char *length = header(text, end, "Content-Length");
	*body_r = end + 4;
	*body_len_r = len - (size_t)(*body_r - text);
	if (length && strtoull(length, NULL, 10) != *body_len_r)
		return -1;
	return status;
}

static bool host_is(const struct pl_address_parts *address, const char *host)
{
	return address->host_len == strlen(host) && memcmp(address->host, host, address->host_len) == 0;
}

static bool is_loopback(const struct pl_address_parts *address)
{
	return (address->host_len > 4 && memcmp(address->host, "127.", 4) == 0) || host_is(address, "::1") ||
	       host_is(address, "localhost");
}

bool pl_daemon_operators_address(const struct pl_region *region, int i, char *text, size_t size)
{
	struct pl_address_parts own, upstream;
	if (pl_address_split(region->admin_listen, &own) || pl_address_split(region->upstream[i], &upstream))
		return false;
	bool all = own.host_len == 0 || host_is(&own, "0.0.0.0") || host_is(&own, "::") || host_is(&own, "*");
	// Of several daemons of a region, each is on a machine of its own.
	if (!all && region->nupstream > 1 && !pl_address_same_host(&own, &upstream))
		return false;
	if (!all && is_loopback(&own) && !is_loopback(&upstream))
		return false;
	const struct pl_address_parts *use = all ? &upstream : &own;
	bool six = memchr(use->host, ':', use->host_len) != NULL;
	return snprintf(text, size, "%s%.*s%s:%s", six ? "[" : "", (int)use->host_len, use->host,
	                six ? "]" : "", own.port) < (int)size;
}

struct pl_daemon_address pl_daemon_address(const struct pl_config *config, const struct pl_region *region,
                                           int i)
{
	return (struct pl_daemon_address){ region->upstream[i],
		                           region->tls.certificate ? &config->nginx.upstream_tls : NULL };
}

int pl_daemon_ask(const struct pl_daemon_address *address, const char *path, int64_t timeout_us,
                  struct pl_buf *body_r, struct pl_error *err)
{
	int64_t deadline_us = pl_mono_us() + timeout_us;
	struct pl_buf request = { 0 }, answer = { 0 };
	const char *body;
	size_t len;
	int fd = connect_to(address->text, deadline_us, err);
	if (fd < 0)
		return fd;
	pl_buf_printf(&request,
	              "GET %s HTTP/1.1\r\nHost: %s\r\nUser-Agent: plist-admin\r\nAccept: */*\r\nConnection: "
	              "close\r\n\r\n",
	              path, address->text);
	struct pl_tls_connection secure = { fd, address->tls, deadline_us };
	int rc = address->tls ? pl_tls_client_exchange(&secure, &request, &answer, PL_ANSWER_MAX, err)
	                      : exchange(fd, &request, deadline_us, &answer, err);
	close(fd);
	if (rc == 0) {
		rc = pl_daemon_parse_answer(answer.data ? answer.data : "", answer.len, &body, &len);
		if (rc < 0)
			rc = pl_error_set(err, PL_EUNAVAIL,
			                  answer.len ? "the server there is not plistd"
			                             : "the connection was closed without an answer");
		else
			pl_buf_add(body_r, body, len);
	}
	pl_buf_fini(&request);
	pl_buf_fini(&answer);
	return rc;
}

int pl_daemon_get(const struct pl_config *config, const struct pl_region *region, const char *path,
                  int64_t timeout_us, struct pl_buf *body_r, struct pl_error *err)
{
	int rc = pl_error_set(err, PL_EINVAL, "the configuration has no address for it");
	for (int i = 0; i < region->nupstream; i++) {
		pl_buf_reset(body_r);
		struct pl_daemon_address address = pl_daemon_address(config, region, i);
		rc = pl_daemon_ask(&address, path, timeout_us, body_r, err);
		if (rc > 0)
			return rc;
		pl_error_prefix(err, "%s", region->upstream[i]);
	}
	return rc;
}
