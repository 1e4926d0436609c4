// The client side of the control socket: how plist-admin sends commands to a running
// daemon.
//
// Invariant: never waits longer than its timeout.
// Threads: any.
#include "ops/control.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/sockfile.h"

#define ANSWER_MAX (4u << 20)
static const struct pl_json_limits answer_limits = { ANSWER_MAX, 16, 200000 };

// Waits until the socket is ready for `events`; PL_ETIMEOUT at the deadline.
static int wait_for(int fd, short events, int64_t deadline_us, struct pl_error *err)
{
	for (;;) {
		int64_t left_us = deadline_us - pl_mono_us();
		if (left_us <= 0)
			return pl_error_set(err, PL_ETIMEOUT, "no answer in time");
		struct pollfd pfd = { .fd = fd, .events = events };
		int n = poll(&pfd, 1, (int)(left_us / 1000) + 1);
		if (n > 0)
			return 0;
		if (n < 0 && errno != EINTR)
			return pl_error_set(err, PL_EINTERNAL, "poll: %s", strerror(errno));
	}
}

static int open_socket(const char *path, int64_t deadline_us, struct pl_error *err)
{
	struct sockaddr_un addr;
	if (pl_sockfile_address(path, &addr, err) != 0)
		return err->code;
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return pl_error_set(err, PL_EINTERNAL, "socket: %s", strerror(errno));
	while (connect(fd, (struct sockaddr *)&addr, sizeof(addr)) != 0) {
		// connect() on a UNIX socket with a full queue returns EAGAIN, and there
		// is nothing to poll for.
		if (errno == EAGAIN && pl_mono_us() < deadline_us) {
			poll(NULL, 0, 20);
			continue;
		}
		pl_error_set(err, PL_EUNAVAIL, "no daemon is listening: %s", strerror(errno));
		close(fd);
		return PL_EUNAVAIL;
	}
	return fd;
}

static int send_line(int fd, const char *request, int64_t deadline_us, struct pl_error *err)
{
	struct pl_buf line = { 0 };
	pl_buf_adds(&line, request);
	pl_buf_addc(&line, '\n');
	int code = 0;
	for (size_t sent = 0; code == 0 && sent < line.len;) {
		ssize_t n = send(fd, line.data + sent, line.len - sent, MSG_NOSIGNAL);
		if (n >= 0)
			sent += (size_t)n;
		else if (errno == EAGAIN)
			code = wait_for(fd, POLLOUT, deadline_us, err);
		else if (errno != EINTR)
			code = pl_error_set(err, PL_EUNAVAIL, "the daemon closed the connection: %s",
			                    strerror(errno));
	}
	pl_buf_fini(&line);
	return code;
}

static int receive_line(int fd, struct pl_buf *line, int64_t deadline_us, struct pl_error *err)
{
	char piece[16384];
	while (line->len == 0 || line->data[line->len - 1] != '\n') {
		if (line->len > ANSWER_MAX)
			return pl_error_set(err, PL_EINVAL, "the answer is longer than %u bytes", ANSWER_MAX);
		ssize_t n = recv(fd, piece, sizeof(piece), 0);
		if (n > 0)
			pl_buf_add(line, piece, (size_t)n);
		else if (n == 0)
			return pl_error_set(err, PL_EUNAVAIL,
			                    "the daemon closed the connection without an "
			                    "answer");
		else if (errno == EAGAIN) {
			int code = wait_for(fd, POLLIN, deadline_us, err);
			if (code != 0)
				return code;
		} else if (errno != EINTR)
			return pl_error_set(err, PL_EUNAVAIL, "the daemon closed the connection: %s",
			                    strerror(errno));
	}
	return 0;
}

int pl_control_ask(const char *path, const char *request, int64_t timeout_us, cJSON **answer_r,
                   struct pl_error *err)
{
	int64_t deadline_us = pl_mono_us() + timeout_us;
	struct pl_error own;
	err = err ? err : &own;
	*answer_r = NULL;
	int fd = open_socket(path, deadline_us, err);
	if (fd < 0) {
		pl_error_prefix(err, "%s", path);
		return fd;
	}
	struct pl_buf line = { 0 };
	int code = send_line(fd, request, deadline_us, err);
	if (code == 0)
		code = receive_line(fd, &line, deadline_us, err);
	if (code == 0) {
		*answer_r = pl_json_parse(line.data, line.len, &answer_limits, err);
		code = *answer_r ? 0 : err->code;
	}
	pl_buf_fini(&line);
	close(fd);
	return code == 0 ? 0 : pl_error_prefix(err, "%s", path);
}
