// The event loop of a worker: file descriptors, timers, and a wake-up that other threads
// may signal.
//
// Threads: a loop belongs to the thread that runs it; pl_loop_post and pl_loop_stop may
// be called from any thread.
#pragma once

#include <stdbool.h>
#include <stdint.h>

struct pl_loop;
struct pl_watch; // one watched descriptor
struct pl_timer; // one pending or idle timer

struct pl_loop *pl_loop_new(void);
void pl_loop_free(struct pl_loop **loop_p); // also frees the remaining watches and timers

// Runs until pl_loop_stop. `turn` (may be NULL) is called once per turn, after all events
// and before waiting: there a worker forms its batches and runs libmicrohttpd. It returns
// the longest allowed wait in ms, or -1 for any.
typedef int pl_loop_turn_fn(void *arg);
void pl_loop_run(struct pl_loop *loop, pl_loop_turn_fn *turn, void *arg);
void pl_loop_stop(struct pl_loop *loop);

// For a loop that is run from within other loops, by one thread at a time. Its descriptor
// is readable when it has work; its timers are not visible there. A turn handles what is
// ready and due, without waiting, and returns whether a descriptor was ready, so that
// another turn may find more.
int pl_loop_fd(const struct pl_loop *loop);
bool pl_loop_turn(struct pl_loop *loop);
int64_t pl_loop_due_us(const struct pl_loop *loop); // pl_mono_us of the first timer; INT64_MAX: none

// `events` are EPOLLIN and EPOLLOUT of <sys/epoll.h>, level-triggered unless EPOLLET is
// included. The descriptor stays owned by the caller.
typedef void pl_watch_fn(void *arg, uint32_t events);
struct pl_watch *pl_loop_watch_new(struct pl_loop *loop, int fd, uint32_t events, pl_watch_fn *fn, void *arg);
void pl_loop_watch_set(struct pl_watch *watch, uint32_t events); // cheap if nothing changes
void pl_loop_watch_free(struct pl_watch **watch_p);              // safe inside any callback

typedef void pl_timer_fn(void *arg);
struct pl_timer *pl_loop_timer_new(struct pl_loop *loop, pl_timer_fn *fn, void *arg);
void pl_loop_timer_set(struct pl_timer *timer, int64_t in_us); // fires once; setting it again moves it
void pl_loop_timer_stop(struct pl_timer *timer);
void pl_loop_timer_free(struct pl_timer **timer_p);

// Runs fn(arg) soon in the thread of the loop; callable from any thread. The queue is
// unbounded: use it for control messages, not for data.
void pl_loop_post(struct pl_loop *loop, void (*fn)(void *arg), void *arg);
