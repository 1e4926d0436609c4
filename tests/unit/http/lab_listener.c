// See lab_listener.h.
#include "lab_listener.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "../script/world.h"
#include "http/bind.h"

static void on_builtin(enum pl_builtin which, const struct pl_request *request, struct pl_answer *answer,
                       void *arg)
{
	answer->status = 200;
	pl_buf_adds(&answer->body, "{}");
}

static void on_served(const struct pl_served *served, void *arg)
{
	struct world *w = arg;
	w->served++;
	w->last_status = served->status;
}

static struct pl_config *make_config(const char *get, const char *put)
{
	const struct world_file files[] = { { "handlers/get.lua", get }, { "handlers/put.lua", put } };
	struct pl_config *config = world_config(files, 2);
	config->http.max_body = 65536;
	config->http.max_response = 8 << 20;
	config->http.max_queued = 4;
	config->http.receive_timeout_us = 400000;
	config->http.idle_timeout_us = 800000;
	return config;
}

static struct pl_generation *make_program(const struct pl_config *config)
{
	struct pl_diagnostics problems = { 0 };
	struct pl_credentials *credentials = pl_credentials_load(config, &problems);
	struct pl_generation *generation = pl_generation_new(config, credentials, &problems);
	assert_non_null(generation);
	pl_credentials_unref(&credentials);
	pl_diagnostics_fini(&problems);
	return generation;
}

int setup_for(void **state, int connections, int queue, int shared_fd)
{
	struct world *w = calloc(1, sizeof(*w));
	struct pl_error err;
	w->config = make_config(GET, PUT);
	w->config->http.max_queued = queue;
	w->loop = pl_loop_new();
	w->limits = pl_limits_new();
	w->store = fake_store_new(w->config);
	w->generation = make_program(w->config);
	int fd = pl_bind_listen("127.0.0.1:0", &err);
	struct sockaddr_in addr;
	socklen_t len = sizeof(addr);
	getsockname(fd, (struct sockaddr *)&addr, &len);
	w->port = ntohs(addr.sin_port);
	w->listener = pl_listener_new(
		&(struct pl_listener_options){
			.loop = w->loop,
			.fd = fd,
			.shared_fd = shared_fd,
			.region = "us",
			.generation = w->generation,
			.store = w->store,
			.limits = w->limits,
			.max_connections = connections,
			.builtin = on_builtin,
			.served = on_served,
			.arg = w,
		},
		&err);
	fake_store_put(w->store, 7, "5.00", "3", 1);
	*state = w;
	return w->listener ? 0 : -1;
}

int setup(void **state)
{
	return setup_for(state, 8, 4, -1);
}

int teardown(void **state)
{
	struct world *w = *state;
	if (w->store)
		pl_store_free(&w->store);
	pl_listener_free(&w->listener);
	pl_generation_unref(&w->generation);
	pl_limits_free(&w->limits);
	pl_loop_free(&w->loop);
	pl_config_unref(&w->config);
	free(w);
	return 0;
}

void use_program(struct world *w, const char *get, const char *put)
{
	struct pl_config *config = make_config(get, put);
	struct pl_generation *generation = make_program(config);
	pl_listener_set_generation(w->listener, generation);
	pl_generation_unref(&w->generation);
	w->generation = generation;
	pl_config_unref(&config);
}

static int turn(void *arg)
{
	struct world *w = arg;
	do {
		pl_listener_turn(w->listener);
		if (!pl_listener_pending(w->listener))
			pl_listener_turn_lane(w->listener);
	} while (pl_listener_pending(w->listener));
	if (--w->turns <= 0)
		pl_loop_stop(w->loop);
	return 1;
}

void step(struct world *w)
{
	w->turns = 3;
	pl_loop_run(w->loop, turn, w);
}

struct pl_listener_stats stats_of(const struct world *w)
{
	struct pl_listener_stats stats;
	pl_listener_stats(w->listener, &stats);
	return stats;
}

// ---- a client

int dial(struct world *w)
{
	struct sockaddr_in addr = { .sin_family = AF_INET,
		                    .sin_port = htons((uint16_t)w->port),
		                    .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	int fd = socket(AF_INET, SOCK_STREAM, 0);
	if (connect(fd, (struct sockaddr *)&addr, sizeof(addr)) != 0) {
		close(fd);
		return -1;
	}
	fcntl(fd, F_SETFL, O_NONBLOCK);
	step(w);
	return fd;
}

void say(struct world *w, int fd, const char *text)
{
	assert_int_equal(send(fd, text, strlen(text), MSG_NOSIGNAL), strlen(text));
	step(w);
}

int ask(struct world *w, const char *text)
{
	int fd = dial(w);
	say(w, fd, text);
	return fd;
}

const char *hear(struct world *w, int fd, bool *closed_r)
{
	static char text[65536];
	size_t len = 0;
	*closed_r = false;
	for (int quiet = 0; quiet < 3;) {
		ssize_t n = recv(fd, text + len, sizeof(text) - 1 - len, 0);
		if (n > 0) {
			len += (size_t)n;
			quiet = 0;
			continue;
		}
		if (n == 0 || errno == ECONNRESET) {
			*closed_r = true;
			break;
		}
		quiet++;
		step(w);
	}
	text[len] = '\0';
	return text;
}

const char *hear_to_end(struct world *w, int fd, int64_t within_us)
{
	static char text[65536];
	bool closed = false;
	text[0] = '\0';
	for (int64_t end = pl_mono_us() + within_us; !closed && pl_mono_us() < end;)
		strcat(text, hear(w, fd, &closed));
	return closed ? text : NULL;
}

int count(const char *text, const char *what)
{
	int n = 0;
	for (; (text = strstr(text, what)) != NULL; text++)
		n++;
	return n;
}
