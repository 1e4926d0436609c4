// See watch.h. A policy that is being checked may hang where no limit of its call can
// stop it (script/watch.h). The question is whether it may go live, and not returning
// is an answer.
#include "admin/watch.h"

#include <pthread.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>

#include "admin/command.h"
#include "admin/messages.h"
#include "script/watch.h"

static struct {
	void (*fn)(const char *text, void *arg);
	void *arg;
} say;

static void sighted(const struct pl_sighting *s, void *arg)
{
	char text[400];

	if (s->returned)
		return;
	snprintf(text, sizeof(text),
	         "%s exceeded its budget: a call has not returned for %.1f s; its limit is %.3g s%s%s",
	         s->script, (double)s->lasted_us / 1e6, (double)s->limit_us / 1e6, s->where[0] ? ", at " : "",
	         s->where);
	if (say.fn)
		say.fn(text, say.arg);
	else
		pl_fail("%s; the command stops here", text);
	fflush(stdout);
	fflush(stderr);
	_exit(PL_EXIT_NO); // the thread that hangs cannot be joined
}

static void *run(void *arg)
{
	for (;;) {
		nanosleep(&(struct timespec){ .tv_nsec = PL_WATCH_PERIOD_US * 1000L }, NULL);
		pl_watch_look(sighted, NULL);
	}
	return NULL;
}

void pl_admin_watch_start(void)
{
	pthread_t thread;

	if (pthread_create(&thread, NULL, run, NULL) == 0)
		pthread_detach(thread);
}

void pl_admin_watch_say(void (*fn)(const char *text, void *arg), void *arg)
{
	say.fn = fn;
	say.arg = arg;
}
