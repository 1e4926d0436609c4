// See watchdog.h. script/watch finds stuck calls; this file acts on them: a log line, a
// reason for not being ready, a metric, and after lua.abort_after an abort, after which
// systemd restarts the daemon. A thread that hangs inside a library cannot be stopped in
// any other way.
//
// Since it wakes ten times a second, it also sees to it that memory is given back after a
// request that needed much: the C library would keep what lies between other blocks.
#include "ops/watchdog.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/log.h"
#include "base/mem.h"
#include "script/watch.h"

struct pl_watchdog {
	pthread_t thread;
	pthread_mutex_t lock;
	pthread_cond_t stop;
	bool stopping;
	struct pl_watchdog_stats stats, next; // `next` is being filled
};

static void describe(const struct pl_sighting *s, char *text, size_t size)
{
	snprintf(text, size, "%s has not returned from one call for %.1f s; its limit is %.3g s%s%s",
	         s->script, (double)s->lasted_us / 1e6, (double)s->limit_us / 1e6, s->where[0] ? ", at " : "",
	         s->where);
}

static void sighted(const struct pl_sighting *s, void *arg)
{
	struct pl_watchdog *watchdog = arg;
	struct pl_watchdog_stats *next = &watchdog->next;
	char text[PL_ERROR_TEXT_MAX];

	describe(s, text, sizeof(text));
	if (s->returned) {
		pl_notice("watchdog: %s: the call returned after %.1f s", s->script,
		          (double)s->lasted_us / 1e6);
		return;
	}
	if (s->fatal) {
		pl_err("watchdog: %s; aborting, because nothing else can end that call", text);
		abort();
	}
	if (s->began) {
		next->stuck++;
		pl_err("watchdog: %s; this daemon is not ready until the call returns", text);
	}
	if (next->now++ == 0)
		snprintf(next->why, sizeof(next->why), "%s", text);
}

static void look(struct pl_watchdog *watchdog)
{
	watchdog->next.now = 0;
	watchdog->next.why[0] = '\0';
	pl_watch_look(sighted, watchdog);
	pthread_mutex_lock(&watchdog->lock);
	watchdog->stats = watchdog->next;
	pthread_mutex_unlock(&watchdog->lock);
}

// Waits for one period. Returns false when it is time to stop.
static bool wait_for_next(struct pl_watchdog *watchdog)
{
	struct timespec until;
	bool go_on;

	clock_gettime(CLOCK_MONOTONIC, &until);
	until.tv_nsec += PL_WATCH_PERIOD_US * 1000L;
	until.tv_sec += until.tv_nsec / 1000000000L;
	until.tv_nsec %= 1000000000L;
	pthread_mutex_lock(&watchdog->lock);
	while (!watchdog->stopping &&
	       pthread_cond_timedwait(&watchdog->stop, &watchdog->lock, &until) != ETIMEDOUT)
		;
	go_on = !watchdog->stopping;
	pthread_mutex_unlock(&watchdog->lock);
	return go_on;
}

static void *run(void *arg)
{
	struct pl_watchdog *watchdog = arg;

	pl_log_set_thread("watchdog");
	while (wait_for_next(watchdog)) {
		look(watchdog);
		pl_mem_trim();
	}
	return NULL;
}

struct pl_watchdog *pl_watchdog_start(struct pl_error *err)
{
	struct pl_watchdog *watchdog = pl_calloc(1, sizeof(*watchdog));
	pthread_condattr_t attr;
	int rc;

	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&watchdog->stop, &attr);
	pthread_condattr_destroy(&attr);
	pthread_mutex_init(&watchdog->lock, NULL);
	rc = pthread_create(&watchdog->thread, NULL, run, watchdog);
	if (rc == 0)
		return watchdog;
	pl_error_set(err, PL_EINTERNAL, "watchdog: pthread_create: %s", strerror(rc));
	free(watchdog);
	return NULL;
}

void pl_watchdog_stop(struct pl_watchdog **watchdog_p)
{
	struct pl_watchdog *watchdog = *watchdog_p;

	*watchdog_p = NULL;
	if (!watchdog)
		return;
	pthread_mutex_lock(&watchdog->lock);
	watchdog->stopping = true;
	pthread_cond_signal(&watchdog->stop);
	pthread_mutex_unlock(&watchdog->lock);
	pthread_join(watchdog->thread, NULL);
	pthread_cond_destroy(&watchdog->stop);
	pthread_mutex_destroy(&watchdog->lock);
	free(watchdog);
}

void pl_watchdog_stats(struct pl_watchdog *watchdog, struct pl_watchdog_stats *stats_r)
{
	pthread_mutex_lock(&watchdog->lock);
	*stats_r = watchdog->stats;
	pthread_mutex_unlock(&watchdog->lock);
}
