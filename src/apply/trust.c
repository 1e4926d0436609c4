// Plausibility checks of events: see trust.h.
#include "apply/trust.h"

#include <string.h>

#include "base/clock.h"
#include "record/edge.h"

static int check_time(struct pl_arena *arena, const struct pl_event *event, int64_t broker_time_us,
                      int64_t now_us, struct pl_error *err)
{
	int64_t limit_us = broker_time_us > 0 && broker_time_us < now_us
	                           ? broker_time_us
	                           // the producer may have set the broker's time
	                           : now_us;
	char at[PL_TIME_TEXT_MAX];

	(void)arena;
	if (event->write.updated_at_us <= limit_us + PL_AHEAD_US + PL_CLOCKS_DIFFER_US)
		return 0;
	return pl_error_set(err, PL_EINVAL, "updated_at, %s, is more than a day ahead of the broker's clock",
	                    pl_clock_format_time(event->write.updated_at_us, at));
}

int pl_trust_event(struct pl_arena *arena, const struct pl_config *config, const struct pl_event *event,
                   int64_t broker_time_us, int64_t now_us, struct pl_error *err)
{
	const char *fault;

	if (!pl_edge_name_known(config, event->write.dot.region))
		return pl_error_set(err, PL_EINVAL,
		                    "its origin %s is neither a region nor in retired_regions",
		                    event->write.dot.region);
	if (!event->foreign && (fault = pl_edge_vector_fault(arena, config, &event->write.vector)))
		return pl_error_set(err, PL_EINVAL, "%s", fault);
	return check_time(arena, event, broker_time_us, now_us, err);
}

const char *pl_trust_jump(struct pl_arena *arena, const struct pl_state *state, const struct pl_event *event)
{
	const struct pl_vector *vector = &event->write.vector;

	if (event->foreign) {
		if (event->version - (int64_t)state->version <= PL_JUMP_MAX)
			return NULL;
		return pl_arena_printf(arena, "its version %d is more than %d above this region's %d",
		                       event->version, PL_JUMP_MAX, state->version);
	}
	if (state->known && pl_vector_sum(vector) - state->version <= PL_JUMP_MAX &&
	    pl_vector_sum(vector) <= PL_JUMP_MAX)
		return NULL; // the usual case: no entry can exceed the sum
	for (int i = 0; i < vector->n; i++) {
		const char *region;
		int32_t counter = pl_vector_at(vector, i, &region),
			here = pl_vector_get(&state->vector, region);

		if (counter - here > PL_JUMP_MAX)
			return pl_arena_printf(
				arena,
				"its vector counts %d writes of region %s, more than %d beyond the %d that "
				"are known here",
				counter, region, PL_JUMP_MAX, here);
	}
	return NULL;
}
