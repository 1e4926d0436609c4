// A hand: the messages that were taken from the consumer and are not yet in the database, and how far each partition is.
//
// Threads: a lane's.
#pragma once

#include "replicate/board.h"
#include "replicate/consumer.h"

struct pl_hand_partition {
	char *topic; int32_t partition;
	int64_t next;               // the first offset that is not in the database; < 0: not known
	int64_t first;              // of the partition's messages, when the database was found
	int64_t latest_ms;          // the broker's time of the newest message that is in the database; 0: not known
	int64_t newer;              // the offset of the first message that is newer than that, when the database was found; < 0: there was none
	int64_t unsure_until;       // messages before it were there when the database was found: it may have lost what they say
	bool dirty;                 // only own events were passed over since the database last heard of it
};

// Messages in the order in which they came.
struct pl_held {
	struct pl_arena *arena;     // their headers
	int n, cap;
	rd_kafka_message_t **raw;
	struct pl_message *messages;
	size_t bytes;
};

struct pl_hand {
	struct pl_held now;         // the batch
	struct pl_held ahead;       // taken while the batch is being written, to be the next
	struct pl_held done;        // those of the last batch: given back to librdkafka when there is time
	bool writing;               // the batch is: it keeps its messages, whatever becomes of their partitions
	bool orphaned;              // its partitions were taken away meanwhile
	int npartitions; struct pl_hand_partition *partitions;
	int npast; struct pl_hand_partition *past; // that it had before
	int64_t past_us;            // when they were taken away
};

void pl_hand_init(struct pl_hand *hand);
void pl_hand_fini(struct pl_hand *hand);
// Where the next message goes: to the batch, or ahead of it while it is being written and until what came ahead is the batch.
struct pl_held *pl_hand_open(struct pl_hand *hand);
// Gives back what is done. For when the database is at work; else the next batch's end does it.
void pl_hand_sweep(struct pl_hand *hand);
void pl_hand_take(struct pl_hand *hand, rd_kafka_message_t *message);
// Forgets the messages; the partitions stay.
void pl_hand_drop(struct pl_hand *hand);
// Other partitions from now on; NULL: none. Drops all messages. Of a partition that was here a moment ago, `latest_ms` stays.
void pl_hand_assign(struct pl_hand *hand, const rd_kafka_topic_partition_list_t *partitions);
struct pl_hand_partition *pl_hand_find(struct pl_hand *hand, const char *topic, int32_t partition);
// Says of each message whether the database may have lost what it says.
void pl_hand_doubt(struct pl_hand *hand, struct pl_held *held);
// The batch is being written.
void pl_hand_begin(struct pl_hand *hand);
// It was not. False: it belongs to another daemon now and was dropped, and what came ahead is the batch.
bool pl_hand_failed(struct pl_hand *hand);
// It was: moves the partitions on, stores the offsets, and what came ahead is the batch.
void pl_hand_done(struct pl_hand *hand, struct pl_consumer *consumer, bool in_database);
