// Sequence numbers: what a relay has published to each partition of each topic, and how
// far a region has received it.
//
// A relay numbers its messages in the header plist-seq,
// "<seq>/<prev>/<generation>/<id>", where `prev` is the number of the previous message
// in that partition. Unlike Kafka's offsets, these numbers continue when a broker loses
// its disk. The last two are the place in the publisher's outbox. What others know of it
// tells a region whose database was restored that it has lost writes: ids are given out
// in order, and every row up to an id that others know was there. Ids begin again in a
// new database, under a later generation of the region's key.
//
// A run of a relay begins when it starts or goes back. The first message of a run in each
// partition, whose predecessor is of an earlier run, has the header plist-run with the
// first number of the run.
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/json.h"

#define PL_SEQUENCE_HEADER         "plist-seq"
#define PL_SEQUENCE_RUN_HEADER     "plist-run"
#define PL_SEQUENCE_TEXT_MAX       96
#define PL_SEQUENCE_PARTITIONS_MAX 4096

#define PL_OUTBOX_ID_MAX           INT64_C(1000000000000000) // a million rows a second for thirty years

struct pl_outbox_place {
	int64_t generation, id; // 0: not known
};

// The values of a message's headers.
struct pl_sequence_text {
	char numbers[PL_SEQUENCE_TEXT_MAX], run[24];
};

struct pl_sequence {
	int64_t seq; // everything up to it was received; 0: nothing
	// Later messages were received, but those in (seq, chain_from] are missing;
	// chain_to 0: there are none.
	int64_t chain_from, chain_to;
	bool level;                   // the partition was read to its end
	struct pl_outbox_place place; // the latest that was heard of; not part of the text
	// Where the numbers of the latest run of the relay begin that has sent a message
	// to the partition. Not part of the text either.
	int64_t run;
};

struct pl_sequence_topic {
	char *name;
	int n;
	struct pl_sequence *partitions;
};

struct pl_sequences {
	int n;
	struct pl_sequence_topic *topics;
};

void pl_sequence_fini(struct pl_sequences *sequences);
void pl_sequence_copy(struct pl_sequences *to, const struct pl_sequences *from);
// Returns the partition's entry, and adds it if needed. NULL: the partition's number is
// out of range.
struct pl_sequence *pl_sequence_at(struct pl_sequences *sequences, const char *topic, int32_t partition);
// NULL: there is none.
const struct pl_sequence *pl_sequence_find(const struct pl_sequences *sequences, const char *topic,
                                           int32_t partition);

// A JSON object, {"topic":"7,9!12-15,0$"}: few nodes, so that other programs can read
// it within their limits.
void pl_sequence_print(struct pl_buf *buf, const struct pl_sequences *sequences);
// Adds to `sequences_r`. -1: not such an object.
int pl_sequence_parse(const cJSON *json, struct pl_sequences *sequences_r);
int pl_sequence_parse_text(const char *text, struct pl_sequences *sequences_r);

// Parses the header's value. -1: it is invalid.
struct pl_sequence_header {
	int64_t seq, prev;
	struct pl_outbox_place place;
	int64_t run; // of plist-run; 0: the message has none
};
int pl_sequence_parse_header(const void *value, size_t len, struct pl_sequence_header *header_r);
// The value of plist-run; 0: it is invalid.
int64_t pl_sequence_parse_run(const void *value, size_t len);
// Whether `a` comes after `b` in the outbox; a new generation comes after all others.
bool pl_sequence_place_is_later(const struct pl_outbox_place *a, const struct pl_outbox_place *b);
// A later place takes the former one's.
void pl_sequence_place(struct pl_sequence *sequence, const struct pl_outbox_place *place);

// Whether a region can have given them out: sequence numbers begin at the clock's
// microseconds, and a generation is at most the clock's seconds. Clocks may differ by a
// day.
bool pl_sequence_plausible(int64_t number, int64_t now_us);
bool pl_sequences_plausible(const struct pl_sequences *sequences, int64_t now_us);
bool pl_sequence_place_plausible(const struct pl_outbox_place *place, int64_t now_us);

// Records message `seq`, which follows `prev`. False: messages before it are missing.
bool pl_sequence_take(struct pl_sequence *sequence, int64_t seq, int64_t prev);
