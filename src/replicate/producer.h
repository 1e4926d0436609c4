// A producer: sends messages in order, and says of each what became of it.
//
// It sends each once. When something was not delivered, what came after it may have been, and the broker may have the one that it did not acknowledge, too: then
// the producer is to be thrown away, and the next one sends again all from there on.
// Threads: belongs to one thread.
#pragma once

#include <librdkafka/rdkafka.h>

#include "base/wake.h"
#include "replicate/event.h"

struct pl_producer;

enum pl_delivery {
	PL_DELIVERED,      // the broker has it, on as many replicas as it wants
	PL_REFUSED,        // the broker will never take this message, or one of its batch (too large, …)
	PL_UNDELIVERED,    // anything else; the same message may be delivered later
};

struct pl_producer_options {
	const struct pl_config *config; // used while it is made
	const struct pl_region *region;
	struct pl_wake *wake;   // rung when there is something to serve
	// From within pl_producer_serve. `tag` as given to send; why is NULL when delivered.
	void (*delivered)(void *arg, int64_t tag, enum pl_delivery what, const char *why);
	void *arg;
};

struct pl_producer *pl_producer_new(const struct pl_producer_options *options, struct pl_error *err);
void pl_producer_free(struct pl_producer **producer);

// Whether a producer could be made of the configuration, without making one. 0 or PL_EINVAL.
int pl_producer_check(const struct pl_config *config, const struct pl_region *region, struct pl_error *err);

// Creates the topics; see pl_kafka_topics.
int pl_producer_topics(struct pl_producer *producer, const struct pl_config *config, int64_t timeout_us, int stop_fd, struct pl_error *err);

// Queues a message; everything is copied. PL_EBUSY: full, serve and try again. PL_EINVAL: this message can never be sent. PL_EUNAVAIL:
// its configuration no longer fits.
int pl_producer_send(struct pl_producer *producer, const char *topic, const struct pl_event_message *message, int64_t tag, struct pl_error *err);

// Calls `delivered` for what is decided; does not wait.
void pl_producer_serve(struct pl_producer *producer);

// Whether some broker is connected, as far as is known.
bool pl_producer_up(const struct pl_producer *producer);
rd_kafka_t *pl_producer_kafka(struct pl_producer *producer); // for tests that inject errors
