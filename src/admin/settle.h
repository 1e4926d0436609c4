// Waits until everything committed so far has been applied in every region, so that a
// remaining difference is not one that is still being replicated.
//
// Three steps: wait until the rows that are in the outboxes now have been published;
// ask Kafka for the ends of its partitions; wait until every region has applied up to
// there. Events that Kafka refuses and parked events are not waited for: they do not
// arrive by themselves. Those that met a locked record do, and are waited for.
// Threads: the tool has one.
#pragma once

#include "admin/region_sessions.h"

// Returns 0, or -1 with a sentence in *why_r (in the invocation's arena) if it took
// longer than `wait_us` or Kafka could not be reached.
int pl_settle(struct pl_invocation *invocation, struct pl_region_sessions *sessions, int64_t wait_us,
              const char **why_r);
