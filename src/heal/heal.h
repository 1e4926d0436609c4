// Healing: checks whether this region's database is complete and its own, and repairs
// it if it is not.
//
// The healing thread determines under which key the region may count its writes,
// fetches from the other regions what a new or restored database lacks, and publishes
// again what others lack. Until the database is whole, the daemon accepts no requests:
// see pl_heal_gate.
// Threads: runs its own; the functions may be called from any.
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/error.h"
#include "config/config.h"
#include "store/table_gate.h"

struct pl_heal;

enum pl_heal_gate {
	PL_HEAL_OPEN,
	PL_HEAL_NO_WRITES, // it is not known whether the database has all of its writes
	PL_HEAL_CLOSED,    // the database lacks records, is another region's, or the region is drained
};

struct pl_heal_options {
	const struct pl_config *config;
	const struct pl_region *region;
	struct pl_table_gate *tables; // set according to what the tables have
	bool alone;                   // the operator says that no other region knows more than this database
	// Called with the key of this region's writes, when it becomes known and when
	// it changes.
	void (*key)(void *arg, const char *key);
	// Returns the largest outbox id that has been sent; 0: none has.
	int64_t (*sent)(void *arg);
	bool (*hears)(void *arg); // the others' heartbeats can be heard
	bool (*leads)(void *arg); // this daemon publishes for the region
	void *arg;
};

// Returns after the first look, or after a second.
struct pl_heal *pl_heal_start(const struct pl_heal_options *options, struct pl_error *err);
void pl_heal_reconfigure(struct pl_heal *heal, const struct pl_config *config,
                         const struct pl_region *region);
void pl_heal_stop(struct pl_heal **heal_p);

enum pl_heal_gate pl_heal_gate(const struct pl_heal *heal); // cheap
// Returns the gate, and why it is not open, in one sentence; "": it is open.
enum pl_heal_gate pl_heal_reason(struct pl_heal *heal, char reason_r[PL_ERROR_TEXT_MAX]);

struct pl_heal_stats {
	bool settled, rebuilding, drained;
	char key[PL_REGION_MAX + 1];
	int64_t records, total;  // of a rebuild: published by the others so far; 0: not known
	uint64_t asked, served;  // how often this region asked others, and served others
	int64_t other_databases; // that speak for this region, too
	int64_t failing_us;      // see pl_background_failing_us
};
void pl_heal_stats(struct pl_heal *heal, struct pl_heal_stats *stats_r);
