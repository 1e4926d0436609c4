// Lag: how far this region is behind the others. Snapshot data, and its JSON for GET /:region/replication-lag.
#pragma once

#include "base/buf.h"
#include "config/config.h"

#define PL_LAG_PARTITIONS_MAX 256

// `topic` lives as long as the applier that was asked.
struct pl_lag_partition { const char *topic; int32_t partition; int64_t committed, end; double seconds; };

struct pl_lag_origin {
	char region[PL_REGION_MAX + 1];
	double seconds;              // age of the oldest of its events that is known and not applied; 0 = none
	int64_t events_behind;       // in Kafka and not applied here; plus what it says is still in its outbox
	int64_t outbox_events;       // as its heartbeat says
	int64_t last_event_us, last_heartbeat_us; // pl_now_us; 0 = never
};

struct pl_lag {
	double seconds;              // >= 0; the largest of all reasons
	int64_t events_behind;
	bool broker_up;              // while away, seconds counts from the last contact: it cannot be known that there is nothing new
	int64_t last_contact_us;
	int norigins; struct pl_lag_origin origins[PL_REGIONS_MAX];
	int npartitions; struct pl_lag_partition partitions[PL_LAG_PARTITIONS_MAX];
};

// {"lag_seconds":1.25,"events_behind":n,"origins":{"eu":{…}},…}
void pl_lag_print(struct pl_buf *buf, const struct pl_lag *lag);
