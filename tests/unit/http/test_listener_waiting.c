// Up to a certain number, connections that wait for their answer are not suspended: the
// side effects that this must not have.
// Threads: one; the test turns the loop.
#include "lab_listener.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define CROWD 150 // more than the number of connections that wait without being suspended

// Asserts that nothing remains to be done: libmicrohttpd need not run again by itself.
static void assert_at_rest(struct world *w)
{
	step(w);
	assert_int_equal(pl_listener_turn(w->listener), -1);
}

static void the_loop_sleeps_while_a_request_waits(void **state)
{
	struct world *w = *state;
	bool closed;
	int fd = ask(w, READ);
	for (int i = 0; i < 3; i++)
		assert_true(pl_listener_turn(w->listener) > 100);
	fake_store_run(w->store);
	assert_int_equal(strncmp(hear(w, fd, &closed), "HTTP/1.1 200 ", 13), 0);
	assert_at_rest(w);
	close(fd);
}

// Not with the first request of a connection, which libmicrohttpd reads before it adds
// the socket to its epoll.
static void a_kept_connection_that_is_reset_leaves_at_once_and_its_write_goes_on(void **state)
{
	struct world *w = *state;
	struct linger at_once = { .l_onoff = 1 };
	bool closed;
	int fd = ask(w, HEALTH);
	hear(w, fd, &closed);
	say(w, fd, WRITE("r1", "1"));
	setsockopt(fd, SOL_SOCKET, SO_LINGER, &at_once, sizeof(at_once));
	close(fd);
	step(w);
	assert_int_equal(stats_of(w).connections, 0);
	assert_int_equal(stats_of(w).in_flight, 1);
	assert_at_rest(w);
	fake_store_run(w->store);
	step(w);
	assert_int_equal(fake_store_writes(w->store), 1);
	assert_int_equal(stats_of(w).in_flight, 0);
}

static void a_long_body_is_read_to_its_end_while_another_request_waits(void **state)
{
	struct world *w = *state;
	bool closed;
	static char request[61000];
	int waiting = ask(w, READ), fd = dial(w);
	int head = sprintf(request, "PUT /us/properties/7 HTTP/1.1\r\nHost: x\r\nX-Request-ID: "
	                            "r1\r\nContent-Length: 60000\r\n\r\n");
	memset(request + head, ' ', 60000);
	int64_t began_us = pl_mono_us();
	say(w, fd, request);
	assert_int_equal(strncmp(hear(w, fd, &closed), "HTTP/1.1 400 ", 13), 0); // it is not JSON
	assert_true(pl_mono_us() - began_us <
	            200000); // and not only because something else happened to wake the loop
	fake_store_run(w->store);
	assert_int_equal(strncmp(hear(w, waiting, &closed), "HTTP/1.1 200 ", 13), 0);
	assert_at_rest(w);
	close(waiting);
	close(fd);
}

static void a_client_that_expects_100_continue_gets_it_while_another_request_waits(void **state)
{
	struct world *w = *state;
	bool closed;
	int waiting = ask(w, READ), fd = dial(w);
	say(w, fd,
	    "PUT /us/properties/7 HTTP/1.1\r\nHost: x\r\nX-Request-ID: r1\r\nContent-Length: 2\r\nExpect: "
	    "100-continue\r\n\r\n");
	assert_string_equal(hear(w, fd, &closed), "HTTP/1.1 100 Continue\r\n\r\n");
	say(w, fd, "[]");
	assert_int_equal(strncmp(hear(w, fd, &closed), "HTTP/1.1 400 ", 13), 0); // it is not an object
	fake_store_run(w->store);
	assert_int_equal(strncmp(hear(w, waiting, &closed), "HTTP/1.1 200 ", 13), 0);
	assert_at_rest(w);
	close(waiting);
	close(fd);
}

static void what_was_sent_meanwhile_is_begun_when_its_turn_comes(struct world *w, int fd)
{
	bool closed;
	int waiting = ask(w, READ);
	say(w, fd, READ);
	say(w, fd, READ);
	assert_int_equal(fake_store_waiting(w->store), 2);
	fake_store_answer(w->store, 1);
	step(w);
	assert_int_equal(fake_store_waiting(w->store), 2);
	fake_store_run(w->store);
	assert_int_equal(count(hear(w, fd, &closed), "HTTP/1.1 200 "), 2);
	assert_int_equal(count(hear(w, waiting, &closed), "HTTP/1.1 200 "), 1);
	assert_at_rest(w);
	close(waiting);
	close(fd);
}

// None of the connections counts as idle until all of them exist, however busy the
// machine is.
static int setup_crowd(void **state)
{
	int code = setup_for(state, CROWD, CROWD, -1);
	struct world *w = *state;

	w->config->http.receive_timeout_us = w->config->http.idle_timeout_us = 60000000;
	return code;
}

static void a_crowd_waits_and_is_answered(void **state)
{
	struct world *w = *state;
	bool closed;
	int fds[CROWD];
	for (int round = 0; round < 2; round++) { // with connections that have waited before, too
		for (int i = 0; i < CROWD; i++)
			if (round == 0)
				fds[i] = ask(w, READ);
			else
				say(w, fds[i], READ);
		assert_int_equal(fake_store_waiting(w->store), CROWD);
		fake_store_answer(w->store, CROWD - 1); // one that is suspended
		assert_int_equal(strncmp(hear(w, fds[CROWD - 1], &closed), "HTTP/1.1 200 ", 13), 0);
		fake_store_run(w->store);
		for (int i = 0; i < CROWD - 1; i++)
			assert_int_equal(strncmp(hear(w, fds[i], &closed), "HTTP/1.1 200 ", 13), 0);
	}
	assert_at_rest(w);
	for (int i = 0; i < CROWD; i++)
		close(fds[i]);
}

static void the_second_request_of_a_connection_is_begun_although_others_wait(void **state)
{
	what_was_sent_meanwhile_is_begun_when_its_turn_comes(*state, dial(*state));
}

static void a_later_request_of_a_connection_is_begun_although_others_wait(void **state)
{
	bool closed;
	int fd = ask(*state, HEALTH);
	hear(*state, fd, &closed);
	what_was_sent_meanwhile_is_begun_when_its_turn_comes(*state, fd);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(the_loop_sleeps_while_a_request_waits, setup, teardown),
		cmocka_unit_test_setup_teardown(
			a_kept_connection_that_is_reset_leaves_at_once_and_its_write_goes_on, setup,
			teardown),
		cmocka_unit_test_setup_teardown(a_long_body_is_read_to_its_end_while_another_request_waits,
		                                setup, teardown),
		cmocka_unit_test_setup_teardown(
			a_client_that_expects_100_continue_gets_it_while_another_request_waits, setup,
			teardown),
		cmocka_unit_test_setup_teardown(
			the_second_request_of_a_connection_is_begun_although_others_wait, setup, teardown),
		cmocka_unit_test_setup_teardown(a_later_request_of_a_connection_is_begun_although_others_wait,
		                                setup, teardown),
		cmocka_unit_test_setup_teardown(a_crowd_waits_and_is_answered, setup_crowd, teardown),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
