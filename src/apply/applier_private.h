// The inside of an applier, for the files applier*.c only.
#pragma once

#include "apply/applier.h"

#include <poll.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "apply/claims.h"
#include "apply/created_twice.h"
#include "apply/fetch_buffer.h"
#include "apply/heartbeats.h"
#include "apply/leaderless.h"
#include "apply/parked_retry.h"
#include "apply/positions.h"
#include "apply/reached.h"
#include "apply/reresolve.h"
#include "apply/silence.h"
#include "base/backoff.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/wake.h"
#include "db/owner.h"
#include "kafka/client.h"
#include "kafka/linger.h"
#include "script/policy.h"

#define SECOND      INT64_C(1000000)
#define POLL_MS     100
#define START_MS    10 // while there is nothing to read yet
#define BATCH_BYTES ((size_t)8 * 1024 * 1024)
#define BACKLOG     1000 // a batch of this many events was not written a moment ago
#define TOPICS_US   (3 * SECOND)
// interval of the tracker's updates when no messages come
#define TICK_US     (SECOND / 5)
#define FLUSH_US    SECOND
// interval of looking at the topics, and whether their messages arrive
#define LOOK_US     (3 * SECOND)
#define LEAVE_US    (3 * SECOND)

struct pl_applier {
	pthread_t thread;
	struct pl_wake *halt;
	pthread_mutex_t mutex; // guards the next three
	struct pl_config *next_config;
	const struct pl_region *next_region;
	char trouble[PL_ERROR_TEXT_MAX]; // why it has no partitions or cannot apply; "" if unknown
	struct pl_lag_tracker *tracker;
	_Atomic(struct pl_audit_mail *) mail;
	_Atomic(atomic_bool *) beat_soon;
	struct pl_claims *claims;
	int index;
	struct pl_applier_stats stats;

	// The rest belongs to the thread.
	struct pl_config *config;
	const struct pl_region *region;
	struct pl_vm *vm;
	struct pl_apply_tools tools;
	struct pl_applied_sequences sequences;
	struct pl_apply_batch *batch;
	struct pl_apply_counts counts;
	struct pl_consumer *consumer;
	struct pl_fetch_buffer buffer;
	struct pl_arena *arena;                  // of one step
	rd_kafka_topic_partition_list_t *wanted; // the partitions that it should read
	unsigned claims_seen;
	uint64_t losses;          // of the consumer's brokers, when the positions were last doubted
	bool follows;             // it reads exactly these
	bool prepared, unchecked; // the topics exist; a partition is not settled
	bool accepted;            // the session's database, as the region's
	struct pl_backoff backoff, kafka_backoff, replace_backoff;
	int64_t try_at_us, prepare_at_us, tick_at_us, flush_at_us, flushed_at_us, look_at_us;
	bool had_backlog;                       // and has not given back the memory that it took
	bool unsettled;                         // the broker did not say where reading continues
	int64_t unsettled_for_us;               // and it answers other questions
	int64_t settle_at_us;                   // when that was counted last
	uint8_t consumer_files[PL_SHA256_SIZE]; // what its files were when the consumer was made
	int64_t rewrite_at_us;                  // when all positions are written again; 0: never
	// of the topics when the consumer was made; 0: not known yet
	int *partition_counts;
	struct pl_silence silence; // partitions from which nothing may arrive
	struct pl_leaderless leaderless;
	struct pl_linger linger;
	bool blind;            // a question of the latest look at Kafka was not answered
	int blind_looks;       // as often in a row
	int64_t blind_from_us; // since then
	struct pl_log_limit database_limit, kafka_limit, topics_limit, blind_limit;
	bool was_up;
	struct pl_heartbeats heartbeats;
	struct pl_reached reached;
	struct pl_parked_retry parked;
	struct pl_created_twice created_twice;
	struct pl_reresolve reresolve;
	uint64_t taken; // the number of the current configuration, counted from 1
};

#define NOTE(applier, what, value) \
	atomic_store_explicit(&(applier)->stats.what, (value), memory_order_relaxed)

// applier_tools.c
void pl_applier_make_tools(struct pl_applier *applier);
void pl_applier_free_tools(struct pl_applier *applier);
void pl_applier_database_failed(struct pl_applier *applier, const struct pl_error *err);
void pl_applier_database_works(struct pl_applier *applier);
// Whether there is a session with a database that was accepted as the region's.
bool pl_applier_may_write(struct pl_applier *applier);
// applier_lag.c
// once the heartbeats have been stored
void pl_applier_answer(struct pl_applier *applier);
void pl_applier_report_progress(struct pl_applier *applier);
// what is buffered and not yet applied
void pl_applier_report_held(struct pl_applier *applier);
void pl_applier_report_applied(struct pl_applier *applier);
// when the other regions were last heard from before this daemon started
int pl_applier_learn_heard(struct pl_applier *applier, struct pl_error *err);
void pl_applier_take_heartbeat(struct pl_applier *applier, const rd_kafka_message_t *message);
// applier_sequences.c
bool pl_applier_check_sequences(struct pl_applier *applier, struct pl_error *err);
// notes which positions of other regions were reached, if any can have been
void pl_applier_reach(struct pl_applier *applier, int64_t now_us);
// they are reported again with the next heartbeats
void pl_applier_forget_reached(struct pl_applier *applier);
// applier_watch.c
void pl_applier_tick(struct pl_applier *applier);
// positions are checked again: the topics may be new ones
void pl_applier_doubt_topics(struct pl_applier *applier);
// doubts them if all brokers were lost meanwhile
void pl_applier_notice_losses(struct pl_applier *applier);
// when a backlog has ended
void pl_applier_give_memory_back(struct pl_applier *applier);
void pl_applier_forget_topics(struct pl_applier *applier);
void pl_applier_note_topics(struct pl_applier *applier);
void pl_applier_note_failure(struct pl_applier *applier, const char *why);
void pl_applier_note_trouble(struct pl_applier *applier, const char *why);
// Replaces the consumer if files have changed that it read when it was made.
void pl_applier_renew_consumer(struct pl_applier *applier);
// applier_retries.c. For a start or a new configuration; the others between two batches.
void pl_applier_begin_retries(struct pl_applier *applier);
void pl_applier_retry_parked(struct pl_applier *applier);
void pl_applier_reresolve(struct pl_applier *applier);
// applier_claims.c
void pl_applier_follow_claims(struct pl_applier *applier);
void pl_applier_rewrite_positions(struct pl_applier *applier);
void pl_applier_give_up_partitions(struct pl_applier *applier);
// applier.c: the buffered messages, or what they are read with, have changed.
void pl_applier_read_again(struct pl_applier *applier);
