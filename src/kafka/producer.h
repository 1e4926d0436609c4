// A producer: sends messages in order and reports the result of each.
//
// It sends each message once. When one was not delivered, later ones may have been, and
// so may the one that was not acknowledged. Then the producer must be replaced, and the
// next one sends everything from there on again.
// Threads: belongs to one thread.
#pragma once

#include <librdkafka/rdkafka.h>

#include "base/error.h"
#include "base/wake.h"
#include "config/config.h"
#include "kafka/message.h"

struct pl_producer;

enum pl_delivery {
	PL_DELIVERED, // the broker has it, on as many replicas as it requires
	// The broker rejects this message or the batch that it was in: it is larger than
	// the topic's max.message.bytes.
	PL_TOO_LARGE,
	PL_REFUSED,     // it rejects them permanently for another reason
	PL_UNDELIVERED, // anything else; the message may be delivered later
};

struct pl_producer_options {
	const struct pl_config *config; // used only by pl_producer_new
	const struct pl_region *region;
	struct pl_wake *wake; // rung when pl_producer_serve has something to do
	// Called by pl_producer_serve. `tag` as passed to send; `why` is NULL if
	// delivered.
	void (*delivered)(void *arg, int64_t tag, enum pl_delivery what, const char *why);
	void *arg;
};

struct pl_producer *pl_producer_new(const struct pl_producer_options *options, struct pl_error *err);
void pl_producer_free(struct pl_producer **producer_p);

// Whether the configuration is valid for a producer. 0 or PL_EINVAL.
int pl_producer_check(const struct pl_config *config, const struct pl_region *region, struct pl_error *err);

// Creates the topics; see pl_kafka_client_topics.
int pl_producer_topics(struct pl_producer *producer, const struct pl_config *config, int64_t timeout_us,
                       int stop_fd, struct pl_error *err);

// How many partitions a topic has now. Waits for the broker up to three seconds; a broker
// that makes topics when they are used makes this one. PL_EUNAVAIL.
int pl_producer_partitions(struct pl_producer *producer, const char *topic, struct pl_error *err);
// The partition of a message by its key: the same as any other client chooses.
int32_t pl_producer_partition(const struct pl_outgoing_message *message, int partitions);

// Queues a copy of the message. PL_EBUSY: the queue is full; serve and try again.
// PL_EINVAL: this message can never be sent. PL_EUNAVAIL: its topic is no longer
// configured.
int pl_producer_send(struct pl_producer *producer, const char *topic,
                     const struct pl_outgoing_message *message, int64_t tag, struct pl_error *err);

// Calls `delivered` for the results that have arrived; does not wait.
void pl_producer_serve(struct pl_producer *producer);

// Whether a broker is known to be connected.
bool pl_producer_up(const struct pl_producer *producer);
// for tests that inject errors
rd_kafka_t *pl_producer_kafka(struct pl_producer *producer);
