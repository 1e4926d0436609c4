// A listener that also accepts connections from a UNIX socket, as each worker does for
// an NGINX on the same machine.
// Threads: one; the test turns the loop.
#include "lab_listener.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/sockfile.h"

static char folder[32], path[64];
static struct pl_sockfile *sockfile;

static int setup_shared(void **state)
{
	struct pl_error err;
	strcpy(folder, "/tmp/plist-shared-XXXXXX");
	if (!mkdtemp(folder))
		return -1;
	snprintf(path, sizeof(path), "%s/http.sock", folder);
	sockfile = pl_sockfile_new(path, 0666, 64, &err);
	return sockfile ? setup_for(state, 8, 4, pl_sockfile_fd(sockfile)) : -1;
}

static int teardown_shared(void **state)
{
	pl_sockfile_free(&sockfile);
	rmdir(folder);
	return teardown(state);
}

// Connects without turning the loop; -1 if nobody listens.
static int knock(void)
{
	struct sockaddr_un addr;
	struct pl_error err;
	int fd = socket(AF_UNIX, SOCK_STREAM, 0);
	assert_int_equal(pl_sockfile_address(path, &addr, &err), 0);
	if (connect(fd, (struct sockaddr *)&addr, sizeof(addr)) != 0) {
		close(fd);
		return -1;
	}
	fcntl(fd, F_SETFL, O_NONBLOCK);
	return fd;
}

static void connections_to_the_unix_socket_are_answered_again_and_again(void **state)
{
	struct world *w = *state;
	bool closed;
	struct stat there;
	assert_int_equal(stat(path, &there), 0);
	assert_int_equal(there.st_mode & 0777, 0666);
	int fd = knock();
	for (int i = 0; i < 3; i++) {
		say(w, fd, READ);
		fake_store_run(w->store);
		assert_int_equal(strncmp(hear(w, fd, &closed), "HTTP/1.1 200 ", 13), 0);
		assert_false(closed);
	}
	assert_int_equal(stats_of(w).accepted, 1);
	close(fd);
	step(w);
	assert_int_equal(stats_of(w).connections, 0);
}

static void connections_to_the_port_are_answered_as_well(void **state)
{
	struct world *w = *state;
	bool closed;
	int fd = ask(w, HEALTH);
	assert_int_equal(strncmp(hear(w, fd, &closed), "HTTP/1.1 200 ", 13), 0);
	close(fd);
}

static void room_is_made_for_connections_to_the_unix_socket(void **state)
{
	struct world *w = *state;
	bool closed;
	int fds[40];
	for (int i = 0; i < 40; i++) // there is room for eight
		fds[i] = knock();
	for (int64_t end = pl_mono_us() + 2000000; stats_of(w).accepted < 40 && pl_mono_us() < end;)
		step(w);
	for (int i = 32; i < 40; i++) {
		say(w, fds[i], HEALTH);
		assert_int_equal(strncmp(hear(w, fds[i], &closed), "HTTP/1.1 200 ", 13), 0);
	}
	assert_int_equal(stats_of(w).connections, 8);
	for (int i = 0; i < 40; i++)
		close(fds[i]);
}

// Meanwhile the loop sleeps and does not poll.
static void connections_that_find_no_free_descriptor_are_answered_when_there_are_some(void **state)
{
	struct world *w = *state;
	bool closed;
	struct rlimit limit, none;
	int fd = knock();
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &limit), 0);
	none = (struct rlimit){ .rlim_cur = (rlim_t)fd + 1, .rlim_max = limit.rlim_max };
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &none), 0);
	assert_int_equal(send(fd, HEALTH, strlen(HEALTH), MSG_NOSIGNAL), strlen(HEALTH));
	int64_t began_us = pl_mono_us();
	for (int i = 0; i < 20; i++) // each step takes three turns, of a millisecond each if nothing happens
		step(w);
	int64_t took_us = pl_mono_us() - began_us;
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &limit), 0);
	assert_int_equal(stats_of(w).accepted, 0);
	assert_true(took_us > 20000);
	for (int64_t end = pl_mono_us() + 2000000; stats_of(w).accepted == 0 && pl_mono_us() < end;)
		step(w);
	assert_int_equal(strncmp(hear(w, fd, &closed), "HTTP/1.1 200 ", 13), 0);
	close(fd);
}

static void connections_made_before_the_end_are_answered_and_none_is_accepted_after_it(void **state)
{
	struct world *w = *state;
	int fds[5];
	for (int i = 0; i < 5; i++) {
		fds[i] = knock();
		assert_int_equal(send(fds[i], HEALTH, strlen(HEALTH), MSG_NOSIGNAL), strlen(HEALTH));
	}
	pl_sockfile_hide(sockfile);
	pl_listener_quiesce(w->listener);
	assert_int_equal(knock(), -1);
	for (int i = 0; i < 5; i++) {
		const char *answer = hear_to_end(w, fds[i], 2000000);
		assert_non_null(answer);
		assert_int_equal(strncmp(answer, "HTTP/1.1 200 ", 13), 0);
		close(fds[i]);
	}
	for (int64_t end = pl_mono_us() + 2000000; !pl_listener_drained(w->listener) && pl_mono_us() < end;)
		step(w);
	assert_true(pl_listener_drained(w->listener));
}

// They are answered even if the listener ends without draining, since nobody else could
// accept them.
static void connections_in_the_backlog_are_answered_when_a_listener_ends(void **state)
{
	struct world *w = *state;
	char text[1024] = "";
	int fd = knock();
	assert_int_equal(send(fd, HEALTH, strlen(HEALTH), MSG_NOSIGNAL), strlen(HEALTH));
	pl_listener_free(&w->listener);
	assert_true(recv(fd, text, sizeof(text) - 1, 0) > 0);
	assert_int_equal(strncmp(text, "HTTP/1.1 200 ", 13), 0);
	close(fd);
}

static void another_process_s_file_is_not_removed(void **state)
{
	struct stat there;
	assert_int_equal(unlink(path), 0);
	int fd = open(path, O_CREAT | O_WRONLY, 0600); // somebody created it in the meantime
	pl_sockfile_hide(sockfile);
	assert_int_equal(stat(path, &there), 0);
	close(fd);
	unlink(path);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(connections_to_the_unix_socket_are_answered_again_and_again,
		                                setup_shared, teardown_shared),
		cmocka_unit_test_setup_teardown(connections_to_the_port_are_answered_as_well, setup_shared,
		                                teardown_shared),
		cmocka_unit_test_setup_teardown(room_is_made_for_connections_to_the_unix_socket, setup_shared,
		                                teardown_shared),
		cmocka_unit_test_setup_teardown(
			connections_that_find_no_free_descriptor_are_answered_when_there_are_some,
			setup_shared, teardown_shared),
		cmocka_unit_test_setup_teardown(
			connections_made_before_the_end_are_answered_and_none_is_accepted_after_it,
			setup_shared, teardown_shared),
		cmocka_unit_test_setup_teardown(connections_in_the_backlog_are_answered_when_a_listener_ends,
		                                setup_shared, teardown_shared),
		cmocka_unit_test_setup_teardown(another_process_s_file_is_not_removed, setup_shared,
		                                teardown_shared),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
