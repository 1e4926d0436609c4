// Wake-ups: readable once signalled, however often, until drained.
#include "base/wake.h"

#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

static bool readable(struct pl_wake *wake, int timeout_ms)
{
	struct pollfd pfd = { .fd = pl_wake_fd(wake), .events = POLLIN };
	return poll(&pfd, 1, timeout_ms) == 1;
}

static void a_wake_up_is_readable_from_ringing_to_draining(void **state)
{
	struct pl_wake *wake = pl_wake_new();
	assert_false(readable(wake, 0));
	pl_wake_drain(wake); // with nothing to drain, it does not block
	for (int i = 0; i < 1000; i++)
		pl_wake_ring(wake);
	assert_true(readable(wake, 0));
	assert_true(readable(wake, 0));
	pl_wake_drain(wake);
	assert_false(readable(wake, 0));
	pl_wake_ring(wake);
	assert_true(readable(wake, 0));
	pl_wake_free(&wake);
	assert_null(wake);
	pl_wake_free(&wake);
}

static void *ring(void *arg)
{
	for (int i = 0; i < 1000; i++)
		pl_wake_ring(arg);
	return NULL;
}

static void a_wake_up_from_another_thread_is_not_lost(void **state)
{
	struct pl_wake *wake = pl_wake_new();
	pthread_t thread;
	assert_int_equal(pthread_create(&thread, NULL, ring, wake), 0);
	assert_true(readable(wake, 10000));
	pl_wake_drain(wake);
	pthread_join(thread, NULL);
	pl_wake_ring(wake);
	assert_true(readable(wake, 0));
	pl_wake_free(&wake);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_wake_up_is_readable_from_ringing_to_draining),
		cmocka_unit_test(a_wake_up_from_another_thread_is_not_lost),
	};
	return cmocka_run_group_tests_name("base/wake", tests, NULL, NULL);
}
