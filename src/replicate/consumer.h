// A consumer: a member of its region's group for the records' topics, and a reader of the heartbeats beside it.
//
// Threads: belongs to one thread; the callbacks come from within poll and free.
#pragma once

#include "replicate/apply_batch.h"
#include "replicate/kafka.h"

struct pl_consumer;

struct pl_consumer_options {
	const struct pl_config *config;   // used while it is made
	const struct pl_region *region;
	bool heartbeats;                  // reads the heartbeats, too
	// A new assignment: these partitions and no others from now on. And: none any more; what was polled and not stored is somebody else's.
	void (*assigned)(void *arg, const rd_kafka_topic_partition_list_t *partitions);
	void (*revoked)(void *arg);
	void *arg;
};

// Does not talk to anybody yet.
struct pl_consumer *pl_consumer_new(const struct pl_consumer_options *options, struct pl_error *err);
// Commits what was stored and leaves the group, if that is possible within `wait_us`.
void pl_consumer_free(struct pl_consumer **consumer, int64_t wait_us);
int pl_consumer_check(const struct pl_config *config, const struct pl_region *region, struct pl_error *err);

// Creates the topics where that is possible, and subscribes to those of all resources. Again after a change of the configuration.
int pl_consumer_subscribe(struct pl_consumer *consumer, const struct pl_config *config, int64_t timeout_us, int stop_fd, struct pl_error *err);

// The next message, to be given to pl_consumer_done; NULL when none came in time.
rd_kafka_message_t *pl_consumer_poll(struct pl_consumer *consumer, int timeout_ms);
bool pl_consumer_is_heartbeat(const struct pl_consumer *consumer, const rd_kafka_message_t *message);
// Fills in `message_r`; headers into the arena, the rest points into `message`.
void pl_consumer_message(struct pl_arena *arena, const rd_kafka_message_t *message, struct pl_message *message_r);

// To be committed from now on: everything before `next_offset` is in the database.
void pl_consumer_store(struct pl_consumer *consumer, const char *topic, int32_t partition, int64_t next_offset);
// The group's committed offsets, into `partitions`; RD_KAFKA_OFFSET_INVALID where there is none.
int pl_consumer_committed(struct pl_consumer *consumer, rd_kafka_topic_partition_list_t *partitions, int timeout_ms, struct pl_error *err);
// The offsets of the first message that the partition has now and after the last one, from the broker.
int pl_consumer_ask_range(struct pl_consumer *consumer, const char *topic, int32_t partition, int timeout_ms, int64_t *first_r, int64_t *end_r,
                          struct pl_error *err);
// For each of `partitions`, whose offset is a time in ms: the offset of its first message of that time or of a later one; < 0 when there is none.
int pl_consumer_since(struct pl_consumer *consumer, rd_kafka_topic_partition_list_t *partitions, int timeout_ms, struct pl_error *err);
// How many partitions a topic has and how many members share them; 0 where that is not known at the moment.
int pl_consumer_shares(struct pl_consumer *consumer, const char *topic, int timeout_ms, int *partitions_r, int *members_r, struct pl_error *err);
// Reads on from the offsets in `partitions`, each a number: one that librdkafka 2.0 would have to look up first (the beginning) is never found
// when the partition is resumed meanwhile, and then it is not fetched any more. Whatever was fetched of them is forgotten. When it fails, some may have been moved: to be done again.
int pl_consumer_place(struct pl_consumer *consumer, rd_kafka_topic_partition_list_t *partitions, int timeout_ms, struct pl_error *err);
// While held, no more messages come; the membership of the group stays.
void pl_consumer_hold(struct pl_consumer *consumer, bool hold);

// The partition's end as the broker last said; -1: not yet.
int64_t pl_consumer_end(struct pl_consumer *consumer, const char *topic, int32_t partition);
// When the broker was last heard of (pl_now_us), and whether it is known to be away.
int64_t pl_consumer_contact(const struct pl_consumer *consumer, bool *up_r);
