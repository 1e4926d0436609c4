// The loop: the order of timers, freeing inside callbacks, posts and stops from other
// threads.
#include "base/loop.h"

#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>
#include <cmocka.h>

#include "base/clock.h"
#include "base/mem.h"
#include "base/random.h"

static struct pl_loop *loop;

// A test that hangs is ended by SIGALRM, which is a failure.
static int setup(void **state)
{
	alarm(60);
	loop = pl_loop_new();
	return 0;
}

static int teardown(void **state)
{
	pl_loop_free(&loop);
	assert_null(loop);
	alarm(0);
	return 0;
}

static void stop(void *arg)
{
	pl_loop_stop(loop);
}

// ---- timers

static int fired[4000], nfired;

static void note(void *arg)
{
	fired[nfired++] = (int)(intptr_t)arg;
}

static void timers_fire_in_order_of_time(void **state)
{
	static const int delays_ms[] = { 9, 1, 5, 0, 7, 3 };
	nfired = 0;
	for (int i = 0; i < 6; i++)
		pl_loop_timer_set(pl_loop_timer_new(loop, note, (void *)(intptr_t)delays_ms[i]),
		                  delays_ms[i] * 1000);
	pl_loop_timer_set(pl_loop_timer_new(loop, stop, NULL), 12000);
	int64_t began = pl_mono_us();
	pl_loop_run(loop, NULL, NULL);
	assert_true(pl_mono_us() - began >= 12000); // never early
	static const int expected[] = { 0, 1, 3, 5, 7, 9 };
	assert_int_equal(nfired, 6);
	assert_memory_equal(fired, expected, sizeof(expected));
}

static void timers_due_at_once_fire_in_the_order_in_which_they_were_set(void **state)
{
	nfired = 0;
	for (int i = 0; i < 100; i++)
		pl_loop_timer_set(pl_loop_timer_new(loop, note, (void *)(intptr_t)i), 0);
	pl_loop_timer_set(pl_loop_timer_new(loop, stop, NULL), 0);
	pl_loop_run(loop, NULL, NULL);
	assert_int_equal(nfired, 100);
	for (int i = 0; i < 100; i++)
		assert_int_equal(fired[i], i);
}

// A timer is due between these two moments; only the loop knows when exactly.
static int64_t due_after[4000], due_before[4000];

static void set_noting_when(struct pl_timer *timer, int i)
{
	int64_t in_us = (int64_t)pl_random_below(100000);
	due_after[i] = pl_mono_us() + in_us;
	pl_loop_timer_set(timer, in_us);
	due_before[i] = pl_mono_us() + in_us;
}

static void thousands_of_timers_are_moved_stopped_and_freed_and_stay_in_order(void **state)
{
	enum { N = 4000 };
	struct pl_timer *timers[N];
	int gone = 0;
	nfired = 0;
	for (int i = 0; i < N; i++) {
		timers[i] = pl_loop_timer_new(loop, note, (void *)(intptr_t)i);
		set_noting_when(timers[i], i);
	}
	for (int i = 0; i < N; i++) {
		switch (pl_random_below(6)) {
		case 0:
			pl_loop_timer_stop(timers[i]);
			gone++;
			break;
		case 1:
			pl_loop_timer_free(&timers[i]);
			assert_null(timers[i]);
			gone++;
			break;
		case 2: set_noting_when(timers[i], i); break; // earlier or later than before
		default: break;
		}
	}
	pl_loop_timer_set(pl_loop_timer_new(loop, stop, NULL), 150000);
	pl_loop_run(loop, NULL, NULL);
	assert_int_equal(nfired, N - gone);
	int64_t latest = 0; // the latest start of those that have fired
	for (int i = 0; i < nfired; i++) {
		assert_true(due_before[fired[i]] >= latest);
		if (due_after[fired[i]] > latest)
			latest = due_after[fired[i]];
	}
}

static struct pl_timer *again;
static int turns, agains;

static void set_again(void *arg)
{
	agains++;
	pl_loop_timer_set(again, 0);
}

static int count_turn(void *arg)
{
	if (++turns == 50)
		pl_loop_stop(loop);
	return -1;
}

static void a_timer_that_sets_itself_to_now_fires_once_a_turn(void **state)
{
	turns = agains = 0;
	again = pl_loop_timer_new(loop, set_again, NULL);
	pl_loop_timer_set(again, 0);
	pl_loop_run(loop, count_turn, NULL);
	assert_in_range(agains, 48, 50);
}

static struct pl_timer *pair[2];

static void free_both(void *arg)
{
	nfired++;
	pl_loop_timer_free(&pair[0]);
	pl_loop_timer_free(&pair[1]);
}

static void a_timer_may_free_itself_and_one_that_is_due(void **state)
{
	nfired = 0;
	for (int i = 0; i < 2; i++) {
		pair[i] = pl_loop_timer_new(loop, free_both, NULL);
		pl_loop_timer_set(pair[i], 0);
	}
	pl_loop_timer_set(pl_loop_timer_new(loop, stop, NULL), 1000);
	pl_loop_run(loop, NULL, NULL);
	assert_int_equal(nfired, 1);
}

static void a_distant_timer_does_not_fire(void **state)
{
	nfired = 0;
	pl_loop_timer_set(pl_loop_timer_new(loop, note, NULL), INT64_MAX);
	pl_loop_timer_set(pl_loop_timer_new(loop, note, NULL), INT64_MAX / 2);
	pl_loop_timer_set(pl_loop_timer_new(loop, stop, NULL), -5); // a time in the past is due immediately
	pl_loop_run(loop, NULL, NULL);
	assert_int_equal(nfired, 0);
}

// ---- descriptors

static void read_and_stop(void *arg, uint32_t events)
{
	int *fd = arg;
	char byte;
	assert_true(events & EPOLLIN);
	assert_int_equal(read(*fd, &byte, 1), 1);
	nfired++;
	pl_loop_stop(loop);
}

static void a_readable_descriptor_is_called_until_it_is_read(void **state)
{
	int fds[2];
	assert_int_equal(pipe(fds), 0);
	assert_int_equal(write(fds[1], "ab", 2), 2);
	nfired = 0;
	struct pl_watch *watch = pl_loop_watch_new(loop, fds[0], EPOLLIN, read_and_stop, &fds[0]);
	pl_loop_run(loop, NULL, NULL);
	pl_loop_run(loop, NULL, NULL);
	assert_int_equal(nfired, 2);
	pl_loop_watch_free(&watch);
	assert_null(watch);
	close(fds[0]);
	close(fds[1]);
}

static void not_called(void *arg, uint32_t events)
{
	fail_msg("called with %x", events);
}

static void a_watch_of_nothing_is_silent_even_when_the_peer_hangs_up(void **state)
{
	int fds[2];
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
	struct pl_watch *watch = pl_loop_watch_new(loop, fds[0], EPOLLIN, not_called, NULL);
	pl_loop_watch_set(watch, 0);
	close(fds[1]);
	turns = 0;
	pl_loop_timer_set(pl_loop_timer_new(loop, stop, NULL), 5000);
	pl_loop_run(loop, count_turn, NULL);
	assert_in_range(turns, 1, 10); // and the loop does not spin
	pl_loop_watch_free(&watch);
	close(fds[0]);
}

static void the_events_of_a_watch_can_change(void **state)
{
	int fds[2];
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
	struct pl_watch *watch = pl_loop_watch_new(loop, fds[0], EPOLLOUT, not_called, NULL);
	pl_loop_watch_set(watch, EPOLLIN); // writable, but not readable
	pl_loop_timer_set(pl_loop_timer_new(loop, stop, NULL), 2000);
	pl_loop_run(loop, NULL, NULL);
	pl_loop_watch_free(&watch);
	nfired = 0;
	watch = pl_loop_watch_new(loop, fds[0], 0, read_and_stop, &fds[0]);
	pl_loop_watch_set(watch, EPOLLIN);
	assert_int_equal(write(fds[1], "x", 1), 1);
	pl_loop_run(loop, NULL, NULL);
	assert_int_equal(nfired, 1);
	close(fds[0]);
	close(fds[1]);
}

static struct pl_watch *watches[3];
static int calls;

static void free_all(void *arg, uint32_t events)
{
	calls++;
	for (int i = 0; i < 3; i++)
		pl_loop_watch_free(&watches[i]);
	pl_loop_stop(loop);
}

static void a_callback_may_free_watches_whose_events_wait_in_the_same_turn(void **state)
{
	int fds[3][2];
	for (int i = 0; i < 3; i++) {
		assert_int_equal(pipe(fds[i]), 0);
		assert_int_equal(write(fds[i][1], "x", 1), 1);
		watches[i] = pl_loop_watch_new(loop, fds[i][0], EPOLLIN, free_all, NULL);
	}
	calls = 0;
	pl_loop_run(loop, NULL, NULL);
	assert_int_equal(calls, 1);
	for (int i = 0; i < 3; i++) {
		close(fds[i][0]);
		close(fds[i][1]);
	}
}

static int reused_fds[2];

static void reuse_descriptor(void *arg, uint32_t events)
{
	// The other watch's descriptor is closed and its number is reused while its
	// event is pending.
	int other = arg == &watches[0] ? 1 : 0;
	calls++;
	pl_loop_watch_free(&watches[other]);
	close(reused_fds[other]);
	int again_fds[2];
	assert_int_equal(pipe(again_fds), 0);
	watches[other] = pl_loop_watch_new(loop, again_fds[0], EPOLLIN, not_called, NULL);
	reused_fds[other] = again_fds[0];
	pl_loop_watch_free((struct pl_watch **)arg);
	pl_loop_timer_set(pl_loop_timer_new(loop, stop, NULL), 2000);
}

static void an_event_of_a_closed_descriptor_does_not_reach_its_successor(void **state)
{
	calls = 0;
	for (int i = 0; i < 2; i++) {
		int fds[2];
		assert_int_equal(pipe(fds), 0);
		assert_int_equal(write(fds[1], "x", 1), 1);
		reused_fds[i] = fds[0];
		watches[i] = pl_loop_watch_new(loop, fds[0], EPOLLIN, reuse_descriptor, &watches[i]);
	}
	pl_loop_run(loop, NULL, NULL);
	assert_int_equal(calls, 1);
}

// ---- turns, posts, stops

static int impatient_turn(void *arg)
{
	if (++turns == 5)
		pl_loop_stop(loop);
	return arg ? 0 : 1;
}

static void the_turn_decides_how_long_to_wait(void **state)
{
	turns = 0;
	pl_loop_run(loop, impatient_turn, loop); // 0: not at all
	assert_int_equal(turns, 5);
	turns = 0;
	pl_loop_timer_set(pl_loop_timer_new(loop, note, NULL), 3600000000LL);
	pl_loop_run(loop, impatient_turn, NULL); // 1 ms at most, although the timer is an hour away
	assert_int_equal(turns, 5);
}

static void a_stop_before_the_run_is_not_lost(void **state)
{
	pl_loop_stop(loop);
	pl_loop_run(loop, NULL, NULL);
	pl_loop_timer_set(pl_loop_timer_new(loop, stop, NULL), 1000);
	pl_loop_run(loop, NULL, NULL); // and counts once
}

static void post_note_again(void *arg)
{
	note(arg);
	if (nfired < 10)
		pl_loop_post(loop, post_note_again, (void *)(intptr_t)nfired);
	else
		pl_loop_stop(loop);
}

static void posts_may_post_and_run_in_order(void **state)
{
	nfired = 0;
	pl_loop_post(loop, note, (void *)7);
	pl_loop_post(loop, note, (void *)8);
	pl_loop_post(loop, post_note_again, (void *)9);
	pl_loop_run(loop, NULL, NULL);
	static const int expected[] = { 7, 8, 9, 3, 4, 5, 6, 7, 8, 9 };
	assert_int_equal(nfired, 10);
	assert_memory_equal(fired, expected, sizeof(expected));
}

#define THREADS 4
#define POSTS   5000

static int last_of[THREADS], received;

static void receive(void *arg)
{
	int thread = (int)((intptr_t)arg / POSTS), number = (int)((intptr_t)arg % POSTS);
	assert_int_equal(number, last_of[thread] + 1);
	last_of[thread] = number;
	received++;
}

static void *poster(void *arg)
{
	for (intptr_t i = 0; i < POSTS; i++)
		pl_loop_post(loop, receive, (void *)((intptr_t)arg * POSTS + i));
	return NULL;
}

static int until_all_received(void *arg)
{
	if (received == THREADS * POSTS)
		pl_loop_stop(loop);
	return -1;
}

static void posts_of_threads_all_arrive_in_their_order(void **state)
{
	pthread_t threads[THREADS];
	received = 0;
	for (intptr_t i = 0; i < THREADS; i++) {
		last_of[i] = -1;
		assert_int_equal(pthread_create(&threads[i], NULL, poster, (void *)i), 0);
	}
	pl_loop_run(loop, until_all_received, NULL);
	for (int i = 0; i < THREADS; i++)
		pthread_join(threads[i], NULL);
	assert_int_equal(received, THREADS * POSTS);
}

static void *stopper(void *arg)
{
	pl_loop_stop(arg);
	return NULL;
}

static void another_thread_may_stop_the_loop(void **state)
{
	for (int i = 0; i < 200; i++) {
		pthread_t thread;
		struct pl_loop *own = pl_loop_new();
		assert_int_equal(pthread_create(&thread, NULL, stopper, own), 0);
		pl_loop_run(own, NULL, NULL);
		pl_loop_free(&own); // although the other thread may not have left pl_loop_stop yet
		pthread_join(thread, NULL);
	}
}

static void take_byte(void *arg, uint32_t events)
{
	char byte;
	assert_int_equal(read(*(int *)arg, &byte, 1), 1);
	nfired++;
}

static void a_loop_can_be_turned_from_within_another_without_waiting(void **state)
{
	int fds[2];
	assert_int_equal(pipe(fds), 0);
	struct pl_loop *inner = pl_loop_new();
	struct pollfd pfd = { .fd = pl_loop_fd(inner), .events = POLLIN };
	struct pl_timer *timer = pl_loop_timer_new(inner, note, (void *)3);
	nfired = 0;
	pl_loop_watch_new(inner, fds[0], EPOLLIN, take_byte, &fds[0]);
	assert_false(pl_loop_turn(inner));
	assert_int_equal(poll(&pfd, 1, 0), 0);
	assert_true(pl_loop_due_us(inner) == INT64_MAX);
	assert_int_equal(write(fds[1], "ab", 2), 2);
	assert_int_equal(poll(&pfd, 1, 0), 1);
	assert_true(pl_loop_turn(inner));
	assert_true(pl_loop_turn(inner));
	assert_false(pl_loop_turn(inner)); // both have been handled
	assert_int_equal(nfired, 2);
	pl_loop_timer_set(timer, 0);
	assert_true(pl_loop_due_us(inner) <= pl_mono_us());
	pl_loop_turn(inner);
	assert_int_equal(nfired, 3);
	assert_true(pl_loop_due_us(inner) == INT64_MAX);
	pl_loop_free(&inner);
	close(fds[0]);
	close(fds[1]);
}

static void freeing_the_loop_frees_what_is_left(void **state)
{
	int fds[2];
	assert_int_equal(pipe(fds), 0);
	struct pl_loop *own = pl_loop_new();
	pl_loop_watch_new(own, fds[0], EPOLLIN, not_called, NULL);
	pl_loop_timer_set(pl_loop_timer_new(own, note, NULL), 0);
	pl_loop_timer_new(own, note, NULL);
	pl_loop_post(own, note, NULL);
	pl_loop_free(&own); // the leak checker verifies it
	pl_loop_free(&own);
	close(fds[0]);
	close(fds[1]);
}

#define loop_test(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		loop_test(timers_fire_in_order_of_time),
		loop_test(timers_due_at_once_fire_in_the_order_in_which_they_were_set),
		loop_test(thousands_of_timers_are_moved_stopped_and_freed_and_stay_in_order),
		loop_test(a_timer_that_sets_itself_to_now_fires_once_a_turn),
		loop_test(a_timer_may_free_itself_and_one_that_is_due),
		loop_test(a_distant_timer_does_not_fire),
		loop_test(a_readable_descriptor_is_called_until_it_is_read),
		loop_test(a_watch_of_nothing_is_silent_even_when_the_peer_hangs_up),
		loop_test(the_events_of_a_watch_can_change),
		loop_test(a_callback_may_free_watches_whose_events_wait_in_the_same_turn),
		loop_test(an_event_of_a_closed_descriptor_does_not_reach_its_successor),
		loop_test(the_turn_decides_how_long_to_wait),
		loop_test(a_stop_before_the_run_is_not_lost),
		loop_test(posts_may_post_and_run_in_order),
		loop_test(posts_of_threads_all_arrive_in_their_order),
		loop_test(another_thread_may_stop_the_loop),
		loop_test(a_loop_can_be_turned_from_within_another_without_waiting),
		loop_test(freeing_the_loop_frees_what_is_left),
	};
	return cmocka_run_group_tests_name("base/loop", tests, NULL, NULL);
}
