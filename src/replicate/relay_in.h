// The inside of the relay, for relay.c and relay_link.c only.
#pragma once

#include "replicate/relay.h"

#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "base/backoff.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/wake.h"
#include "db/session.h"
#include "replicate/flight.h"
#include "replicate/heartbeat.h"
#include "replicate/outbox.h"
#include "replicate/pace.h"
#include "replicate/producer.h"

#define SECOND INT64_C(1000000)
#define WINDOW 4                  // batches in flight
#define IDLE_US (SECOND / 20)
#define LOCK_US SECOND
#define WHOLE_US SECOND           // how often a read begins at the very beginning of the table
#define DELETE_US (SECOND / 50)   // acknowledged rows wait no longer than this for others to be deleted with
#define LEASE_US (10 * SECOND)    // a leader that is silent for so long has lost the lock
#define ASIDE_US (60 * SECOND)
#define TOPICS_US (3 * SECOND)
#define HEARTBEAT_TAG INT64_C(-1)

struct pl_relay {
	pthread_t thread;
	struct pl_wake *wake, *halt, *ended; // something to do; stop now; it has stopped
	atomic_bool rung;
	_Atomic int64_t drain_until_us;      // 0: not stopping
	pthread_mutex_t mutex;               // guards the next two
	struct pl_config *next_config;
	const struct pl_region *next_region;

	// The thread's own.
	struct pl_config *config;
	const struct pl_region *region;
	struct pl_policies *policies;
	struct pl_session *session;
	struct pl_producer *producer;
	struct pl_outbox_cursor cursor;
	struct pl_flights flights;
	int64_t *ids;                        // scratch, room for nids
	int nids;
	struct pl_arena *arena;              // of one batch
	struct pl_backoff backoff;
	struct pl_log_limit database_limit, broker_limit, delivery_limit;
	bool leader, topics_ready;
	bool level;                          // the last read was not full
	bool wanted;                         // there may be something to read
	bool undelivered;                    // something was not delivered: start anew
	bool heartbeat_sent;                 // and not answered
	bool was_up;                         // the broker, when it was last talked about
	int careful;                         // rows to be sent one by one
	bool alone;                          // what is in flight was sent alone
	int64_t try_at_us, poll_at_us, lock_at_us, whole_at_us, delete_at_us, aside_at_us, beat_at_us;
	struct pl_pace pace;

	struct {
		_Atomic uint64_t published, batches, failed, producers_replaced, heartbeats;
		_Atomic int64_t outbox_events, outbox_oldest_us, last_publish_us;
		atomic_bool leader, database_up, broker_up;
	} stats;
};

#define COUNT(relay, what, n) atomic_fetch_add_explicit(&(relay)->stats.what, (uint64_t)(n), memory_order_relaxed)
#define NOTE(relay, what, value) atomic_store_explicit(&(relay)->stats.what, (value), memory_order_relaxed)

void pl_relay_database_failed(struct pl_relay *relay, const struct pl_error *err);
bool pl_relay_have_database(struct pl_relay *relay);
bool pl_relay_leads(struct pl_relay *relay);
bool pl_relay_have_producer(struct pl_relay *relay);
bool pl_relay_producer_lives(struct pl_relay *relay);
