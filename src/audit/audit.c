// The audit thread: see audit.h.
#include "audit/audit.h"

#include "audit/audit_private.h"

#define TURN_US    SECOND
#define RESULTS_US (5 * SECOND) // the region's other daemons read the results, too
#define RECHECK_US (30 * SECOND)

static void configure(void *arg, struct pl_session *session, const struct pl_config *config,
                      const struct pl_region *region)
{
	struct pl_audit *audit = arg;

	audit->session = session;
	audit->config = config;
	audit->region = region;
	audit->results_at_us = 0;
}

static const struct pl_region *region_named(const struct pl_audit *audit, const char *name)
{
	return pl_config_region(audit->config, name, strlen(name));
}

// Runs a round, or another look, with each of these regions.
static int with_each(struct pl_audit *audit, PGresult *regions,
                     int (*what)(struct pl_audit *audit, const char *with, struct pl_error *err),
                     struct pl_error *err)
{
	int code = regions ? 0 : err->code;

	for (int i = 0; regions && i < PQntuples(regions) && code == 0; i++) {
		const struct pl_region *with = region_named(audit, PQgetvalue(regions, i, 0));

		if (with && with != audit->region)
			code = what(audit, with->name, err);
	}
	PQclear(regions);
	return code;
}

static int64_t recheck_us(const struct pl_audit *audit)
{
	int64_t every_us = audit->config->audit.every_us;

	return every_us > 0 && every_us < RECHECK_US ? every_us : RECHECK_US;
}

static int audit_others(struct pl_audit *audit, struct pl_error *err)
{
	int code = with_each(audit, pl_audit_results_due(audit, err), pl_audit_round, err);

	if (code < 0 || pl_mono_us() < audit->recheck_at_us)
		return code;
	code = with_each(audit, pl_audit_results_differing(audit, err), pl_audit_recheck, err);
	audit->recheck_at_us = pl_mono_us() + recheck_us(audit);
	return code;
}

static int look_at_results(struct pl_audit *audit, struct pl_error *err)
{
	int code = 0;

	if (pl_mono_us() < audit->results_at_us)
		return 0;
	audit->results_at_us = pl_mono_us() + RESULTS_US;
	if (audit->options.leads(audit->options.arg))
		code = pl_audit_results_keep(audit, err);
	return code < 0 ? code : pl_audit_results_load(audit, err);
}

// A region without others has nothing to differ from.
static void compare_nothing(struct pl_audit *audit)
{
	pl_audit_mail_open(audit->options.mail, false);
	pl_session_drop(audit->session);
	pthread_mutex_lock(&audit->lock);
	audit->stats.differing = audit->stats.last_success_us = 0;
	pthread_mutex_unlock(&audit->lock);
}

static int compare_others(struct pl_audit *audit, struct pl_error *err)
{
	bool leads = audit->options.leads(audit->options.arg), fresh;
	int code;

	pl_audit_mail_open(audit->options.mail, leads);
	if ((code = pl_background_connect(audit->background, &fresh, err)) < 0 ||
	    (code = look_at_results(audit, err)) < 0 || !leads)
		return code;
	if (audit->options.whole(audit->options.arg) && (code = audit_others(audit, err)) < 0)
		return code;
	return pl_audit_wait(audit, pl_mono_us() + TURN_US, err);
}

static int turn(void *arg, int64_t *wait_us_r, struct pl_error *err)
{
	struct pl_audit *audit = arg;
	int code = 0;

	if (audit->config->nregions < 2)
		compare_nothing(audit);
	else
		code = compare_others(audit, err);
	if (audit->config->nregions < 2 || code == INCOMPLETE || !audit->options.leads(audit->options.arg))
		*wait_us_r = TURN_US;
	return code == INCOMPLETE ? 0 : code;
}

static void ended(void *arg)
{
	struct pl_audit *audit = arg;

	pl_audit_mail_open(audit->options.mail, false);
}

// ---- for the daemon

// Text is hashed instead of values if the servers' versions differ, so all sessions
// must print times and numbers alike.
static const char *const setup[] = { "SET datestyle = ISO", "SET timezone = UTC", "SET jit = off",
	                             "SET plan_cache_mode = force_custom_plan", NULL };

struct pl_audit *pl_audit_start(const struct pl_audit_options *options, struct pl_error *err)
{
	struct pl_audit *audit = pl_calloc(1, sizeof(*audit));

	audit->options = *options;
	audit->answering = pl_arena_new(0);
	audit->answered = pl_arena_new(0);
	pthread_mutex_init(&audit->lock, NULL);
	audit->background = pl_background_new(&(struct pl_background_options){
		.name = "audit",
		.config = options->config,
		.region = options->region,
		.setup = setup,
		.least_us = SECOND / 4,
		.most_us = 5 * SECOND,
		.configure = configure,
		.turn = turn,
		.ended = ended,
		.arg = audit,
	});
	if (pl_background_start(audit->background, err) < 0)
		pl_audit_stop(&audit);
	return audit;
}

void pl_audit_reconfigure(struct pl_audit *audit, const struct pl_config *config,
                          const struct pl_region *region)
{
	pl_background_reconfigure(audit->background, config, region);
}

void pl_audit_stop(struct pl_audit **audit_p)
{
	struct pl_audit *audit = *audit_p;

	if (!audit)
		return;
	*audit_p = NULL;
	pl_background_free(&audit->background);
	pl_arena_free(&audit->answering);
	pl_arena_free(&audit->answered);
	pl_buf_fini(&audit->in);
	pthread_mutex_destroy(&audit->lock);
	free(audit);
}

void pl_audit_stats(struct pl_audit *audit, struct pl_audit_stats *stats_r)
{
	pthread_mutex_lock(&audit->lock);
	*stats_r = audit->stats;
	pthread_mutex_unlock(&audit->lock);
	stats_r->failures = pl_background_failures(audit->background);
	stats_r->failing_us = pl_background_failing_us(audit->background);
}
