// The development broker: librdkafka's rdkafka_mock.h, which speaks Kafka's protocol and
// keeps everything in memory.
//
// For `plist-admin broker`, that is `./run demo --broker embedded`, and for tests. It has
// one broker and no replicas, keeps at most 5 MiB or 100,000 messages of each partition
// while it runs and nothing after it ends, and creates topics when they are first used.
#pragma once

#include <librdkafka/rdkafka.h>
#include <librdkafka/rdkafka_mock.h>

#include "base/error.h"

struct pl_dev_broker_options {
	const char *listen; // "127.0.0.1:9092"; NULL: an address that the broker chooses
	int partitions;     // of the topics below
	// Created at once; NULL-ended, may be NULL. Others are created when they are
	// used, with 4 partitions.
	const char *const *topics;
	// called once it accepts connections; may be NULL
	void (*ready)(void *arg, const char *address);
	void *arg;
};

// Runs until stop_fd is readable. 0, or why it could not start.
int pl_dev_broker_run(const struct pl_dev_broker_options *options, int stop_fd, struct pl_error *err);

// The same in steps, for tests that manipulate the cluster. Of `options` only listen,
// partitions and topics are used.
struct pl_dev_broker;
struct pl_dev_broker *pl_dev_broker_start(const struct pl_dev_broker_options *options, struct pl_error *err);
void pl_dev_broker_stop(struct pl_dev_broker **broker_p);
const char *pl_dev_broker_address(const struct pl_dev_broker *broker);
rd_kafka_mock_cluster_t *pl_dev_broker_cluster(struct pl_dev_broker *broker);
