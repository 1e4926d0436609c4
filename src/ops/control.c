// The server side of the control socket: a thread that answers each line of JSON with a
// line of JSON.
//
// ops/commands provides the function that answers, and decides who may do what; here each
// client gets the name that the kernel gives it. Everybody on the machine may be able to
// connect, so nobody may keep the others waiting: clients take turns of one line, an
// answer that is not taken waits without the thread, and a user who has many of the
// places loses one to a user who has few.
// Threads: one of its own. The answering function runs in it and must take its own locks.
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

#define CLIENTS_MAX     16
#define CLIENT_IDLE_US  60000000 // an idle client loses its slot to another after this time,
#define CLIENT_TAKES_US 5000000  // and one that does not take its answer after this time
#define PIECE           16384

static const struct pl_json_limits request_limits = { PL_CONTROL_LINE_MAX, 8, 256 };

struct client {
	int fd; // -1 = free
	int64_t heard_us;
	struct pl_control_peer peer;
	struct pl_buf line; // the part of it that has arrived, and perhaps further lines
	bool whole;         // the line has arrived
	struct pl_buf out;  // the answer, unless it was sent
	size_t sent;        // of the answer
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

static void answer(struct pl_control *control, const struct pl_control_peer *peer, const char *line,
                   size_t len, struct pl_buf *out)
{
	struct pl_error err = { 0 };
	struct pl_buf members = { 0 };
	cJSON *request = pl_json_parse(line, len, &request_limits, &err);
	if (request && !cJSON_IsObject(request))
		pl_error_set(&err, PL_EINVAL, "a request must be a JSON object");
	else if (request)
		control->fn(request, peer, &members, &err, control->arg);
	pl_buf_adds(out, err.code == 0 ? "{\"ok\":true" : "{\"ok\":false,\"error\":");
	if (err.code != 0)
		pl_buf_add_json(out, err.text, strlen(err.text));
	if (members.len > 0)
		pl_buf_add(out, members.data, members.len);
	pl_buf_adds(out, "}\n");
	pl_buf_fini(&members);
	cJSON_Delete(request);
}

static void drop(struct client *client)
{
	close(client->fd);
	free(client->peer.groups);
	pl_buf_fini(&client->line);
	pl_buf_fini(&client->out);
	*client = (struct client){ .fd = -1 };
}

static bool is_answering(const struct client *client)
{
	return client->out.len > 0;
}

// Sends as much of the answer as the client takes now.
static void send_answer(struct client *client)
{
	while (client->sent < client->out.len) {
		ssize_t n = send(client->fd, client->out.data + client->sent, client->out.len - client->sent,
		                 MSG_NOSIGNAL);
		if (n >= 0)
			client->sent += (size_t)n;
		else if (errno == EAGAIN)
			return;
		else if (errno != EINTR) {
			drop(client);
			return;
		}
	}
	pl_buf_fini(&client->out);
	client->sent = 0;
}

static void find_line(struct client *client)
{
	client->whole = client->line.len > 0 && memchr(client->line.data, '\n', client->line.len) != NULL;
}

static void answer_line(struct pl_control *control, struct client *client)
{
	struct pl_buf *line = &client->line;
	size_t len = (size_t)((char *)memchr(line->data, '\n', line->len) - line->data);

	answer(control, &client->peer, line->data, len, &client->out);
	memmove(line->data, line->data + len + 1, line->len - len - 1);
	line->len -= len + 1;
	find_line(client);
	send_answer(client);
}

static void hear(struct client *client)
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
	find_line(client);
	if (!client->whole && client->line.len == PL_CONTROL_LINE_MAX) {
		static const char refusal[] = "{\"ok\":false,\"error\":\"the request is too long\"}\n";
		send(client->fd, refusal, sizeof(refusal) - 1, MSG_NOSIGNAL);
		drop(client);
	}
}

// ---- places

static int places_of(const struct pl_control *control, uid_t uid)
{
	int n = 0;

	for (int i = 0; i < CLIENTS_MAX; i++)
		n += control->clients[i].fd >= 0 && control->clients[i].peer.uid == uid;
	return n;
}

// Whether the client may lose its slot to a user who has this many already: if it
// was not heard for too long, or its own user has at least two more.
static bool may_go(const struct pl_control *control, const struct client *client, int places)
{
	int64_t silent_us = pl_mono_us() - client->heard_us;

	return silent_us >= (is_answering(client) ? CLIENT_TAKES_US : CLIENT_IDLE_US) ||
	       places_of(control, client->peer.uid) > places + 1;
}

// Returns a free slot, or that of the client that was heard least recently of those that
// may lose theirs to this user, or NULL.
static struct client *place(struct pl_control *control, uid_t uid)
{
	struct client *oldest = NULL;
	int places = places_of(control, uid);

	for (int i = 0; i < CLIENTS_MAX; i++) {
		struct client *client = &control->clients[i];
		if (client->fd < 0)
			return client;
		if (may_go(control, client, places) && (!oldest || client->heard_us < oldest->heard_us))
			oldest = client;
	}
	if (oldest)
		drop(oldest);
	return oldest;
}

static void identify(int fd, struct pl_control_peer *peer_r)
{
	struct ucred credentials;
	socklen_t len = sizeof(credentials);

	*peer_r = (struct pl_control_peer){ 0 };
	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &credentials, &len) != 0)
		return;
	peer_r->known = true;
	peer_r->uid = credentials.uid;
	peer_r->gid = credentials.gid;
	peer_r->pid = credentials.pid;
	len = 0; // too little, so the kernel says how much they need; or there are none
	if (getsockopt(fd, SOL_SOCKET, SO_PEERGROUPS, NULL, &len) == 0 || errno != ERANGE)
		return;
	peer_r->groups = pl_calloc(1, len);
	if (getsockopt(fd, SOL_SOCKET, SO_PEERGROUPS, peer_r->groups, &len) == 0)
		peer_r->ngroups = (int)(len / sizeof(peer_r->groups[0]));
}

static void welcome(struct pl_control *control)
{
	struct pl_control_peer peer;
	int fd = accept4(pl_sockfile_fd(control->sockfile), NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
	if (fd < 0)
		return;
	identify(fd, &peer);
	struct client *client = place(control, peer.uid);
	if (!client) {
		static const char refusal[] = "{\"ok\":false,\"error\":\"too many connections; try again "
					      "later\"}\n";
		send(fd, refusal, sizeof(refusal) - 1, MSG_NOSIGNAL);
		close(fd);
		free(peer.groups);
		return;
	}
	*client = (struct client){ .fd = fd, .heard_us = pl_mono_us(), .peer = peer };
}

// A client is heard again only when all that it has asked is answered and taken.
static short events_of(const struct client *client)
{
	return is_answering(client) ? POLLOUT : client->whole ? 0 : POLLIN;
}

static void serve(struct pl_control *control, struct client *client, short revents)
{
	if (is_answering(client) && revents)
		send_answer(client);
	else if (!client->whole && revents)
		hear(client);
	if (client->fd >= 0 && client->whole && !is_answering(client))
		answer_line(control, client);
}

// Whether there is a line to answer already, so that nothing is to be waited for.
static bool has_work(const struct pl_control *control)
{
	for (int i = 0; i < CLIENTS_MAX; i++)
		if (control->clients[i].whole && !is_answering(&control->clients[i]))
			return true;
	return false;
}

static void *run(void *arg)
{
	struct pl_control *control = arg;
	pl_log_set_thread("control");
	for (;;) {
		struct pollfd pfds[2 + CLIENTS_MAX] = {
			{ .fd = pl_wake_fd(control->stop), .events = POLLIN },
			{ .fd = pl_sockfile_fd(control->sockfile), .events = POLLIN },
		};
		for (int i = 0; i < CLIENTS_MAX; i++) // poll ignores negative descriptors
			pfds[2 + i] = (struct pollfd){ .fd = control->clients[i].fd,
				                       .events = events_of(&control->clients[i]) };
		if (poll(pfds, 2 + CLIENTS_MAX, has_work(control) ? 0 : -1) < 0 && errno != EINTR)
			pl_die("control: poll: %s", strerror(errno));
		if (pfds[0].revents)
			return NULL;
		for (int i = 0; i < CLIENTS_MAX; i++)
			if (control->clients[i].fd >= 0)
				serve(control, &control->clients[i], pfds[2 + i].revents);
		if (pfds[1].revents)
			welcome(control);
	}
}

struct pl_control *pl_control_start(const char *path, mode_t mode, pl_control_fn *fn, void *arg,
                                    struct pl_error *err)
{
	struct pl_error own;
	err = err ? err : &own;
	struct pl_control *control = pl_calloc(1, sizeof(*control));
	control->fn = fn;
	control->arg = arg;
	control->stop = pl_wake_new();
	for (int i = 0; i < CLIENTS_MAX; i++)
		control->clients[i].fd = -1;
	control->sockfile = pl_sockfile_new(path, mode, 16, err);
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

void pl_control_stop(struct pl_control **control_p)
{
	struct pl_control *control = *control_p;
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
	*control_p = NULL;
}
