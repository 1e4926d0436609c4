// The fetch buffer: the messages that were taken from the consumer and are not yet in the
// database, and how far each partition is.
//
// Threads: an applier's.
#pragma once

#include "kafka/consumer.h"
#include "lag/tracker.h"

struct pl_fetch_partition {
	char *topic;
	int32_t partition;
	int64_t next;  // the first offset that is not in the database; < 0: not known
	int64_t first; // the partition's first offset, as of the last check
	// the broker's time of the newest message in the database; 0: not known
	int64_t latest_ms;
	// The offset of the first newer message, as of the last check; < 0: none.
	int64_t newer;
	// Messages before this offset were in Kafka when the database was found, which
	// may lack their writes.
	int64_t unsure_until;
	bool dirty;   // it moved past own events, and the database has not been updated
	bool settled; // where reading continues has been checked against the database: apply/positions
};

// Messages in order of arrival.
struct pl_fetched {
	struct pl_arena *arena; // their headers
	int n, cap;
	rd_kafka_message_t **raw;
	struct pl_message *messages;
	size_t bytes; // of keys, values and headers
};

struct pl_fetch_buffer {
	struct pl_fetched now;   // the batch
	struct pl_fetched ahead; // the next batch, taken while this one is being written
	struct pl_fetched done;  // the last batch, to be freed when there is time
	// the batch is being written, and keeps its messages even if partitions are
	// revoked
	bool writing;
	bool orphaned; // its partitions were revoked meanwhile
	int npartitions;
	struct pl_fetch_partition *partitions;
	int npast;
	struct pl_fetch_partition *past; // the previous assignment
	int64_t past_us;                 // when it ended
};

void pl_fetch_buffer_init(struct pl_fetch_buffer *buffer);
void pl_fetch_buffer_fini(struct pl_fetch_buffer *buffer);
// Where the next message is put: into the batch, or into the next one while the batch is
// being written and as long as the next one holds messages.
struct pl_fetched *pl_fetch_buffer_open(struct pl_fetch_buffer *buffer);
// Frees the last batch. To be called while the database is busy; else the end of the next
// batch does it.
void pl_fetch_buffer_sweep(struct pl_fetch_buffer *buffer);
// Frees the memory that is kept for the next large batch.
void pl_fetch_buffer_give_back(struct pl_fetch_buffer *buffer);
void pl_fetch_buffer_take(struct pl_fetch_buffer *buffer, rd_kafka_message_t *message);
// Drops the messages and keeps the partitions.
void pl_fetch_buffer_drop(struct pl_fetch_buffer *buffer);
// Sets the partitions; NULL: none. Drops all messages. A partition of the previous
// assignment keeps its `latest_ms`.
void pl_fetch_buffer_assign(struct pl_fetch_buffer *buffer,
                            const rd_kafka_topic_partition_list_t *partitions);
// Adds a partition, and removes one with its messages; the others stay. While no batch is
// being written.
void pl_fetch_buffer_add(struct pl_fetch_buffer *buffer, const char *topic, int32_t partition);
void pl_fetch_buffer_remove(struct pl_fetch_buffer *buffer, const char *topic, int32_t partition);
struct pl_fetch_partition *pl_fetch_buffer_find(struct pl_fetch_buffer *buffer, const char *topic,
                                                int32_t partition);
// Marks the messages whose writes the database may lack.
void pl_fetch_buffer_doubt(struct pl_fetch_buffer *buffer, struct pl_fetched *held);
// Starts writing the batch.
void pl_fetch_buffer_begin(struct pl_fetch_buffer *buffer);
// Writing failed. False: the batch belongs to another daemon by now and was dropped, and
// the next one takes its place.
bool pl_fetch_buffer_failed(struct pl_fetch_buffer *buffer);
// It was written: moves the partitions on, stores the offsets, and goes on to the next
// batch.
void pl_fetch_buffer_done(struct pl_fetch_buffer *buffer, struct pl_consumer *consumer, bool in_database);
