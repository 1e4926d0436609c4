// The control socket, both sides. Threads: the server's and the test's.
#include "ops/control.h"

#include <grp.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#define TIMEOUT_US 5000000

struct fixture {
	char directory[64], path[96];
	struct pl_control *control;
};

static int on_request(const cJSON *request, const struct pl_control_peer *peer, struct pl_buf *members,
                      struct pl_error *err, void *arg)
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
	if (strcmp(command, "who") == 0)
		pl_buf_printf(members, ",\"uid\":%ld,\"pid\":%ld,\"groups\":%d",
		              peer->known ? (long)peer->uid : -1, (long)peer->pid, peer->ngroups);
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
	f->control = pl_control_start(f->path, 0600, on_request, NULL, NULL);
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

static void the_kernel_says_who_a_client_is(void **state)
{
	struct fixture *f = *state;
	int64_t uid = -1, pid = -1;
	cJSON *answer;
	assert_int_equal(pl_control_ask(f->path, "{\"command\":\"who\"}", TIMEOUT_US, &answer, NULL), 0);
	assert_int_equal(pl_json_int64(pl_json_get(answer, "uid"), &uid), 0);
	assert_int_equal(pl_json_int64(pl_json_get(answer, "pid"), &pid), 0);
	assert_int_equal(uid, geteuid());
	assert_int_equal(pid, getpid());
	cJSON_Delete(answer);
}

// Directories of users can put them into hundreds of groups.
static void all_groups_of_a_client_count(void **state)
{
	struct fixture *f = *state;
	gid_t groups[300];
	cJSON *answer;
	int status = -1;
	int64_t n = 0;
	if (geteuid() != 0)
		skip();
	for (unsigned i = 0; i < 300; i++)
		groups[i] = 50000 + i;
	pid_t child = fork();
	if (child == 0) {
		bool told =
			setgroups(300, groups) == 0 &&
			pl_control_ask(f->path, "{\"command\":\"who\"}", TIMEOUT_US, &answer, NULL) == 0 &&
			pl_json_int64(pl_json_get(answer, "groups"), &n) == 0;
		_exit(told && n == 300 ? 0 : 1);
	}
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_int_equal(status, 0);
}

static void malformed_requests_are_answered_with_an_error_message(void **state)
{
	struct fixture *f = *state;
	static const char *const bad[] = { "{}", "[]", "nonsense", "",
		                           "{\"command\":\"a\",\"command\":\"b\"}" };
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		cJSON *answer;
		assert_int_equal(pl_control_ask(f->path, bad[i], TIMEOUT_US, &answer, NULL), 0);
		assert_true(cJSON_IsFalse(pl_json_get(answer, "ok")));
		assert_non_null(pl_json_string(answer, "error"));
		cJSON_Delete(answer);
	}
}

static void a_long_answer_arrives_complete(void **state)
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

static int connect_to(const struct fixture *f)
{
	struct sockaddr_un addr = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM, 0);
	strcpy(addr.sun_path, f->path);
	assert_int_equal(connect(fd, (struct sockaddr *)&addr, sizeof(addr)), 0);
	return fd;
}

static void a_client_that_takes_no_answer_keeps_nobody_waiting(void **state)
{
	struct fixture *f = *state;
	static const char lines[] = "{\"command\":\"long\"}\n{\"command\":\"last\"}\n";
	static char answers[3001000];
	size_t len = 0;
	int fd = connect_to(f);
	cJSON *answer;
	assert_int_equal(send(fd, lines, sizeof(lines) - 1, 0), sizeof(lines) - 1);
	assert_int_equal(recv(fd, answers, 1, MSG_PEEK), 1); // the first answer has begun
	assert_int_equal(pl_control_ask(f->path, "{\"command\":\"hello\"}", 2000000, &answer, NULL), 0);
	cJSON_Delete(answer);
	while (len < sizeof(answers) - 1 && !strstr(answers + (len > 32 ? len - 32 : 0), "\"last\"}\n")) {
		ssize_t n = recv(fd, answers + len, sizeof(answers) - 1 - len, 0);
		assert_true(n > 0);
		len += (size_t)n;
		answers[len] = '\0';
	}
	assert_true(len > 3000000);
	close(fd);
}

static void lines_that_come_together_are_answered_in_their_order(void **state)
{
	struct fixture *f = *state;
	char line[64], answers[8000] = "", *at = answers;
	int fd = connect_to(f);
	for (int i = 0; i < 100; i++) {
		int len = snprintf(line, sizeof(line), "{\"command\":\"c%d\"}\n", i);
		assert_int_equal(send(fd, line, (size_t)len, 0), len);
	}
	shutdown(fd, SHUT_WR);
	for (ssize_t n; (n = recv(fd, at, (size_t)(answers + sizeof(answers) - 1 - at), 0)) > 0;)
		at += n;
	*at = '\0';
	at = answers;
	for (int i = 0; i < 100; i++, at += strlen(line)) {
		snprintf(line, sizeof(line), "{\"ok\":true,\"you_said\":\"c%d\"}\n", i);
		assert_memory_equal(at, line, strlen(line));
	}
	close(fd);
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
	assert_null(pl_control_start(f->path, 0600, on_request, NULL, &err));
	assert_int_equal(err.code, PL_EBUSY);
	a_line_is_answered_by_a_line(state);
}

static void a_socket_that_was_left_over_is_replaced(void **state)
{
	struct fixture *f = *state;
	pl_control_stop(&f->control);
	struct sockaddr_un addr = { .sun_family = AF_UNIX };
	strcpy(addr.sun_path, f->path);
	int fd = socket(AF_UNIX, SOCK_STREAM, 0);
	assert_int_equal(bind(fd, (struct sockaddr *)&addr, sizeof(addr)), 0);
	close(fd);
	f->control = pl_control_start(f->path, 0600, on_request, NULL, NULL);
	assert_non_null(f->control);
	a_line_is_answered_by_a_line(state);
}

static void a_file_that_is_not_a_socket_is_left_alone(void **state)
{
	struct fixture *f = *state;
	struct pl_error err;
	pl_control_stop(&f->control);
	FILE *file = fopen(f->path, "w");
	fputs("mine", file);
	fclose(file);
	assert_null(pl_control_start(f->path, 0600, on_request, NULL, &err));
	assert_int_equal(err.code, PL_EINVAL);
	assert_int_equal(access(f->path, F_OK), 0);
}

static void a_path_that_is_too_long_is_reported_on_both_sides(void **state)
{
	char path[200];
	struct pl_error err;
	cJSON *answer;
	memset(path, 'a', sizeof(path) - 1);
	path[0] = '/';
	path[sizeof(path) - 1] = '\0';
	assert_null(pl_control_start(path, 0600, on_request, NULL, &err));
	assert_int_equal(err.code, PL_EINVAL);
	assert_int_equal(pl_control_ask(path, "{}", TIMEOUT_US, &answer, &err), PL_EINVAL);
}

static void a_missing_daemon_is_reported(void **state)
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
		cmocka_unit_test_setup_teardown(the_kernel_says_who_a_client_is, setup, teardown),
		cmocka_unit_test_setup_teardown(all_groups_of_a_client_count, setup, teardown),
		cmocka_unit_test_setup_teardown(malformed_requests_are_answered_with_an_error_message, setup,
		                                teardown),
		cmocka_unit_test_setup_teardown(a_long_answer_arrives_complete, setup, teardown),
		cmocka_unit_test_setup_teardown(a_request_that_is_too_long_is_refused, setup, teardown),
		cmocka_unit_test_setup_teardown(a_client_that_takes_no_answer_keeps_nobody_waiting, setup,
		                                teardown),
		cmocka_unit_test_setup_teardown(lines_that_come_together_are_answered_in_their_order, setup,
		                                teardown),
		cmocka_unit_test_setup_teardown(only_the_owner_may_connect, setup, teardown),
		cmocka_unit_test_setup_teardown(a_second_daemon_does_not_take_the_socket_away, setup,
		                                teardown),
		cmocka_unit_test_setup_teardown(a_socket_that_was_left_over_is_replaced, setup, teardown),
		cmocka_unit_test_setup_teardown(a_file_that_is_not_a_socket_is_left_alone, setup, teardown),
		cmocka_unit_test_setup_teardown(a_path_that_is_too_long_is_reported_on_both_sides, setup,
		                                teardown),
		cmocka_unit_test_setup_teardown(a_missing_daemon_is_reported, setup, teardown),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
