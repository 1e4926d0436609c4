// The operators' socket, both of its sides. Threads: the server's and the test's.
#include "ops/control.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cmocka.h>

#define TIMEOUT_US 5000000

struct fixture {
	char directory[64], path[96];
	struct pl_control *control;
};

static int on_request(const cJSON *request, struct pl_buf *members, struct pl_error *err, void *arg)
{
	const char *command = pl_json_string(request, "command");
	if (!command)
		return pl_error_set(err, PL_EINVAL, "command is missing");
	if (strcmp(command, "long") == 0) {
		pl_buf_adds(members, ",\"text\":\"");
		for (int i = 0; i < 300000; i++)
			pl_buf_adds(members, "0123456789");
		pl_buf_addc(members, '"');
		return 0;
	}
	pl_buf_printf(members, ",\"you_said\":\"%s\"", command);
	return 0;
}

static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));
	strcpy(f->directory, "/tmp/plist-control-XXXXXX");
	if (!mkdtemp(f->directory))
		return -1;
	snprintf(f->path, sizeof(f->path), "%s/run/x.sock", f->directory);
	f->control = pl_control_start(f->path, on_request, NULL, NULL);
	*state = f;
	return f->control ? 0 : -1;
}

static int teardown(void **state)
{
	struct fixture *f = *state;
	char run[80];
	pl_control_stop(&f->control);
	unlink(f->path);
	snprintf(run, sizeof(run), "%s/run", f->directory);
	rmdir(run);
	rmdir(f->directory);
	free(f);
	return 0;
}

static void a_line_is_answered_by_a_line(void **state)
{
	struct fixture *f = *state;
	cJSON *answer;
	assert_int_equal(pl_control_ask(f->path, "{\"command\":\"hello\"}", TIMEOUT_US, &answer, NULL), 0);
	assert_true(cJSON_IsTrue(pl_json_get(answer, "ok")));
	assert_string_equal(pl_json_string(answer, "you_said"), "hello");
	cJSON_Delete(answer);
}

static void what_cannot_be_done_is_answered_with_a_sentence(void **state)
{
	struct fixture *f = *state;
	static const char *const bad[] = {"{}", "[]", "nonsense", "", "{\"command\":\"a\",\"command\":\"b\"}"};
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		cJSON *answer;
		assert_int_equal(pl_control_ask(f->path, bad[i], TIMEOUT_US, &answer, NULL), 0);
		assert_true(cJSON_IsFalse(pl_json_get(answer, "ok")));
		assert_non_null(pl_json_string(answer, "error"));
		cJSON_Delete(answer);
	}
}

static void a_long_answer_comes_whole(void **state)
{
	struct fixture *f = *state;
	cJSON *answer;
	assert_int_equal(pl_control_ask(f->path, "{\"command\":\"long\"}", TIMEOUT_US, &answer, NULL), 0);
	assert_int_equal(strlen(pl_json_string(answer, "text")), 3000000);
	cJSON_Delete(answer);
}

static void a_request_that_is_too_long_is_refused(void **state)
{
	struct fixture *f = *state;
	char *request = malloc(PL_CONTROL_LINE_MAX + 100);
	memset(request, ' ', PL_CONTROL_LINE_MAX + 99);
	request[PL_CONTROL_LINE_MAX + 99] = '\0';
	cJSON *answer;
	struct pl_error err;
	int code = pl_control_ask(f->path, request, TIMEOUT_US, &answer, &err);
	assert_true(code == 0 ? cJSON_IsFalse(pl_json_get(answer, "ok")) : code == PL_EUNAVAIL);
	cJSON_Delete(answer);
	free(request);
}

static void only_the_owner_may_connect(void **state)
{
	struct fixture *f = *state;
	struct stat st;
	assert_int_equal(stat(f->path, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0600);
}

static void a_second_daemon_does_not_take_the_socket_away(void **state)
{
	struct fixture *f = *state;
	struct pl_error err;
	assert_null(pl_control_start(f->path, on_request, NULL, &err));
	assert_int_equal(err.code, PL_EBUSY);
	a_line_is_answered_by_a_line(state);
}

static void a_socket_that_was_left_over_is_replaced(void **state)
{
	struct fixture *f = *state;
	pl_control_stop(&f->control);
	struct sockaddr_un addr = {.sun_family = AF_UNIX};
	strcpy(addr.sun_path, f->path);
	int fd = socket(AF_UNIX, SOCK_STREAM, 0);
	assert_int_equal(bind(fd, (struct sockaddr *)&addr, sizeof(addr)), 0);
	close(fd);
	f->control = pl_control_start(f->path, on_request, NULL, NULL);
	assert_non_null(f->control);
	a_line_is_answered_by_a_line(state);
}

static void a_file_that_is_no_socket_is_left_alone(void **state)
{
	struct fixture *f = *state;
	struct pl_error err;
	pl_control_stop(&f->control);
	FILE *file = fopen(f->path, "w");
	fputs("mine", file);
	fclose(file);
	assert_null(pl_control_start(f->path, on_request, NULL, &err));
	assert_int_equal(err.code, PL_EINVAL);
	assert_int_equal(access(f->path, F_OK), 0);
}

static void a_path_that_is_too_long_is_told_on_both_sides(void **state)
{
	char path[200];
	struct pl_error err;
	cJSON *answer;
	memset(path, 'a', sizeof(path) - 1);
	path[0] = '/';
	path[sizeof(path) - 1] = '\0';
	assert_null(pl_control_start(path, on_request, NULL, &err));
	assert_int_equal(err.code, PL_EINVAL);
	assert_int_equal(pl_control_ask(path, "{}", TIMEOUT_US, &answer, &err), PL_EINVAL);
}

static void nobody_there_is_told(void **state)
{
	struct fixture *f = *state;
	struct pl_error err;
	cJSON *answer;
	pl_control_stop(&f->control);
	assert_int_equal(access(f->path, F_OK), -1);
	assert_int_equal(pl_control_ask(f->path, "{}", TIMEOUT_US, &answer, &err), PL_EUNAVAIL);
	assert_null(answer);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(a_line_is_answered_by_a_line, setup, teardown),
		cmocka_unit_test_setup_teardown(what_cannot_be_done_is_answered_with_a_sentence, setup, teardown),
		cmocka_unit_test_setup_teardown(a_long_answer_comes_whole, setup, teardown),
		cmocka_unit_test_setup_teardown(a_request_that_is_too_long_is_refused, setup, teardown),
		cmocka_unit_test_setup_teardown(only_the_owner_may_connect, setup, teardown),
		cmocka_unit_test_setup_teardown(a_second_daemon_does_not_take_the_socket_away, setup, teardown),
		cmocka_unit_test_setup_teardown(a_socket_that_was_left_over_is_replaced, setup, teardown),
		cmocka_unit_test_setup_teardown(a_file_that_is_no_socket_is_left_alone, setup, teardown),
		cmocka_unit_test_setup_teardown(a_path_that_is_too_long_is_told_on_both_sides, setup, teardown),
		cmocka_unit_test_setup_teardown(nobody_there_is_told, setup, teardown),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
