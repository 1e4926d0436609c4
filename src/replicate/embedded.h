// The embedded broker: librdkafka's rdkafka_mock.h, which speaks Kafka's protocol and keeps everything in memory.
//
// For `plist-admin broker`, that is `./run demo --broker embedded`, and for tests. It keeps nothing when it ends, at most 5 MiB or 100,000
// messages of each partition while it runs, has one broker, no replicas, and creates topics when they are first used.
#pragma once

#include <librdkafka/rdkafka.h>
#include <librdkafka/rdkafka_mock.h>

#include "base/error.h"

struct pl_embedded_options {
	const char *listen;            // "127.0.0.1:9092"; NULL: an address of its own choice
	int partitions;                // of the topics below
	const char *const *topics;     // created at once; NULL-ended, may be NULL. Others are created when used, with 4 partitions.
	void (*ready)(void *arg, const char *address); // once, when clients may come; may be NULL
	void *arg;
};

// Runs until stop_fd is readable. 0, or why it could not begin.
int pl_embedded_broker_run(const struct pl_embedded_options *options, int stop_fd, struct pl_error *err);

// The same in pieces, for tests that meddle with the cluster. Nothing of `options` but listen, partitions and topics is used.
struct pl_embedded;
struct pl_embedded *pl_embedded_start(const struct pl_embedded_options *options, struct pl_error *err);
void pl_embedded_stop(struct pl_embedded **embedded);
const char *pl_embedded_address(const struct pl_embedded *embedded);
rd_kafka_mock_cluster_t *pl_embedded_cluster(struct pl_embedded *embedded);
