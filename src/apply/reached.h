// Which positions of the other regions this one has reached: see seen/seen.c.
//
// Threads: the first applier's, which hears the heartbeats.
#pragma once

#include <librdkafka/rdkafka.h>

#include "apply/sequences.h"
#include "db/session.h"
#include "event/heartbeat.h"

#define PL_REACHED_LOOK_MS  25
// Positions that a region has reported and that were not reached. If more come, the last
// one of the list is replaced: the oldest are reached first, the newest says the most.
#define PL_REACHED_TOLD_MAX 32

struct pl_reached {
	struct pl_reached_region {
		char region[PL_REGION_MAX + 1];
		int n;
		struct pl_heartbeat_position told[PL_REACHED_TOLD_MAX]; // in the order of arrival
		struct pl_outbox_place reached;                         // as the database has it, at least
		// The same, except for what Kafka has refused there or is parked here.
		struct pl_outbox_place passed;
	} of[PL_REGIONS_MAX];
	int64_t look_at_us;
};

void pl_reached_fini(struct pl_reached *reached);
// Takes what a message of the heartbeats' topic reports; `own` is this region. Regions
// that are not configured, such as removed ones, take no room.
void pl_reached_take(struct pl_reached *reached, const struct pl_config *config, const char *own,
                     const rd_kafka_message_t *message);
bool pl_reached_pending(const struct pl_reached *reached);
bool pl_reached_due(const struct pl_reached *reached, int64_t now_us);
// Compares with the sequence numbers in the database, and writes there what was reached.
int pl_reached_look(struct pl_reached *reached, struct pl_applied_sequences *sequences,
                    struct pl_session *session, struct pl_error *err);
// Whether everything with the numbers of the position is in this database.
bool pl_reached_is(const struct pl_heartbeat_position *told, struct pl_applied_sequences *sequences);
