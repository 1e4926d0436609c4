// The audit: each region regularly compares its records with those of every other
// region, by messages on the heartbeat topic. So differences that replication does not
// remove are found without anybody asking.
//
// A region asks another one for the digests of ranges of ids and compares them with its
// own. For ranges that differ, it asks for the digests of their records, and for
// records that differ, for their vectors and contents. Each answer names the positions
// that cover everything that it shows (see seen/seen.c), and the region looks at its
// own rows only when it has reached them. From then on, it must have every write that
// the answer shows: its vectors cover those of the answer, and equal vectors have equal
// contents. So each region finds what it lacks itself and ignores what the other one
// lacks, and a write that is on its way is never taken for a difference. A record
// counts as different only if two looks, a second apart, agree.
//
// Two kinds of events are not on their way, and nobody waits for them. One that Kafka
// refuses stays in the outbox, possibly for good: the records that lack it differ. One
// that is parked here was received: its record is left out as long as `status` counts it
// among the parked events.
//
// The side that answers remembers nothing, and the side that asks waits for one answer
// at a time. Asking and answering together read at most audit.rows_per_second records
// of the region's database. In each region, the daemon that publishes does both.
// Results are in the database, so they survive a restart and a takeover: see
// sql/020_audit.sql.
// Threads: runs its own; the functions may be called from any.
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"
#include "config/config.h"
#include "event/audit_mail.h"

struct pl_audit;

struct pl_audit_options {
	const struct pl_config *config;
	const struct pl_region *region;
	struct pl_audit_mail *mail;
	void (*send)(void *arg);  // a message is in the mail box
	bool (*leads)(void *arg); // this daemon publishes for the region
	bool (*whole)(void *arg); // the database is complete: it is not being rebuilt
	void *arg;
};

struct pl_audit *pl_audit_start(const struct pl_audit_options *options, struct pl_error *err);
void pl_audit_reconfigure(struct pl_audit *audit, const struct pl_config *config,
                          const struct pl_region *region);
void pl_audit_stop(struct pl_audit **audit_p);

struct pl_audit_stats {
	int64_t differing;       // records that differ now, according to the region's database
	int64_t last_success_us; // when all records were last compared with every other region; 0: never
	// Since the start of this daemon: rounds that ended, rounds that could not
	// compare all records, records compared, answers given to other regions,
	// failures of the database.
	uint64_t rounds, incomplete, records, answers, failures;
	uint64_t refused;   // messages that no audit can have sent
	int64_t failing_us; // see pl_background_failing_us
};
void pl_audit_stats(struct pl_audit *audit, struct pl_audit_stats *stats_r);
