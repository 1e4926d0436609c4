// lag/tracker: what heartbeats say about the clocks of other regions.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/clock.h"
#include "lag/tracker.h"

#define SECOND INT64_C(1000000)

static struct pl_region regions[] = { { .name = "us" }, { .name = "eu" } };
static struct pl_config config = { .max_clock_skew_us = SECOND / 2,
	                           .kafka = { .heartbeat_us = SECOND },
	                           .nregions = 2,
	                           .regions = regions };

// How us judges the clock of eu after ten heartbeats, each 5 ms on its way. `ahead_us`:
// of eu's clock.
static struct pl_lag_origin after_heartbeats(int64_t ahead_us)
{
	struct pl_lag_tracker *tracker = pl_lag_tracker_new(&config, &regions[0]);
	struct pl_heartbeat heartbeat = { .region = "eu", .policies = "{}" };
	struct pl_lag *lag = calloc(1, sizeof(*lag));
	struct pl_lag_origin eu;
	int64_t now_us = pl_now_us();

	for (int i = 0; i < 10; i++) {
		now_us += SECOND;
		heartbeat.sent_at_us = now_us + ahead_us - 5000;
		pl_lag_tracker_heartbeat(tracker, &heartbeat, now_us);
	}
	pl_lag_tracker_read(tracker, lag, now_us);
	assert_int_equal(lag->norigins, 1);
	eu = lag->origins[0];
	free(lag);
	pl_lag_tracker_free(&tracker);
	assert_true(eu.skew_known);
	return eu;
}

static void a_clock_that_differs_by_more_than_is_allowed_is_a_fault_in_either_direction(void **state)
{
	(void)state;
	assert_false(after_heartbeats(0).skew_excessive);
	assert_false(after_heartbeats(SECOND / 2 - 10000).skew_excessive);
	assert_false(after_heartbeats(-SECOND / 2 + 10000).skew_excessive);
	assert_true(after_heartbeats(SECOND / 2 + 10000).skew_excessive);
	assert_true(after_heartbeats(-SECOND / 2 - 10000).skew_excessive);
}

static void a_clock_that_was_not_looked_at_for_long_enough_is_not_a_fault(void **state)
{
	struct pl_lag_tracker *tracker = pl_lag_tracker_new(&config, &regions[0]);
	struct pl_lag *lag = calloc(1, sizeof(*lag));

	(void)state;
	pl_lag_tracker_read(tracker, lag, pl_now_us());
	assert_false(lag->origins[0].skew_known || lag->origins[0].skew_excessive);
	free(lag);
	pl_lag_tracker_free(&tracker);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_clock_that_differs_by_more_than_is_allowed_is_a_fault_in_either_direction),
		cmocka_unit_test(a_clock_that_was_not_looked_at_for_long_enough_is_not_a_fault),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
