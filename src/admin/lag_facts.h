// What can be known about the lag of regions, from three sides: their databases, Kafka, and their daemons.
//
// Each side may be away; what it would have told is then marked as not known, never guessed.
// Threads: one at a time.
#pragma once

#include "admin/offsets.h"
#include "admin/reach.h"

#define PL_UNKNOWN (-1.0) // seconds that are not known

// The worse, the larger. Behind comes after silent: an applier that waits for its database hears no heartbeats either.
enum pl_lag_verdict { PL_LAG_OK, PL_LAG_CATCHING_UP, PL_LAG_SILENT, PL_LAG_BEHIND, PL_LAG_BROKER_AWAY };

// How a region stands to one of the others.
struct pl_lag_of_origin {
	const struct pl_region *origin;
	int64_t events_behind;  // as the daemon counts them; -1: not known
	int64_t outbox_events;  // what the origin has not sent yet; -1: not known
	double seconds;
	int64_t heard_us;       // since its last heartbeat arrived; -1: never
	enum pl_lag_verdict verdict;
};

struct pl_lag_of_partition {
	const char *topic;
	int32_t partition;
	int64_t committed, applied, end; // -1: not known, or none yet
	int64_t behind;                  // -1: not known
	double seconds;                  // age of the first message that is not applied
	enum pl_lag_verdict verdict;
};

struct pl_lag_of_region {
	struct pl_reach *reach;
	bool daemon;                     // answered
	struct pl_error daemon_err;
	double daemon_seconds;
	int64_t events_behind;           // -1: not known
	double seconds;                  // the largest of all that are known
	enum pl_lag_verdict verdict;     // the worst
	int norigins, npartitions;
	struct pl_lag_of_origin origins[PL_REGIONS_MAX];
	struct pl_lag_of_partition *partitions;
	int64_t outbox_events, outbox_us; // its own; age of the oldest; -1: not known
};

struct pl_lag_facts {
	bool broker;
	struct pl_error broker_err;
	int n;
	struct pl_lag_of_region *each;
	struct pl_arena *arena;
};

// Looks, for the regions of `reaches`. `max_seconds`: from where on it is called behind. Frees what an earlier look left in *facts.
void pl_lag_look(struct pl_call *call, struct pl_reaches *reaches, struct pl_offsets *offsets, double max_seconds, struct pl_lag_facts *facts);
void pl_lag_facts_fini(struct pl_lag_facts *facts);

const char *pl_lag_word(enum pl_lag_verdict verdict); // "catching-up"
// One line's verdict. `events` and `seconds` as far as they are known; `heard_us` since the last sign of life, or -1.
enum pl_lag_verdict pl_lag_judge(bool broker, int64_t events, double seconds, double max_seconds);
bool pl_lag_is_silent(const struct pl_config *config, int64_t heard_us);
// How many messages from committed or applied up to `end` are not applied. A position beyond the end is of a topic that is gone.
int64_t pl_lag_from(const struct pl_offset *offset, int64_t applied);
