// What is known about the lag of the regions, from three sources: databases, Kafka, and
// daemons.
//
// Each source may be unavailable; what it would have reported is then marked as
// unknown, and never guessed.
// Threads: one at a time.
#pragma once

#include "admin/offsets.h"
#include "admin/region_sessions.h"

#define PL_UNKNOWN (-1.0) // seconds that are not known

// Ordered from good to bad. BEHIND comes after SILENT: an applier that waits for its
// database receives no heartbeats either.
enum pl_lag_state {
	PL_LAG_OK,
	PL_LAG_CATCHING_UP,
	PL_LAG_UNKNOWN, // the daemon has just started
	PL_LAG_REBUILDING,
	PL_LAG_SILENT,
	PL_LAG_BEHIND,
	PL_LAG_GAP, // published events are missing
	PL_LAG_BROKER_DOWN
};

// The lag of one region behind another.
struct pl_lag_of_origin {
	const struct pl_region *origin;
	int64_t events_behind; // as counted by the daemon; -1: unknown
	int64_t outbox_events; // not yet published by the origin; -1: unknown
	double seconds;
	int64_t heard_us;       // since its last heartbeat arrived; -1: never
	enum pl_lag_state said; // as reported by the daemon
	enum pl_lag_state state;
};

struct pl_lag_of_partition {
	const char *topic;
	int32_t partition;
	int64_t committed, applied, end; // -1: unknown, or none yet
	int64_t behind;                  // -1: unknown
	double seconds;                  // age of the first message that is not applied
	enum pl_lag_state state;
};

struct pl_lag_of_region {
	struct pl_region_session *region_session;
	bool daemon; // it responded
	struct pl_error daemon_err;
	double daemon_seconds;
	int64_t events_behind;   // -1: unknown
	double seconds;          // the highest known value
	enum pl_lag_state state; // the worst
	int norigins, npartitions;
	struct pl_lag_of_origin origins[PL_REGIONS_MAX];
	struct pl_lag_of_partition *partitions;
	int64_t outbox_events, outbox_us; // in its own outbox; age of the oldest one; -1: unknown
};

struct pl_lag_facts {
	bool broker;
	struct pl_error broker_err;
	int n;
	struct pl_lag_of_region *each;
	struct pl_arena *arena;
};

// Collects facts about the regions of `sessions`. `max_seconds`: from which lag on a
// region is behind. Frees the previous contents of *facts.
void pl_lag_facts_look(struct pl_invocation *invocation, struct pl_region_sessions *sessions,
                       struct pl_offsets *offsets, double max_seconds, struct pl_lag_facts *facts);
void pl_lag_facts_fini(struct pl_lag_facts *facts);

const char *pl_lag_facts_state_name(enum pl_lag_state state); // "catching-up"
// Judges one line. `events` and `seconds` may be unknown; `heard_us` is the time since
// the last heartbeat, or -1.
enum pl_lag_state pl_lag_facts_judge(bool broker, int64_t events, double seconds, double max_seconds);
bool pl_lag_facts_is_silent(const struct pl_config *config, int64_t heard_us);
// How many messages up to `end` are not applied, given what is committed or applied. A
// position beyond the end belongs to a topic that was deleted.
int64_t pl_lag_facts_from(const struct pl_offset *offset, int64_t applied);
