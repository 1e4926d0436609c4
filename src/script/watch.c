// See watch.h.
//
// Time. A call's duration is summed up look by look, so that no script is blamed for a
// stopped process or a sleeping machine. A call that checks its budget is not stuck, only
// slow; then only the processor time of its thread counts, as in its budget.
//
// The line. A thread that did not check its budget between two of our looks, a tenth of a
// second, although it worked for half of that time or waits in a system call, is inside
// one C function or one Lua instruction. Neither changes the call stack below it, so we
// can read that stack from here. We read nothing of a call that checks its budget, nor of
// a thread that was not given a processor: it may be anywhere, and go on while we read.
// If the call returns in that very microsecond, its frames still exist: Lua keeps them
// for later calls until it collects garbage.
//
// Invariant: a VM in the list is complete: it is removed before any part of it is freed.
#include "script/watch.h"

#include <lauxlib.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "script/script_private.h"

#define STUCK_TIMES 5 // times the time limit, at least
#define FATAL_TIMES 10
#define LEVELS_MAX  32

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct pl_vm *first;
static int64_t looked_us; // the time of the last look

void pl_watch_add(struct pl_vm *vm)
{
	pthread_mutex_lock(&lock);
	vm->watch.next = first;
	if (first)
		first->watch.prev = vm;
	first = vm;
	pthread_mutex_unlock(&lock);
}

void pl_watch_remove(struct pl_vm *vm)
{
	struct pl_script_watch *watch = &vm->watch;

	pthread_mutex_lock(&lock);
	if (watch->prev)
		watch->prev->watch.next = watch->next;
	else
		first = watch->next;
	if (watch->next)
		watch->next->watch.prev = watch->prev;
	pthread_mutex_unlock(&lock);
}

static void count(_Atomic uint64_t *n)
{
	atomic_store_explicit(n, atomic_load_explicit(n, memory_order_relaxed) + 1, memory_order_release);
}

void pl_watch_begin(struct pl_vm *vm, lua_State *L, const char *place)
{
	static _Thread_local int64_t self;

	if (!self)
		self = syscall(SYS_gettid);
	atomic_store_explicit(&vm->watch.running, L, memory_order_relaxed);
	atomic_store_explicit(&vm->watch.thread, self, memory_order_relaxed);
	atomic_store_explicit(&vm->watch.place, place, memory_order_relaxed);
	count(&vm->watch.calls);
}

void pl_watch_end(struct pl_vm *vm)
{
	count(&vm->watch.calls);
}

// Processor time of a thread of this process, by the kernel's numbering of clocks
// (clock_getcpuclockid knows processes alone).
static int64_t worked_us(int64_t thread)
{
	struct timespec t;
	clockid_t clock = (clockid_t)((~(unsigned)thread << 3) | 6); // CPUCLOCK_SCHED of one thread

	if (clock_gettime(clock, &t) != 0)
		return 0;
	return (int64_t)t.tv_sec * 1000000 + t.tv_nsec / 1000;
}

// Whether a thread of this process waits in a system call; not for a page, since that may
// happen anywhere.
static bool is_waiting(int64_t thread)
{
	char path[64], text[128] = "";
	const char *after;
	FILE *file;

	snprintf(path, sizeof(path), "/proc/self/task/%lld/stat", (long long)thread);
	file = fopen(path, "re");
	if (!file)
		return false;
	after = fgets(text, sizeof(text), file) ? strrchr(text, ')') : NULL; // of the thread's name
	fclose(file);
	return after && strncmp(after, ") S", 3) == 0;
}

static void find_line(const struct pl_script_watch *watch, struct pl_sighting *sighting)
{
	lua_State *L = atomic_load_explicit(&watch->running, memory_order_relaxed);
	lua_Debug ar;

	for (int level = 0; level < LEVELS_MAX && lua_getstack(L, level, &ar); level++) {
		lua_getinfo(L, "Sl", &ar);
		if (ar.currentline <= 0)
			continue;
		snprintf(sighting->where, sizeof(sighting->where), "%s:%d", ar.short_src, ar.currentline);
		return;
	}
}

static int64_t at_least(int64_t us, int64_t other_us)
{
	return us > other_us ? us : other_us;
}

// One call at this look. True: there is something to report.
static bool look_at(struct pl_vm *vm, int64_t passed_us, struct pl_sighting *sighting)
{
	struct pl_script_watch *watch = &vm->watch;
	uint64_t calls = atomic_load_explicit(&watch->calls, memory_order_acquire);
	uint64_t looks = atomic_load_explicit(&watch->looks, memory_order_relaxed);
	bool same = calls == watch->seen_calls && calls % 2 == 1, quiet = looks == watch->seen_looks,
	     was_stuck = watch->stuck;
	int64_t worked =
		calls % 2 == 1 ? worked_us(atomic_load_explicit(&watch->thread, memory_order_relaxed)) : 0;
	int64_t did_us = at_least(0, worked - watch->worked_us);
	const struct pl_config *config = vm->config;

	*sighting = (struct pl_sighting){ .limit_us = vm->limits.wall_us, .lasted_us = watch->lasted_us };
	if (same)
		watch->lasted_us += quiet ? passed_us : did_us;
	else
		watch->lasted_us = 0;
	watch->seen_calls = calls;
	watch->seen_looks = looks;
	watch->worked_us = worked;
	watch->stuck = same &&
	               watch->lasted_us >= at_least(config->stuck_after_us, STUCK_TIMES * vm->limits.wall_us);
	sighting->script = atomic_load_explicit(&watch->place, memory_order_relaxed);
	if (!watch->stuck) {
		sighting->returned = true;
		return was_stuck;
	}
	sighting->began = !was_stuck;
	sighting->lasted_us = watch->lasted_us;
	sighting->fatal =
		config->abort_after_us > 0 &&
		watch->lasted_us >= at_least(config->abort_after_us, FATAL_TIMES * vm->limits.wall_us);
	if (quiet && (did_us >= passed_us / 2 ||
	              is_waiting(atomic_load_explicit(&watch->thread, memory_order_relaxed))))
		find_line(watch, sighting);
	return true;
}

void pl_watch_look(void (*fn)(const struct pl_sighting *sighting, void *arg), void *arg)
{
	int64_t now = pl_mono_us(), passed;
	struct pl_sighting sighting;

	pthread_mutex_lock(&lock);
	passed = looked_us ? now - looked_us : 0;
	looked_us = now;
	if (passed > 2 * PL_WATCH_PERIOD_US) // we were not running, and perhaps nothing else was
		passed = 2 * PL_WATCH_PERIOD_US;
	for (struct pl_vm *vm = first; vm; vm = vm->watch.next) {
		if (look_at(vm, passed, &sighting))
			fn(&sighting, arg);
	}
	pthread_mutex_unlock(&lock);
}
