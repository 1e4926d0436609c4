// Applying: takes events from Kafka, decides, writes the records with their positions,
// commits, then stores the Kafka offsets.
//
// Threads: one for each of kafka.apply_connections, with a Lua state for policies.
#pragma once

#include <stdatomic.h>

#include "config/config.h"
#include "lag/lag.h"
#include "lag/tracker.h"

struct pl_apply;
struct pl_audit_mail;

struct pl_apply_stats {
	uint64_t applied, stale, own, conflicts, twins, policy_errors, foreign, dead_letters, batches,
		retries;
	// Events that were parked; events in our own name that this region never wrote.
	uint64_t parked_total, not_ours, heartbeats_refused;
	uint64_t returned;    // own writes that were taken back from another region
	int64_t parked, dead; // parked events and dead letters in the database now
	int64_t left_twice;   // pairs of records that one request created; created_twice.h
	int partitions;       // assigned now
	int leaderless;       // not read, although this daemon should, since no broker leads them
	bool assigned;        // has had an assignment since start and has one now
	bool database_up, broker_up;
	bool commits_refused;  // offsets, since the consumer group has members
	bool policies_missing; // at least one applier could not load them: the last writer wins
	bool hears;            // the heartbeats of the other regions
	uint64_t consumers_replaced;
	uint64_t gaps_total; // partitions in which another region's events were missing
	// how long applying has failed; the maximum of all appliers
	int64_t failing_us;
	// how long several looks in a row have not shown what there is to read, so that
	// messages that do not arrive go unnoticed; 0: they do. The maximum, too
	int64_t blind_us;
	char trouble[PL_ERROR_TEXT_MAX]; // why there is no assignment, or why it fails; "" if unknown
	uint64_t shadow_same, shadow_different, shadow_failed;
	// Re-resolving records with siblings, after a start or a change of policies:
	// whether it is under way, and of how many records how many were resolved and
	// changed.
	bool reresolve_pending;
	uint64_t reresolve_total, reresolve_seen, reresolve_changed;
	uint64_t reresolve_left; // locked or refused: see reresolve.h
};

struct pl_apply *pl_apply_start(const struct pl_config *config, const struct pl_region *region,
                                struct pl_error *err);
// The appliers load the policies of the new configuration, which were verified before,
// and resolve all siblings again.
void pl_apply_reconfigure(struct pl_apply *apply, const struct pl_config *config,
                          const struct pl_region *region);
// Set when the question of another database has been stored: the next heartbeat
// answers it.
void pl_apply_set_beat_soon(struct pl_apply *apply, atomic_bool *beat_soon);
// Where messages of other regions' audits go.
void pl_apply_set_mail(struct pl_apply *apply, struct pl_audit_mail *mail);
void pl_apply_stop(struct pl_apply **apply_p);
// See pl_claims_relay.
void pl_apply_relay(struct pl_apply *apply, const _Atomic int *process);
void pl_apply_stats(struct pl_apply *apply, struct pl_apply_stats *stats_r);
// The policies that the other regions report: see lag/tracker.h.
int pl_apply_policies(struct pl_apply *apply, struct pl_arena *arena,
                      struct pl_lag_tracker_policies policies_r[PL_REGIONS_MAX]);
void pl_apply_lag(struct pl_apply *apply, struct pl_lag *lag_r);
