// The end of a connection that libmicrohttpd does not notice: its buffer is full, so it
// no longer reads, and the socket was shut down.
// Threads: one; the test runs the library, with its own epoll as in the daemon.
#include "http/peer.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/clock.h"

static struct pl_peers peers;
static struct MHD_Daemon *library;
static int closed;

static void on_connection(void *cls, struct MHD_Connection *connection, void **context,
                          enum MHD_ConnectionNotificationCode code)
{
	if (code == MHD_CONNECTION_NOTIFY_STARTED) {
		*context = pl_peer_new(
			&peers, connection,
			MHD_get_connection_info(connection, MHD_CONNECTION_INFO_CONNECTION_FD)->connect_fd,
			60000000);
		return;
	}
	closed++;
	pl_peer_free(&peers, *context);
	*context = NULL;
}

// Accepts chunks, unlike plist's listener.
static enum MHD_Result on_request(void *cls, struct MHD_Connection *connection, const char *url,
                                  const char *method, const char *version, const char *data, size_t *len,
                                  void **context)
{
	*len = 0;
	return MHD_YES;
}

static int setup(void **state)
{
	library = MHD_start_daemon(MHD_USE_EPOLL | MHD_USE_TURBO, 0, NULL, NULL, on_request, NULL,
	                           MHD_OPTION_NOTIFY_CONNECTION, on_connection, NULL,
	                           MHD_OPTION_CONNECTION_MEMORY_LIMIT, (size_t)16384,
	                           MHD_OPTION_CONNECTION_TIMEOUT, 0u, MHD_OPTION_END);
	return library ? 0 : -1;
}

static int teardown(void **state)
{
	MHD_stop_daemon(library);
	return 0;
}

static void run_until(int64_t end_us)
{
	while (closed == 0 && pl_mono_us() < end_us) {
		peers.now_us = pl_mono_us();
		MHD_run(library);
		nanosleep(&(struct timespec){ .tv_nsec = 2000000 }, NULL);
	}
}

static int dial(void)
{
	uint16_t port = MHD_get_daemon_info(library, MHD_DAEMON_INFO_BIND_PORT)->port;
	struct sockaddr_in addr = { .sin_family = AF_INET,
		                    .sin_port = htons(port),
		                    .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	int fd = socket(AF_INET, SOCK_STREAM, 0);
	assert_int_equal(connect(fd, (struct sockaddr *)&addr, sizeof(addr)), 0);
	return fd;
}

static void a_connection_whose_buffer_is_full_ends_within_two_seconds_of_being_shut(void **state)
{
	static char request[20000] = "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n1;";
	size_t head = strlen(request);
	memset(request + head, 'a', sizeof(request) - head);
	int fd = dial();
	assert_int_equal(send(fd, request, sizeof(request), MSG_NOSIGNAL), sizeof(request));
	for (int i = 0; i < 1000; i++) // the buffer grows in small steps
		MHD_run(library);
	struct pl_peer *peer = peers.lists[PL_PEER_RECEIVING];
	assert_non_null(peer);
	int64_t shut_us = peers.now_us = pl_mono_us();
	pl_peer_shut(&peers, peer);

	run_until(shut_us + 900000);
	assert_int_equal(closed, 0); // it does not notice the shutdown, which is why http/peer exists
	assert_false(pl_peer_is_stuck(peer, shut_us + 900000));
	assert_true(pl_peer_is_stuck(peer, shut_us + 1100000));
	run_until(shut_us + 2500000);
	assert_int_equal(closed, 1);
	close(fd);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_connection_whose_buffer_is_full_ends_within_two_seconds_of_being_shut),
	};
	return cmocka_run_group_tests(tests, setup, teardown);
}
