// An applier: a thread that applies the messages of its consumer. There are as many as
// kafka.apply_connections says. They share the partitions (apply/claims), so one record's
// events stay in one applier and in order.
#pragma once

#include <stdatomic.h>

#include "apply/batch.h"
#include "apply/claims.h"
#include "lag/tracker.h"

struct pl_applier;
struct pl_audit_mail;

// Written by the applier only.
struct pl_applier_stats {
	_Atomic uint64_t applied, stale, own, conflicts, twins, policy_errors, foreign, dead_letters, batches,
		retries;
	_Atomic uint64_t shadow_same, shadow_different, shadow_failed;
	_Atomic uint64_t consumers_replaced;
	_Atomic uint64_t gaps_total;      // partitions in which another region's events were missing
	_Atomic int64_t failing_since_us; // pl_mono_us; 0: no failure is known
	_Atomic int64_t blind_since_us;   // the broker does not say what there is to read; as above
	_Atomic uint64_t parked_total, not_ours, returned;
	_Atomic uint64_t heartbeats_refused; // nothing that a region can have sent
	_Atomic int64_t parked, dead;        // in the database now; counted by the first applier
	_Atomic int64_t left_twice;          // pairs of records that one request created, as above
	_Atomic int partitions;
	_Atomic int leaderless; // partitions that it should read and that no broker leads
	atomic_bool assigned, database_up, broker_up;
	atomic_bool commits_refused;  // offsets, by the broker
	atomic_bool policies_missing; // they could not be loaded
	atomic_bool hears;            // the first applier reads the heartbeats
	// Re-resolving records with siblings, done by the first applier: the number of
	// configurations given to it, and of the configuration whose policies all these
	// records were resolved with; then how many records there are, were resolved,
	// and were changed under the current one.
	_Atomic uint64_t given, reresolved, reresolve_total, reresolve_seen, reresolve_changed,
		reresolve_left;
};

struct pl_applier *pl_applier_start(const struct pl_config *config, const struct pl_region *region, int index,
                                    struct pl_lag_tracker *tracker, struct pl_claims *claims,
                                    struct pl_error *err);
void pl_applier_reconfigure(struct pl_applier *applier, const struct pl_config *config,
                            const struct pl_region *region);
// Set by the first one: see pl_apply_set_beat_soon.
void pl_applier_set_beat_soon(struct pl_applier *applier, atomic_bool *beat_soon);
// Where the first one puts messages of other regions' audits.
void pl_applier_set_mail(struct pl_applier *applier, struct pl_audit_mail *mail);
// In two steps, so that several appliers stop at the same time.
void pl_applier_ask_to_stop(struct pl_applier *applier);
void pl_applier_stop(struct pl_applier **applier_p);
// Why it has no partitions or cannot apply; "" if unknown.
void pl_applier_trouble(struct pl_applier *applier, char text_r[PL_ERROR_TEXT_MAX]);
const struct pl_applier_stats *pl_applier_stats(const struct pl_applier *applier);
