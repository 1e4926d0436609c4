// The applier: its lanes, and what they say together.
//
// Stands between the daemon, which starts and stops it, and replicate/lane, where the work is done.
// Threads: one for each lane. These functions come from the main thread; stats and lag from any.
#include "replicate/apply.h"

#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/mem.h"
#include "replicate/consumer.h"
#include "replicate/lane.h"

struct pl_apply {
	struct pl_board *board;
	int n;
	struct pl_lane *lanes[PL_LANES_MAX];
};

struct pl_apply *pl_apply_start(const struct pl_config *config, const struct pl_region *region, struct pl_error *err)
{
	struct pl_apply *apply;

	if (pl_consumer_check(config, region, err) < 0)
		return NULL;
	apply = pl_calloc(1, sizeof *apply);
	apply->board = pl_board_new(config, region);
	while (apply->n < config->kafka.apply_connections && apply->n < PL_LANES_MAX) {
		apply->lanes[apply->n] = pl_lane_start(config, region, apply->n, apply->board, err);
		if (!apply->lanes[apply->n]) {
			pl_apply_stop(&apply);
			return NULL;
		}
		apply->n++;
	}
	return apply;
}

void pl_apply_reconfigure(struct pl_apply *apply, const struct pl_config *config, const struct pl_region *region)
{
	pl_board_regions(apply->board, config);
	for (int i = 0; i < apply->n; i++)
		pl_lane_reconfigure(apply->lanes[i], config, region);
}

void pl_apply_stop(struct pl_apply **at)
{
	struct pl_apply *apply = *at;

	if (!apply)
		return;
	for (int i = 0; i < apply->n; i++)
		pl_lane_ask_to_stop(apply->lanes[i]);
	for (int i = 0; i < apply->n; i++)
		pl_lane_stop(&apply->lanes[i]);
	pl_board_free(&apply->board);
	free(apply);
	*at = NULL;
}

void pl_apply_stats(struct pl_apply *apply, struct pl_apply_stats *stats_r)
{
	memset(stats_r, 0, sizeof *stats_r);
	stats_r->assigned = stats_r->database_up = stats_r->broker_up = apply->n > 0;
	for (int i = 0; i < apply->n; i++) {
		const struct pl_lane_stats *s = pl_lane_stats(apply->lanes[i]);

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
		stats_r->partitions += s->partitions;
		stats_r->assigned &= s->assigned;
		stats_r->database_up &= s->database_up;
		stats_r->broker_up &= s->broker_up;
	}
	if (apply->n > 0) {
		const struct pl_lane_stats *s = pl_lane_stats(apply->lanes[0]);

		stats_r->anew_pending = s->shown != s->given;
		stats_r->anew_total = s->anew_total;
		stats_r->anew_seen = s->anew_seen;
		stats_r->anew_changed = s->anew_changed;
	}
}

void pl_apply_lag(struct pl_apply *apply, struct pl_lag *lag_r)
{
	pl_board_read(apply->board, lag_r, pl_now_us());
}

int pl_apply_policies(struct pl_apply *apply, struct pl_arena *arena, struct pl_board_policies policies_r[PL_REGIONS_MAX])
{
	return pl_board_policies(apply->board, arena, policies_r);
}
