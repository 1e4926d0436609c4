// Claims: which partitions this daemon's appliers read, so that each partition is read by
// one applier of the region.
//
// A lane is an applier by its number: within its daemon, or among all of the region
// where that is said. The tables call it so.
// Threads: one of its own. _start, _reconfigure and _stop are called by the main thread,
// the functions with a lane by that applier, pl_claims_trouble by any.
#pragma once

#include "config/config.h"
#include "kafka/client.h"

struct pl_claims;

struct pl_claims *pl_claims_start(const struct pl_config *config, const struct pl_region *region, int nlanes,
                                  struct pl_error *err);
void pl_claims_reconfigure(struct pl_claims *claims, const struct pl_config *config,
                           const struct pl_region *region);
// Gives up everything. Called when the appliers have stopped.
void pl_claims_stop(struct pl_claims **claims_p);

// The session of the daemon's relay: the number of its server process, or 0. A daemon
// that takes over the partitions ends it too, so that another relay can publish. NULL:
// there is no longer a relay. The number must live until then.
void pl_claims_relay(struct pl_claims *claims, const _Atomic int *process);

// ---- what an applier reports

// A topic that it can read has this number of partitions.
void pl_claims_topic(struct pl_claims *claims, const char *topic, int partitions);
// Whether a broker answers it.
void pl_claims_hears(struct pl_claims *claims, int lane, bool hears);
// The server process of its database session, or 0. A daemon that takes over its
// partitions ends that process first.
void pl_claims_session(struct pl_claims *claims, int lane, int pid);
// The partitions that it reads now. Others are given up for other appliers to take.
void pl_claims_has(struct pl_claims *claims, int lane, const rd_kafka_topic_partition_list_t *partitions);

// ---- what an applier asks

// The partitions that it should read, to be destroyed by the caller; NULL: nothing has
// changed since `*seen`, which it keeps between the calls and which begins as 0.
rd_kafka_topic_partition_list_t *pl_claims_wanted(struct pl_claims *claims, int lane, unsigned *seen);
// Whether the applier has its share: no other one is about to give up a partition for it.
bool pl_claims_settled(struct pl_claims *claims, int lane);
// Whether no other daemon can have taken over its partitions.
bool pl_claims_hold(struct pl_claims *claims);
// Why there are no claims; "" if there are.
void pl_claims_trouble(struct pl_claims *claims, char text_r[PL_ERROR_TEXT_MAX]);
