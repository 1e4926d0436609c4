// A consumer: reads partitions of the records' topics, and the heartbeats. Offsets are
// those of its region's group, which it never joins: see apply/claims.c.
//
// Threads: belongs to one thread.
#pragma once

#include "kafka/client.h"
#include "kafka/message.h"

struct pl_consumer;

struct pl_consumer_options {
	const struct pl_config *config; // used only by pl_consumer_new
	const struct pl_region *region;
	bool heartbeats; // also reads the heartbeats
};

// Does not connect yet.
struct pl_consumer *pl_consumer_new(const struct pl_consumer_options *options, struct pl_error *err);
// Commits the stored offsets, if that is possible within `wait_us`.
void pl_consumer_free(struct pl_consumer **consumer_p, int64_t wait_us);
int pl_consumer_check(const struct pl_config *config, const struct pl_region *region, struct pl_error *err);

// Creates the topics where that is possible, and begins to read the heartbeats. To be
// called again when the configuration changes.
int pl_consumer_prepare(struct pl_consumer *consumer, const struct pl_config *config, int64_t timeout_us,
                        int stop_fd, struct pl_error *err);
// Begins and ends reading these partitions, the first from the group's offsets on. What
// was stored for the others is committed.
int pl_consumer_add(struct pl_consumer *consumer, const rd_kafka_topic_partition_list_t *partitions,
                    struct pl_error *err);
int pl_consumer_remove(struct pl_consumer *consumer, const rd_kafka_topic_partition_list_t *partitions,
                       struct pl_error *err);

// The next message, to be passed to rd_kafka_message_destroy; NULL: none came in time.
rd_kafka_message_t *pl_consumer_poll(struct pl_consumer *consumer, int timeout_ms);
bool pl_consumer_is_heartbeat(const struct pl_consumer *consumer, const rd_kafka_message_t *message);
// Fills in `message_r`: its headers are in the arena, the rest points into `message`.
void pl_consumer_message(struct pl_arena *arena, const rd_kafka_message_t *message,
                         struct pl_message *message_r);

// Stores `next_offset` to be committed: everything before it is in the database.
void pl_consumer_store(struct pl_consumer *consumer, const char *topic, int32_t partition,
                       int64_t next_offset);
// Fills in the group's committed offsets; RD_KAFKA_OFFSET_INVALID where there is none.
int pl_consumer_committed(struct pl_consumer *consumer, rd_kafka_topic_partition_list_t *partitions,
                          int timeout_ms, struct pl_error *err);
// Asks the broker which messages a partition has.
struct pl_offset_range {
	int64_t first, end; // of its first message; the one after its last
};
int pl_consumer_ask_range(struct pl_consumer *consumer, const char *topic, int32_t partition, int timeout_ms,
                          struct pl_offset_range *range_r, struct pl_error *err);
// Asks for one end of many partitions at once: replaces each offset by that of the first
// message, or of the one after the last.
int pl_consumer_ask_ends(struct pl_consumer *consumer, rd_kafka_topic_partition_list_t *partitions,
                         bool first, int timeout_ms, struct pl_error *err);
// Replaces each partition's offset, a time in ms, by the offset of its first message of
// that time or later; < 0: there is none.
int pl_consumer_since(struct pl_consumer *consumer, rd_kafka_topic_partition_list_t *partitions,
                      int timeout_ms, struct pl_error *err);
// Continues at the offsets in `partitions`, and drops what was fetched of them. Each
// offset must be a number: if librdkafka 2.0 has to look one up (the beginning) and the
// partition is resumed meanwhile, it never fetches it again. After a failure some
// partitions may have moved; call it again.
int pl_consumer_place(struct pl_consumer *consumer, rd_kafka_topic_partition_list_t *partitions,
                      int timeout_ms, struct pl_error *err);
// The offset after the last message polled of a partition since it was assigned; -1: none
// was.
int64_t pl_consumer_position(struct pl_consumer *consumer, const char *topic, int32_t partition);
struct pl_consumer_topic {
	int partitions; // 0: it does not exist
	int nleaderless;
	int32_t leaderless[64]; // those of them that no broker leads, as far as there is room
};
int pl_consumer_topic(struct pl_consumer *consumer, const char *name, int timeout_ms,
                      struct pl_consumer_topic *topic_r, struct pl_error *err);
// The number of partitions of the heartbeats' topic, all of which are read.
int pl_consumer_heartbeat_partitions(const struct pl_consumer *consumer);
// While held, it brings no messages but heartbeats.
void pl_consumer_hold(struct pl_consumer *consumer, bool hold);
bool pl_consumer_held(const struct pl_consumer *consumer);

// The partition's end as last reported by the broker; -1: not known yet.
int64_t pl_consumer_end(struct pl_consumer *consumer, const char *topic, int32_t partition);
// When a broker last answered (pl_now_us), and whether one is connected.
int64_t pl_consumer_contact(const struct pl_consumer *consumer, bool *up_r);
// How often all brokers were lost. What comes next may be another broker's, or of one
// that has lost its disk.
uint64_t pl_consumer_losses(const struct pl_consumer *consumer);

// Whether the broker has refused the last offsets, because the group has members.
bool pl_consumer_commits_refused(const struct pl_consumer *consumer);

// Whether the consumer has failed permanently and must be replaced, with the reason.
bool pl_consumer_failed(const struct pl_consumer *consumer, struct pl_error *err);
// Why the broker refuses this daemon (authentication, ACLs, TLS), if it did so in the
// last seconds; else NULL.
const char *pl_consumer_refusal(const struct pl_consumer *consumer);
