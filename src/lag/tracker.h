// The tracker: the applier records its progress here, and any thread can read the lag
// from it at any time.
//
// Threads: any; one short lock inside.
#pragma once

#include "event/heartbeat.h"
#include "lag/lag.h"

#define PL_APPLIERS_MAX 64

struct pl_lag_tracker;

// An origin without heartbeats for as long is silent, in microseconds.
int64_t pl_lag_tracker_silent_us(const struct pl_config *config);
struct pl_lag_tracker *pl_lag_tracker_new(const struct pl_config *config, const struct pl_region *region);
void pl_lag_tracker_free(struct pl_lag_tracker **tracker_p);
// After a reload: regions that are no longer configured are no longer waited for.
void pl_lag_tracker_regions(struct pl_lag_tracker *tracker, const struct pl_config *config);

// All times are pl_now_us.

// An applier (one consumer) has exactly these partitions from now on. `next` < 0:
// unknown yet.
struct pl_lag_tracker_partition {
	const char *topic;
	int32_t partition;
	int64_t next, end;
	int buffer;
	int64_t unread_since_us; // since when it can neither be read nor asked for its end; 0: it can
};
// Those that cannot be read come last.
void pl_lag_tracker_assign(struct pl_lag_tracker *tracker, int applier,
                           const struct pl_lag_tracker_partition *partitions, int n);
// The present state of the applier's partitions: position, end, and how many messages
// it holds that are not applied. In the order of pl_lag_tracker_assign, without those
// that cannot be read.
void pl_lag_tracker_progress(struct pl_lag_tracker *tracker, int applier,
                             const struct pl_lag_tracker_partition *partitions, int n, int64_t now_us);
// The events that the applier holds and has not applied: for each origin, their number
// and the time of the oldest. n = 0: none.
struct pl_lag_tracker_held {
	char region[PL_REGION_MAX + 1];
	int64_t events, oldest_us;
};
void pl_lag_tracker_holds(struct pl_lag_tracker *tracker, int applier,
                          const struct pl_lag_tracker_held *buffer, int n);
void pl_lag_tracker_applied(struct pl_lag_tracker *tracker, const char *origin, int64_t event_us);
void pl_lag_tracker_heartbeat(struct pl_lag_tracker *tracker, const struct pl_heartbeat *heartbeat,
                              int64_t now_us);
// What the regions report to have published. The caller frees the sequences.
struct pl_lag_tracker_published {
	char region[PL_REGION_MAX + 1];
	struct pl_sequences published;
};
int pl_lag_tracker_published(struct pl_lag_tracker *tracker,
                             struct pl_lag_tracker_published published_r[PL_REGIONS_MAX]);
// The number of an applier's partitions in which the origin's events are missing.
void pl_lag_tracker_gaps(struct pl_lag_tracker *tracker, int applier, const char *origin, int partitions,
                         int64_t now_us);
// When the last heartbeat of an origin arrived before this daemon started, according to
// the database.
void pl_lag_tracker_heard_before(struct pl_lag_tracker *tracker, const char *origin, int64_t heard_us);
// The policies of the regions according to their last heartbeats: JSON objects, copied
// into `arena`. Regions without a heartbeat are left out.
struct pl_lag_tracker_policies {
	const char *region, *policies;
};
int pl_lag_tracker_policies(struct pl_lag_tracker *tracker, struct pl_arena *arena,
                            struct pl_lag_tracker_policies policies_r[PL_REGIONS_MAX]);
// The broker answered; or it is known to be unavailable.
void pl_lag_tracker_contact(struct pl_lag_tracker *tracker, bool up, int64_t now_us);

void pl_lag_tracker_read(struct pl_lag_tracker *tracker, struct pl_lag *lag_r, int64_t now_us);
