// The healing thread: when it looks, and what happens when the database is unavailable.
//
// Called by ops/daemon. Settling (heal_settle.c) comes first, and again after each new
// session, since the server may have been replaced in between. A database that cannot
// be reached does not change the gate: writes notice that by themselves. Threads: its
// own.
#include "heal/heal.h"

#include "heal/heal_private.h"

#include <stdio.h>

#define LOOK_US    SECOND        // between two looks at a region that is whole
#define AGAIN_US   (SECOND / 10) // at a region that is not whole
#define OFFLINE_US (60 * SECOND) // a region that hears no other for this long stops waiting

static void configure(void *arg, struct pl_session *session, const struct pl_config *config,
                      const struct pl_region *region)
{
	struct pl_heal *heal = arg;

	heal->session = session;
	heal->config = config;
	heal->region = region;
	heal->tables_at_us = 0;
	heal->republishing = false; // it uses a resource of the former configuration; resumed later
}

static void note_waiting(struct pl_heal *heal)
{
	int64_t now_us = pl_mono_us();

	if (heal->options.hears(heal->options.arg)) {
		if (heal->heard_us == 0)
			heal->heard_us = now_us;
		heal->waited_us = now_us - heal->heard_us;
	} else {
		heal->heard_us = 0;
		heal->waited_us = now_us - heal->began_us > OFFLINE_US ? now_us - heal->began_us : 0;
	}
}

// A table that stays locked delays only this look. True: the turn continues.
static bool report_tables(struct pl_heal *heal, const struct pl_error *err)
{
	if (err->code == PL_ESTOPPED || !pl_session_connected(heal->session) || pl_db_error_stale(err))
		return false;
	if (pl_log_limit_ok(&heal->limit, 10 * SECOND))
		pl_warning("heal: %s; trying again", err->text);
	return true;
}

static int look(struct pl_heal *heal, bool *busy_r, struct pl_error *err)
{
	bool fresh;
	int code;

	if ((code = pl_background_connect(heal->background, &fresh, err)) < 0)
		return code;
	if (fresh)
		heal->settle_at_us = heal->tables_at_us = 0;
	if (pl_mono_us() >= heal->tables_at_us) {
		code = pl_heal_look_at_tables(heal, err);
		heal->tables_at_us = pl_mono_us() + LOOK_US;
		if (code < 0 && !report_tables(heal, err))
			return code;
	}
	note_waiting(heal);
	if (pl_mono_us() >= heal->settle_at_us) {
		if ((code = pl_heal_look_at_rows(heal, err)) < 0 || heal->missing_since_us > 0)
			return code;
		if ((code = pl_heal_settle(heal, err)) < 0)
			return code;
		heal->settle_at_us = pl_mono_us() + (heal->was_settled ? LOOK_US : AGAIN_US);
	}
	if (heal->stats.rebuilding && (code = pl_heal_rebuild(heal, err)) < 0)
		return code;
	if (!heal->was_settled && !heal->stats.rebuilding)
		return 0;
	code = pl_heal_serve(heal, busy_r, err);
	return code < 0 ? code : pl_heal_ask(heal, err);
}

static void first_look_taken(struct pl_heal *heal)
{
	pthread_mutex_lock(&heal->lock);
	heal->first_look = true;
	pthread_cond_signal(&heal->looked);
	pthread_mutex_unlock(&heal->lock);
}

static int turn(void *arg, int64_t *wait_us_r, struct pl_error *err)
{
	struct pl_heal *heal = arg;
	bool busy = false;
	int code = look(heal, &busy, err);

	first_look_taken(heal);
	*wait_us_r = busy ? 0 : AGAIN_US;
	return code;
}

static void failed(void *arg)
{
	struct pl_heal *heal = arg;

	heal->republishing = false;
}

static void wait_for_first_look(struct pl_heal *heal)
{
	struct timespec until;

	clock_gettime(CLOCK_REALTIME, &until);
	until.tv_sec++;
	pthread_mutex_lock(&heal->lock);
	while (!heal->first_look && pthread_cond_timedwait(&heal->looked, &heal->lock, &until) == 0)
		;
	pthread_mutex_unlock(&heal->lock);
}

struct pl_heal *pl_heal_start(const struct pl_heal_options *options, struct pl_error *err)
{
	struct pl_heal *heal = pl_calloc(1, sizeof(*heal));

	heal->options = *options;
	heal->began_us = pl_mono_us();
	pthread_mutex_init(&heal->lock, NULL);
	pthread_cond_init(&heal->looked, NULL);
	heal->background = pl_background_new(&(struct pl_background_options){
		.name = "heal",
		.config = options->config,
		.region = options->region,
		.least_us = SECOND / 20,
		.most_us = SECOND / 2,
		.any_owner = true,
		.configure = configure,
		.turn = turn,
		.failed = failed,
		.arg = heal,
	});
	if (pl_background_start(heal->background, err) < 0)
		pl_heal_stop(&heal);
	else
		wait_for_first_look(heal);
	return heal;
}

void pl_heal_reconfigure(struct pl_heal *heal, const struct pl_config *config, const struct pl_region *region)
{
	pl_background_reconfigure(heal->background, config, region);
}

void pl_heal_stop(struct pl_heal **heal_p)
{
	struct pl_heal *heal = *heal_p;

	if (!heal)
		return;
	*heal_p = NULL;
	pl_background_free(&heal->background);
	pl_republish_fini(&heal->republish);
	pthread_cond_destroy(&heal->looked);
	pthread_mutex_destroy(&heal->lock);
	free(heal);
}

enum pl_heal_gate pl_heal_gate(const struct pl_heal *heal)
{
	return heal ? (enum pl_heal_gate)atomic_load_explicit(&heal->gate, memory_order_relaxed)
	            : PL_HEAL_OPEN;
}

enum pl_heal_gate pl_heal_reason(struct pl_heal *heal, char reason_r[PL_ERROR_TEXT_MAX])
{
	enum pl_heal_gate gate;

	pthread_mutex_lock(&heal->lock);
	gate = pl_heal_gate(heal);
	snprintf(reason_r, PL_ERROR_TEXT_MAX, "%s", gate == PL_HEAL_OPEN ? "" : heal->reason);
	pthread_mutex_unlock(&heal->lock);
	return gate;
}

void pl_heal_stats(struct pl_heal *heal, struct pl_heal_stats *stats_r)
{
	pthread_mutex_lock(&heal->lock);
	*stats_r = heal->stats;
	pthread_mutex_unlock(&heal->lock);
	stats_r->failing_us = pl_background_failing_us(heal->background);
}
