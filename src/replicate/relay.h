// The relay: publishes the outbox, in order, one relay per region (an advisory lock), and deletes what the broker has acknowledged.
//
// Threads: one of its own. pl_relay_wake may be called from any.
#pragma once

#include "config/config.h"

struct pl_relay;

struct pl_relay_stats {
	uint64_t published, batches, failed, producers_replaced, heartbeats;
	int64_t outbox_events;       // at the last look
	int64_t outbox_oldest_us;    // pl_now_us of its oldest row, 0 = empty
	bool leader;                 // holds the advisory lock
	bool database_up, broker_up;
	int64_t last_publish_us;
};

struct pl_relay *pl_relay_start(const struct pl_config *config, const struct pl_region *region, struct pl_error *err);
void pl_relay_wake(struct pl_relay *relay);
void pl_relay_reconfigure(struct pl_relay *relay, const struct pl_config *config, const struct pl_region *region);
// Publishes what it can within `drain_us`, then ends the thread. What is left stays in the outbox.
void pl_relay_stop(struct pl_relay **relay, int64_t drain_us);
void pl_relay_stats(struct pl_relay *relay, struct pl_relay_stats *stats_r);
