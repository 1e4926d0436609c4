// Running requests: at most one per key, whichever thread begins it.
#include "store/running_ids.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

static void a_key_is_taken_until_it_is_released(void **state)
{
	struct pl_running_ids *running = pl_running_ids_new();
	struct pl_running_id first = { .key = "\0order-1", .len = 8 },
			     second = { .key = "\0order-1", .len = 8 },
			     other = { .key = "\0order-2", .len = 8 };

	(void)state;
	assert_true(pl_running_ids_enter(running, &first));
	assert_false(pl_running_ids_enter(running, &second));
	assert_true(pl_running_ids_has(running, "\0order-1", 8));
	assert_false(pl_running_ids_has(running, "\0order-1", 7));
	assert_true(pl_running_ids_enter(running, &other));
	pl_running_ids_leave(running, &first);
	assert_false(pl_running_ids_has(running, "\0order-1", 8));
	assert_true(pl_running_ids_enter(running, &second));
	pl_running_ids_leave(running, &second);
	pl_running_ids_leave(running, &other);
	pl_running_ids_free(&running);
	assert_null(running);
}

enum { THREADS = 4, KEYS = 50, ROUNDS = 20000 };

struct crowd {
	struct pl_running_ids *running;
	char keys[KEYS][16];
	atomic_int inside[KEYS], entered, refused, broken;
};

static void *crowd_in(void *arg)
{
	struct crowd *crowd = arg;

	for (int i = 0; i < ROUNDS; i++) {
		int k = i * 7 % KEYS;
		struct pl_running_id entry = { .key = crowd->keys[k],
			                       .len = (unsigned)strlen(crowd->keys[k]) };

		if (!pl_running_ids_enter(crowd->running, &entry)) {
			atomic_fetch_add(&crowd->refused, 1);
			continue;
		}
		atomic_fetch_add(&crowd->broken, atomic_fetch_add(&crowd->inside[k], 1) != 0);
		atomic_fetch_add(&crowd->entered, 1);
		atomic_fetch_sub(&crowd->inside[k], 1);
		pl_running_ids_leave(crowd->running, &entry);
	}
	return NULL;
}

static void two_threads_never_hold_the_same_key(void **state)
{
	static struct crowd crowd;
	pthread_t threads[THREADS];

	(void)state;
	crowd.running = pl_running_ids_new();
	for (int k = 0; k < KEYS; k++)
		snprintf(crowd.keys[k], sizeof(crowd.keys[k]), "order-%d", k);
	for (int i = 0; i < THREADS; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, crowd_in, &crowd), 0);
	for (int i = 0; i < THREADS; i++)
		pthread_join(threads[i], NULL);
	assert_int_equal(crowd.broken, 0);
	assert_int_equal(crowd.entered + crowd.refused, THREADS * ROUNDS);
	for (int k = 0; k < KEYS; k++)
		assert_false(
			pl_running_ids_has(crowd.running, crowd.keys[k], (unsigned)strlen(crowd.keys[k])));
	pl_running_ids_free(&crowd.running);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_key_is_taken_until_it_is_released),
		cmocka_unit_test(two_threads_never_hold_the_same_key),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
