// Querying a daemon over HTTP: complete and broken responses, servers that are slow or
// silent, or are not plistd.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <arpa/inet.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "admin/daemon.h"
#include "base/clock.h"

static void a_complete_answer_has_a_status_and_a_body(void **state)
{
	const char *text = "HTTP/1.1 503 Service Unavailable\r\nServer: x\r\ncontent-length: 5\r\n\r\nhello",
		   *body;
	size_t len;
	assert_int_equal(pl_daemon_parse_answer(text, strlen(text), &body, &len), 503);
	assert_int_equal(len, 5);
	assert_memory_equal(body, "hello", 5);
}

static void incomplete_and_malformed_answers_are_refused(void **state)
{
	static const char *const bad[] = {
		"",
		"HTTP/1.1 200 OK\r\n",
		"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nhello",
		"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
		"SSH-2.0-OpenSSH\r\n\r\n",
		"HTTP/2 200\r\n\r\n",
		"HTTP/1.1 OK\r\n\r\n",
		"HTTP/1.1 20\r\n\r\n",
		"HTTP/1.1 2000 OK\r\n\r\n",
	};
	const char *body;
	size_t len;
	for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++)
		if (pl_daemon_parse_answer(bad[i], strlen(bad[i]), &body, &len) != -1)
			fail_msg("taken: %s", bad[i]);
}

// A server for one connection that sends a text, or nothing.
struct server {
	int fd;
	char address[32];
	const char *answer;
	pthread_t thread;
};

static void *serve(void *arg)
{
	struct server *server = arg;
	char request[1024];
	int fd = accept(server->fd, NULL, NULL);
	if (recv(fd, request, sizeof(request), 0) > 0 && server->answer)
		send(fd, server->answer, strlen(server->answer), MSG_NOSIGNAL);
	while (!server->answer && recv(fd, request, sizeof(request), 0) > 0)
		; // silent until the client gives up
	close(fd);
	return NULL;
}

static void server_start(struct server *server, const char *answer)
{
	struct sockaddr_in a = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t len = sizeof(a);
	server->fd = socket(AF_INET, SOCK_STREAM, 0);
	server->answer = answer;
	assert_int_equal(bind(server->fd, (struct sockaddr *)&a, sizeof(a)), 0);
	assert_int_equal(listen(server->fd, 1), 0);
	assert_int_equal(getsockname(server->fd, (struct sockaddr *)&a, &len), 0);
	snprintf(server->address, sizeof(server->address), "127.0.0.1:%d", ntohs(a.sin_port));
	assert_int_equal(pthread_create(&server->thread, NULL, serve, server), 0);
}

static void server_stop(struct server *server)
{
	pthread_join(server->thread, NULL);
	close(server->fd);
}

static int get(struct server *server, int64_t timeout_us, struct pl_buf *body, struct pl_error *err)
{
	const char *upstream[] = { server->address };
	struct pl_region region = { .name = "us", .nupstream = 1, .upstream = upstream };
	return pl_daemon_get(NULL, &region, "/ready", timeout_us, body, err);
}

static void an_answer_arrives(void **state)
{
	struct server server;
	struct pl_buf body = { 0 };
	struct pl_error err;
	server_start(&server, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}");
	assert_int_equal(get(&server, 2000000, &body, &err), 200);
	assert_string_equal(body.data, "{}");
	server_stop(&server);
	pl_buf_fini(&body);
}

static void silence_ends_at_the_deadline(void **state)
{
	struct server server;
	struct pl_buf body = { 0 };
	struct pl_error err;
	int64_t began = pl_mono_us();
	server_start(&server, NULL);
	assert_int_equal(get(&server, 200000, &body, &err), PL_ETIMEOUT);
	assert_true(pl_mono_us() - began >= 200000);
	assert_non_null(strstr(err.text, server.address));
	server_stop(&server);
	pl_buf_fini(&body);
}

static void a_server_that_is_not_plistd_is_reported_as_such(void **state)
{
	struct server server;
	struct pl_buf body = { 0 };
	struct pl_error err;
	server_start(&server, "220 mail ready\r\n\r\n");
	assert_int_equal(get(&server, 2000000, &body, &err), PL_EUNAVAIL);
	assert_non_null(strstr(err.text, "is not plistd"));
	server_stop(&server);
	pl_buf_fini(&body);
}

static void the_next_address_is_tried_when_one_refuses(void **state)
{
	struct server server;
	struct pl_buf body = { 0 };
	struct pl_error err;
	server_start(&server, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}");
	const char *upstream[] = { "127.0.0.1:1", server.address };
	struct pl_region region = { .name = "us", .nupstream = 2, .upstream = upstream };
	assert_int_equal(pl_daemon_get(NULL, &region, "/ready", 2000000, &body, &err), 200);
	server_stop(&server);
	region.nupstream = 1;
	assert_int_equal(pl_daemon_get(NULL, &region, "/ready", 2000000, &body, &err), PL_EUNAVAIL);
	assert_non_null(strstr(err.text, "127.0.0.1:1: "));
	pl_buf_fini(&body);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_complete_answer_has_a_status_and_a_body),
		cmocka_unit_test(incomplete_and_malformed_answers_are_refused),
		cmocka_unit_test(an_answer_arrives),
		cmocka_unit_test(silence_ends_at_the_deadline),
		cmocka_unit_test(a_server_that_is_not_plistd_is_reported_as_such),
		cmocka_unit_test(the_next_address_is_tried_when_one_refuses),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
