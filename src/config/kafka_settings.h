// Settings of librdkafka in kafka.properties: which of them plist allows, and within
// which bounds.
#pragma once

#include <stdint.h>

enum pl_kafka_setting_rule {
	PL_KAFKA_ALLOWED, // connections, security, buffers: the operator's choice
	PL_KAFKA_BOUNDED, // a number within bounds that plist was tested with
	PL_KAFKA_NAMED,   // accepted; its unsafe value is named at start
	PL_KAFKA_REFUSED, // would break what plist promises, or is a program's, not an operator's
};

struct pl_kafka_setting {
	const char *name;
	enum pl_kafka_setting_rule rule;
	const char *why;    // of a refused, named or bounded one
	int64_t min, max;   // of a bounded one
	const char *unsafe; // of a named one
};

// Defaults of plist that another setting has to fit.
#define PL_KAFKA_SESSION_TIMEOUT_MS    "10000"
#define PL_KAFKA_HEARTBEAT_INTERVAL_MS "2000"

// The entry of a setting; NULL if this librdkafka's settings are newer than the table.
const struct pl_kafka_setting *pl_kafka_settings_find(const char *name);
