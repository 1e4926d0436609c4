// The listener with real sockets, a real Lua state, and a store that answers when the
// test says so: requests and connections from beginning to end.
// Threads: one; the test turns the loop.
#include "lab_listener.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

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
	int fd = ask(w, READ HEALTH READ "GET /nowhere HTTP/1.1\r\nHost: x\r\n\r\n");
	assert_string_equal(hear(w, fd, &closed), ""); // the second one may not overtake the first
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

static void a_handler_runs_to_its_end_although_its_client_has_gone(void **state)
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

static void a_request_keeps_the_generation_that_it_began_with(void **state)
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

static void a_request_that_the_store_does_not_answer_gets_503_or_504(void **state)
{
	struct world *w = *state;
	use_program(w, GET, LOOK_AND_PUT);
	for (int i = 0; i < w->generation->config->nroutes; i++)
		w->generation->config->routes[i].timeout_us = 1000;
	int read = ask(w, READ), write = ask(w, WRITE("r1", "1"));
	const char *answer = hear_to_end(w, write, 5000000);
	assert_non_null(answer);
	assert_int_equal(strncmp(answer, "HTTP/1.1 504 ", 13), 0);
	assert_non_null(strstr(answer, "outcome unknown, retry with the same X-Request-ID"));
	answer = hear_to_end(w, read, 5000000);
	assert_non_null(answer);
	assert_int_equal(strncmp(answer, "HTTP/1.1 503 ", 13), 0);
	assert_int_equal(stats_of(w).overdue, 2);
	for (int i = 0; i < 4; i++) { // the handler continues without a client
		fake_store_run(w->store);
		step(w);
	}
	assert_int_equal(fake_store_writes(w->store), 1);
	assert_int_equal(stats_of(w).in_flight, 0);
	close(read);
	close(write);
}

static void an_incomplete_request_is_answered_408(void **state)
{
	struct world *w = *state;
	int fd = ask(
		w,
		"PUT /us/properties/7 HTTP/1.1\r\nHost: x\r\nX-Request-ID: a\r\nContent-Length: 50\r\n\r\n{");
	const char *answer = hear_to_end(w, fd, 2000000);
	assert_non_null(answer);
	assert_int_equal(strncmp(answer, "HTTP/1.1 408 ", 13), 0);
	assert_non_null(strstr(answer, "\r\nX-Request-ID: a\r\n"));
	assert_int_equal(w->last_status, 408);
	close(fd);
}

static void a_silent_connection_is_closed_without_an_answer(void **state)
{
	struct world *w = *state;
	int silent = dial(w), half = ask(w, "GET /health HT"), idle = ask(w, HEALTH);
	assert_string_equal(hear_to_end(w, silent, 2000000), "");
	assert_string_equal(hear_to_end(w, half, 2000000), "");
	const char *answer = hear_to_end(w, idle, 3000000);
	assert_int_equal(count(answer, "HTTP/1.1 "), 1);
	assert_int_equal(stats_of(w).connections, 0);
	close(silent);
	close(half);
	close(idle);
}

static void of_idle_connections_those_that_have_served_least_are_closed_first(void **state)
{
	struct world *w = *state;
	bool closed;
	w->config->http.receive_timeout_us = w->config->http.idle_timeout_us =
		60000000; // no timeout may interfere
	int honest = ask(w, HEALTH), others[7];
	hear(w, honest, &closed);
	say(w, honest, HEALTH);
	hear(w, honest, &closed);
	for (int i = 0; i < 7; i++) {
		others[i] = ask(w, HEALTH);
		hear(w, others[i], &closed);
	}
	int next = ask(w, HEALTH); // the ninth
	assert_non_null(hear_to_end(w, others[0], 1000000));
	assert_int_equal(stats_of(w).evicted, 1);
	say(w, honest, HEALTH);
	assert_int_equal(strncmp(hear(w, honest, &closed), "HTTP/1.1 200 ", 13), 0);
	assert_false(closed);
	close(honest);
	close(next);
	for (int i = 0; i < 7; i++)
		close(others[i]);
}

static void the_slowest_connection_is_closed_before_idle_ones(void **state)
{
	struct world *w = *state;
	bool closed;
	w->config->http.receive_timeout_us = w->config->http.idle_timeout_us =
		60000000; // no timeout may interfere
	int working = ask(w, READ), idle = ask(w, HEALTH), half[6];
	hear(w, idle, &closed);
	for (int i = 0; i < 6; i++)
		half[i] = ask(w, "GET / HTTP/1.1\r\nX");
	int next = ask(w, "G"); // the ninth; a silent connection is not accepted yet
	assert_non_null(hear_to_end(w, half[0], 1000000));
	int after = ask(w, "G");
	assert_non_null(hear_to_end(w, half[1], 100000));
	hear(w, half[2], &closed);
	assert_false(closed);
	assert_int_equal(stats_of(w).evicted, 2);
	say(w, idle, HEALTH);
	assert_int_equal(strncmp(hear(w, idle, &closed), "HTTP/1.1 200 ", 13), 0);
	fake_store_run(w->store);
	assert_int_equal(strncmp(hear(w, working, &closed), "HTTP/1.1 200 ", 13), 0);
	close(working);
	close(idle);
	close(next);
	close(after);
	for (int i = 0; i < 6; i++)
		close(half[i]);
}

static void the_longest_idle_connection_is_closed_if_none_is_slow(void **state)
{
	struct world *w = *state;
	bool closed;
	int idle[9];
	w->config->http.receive_timeout_us = w->config->http.idle_timeout_us = 60000000;
	for (int i = 0; i < 9; i++) {
		idle[i] = ask(w, HEALTH);
		hear(w, idle[i], &closed);
		assert_false(closed);
	}
	assert_non_null(hear_to_end(w, idle[0], 1000000));
	hear(w, idle[1], &closed);
	assert_false(closed);
	for (int i = 0; i < 9; i++)
		close(idle[i]);
}

static void after_quiesce_no_connection_is_accepted_and_all_are_answered(void **state)
{
	struct world *w = *state;
	w->config->http.receive_timeout_us = w->config->http.idle_timeout_us = 60000000;
	int waiting = ask(w, READ), idle = ask(w, HEALTH), kept = ask(w, HEALTH);
	int silent = ask(w, "G"); // accepted, but without a request
	bool closed;
	hear(w, idle, &closed);
	pl_listener_quiesce(w->listener);
	say(w, idle, HEALTH); // it was in transit
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

// The kernel accepted them before the listening socket was closed: they are served.
static void connections_accepted_before_the_end_are_answered(void **state)
{
	struct world *w = *state;
	struct sockaddr_in addr = { .sin_family = AF_INET,
		                    .sin_port = htons((uint16_t)w->port),
		                    .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	int fds[40];
	w->config->http.receive_timeout_us = 60000000;
	for (int i = 0; i < 40; i++) {
		fds[i] = socket(AF_INET, SOCK_STREAM, 0);
		assert_int_equal(connect(fds[i], (struct sockaddr *)&addr, sizeof(addr)), 0);
		fcntl(fds[i], F_SETFL, O_NONBLOCK);
	}
	pl_listener_quiesce(w->listener);
	for (int i = 32; i < 40; i++) // there is room for eight
		assert_int_equal(send(fds[i], HEALTH, 34, MSG_NOSIGNAL), 34);
	for (int i = 32; i < 40; i++) {
		const char *answer = hear_to_end(w, fds[i], 2000000);
		assert_non_null(answer);
		assert_int_equal(strncmp(answer, "HTTP/1.1 200 ", 13), 0);
	}
	for (int i = 0; i < 40; i++)
		close(fds[i]);
}

// Later connections are neither accepted nor reset: their first packet is not answered.
static void connections_made_after_the_end_are_not_answered(void **state)
{
	struct world *w = *state;
	struct sockaddr_in addr = { .sin_family = AF_INET,
		                    .sin_port = htons((uint16_t)w->port),
		                    .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
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

static void requests_still_waiting_at_the_end_are_answered_503_or_504(void **state)
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

static void ids_are_sent_back_or_generated(void **state)
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
	snprintf(request, sizeof(request),
	         "GET /us/properties/7 HTTP/1.1\r\nHost: x\r\nIf-None-Match: \"a\", W/%s\r\n\r\n", etag);
	say(w, fd, request);
	fake_store_run(w->store);
	answer = hear(w, fd, &closed);
	assert_int_equal(strncmp(answer, "HTTP/1.1 304 ", 13), 0);
	assert_non_null(strstr(answer, etag));
	assert_null(strstr(answer, "\"id\""));
	say(w, fd, READ);
	fake_store_run(w->store);
	assert_int_equal(strncmp(hear(w, fd, &closed), "HTTP/1.1 200 ", 13),
	                 0); // the connection is still in sync
	close(fd);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(a_request_waits_for_the_store_and_is_then_answered, setup,
		                                teardown),
		cmocka_unit_test_setup_teardown(requests_sent_together_are_answered_in_order, setup,
		                                teardown),
		cmocka_unit_test_setup_teardown(a_client_that_hangs_up_meanwhile_does_no_harm, setup,
		                                teardown),
		cmocka_unit_test_setup_teardown(too_many_waiting_requests_are_answered_503, setup, teardown),
		cmocka_unit_test_setup_teardown(a_handler_runs_to_its_end_although_its_client_has_gone, setup,
		                                teardown),
		cmocka_unit_test_setup_teardown(a_request_keeps_the_generation_that_it_began_with, setup,
		                                teardown),
		cmocka_unit_test_setup_teardown(a_request_that_the_store_does_not_answer_gets_503_or_504,
		                                setup, teardown),
		cmocka_unit_test_setup_teardown(an_incomplete_request_is_answered_408, setup, teardown),
		cmocka_unit_test_setup_teardown(a_silent_connection_is_closed_without_an_answer, setup,
		                                teardown),
		cmocka_unit_test_setup_teardown(
			of_idle_connections_those_that_have_served_least_are_closed_first, setup, teardown),
		cmocka_unit_test_setup_teardown(the_slowest_connection_is_closed_before_idle_ones, setup,
		                                teardown),
		cmocka_unit_test_setup_teardown(the_longest_idle_connection_is_closed_if_none_is_slow, setup,
		                                teardown),
		cmocka_unit_test_setup_teardown(after_quiesce_no_connection_is_accepted_and_all_are_answered,
		                                setup, teardown),
		cmocka_unit_test_setup_teardown(connections_accepted_before_the_end_are_answered, setup,
		                                teardown),
		cmocka_unit_test_setup_teardown(connections_made_after_the_end_are_not_answered, setup,
		                                teardown),
		cmocka_unit_test_setup_teardown(requests_still_waiting_at_the_end_are_answered_503_or_504,
		                                setup, teardown),
		cmocka_unit_test_setup_teardown(ids_are_sent_back_or_generated, setup, teardown),
		cmocka_unit_test_setup_teardown(not_modified_is_304_without_a_body, setup, teardown),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
