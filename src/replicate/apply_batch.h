// A batch of messages on its way into the database: read, decided, written in one transaction.
//
// Threads: an object belongs to one.
#pragma once

#include "replicate/apply_sql.h"

// A message as the broker gave it. What it points to belongs to the caller and stays until the batch is done.
struct pl_message {
	const char *topic; int32_t partition; int64_t offset;
	int64_t broker_time_us;       // 0: none
	bool unsure;                  // the database may have lost what it says: looked at even if it is our own
	const void *key, *value; size_t key_len, value_len; // value NULL: Kafka's null
	int nheaders; const struct pl_event_header *headers;
};

struct pl_apply_counts {
	uint64_t applied, stale, own, conflicts, twins, policy_errors, foreign, dead_letters, batches, retries;
	uint64_t shadow_same, shadow_different, shadow_failed;
};

// What the batches of an applier work with. Everything is the caller's.
struct pl_apply_tools {
	const struct pl_config *config;
	const struct pl_region *region;
	struct pl_session *session;
	struct pl_apply_sql *sql;
	struct pl_policy **policies, **shadows; // by resource; an entry NULL: not loaded, or none
	// May be NULL: called while the database is busy with the largest part of a batch. Once for each try.
	void (*meanwhile)(void *arg);
	void *arg;
};

struct pl_apply_batch;
struct pl_apply_batch *pl_apply_batch_new(void);
void pl_apply_batch_free(struct pl_apply_batch **batch);

// Reads the messages: those that it has not read yet, the first of them are those of the last call. Own events and what cannot be read are sorted out here,
// without the database.
void pl_apply_batch_read(struct pl_apply_batch *batch, const struct pl_apply_tools *tools, const struct pl_message *messages, int n);
// The same for the batch after this one, while this one is being written.
void pl_apply_batch_read_ahead(struct pl_apply_batch *batch, const struct pl_apply_tools *tools, const struct pl_message *messages, int n);
int pl_apply_batch_size(const struct pl_apply_batch *batch); // messages read
// Forgets what was read: all, what was read ahead, or what is done; then what was read ahead is the batch.
void pl_apply_batch_forget(struct pl_apply_batch *batch);
void pl_apply_batch_forget_ahead(struct pl_apply_batch *batch);
void pl_apply_batch_advance(struct pl_apply_batch *batch);
// Whether any of them needs the database: all were our own otherwise, and only the position moves on.
bool pl_apply_batch_matters(const struct pl_apply_batch *batch);
// The events of the batch, by origin: how many and how old.
void pl_apply_batch_each(const struct pl_apply_batch *batch, void (*each)(void *arg, const struct pl_event *event), void *arg);

// Decides and writes; several transactions where the database refuses single events. Adds to `counts` what was committed. 0, or the code of
// what is to be tried again as a whole: applying twice does no harm.
int pl_apply_batch_write(struct pl_apply_batch *batch, const struct pl_apply_tools *tools, struct pl_apply_counts *counts, struct pl_error *err);

// Shows records with siblings anew, with the policies as they are now; rows whose answer is the same are not written. In one transaction.
int pl_apply_batch_show_anew(struct pl_apply_batch *batch, const struct pl_apply_tools *tools, const struct pl_flagged *records, int n,
                             int *changed_r, struct pl_error *err);
