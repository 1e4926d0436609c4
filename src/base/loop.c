// The event loop of a worker: epoll, a heap of timers, and posts from other threads.
//
// All waiting of a worker happens here (http/listener, db/conn, store/store). A turn:
// wait; callbacks of descriptors; timers that are due, by time and then in the order in
// which they were set; posts, in order; `turn`.
// Invariants: a freed watch or timer is never called again, even if a callback of the
// same turn frees it; timers set and posts made in a turn run in the next turn at the
// earliest, so that none can starve the others.
// Threads: that of the loop; the list of posts is under a lock.
#include "base/loop.h"

#include <errno.h>
#include <limits.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/error.h"
#include "base/mem.h"
#include "base/wake.h"

#define EVENTS_PER_TURN 256

struct pl_watch {
	struct pl_loop *loop;
	int fd;
	uint32_t events; // 0: not in epoll at all
	pl_watch_fn *fn;
	void *arg;
	struct pl_watch *prev, *next;
};

struct pl_timer {
	struct pl_loop *loop;
	int64_t due_us;
	uint64_t order; // of setting: earlier first among equals
	int place;      // in the heap, -1 when it is not pending
	pl_timer_fn *fn;
	void *arg;
	struct pl_timer *prev, *next;
};

struct post {
	void (*fn)(void *arg);
	void *arg;
	struct post *next;
};

struct pl_loop {
	int epoll_fd;
	struct pl_watch *watches; // all of them
	struct pl_watch *dead;    // to be freed when no event can refer to them
	struct pl_timer *timers;  // all of them
	struct pl_timer **heap;   // those that are pending
	int npending, heap_room;
	uint64_t orders;
	bool dispatching;
	atomic_bool stop;
	struct pl_wake *wake; // rung by post and stop
	pthread_mutex_t posts_lock;
	struct post *posts, **posts_end;
};

// ---- timers: a binary heap that knows each timer's place

static bool before(const struct pl_timer *a, const struct pl_timer *b)
{
	return a->due_us != b->due_us ? a->due_us < b->due_us : a->order < b->order;
}

static void heap_put(struct pl_loop *loop, int place, struct pl_timer *timer)
{
	loop->heap[place] = timer;
	timer->place = place;
}

static void heap_up(struct pl_loop *loop, struct pl_timer *timer)
{
	int place = timer->place;
	for (; place > 0 && before(timer, loop->heap[(place - 1) / 2]); place = (place - 1) / 2)
		heap_put(loop, place, loop->heap[(place - 1) / 2]);
	heap_put(loop, place, timer);
}

static void heap_down(struct pl_loop *loop, struct pl_timer *timer)
{
	int place = timer->place;
	for (;;) {
		int child = 2 * place + 1;
		if (child + 1 < loop->npending && before(loop->heap[child + 1], loop->heap[child]))
			child++;
		if (child >= loop->npending || !before(loop->heap[child], timer))
			break;
		heap_put(loop, place, loop->heap[child]);
		place = child;
	}
	heap_put(loop, place, timer);
}

struct pl_timer *pl_loop_timer_new(struct pl_loop *loop, pl_timer_fn *fn, void *arg)
{
	struct pl_timer *timer = pl_calloc(1, sizeof(*timer));
	timer->loop = loop;
	timer->place = -1;
	timer->fn = fn;
	timer->arg = arg;
	timer->next = loop->timers;
	if (timer->next != NULL)
		timer->next->prev = timer;
	loop->timers = timer;
	return timer;
}

void pl_loop_timer_set(struct pl_timer *timer, int64_t in_us)
{
	struct pl_loop *loop = timer->loop;
	int64_t now = pl_mono_us();
	if (in_us < 0)
		in_us = 0;
	timer->due_us = in_us > INT64_MAX - now ? INT64_MAX : now + in_us;
	timer->order = loop->orders++;
	if (timer->place < 0) {
		if (loop->npending == loop->heap_room) {
			loop->heap_room = loop->heap_room ? 2 * loop->heap_room : 64;
			loop->heap = pl_realloc(loop->heap, (size_t)loop->heap_room * sizeof(loop->heap[0]));
		}
		heap_put(loop, loop->npending++, timer);
	}
	heap_up(loop, timer);
	heap_down(loop, timer);
}

void pl_loop_timer_stop(struct pl_timer *timer)
{
	struct pl_loop *loop = timer->loop;
	if (timer->place < 0)
		return;
	struct pl_timer *last = loop->heap[--loop->npending];
	if (last != timer) {
		heap_put(loop, timer->place, last);
		heap_up(loop, last);
		heap_down(loop, last);
	}
	timer->place = -1;
}

void pl_loop_timer_free(struct pl_timer **timer_p)
{
	struct pl_timer *timer = *timer_p;
	if (timer == NULL)
		return;
	pl_loop_timer_stop(timer);
	if (timer->next != NULL)
		timer->next->prev = timer->prev;
	if (timer->prev != NULL)
		timer->prev->next = timer->next;
	else
		timer->loop->timers = timer->next;
	free(timer);
	*timer_p = NULL;
}

static void run_timers(struct pl_loop *loop)
{
	int64_t now = pl_mono_us();
	uint64_t orders =
		loop->orders; // what a callback sets is for the next turn, even if it is due at once
	while (loop->npending > 0) {
		struct pl_timer *timer = loop->heap[0];
		if (timer->due_us > now || timer->order >= orders)
			return;
		pl_loop_timer_stop(timer);
		timer->fn(timer->arg); // may free the timer
	}
}

// ---- descriptors

static void epoll_change(struct pl_watch *watch, int op)
{
	struct epoll_event event = { .events = watch->events, .data.ptr = watch };
	if (epoll_ctl(watch->loop->epoll_fd, op, watch->fd, &event) != 0 && op != EPOLL_CTL_DEL)
		pl_die("epoll_ctl of descriptor %d: %s", watch->fd, strerror(errno));
}

struct pl_watch *pl_loop_watch_new(struct pl_loop *loop, int fd, uint32_t events, pl_watch_fn *fn, void *arg)
{
	struct pl_watch *watch = pl_calloc(1, sizeof(*watch));
	watch->loop = loop;
	watch->fd = fd;
	watch->fn = fn;
	watch->arg = arg;
	watch->next = loop->watches;
	if (watch->next != NULL)
		watch->next->prev = watch;
	loop->watches = watch;
	pl_loop_watch_set(watch, events);
	return watch;
}

void pl_loop_watch_set(struct pl_watch *watch, uint32_t events)
{
	uint32_t old = watch->events;
	if (events == old)
		return;
	watch->events = events;
	epoll_change(watch, events == 0 ? EPOLL_CTL_DEL : old == 0 ? EPOLL_CTL_ADD : EPOLL_CTL_MOD);
}

void pl_loop_watch_free(struct pl_watch **watch_p)
{
	struct pl_watch *watch = *watch_p;
	if (watch == NULL)
		return;
	struct pl_loop *loop = watch->loop;
	pl_loop_watch_set(watch, 0);
	if (watch->next != NULL)
		watch->next->prev = watch->prev;
	if (watch->prev != NULL)
		watch->prev->next = watch->next;
	else
		loop->watches = watch->next;
	*watch_p = NULL;
	if (!loop->dispatching) {
		free(watch);
		return;
	}
	// An event fetched in this turn may still refer to it. Such a watch asks for no
	// events.
	watch->next = loop->dead;
	loop->dead = watch;
}

static void bury(struct pl_loop *loop)
{
	for (struct pl_watch *watch; (watch = loop->dead) != NULL;) {
		loop->dead = watch->next;
		free(watch);
	}
}

static void run_watches(struct pl_loop *loop, const struct epoll_event *events, int n)
{
	loop->dispatching = true;
	for (int i = 0; i < n; i++) {
		struct pl_watch *watch = events[i].data.ptr;
		if (watch == NULL) { // the loop's own bell
			pl_wake_drain(loop->wake);
			continue;
		}
		// The watch may ask for other events since this one was fetched.
		uint32_t ready = events[i].events & (watch->events | EPOLLERR | EPOLLHUP);
		if (watch->events != 0 && ready != 0) // 0 also when it was freed
			watch->fn(watch->arg, ready);
	}
	loop->dispatching = false;
	bury(loop);
}

// ---- posts

void pl_loop_post(struct pl_loop *loop, void (*fn)(void *arg), void *arg)
{
	struct post *post = pl_malloc(sizeof(*post));
	*post = (struct post){ .fn = fn, .arg = arg };
	pthread_mutex_lock(&loop->posts_lock);
	*loop->posts_end = post;
	loop->posts_end = &post->next;
	pl_wake_ring(loop->wake); // under the lock: when the loop has seen the post it may be freed
	pthread_mutex_unlock(&loop->posts_lock);
}

static struct post *take_posts(struct pl_loop *loop)
{
	pthread_mutex_lock(&loop->posts_lock);
	struct post *posts = loop->posts;
	loop->posts = NULL;
	loop->posts_end = &loop->posts;
	pthread_mutex_unlock(&loop->posts_lock);
	return posts;
}

static void run_posts(struct pl_loop *loop)
{
	for (struct post *post = take_posts(loop), *next; post != NULL; post = next) {
		next = post->next;
		post->fn(post->arg);
		free(post);
	}
}

// ---- the loop itself

struct pl_loop *pl_loop_new(void)
{
	struct pl_loop *loop = pl_calloc(1, sizeof(*loop));
	loop->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	if (loop->epoll_fd < 0)
		pl_die("epoll_create1: %s", strerror(errno));
	loop->wake = pl_wake_new();
	loop->posts_end = &loop->posts;
	pthread_mutex_init(&loop->posts_lock, NULL);
	struct epoll_event event = { .events = EPOLLIN, .data.ptr = NULL };
	if (epoll_ctl(loop->epoll_fd, EPOLL_CTL_ADD, pl_wake_fd(loop->wake), &event) != 0)
		pl_die("epoll_ctl: %s", strerror(errno));
	return loop;
}

void pl_loop_free(struct pl_loop **loop_p)
{
	struct pl_loop *loop = *loop_p;
	if (loop == NULL)
		return;
	for (struct pl_watch *watch; (watch = loop->watches) != NULL;)
		pl_loop_watch_free(&watch);
	for (struct pl_timer *timer; (timer = loop->timers) != NULL;)
		pl_loop_timer_free(&timer);
	for (struct post *post = take_posts(loop), *next; post != NULL; post = next) {
		next = post->next;
		free(post);
	}
	pthread_mutex_destroy(&loop->posts_lock);
	pl_wake_free(&loop->wake);
	close(loop->epoll_fd);
	free(loop->heap);
	free(loop);
	*loop_p = NULL;
}

// How long epoll may wait: until the first timer, rounded up (waking early would mean
// waking twice), at most `most_ms`.
static int wait_ms(const struct pl_loop *loop, int most_ms)
{
	if (loop->npending == 0)
		return most_ms;
	int64_t us = loop->heap[0]->due_us - pl_mono_us();
	int64_t ms = us <= 0 ? 0 : us / 1000 + (us % 1000 != 0);
	if (ms > INT_MAX)
		ms = INT_MAX;
	return most_ms >= 0 && most_ms < ms ? most_ms : (int)ms;
}

// Waits at most that long and runs what is ready; returns the number of ready
// descriptors.
static int run_once(struct pl_loop *loop, int ms)
{
	struct epoll_event events[EVENTS_PER_TURN];
	int n = epoll_wait(loop->epoll_fd, events, EVENTS_PER_TURN, ms);
	if (n < 0 && errno != EINTR)
		pl_die("epoll_wait: %s", strerror(errno));
	run_watches(loop, events, n < 0 ? 0 : n);
	run_timers(loop);
	run_posts(loop);
	return n;
}

int pl_loop_fd(const struct pl_loop *loop)
{
	return loop->epoll_fd;
}

bool pl_loop_turn(struct pl_loop *loop)
{
	return run_once(loop, 0) != 0; // also where a signal came between: look again
}

int64_t pl_loop_due_us(const struct pl_loop *loop)
{
	return loop->npending > 0 ? loop->heap[0]->due_us : INT64_MAX;
}

void pl_loop_run(struct pl_loop *loop, pl_loop_turn_fn *turn, void *arg)
{
	int most_ms = turn ? turn(arg) : -1;
	while (!atomic_load(&loop->stop)) {
		run_once(loop, wait_ms(loop, most_ms));
		most_ms = turn ? turn(arg) : -1;
	}
	// Not at the beginning: a stop before the loop runs must not be lost.
	atomic_store(&loop->stop, false);
}

void pl_loop_stop(struct pl_loop *loop)
{
	// Under the lock of the posts, which _free takes as well: the owner of the loop,
	// having seen the stop, cannot free what we are still signalling.
	pthread_mutex_lock(&loop->posts_lock);
	atomic_store(&loop->stop, true);
	pl_wake_ring(loop->wake);
	pthread_mutex_unlock(&loop->posts_lock);
}
