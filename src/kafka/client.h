// What plist's producers and consumers share: how they are configured, how they log, and
// the topics that they need.
#pragma once

#include <librdkafka/rdkafka.h>

#include "base/error.h"
#include "base/sha256.h"
#include "config/config.h"

// A configuration with the brokers and `defaults` (pairs of name and value, NULL-ended),
// overridden by the operator's kafka.properties, and these by `fixed`, on which the
// program's correctness depends. NULL with err. Pass it to rd_kafka_new or destroy it.
rd_kafka_conf_t *pl_kafka_client_conf(const struct pl_config *config, const struct pl_region *region,
                                      const char *const *defaults, const char *const *fixed,
                                      struct pl_error *err);

// Whether librdkafka makes a client of `conf` (NULL: with err), which it destroys: its
// settings fit each other, and the files that they name can be used. Nothing is sent.
int pl_kafka_client_try(rd_kafka_type_t type, rd_kafka_conf_t *conf, struct pl_error *err);

// Whether nobody else can read the private keys that kafka.properties names.
int pl_kafka_client_keys(const struct pl_config *config, struct pl_error *err);
// The digest of the files that a client reads once, when it is made: certificates and
// keys. If it changes, only a new client uses what is in them now.
void pl_kafka_client_files(const struct pl_config *config, uint8_t sha256_r[PL_SHA256_SIZE]);

// Creates the missing topics of the resources and of the heartbeats. Waits up to
// `timeout_us` or until stop_fd is readable. 0: they exist, or the broker creates them
// when they are first used. PL_EUNAVAIL, PL_ESTOPPED.
int pl_kafka_client_topics(rd_kafka_t *rk, const struct pl_config *config, int64_t timeout_us, int stop_fd,
                           struct pl_error *err);

// Whether the descriptor is readable now.
bool pl_kafka_client_stopping(int stop_fd);
