// Logs: the format of a line, that clients cannot forge lines, that lines of several
// threads do not mix, that a reader which stands still stops nobody, and that secrets are
// hidden.
#include "base/log.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

#include "base/buf.h"
#include "base/clock.h"
#include "base/json.h"
#include "base/mem.h"

// Redirects standard error to a file while a test logs.
static int saved_stderr, capture_fd;

static void capture(void)
{
	char path[] = "/tmp/plist-test-log-XXXXXX";
	capture_fd = mkstemp(path);
	assert_true(capture_fd >= 0);
	unlink(path);
	int flags = fcntl(capture_fd, F_GETFL);
	fcntl(capture_fd, F_SETFL, flags | O_APPEND);
	saved_stderr = dup(STDERR_FILENO);
	dup2(capture_fd, STDERR_FILENO);
}

static char *captured(void)
{
	struct pl_buf buf = { 0 };
	char part[4096];
	ssize_t n;
	dup2(saved_stderr, STDERR_FILENO);
	close(saved_stderr);
	lseek(capture_fd, 0, SEEK_SET);
	while ((n = read(capture_fd, part, sizeof(part))) > 0)
		pl_buf_add(&buf, part, (size_t)n);
	close(capture_fd);
	if (buf.data == NULL)
		pl_buf_adds(&buf, "");
	return buf.data;
}

static int plain(void **state)
{
	pl_log_init(PL_LOG_INFO, PL_LOG_TEXT);
	pl_log_set_region("");
	pl_log_set_thread("");
	return 0;
}

static void a_text_line_has_a_time_a_level_a_place_and_a_message(void **state)
{
	pl_log_set_region("us");
	pl_log_set_thread("worker-1");
	capture();
	pl_warning("kafka: broker away, %d events wait", 12);
	char *text = captured();
	assert_int_equal(strlen(text), strlen("2026-02-21T10:00:00.123456Z warning us worker-1: kafka: "
	                                      "broker away, 12 events wait\n"));
	assert_string_equal(text + strlen("2026-02-21T10:00:00.123456Z"), " warning us worker-1: kafka: "
	                                                                  "broker away, 12 events wait\n");
	free(text);
}

static void a_line_about_a_request_names_it(void **state)
{
	struct pl_log_request request = {
		.id = "r-1", .key = "k-1", .method = "PUT", .path = "/:region/items/:id", .principal = "anna"
	};
	assert_null(pl_log_set_request(&request));
	capture();
	pl_err("no luck");
	pl_log_init(PL_LOG_INFO, PL_LOG_JSON);
	pl_err("no luck");
	assert_ptr_equal(pl_log_set_request(NULL), &request);
	pl_err("of nothing");
	char *text = captured();
	assert_non_null(strstr(text, " error: no luck [request r-1, PUT /:region/items/:id, key k-1, "
	                             "principal anna]\n"));
	assert_non_null(strstr(text, "\"request\":\"r-1\",\"route\":\"PUT "
	                             "/:region/items/"
	                             ":id\",\"request_key\":\"k-1\",\"principal\":\"anna\",\"message\":\"no "
	                             "luck\"}\n"));
	assert_non_null(strstr(text, "\"level\":\"error\",\"message\":\"of nothing\"}\n"));
	free(text);
}

static void a_text_line_leaves_out_unknown_parts(void **state)
{
	capture();
	pl_err("no file");
	char *text = captured();
	assert_string_equal(text + strlen("2026-02-21T10:00:00.123456Z"), " error: no file\n");
	free(text);
}

static void a_json_line_is_one_object(void **state)
{
	pl_log_init(PL_LOG_INFO, PL_LOG_JSON);
	pl_log_set_region("eu");
	pl_log_set_thread("relay");
	capture();
	pl_info("a \"quote\", a \\, a \n newline, \x01 and \xFF");
	char *text = captured();
	cJSON *json = pl_json_parse(text, strlen(text), NULL, NULL);
	assert_non_null(json);
	assert_string_equal(pl_json_string(json, "level"), "info");
	assert_string_equal(pl_json_string(json, "region"), "eu");
	assert_string_equal(pl_json_string(json, "thread"), "relay");
	assert_string_equal(pl_json_string(json, "message"), "a \"quote\", a \\, a \n newline, \x01 and "
	                                                     "\xEF\xBF\xBD");
	assert_int_equal(strlen(pl_json_string(json, "time")), 27);
	assert_ptr_equal(strchr(text, '\n'), text + strlen(text) - 1);
	cJSON_Delete(json);
	free(text);
}

static void lines_below_the_level_are_not_written(void **state)
{
	capture();
	pl_debug("no");
	pl_info("yes");
	pl_log_init(PL_LOG_WARNING, PL_LOG_TEXT);
	pl_notice("no");
	pl_warning("yes");
	assert_false(pl_log_enabled(PL_LOG_NOTICE));
	assert_true(pl_log_enabled(PL_LOG_ERROR));
	char *text = captured();
	assert_null(strstr(text, "no"));
	assert_non_null(strstr(text, "info: yes\n"));
	assert_non_null(strstr(text, "warning: yes\n"));
	free(text);
}

static void text_from_a_client_cannot_forge_a_line(void **state)
{
	capture();
	pl_info("request %s", "x\n2026-01-01T00:00:00.000000Z error: all is lost\r\x1B[31m\x7F");
	char *text = captured();
	assert_ptr_equal(strchr(text, '\n'), text + strlen(text) - 1);
	assert_non_null(strstr(text, "x\\n2026"));
	assert_non_null(strstr(text, "\\x0d\\x1b[31m\\x7f"));
	free(text);
}

// U+009B begins a command like ESC [ does, and so does the byte 9B where the terminal
// does not expect UTF-8; U+202E shows what follows from right to left.
static void text_from_a_client_cannot_act_on_a_terminal(void **state)
{
	static const enum pl_log_format formats[] = { PL_LOG_TEXT, PL_LOG_JSON };

	for (int i = 0; i < 2; i++) {
		pl_log_init(PL_LOG_INFO, formats[i]);
		capture();
		pl_info("request %s", "\xc2\x9b"
		                      "31m \xe2\x80\xae \xe2\x80\xa8 \x9b"
		                      "31m \xc3\xbc");
		char *text = captured();
		assert_non_null(strstr(text, "\\u009b31m \\u202e \\u2028 "));
		assert_non_null(strstr(text, " \xc3\xbc"));
		assert_null(strchr(text, '\x9b'));
		free(text);
	}
}

static void a_long_message_is_truncated_and_the_line_stays_valid(void **state)
{
	static const enum pl_log_format formats[] = { PL_LOG_TEXT, PL_LOG_JSON };
	static const char *const fillings[] = { "x", "\x01", "\"", "\xF0\x9F\x8F\xA0", "\xFF" };
	for (int i = 0; i < 10; i++) {
		struct pl_buf message = { 0 };
		for (int k = 0; k < 9000; k++)
			pl_buf_adds(&message, fillings[i % 5]);
		pl_log_init(PL_LOG_INFO, formats[i / 5]);
		capture();
		pl_info("%s", message.data);
		char *text = captured();
		assert_in_range(strlen(text), 3000, 4096);
		assert_ptr_equal(strchr(text, '\n'), text + strlen(text) - 1);
		if (formats[i / 5] == PL_LOG_JSON) {
			cJSON *json = pl_json_parse(text, strlen(text), NULL, NULL);
			assert_non_null(json);
			cJSON_Delete(json);
		}
		free(text);
		pl_buf_fini(&message);
	}
}

static void logging_keeps_errno(void **state)
{
	int full = open("/dev/full", O_WRONLY);
	assert_true(full >= 0);
	capture();
	dup2(full, STDERR_FILENO);
	errno = ENOENT;
	pl_info("nobody can write this");
	assert_int_equal(errno, ENOENT);
	free(captured());
	close(full);
}

static void a_rate_limited_place_says_how_many_lines_it_suppressed(void **state)
{
	struct pl_log_limit limit = { 0 };
	capture();
	for (int i = 0; i < 10; i++)
		if (pl_log_limit_ok(&limit, 3600000000LL))
			pl_info("first");
	limit.next_us = 0; // the hour has passed
	for (int i = 0; i < 3; i++)
		if (pl_log_limit_ok(&limit, 3600000000LL))
			pl_info("second");
	pl_info("another place");
	char *text = captured();
	assert_non_null(strstr(text, "first\n"));
	assert_non_null(strstr(text, "second (and 9 similar lines suppressed)\n"));
	assert_non_null(strstr(text, "another place\n"));
	free(text);
}

#define THREADS 8
#define LINES   500

static struct pl_log_limit shared_limit;

static void *chatter(void *arg)
{
	char name[16], filling[200];
	int number = (int)(intptr_t)arg;
	snprintf(name, sizeof(name), "thread-%d", number);
	memset(filling, 'a' + number, sizeof(filling) - 1);
	filling[sizeof(filling) - 1] = '\0';
	pl_log_set_thread(name);
	for (int i = 0; i < LINES; i++) {
		pl_info("%s", filling);
		if (pl_log_limit_ok(&shared_limit, 0))
			pl_debug("not shown");
		if (i == LINES / 2)
			pl_log_set_region(number % 2 ? "us" : "eu");
	}
	return NULL;
}

static void lines_of_threads_do_not_mix(void **state)
{
	pthread_t threads[THREADS];
	capture();
	for (int i = 0; i < THREADS; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, chatter, (void *)(intptr_t)i), 0);
	for (int i = 0; i < THREADS; i++)
		pthread_join(threads[i], NULL);
	char *text = captured(), *rest = text;
	int lines = 0;
	for (char *line; (line = strsep(&rest, "\n")) != NULL && *line != '\0'; lines++) {
		char *name = strstr(line, "thread-");
		assert_non_null(name);
		char *filling = strstr(name, ": ");
		assert_non_null(filling);
		assert_int_equal(strspn(filling + 2, (char[]){ (char)('a' + name[7] - '0'), '\0' }), 199);
	}
	assert_int_equal(lines, THREADS * LINES);
	free(text);
}

// Takes what the pipe holds; returns the number of lines.
static int drain(int fd, struct pl_buf *text)
{
	char part[4096];
	ssize_t n;
	int lines = 0;
	pl_buf_reset(text);
	while ((n = read(fd, part, sizeof(part))) > 0)
		pl_buf_add(text, part, (size_t)n);
	for (size_t i = 0; i < text->len; i++)
		lines += text->data[i] == '\n';
	return lines;
}

static void a_reader_that_stands_still_costs_lines_and_no_thread(void **state)
{
	const int all = 2000;
	struct pl_buf text = { 0 };
	const long long an_hour_us = 3600000000;
	bool losing;
	unsigned long long lost, lost_before = pl_log_dropped(pl_mono_us(), &losing);
	int ends[2], read_lines, last_lines;
	char filling[200];
	assert_int_equal(pipe(ends), 0);
	fcntl(ends[0], F_SETFL, O_NONBLOCK);
	memset(filling, 'x', sizeof(filling) - 1);
	filling[sizeof(filling) - 1] = '\0';
	saved_stderr = dup(STDERR_FILENO);
	dup2(ends[1], STDERR_FILENO);
	alarm(120); // ends a thread that waits for the reader
	for (int i = 0; i < all; i++)
		pl_info("%s", filling);
	alarm(0);
	lost = pl_log_dropped(pl_mono_us() + an_hour_us, &losing);
	read_lines = drain(ends[0], &text);
	pl_info("the reader goes on");
	last_lines = drain(ends[0], &text);
	dup2(saved_stderr, STDERR_FILENO);
	close(saved_stderr);
	close(ends[0]);
	close(ends[1]);
	assert_true(read_lines > 0 && read_lines < all);
	assert_int_equal(last_lines, 2);
	assert_non_null(strstr(text.data, "the reader goes on\n"));
	char *number = strstr(text.data, "log: ");
	assert_non_null(number);
	assert_int_equal(strtol(number + strlen("log: "), NULL, 10), all - read_lines);
	assert_int_equal(lost - lost_before, all - read_lines);
	assert_true(losing);
	assert_int_equal(pl_log_dropped(pl_mono_us(), &losing), lost);
	assert_true(losing);
	assert_int_equal(pl_log_dropped(pl_mono_us() + an_hour_us / 6 - 1000000, &losing), lost);
	assert_true(losing);
	assert_int_equal(pl_log_dropped(pl_mono_us() + an_hour_us / 6, &losing), lost);
	assert_false(losing);
	pl_buf_fini(&text);
}

static void a_line_that_cannot_be_written_is_counted_whatever_the_reason(void **state)
{
	struct pl_buf text = { 0 };
	int ends[2], full = open("/dev/full", O_WRONLY);
	bool losing;
	unsigned long long before = pl_log_dropped(pl_mono_us(), &losing);
	assert_true(full >= 0);
	assert_int_equal(pipe(ends), 0);
	fcntl(ends[0], F_SETFL, O_NONBLOCK);
	saved_stderr = dup(STDERR_FILENO);
	dup2(full, STDERR_FILENO);
	pl_info("the disk is full");
	pl_info("and stays so");
	dup2(ends[1], STDERR_FILENO);
	pl_info("there is room");
	int lines = drain(ends[0], &text);
	dup2(saved_stderr, STDERR_FILENO);
	close(saved_stderr);
	close(full);
	close(ends[0]);
	close(ends[1]);
	assert_int_equal(pl_log_dropped(pl_mono_us(), &losing) - before, 2);
	assert_true(losing);
	assert_int_equal(lines, 2);
	assert_non_null(strstr(text.data, "log: 2 lines before the last one were dropped"));
	pl_buf_fini(&text);
}

static void redacted(const char *dsn, const char *expected)
{
	char text[200];
	assert_ptr_equal(pl_log_redact_dsn(dsn, text, sizeof(text)), text);
	assert_string_equal(text, expected);
}

static void passwords_of_connection_strings_are_hidden(void **state)
{
	redacted("postgresql://plist:secret@host/db", "postgresql://plist:***@host/db");
	redacted("postgres://plist:se:cr%40et@[::1]:5432/db?sslmode=require", "postgres://"
	                                                                      "plist:***@[::1]:5432/"
	                                                                      "db?sslmode=require");
	redacted("postgresql://plist:se@cr/et@host/db", "postgresql://plist:***@host/db");
	redacted("postgresql://plist:@host/db?password=", "postgresql://plist:@host/db?password=***");
	redacted("postgresql://plist@host:5432/db", "postgresql://plist@host:5432/db");
	redacted("postgresql://host/db?user=u&password=se cret&sslpassword=x&a=b", "postgresql://host/"
	                                                                           "db?user=u&password=***&"
	                                                                           "sslpassword=***&a=b");
	redacted("host=h password=se&cret dbname=d", "host=h password=*** dbname=d");
	redacted("host=h PASSWORD = 'it\\'s secret' dbname=d", "host=h PASSWORD = *** dbname=d");
	redacted("password='never closed secret", "password=***");
	redacted("password=se\\ cret user=u", "password=*** user=u");
	redacted("sslpassword=a password=b", "sslpassword=*** password=***");
	redacted("host=h dbname=d", "host=h dbname=d");
	redacted("", "");
}

static void redaction_fits_into_a_buffer_of_any_size(void **state)
{
	const char *dsn = "postgresql://plist:secret@host/db?password=secret";
	for (size_t size = 1; size < 60; size++) {
		char *text = pl_malloc(size);
		pl_log_redact_dsn(dsn, text, size);
		assert_in_range(strlen(text), 0, size - 1);
		assert_null(strstr(text, "s"
		                         "ecret"));
		free(text);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(a_text_line_has_a_time_a_level_a_place_and_a_message, plain),
		cmocka_unit_test_setup(a_line_about_a_request_names_it, plain),
		cmocka_unit_test_setup(a_text_line_leaves_out_unknown_parts, plain),
		cmocka_unit_test_setup(a_json_line_is_one_object, plain),
		cmocka_unit_test_setup(lines_below_the_level_are_not_written, plain),
		cmocka_unit_test_setup(text_from_a_client_cannot_forge_a_line, plain),
		cmocka_unit_test_setup(text_from_a_client_cannot_act_on_a_terminal, plain),
		cmocka_unit_test_setup(a_long_message_is_truncated_and_the_line_stays_valid, plain),
		cmocka_unit_test_setup(logging_keeps_errno, plain),
		cmocka_unit_test_setup(a_rate_limited_place_says_how_many_lines_it_suppressed, plain),
		cmocka_unit_test_setup(lines_of_threads_do_not_mix, plain),
		cmocka_unit_test_setup(a_reader_that_stands_still_costs_lines_and_no_thread, plain),
		cmocka_unit_test_setup(a_line_that_cannot_be_written_is_counted_whatever_the_reason, plain),
		cmocka_unit_test_setup(passwords_of_connection_strings_are_hidden, plain),
		cmocka_unit_test_setup(redaction_fits_into_a_buffer_of_any_size, plain),
	};
	return cmocka_run_group_tests_name("base/log", tests, NULL, NULL);
}
