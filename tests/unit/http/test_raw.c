// Checks of a request's head, with raw bytes passed through a real libmicrohttpd:
// whatever the library wrongly accepts must be refused here.
// Threads: one; the library runs in the test's own.
#include "http/raw.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

// The result of the check for the last request.
struct seen {
	struct pl_arena *arena;
	struct pl_raw raw;
	int status, requests;
	const char *why;
	char body[64];
};

static struct seen seen;
static struct MHD_Daemon *daemon_;
static int port;

static void *on_line(void *cls, const char *target, struct MHD_Connection *connection)
{
	pl_arena_reset(seen.arena);
	memset(&seen.raw, 0, sizeof(seen.raw));
	seen.raw.connection = connection;
	seen.raw.target = target;
	seen.raw.target_len = strlen(target);
	seen.status = -1;
	seen.why = NULL;
	return &seen;
}

static enum MHD_Result on_request(void *cls, struct MHD_Connection *connection, const char *url,
                                  const char *method, const char *version, const char *data, size_t *len,
                                  void **context)
{
	if (seen.status == -1) {
		seen.raw.method = method;
		seen.raw.version = version;
		seen.status = pl_raw_check(seen.arena, &seen.raw, &seen.why);
		seen.requests++;
		seen.body[0] = '\0';
		return MHD_YES;
	}
	if (*len > 0) {
		strncat(seen.body, data, *len);
		*len = 0;
		return MHD_YES;
	}
	struct MHD_Response *response =
		MHD_create_response_from_buffer(0, (char[1]){ 0 }, MHD_RESPMEM_PERSISTENT);
	enum MHD_Result result = MHD_queue_response(connection, 200, response);
	MHD_destroy_response(response);
	return result;
}

static int setup(void **state)
{
	seen.arena = pl_arena_new(0);
	daemon_ = MHD_start_daemon(MHD_USE_EPOLL, 0, NULL, NULL, on_request, NULL,
	                           MHD_OPTION_URI_LOG_CALLBACK, on_line, NULL,
	                           MHD_OPTION_CONNECTION_MEMORY_LIMIT, (size_t)32768, MHD_OPTION_END);
	if (!daemon_)
		return -1;
	port = MHD_get_daemon_info(daemon_, MHD_DAEMON_INFO_BIND_PORT)->port;
	return 0;
}

static int teardown(void **state)
{
	MHD_stop_daemon(daemon_);
	pl_arena_free(&seen.arena);
	return 0;
}

// Sends the bytes on a new connection and runs the library until it has answered or
// closed it. Returns the check's status; -2 if it was not called.
static int check_n(const char *bytes, size_t len)
{
	struct sockaddr_in addr = { .sin_family = AF_INET,
		                    .sin_port = htons((uint16_t)port),
		                    .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	int fd = socket(AF_INET, SOCK_STREAM, 0);
	assert_int_equal(connect(fd, (struct sockaddr *)&addr, sizeof(addr)), 0);
	assert_int_equal(send(fd, bytes, len, 0), len);
	seen.status = -2;
	char answer[4096];
	ssize_t n = -1;
	for (int i = 0; i < 2000 && n < 0; i++) {
		assert_int_equal(MHD_run(daemon_), MHD_YES);
		n = recv(fd, answer, sizeof(answer), MSG_DONTWAIT);
		if (n < 0)
			usleep(500);
	}
	close(fd);
	for (int i = 0; i < 5; i++)
		MHD_run(daemon_);
	return seen.status;
}

static int check(const char *bytes)
{
	return check_n(bytes, strlen(bytes));
}

#define BYTES(s) s, sizeof(s) - 1
#define HOST     "Host: x\r\n"

static void ordinary_requests_pass(void **state)
{
	assert_int_equal(check("GET /us/properties/1?a=b&c=d HTTP/1.1\r\n" HOST "\r\n"), 0);
	assert_int_equal(seen.raw.target_len, strlen("/us/properties/1?a=b&c=d"));
	assert_int_equal(
		check("GET / HTTP/1.1\r\nhOsT:x\r\nX-Empty:\r\nX-Blank: \t \r\nX-Value:  a b\t \r\n\r\n"), 0);
	assert_string_equal(pl_raw_header(seen.raw.headers, "X-VALUE", NULL), "a b");
	assert_string_equal(pl_raw_header(seen.raw.headers, "x-empty", NULL), "");
	assert_string_equal(pl_raw_header(seen.raw.headers, "x-blank", NULL), "");
	assert_int_equal(check("GET / HTTP/1.0\r\n\r\n"), 0);
	assert_true(seen.raw.http_1_0);
	assert_int_equal(check("\r\nGET / HTTP/1.1\r\n" HOST "\r\n"), 0);
	assert_int_equal(check("GET /%41%20b HTTP/1.1\r\nCookie: a=b; c=d\r\n" HOST "Accept: */*\r\n\r\n"),
	                 0);
}

static void bodies_are_announced_in_one_way(void **state)
{
	assert_int_equal(check("PUT / HTTP/1.1\r\n" HOST "Content-Length: 2\r\n\r\n{}"), 0);
	assert_true(seen.raw.has_length && seen.raw.length == 2);
	assert_string_equal(seen.body, "{}");
	assert_int_equal(
		check("PUT / HTTP/1.1\r\n" HOST "Transfer-Encoding: Chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n"),
		411);
	assert_int_equal(
		check("PUT / HTTP/1.1\r\n" HOST "Content-Length: 2\r\nExpect: 100-continue\r\n\r\n{}"), 0);
	assert_true(seen.raw.expects_continue);
}

static void two_lengths_are_refused_equal_or_not(void **state)
{
	assert_int_equal(check("PUT / HTTP/1.1\r\n" HOST "Content-Length: 2\r\nContent-Length: 3\r\n\r\n{}x"),
	                 400);
	assert_int_equal(check("PUT / HTTP/1.1\r\n" HOST "Content-Length: 2\r\nContent-Length: 2\r\n\r\n{}"),
	                 400);
	assert_int_equal(check("PUT / HTTP/1.1\r\n" HOST
	                       "Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n"),
	                 400);
	assert_int_equal(check("PUT / HTTP/1.1\r\n" HOST
	                       "Transfer-Encoding: chunked\r\nContent-Length: 2\r\n\r\n2\r\n{}\r\n0\r\n\r\n"),
	                 400);
	assert_int_equal(check("PUT / HTTP/1.1\r\n" HOST
	                       "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
	                 400);
}

static void odd_lengths_and_codings_are_refused(void **state)
{
	static const char *const bad[] = {
		"Transfer-Encoding: gzip, chunked\r\n",
		"Transfer-Encoding: identity\r\n",
		"Transfer-Encoding: chunked \r\n",
		"Transfer-Encoding: xchunked\r\n",
		"Transfer-Encoding:\r\n",
		"Transfer-Encoding: chunked, chunked\r\n",
	};
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		char request[256];
		snprintf(request, sizeof(request), "PUT / HTTP/1.1\r\n" HOST "%s\r\n0\r\n\r\n", bad[i]);
		assert_int_equal(check(request), 400);
	}
	assert_int_equal(check("PUT / HTTP/1.0\r\n" HOST "Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n"), 400);
	// The library itself refuses these; what matters is that they do not pass.
	static const char *const lengths[] = {
		"+2", "-1", "0x2", "2,2", "2 2", "", "99999999999999999999999"
	};
	for (size_t i = 0; i < sizeof(lengths) / sizeof(lengths[0]); i++) {
		char request[256];
		snprintf(request, sizeof(request), "PUT / HTTP/1.1\r\n" HOST "Content-Length: %s\r\n\r\n{}",
		         lengths[i]);
		assert_int_not_equal(check(request), 0);
	}
}

static void a_nul_is_refused_wherever_it_hides(void **state)
{
	assert_int_equal(check_n(BYTES("GET / HTTP/1.1\r\n" HOST "X-Request-ID: a\0b\r\nX-B: c\r\n\r\n")),
	                 400);
	assert_int_equal(check_n(BYTES("GET / HTTP/1.1\r\n" HOST "X-Request-ID: a\0b\r\n\r\n")), 400);
	assert_int_equal(check_n(BYTES("GET / HTTP/1.1\r\n" HOST "X-Request-ID: a\0\r\n\r\n")), 400);
	assert_int_equal(check_n(BYTES("GET / HTTP/1.1\r\n" HOST "X-Request-ID: a\0\0\r\nX-B: c\r\n\r\n")),
	                 400);
	assert_int_equal(check_n(BYTES("GET / HTTP/1.1\r\n" HOST "X-Request-ID: a\0\0\0\0\r\n\r\n")), 400);
	assert_int_equal(check_n(BYTES("GET / HTTP/1.1\r\n" HOST "X-A\0: a\r\n\r\n")) == 0, 0);
	assert_int_equal(check_n(BYTES("GET /a\0b HTTP/1.1\r\n" HOST "\r\n")), 400);
	assert_int_equal(check_n(BYTES("GE\0T / HTTP/1.1\r\n" HOST "\r\n")), 400);
	assert_int_equal(check_n(BYTES("GET / HTTP/1.1\0\r\n" HOST "\r\n")) == 0, 0);
	assert_int_equal(check_n(BYTES("GET\0/ HTTP/1.1\r\n" HOST "\r\n")) == 0, 0);
}

static void folded_lines_are_refused(void **state)
{
	assert_int_equal(check("GET / HTTP/1.1\r\n" HOST "X-A: b\r\n c\r\n\r\n"), 400);
	assert_int_equal(check("GET / HTTP/1.1\r\n" HOST "Content-Leng: 5\r\n\tth\r\nX-B: c\r\n\r\n"), 400);
	assert_int_equal(check("GET / HTTP/1.1\r\n X: y\r\n" HOST "\r\n") == 0, 0);
}

static void bare_line_feeds_and_carriage_returns_are_refused(void **state)
{
	assert_int_equal(check("GET / HTTP/1.1\n" HOST "\r\n"), 400);
	assert_int_equal(check("GET / HTTP/1.1\r\nHost: x\n\r\n"), 400);
	assert_int_equal(check("GET / HTTP/1.1\r\nHost: x\r\n\n"), 400);
	assert_int_equal(check("GET / HTTP/1.1\r\n" HOST "X-A: b\rX-B: c\r\n\r\n"), 400);
	assert_int_equal(check("GET / HTTP/1.1\r\n" HOST "X-A: b\x01\r\n\r\n"), 400);
	assert_int_equal(check("GET / HTTP/1.1\r\n" HOST "X-A: b\x7f\r\n\r\n"), 400);
}

// Values are checked word by word: a bad byte must be found wherever it is, and beside
// bytes whose highest bit is set.
static void a_control_character_is_refused_at_any_place_of_a_long_value(void **state)
{
	static const char around[] = "x \xff\x80~";
	char head[160];

	for (int byte = 1; byte < 256; byte++)
		for (int at = 1; at < 20; at++) {
			char value[] = "aaaaaaaaaaaaaaaaaaaaaaa";
			bool bad = (byte < 0x20 && byte != '\t') || byte == 0x7f;

			if (byte == '\r' || byte == '\n') // these end a line
				continue;
			value[at - 1] = value[at + 1] = around[(byte + at) % 5];
			value[at] = (char)byte;
			snprintf(head, sizeof(head), "GET / HTTP/1.1\r\n" HOST "X-A: a%s\r\n\r\n", value);
			assert_int_equal(check(head), bad ? 400 : 0);
		}
}

static void invalid_header_names_are_refused(void **state)
{
	assert_int_equal(check("GET / HTTP/1.1\r\n" HOST "X-A : b\r\n\r\n"), 400);
	assert_int_equal(check("GET / HTTP/1.1\r\n" HOST "X A: b\r\n\r\n"), 400);
	assert_int_equal(check("GET / HTTP/1.1\r\n" HOST ": b\r\n\r\n"), 400);
	assert_int_equal(check("GET / HTTP/1.1\r\n" HOST "X(A): b\r\n\r\n"), 400);
}

static void request_lines_have_one_form(void **state)
{
	static const char *const bad[] = { "get / HTTP/1.1",  "GeT / HTTP/1.1",    "GET  / HTTP/1.1",
		                           "GET / HTTP/1.1 ", "GET / HTTP/1.2",    "GET / HTTP/1.9",
		                           "G@T / HTTP/1.1",  "GET /a b HTTP/1.1 " };
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		char request[128];
		snprintf(request, sizeof(request), "%s\r\n" HOST "\r\n", bad[i]);
		assert_int_not_equal(check(request), 0);
	}
	assert_int_equal(check("get / HTTP/1.1\r\n" HOST "\r\n"), 400);
	assert_int_equal(check("GET / HTTP/1.2\r\n" HOST "\r\n"), 400);
}

static void host_is_given_once(void **state)
{
	assert_int_equal(check("GET / HTTP/1.1\r\n\r\n"), 400);
	assert_int_equal(check("GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n"), 400);
	assert_int_equal(check("GET / HTTP/1.0\r\nHost: a\r\nHost: b\r\n\r\n"), 400);
	assert_int_equal(check("GET / HTTP/1.1\r\nHost: a/b\r\n\r\n"), 400);
	assert_int_equal(check("GET / HTTP/1.1\r\nHost: u@a\r\n\r\n"), 400);
	assert_int_equal(check("GET / HTTP/1.1\r\nHost: a, b\r\n\r\n"), 400);
	assert_int_equal(check("GET / HTTP/1.1\r\nHost: [::1]:8080\r\n\r\n"), 0);
}

static void other_expectations_are_417(void **state)
{
	assert_int_equal(check("GET / HTTP/1.1\r\n" HOST "Expect: a-miracle\r\n\r\n"), 417);
}

static void heads_are_bounded(void **state)
{
	static char request[20000];
	size_t n = (size_t)sprintf(request, "GET / HTTP/1.1\r\n" HOST "X-Long: ");
	memset(request + n, 'a', 17000);
	strcpy(request + n + 17000, "\r\n\r\n");
	assert_int_equal(check(request), 431);
	n = (size_t)sprintf(request, "GET / HTTP/1.1\r\n" HOST);
	for (int i = 0; i < PL_HEADERS_MAX; i++)
		n += (size_t)sprintf(request + n, "X-%d: a\r\n", i);
	strcpy(request + n, "\r\n");
	assert_int_equal(check(request), 431);
	n = (size_t)sprintf(request, "GET / HTTP/1.1\r\n" HOST);
	for (int i = 1; i < PL_HEADERS_MAX; i++)
		n += (size_t)sprintf(request + n, "X-%d: a\r\n", i);
	strcpy(request + n, "\r\n");
	assert_int_equal(check(request), 0);
}

// Bytes that follow a request on its connection are not taken for a part of it.
static void pipelined_requests_pass_one_by_one(void **state)
{
	int before = seen.requests;
	assert_int_equal(check("GET /1 HTTP/1.1\r\n" HOST "\r\nGET /2 HTTP/1.1\r\nX-B: c\r\n" HOST "\r\n"),
	                 0);
	assert_int_equal(seen.requests - before, 2);
}

static void only_names_of_this_machine_are_taken_for_its_own(void **state)
{
	static const char *const ours[] = { "localhost",      "LOCALHOST:9100", "127.0.0.1",
		                            "127.0.0.1:9100", "[::1]:9100",     "10.1.2.3:80" };
	static const char *const others[] = { "evil.example",
		                              "evil.example:9100",
		                              "localhost.evil.example",
		                              "127.0.0.1x",
		                              "[::1",
		                              "127.0.0.1.evil.example",
		                              "[::1]x",
		                              "localhost@evil",
		                              "" };
	char own[256] = "";

	for (size_t i = 0; i < sizeof(ours) / sizeof(ours[0]); i++)
		assert_true(pl_raw_names_this_machine(&(struct pl_header){ "host", ours[i], NULL }));
	for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++)
		assert_false(pl_raw_names_this_machine(&(struct pl_header){ "host", others[i], NULL }));
	gethostname(own, sizeof(own) - 1);
	assert_true(pl_raw_names_this_machine(&(struct pl_header){ "host", own, NULL }));
	assert_true(pl_raw_names_this_machine(NULL));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(ordinary_requests_pass),
		cmocka_unit_test(bodies_are_announced_in_one_way),
		cmocka_unit_test(two_lengths_are_refused_equal_or_not),
		cmocka_unit_test(odd_lengths_and_codings_are_refused),
		cmocka_unit_test(a_nul_is_refused_wherever_it_hides),
		cmocka_unit_test(folded_lines_are_refused),
		cmocka_unit_test(bare_line_feeds_and_carriage_returns_are_refused),
		cmocka_unit_test(a_control_character_is_refused_at_any_place_of_a_long_value),
		cmocka_unit_test(invalid_header_names_are_refused),
		cmocka_unit_test(request_lines_have_one_form),
		cmocka_unit_test(host_is_given_once),
		cmocka_unit_test(only_names_of_this_machine_are_taken_for_its_own),
		cmocka_unit_test(other_expectations_are_417),
		cmocka_unit_test(heads_are_bounded),
		cmocka_unit_test(pipelined_requests_pass_one_by_one),
	};
	return cmocka_run_group_tests(tests, setup, teardown);
}
