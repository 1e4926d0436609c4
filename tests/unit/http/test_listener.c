// The listener with real sockets, a real Lua state and a store that answers when the test wants it to.
// Threads: one; the test turns the loop by hand.
#include "http/listener.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "../script/fake_store.h"
#include "../script/world.h"
#include "base/clock.h"
#include "http/bind.h"

#define GET "local records, http = require 'plist.records', require 'plist.http'\n" \
	"return { name = 'get', doc = 'Reads.', handle = function(req)\n" \
	"  local record, err = records.get('properties', req.params.id)\n" \
	"  return record and http.ok(record) or http.problem(err)\nend }\n"
#define PUT "local records, http = require 'plist.records', require 'plist.http'\n" \
	"return { name = 'put', doc = 'Writes.', handle = function(req)\n" \
	"  local record, err = records.update('properties', req.params.id, req.body, req.lock)\n" \
	"  return record and http.ok(record) or http.problem(err)\nend }\n"
// The same after a look at it: three calls of the store, the first for the request id.
#define LOOK_AND_PUT "local records, http = require 'plist.records', require 'plist.http'\n" \
	"return { name = 'put', doc = 'Writes.', handle = function(req)\n" \
	"  local record, err = records.get('properties', req.params.id)\n" \
	"  if record then record, err = records.update('properties', req.params.id, req.body, req.lock) end\n" \
	"  return record and http.ok(record) or http.problem(err)\nend }\n"
#define OTHER "local http = require 'plist.http'\n" \
	"return { name = 'other', doc = 'Says so.', handle = function() return http.ok { other = true } end }\n"

struct world {
	struct pl_config *config;
	struct pl_loop *loop;
	struct pl_store *store;
	struct pl_program *program;
	struct pl_listener *listener;
	int port, turns;
	int served, last_status;
};

static void on_builtin(enum pl_builtin which, const struct pl_request *request, struct pl_answer *answer, void *arg)
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
	const struct world_file files[] = {{"handlers/get.lua", get}, {"handlers/put.lua", put}};
	struct pl_config *config = world_config(files, 2);
	config->http.max_body = 65536;
	config->http.queue = 4;
	config->http.receive_timeout_us = 400000;
	config->http.idle_timeout_us = 800000;
	return config;
}

static struct pl_program *make_program(const struct pl_config *config)
{
	struct pl_problems problems = {0};
	struct pl_program *program = pl_program_new(config, &problems);
	assert_non_null(program);
	pl_problems_fini(&problems);
	return program;
}

static int setup(void **state)
{
	struct world *w = calloc(1, sizeof(*w));
	struct pl_error err;
	w->config = make_config(GET, PUT);
	w->loop = pl_loop_new();
	w->store = fake_store_new(w->config);
	w->program = make_program(w->config);
	int fd = pl_bind_listen("127.0.0.1:0", &err);
	struct sockaddr_in addr;
	socklen_t len = sizeof(addr);
	getsockname(fd, (struct sockaddr *)&addr, &len);
	w->port = ntohs(addr.sin_port);
	w->listener = pl_listener_new(&(struct pl_listener_options){
		.loop = w->loop, .fd = fd, .region = "us", .program = w->program, .store = w->store, .max_connections = 8,
		.builtin = on_builtin, .served = on_served, .arg = w,
	}, &err);
	fake_store_put(w->store, 7, "5.00", "3", 1);
	*state = w;
	return w->listener ? 0 : -1;
}

static int teardown(void **state)
{
	struct world *w = *state;
	if (w->store)
		pl_store_free(&w->store);
	pl_listener_free(&w->listener);
	pl_program_unref(&w->program);
	pl_loop_free(&w->loop);
	pl_config_unref(&w->config);
	free(w);
	return 0;
}

static int turn(void *arg)
{
	struct world *w = arg;
	do
		pl_listener_turn(w->listener);
	while (pl_listener_pending(w->listener));
	if (--w->turns <= 0)
		pl_loop_stop(w->loop);
	return 1;
}

static void step(struct world *w)
{
	w->turns = 3;
	pl_loop_run(w->loop, turn, w);
}

static struct pl_listener_stats stats_of(const struct world *w)
{
	struct pl_listener_stats stats;
	pl_listener_stats(w->listener, &stats);
	return stats;
}

// ---- a client

static int dial(struct world *w)
{
	struct sockaddr_in addr = {.sin_family = AF_INET, .sin_port = htons((uint16_t)w->port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	int fd = socket(AF_INET, SOCK_STREAM, 0);
	if (connect(fd, (struct sockaddr *)&addr, sizeof(addr)) != 0) {
		close(fd);
		return -1;
	}
	fcntl(fd, F_SETFL, O_NONBLOCK);
	step(w);
	return fd;
}

static void say(struct world *w, int fd, const char *text)
{
	assert_int_equal(send(fd, text, strlen(text), MSG_NOSIGNAL), strlen(text));
	step(w);
}

static int ask(struct world *w, const char *text)
{
	int fd = dial(w);
	say(w, fd, text);
	return fd;
}

// What has come so far, until nothing more does; "" for nothing. *closed_r says whether the connection has ended.
static const char *hear(struct world *w, int fd, bool *closed_r)
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

// Turns until the connection is closed, for at most this long; what came, or NULL if it was not closed.
static const char *hear_to_end(struct world *w, int fd, int64_t within_us)
{
	static char text[65536];
	bool closed = false;
	text[0] = '\0';
	for (int64_t end = pl_mono_us() + within_us; !closed && pl_mono_us() < end;)
		strcat(text, hear(w, fd, &closed));
	return closed ? text : NULL;
}

static int count(const char *text, const char *what)
{
	int n = 0;
	for (; (text = strstr(text, what)) != NULL; text++)
		n++;
	return n;
}

#define READ "GET /us/properties/7 HTTP/1.1\r\nHost: x\r\n\r\n"
#define WRITE(id, version) "PUT /us/properties/7 HTTP/1.1\r\nHost: x\r\nX-Request-ID: " id "\r\nContent-Length: 23\r\n\r\n" \
	"{\"price\":5,\"version\":" version "}"

// ---- tests

static void a_request_waits_for_the_store_and_is_then_answered(void **state)
{
	struct world *w = *state;
	bool closed;
	int fd = ask(w, READ);
	assert_string_equal(hear(w, fd, &closed), "");
	assert_int_equal(stats_of(w).in_flight, 1);
	assert_int_equal(fake_store_waiting(w->store), 1);
	fake_store_run(w->store);
	const char *answer = hear(w, fd, &closed);
	assert_int_equal(strncmp(answer, "HTTP/1.1 200 OK\r\n", 17), 0);
	assert_non_null(strstr(answer, "\r\nX-Plist-Region: us\r\n"));
	assert_non_null(strstr(answer, "\r\nETag: \""));
	assert_false(closed);
	assert_int_equal(stats_of(w).in_flight, 0);
	assert_int_equal(w->last_status, 200);
	close(fd);
}

static void requests_sent_together_are_answered_in_order(void **state)
{
	struct world *w = *state;
	bool closed;
	int fd = ask(w, READ "GET /health HTTP/1.1\r\nHost: x\r\n\r\n" READ "GET /nowhere HTTP/1.1\r\nHost: x\r\n\r\n");
	assert_string_equal(hear(w, fd, &closed), ""); // the second may not overtake the first
	fake_store_run(w->store);
	char *first = strdup(hear(w, fd, &closed));
	fake_store_run(w->store);
	const char *second = hear(w, fd, &closed);
	assert_int_equal(count(first, "HTTP/1.1 "), 2);
	assert_non_null(strstr(first, "\"id\":7"));
	assert_int_equal(count(second, "HTTP/1.1 "), 2);
	assert_true(strstr(second, "\"id\":7") < strstr(second, "HTTP/1.1 404"));
	free(first);
	close(fd);
}

static void a_client_that_hangs_up_meanwhile_does_no_harm(void **state)
{
	struct world *w = *state;
	int fd = ask(w, WRITE("r1", "1"));
	assert_int_equal(fake_store_waiting(w->store), 1);
	close(fd);
	step(w);
	assert_int_equal(stats_of(w).in_flight, 1);
	fake_store_run(w->store);
	for (int i = 0; i < 5; i++)
		step(w);
	assert_int_equal(fake_store_writes(w->store), 1);
	assert_int_equal(stats_of(w).in_flight, 0);
	assert_int_equal(stats_of(w).connections, 0);
}

static void too_many_waiting_requests_are_answered_503(void **state)
{
	struct world *w = *state;
	bool closed;
	int fds[5];
	for (int i = 0; i < 5; i++)
		fds[i] = ask(w, READ);
	const char *answer = hear(w, fds[4], &closed);
	assert_int_equal(strncmp(answer, "HTTP/1.1 503 ", 13), 0);
	assert_non_null(strstr(answer, "\r\nRetry-After: 1\r\n"));
	assert_int_equal(stats_of(w).overloaded, 1);
	fake_store_run(w->store);
	for (int i = 0; i < 4; i++)
		assert_int_equal(strncmp(hear(w, fds[i], &closed), "HTTP/1.1 200 ", 13), 0);
	for (int i = 0; i < 5; i++)
		close(fds[i]);
}

static void use_program(struct world *w, const char *get, const char *put)
{
	struct pl_config *config = make_config(get, put);
	struct pl_program *program = make_program(config);
	pl_listener_set_program(w->listener, program);
	pl_program_unref(&w->program);
	w->program = program;
	pl_config_unref(&config);
}

static void a_handler_goes_on_to_its_end_although_its_client_is_gone(void **state)
{
	struct world *w = *state;
	use_program(w, GET, LOOK_AND_PUT);
	int fd = ask(w, WRITE("r1", "1"));
	assert_int_equal(fake_store_lookups(w->store), 1);
	close(fd);
	step(w);
	for (int i = 0; i < 4; i++) {
		fake_store_run(w->store);
		step(w);
	}
	assert_int_equal(fake_store_writes(w->store), 1);
	assert_int_equal(stats_of(w).in_flight, 0);
}

static void a_request_keeps_the_program_that_it_began_with(void **state)
{
	struct world *w = *state;
	bool closed;
	int fd = ask(w, READ);
	use_program(w, OTHER, PUT);
	int later = ask(w, READ);
	assert_non_null(strstr(hear(w, later, &closed), "{\"other\":true}"));
	fake_store_run(w->store);
	assert_non_null(strstr(hear(w, fd, &closed), "\"id\":7"));
	say(w, fd, READ);
	assert_non_null(strstr(hear(w, fd, &closed), "{\"other\":true}"));
	close(fd);
	close(later);
}

static void a_handler_that_the_store_forgets_is_answered_for(void **state)
{
	struct world *w = *state;
	use_program(w, GET, LOOK_AND_PUT);
	for (int i = 0; i < w->program->config->nroutes; i++)
		w->program->config->routes[i].timeout_us = 1000;
	int read = ask(w, READ), write = ask(w, WRITE("r1", "1"));
	const char *answer = hear_to_end(w, write, 5000000);
	assert_non_null(answer);
	assert_int_equal(strncmp(answer, "HTTP/1.1 504 ", 13), 0);
	assert_non_null(strstr(answer, "outcome unknown, retry with the same X-Request-ID"));
	answer = hear_to_end(w, read, 5000000);
	assert_non_null(answer);
	assert_int_equal(strncmp(answer, "HTTP/1.1 503 ", 13), 0);
	assert_int_equal(stats_of(w).overdue, 2);
	for (int i = 0; i < 4; i++) { // it goes on all the same, unheard
		fake_store_run(w->store);
		step(w);
	}
	assert_int_equal(fake_store_writes(w->store), 1);
	assert_int_equal(stats_of(w).in_flight, 0);
	close(read);
	close(write);
}

static void a_request_that_does_not_come_whole_is_answered_408(void **state)
{
	struct world *w = *state;
	int fd = ask(w, "PUT /us/properties/7 HTTP/1.1\r\nHost: x\r\nX-Request-ID: a\r\nContent-Length: 50\r\n\r\n{");
	const char *answer = hear_to_end(w, fd, 2000000);
	assert_non_null(answer);
	assert_int_equal(strncmp(answer, "HTTP/1.1 408 ", 13), 0);
	assert_non_null(strstr(answer, "\r\nX-Request-ID: a\r\n"));
	assert_int_equal(w->last_status, 408);
	close(fd);
}

static void what_says_nothing_is_closed_in_silence(void **state)
{
	struct world *w = *state;
	int silent = dial(w), half = ask(w, "GET /health HT"), idle = ask(w, "GET /health HTTP/1.1\r\nHost: x\r\n\r\n");
	assert_string_equal(hear_to_end(w, silent, 2000000), "");
	assert_string_equal(hear_to_end(w, half, 2000000), "");
	const char *answer = hear_to_end(w, idle, 3000000);
	assert_int_equal(count(answer, "HTTP/1.1 "), 1);
	assert_int_equal(stats_of(w).connections, 0);
	close(silent);
	close(half);
	close(idle);
}

static void room_is_made_by_closing_the_oldest_that_waits_for_nothing(void **state)
{
	struct world *w = *state;
	bool closed;
	w->config->http.receive_timeout_us = w->config->http.idle_timeout_us = 60000000; // nothing of this is for the clock
	int working = ask(w, READ), idle = ask(w, "GET /health HTTP/1.1\r\nHost: x\r\n\r\n"), half[6];
	hear(w, idle, &closed);
	for (int i = 0; i < 6; i++)
		half[i] = ask(w, "GET / HTTP/1.1\r\nX");
	int next = ask(w, "G"); // the ninth. Who says nothing at all is not let in yet
	assert_non_null(hear_to_end(w, idle, 1000000));
	int after = ask(w, "G");
	assert_non_null(hear_to_end(w, half[0], 100000));
	hear(w, half[1], &closed);
	assert_false(closed);
	assert_int_equal(stats_of(w).evicted, 2);
	fake_store_run(w->store);
	assert_int_equal(strncmp(hear(w, working, &closed), "HTTP/1.1 200 ", 13), 0);
	close(working);
	close(idle);
	close(next);
	close(after);
	for (int i = 0; i < 6; i++)
		close(half[i]);
}

static void after_quiesce_nobody_new_is_let_in_and_everybody_is_answered(void **state)
{
	struct world *w = *state;
	w->config->http.receive_timeout_us = w->config->http.idle_timeout_us = 60000000;
	int waiting = ask(w, READ), idle = ask(w, "GET /health HTTP/1.1\r\nHost: x\r\n\r\n"), kept = ask(w, "GET /health HTTP/1.1\r\nHost: x\r\n\r\n");
	int silent = ask(w, "G"); // let in, but no request
	bool closed;
	hear(w, idle, &closed);
	pl_listener_quiesce(w->listener);
	say(w, idle, "GET /health HTTP/1.1\r\nHost: x\r\n\r\n"); // it was on its way
	const char *answer = hear_to_end(w, idle, 2000000);
	assert_non_null(strstr(answer, "\r\nConnection: close\r\n"));
	fake_store_run(w->store);
	answer = hear_to_end(w, waiting, 1000000);
	assert_int_equal(strncmp(answer, "HTTP/1.1 200 ", 13), 0);
	assert_non_null(strstr(answer, "\r\nConnection: close\r\n"));
	assert_non_null(hear_to_end(w, kept, 2000000));
	assert_non_null(hear_to_end(w, silent, 100000));
	assert_true(pl_listener_drained(w->listener));
	assert_int_equal(dial(w), -1);
	close(waiting);
	close(idle);
	close(kept);
	close(silent);
}

// The kernel has let them in before the door was closed: they are served.
static void who_was_let_in_before_the_end_is_answered(void **state)
{
	struct world *w = *state;
	struct sockaddr_in addr = {.sin_family = AF_INET, .sin_port = htons((uint16_t)w->port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	int fds[40];
	w->config->http.receive_timeout_us = 60000000;
	for (int i = 0; i < 40; i++) {
		fds[i] = socket(AF_INET, SOCK_STREAM, 0);
		assert_int_equal(connect(fds[i], (struct sockaddr *)&addr, sizeof(addr)), 0);
		fcntl(fds[i], F_SETFL, O_NONBLOCK);
	}
	pl_listener_quiesce(w->listener);
	for (int i = 32; i < 40; i++) // there is room for eight
		assert_int_equal(send(fds[i], "GET /health HTTP/1.1\r\nHost: x\r\n\r\n", 34, MSG_NOSIGNAL), 34);
	for (int i = 32; i < 40; i++) {
		const char *answer = hear_to_end(w, fds[i], 2000000);
		assert_non_null(answer);
		assert_int_equal(strncmp(answer, "HTTP/1.1 200 ", 13), 0);
	}
	for (int i = 0; i < 40; i++)
		close(fds[i]);
}

// Who begins to connect afterwards is neither let in nor cut off: the first packet is not answered.
static void who_comes_after_the_end_is_not_answered(void **state)
{
	struct world *w = *state;
	struct sockaddr_in addr = {.sin_family = AF_INET, .sin_port = htons((uint16_t)w->port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0), so_error = 0;
	socklen_t len = sizeof(so_error);
	pl_listener_quiesce(w->listener);
	assert_int_equal(connect(fd, (struct sockaddr *)&addr, sizeof(addr)), -1);
	for (int i = 0; i < 3; i++)
		step(w);
	assert_int_equal(connect(fd, (struct sockaddr *)&addr, sizeof(addr)), -1);
	assert_int_equal(errno, EALREADY);
	getsockopt(fd, SOL_SOCKET, SO_ERROR, &so_error, &len);
	assert_int_equal(so_error, 0);
	assert_int_equal(stats_of(w).accepted, 0);
	close(fd);
}

static void who_still_waits_at_the_end_is_answered_503_or_504(void **state)
{
	struct world *w = *state;
	int read = ask(w, READ), write = ask(w, WRITE("r1", "1"));
	char text[2048] = "";
	pl_listener_free(&w->listener);
	assert_true(recv(read, text, sizeof(text) - 1, 0) > 0);
	assert_int_equal(strncmp(text, "HTTP/1.1 503 ", 13), 0);
	assert_true(recv(write, text, sizeof(text) - 1, 0) > 0);
	assert_int_equal(strncmp(text, "HTTP/1.1 504 ", 13), 0);
	close(read);
	close(write);
}

static void ids_are_sent_back_or_made_up(void **state)
{
	struct world *w = *state;
	bool closed;
	int fd = ask(w, "GET /health HTTP/1.1\r\nHost: x\r\nX-Request-ID: mine\r\n\r\n");
	assert_non_null(strstr(hear(w, fd, &closed), "\r\nX-Request-ID: mine\r\n"));
	say(w, fd, "GET /health HTTP/1.1\r\nHost: x\r\nX-Request-ID: not mine\r\n\r\n");
	assert_non_null(strstr(hear(w, fd, &closed), "\r\nX-Request-ID: plist-"));
	say(w, fd, "PUT /us/properties/7 HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{}");
	const char *answer = hear(w, fd, &closed);
	assert_int_equal(strncmp(answer, "HTTP/1.1 400 ", 13), 0);
	assert_non_null(strstr(answer, "\"error\":\"X-Request-ID missing\""));
	assert_int_equal(fake_store_waiting(w->store), 0);
	close(fd);
}

static void not_modified_is_304_without_a_body(void **state)
{
	struct world *w = *state;
	bool closed;
	int fd = ask(w, READ);
	fake_store_run(w->store);
	char etag[64], request[256];
	const char *answer = hear(w, fd, &closed);
	assert_int_equal(sscanf(strstr(answer, "\r\nETag: "), "\r\nETag: %63[^\r]", etag), 1);
	snprintf(request, sizeof(request), "GET /us/properties/7 HTTP/1.1\r\nHost: x\r\nIf-None-Match: \"a\", W/%s\r\n\r\n", etag);
	say(w, fd, request);
	fake_store_run(w->store);
	answer = hear(w, fd, &closed);
	assert_int_equal(strncmp(answer, "HTTP/1.1 304 ", 13), 0);
	assert_non_null(strstr(answer, etag));
	assert_null(strstr(answer, "\"id\""));
	say(w, fd, READ);
	fake_store_run(w->store);
	assert_int_equal(strncmp(hear(w, fd, &closed), "HTTP/1.1 200 ", 13), 0); // the connection is in step
	close(fd);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(a_request_waits_for_the_store_and_is_then_answered, setup, teardown),
		cmocka_unit_test_setup_teardown(requests_sent_together_are_answered_in_order, setup, teardown),
		cmocka_unit_test_setup_teardown(a_client_that_hangs_up_meanwhile_does_no_harm, setup, teardown),
		cmocka_unit_test_setup_teardown(too_many_waiting_requests_are_answered_503, setup, teardown),
		cmocka_unit_test_setup_teardown(a_handler_goes_on_to_its_end_although_its_client_is_gone, setup, teardown),
		cmocka_unit_test_setup_teardown(a_request_keeps_the_program_that_it_began_with, setup, teardown),
		cmocka_unit_test_setup_teardown(a_handler_that_the_store_forgets_is_answered_for, setup, teardown),
		cmocka_unit_test_setup_teardown(a_request_that_does_not_come_whole_is_answered_408, setup, teardown),
		cmocka_unit_test_setup_teardown(what_says_nothing_is_closed_in_silence, setup, teardown),
		cmocka_unit_test_setup_teardown(room_is_made_by_closing_the_oldest_that_waits_for_nothing, setup, teardown),
		cmocka_unit_test_setup_teardown(after_quiesce_nobody_new_is_let_in_and_everybody_is_answered, setup, teardown),
		cmocka_unit_test_setup_teardown(who_was_let_in_before_the_end_is_answered, setup, teardown),
		cmocka_unit_test_setup_teardown(who_comes_after_the_end_is_not_answered, setup, teardown),
		cmocka_unit_test_setup_teardown(who_still_waits_at_the_end_is_answered_503_or_504, setup, teardown),
		cmocka_unit_test_setup_teardown(ids_are_sent_back_or_made_up, setup, teardown),
		cmocka_unit_test_setup_teardown(not_modified_is_304_without_a_body, setup, teardown),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
