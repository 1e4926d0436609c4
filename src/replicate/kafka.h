// What plist's producers and consumers have in common: how they are configured, how they log, and the topics that they need.
#pragma once

#include <librdkafka/rdkafka.h>

#include "base/error.h"
#include "config/config.h"

// A configuration with the brokers and `defaults` (pairs of name and value, NULL-ended), over these the operator's kafka.properties, and
// over these `fixed`: what the program's correctness stands on. NULL with err. To be given to rd_kafka_new or destroyed.
rd_kafka_conf_t *pl_kafka_conf(const struct pl_config *config, const struct pl_region *region, const char *const *defaults,
                               const char *const *fixed, struct pl_error *err);

// Creates the topics of all resources, and the heartbeats' one, where they are missing. Waits up to `timeout_us` or until stop_fd is
// readable. 0: they are there, or the broker makes them by itself when they are used. PL_EUNAVAIL, PL_ESTOPPED.
int pl_kafka_topics(rd_kafka_t *rk, const struct pl_config *config, int64_t timeout_us, int stop_fd, struct pl_error *err);

// Is the descriptor readable now?
bool pl_kafka_stopping(int stop_fd);
