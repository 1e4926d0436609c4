// The operators' socket: a thread that answers one line of JSON with one line of JSON.
//
// Stands beside the way of the data: what it tells comes from ops/status, what it changes goes through ops/daemon.
// Invariant: only the daemon's own user may connect (mode 0600).
// Threads: one of its own. The function that answers runs in it, so whoever gives it sees to its own locks.
#define _GNU_SOURCE // accept4
#include "ops/control.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/sockfile.h"
#include "base/wake.h"

#define CLIENTS_MAX 16
#define CLIENT_IDLE_US 60000000 // silent for so long: its place goes to another
#define SEND_TIMEOUT_MS 5000

#define PIECE 16384

static const struct pl_json_limits request_limits = {PL_CONTROL_LINE_MAX, 8, 256};

struct client {
	int fd; // -1 = free
	int64_t heard_us;
	struct pl_buf line; // what has come of it
};

struct pl_control {
	struct pl_sockfile *sockfile;
	struct pl_wake *stop;
	pthread_t thread;
	bool running;
	pl_control_fn *fn;
	void *arg;
	struct client clients[CLIENTS_MAX];
};

// ---- answering

static void answer(struct pl_control *control, const char *line, size_t len, struct pl_buf *out)
{
	struct pl_error err = {0};
	struct pl_buf members = {0};
	cJSON *request = pl_json_parse(line, len, &request_limits, &err);
	if (request && !cJSON_IsObject(request))
		pl_error_set(&err, PL_EINVAL, "a request is a JSON object");
	else if (request)
		control->fn(request, &members, &err, control->arg);
	pl_buf_adds(out, err.code == 0 ? "{\"ok\":true" : "{\"ok\":false,\"error\":");
	if (err.code != 0)
		pl_buf_add_json(out, err.text, strlen(err.text));
	if (members.len > 0)
		pl_buf_add(out, members.data, members.len);
	pl_buf_adds(out, "}\n");
	pl_buf_fini(&members);
	cJSON_Delete(request);
}

// An operator's tool reads at once; one that does not is let go.
static bool send_all(int fd, const struct pl_buf *out)
{
	for (size_t sent = 0; sent < out->len;) {
		ssize_t n = send(fd, out->data + sent, out->len - sent, MSG_NOSIGNAL);
		if (n >= 0) {
			sent += (size_t)n;
			continue;
		}
		struct pollfd pfd = {.fd = fd, .events = POLLOUT};
		if (errno == EAGAIN ? poll(&pfd, 1, SEND_TIMEOUT_MS) != 1 : errno != EINTR)
			return false;
	}
	return true;
}

static void drop(struct client *client)
{
	close(client->fd);
	client->fd = -1;
	pl_buf_fini(&client->line);
}

static void answer_lines(struct pl_control *control, struct client *client)
{
	struct pl_buf *line = &client->line;
	for (char *end; client->fd >= 0 && line->len > 0 && (end = memchr(line->data, '\n', line->len)) != NULL;) {
		size_t used = (size_t)(end - line->data) + 1;
		struct pl_buf out = {0};
		answer(control, line->data, used - 1, &out);
		memmove(line->data, line->data + used, line->len - used);
		line->len -= used;
		if (!send_all(client->fd, &out))
			drop(client);
		pl_buf_fini(&out);
	}
}

static void hear(struct pl_control *control, struct client *client)
{
	size_t room = PL_CONTROL_LINE_MAX - client->line.len;
	pl_buf_reserve(&client->line, PIECE);
	ssize_t n = recv(client->fd, client->line.data + client->line.len, room < PIECE ? room : PIECE, 0);
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n <= 0) {
		drop(client);
		return;
	}
	client->line.len += (size_t)n;
	client->heard_us = pl_mono_us();
	answer_lines(control, client);
	if (client->fd >= 0 && client->line.len == PL_CONTROL_LINE_MAX) {
		static const char refusal[] = "{\"ok\":false,\"error\":\"the request is too long\"}\n";
		send(client->fd, refusal, sizeof(refusal) - 1, MSG_NOSIGNAL);
		drop(client);
	}
}

// A free place; the one that has been silent for longest and too long; or none.
static struct client *place(struct pl_control *control)
{
	struct client *oldest = NULL;
	for (int i = 0; i < CLIENTS_MAX; i++) {
		struct client *client = &control->clients[i];
		if (client->fd < 0)
			return client;
		if (!oldest || client->heard_us < oldest->heard_us)
			oldest = client;
	}
	if (pl_mono_us() - oldest->heard_us < CLIENT_IDLE_US)
		return NULL;
	drop(oldest);
	return oldest;
}

static void welcome(struct pl_control *control)
{
	int fd = accept4(pl_sockfile_fd(control->sockfile), NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
	if (fd < 0)
		return;
	struct client *client = place(control);
	if (!client) {
		static const char refusal[] = "{\"ok\":false,\"error\":\"too many are asking\"}\n";
		send(fd, refusal, sizeof(refusal) - 1, MSG_NOSIGNAL);
		close(fd);
		return;
	}
	client->fd = fd;
	client->heard_us = pl_mono_us();
}

static void *run(void *arg)
{
	struct pl_control *control = arg;
	pl_log_set_thread("control");
	for (;;) {
		struct pollfd pfds[2 + CLIENTS_MAX] = {
			{.fd = pl_wake_fd(control->stop), .events = POLLIN},
			{.fd = pl_sockfile_fd(control->sockfile), .events = POLLIN},
		};
		for (int i = 0; i < CLIENTS_MAX; i++) // poll passes over negative descriptors
			pfds[2 + i] = (struct pollfd){.fd = control->clients[i].fd, .events = POLLIN};
		if (poll(pfds, 2 + CLIENTS_MAX, -1) < 0 && errno != EINTR)
			pl_die("poll of the operators' socket: %s", strerror(errno));
		if (pfds[0].revents)
			return NULL;
		for (int i = 0; i < CLIENTS_MAX; i++)
			if (pfds[2 + i].fd >= 0 && pfds[2 + i].revents)
				hear(control, &control->clients[i]);
		if (pfds[1].revents)
			welcome(control);
	}
}

// ---- beginning and end

struct pl_control *pl_control_start(const char *path, pl_control_fn *fn, void *arg, struct pl_error *err)
{
	struct pl_error own;
	err = err ? err : &own;
	struct pl_control *control = pl_calloc(1, sizeof(*control));
	control->fn = fn;
	control->arg = arg;
	control->stop = pl_wake_new();
	for (int i = 0; i < CLIENTS_MAX; i++)
		control->clients[i].fd = -1;
	control->sockfile = pl_sockfile_new(path, 0600, 16, err);
	if (control->sockfile) {
		int failed = pthread_create(&control->thread, NULL, run, control);
		control->running = failed == 0;
		if (failed)
			pl_error_set(err, PL_EINTERNAL, "%s: pthread_create: %s", path, strerror(failed));
	}
	if (!control->running)
		pl_control_stop(&control);
	return control;
}

void pl_control_stop(struct pl_control **control_r)
{
	struct pl_control *control = *control_r;
	if (!control)
		return;
	if (control->running) {
		pl_wake_ring(control->stop);
		pthread_join(control->thread, NULL);
	}
	for (int i = 0; i < CLIENTS_MAX; i++)
		if (control->clients[i].fd >= 0)
			drop(&control->clients[i]);
	pl_sockfile_free(&control->sockfile);
	pl_wake_free(&control->stop);
	free(control);
	*control_r = NULL;
}
