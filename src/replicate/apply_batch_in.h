// The inside of a batch of the applier, for apply_batch.c and apply_decide.c only.
#pragma once

#include "replicate/apply_batch.h"

#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "replicate/conflict.h"

#define TRIES 5
#define CAREFUL 20              // transactions, after one in which something was known already
#define EXPIRY_UNKNOWN_US (INT64_C(86400) * 1000000)

struct item {
	const struct pl_message *message;
	struct pl_event *event;       // NULL: our own, or unreadable
	const char *error;            // why it is a dead letter
	struct pl_target *target;     // of the event's record, in the attempt that is being made
};

// Messages as they were read.
struct reading {
	struct pl_arena *arena;
	struct item *items; int nitems, items_cap;
	int nevents, nerrors, nown;
};

struct pl_apply_batch {
	struct reading now, ahead;    // what is to be written, and what was read meanwhile

	struct pl_arena *arena;       // of one attempt
	struct pl_target *by_key, **targets; int ntargets;
	struct pl_heard *heard; int nheard;
	struct heard_key { const char *key; int index; UT_hash_handle hh; } *heard_by_key;
	struct pl_detection **detections; int ndetections;
	struct pl_dead_letter *dead; int ndead;
	struct pl_position *positions; int npositions;
	struct pl_remembrance *remembered; int nremembered;
	struct pl_conflict_row *conflicts; int nconflicts;
	struct pl_apply_counts counts;

	int careful;                  // so many transactions more expect that rows and requests are there already
};

void pl_apply_batch_hear_all(struct pl_apply_batch *b, const struct item *items, int n);
void pl_apply_batch_decide_all(struct pl_apply_batch *b, const struct item *items, int n);
int pl_apply_batch_ask_memory(struct pl_apply_batch *b, const struct pl_apply_tools *tools, const struct item *items, int n, struct pl_error *err);
void pl_apply_batch_show_all(struct pl_apply_batch *b, const struct pl_apply_tools *tools);
void pl_apply_batch_show_target(struct pl_apply_batch *b, const struct pl_apply_tools *tools, struct pl_target *target);
struct pl_conflict_policy pl_apply_batch_policy_named(const struct pl_apply_tools *tools, const struct pl_resource *resource);
void pl_apply_batch_add_dead_letter(struct pl_apply_batch *b, const struct pl_message *m, const char *error);
