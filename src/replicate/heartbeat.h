// Heartbeats: once a second each region says through Kafka that it lives, what it has not sent yet, and which policies it runs.
#pragma once

#include "base/buf.h"
#include "base/error.h"
#include "config/config.h"
#include "replicate/policies.h"

struct pl_heartbeat {
	char region[PL_REGION_MAX + 1];
	int64_t sent_at_us;
	int64_t outbox_events;
	int64_t outbox_oldest_us; // 0: empty
	const char *policies;     // JSON object, in the caller's arena
};

void pl_heartbeat_print(struct pl_buf *buf, const struct pl_heartbeat *heartbeat);
int pl_heartbeat_parse(struct pl_arena *arena, const char *text, size_t len, struct pl_heartbeat *heartbeat_r, struct pl_error *err);
