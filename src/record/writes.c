// See writes.h.
//
// The store inside has a loop of its own, whose descriptor is watched in the loop of one worker, the host: the one that sent the last batch. An answer
// of the database wakes him alone; he takes it, sends the next batch, and rings for those whose writes were in it. Another one becomes the host
// when he comes in, finds the connection idle and sends. The watch is edge-triggered: whoever turns the inner loop turns it until it has
// nothing more, so it need not be told again. The loop's timers are copied into the loop of each worker that leaves.
//
// Who holds the lock does work for others: reads their rows into their arenas, and puts what is finished behind their doors. A write's
// arena is its worker's before it is handed in and after it has been taken home, and nobody's but the lock's between.
//
// Invariants: a write is in one door's `going`, in the store, in its door's `back`, or in its door's `home`. `done` is called without the lock.
// Threads: `back` and `rung` of a door are under the lock; the rest of it is its worker's.
#include "record/writes.h"

#include <pthread.h>
#include <stdlib.h>
#include <sys/epoll.h>

#include "base/wake.h"
#include "record/parts.h"

#define HAND_IN_AT 8  // writes; a worker with many requests at once does not keep the database waiting until it has read them all
#define TURNS_MAX 16  // of the inner loop at a time

// Writes, and answers to be remembered, in the order in which they came.
struct post {
	struct pl_write *writes, **writes_end;
	struct pl_remember_answer *answers;
};

struct pl_writes {
	pthread_mutex_t lock;
	struct pl_loop *loop;
	struct pl_store *store;
	struct pl_door *doors;
	struct pl_door *inside; // whose worker holds the lock
	struct pl_door *host;   // NULL: the next who comes in
};

struct pl_door {
	struct pl_writes *writes;
	void (*committed)(int writes, void *arg);
	void *arg;
	struct pl_watch *watch, *bell;
	struct pl_wake *wake;
	struct pl_timer *timer;
	int64_t timer_us;       // when it is set to; INT64_MAX: not set
	bool called;            // by the inner loop, a timer or another worker
	bool hosting;           // as of its last visit; the watch is on
	int ngoing;
	struct post going, back, home;
	bool rung;              // since `back` was last emptied
	struct pl_door *prev, *next;
};

// ---- posts

static void post_clear(struct post *post)
{
	post->writes = NULL;
	post->writes_end = &post->writes;
	post->answers = NULL;
}

static void post_write(struct post *post, struct pl_write *write)
{
	write->next = NULL;
	*post->writes_end = write;
	post->writes_end = &write->next;
}

static struct pl_write *post_take(struct post *post)
{
	struct pl_write *write = post->writes;

	post->writes = write->next;
	if (!post->writes)
		post->writes_end = &post->writes;
	return write;
}

static void post_all(struct post *to, struct post *from)
{
	if (from->writes) {
		*to->writes_end = from->writes;
		to->writes_end = from->writes_end;
	}
	DL_CONCAT(to->answers, from->answers);
	post_clear(from);
}

static bool post_empty(const struct post *post)
{
	return !post->writes && !post->answers;
}

// ---- going in

static void hand_in(struct pl_door *door)
{
	struct pl_store *store = door->writes->store;
	struct pl_remember_answer *answer;

	while (door->going.writes)
		pl_store_write(store, post_take(&door->going));
	while ((answer = door->going.answers)) {
		DL_DELETE(door->going.answers, answer);
		pl_store_remember_answer(store, answer);
	}
	door->ngoing = 0;
}

// Until the inner loop has nothing more: see above. If that takes long, this worker comes again after a turn of its own.
static void turn_inner(struct pl_door *door)
{
	int turns = 0;

	while (pl_loop_turn(door->writes->loop) && ++turns < TURNS_MAX)
		;
	door->called = false;
	if (turns == TURNS_MAX)
		pl_wake_ring(door->wake);
	pl_store_turn(door->writes->store);
}

static void set_timer(struct pl_door *door)
{
	int64_t due_us = pl_loop_due_us(door->writes->loop);

	if (due_us >= door->timer_us)
		return;
	door->timer_us = due_us;
	pl_timer_set(door->timer, due_us - pl_mono_us());
}

static void leave(struct pl_door *door)
{
	struct pl_writes *writes = door->writes;

	post_all(&door->home, &door->back);
	door->rung = false;
	set_timer(door);
	writes->inside = NULL;
	pthread_mutex_unlock(&writes->lock);
}

// A watch belongs to its worker's thread, so who is no longer the host learns it when he comes next, or is woken once more for nothing.
static void settle_host(struct pl_door *door, bool sent)
{
	struct pl_writes *writes = door->writes;

	if (!writes->host || sent)
		writes->host = door;
	if (door->hosting == (writes->host == door))
		return;
	door->hosting = !door->hosting;
	pl_watch_set(door->watch, door->hosting ? EPOLLIN | EPOLLET : 0);
}

static void go_in(struct pl_door *door)
{
	struct pl_store *store = door->writes->store;
	uint64_t sent = store->sent;

	door->writes->inside = door;
	hand_in(door);
	turn_inner(door);
	settle_host(door, store->sent != sent);
	leave(door);
}

void pl_door_turn(struct pl_door *door)
{
	if (post_empty(&door->going) && !door->called)
		return;
	// Also where somebody is inside: he may have looked at the connection before the answer came that we are called for.
	pthread_mutex_lock(&door->writes->lock);
	go_in(door);
}

void pl_door_write(struct pl_door *door, struct pl_write *write)
{
	write->door = door;
	post_write(&door->going, write);
	if (++door->ngoing >= HAND_IN_AT)
		pl_door_turn(door);
}

void pl_door_remember_answer(struct pl_door *door, struct pl_remember_answer *answer)
{
	answer->door = door;
	DL_APPEND(door->going.answers, answer);
}

// ---- coming out

static void ring(struct pl_door *door)
{
	if (door == door->writes->inside || door->rung)
		return;
	door->rung = true;
	pl_wake_ring(door->wake);
}

void pl_door_give_write(struct pl_write *write)
{
	post_write(&write->door->back, write);
	ring(write->door);
}

void pl_door_give_answer(struct pl_remember_answer *answer)
{
	DL_APPEND(answer->door->back.answers, answer);
	ring(answer->door);
}

bool pl_door_deliver(struct pl_door *door)
{
	bool any = !post_empty(&door->home);
	struct pl_remember_answer *answer;

	while (door->home.writes) {
		struct pl_write *write = post_take(&door->home);

		write->done(write, write->arg); // it is gone with its arena
	}
	while ((answer = door->home.answers)) {
		DL_DELETE(door->home.answers, answer);
		answer->done(answer, answer->arg);
	}
	return any;
}

// ---- what calls a worker

static void on_called(void *arg, uint32_t events)
{
	struct pl_door *door = arg;

	(void)events;
	door->called = true;
}

static void on_bell(void *arg, uint32_t events)
{
	struct pl_door *door = arg;

	pl_wake_drain(door->wake);
	on_called(arg, events);
}

static void on_timer(void *arg)
{
	struct pl_door *door = arg;

	door->timer_us = INT64_MAX;
	door->called = true;
}

// ---- doors

struct pl_door *pl_door_new(struct pl_writes *writes, struct pl_loop *loop, void (*committed)(int writes, void *arg), void *arg)
{
	struct pl_door *door = pl_calloc(1, sizeof *door);

	door->writes = writes;
	door->committed = committed;
	door->arg = arg;
	post_clear(&door->going);
	post_clear(&door->back);
	post_clear(&door->home);
	door->wake = pl_wake_new();
	door->bell = pl_watch_new(loop, pl_wake_fd(door->wake), EPOLLIN, on_bell, door);
	door->watch = pl_watch_new(loop, pl_loop_fd(writes->loop), 0, on_called, door);
	door->timer = pl_timer_new(loop, on_timer, door);
	door->timer_us = INT64_MAX;
	pthread_mutex_lock(&writes->lock);
	DL_APPEND(writes->doors, door);
	writes->store->doors++;
	pthread_mutex_unlock(&writes->lock);
	door->called = true; // its first visit
	return door;
}

// One of them is the host now.
static void call_the_others(struct pl_writes *writes)
{
	struct pl_door *other;

	DL_FOREACH(writes->doors, other)
		ring(other);
}

void pl_door_free(struct pl_door **at)
{
	struct pl_door *door = *at;
	struct pl_writes *writes;

	if (!door)
		return;
	*at = NULL;
	writes = door->writes;
	pthread_mutex_lock(&writes->lock);
	writes->inside = door;
	hand_in(door);
	pl_task_leave(writes->store, door);
	pl_remember_leave(writes->store, door);
	pl_store_turn(writes->store);
	DL_DELETE(writes->doors, door);
	writes->store->doors--;
	if (writes->host == door)
		writes->host = NULL;
	call_the_others(writes);
	leave(door);
	pl_door_deliver(door);
	pl_watch_free(&door->watch);
	pl_watch_free(&door->bell);
	pl_wake_free(&door->wake);
	pl_timer_free(&door->timer);
	free(door);
}

// ---- the store inside

static void committed(int n, void *arg)
{
	struct pl_writes *writes = arg;

	if (writes->inside && writes->inside->committed)
		writes->inside->committed(n, writes->inside->arg);
}

struct pl_writes *pl_writes_new(const struct pl_store_options *options, struct pl_error *err)
{
	struct pl_writes *writes = pl_calloc(1, sizeof *writes);
	struct pl_store_options inner = *options;

	pthread_mutex_init(&writes->lock, NULL);
	writes->loop = pl_loop_new();
	inner.loop = writes->loop;
	inner.committed = committed;
	inner.arg = writes;
	writes->store = pl_store_new(&inner, err);
	if (!writes->store)
		pl_writes_free(&writes);
	return writes;
}

void pl_writes_free(struct pl_writes **at)
{
	struct pl_writes *writes = *at;

	if (!writes)
		return;
	*at = NULL;
	pl_store_free(&writes->store);
	pl_loop_free(&writes->loop);
	pthread_mutex_destroy(&writes->lock);
	free(writes);
}

void pl_writes_reconfigure(struct pl_writes *writes, const struct pl_config *config, const struct pl_region *region)
{
	pthread_mutex_lock(&writes->lock);
	if (writes->store->config != config)
		pl_store_reconfigure(writes->store, config, region);
	pthread_mutex_unlock(&writes->lock);
}

bool pl_writes_ready(struct pl_writes *writes, struct pl_error *why)
{
	bool ready;

	pthread_mutex_lock(&writes->lock);
	ready = pl_store_ready(writes->store, why);
	pthread_mutex_unlock(&writes->lock);
	return ready;
}

void pl_writes_stats(struct pl_writes *writes, struct pl_store_stats *stats_r)
{
	pthread_mutex_lock(&writes->lock);
	pl_store_stats(writes->store, stats_r);
	pthread_mutex_unlock(&writes->lock);
}
