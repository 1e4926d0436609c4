// Constraints between records: unique values and references.
//
// The store refuses writes of clients that would violate one (store/guard.h). Events
// are never refused, so they may cause a violation. The integrity thread finds
// violations, records them in the table conflicts, and resolves them by a rule in Lua,
// if the resource has one.
//
// No violation is missed: the applier notes the records of events in the transaction
// that writes them, and a note is deleted only when its record has been looked at. A
// client's write that was checked before an event was written may be committed after
// it. So before it looks, the thread waits for all such writes, by taking the lock of
// their resource once.
// Threads: runs its own; the functions may be called from any.
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"
#include "config/config.h"

struct pl_session;
struct pl_integrity;

struct pl_integrity_options {
	const struct pl_config *config;
	const struct pl_region *region;
	int64_t missing_us; // how long a referenced record may be missing; 0: 30 seconds
};

struct pl_integrity *pl_integrity_start(const struct pl_integrity_options *options, struct pl_error *err);
void pl_integrity_reconfigure(struct pl_integrity *integrity, const struct pl_config *config,
                              const struct pl_region *region);
void pl_integrity_stop(struct pl_integrity **integrity_p);

struct pl_integrity_stats {
	int64_t open;             // violations that exist now
	uint64_t found, resolved; // since the start; resolved: changes by rules
	uint64_t failures;        // turns that failed at the database
	int64_t failing_us;       // see pl_background_failing_us
	bool rules_missing;       // those of a configuration that was checked could not be loaded
};
void pl_integrity_stats(struct pl_integrity *integrity, struct pl_integrity_stats *stats_r);

// Notes the records of all resources that may violate a constraint, so that the daemon
// looks at them. `found`, if not NULL, is called for each check with the number of
// cases: sets of records that share values, or records that refer to a missing one.
struct pl_integrity_noted {
	const struct pl_resource *resource;
	const char *fields;
	bool unique;
	int64_t n;
};
int pl_integrity_note_all(struct pl_session *session, const struct pl_config *config,
                          void (*found)(void *arg, const struct pl_integrity_noted *noted), void *arg,
                          struct pl_error *err);
