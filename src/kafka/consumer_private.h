// The inside of a consumer, for the files consumer*.c only.
#pragma once

#include "kafka/consumer.h"

#include "base/log.h"

struct pl_consumer {
	struct pl_consumer_options options;
	rd_kafka_t *rk;
	char *heartbeat_topic;
	int heartbeat_partitions; // 0: not known yet
	int heartbeats_read;      // how many of them
	// While held: every partition of records assigned since. librdkafka keeps a
	// partition paused across assignments.
	rd_kafka_topic_partition_list_t *paused;
	bool held, up;
	bool commits_refused;                // for whatever reason
	int64_t uncommitted_us;              // since when all commits fail; 0: they do not
	uint64_t losses;                     // of all brokers
	int64_t contact_us, received;        // bytes, as of the last statistics
	int64_t silent_from_us;              // the broker is no longer connected; pl_mono_us
	int64_t taken, taken_bytes;          // messages since the broker's thread was woken last
	int64_t queue_messages, queue_bytes; // what librdkafka's queue holds
	struct pl_log_limit log_limit, refusal_limit, commit_limit;
	char refusal[256];  // the broker's reason for its last refusal
	int64_t refused_us; // when that was, pl_mono_us; 0: never
};

// Pauses those of the partitions that have records.
void pl_consumer_pause(struct pl_consumer *consumer, const rd_kafka_topic_partition_list_t *partitions);
