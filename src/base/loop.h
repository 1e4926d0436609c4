// The event loop of a worker: file descriptors, timers, and a wake-up that other threads may ring.
//
// Threads: a loop belongs to the thread that runs it; pl_loop_post and pl_loop_stop may be called from any thread.
#pragma once

#include <stdbool.h>
#include <stdint.h>

struct pl_loop;
struct pl_watch; // one watched descriptor
struct pl_timer; // one pending or idle timer

struct pl_loop *pl_loop_new(void);
void pl_loop_free(struct pl_loop **loop); // frees the watches and timers that are left, too

// Runs until pl_loop_stop. `turn` (may be NULL) is called once a turn after all events and before waiting: there a
// worker cuts its batches and runs libmicrohttpd. It returns the longest wait it allows, in ms; -1 for any.
typedef int pl_loop_turn_fn(void *arg);
void pl_loop_run(struct pl_loop *loop, pl_loop_turn_fn *turn, void *arg);
void pl_loop_stop(struct pl_loop *loop);

// For a loop that is turned from within others', one thread at a time. Its descriptor is readable when it has something to do; its timers are not seen
// there. A turn runs what is ready and due, without waiting; it returns whether a descriptor was, so that another turn may find more.
int pl_loop_fd(const struct pl_loop *loop);
bool pl_loop_turn(struct pl_loop *loop);
int64_t pl_loop_due_us(const struct pl_loop *loop); // pl_mono_us of the first timer; INT64_MAX: none

// `events` are EPOLLIN and EPOLLOUT of <sys/epoll.h>, level-triggered unless EPOLLET is among them. The descriptor stays the caller's.
typedef void pl_watch_fn(void *arg, uint32_t events);
struct pl_watch *pl_watch_new(struct pl_loop *loop, int fd, uint32_t events, pl_watch_fn *fn, void *arg);
void pl_watch_set(struct pl_watch *watch, uint32_t events); // cheap when nothing changes
void pl_watch_free(struct pl_watch **watch);                // safe inside any callback

typedef void pl_timer_fn(void *arg);
struct pl_timer *pl_timer_new(struct pl_loop *loop, pl_timer_fn *fn, void *arg);
void pl_timer_set(struct pl_timer *timer, int64_t in_us); // once; setting again moves it
void pl_timer_stop(struct pl_timer *timer);
void pl_timer_free(struct pl_timer **timer);

// Runs fn(arg) in the loop's thread, soon; from any thread. Bounded by nothing: for control messages, not for data.
void pl_loop_post(struct pl_loop *loop, void (*fn)(void *arg), void *arg);
