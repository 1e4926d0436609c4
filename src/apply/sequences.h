// How far this region has received the numbered messages of the others: an applier's
// copy of the table applied_sequences.
#pragma once

#include "config/config.h"
#include "db/session.h"
#include "event/sequence.h"
#include "kafka/message.h"

// A partition, by the region that publishes to it.
struct pl_applied_sequence {
	char *origin, *topic;
	int32_t partition;
	struct pl_sequence known; // as the database has it
	// The number that the origin says it has published; at claim_us it was known to
	// be missing here.
	int64_t claim, claim_us;
	bool reported; // whether the gap was reported
};

struct pl_applied_sequences {
	int n, cap;
	struct pl_applied_sequence **all; // their addresses do not change
	struct pl_applied_sequence *last; // the one looked up last
};

// How a batch changes one of them.
struct pl_sequence_write {
	struct pl_applied_sequence *of;
	struct pl_sequence to;
};

// A message's number. `origin` is the publishing region, taken from a header of the
// message; NULL: it has no number.
struct pl_message_numbers {
	const char *origin;
	size_t origin_len;
	struct pl_sequence_header header;
};

void pl_sequences_fini(struct pl_applied_sequences *sequences);
// Loads them from the database.
int pl_sequences_load(struct pl_applied_sequences *sequences, struct pl_session *session,
                      struct pl_error *err);
// NULL: nothing is known.
const struct pl_sequence *pl_sequences_find(const struct pl_applied_sequences *sequences, const char *origin,
                                            const char *topic, int32_t partition);
// The same, and adds what is not there.
struct pl_applied_sequence *pl_sequences_of(struct pl_applied_sequences *sequences, const char *origin,
                                            size_t origin_len, const char *topic, int32_t partition);
// A message's number. There is none if region `own` published it, if its origin is
// neither a region nor retired (made-up names would fill the table), or if no relay
// assigns such a number.
struct pl_message_numbers pl_sequences_numbers(const struct pl_message *message,
                                               const struct pl_config *config, const char *own);
// Adds a message to what a batch writes; `writes` has room for one more.
void pl_sequences_take(struct pl_applied_sequences *sequences, const struct pl_message *message,
                       const struct pl_message_numbers *numbers, struct pl_sequence_write *writes, int *n);
// To be called after they were committed.
void pl_sequences_written(const struct pl_sequence_write *writes, int n);
