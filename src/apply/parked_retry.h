// Retrying what is kept: parked events that are due, and dead letters when an operator
// asks for it (plist-admin dead-letters retry).
//
// They are due by themselves, each in its turn, and all at once after a start, with a new
// configuration, and when a table has changed or a daemon of the region came or went: the
// cause may be gone.
//
// While other events arrive, those that are refused again may take a twentieth of the
// applier's time, and nothing waits for long. Otherwise there is no pause while more are
// due.
//
// Threads: an applier's; only the first applier does it.
#pragma once

#include "apply/batch.h"

struct pl_parked_retry {
	bool all_due; // not all of them were made due yet; so far, those up to this id
	int64_t due_id;
	bool more;        // the last retry left some that are due
	int64_t parked;   // events in the database
	bool letters_due; // dead letters that an operator wants to be retried
	// of tables and daemons; "": nothing was parked a moment ago
	char definitions[PL_DEFINITIONS_MAX];
	int64_t next_us;
	int64_t busy_until_us; // other events arrive
};

// All of them are due at once.
void pl_parked_retry_all(struct pl_parked_retry *r);
// Whether a query is worthwhile.
bool pl_parked_retry_is_due(const struct pl_parked_retry *r, int64_t now_us);
// How long the applier may wait for messages, at most `ms`.
int pl_parked_retry_patience_ms(const struct pl_parked_retry *r, int ms);
// Other events were applied.
void pl_parked_retry_note_others(struct pl_parked_retry *r);
// Retries. *tried_r: how many events were due.
int pl_parked_retry_run(struct pl_parked_retry *r, struct pl_apply_batch *batch,
                        const struct pl_apply_tools *tools, struct pl_apply_counts *counts, int *tried_r,
                        struct pl_error *err);
// Counts the parked events, so that batches know whether there are any, and the dead
// letters.
int pl_parked_retry_count(struct pl_parked_retry *r, struct pl_apply_batch *batch,
                          const struct pl_apply_tools *tools, int64_t *dead_r, struct pl_error *err);
// Makes all of them due if their cause may be gone. After counting.
int pl_parked_retry_look(struct pl_parked_retry *r, const struct pl_apply_tools *tools, struct pl_error *err);
