// Lag: how far this region is behind the others. Snapshot data, and its JSON for GET
// /:region/replication-lag.
#pragma once

#include "base/buf.h"
#include "config/config.h"

#define PL_LAG_PARTITIONS_MAX 256

// `topic` lives as long as the applier that was asked.
struct pl_lag_partition {
	const char *topic;
	int32_t partition;
	int64_t committed, end;
	double seconds;
};

enum pl_lag_origin_state {
	PL_LAG_ORIGIN_OK,
	PL_LAG_ORIGIN_BEHIND,     // an event has been waiting for more than a second
	PL_LAG_ORIGIN_UNKNOWN,    // the daemon has just started and had no heartbeat from it yet
	PL_LAG_ORIGIN_REBUILDING, // the origin is fetching its own records from the others
	PL_LAG_ORIGIN_SILENT,     // no heartbeat for three times their interval
	PL_LAG_ORIGIN_GAP,        // events that it has published are missing here
};
const char *pl_lag_origin_state_name(enum pl_lag_origin_state state);

struct pl_lag_origin {
	char region[PL_REGION_MAX + 1];
	enum pl_lag_origin_state state;
	// Age of its oldest event that is known and not applied; for a silent origin or
	// one with a gap, since when. 0: none; < 0: unknown.
	double seconds;
	int gaps; // partitions in which events are missing
	bool skew_known;
	bool skew_excessive;                      // more than max_clock_skew
	double skew_seconds;                      // how far its clock is ahead of this region's
	int64_t events_behind;                    // in Kafka and not applied here, plus those in its outbox
	int64_t outbox_events;                    // as its heartbeat says
	int64_t last_event_us, last_heartbeat_us; // pl_now_us; 0 = never
};

struct pl_lag {
	double seconds; // the largest of all reasons; < 0: unknown
	int64_t events_behind;
	// while the broker is unavailable, seconds counts from the last contact: new
	// events cannot be ruled out
	bool broker_up;
	int64_t last_contact_us;
	int norigins;
	struct pl_lag_origin origins[PL_REGIONS_MAX];
	int npartitions;
	struct pl_lag_partition partitions[PL_LAG_PARTITIONS_MAX];
};

// {"lag_seconds":1.25,"events_behind":n,"origins":{"eu":{…}},…}
void pl_lag_print(struct pl_buf *buf, const struct pl_lag *lag);
