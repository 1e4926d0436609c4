// Who sends a request is decided when the whole of it has arrived, and before anything
// else is said or looked up.
#include "lab_listener.h"

#include <string.h>
#include <unistd.h>

// Requests that are complete from now on need credentials, which nobody has.
static void require_credentials(struct world *w)
{
	use_program(w, GET, PUT);
	((struct pl_config *)(uintptr_t)w->generation->config)->security.clients = PL_CLIENTS_REQUIRED;
}

#define SOME   "Host: x\r\nX-Request-ID: same\r\n"
#define FIELDS "Content-Length: 23\r\n\r\n{\"price\":5,\"version\":1}"
#define MANY_S "ssssssssssssssssssssssssssssssssssssssssssssssssssssssssssssssss"

static void without_credentials_no_answer_reveals_what_is_there_and_nothing_is_looked_up(void **state)
{
	static const char *const requests[] = {
		"GET /us/properties/7 HTTP/1.1\r\n" SOME "\r\n",
		"GET /us/properties/8 HTTP/1.1\r\n" SOME "\r\n",
		"GET /eu/properties/7?limit=1 HTTP/1.1\r\n" SOME "If-None-Match: \"a\"\r\n\r\n",
		"GET /us/properties/none HTTP/1.1\r\n" SOME "\r\n",
		"GET /mars/properties/7 HTTP/1.1\r\n" SOME "\r\n",
		"GET /nowhere HTTP/1.1\r\n" SOME "\r\n",
		"GET / HTTP/1.1\r\n" SOME "\r\n",
		"GET /metrics HTTP/1.1\r\n" SOME "\r\n",
		"PUT /us/properties/7 HTTP/1.1\r\n" SOME FIELDS,
		"PUT /us/properties/7 HTTP/1.1\r\n" SOME "If-Match: nonsense\r\n" FIELDS,
		"PUT /us/properties/7 HTTP/1.1\r\n" SOME "Content-Encoding: br\r\n" FIELDS,
		"PUT /us/properties/7 HTTP/1.1\r\n" SOME "Plist-Session: nonsense\r\n" FIELDS,
		"PUT /us/properties/7 HTTP/1.1\r\n" SOME "Content-Length: 2\r\n\r\n{]",
		"PUT /us/nowhere HTTP/1.1\r\n" SOME FIELDS,
		"DELETE /us/properties/7 HTTP/1.1\r\n" SOME "\r\n",
		"POST /us/properties/7 HTTP/1.1\r\n" SOME FIELDS,
		"OPTIONS /us/properties/7 HTTP/1.1\r\n" SOME "\r\n",
		"OPTIONS /nowhere HTTP/1.1\r\n" SOME "\r\n",
		"OPTIONS * HTTP/1.1\r\n" SOME "\r\n",
		"PUT /us/properties/7 HTTP/1.1\r\n" SOME "Authorization: Bearer " MANY_S "\r\n" FIELDS,
	};
	struct world *w = *state;
	char first[4096] = "";
	bool closed;

	require_credentials(w);
	int fd = dial(w);
	for (size_t i = 0; i < sizeof(requests) / sizeof(requests[0]); i++) {
		say(w, fd, requests[i]);
		char *answer = (char *)(uintptr_t)hear(w, fd, &closed);
		char *date = strstr(answer, "\r\nDate: ");
		assert_non_null(date);
		memset(date + 8, ' ', strcspn(date + 8, "\r"));
		assert_false(closed);
		if (i == 0)
			strcpy(first, answer);
		assert_string_equal(answer, first);
		assert_int_equal(fake_store_waiting(w->store) + fake_store_lookups(w->store), 0);
	}
	assert_int_equal(strncmp(first, "HTTP/1.1 401 ", 13), 0);
	say(w, fd, HEALTH);
	assert_int_equal(strncmp(hear(w, fd, &closed), "HTTP/1.1 200 ", 13), 0);
	close(fd);
}

// Sends a write up to one of its last bytes; then credentials become necessary.
static void is_refused_if_it_is_complete_later(struct world *w, size_t missing)
{
	char text[] = WRITE("slow", "1"), last = '\0';
	size_t at = strlen(text) - missing;
	bool closed;

	use_program(w, GET, PUT);
	last = text[at];
	text[at] = '\0';
	int fd = ask(w, text);
	require_credentials(w);
	text[at] = last;
	say(w, fd, text + at);
	assert_int_equal(strncmp(hear(w, fd, &closed), "HTTP/1.1 401 ", 13), 0);
	assert_int_equal(fake_store_waiting(w->store), 0);
	close(fd);
}

static void a_request_belongs_to_the_configuration_in_force_when_it_is_complete(void **state)
{
	struct world *w = *state;
	bool closed;

	for (size_t missing = 1; missing < sizeof(WRITE("slow", "1")) - 1; missing += 7)
		is_refused_if_it_is_complete_later(w, missing);
	use_program(w, GET, PUT);
	int fd = ask(w, WRITE("whole", "1"));
	require_credentials(w);
	fake_store_run(w->store);
	assert_int_equal(strncmp(hear(w, fd, &closed), "HTTP/1.1 200 ", 13), 0);
	close(fd);
}

static void let_one_pass(struct world *w)
{
	use_program(w, GET, PUT);
	((struct pl_config *)(uintptr_t)w->generation->config)->limits.per_address.rate = 1;
}

static void a_request_that_is_checked_twice_counts_once(void **state)
{
	struct world *w = *state;
	char text[] = WRITE("slow", "1");
	bool closed;

	let_one_pass(w);
	text[strlen(text) - 1] = '\0';
	int fd = ask(w, text);
	let_one_pass(w);
	say(w, fd, "}");
	fake_store_run(w->store);
	assert_int_equal(strncmp(hear(w, fd, &closed), "HTTP/1.1 200 ", 13), 0);
	say(w, fd, READ);
	assert_int_equal(strncmp(hear(w, fd, &closed), "HTTP/1.1 429 ", 13), 0);
	close(fd);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(
			without_credentials_no_answer_reveals_what_is_there_and_nothing_is_looked_up, setup,
			teardown),
		cmocka_unit_test_setup_teardown(
			a_request_belongs_to_the_configuration_in_force_when_it_is_complete, setup, teardown),
		cmocka_unit_test_setup_teardown(a_request_that_is_checked_twice_counts_once, setup, teardown),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
