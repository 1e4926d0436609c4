// Heartbeats: the latest one of each database that speaks for a region, for the lag
// tracker and for the tables region_heartbeats and heard_databases, where it is written
// once a second.
//
// Threads: an applier's.
#pragma once

#include <librdkafka/rdkafka.h>

#include "apply/batch.h"
#include "base/log.h"
#include "config/config.h"
#include "event/heartbeat.h"

// Usually one database for each region; a copy may speak for it as well.
#define PL_HEARTBEAT_SENDERS_MAX 4

struct pl_heartbeats {
	_Atomic uint64_t *refused; // counts those that cannot be true
	bool hurry;                // a question or an answer waits to be stored
	bool asked;                // the same, a new question
	bool stored;               // a new question has come since this was last cleared
	struct pl_log_limit limit;
	struct {
		char region[PL_REGION_MAX + 1];
		int64_t sent_at_us, taken_us; // taken_us: pl_mono_us
		struct pl_heartbeat heartbeat;
		bool dirty;
		struct pl_arena *arena; // of the heartbeat's texts
	} of[PL_REGIONS_MAX * PL_HEARTBEAT_SENDERS_MAX];
};

void pl_heartbeats_fini(struct pl_heartbeats *heartbeats);
// Parses the heartbeat in `message`, valid until the database's next one. NULL: it is
// invalid, not newer than the last one, or of a database that does not serve its region.
// An older one counts if no newer one has come for a while: the region's clock was put
// back, or another program sent one with a time in the future. Regions that are not
// configured get the places that the others leave.
// Resets `scratch`.
const struct pl_heartbeat *pl_heartbeats_take(struct pl_heartbeats *heartbeats, struct pl_arena *scratch,
                                              const struct pl_config *config,
                                              const rd_kafka_message_t *message);
// Writes those that arrived since the last call. One that the database refuses is
// dropped.
int pl_heartbeats_flush(struct pl_heartbeats *heartbeats, const struct pl_apply_tools *tools,
                        struct pl_error *err);
