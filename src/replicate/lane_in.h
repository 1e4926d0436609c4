// The inside of a lane of the applier, for lane.c and lane_chores.c only.
#pragma once

#include "replicate/lane.h"

#include <poll.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "base/backoff.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/wake.h"
#include "replicate/hand.h"
#include "replicate/pace.h"
#include "script/policy.h"

#define SECOND INT64_C(1000000)
#define POLL_MS 100
#define BATCH_BYTES ((size_t)8 * 1024 * 1024)
#define TOPICS_US (3 * SECOND)
#define TICK_US (SECOND / 5)      // how often the board is brought up to date when nothing comes
#define FLUSH_US SECOND
#define SHARES_US (3 * SECOND)    // after an assignment, and from then on: whether the group forgot a topic
#define ANEW_BATCH 200
#define LEAVE_US (3 * SECOND)

struct pl_lane {
	pthread_t thread;
	struct pl_wake *halt;
	pthread_mutex_t mutex;                // guards the next two
	struct pl_config *next_config;
	const struct pl_region *next_region;
	struct pl_board *board;
	int index;
	struct pl_lane_stats stats;

	// The thread's own.
	struct pl_config *config;
	const struct pl_region *region;
	struct pl_vm *vm;
	struct pl_apply_tools tools;
	struct pl_apply_batch *batch;
	struct pl_apply_counts counts;
	struct pl_consumer *consumer;
	struct pl_hand hand;
	struct pl_arena *arena;               // of one step
	bool subscribed, unchecked;
	struct pl_backoff backoff, kafka_backoff;
	int64_t try_at_us, subscribe_at_us, tick_at_us, flush_at_us, shares_at_us;
	struct pl_pace pace;
	struct pl_log_limit database_limit, kafka_limit;
	bool was_up;
	struct { char region[PL_REGION_MAX + 1]; int64_t sent_at_us; struct pl_heartbeat heartbeat; bool dirty; } beats[PL_REGIONS_MAX];
	struct pl_arena *beat_arenas[PL_REGIONS_MAX];
	bool anew;                            // there are open siblings to be shown anew, after:
	char anew_resource[64]; int64_t anew_id;
	uint64_t anew_seen, anew_changed, taken; // and which configuration this is: the how manieth
};

#define NOTE(lane, what, value) atomic_store_explicit(&(lane)->stats.what, (value), memory_order_relaxed)

bool pl_lane_check_positions(struct pl_lane *lane);
void pl_lane_take_heartbeat(struct pl_lane *lane, const rd_kafka_message_t *message);
void pl_lane_flush(struct pl_lane *lane);
void pl_lane_show_anew(struct pl_lane *lane);
void pl_lane_tick(struct pl_lane *lane);
bool pl_lane_flush_positions(struct pl_lane *lane, struct pl_error *err);
bool pl_lane_flush_heartbeats(struct pl_lane *lane, struct pl_error *err);
void pl_lane_database_failed(struct pl_lane *lane, const struct pl_error *err);
void pl_lane_database_works(struct pl_lane *lane);
bool pl_lane_have_database(struct pl_lane *lane);
void pl_lane_report_progress(struct pl_lane *lane);
void pl_lane_read_again(struct pl_lane *lane);
