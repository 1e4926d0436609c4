// A batch of messages: read, decided, and written to the database in one transaction.
//
// Threads: an object belongs to one.
#pragma once

#include "apply/rows.h"
#include "kafka/message.h"

struct pl_apply_counts {
	uint64_t applied, stale, own, conflicts, twins, policy_errors, foreign, dead_letters, batches,
		retries;
	uint64_t shadow_same, shadow_different, shadow_failed;
	uint64_t parked;   // events parked for the first time
	uint64_t not_ours; // events in our own name that this region never wrote
	uint64_t returned; // own writes that we had lost and that another region republished
};

// What an applier's batches work with. Everything belongs to the caller.
struct pl_apply_tools {
	const struct pl_config *config;
	const struct pl_region *region;
	struct pl_session *session;
	struct pl_apply_rows *sql;
	struct pl_applied_sequences *sequences; // NULL: sequence numbers are not kept
	// by resource; NULL: none, or not loaded
	struct pl_policy **policies, **shadows;
	// Called while the database is busy with the largest part of a batch, once for
	// each attempt. May be NULL.
	void (*meanwhile)(void *arg);
	void *arg;
};

struct pl_apply_batch;
struct pl_apply_batch *pl_apply_batch_new(void);
void pl_apply_batch_free(struct pl_apply_batch **batch_p);

// Reads the messages that were added since the last call. Own events and unreadable
// messages are sorted out here, without the database.
void pl_apply_batch_read(struct pl_apply_batch *batch, const struct pl_apply_tools *tools,
                         const struct pl_message *messages, int n);
// The same for the next batch, while this one is being written.
void pl_apply_batch_read_ahead(struct pl_apply_batch *batch, const struct pl_apply_tools *tools,
                               const struct pl_message *messages, int n);
int pl_apply_batch_size(const struct pl_apply_batch *batch); // messages read
// Discards what was read: both batches; the next one; or this one, continuing with the
// next.
void pl_apply_batch_forget(struct pl_apply_batch *batch);
void pl_apply_batch_forget_ahead(struct pl_apply_batch *batch);
void pl_apply_batch_advance(struct pl_apply_batch *batch);
// Frees the memory that is kept for the next large batch.
void pl_apply_batch_give_back(struct pl_apply_batch *batch);
// Whether a message needs the database. Otherwise, all messages are our own and only
// the position changes.
bool pl_apply_batch_matters(const struct pl_apply_batch *batch);
// Whether there are events in our own name that were not yet looked up in the database.
bool pl_apply_batch_has_own(const struct pl_apply_batch *batch);
// Looks them up. One that this region never wrote raises an alarm and becomes a dead
// letter.
int pl_apply_batch_check_own(struct pl_apply_batch *batch, const struct pl_apply_tools *tools,
                             struct pl_apply_counts *counts, struct pl_error *err);
// Calls `each` for every event of the batch.
void pl_apply_batch_each(const struct pl_apply_batch *batch,
                         void (*each)(void *arg, const struct pl_event *event), void *arg);

// Decides and writes, in several transactions if the database refuses single events.
// Adds what was committed to `counts`. Returns 0 or a code: then the whole batch has to
// be retried, which is harmless for what was committed.
int pl_apply_batch_write(struct pl_apply_batch *batch, const struct pl_apply_tools *tools,
                         struct pl_apply_counts *counts, struct pl_error *err);

// Retries up to PL_RETRY_MAX parked events, or dead letters, that are due, and removes
// those that are applied or stale.
#define PL_RETRY_MAX 256
struct pl_retry {
	int64_t budget_us; // when this has passed, no further event is tried; 0: no limit
	int tried, done;   // events that were due; of these, those that need no other retry
	int groups;        // how many times some were tried together, or one alone
	int64_t wasted_us; // how long the others took
	bool more;         // more may be due
	bool left_out;     // those whose tables are locked were not looked at
};
int pl_apply_batch_retry(struct pl_apply_batch *batch, const struct pl_apply_tools *tools, enum pl_kept kept,
                         struct pl_apply_counts *counts, struct pl_retry *retry, struct pl_error *err);
// Whether there are parked events, which later batches may make stale.
void pl_apply_batch_expect_parked(struct pl_apply_batch *batch, bool any);

// Resolves records with siblings again, with the policies as they are now. Rows that stay
// the same are not written. Sets the state of each record; those that are locked, or
// whose row the database refuses, do not hold up the others.
int pl_apply_batch_reresolve(struct pl_apply_batch *batch, const struct pl_apply_tools *tools,
                             struct pl_flagged *records, int n, int *changed_r, struct pl_error *err);
