// Applying: the appliers together.
//
// Between the daemon, which starts and stops it, and apply/applier, which does the work.
// Threads: one for each applier, and that of the claims. These functions are called by
// the main thread, statistics and lag by any.
#include "apply/apply.h"

#include <stdlib.h>
#include <string.h>

#include "apply/applier.h"
#include "base/clock.h"
#include "base/mem.h"
#include "kafka/consumer.h"

struct pl_apply {
	struct pl_lag_tracker *tracker;
	struct pl_claims *claims;
	int n;
	struct pl_applier *appliers[PL_APPLIERS_MAX];
};

struct pl_apply *pl_apply_start(const struct pl_config *config, const struct pl_region *region,
                                struct pl_error *err)
{
	int n = config->kafka.apply_connections < PL_APPLIERS_MAX ? config->kafka.apply_connections
	                                                          : PL_APPLIERS_MAX;
	struct pl_apply *apply;

	if (pl_consumer_check(config, region, err) < 0)
		return NULL;
	apply = pl_calloc(1, sizeof(*apply));
	apply->tracker = pl_lag_tracker_new(config, region);
	apply->claims = pl_claims_start(config, region, n, err);
	if (!apply->claims) {
		pl_apply_stop(&apply);
		return NULL;
	}
	while (apply->n < n) {
		apply->appliers[apply->n] =
			pl_applier_start(config, region, apply->n, apply->tracker, apply->claims, err);
		if (!apply->appliers[apply->n]) {
			pl_apply_stop(&apply);
			return NULL;
		}
		apply->n++;
	}
	return apply;
}

void pl_apply_reconfigure(struct pl_apply *apply, const struct pl_config *config,
                          const struct pl_region *region)
{
	pl_lag_tracker_regions(apply->tracker, config);
	pl_claims_reconfigure(apply->claims, config, region);
	for (int i = 0; i < apply->n; i++)
		pl_applier_reconfigure(apply->appliers[i], config, region);
}

void pl_apply_set_beat_soon(struct pl_apply *apply, atomic_bool *beat_soon)
{
	pl_applier_set_beat_soon(apply->appliers[0], beat_soon); // it hears the heartbeats
}

void pl_apply_set_mail(struct pl_apply *apply, struct pl_audit_mail *mail)
{
	pl_applier_set_mail(apply->appliers[0], mail); // it hears the heartbeats
}

void pl_apply_stop(struct pl_apply **apply_p)
{
	struct pl_apply *apply = *apply_p;

	if (!apply)
		return;
	for (int i = 0; i < apply->n; i++)
		pl_applier_ask_to_stop(apply->appliers[i]);
	for (int i = 0; i < apply->n; i++)
		pl_applier_stop(&apply->appliers[i]);
	pl_claims_stop(&apply->claims);
	pl_lag_tracker_free(&apply->tracker);
	free(apply);
	*apply_p = NULL;
}

void pl_apply_relay(struct pl_apply *apply, const _Atomic int *process)
{
	pl_claims_relay(apply->claims, process);
}

// Reports the applier that has failed for longest.
static void add_trouble(struct pl_applier *applier, struct pl_apply_stats *stats)
{
	const struct pl_applier_stats *s = pl_applier_stats(applier);
	int64_t since_us = s->failing_since_us, failing_us = since_us ? pl_mono_us() - since_us : 0;

	if ((!s->assigned && !stats->trouble[0]) || failing_us > stats->failing_us)
		pl_applier_trouble(applier, stats->trouble);
	if (failing_us > stats->failing_us)
		stats->failing_us = failing_us;
	since_us = s->blind_since_us;
	if (since_us && pl_mono_us() - since_us > stats->blind_us)
		stats->blind_us = pl_mono_us() - since_us;
}

void pl_apply_stats(struct pl_apply *apply, struct pl_apply_stats *stats_r)
{
	memset(stats_r, 0, sizeof(*stats_r));
	stats_r->assigned = stats_r->database_up = stats_r->broker_up = apply->n > 0;
	for (int i = 0; i < apply->n; i++) {
		const struct pl_applier_stats *s = pl_applier_stats(apply->appliers[i]);

		stats_r->applied += s->applied;
		stats_r->stale += s->stale;
		stats_r->own += s->own;
		stats_r->conflicts += s->conflicts;
		stats_r->twins += s->twins;
		stats_r->policy_errors += s->policy_errors;
		stats_r->foreign += s->foreign;
		stats_r->dead_letters += s->dead_letters;
		stats_r->batches += s->batches;
		stats_r->retries += s->retries;
		stats_r->shadow_same += s->shadow_same;
		stats_r->shadow_different += s->shadow_different;
		stats_r->shadow_failed += s->shadow_failed;
		stats_r->parked_total += s->parked_total;
		stats_r->not_ours += s->not_ours;
		stats_r->heartbeats_refused += s->heartbeats_refused;
		stats_r->returned += s->returned;
		stats_r->partitions += s->partitions;
		stats_r->leaderless += s->leaderless;
		stats_r->commits_refused |= s->commits_refused;
		stats_r->policies_missing |= s->policies_missing;
		stats_r->consumers_replaced += s->consumers_replaced;
		stats_r->gaps_total += s->gaps_total;
		add_trouble(apply->appliers[i], stats_r);
		stats_r->assigned &= s->assigned;
		stats_r->database_up &= s->database_up;
		stats_r->broker_up &= s->broker_up;
	}
	if (!stats_r->assigned && !stats_r->trouble[0])
		pl_claims_trouble(apply->claims, stats_r->trouble);
	if (apply->n > 0) {
		const struct pl_applier_stats *s = pl_applier_stats(apply->appliers[0]);

		stats_r->hears = s->hears;
		stats_r->parked = s->parked;
		stats_r->dead = s->dead;
		stats_r->left_twice = s->left_twice;
		stats_r->reresolve_pending = s->reresolved != s->given;
		stats_r->reresolve_total = s->reresolve_total;
		stats_r->reresolve_seen = s->reresolve_seen;
		stats_r->reresolve_changed = s->reresolve_changed;
		stats_r->reresolve_left = s->reresolve_left;
	}
}

void pl_apply_lag(struct pl_apply *apply, struct pl_lag *lag_r)
{
	pl_lag_tracker_read(apply->tracker, lag_r, pl_now_us());
}

int pl_apply_policies(struct pl_apply *apply, struct pl_arena *arena,
                      struct pl_lag_tracker_policies policies_r[PL_REGIONS_MAX])
{
	return pl_lag_tracker_policies(apply->tracker, arena, policies_r);
}
