// See background.h.
#include "db/background.h"

#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/backoff.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/wake.h"
#include "db/owner.h"

#define SECOND            INT64_C(1000000)
#define STATEMENT         (60 * SECOND) // a turn may read a whole table, or many ranges of one
#define LOG_EVERY         (10 * SECOND)
#define UNREACHABLE_EVERY (60 * SECOND) // what serves clients says it, too
#define LONGEST_US        (3600 * SECOND)
#define UNACCEPTED_US     (SECOND / 4)

struct pl_background {
	struct pl_background_options options;
	pthread_t thread;
	bool running;
	struct pl_wake *stop, *changed;
	_Atomic uint64_t failures;
	_Atomic int64_t failing_since_us; // pl_mono_us; 0: the last turn did not fail
	pthread_mutex_t lock;             // guards `next_config` and `next_region`
	struct pl_config *next_config;
	const struct pl_region *next_region;

	// Used by the thread only.
	struct pl_config *config;
	const struct pl_region *region;
	struct pl_session *session;
	bool accepted, refused; // the session's database, since it was connected, and as of the last look
	struct pl_log_limit limit;
};

struct pl_background *pl_background_new(const struct pl_background_options *options)
{
	struct pl_background *background = pl_calloc(1, sizeof(*background));

	background->options = *options;
	background->stop = pl_wake_new();
	background->changed = pl_wake_new();
	pthread_mutex_init(&background->lock, NULL);
	background->next_config = pl_config_ref(options->config);
	background->next_region = options->region;
	return background;
}

// ---- the configuration

static bool same_text(const char *a, const char *b)
{
	return a == b || (a && b && strcmp(a, b) == 0);
}

static bool same_session(const struct pl_background *background, const struct pl_config *config,
                         const struct pl_region *region)
{
	const struct pl_config *old = background->config;

	return old && same_text(background->region->database, region->database) &&
	       same_text(background->region->database_file, region->database_file) &&
	       old->database.connect_timeout_us == config->database.connect_timeout_us &&
	       old->database.lock_timeout_us == config->database.lock_timeout_us;
}

static struct pl_session *session_of(const struct pl_background *background, const struct pl_config *config,
                                     const struct pl_region *region)
{
	char name[64];

	snprintf(name, sizeof(name), "plistd %s %s", region->name, background->options.name);
	return pl_session_new(&(struct pl_session_options){
		.dsn = region->database,
		.dsn_file = region->database_file,
		.application_name = name,
		.connect_timeout_us = config->database.connect_timeout_us,
		.statement_timeout_us = STATEMENT,
		.lock_timeout_us = config->database.lock_timeout_us,
		.stop_fd = pl_wake_fd(background->stop),
		.setup = background->options.setup,
	});
}

static void take_configuration(struct pl_background *background)
{
	struct pl_config *config, *old = background->config;
	const struct pl_region *region;

	pthread_mutex_lock(&background->lock);
	config = background->next_config;
	region = background->next_region;
	background->next_config = NULL;
	pthread_mutex_unlock(&background->lock);
	if (!config)
		return;
	if (!same_session(background, config, region)) {
		pl_session_free(&background->session);
		background->session = session_of(background, config, region);
	}
	background->config = config;
	background->region = region;
	background->options.configure(background->options.arg, background->session, config, region);
	pl_config_unref(&old);
}

void pl_background_reconfigure(struct pl_background *background, const struct pl_config *config,
                               const struct pl_region *region)
{
	pthread_mutex_lock(&background->lock);
	pl_config_unref(&background->next_config);
	background->next_config = pl_config_ref(config);
	background->next_region = region;
	pthread_mutex_unlock(&background->lock);
	pl_wake_ring(background->changed);
}

bool pl_background_outdated(struct pl_background *background)
{
	bool is;

	pthread_mutex_lock(&background->lock);
	is = background->next_config != NULL;
	pthread_mutex_unlock(&background->lock);
	return is;
}

uint64_t pl_background_failures(struct pl_background *background)
{
	return atomic_load_explicit(&background->failures, memory_order_relaxed);
}

int64_t pl_background_failing_us(struct pl_background *background)
{
	int64_t since_us = atomic_load_explicit(&background->failing_since_us, memory_order_relaxed);

	return since_us ? pl_mono_us() - since_us : 0;
}

// ---- the thread

int pl_background_connect(struct pl_background *background, bool *new_r, struct pl_error *err)
{
	int code = 0;

	*new_r = !pl_session_stands(background->session);
	background->refused = false;
	if (*new_r) {
		code = pl_session_connect(background->session, err);
		background->accepted = background->options.any_owner;
	}
	if (code < 0 || background->accepted)
		return code;
	code = pl_owner_check(background->session, background->region->name, err);
	*new_r = background->accepted = code == 0;
	background->refused = code == PL_EBUSY;
	return code;
}

int pl_background_stop_fd(const struct pl_background *background)
{
	return pl_wake_fd(background->stop);
}

// Returns false if it is time to stop.
static bool wait_for_turn(struct pl_background *background, int64_t us)
{
	struct pollfd p[2] = { { .fd = pl_wake_fd(background->stop), .events = POLLIN },
		               { .fd = pl_wake_fd(background->changed), .events = POLLIN } };

	if (us > LONGEST_US)
		us = LONGEST_US;
	poll(p, 2, us < 0 ? -1 : (int)((us + 999) / 1000));
	if (p[1].revents)
		pl_wake_drain(background->changed);
	return p[0].revents == 0;
}

static void note_failing(struct pl_background *background, bool fails)
{
	int64_t since_us = atomic_load_explicit(&background->failing_since_us, memory_order_relaxed);

	if (!fails || since_us == 0)
		atomic_store_explicit(&background->failing_since_us, fails ? pl_mono_us() : 0,
		                      memory_order_relaxed);
}

// A database that cannot be reached is not reported here, but by the threads that need
// it to answer clients.
static void failed(struct pl_background *background, const struct pl_error *err)
{
	struct pl_session *session = background->session;

	if (!pl_db_error_read_only(err) &&
	    pl_log_limit_ok(&background->limit,
	                    pl_session_connected(session) ? LOG_EVERY : UNREACHABLE_EVERY))
		pl_warning("%s: %s; trying again", background->options.name, err->text);
	note_failing(background, !pl_db_error_read_only(err) && pl_session_connected(session));
	atomic_fetch_add(&background->failures, 1);
	if (background->options.failed)
		background->options.failed(background->options.arg);
	if (pl_db_error_stale(err))
		pl_session_drop(session);
}

static void *run(void *arg)
{
	struct pl_background *background = arg;
	const struct pl_background_options *options = &background->options;
	struct pl_backoff backoff = { .min_us = options->least_us, .max_us = options->most_us };
	int64_t wait_us = 0;

	pl_log_set_thread(options->name);
	while (wait_for_turn(background, wait_us)) {
		struct pl_error err = { 0 };
		int code;

		take_configuration(background);
		wait_us = 0;
		code = options->turn(options->arg, &wait_us, &err);
		if (code == PL_ESTOPPED)
			break;
		if (code == 0) {
			pl_backoff_reset(&backoff);
			note_failing(background, false);
			continue;
		}
		if (code == PL_EBUSY && background->refused) {
			wait_us = UNACCEPTED_US;
			continue;
		}
		failed(background, &err);
		wait_us = pl_backoff_next(&backoff);
	}
	if (options->ended)
		options->ended(options->arg);
	pl_session_free(&background->session);
	return NULL;
}

int pl_background_start(struct pl_background *background, struct pl_error *err)
{
	int rc = pthread_create(&background->thread, NULL, run, background);

	background->running = rc == 0;
	return rc == 0 ? 0
	               : pl_error_set(err, PL_EINTERNAL, "%s: pthread_create: %s", background->options.name,
	                              strerror(rc));
}

void pl_background_free(struct pl_background **background_p)
{
	struct pl_background *background = *background_p;

	if (!background)
		return;
	if (background->running) {
		pl_wake_ring(background->stop);
		pthread_join(background->thread, NULL);
	}
	*background_p = NULL; // a turn may have used it until now
	pl_session_free(&background->session);
	pl_wake_free(&background->stop);
	pl_wake_free(&background->changed);
	pl_config_unref(&background->next_config);
	pl_config_unref(&background->config);
	pthread_mutex_destroy(&background->lock);
	free(background);
}
